"""`model-serving provision`: what an account should watch, planned, applied and taken away again."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from ...errors import OptionError, ProvisionError
from ...http.redact import printable
from ..files import json_text
from . import INSTALL
from .common import with_options
from .exit import ExitStatus
from .provision_preview import preview
from .provision_support import (
    ADOPT,
    FILE,
    MATCH,
    MAX_DELETES,
    MOVE,
    PACKS,
    PRUNE,
    VALUES,
    WHAT,
    WHERE,
    YES,
    ProvisionOptions,
    carry_out,
    choices_of,
    connected,
    credentials_of,
    inputs_of,
    leave_if_waiting,
    masked,
    progress_bar,
    read,
    refuse_early,
    show,
    terminal_width,
    values_of,
    wanted,
    writable,
    write_file,
)


@click.group(
    invoke_without_command=True,
    short_help="Have Datadog watch what the check sends: monitors, dashboards, SLOs.",
)
@click.pass_context
def provision(context: click.Context) -> None:
    """Have Datadog watch what the check sends: monitors, dashboards, SLOs, percentiles, notification rules, downtimes.

    What is there already is found by its mark and changed in place; what bears no mark of ours is never touched, unless
    --adopt names it.
    Keys come from DD_API_KEY and DD_APP_KEY or from files, the site from DD_SITE or --site.

    \b
    Examples:
      model-serving provision plan --offline              what is there to have?
      model-serving provision plan                        what would change in the account?
      model-serving provision apply --values values.yaml  make it so, after asking
      model-serving provision preview --out preview.html  what do the dashboards look like?
      model-serving provision destroy                     take it all away again

    Exit status: 0 when all was done; 1 for a failure; 2 for a mistake in the options, the values, the routing or the
    keys; 3 where something was found to act on: by plan --detailed-exitcode, validate, and by apply where some of it
    can't work before the account has received data.
    """
    if find_spec("datadog_api_client") is None:
        raise click.ClickException(f"this needs datadog-api-client, which this Python lacks: {INSTALL}")
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(ExitStatus.USAGE)


@provision.command()
@with_options(*WHAT, *MATCH, *WHERE, PRUNE, *MOVE, ADOPT)
@click.option("--offline", is_flag=True, help="Plan for an empty account, without keys and without a call.")
@click.option("--out", metavar="FILE", type=FILE, callback=writable, help="Also write the plan, for apply.")
@click.option("--all", "unchanged", is_flag=True, help="Show what is unchanged, too.")
@click.option("--brief", is_flag=True, help="One line of each.")
@click.option("--detailed-exitcode", "detailed", is_flag=True, help="End with status 3 where there are differences.")
def plan(
    offline: bool, out: Path | None, prune: bool, unchanged: bool, brief: bool, detailed: bool, **options: Any
) -> None:
    """Show what apply would do, field by field, and change nothing.

    \b
    Examples:
      model-serving provision plan
      model-serving provision plan --offline --pack gpu
      model-serving provision plan --values values.yaml --out plan.json
      model-serving provision plan --adopt latency.p99=12345678
      model-serving provision plan --for conf.yaml --try

    Exit status: 0 for a plan, with --detailed-exitcode 3 if it has differences; 1 for a failure; 2 for a mistake.
    """
    from ..provision.apply import conflict_text
    from ..provision.plan import make_plan
    from ..provision.render import plan_text
    from ..provision.saved import saved_json
    from ..provision.state import Account
    from .provision_match import show_left_out, unfed_by

    settings = ProvisionOptions(**options)
    values = values_of(settings)
    left_out = unfed_by(settings, values)
    resources = wanted(settings, values, left_out=left_out)
    choices = choices_of(settings, values, prune, resources)
    if offline and choices.adopt:
        raise click.UsageError("--offline is for no account, so there is nothing to --adopt: leave one of them out")
    if offline:
        credentials = None
        found = make_plan(resources, Account(choices.stack))
    else:
        credentials = credentials_of(settings)
        with connected(settings, credentials) as client:
            account = read(client, resources, choices)
            found = make_plan(resources, account, choices)
    show_left_out(left_out, settings, values, brief=brief)
    show(plan_text(found, unchanged=unchanged, brief=brief, width=terminal_width()), credentials)
    if out is not None:
        site = credentials.site if credentials else None
        whole = saved_json(
            found,
            resources,
            site,
            inputs_of(settings, values),
            lambda text: masked(text, credentials),
            choices,
            left_out,
        )
        write_file(out, json_text(whole))
    if found.conflicts:
        raise ProvisionError(conflict_text(found.conflicts))
    if detailed and found.differs:
        sys.exit(ExitStatus.FOUND)


@provision.command()
@click.argument("file", required=False, metavar="[FILE]", type=click.Path(path_type=Path, dir_okay=False))
@with_options(*WHAT, *MATCH, *WHERE, PRUNE, *MOVE, ADOPT, MAX_DELETES, YES)
def apply(file: Path | None, prune: bool, yes: bool, max_deletes: int | None, **options: Any) -> None:
    """Show the plan and, once you agree, carry it out.

    A FILE that plan --out has written is applied as it was reviewed; where the account, or a file that the plan was
    made from, has changed since, nothing is done. Before anything is written, Datadog checks every monitor that it can.

    Run it again after a failure or an interruption: it goes on where it was. What --pack, --for or --system leave out
    is left alone, also by --prune, and so are notification rules without --routing.

    \b
    Examples:
      model-serving provision apply
      model-serving provision apply plan.json --yes
      model-serving provision apply --values values.yaml --routing routing.yaml --yes
      model-serving provision apply --pack golden_signals --prune

    Exit status: 0 when all was done or nothing was to do; 1 for a failure, a plan that is stale, or when you said no;
    2 for a mistake; 3 when all was done, but some of it can't work before the account has received data.
    """
    from ..provision.apply import conflict_text, waiting
    from ..provision.plan import make_plan
    from ..provision.render import plan_text
    from ..provision.saved import load_plan, settled
    from .provision_match import show_left_out, unfed_by

    settings = ProvisionOptions(**options)
    saved = load_plan(file) if file is not None else None
    if saved is not None:
        if prune or settings.decides:
            raise click.UsageError("the plan says what is wanted: leave out all options but those of the account")
        if saved.site is None:
            raise OptionError(f"{file}: was planned with --offline, for no account: plan without it")
        resources, choices = list(saved.resources), saved.choices
    else:
        values = values_of(settings)
        left_out = unfed_by(settings, values)
        resources = wanted(settings, values, left_out=left_out)
        choices = choices_of(settings, values, prune, resources)
        show_left_out(left_out, settings, values, brief=True)
    credentials = credentials_of(settings)
    if saved is not None and saved.site != credentials.site:
        raise OptionError(f"{file}: was planned for {saved.site}, not for {credentials.site}: give --site {saved.site}")
    with connected(settings, credentials) as client:
        account = read(client, resources, choices, writes=True)
        made = make_plan(resources, account, choices)
        if saved is not None:
            made = settled(saved, made, credentials.mask)
        show(plan_text(made, width=terminal_width()), credentials)
        if made.conflicts:
            raise ProvisionError(conflict_text(made.conflicts))
        if made.differs:
            refuse_early(client, made)
            carry_out(client, made, yes, max_deletes)
        else:
            leave_if_waiting(waiting(made))


@provision.command()
@with_options(VALUES, PACKS, *WHERE, MAX_DELETES, YES)
def destroy(yes: bool, max_deletes: int | None, **options: Any) -> None:
    """Delete everything that bears the mark of your stack, and nothing else, once you agree.

    The values file names the stack; without a name it is the one without. Percentiles stay on: the account doesn't tell
    who switched them on. With --pack, notification rules and downtimes stay, too, since they are of no pack.

    \b
    Examples:
      model-serving provision destroy
      model-serving provision destroy --values values.yaml --pack gpu
      model-serving provision destroy --yes --max-deletes 80

    Exit status: 0 when all was deleted or nothing was there; 1 for a failure, or when you said no; 2 for a mistake.
    """
    from ..provision.plan import destroy_plan
    from ..provision.render import plan_text

    settings = ProvisionOptions(**options)
    # Whether they are possible is nothing to what is deleted.
    choices = choices_of(settings, values_of(settings, tried=False))
    extent = replace(choices.extent, routed=not settings.packs)
    credentials = credentials_of(settings)
    with connected(settings, credentials) as client:
        made = destroy_plan(read(client, (), choices, writes=True), extent.has)
        show(plan_text(made, width=terminal_width()), credentials)
        if made.differs:
            carry_out(client, made, yes, max_deletes)


@provision.command()
@with_options(*WHAT, *MATCH)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def export(directory: Path, **options: Any) -> None:
    """Write every resource as a JSON file that a person or Terraform can import, without a call.

    The files bear no mark of ours: what is made of them belongs to whoever made it. A folder that has files which this
    export would not write, such as those of an earlier one, is refused, and nothing is written.

    \b
    Examples:
      model-serving provision export out/
      model-serving provision export out/ --pack gpu --values values.yaml

    Exit status: 0 when all is written; 1 for a failure; 2 for a mistake.
    """
    from ..provision.export import export_files, left_over
    from ..provision.plan import over
    from ..provision.state import Account
    from .provision_match import unfed_by

    settings = ProvisionOptions(**options)
    values = values_of(settings)
    resources = wanted(settings, values, marked=False, left_out=unfed_by(settings, values))
    passed = {one.address: why for one in resources if (why := over(one, Account()))}
    for address, why in passed.items():
        click.echo(f"Warning: {address} is not exported; {why}", err=True)
    files = export_files([one for one in resources if one.address not in passed], values.stack)
    if others := left_over(directory, files):
        listed = "\n".join(f"  {printable(name)}" for name in others)
        raise OptionError(
            f"{directory}: nothing was written, since these files are not of this export and would be imported with "
            f"it; delete them, or name an empty folder:\n{listed}"
        )
    for name, text in files.items():
        write_file(directory / name, text, directory)
    click.echo(f"{len(files)} files in {directory}")


@provision.command("test")
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, dir_okay=False))
@with_options(*WHAT)
@click.option("--only", default="", metavar="TEXT", help="Only tests with this text in their name.")
@click.option("--json", "as_json", is_flag=True, help="Print what happened as JSON.")
def test_monitors(files: tuple[Path, ...], only: str, as_json: bool, **options: Any) -> None:
    """Try the monitors offline on what they would see, and tell what they do and who is notified.

    A FILE has series over time, or scenarios of simulated serving systems that the real check reads, and what is
    expected; docs/scenarios.md explains it. Without a FILE every shipped monitor is tried on every shipped scenario;
    with values or routing of yours, without what these leave out. Where something differs, it is told what they say.
    What Datadog documents nowhere is tried in every way that it may be, and what isn't known at all is said to be not
    simulated.

    \b
    Examples:
      model-serving provision test --only "one of"
      model-serving provision test my_tests.yaml --values values.yaml --routing routing.yaml

    Exit status: 0 where all that is left is as expected; 3 where something differs, depends on what is not documented,
    or is not simulated; 1 for a scenario that can't be run; 2 for a mistake in the options, a test file, values or
    routing.
    """
    from .provision_test import run_tests

    if not run_tests(files, only, ProvisionOptions(**options), as_json):
        sys.exit(ExitStatus.FOUND)


provision.add_command(preview)


@provision.command()
@with_options(*WHAT, *WHERE)
def validate(**options: Any) -> None:
    """Have Datadog check every monitor, and change nothing.

    \b
    Examples:
      model-serving provision validate
      model-serving provision validate --values values.yaml

    Exit status: 0 when Datadog takes all of them; 3 when it refuses one; 1 when one can't be checked; 2 for a mistake.
    """
    from ..provision.apply import Result
    from ..provision.render import validation_text
    from ..provision.validate import validate_monitors
    from .provision_match import unfed_by

    settings = ProvisionOptions(**options)
    values = values_of(settings)
    resources = wanted(settings, values, left_out=unfed_by(settings, values))
    credentials = credentials_of(settings)
    with connected(settings, credentials) as client:
        account = read(client, [one for one in resources if one.kind == "monitor"], choices_of(settings, values))
        monitors = sum(one.kind == "monitor" for one in resources)
        with progress_bar(monitors) as told:
            outcomes = validate_monitors(client, resources, account, told)
    show(validation_text(outcomes), credentials)
    results = {one.result for one in outcomes}
    if Result.FAILED in results:
        sys.exit(ExitStatus.FAILED)
    if Result.REFUSED in results:
        sys.exit(ExitStatus.FOUND)
