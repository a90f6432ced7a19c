"""What the subcommands of `model-serving provision` share: options, keys, questions, a bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ...errors import ProvisionError
from ..files import write_private
from ..standin.console import is_terminal, make_console
from .common import SECRET
from .exit import ExitStatus

if TYPE_CHECKING:
    from ..provision.api import Client
    from ..provision.apply import Outcome
    from ..provision.credentials import AccountCredentials
    from ..provision.model import Resource
    from ..provision.plan import Plan, PlanChoices
    from ..provision.state import Account
    from ..provision.values import Values


@dataclass(frozen=True, slots=True)
class ProvisionOptions:
    """The options that subcommands share; one that a subcommand lacks has its default."""

    values: Path | None = None
    routing: Path | None = None
    packs: tuple[str, ...] = ()
    instances: Path | None = None
    systems: tuple[str, ...] = ()
    tries: bool = False
    secrets: tuple[str, ...] = ()
    api_key_file: Path | None = None
    app_key_file: Path | None = None
    site: str | None = None
    api_url: str | None = None
    parallel: int = 8
    timeout: float = 30.0
    move_from: str | None = None
    new_stack: bool = False
    adopt: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """Those that decide what is wanted."""
        return [path for path in (self.values, self.routing, self.instances) if path is not None]

    @property
    def matches(self) -> bool:
        """Whether only what something can feed is wanted."""
        return self.instances is not None or bool(self.systems)

    @property
    def decides(self) -> bool:
        """Whether anything says what is wanted."""
        others = (self.packs, self.systems, self.tries, self.move_from, self.new_stack, self.adopt)
        return bool(self.files) or any(others)


FILE = click.Path(path_type=Path)


def writable(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Refuses a file to write that can't be meant, before anything takes its time. Raises BadParameter."""
    if path is not None and str(path) == "-":
        raise click.BadParameter("standard output is for what people read: name a file")
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}: make it first, or name a file in another")
    return path


