"""Trial runs of instances, as `check`, `provision preview` and `provision plan --try` make them: how many, when, and
what they tell."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from ...catalog.model import NAMESPACE
from ...errors import OptionError
from ..standin.configuration import DEFAULT_INTERVAL, Configuration
from ..standin.runner import Round, Run, Runner
from ..standin.sinks import Units, combined, to_json
from ..standin.standin import StandIn
from ..standin.targets import ScrapeTargets
from ..standin.units import catalog_files_of, unit_of
from .progress import Tell, progress

if TYPE_CHECKING:
    from ..examine import Examination

NAME = "model_serving"


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many runs, and the seconds from one to the next, which are waited for where `waits`.

    Where it is not `insisting`, a first run of which no metric comes is the last. `payloads` are the names of the saved
    payloads that are read, one a run.
    """

    times: int
    interval: float
    waits: bool = True
    insisting: bool = False
    payloads: tuple[str, ...] = ()


def schedule_of(
    found: ScrapeTargets,
    configuration: Configuration,
    times: int | None,
    interval: float | None,
    *,
    usual_times: int,
    url_interval: float,
) -> Schedule:
    """What the options ask for. Without a number there are `usual_times`, and URLs are run every `url_interval`.

    Raises OptionError.
    """
    if found.payloads:
        if times is not None:
            raise OptionError("--times is not for saved payloads, of which each is one run: give more of them.")
        between = DEFAULT_INTERVAL if interval is None else interval
        names = tuple(payload.name for payload in found.payloads)
        return Schedule(len(names), between, waits=False, insisting=True, payloads=names)
    usual = url_interval if found.urls else configuration.interval()
    return Schedule(
        usual_times if times is None else times,
        usual if interval is None else interval,
        insisting=times is not None,
    )


@dataclass(slots=True)
class TrialRun:
    """What the runs of all instances gave, and the checks that ran, by the numbers of their instances.

    `doubts` say why saved payloads do not seem to be successive answers of one endpoint.
    """

    rounds: list[Round] = field(default_factory=list)
    checks: Mapping[int, Any] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    is_interrupted: bool = False


def run(
    check_class: type[Any],
    configuration: Configuration,
    stand_in: StandIn,
    schedule: Schedule,
    as_json: bool,
) -> TrialRun:
    """Run every instance as often as is asked for, or until Ctrl-C. With `as_json` each round is printed."""
    # Late, like all that needs the check.
    from ..examine import doubts, saved_answer

    runner = Runner(
        check_class,
        NAME,
        configuration.init_config,
        configuration.instances,
        stand_in,
        secrets=configuration.secrets,
        names=configuration.urls,
    )
    done = TrialRun(checks=runner.checks)
    answers = []
    begun = 0.0
    try:
        with progress() as tell:
            for number in range(1, schedule.times + 1):
                if number > 1 and schedule.waits:
                    due = begun + schedule.interval
                    while (left := due - time.monotonic()) > 0:
                        tell(_waiting(number, schedule, left))
                        time.sleep(min(left, 1.0))
                begun = time.monotonic()
                done.rounds.append(runner.run(partial(_tell_run, tell, number, schedule.times)))
                if number == 1:
                    # What a first run prepares is none of the time between two scrapes.
                    begun = time.monotonic()
                if schedule.payloads:
                    name = schedule.payloads[number - 1]
                    answers += [saved_answer(name, check) for check in done.checks.values()]
                if as_json:
                    click.echo(json.dumps(to_json(done.rounds[-1], units(configuration)), allow_nan=False))
                if not schedule.insisting and not any(_gave(one) for one in done.rounds[-1].runs):
                    break
    except KeyboardInterrupt:
        # What the runs so far have found is worth as much as before.
        done.is_interrupted = True
    finally:
        runner.close()
    done.doubts = tuple(doubts(answers))
    return done


def _gave(run: Run) -> bool:
    """Whether something was read. How long a scrape took is told of one that failed, too."""
    about_itself = f"{NAMESPACE}.scrape."
    return bool(run.commit.distributions) or not all(
        series.context.name.startswith(about_itself) for series in run.commit.series
    )


def interruption(done: TrialRun, schedule: Schedule) -> str:
    """What is to be said where Ctrl-C ended the runs, empty where it did not."""
    if not done.is_interrupted:
        return ""
    found = f"what is shown is of {len(done.rounds)}" if done.rounds else "there is nothing to show"
    return f"Interrupted in run {min(len(done.rounds) + 1, schedule.times)} of {schedule.times}: {found}."


def _waiting(number: int, schedule: Schedule, left: float) -> str:
    after = schedule.times - number
    last = f", the last one in {math.ceil(left + after * schedule.interval)} s" if after else ""
    return f"run {number} of {schedule.times} follows in {math.ceil(left)} s{last}"


def _tell_run(tell: Tell, number: int, times: int, label: str) -> None:
    tell(f"run {number} of {times}: {label}")


def examined(done: TrialRun, configuration: Configuration, schedule: Schedule) -> list[Examination]:
    """What the runs tell, instance by instance."""
    # Late, like all that needs the check.
    from ..examine import examine

    if not done.rounds:
        return []
    whole = combined(done.rounds)
    found = []
    for first, run in zip(done.rounds[0].runs, whole.runs, strict=True):
        # Each instance has its own: others may take long in between.
        seconds = run.ended - first.ended if schedule.waits else schedule.interval * (len(done.rounds) - 1)
        check, written = done.checks.get(run.instance), configuration.written[run.instance]
        found.append(examine(check, run, whole, written, seconds=seconds or None))
    return [_of_payloads(one, url, done.doubts) for one in found for url in configuration.urls] or found


def _of_payloads(examination: Examination, url: str, doubted: Sequence[str]) -> Examination:
    """What payloads tell, of which the server that replays them, at this URL, is no part."""
    unasked = tuple(replace(state, why="a saved payload can't be asked") for state in examination.readiness)
    written = examination.configuration.replace(urlsplit(url).netloc, "HOST:PORT")
    warnings = (*doubted, *examination.warnings)
    return replace(examination, readiness=unasked, configuration=written, warnings=warnings)


def units(configuration: Configuration) -> Units:
    """Units by the names of metrics, those of the catalogs of the instances included."""
    files = catalog_files_of(instance for _, instance in configuration.instances)
    return partial(unit_of, catalog_files=files)
