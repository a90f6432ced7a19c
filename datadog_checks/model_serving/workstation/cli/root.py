"""The group of subcommands, its help and its version."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from ...__about__ import __version__
from ...errors import UserError
from .exit import status_of

SUBCOMMANDS = {
    "bridge": "Run the check without an Agent and send what it gives to Datadog.",
    "check": "Run the check without an Agent and print what it would send.",
    "demo": "Watch the check read simulated serving endpoints.",
    "lint": "Check monitors, dashboards and SLOs before they reach Datadog.",
    "provision": "Have Datadog watch it: monitors, dashboards, SLOs, planned and applied.",
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

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name, or None."""
        if name not in SUBCOMMANDS:
            return None
        try:
            command = getattr(import_module(f".{name}", __package__), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("datadog_checks."):
                raise
            raise click.ClickException(
                f"{name} needs {error.name}, which this Python lacks: pip install 'datadog-model-serving[cli]'"
            ) from None
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
      model-serving check -c conf.yaml           what would the Agent send?
      model-serving check -c conf.yaml --json    the same, for a script
      model-serving demo                         see it work, without any endpoint

    Every command explains itself: model-serving check --help
    """
