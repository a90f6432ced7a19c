"""Calls of models over a period, whoever tells of them, and which loaded versions they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...submit.series import tag_value
from .call_metrics import REQUESTS
from .inventory import Listed

HOUR = 3600
THINGS = ("model_name", "model_version", "served_entity")
"""Tags that say what was called."""

OWN_ENDPOINT = ("databricks",)
"""Systems whose endpoints are called by their names. Those of others are servers, and several may be replicas: a call
is one of the version, whichever of them answered."""

Hours = frozenset[int]


@dataclass(frozen=True, slots=True)
class Period:
    """So many hours up to `end`, in epoch seconds. They are counted from the oldest one, 0."""

    hours: int
    end: float

    @property
    def start(self) -> float:
        """When it began."""
        return self.end - self.hours * HOUR

    def beginning(self, hour: int) -> float:
        """When an hour began."""
        return self.start + hour * HOUR


@dataclass(frozen=True, slots=True)
class Calls:
    """What is told of the calls of one thing.

    `named` are the tags that say which, without those that aren't told; `rates` the mean of each hour that has one, in
    calls per second; `called` the hours in which there was a call, however few. `peak` is the busiest mean of an hour
    that the source itself has found, between whatever bounds. Calls of one `measure` add up, those of another one are
    the same again. What names no model is of a model of the `server` that has counted it.
    """

    system: str
    named: Mapping[str, str]
    rates: Mapping[int, float] = field(default_factory=dict)
    called: Hours = frozenset()
    peak: float = 0.0
    measure: str = REQUESTS
    server: str = ""

    @property
    def highest(self) -> float:
        """The mean of the busiest hour, at least that of one call where there was one."""
        return max((self.peak, *self.rates.values(), 1 / HOUR if self.called else 0.0))


@dataclass(frozen=True, slots=True)
class Seen:
    """The hours in which the source has seen the server of a version, and why it hasn't seen others.

    `since` is when the source has first seen the version loaded, in epoch seconds: before the period where that was
    all along, None where it can't tell. `servers` are those that have the model, as the source calls them.
    """

    hours: Hours
    why: str = ""
    since: float | None = None
    servers: frozenset[str] = frozenset()


def loaded_in(own: Hours, others: Iterable[Hours], hours: Hours, period: Period, why: str = "") -> Seen:
    """What is seen of a version that is known to have been loaded in the hours `own`.

    `others` are such hours of all versions of its server: where none was known, nothing was told. Of the `hours` in
    which the server was seen those count in which the version was there.
    """
    seen = hours & own & frozenset(range(period.hours))
    told = min((min(some) for some in others if some), default=period.hours)
    first = min(own, default=period.hours)
    if first > told:
        return Seen(seen, why, period.beginning(first))
    return Seen(seen, why or "nobody told before what is loaded" if told else why, None if told else period.start)


@dataclass(frozen=True, slots=True)
class RecordedTraffic:
    """All that a source tells of a period. `spelt` is how it spells the values of tags."""

    period: Period
    calls: Sequence[Calls]
    seen: Mapping[Listed, Seen]
    spelt: Callable[[str], str] = str

    def may_be_of(self, calls: Calls, one: Listed) -> bool:
        """Whether calls can be of a loaded version: all that is told of them, and of it, agrees."""
        if calls.system != one.system:
            return False
        if calls.server and "model_name" not in calls.named and one in self.seen:
            return calls.server in self.seen[one].servers
        tags = (*THINGS, "endpoint_name") if one.system in OWN_ENDPOINT else THINGS
        for tag in tags:
            value, own = calls.named.get(tag, ""), tag_value(one.loaded.tags, tag)
            if value and own and value != self.spelt(own):
                return False
        return True


class TrafficSource(Protocol):
    """Prometheus or Datadog."""

    name: str

    def observe(self, listed: Sequence[Listed], hours: int, now: float | None = None) -> RecordedTraffic:
        """What it tells of the last hours, or of those before `now` in epoch seconds. Raises TrafficError."""
