"""Whether a loaded version can be unloaded: keep it, it is idle, or nobody can tell.

What is not known is never taken for idle. A version is idle if its server was seen in every hour of the period, the
version was there for all of it, and no call came that is, or may be, one of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...submit.series import tag_value
from .inventory import Listed
from .traffic import HOUR, OWN_ENDPOINT, THINGS, Calls, Hours, RecordedTraffic

KEEP, IDLE, UNKNOWN = "keep", "idle", "unknown"


@dataclass(frozen=True, slots=True)
class Judged:
    """A loaded version and what came of it. `reason` says why it is unknown.

    `peak` is the mean rate of its busiest hour, in calls per second; `last` the hour of the last call, None for none;
    `since` when it was loaded, in epoch seconds, as far as anybody tells.
    """

    listed: Listed
    verdict: str
    reason: str
    peak: float
    last: int | None
    seen: Hours
    since: float | None


Thing = tuple[str, ...]


def judge(listed: Sequence[Listed], traffic: RecordedTraffic, idle_below: float = 0.0) -> list[Judged]:
    """A verdict for each version. Replicas, servers that have the same version loaded, get the same one.

    With `idle_below` a version is idle up to so many calls per second in its busiest hour.
    """
    things: dict[Thing, list[Listed]] = {}
    for one in listed:
        things.setdefault(_thing(one), []).append(one)
    sure: dict[Thing, list[Calls]] = {thing: [] for thing in things}
    doubtful: dict[Thing, list[Calls]] = {thing: [] for thing in things}
    for calls in traffic.calls:
        whose = [thing for thing, some in things.items() if any(traffic.may_be_of(calls, one) for one in some)]
        for thing in whose:
            (sure if len(whose) == 1 else doubtful)[thing].append(calls)
    found: dict[Listed, Judged] = {}
    for thing, some in things.items():
        for one in some:
            found[one] = _judged(one, some, sure[thing], doubtful[thing], traffic, idle_below)
    return [found[one] for one in listed]


def _thing(one: Listed) -> Thing:
    """What is called: the same version at another server is the same thing."""
    endpoint = (one.endpoint,) if one.system in OWN_ENDPOINT else ()
    return (one.system, *endpoint, *(tag_value(one.loaded.tags, tag) for tag in THINGS))


def _judged(
    one: Listed,
    replicas: Sequence[Listed],
    sure: Sequence[Calls],
    doubtful: Sequence[Calls],
    traffic: RecordedTraffic,
    idle_below: float,
) -> Judged:
    period = traffic.period
    seen = frozenset(range(period.hours)).intersection(*(traffic.seen[other].hours for other in replicas))
    together = _together(sure)
    since = _since(one, replicas, traffic)
    verdict, reason = IDLE, ""
    if together.highest > idle_below:
        verdict = KEEP
    elif together.highest + _together(doubtful).highest > idle_below:
        verdict, reason = UNKNOWN, "calls came that don't say which version they are of"
    elif not one.loaded.serving:
        verdict, reason = UNKNOWN, f"it is {one.loaded.state}"
    elif since is not None and since > period.start:
        verdict, reason = UNKNOWN, f"loaded in the last {_hours(period.end - since)}"
    elif len(seen) < period.hours:
        why = next((traffic.seen[other].why for other in replicas if traffic.seen[other].why), "")
        verdict, reason = UNKNOWN, f"only {len(seen)} of {period.hours} hours seen{f': {why}' if why else ''}"
    return Judged(one, verdict, reason, together.peak, together.last, seen, since)


@dataclass(frozen=True, slots=True)
class _Together:
    """All calls of a thing: the mean rate of the busiest hour, by what is believed and at most, and the last hour."""

    peak: float
    highest: float
    last: int | None


def _together(calls: Sequence[Calls]) -> _Together:
    measures: dict[str, list[Calls]] = {}
    for one in calls:
        measures.setdefault(one.measure, []).append(one)
    peaks = []
    for same in measures.values():
        hours = {hour for one in same for hour in one.rates}
        sums = [sum(one.rates.get(hour, 0.0) for one in same) for hour in hours]
        peaks.append(max((*sums, *(one.highest for one in same))))
    believed = next(filter(None, peaks), 0.0)
    last = max((hour for one in calls for hour in one.called), default=None)
    return _Together(believed, max(peaks, default=0.0), last)


def _since(one: Listed, replicas: Sequence[Listed], traffic: RecordedTraffic) -> float | None:
    """When a version was loaded, as its system says or, else, as its oldest replica was seen."""
    if one.loaded.since is not None:
        return one.loaded.since
    return min((seen.since for other in replicas if (seen := traffic.seen[other]).since is not None), default=None)


def _hours(seconds: float) -> str:
    number = max(1, math.ceil(seconds / HOUR))
    return "hour" if number == 1 else f"{number} hours"
