"""The group of subcommands, its help and its version."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from ...__about__ import __version__
from ...errors import UserError
from . import INSTALL
from .exit import status_of

SUBCOMMANDS = {
    "bridge": "Run the check without an Agent and send what it gives to Datadog.",
    "check": "Run the check without an Agent and print what it would send.",
    "demo": "Watch the check read simulated serving endpoints.",
    "lint": "Check monitors, dashboards and SLOs before they reach Datadog.",
    "provision": "Have Datadog watch it: monitors, dashboards, SLOs, planned and applied.",
    "versions": "Which versions of models are loaded, and which of them does nobody call?",
}
"""Name, which is also that of the module and of the click command in it, and line in the help."""


class Subcommands(click.Group):
    """Imports a subcommand when it is called: help and completion stay quick."""

    def invoke(self, ctx: click.Context) -> Any:
        """As click does; an error that is meant for a person is shown and ends the subcommand with its status."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            # Help and the version are there at once: they need nothing of the check.
            from ...http.redact import printable

            click.echo(printable(f"Error: {error}", lines=True), err=True)
            ctx.exit(status_of(error))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the subcommands, in the order of the help."""
        return list(SUBCOMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, which looks for similar names only among commands that are there already."""
        close = get_close_matches(args[0], SUBCOMMANDS, 1)
        if close and args[0] not in SUBCOMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{close[0]}'?")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name, or None."""
        if name not in SUBCOMMANDS:
            return None
        try:
            command = getattr(import_module(f".{name}", __package__), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("datadog_checks."):
                raise
            raise click.ClickException(f"{name} needs {error.name}, which this Python lacks: {INSTALL}") from None
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


@click.group(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def root() -> None:
    """Model serving metrics in Datadog's terms, on your own machine.

    \b
    Examples:
      model-serving check http://localhost:8082/metrics  what would the Agent send of this endpoint?
      model-serving check -c conf.yaml --json            and of a configuration, for a script
      model-serving demo                                 see it work, without any endpoint

    Every command explains itself: model-serving check --help
    """
