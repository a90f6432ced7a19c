"""What the subcommands of `model-serving provision` share: options, keys, questions, a bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ...errors import ProvisionError
from ..files import write_private
from ..standin.console import is_terminal, make_console
from .exit import ExitStatus

if TYPE_CHECKING:
    from ..provision.api import Client
    from ..provision.apply import Outcome
    from ..provision.credentials import AccountCredentials
    from ..provision.model import Resource
    from ..provision.plan import Plan
    from ..provision.state import Account

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ProvisionOptions:
    """The options that subcommands share; one that a subcommand lacks has its default."""

    values: Path | None = None
    routing: Path | None = None
    packs: tuple[str, ...] = ()
    api_key_file: Path | None = None
    app_key_file: Path | None = None
    site: str | None = None
    api_url: str | None = None
    parallel: int = 8
    timeout: float = 30.0


FILE = click.Path(path_type=Path)

WHAT = (
    click.option("--values", metavar="FILE", type=FILE, help="Your thresholds, windows, scopes, teams, prefix."),
    click.option("--routing", metavar="FILE", type=FILE, help="Who hears about what."),
    click.option(
        "--pack", "packs", metavar="NAME", multiple=True, help="Only this pack; also a file of yours, and several."
    ),
)
ACCOUNT = (
    click.option("--site", metavar="SITE", help="Datadog site, such as datadoghq.eu.  [default: DD_SITE]"),
    click.option("--api-key-file", metavar="FILE", type=FILE, help="Read the API key here, not from DD_API_KEY."),
    click.option(
        "--app-key-file", metavar="FILE", type=FILE, help="Read the application key here, not from DD_APP_KEY."
    ),
    click.option("--api-url", envvar="MODEL_SERVING_DATADOG_URL", hidden=True),
    click.option(
        "--timeout",
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        help="How long to wait for an answer.",
    ),
)
PARALLEL = click.option(
    "--parallel", default=8, show_default=True, metavar="N", type=click.IntRange(1, 64), help="Calls at one time."
)
WHERE = (*ACCOUNT, PARALLEL)
PRUNE = click.option("--prune", is_flag=True, help="Also delete what is ours but no longer wanted.")
YES = click.option("--yes", is_flag=True, help="Don't ask.")


def with_options(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Give a command several options, in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def wanted(settings: ProvisionOptions, marked: bool = True) -> list[Resource]:
    """The resources of the packs with the user's values and routing, checked. Raises UserError for any mistake."""
    from ..provision.desired import desired, load_values, vocabulary_of
    from ..provision.plan import checked
    from ..provision.routing import load_routing

    values = load_values(settings.values, settings.packs)
    routing = load_routing(settings.routing, values.available) if settings.routing else None
    resources = desired(settings.packs or None, values, routing)
    ready = checked(resources, vocabulary=vocabulary_of(values))
    return ready if marked else resources


def credentials_of(settings: ProvisionOptions) -> AccountCredentials:
    """Keys and site. Raises OptionError for what is missing."""
    from ..provision.credentials import load_credentials

    return load_credentials(settings.api_key_file, settings.app_key_file, settings.site, settings.api_url)


@contextmanager
def connected(settings: ProvisionOptions, credentials: AccountCredentials) -> Iterator[Client]:
    """A client that is closed at the end."""
    from ..provision.api import Client

    client = Client(credentials, parallel=settings.parallel, timeout=settings.timeout)
    try:
        yield client
    finally:
        client.close()


def read(client: Client, resources: Sequence[Resource], *, writes: bool = False) -> Account:
    """What the account has, once it is clear that the keys may read it and, with `writes`, change it.

    Raises ProvisionError.
    """
    from ..provision.access import READS, WRITES, check_access
    from ..provision.state import read_account

    kinds = {resource.kind for resource in resources} or set(READS) - {"percentiles"}
    check_access(client, {READS[kind] for kind in kinds} | ({WRITES[kind] for kind in kinds} if writes else set()))
    return read_account(client, resources)


def carry_out(client: Client, made: Plan, yes: bool, question: str) -> None:
    """Ask, do it, and tell what was done. Leaves as failed for a no, and where anything failed."""
    from ..provision.apply import Result, apply
    from ..provision.plan import DOES
    from ..provision.render import outcome_text

    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: give --yes")
        if not click.confirm(question):
            sys.exit(ExitStatus.FAILED)
    with progress_bar(len(made.having(*DOES))) as told:
        outcomes = apply(client, made, told)
    show(outcome_text(outcomes), client.credentials)
    if any(one.result is not Result.DONE for one in outcomes):
        sys.exit(ExitStatus.FAILED)


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[Outcome], None]]:
    """A bar on standard error, as long as that is a terminal."""
    if not is_terminal(sys.stderr):
        yield lambda outcome: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=make_console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda outcome: progress.update(task, advance=1, description=outcome.step.address)


def show(text: Text, credentials: AccountCredentials | None) -> None:
    """Print to standard output, and never a key."""
    if credentials is not None and masked(text.plain, credentials) != text.plain:
        text = Text(masked(text.plain, credentials))
    make_console().print(text, soft_wrap=True, end="" if text.plain.endswith("\n") else "\n")


def masked(text: str, credentials: AccountCredentials | None) -> str:
    """The text without keys."""
    return credentials.mask(text) if credentials else text


def write_file(path: Path, text: str, root: Path | None = None) -> None:
    """Write a file for its owner only, and the folders above it, of which those below `root` are no symbolic links.

    Raises ProvisionError where that fails.
    """
    try:
        write_private(path, text, root)
    except OSError as error:
        raise ProvisionError(f"{path}: can't be written: {error.strerror}") from None
