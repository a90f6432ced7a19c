"""`model-serving provision preview`: the dashboards as one page, before there is anything in an account."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import ConfigError, OptionError, ScrapeError
from ...http.redact import printable
from ..standin.configuration import DEFAULT_INTERVAL
from ..standin.install import standing_in
from ..standin.standin import StandIn
from .common import with_options
from .exit import ExitStatus
from .progress import progress
from .provision_support import FILE, PACKS, ProvisionOptions, values_of, wanted, writable, write_file
from .trial import TARGETS, WHAT_RUNS, WRITTEN, TrialOptions, prepared, when
from .trial_runs import examined, interruption, run

if TYPE_CHECKING:
    from ..examine import Examination
    from ..preview.recorded import Recorded
    from ..provision.model import Resource
    from ..provision.values import Values

LIBRARY = "vl_convert"
INSTALL = (
    "`pip install '.[cli,preview]'` in a checkout, or `pip install 'PATH[cli,preview]'` with the path of the wheel"
)
RUNS = 5
SHORTEST = 1
"""Seconds from one run to the next: Datadog keeps points by the second."""
MINUTES, SEED = 60, 1


@click.command()
@with_options(
    TARGETS,
    click.option("--values", metavar="FILE", type=FILE, help="Your thresholds, windows, scopes, teams, prefix."),
    PACKS,
)
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    type=FILE,
    callback=writable,
    help="Where to write the page, such as preview.html.",
)
@click.option(
    "--minutes",
    metavar="N",
    type=click.IntRange(2, 240),
    help=f"How much time to simulate; an hour takes about ten seconds.  [default: {MINUTES}]",
)
@click.option("--seed", metavar="N", type=int, help=f"The same seed simulates the same.  [default: {SEED}]")
@with_options(
    *WHAT_RUNS,
    *when(str(RUNS), "the longest min_collection_interval of the instances, or 15", SHORTEST),
)
def preview(out: Path, minutes: int | None, seed: int | None, **options: Any) -> None:
    """Draw the dashboards as one HTML page, without an account: of simulated data, or of your own endpoints.

    Without a TARGET the real check reads the simulated serving systems of `model-serving demo`, in simulated time.
    With one, or with -c, it reads what `model-serving check` would: the URLs of endpoints, saved payloads as successive
    answers of one endpoint, or the instances of a configuration, a few times. Dashboards that these feed too little of
    are left out, unless --pack names them.

    What the check submits is what the queries of the widgets are evaluated over. The page needs no network and no other
    file. A widget whose query or type is not simulated says so, and is left empty.

    \b
    Examples:
      model-serving provision preview --out preview.html
      model-serving provision preview --pack gpu --values values.yaml --out gpu.html
      model-serving provision preview http://localhost:8082/metrics --out preview.html
      model-serving provision preview -c conf.yaml --times 20 --interval 15 --out preview.html

    Exit status: 0 when the page is written; 1 for a failure, where no instance gives anything, or where Ctrl-C ended
    the runs; 2 for a mistake in the options, the values or the configuration.
    """
    if find_spec(LIBRARY) is None:
        raise click.ClickException(f"this draws with vl-convert-python, which this Python lacks: {INSTALL}")
    from ..preview.page import render_page
    from ..provision.desired import desired
    from ..provision.packs import builtin_packs
    from ..provision.simulate.adjustments import assume_scopes, met_note

    named = {name: options.pop(name) for name in ("values", "packs")}
    settings, trial = ProvisionOptions(**named), TrialOptions(**options)
    _refuse(trial, {"--minutes": minutes, "--seed": seed})
    values = values_of(settings)
    resources = wanted(settings, values, marked=False)
    if not any(one.kind == "dashboard" for one in resources):
        have = ", ".join(name for name, pack in builtin_packs().items() if pack.dashboards)
        raise OptionError(f"there is no dashboard to draw: the packs that were chosen have none; {have} have one")
    notes, interrupted, unfed = list[str](), "", dict[str, str]()
    if trial.is_given:
        recorded, unfed, interrupted = _own_runs(trial, values)
    else:
        recorded = _story(MINUTES if minutes is None else minutes, SEED if seed is None else seed)
    assumed, met = assume_scopes(values, recorded.seen.tag_names())
    if met:
        resources = desired(settings.packs or None, assumed)
        why = "these runs lack tags that an Agent adds" if trial.is_given else "simulated series have no such tags"
        notes.append(met_note(met, settings.values, why))
    if not settings.packs:
        resources, left_out = _fed(resources, unfed)
        notes += left_out
    with progress() as tell:
        page = render_page(resources, recorded, notes, lambda title: tell(f"drawing {title}"))
    write_file(out, page)
    number = sum(one.kind == "dashboard" for one in resources)
    click.echo(f"{number} {'dashboard' if number == 1 else 'dashboards'} in {out}")
    for note in notes:
        click.echo(printable(f"Note: {note}"), err=True)
    if interrupted:
        click.echo(interrupted, err=True)
        sys.exit(ExitStatus.FAILED)


def _refuse(trial: TrialOptions, simulated: Mapping[str, int | None]) -> None:
    """Raises OptionError about options that are of the other of the two: runs and simulated data."""
    given = next((name for name, value in simulated.items() if value is not None), "")
    if trial.is_given and given:
        raise OptionError(f"{given} is for simulated data: with a target or -c leave it out")
    if not trial.is_given and (name := trial.given()):
        raise OptionError(f"{WRITTEN[name]} is for endpoints of yours: give a target or -c FILE, or leave it out")


def _story(minutes: int, seed: int) -> Recorded:
    from ..preview.story import record_story

    with progress() as tell:
        return record_story(minutes, seed, lambda minute: tell(f"simulating minute {minute} of {minutes}"))


def _own_runs(trial: TrialOptions, values: Values) -> tuple[Recorded, dict[str, str], str]:
    """What runs of the user's instances gave; the addresses of what these do not feed, and why; and what is to be said
    where Ctrl-C ended the runs. Raises UserError where nothing came.
    """
    with ExitStack() as stack:
        configuration, schedule = prepared(trial, stack, usual_times=RUNS, url_interval=DEFAULT_INTERVAL)
        if schedule.interval < SHORTEST:
            raise OptionError(
                f"runs {schedule.interval:g} s apart, as the instances ask for, can't be drawn, since Datadog keeps "
                f"points by the second: give --interval {SHORTEST}"
            )
        stand_in = stack.enter_context(standing_in(StandIn()))
        # Imported here so that the base package finds the stand-in, where it was not loaded before.
        from ... import ModelServingCheck

        done = run(ModelServingCheck, configuration, stand_in, schedule, as_json=False)
    interrupted = interruption(done, schedule)
    if not done.rounds:
        click.echo(interrupted, err=True)
        sys.exit(ExitStatus.FAILED)
    from ..examine.feeds import of_trial, unfed
    from ..preview.runs import record_runs

    told = examined(done, configuration, schedule)
    troubles = [*done.doubts, *(_trouble(one) for one in told if one.error or not one.mapped)]
    if not any(one.mapped for one in told):
        kind = ConfigError if any(round_.misconfigured for round_ in done.rounds) else ScrapeError
        raise kind("\n".join(["there is nothing to draw, `model-serving check` says more:", *troubles]))
    for trouble in troubles:
        click.echo(printable(f"Note: {trouble}", lines=True), err=True)
    feeds = [of_trial(one.ground) for one in told if one.mapped and one.ground is not None]
    seconds = schedule.interval
    if schedule.waits and len(done.rounds) > 1:
        seconds = (done.rounds[-1].timestamp - done.rounds[0].timestamp) / (len(done.rounds) - 1)
    recorded = record_runs(done.rounds, seconds, stand_in.hostname, saved=not schedule.waits)
    return recorded, unfed(feeds, values), interrupted


def _trouble(told: Examination) -> str:
    """What went wrong with an instance, or why nothing comes of it. Most messages of the check name it."""
    why = told.error or told.quiet or "nothing of it is mapped"
    return why if told.label in why else f"{told.label}: {why}"


def _fed(resources: Sequence[Resource], unfed: Mapping[str, str]) -> tuple[list[Resource], list[str]]:
    """The resources without dashboards that too little would come of, and a note about these. All, if none is left."""
    less = [one for one in resources if one.kind == "dashboard" and one.address in unfed]
    kept = [one for one in resources if one not in less]
    if not less or not any(one.kind == "dashboard" for one in kept):
        return list(resources), []
    names = ", ".join(f"{one.body['title']} ({unfed[one.address]})" for one in less)
    return kept, [f"Left out, unless --pack names their pack: {names}."]