VALUES = click.option(
    "--values", metavar="FILE", type=FILE, help="Your stack, thresholds, windows, scopes, teams, prefix."
)
PACKS = click.option(
    "--pack", "packs", metavar="NAME", multiple=True, help="Only this pack; also a file of yours, and several."
)
WHAT = (VALUES, click.option("--routing", metavar="FILE", type=FILE, help="Who hears about what."), PACKS)
MATCH = (
    click.option(
        "--for", "instances", metavar="FILE", type=FILE, help="Only what the instances of this conf.yaml can feed."
    ),
    click.option(
        "--system", "systems", metavar="NAME", multiple=True, help="Only what this serving system can feed, or `gpu`."
    ),
    click.option("--try", "tries", is_flag=True, help="With --for: scrape once, and go by what comes."),
    SECRET,
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
PRUNE = click.option("--prune", is_flag=True, help="Also delete what is ours but no longer wanted, and twins.")
MOVE = (
    click.option(
        "--move-from", metavar="STACK", help="Take over what this stack has; `none` is the one without a name."
    ),
    click.option("--new-stack", is_flag=True, help="Leave the stack without a name alone, whatever it has."),
)
ADOPT = click.option(
    "--adopt", metavar="KEY=ID", multiple=True, help="Make what has this id ours, as KEY, in place of a new one."
)
MAX_DELETES = click.option(
    "--max-deletes", metavar="N", type=click.IntRange(min=0), help="Do nothing if more would be deleted."
)
YES = click.option("--yes", is_flag=True, help="Don't ask.")


def values_of(settings: ProvisionOptions, tried: bool = True) -> Values:
    """What the values file says, and the packs that it or `--pack` names; what it says is tried on them, unless told
    otherwise. Raises DocumentError."""
    from ..provision.desired import load_values
    from ..provision.values import Values, read_values

    if tried:
        return load_values(settings.values, settings.packs)
    return read_values(settings.values, settings.packs) if settings.values else Values()


def wanted(
    settings: ProvisionOptions, values: Values, marked: bool = True, left_out: Collection[str] = ()
) -> list[Resource]:
    """The resources of the packs with the user's values and routing, checked, without what is `left_out`.
    Warns on standard error of what may not be meant.

    Raises UserError for any mistake.
    """
    from ..provision.advice import advice, explained, unplanned
    from ..provision.desired import desired, vocabulary_of
    from ..provision.mistakes import checked
    from ..provision.routing import load_routing

    routing = load_routing(settings.routing, values.available) if settings.routing else None
    resources = desired(settings.packs or None, values, routing, left_out=left_out)

    def warn(text: str) -> None:
        click.echo(f"Warning: {text}", err=True)

    # What the command line leaves out for once is no mistake of the file.
    whole = not settings.packs and not left_out
    for text in (*advice(values, routing), *(unplanned(values, resources) if whole else ())):
        warn(text)
    ready = checked(
        resources,
        stack=values.stack,
        vocabulary=vocabulary_of(values),
        warn=warn,
        explain=partial(explained, values, bool(left_out)),
    )
    return ready if marked else resources


def inputs_of(settings: ProvisionOptions, values: Values) -> list[Path]:
    """The files that decided what is wanted: those of the options, packs of the user's own and their catalog files."""
    packs = [pack for pack in values.available.values() if pack.file]
    return [*settings.files, *(Path(file) for pack in packs for file in (pack.file, *pack.catalogs))]


def choices_of(
    settings: ProvisionOptions, values: Values, prune: bool = False, resources: Collection[Resource] = ()
) -> PlanChoices:
    """What decides how a plan of these resources is made. Raises UsageError and OptionError where that makes no
    sense."""
    from ..provision.adopt import read_adoptions
    from ..provision.desired import desired, known_addresses, known_packs
    from ..provision.extent import Extent
    from ..provision.plan import PlanChoices

    packs, homes = known_packs(settings.packs, values)
    there = {one.address for one in resources}
    whole = desired(settings.packs or None, values) if settings.matches else ()
    unfed = sorted({one.address for one in whole} - there)
    extent = Extent(packs, homes if packs else {}, tuple(unfed), settings.routing is not None)
    source, move = _source_of(settings, values.stack)
    adopt = read_adoptions(settings.adopt, there, known_addresses(values))
    return PlanChoices(values.stack, source, move, prune, values.ignore_tags, adopt, extent)


def _source_of(settings: ProvisionOptions, stack: str) -> tuple[str, bool | None]:
    """The stack to take over from, and whether to: None where the account decides."""
    from ..provision.model import NO_STACK, STACK

    if settings.move_from is None:
        return "", False if settings.new_stack else None
    if settings.new_stack or not STACK.fullmatch(settings.move_from):
        raise click.UsageError("--move-from takes the name of a stack, or `none`, and can't go with --new-stack")
    source = "" if settings.move_from == NO_STACK else settings.move_from
    if source == stack:
        raise click.UsageError(f"--move-from {settings.move_from}: that is the stack of the values file")
    return source, True


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


def read(client: Client, resources: Sequence[Resource], choices: PlanChoices, *, writes: bool = False) -> Account:
    """What the stack has, once it is clear that the keys may read it and, with `writes`, change it.

    Raises ProvisionError, also where there is nothing to take over: all would be made anew beside what was meant.
    """
    from ..provision.access import READS, WRITES, check_access
    from ..provision.state import read_account, stack_name

    kinds = {resource.kind for resource in resources} or set(READS) - {"percentiles"}
    check_access(client, {READS[kind] for kind in kinds} | ({WRITES[kind] for kind in kinds} if writes else set()))
    account = read_account(client, resources, choices.stack, choices.source, choices.adopt)
    if choices.move and not account.others and all(one[0].kind == "percentiles" for one in account.owned.values()):
        raise ProvisionError(f"--move-from: {stack_name(choices.source)} has nothing in this account: check its name")
    return account


def refuse_early(client: Client, made: Plan) -> None:
    """Raises ProvisionError about all that Datadog would refuse of a plan, before anything is written."""
    from ..provision.plan import DOES
    from ..provision.validate import refusal_text, refusals

    with progress_bar(sum(step.kind == "monitor" for step in made.having(*DOES))) as told:
        found = refusals(client, made, told)
    if found:
        raise ProvisionError(refusal_text(found))


def carry_out(client: Client, made: Plan, yes: bool, max_deletes: int | None) -> None:
    """Ask, do it, and tell what was done. Leaves as failed for a no, and where anything failed, as found where
    something can't work yet.

    Raises ProvisionError, before anything is done, where more than `max_deletes` would be deleted.
    """
    from ..provision.apply import Result, apply, waiting
    from ..provision.plan import DOES, Action
    from ..provision.render import outcome_text

    deletes = sum(len(step.found) for step in made.having(Action.DELETE))
    if max_deletes is not None and deletes > max_deletes:
        raise ProvisionError(f"{deletes} would be deleted, and --max-deletes allows {max_deletes}; nothing was changed")
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: give --yes")
        if not (_confirmed(client.credentials.place, deletes) if deletes else click.confirm("Apply this plan?")):
            sys.exit(ExitStatus.FAILED)
    with progress_bar(len(made.having(*DOES))) as told:
        outcomes = apply(client, made, told)
    later = waiting(made, outcomes)
    show(outcome_text(outcomes, later), client.credentials)
    if any(one.result not in (Result.DONE, Result.WAITS) for one in outcomes):
        sys.exit(ExitStatus.FAILED)
    leave_if_waiting(later)


def _confirmed(site: str, deletes: int) -> bool:
    """Ask for what a person types only who has looked where this is, and how much."""
    answer = click.prompt(
        f"To delete {deletes} at {site}, type the site and the number", default="", show_default=False
    )
    if answer.split() == [site, str(deletes)]:
        return True
    click.echo(f"That isn't `{site} {deletes}`: nothing was changed.")
    return False


def leave_if_waiting(later: Sequence[str]) -> None:
    """Tell what can't work yet, and leave with the status for that."""
    from ..provision.render import waiting_text

    if later:
        show(waiting_text(later), None)
        sys.exit(ExitStatus.FOUND)


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[Outcome], None]]:
    """A bar on standard error, as long as that is a terminal and there is anything to do."""
    if not total or not is_terminal(sys.stderr):
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


def terminal_width() -> int | None:
    """The columns of the terminal; None in a file or a pipe, where every line is whole, for `grep`."""
    return make_console().width if is_terminal(sys.stdout) else None


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
