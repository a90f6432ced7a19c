"""What was submitted over time: points of metrics, statuses of service checks, events."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from ...standin.sketch import Sketch
from ...stored import stored

Tags = tuple[str, ...]
"""`key:value` as Datadog stores them, without duplicates, in alphabetical order."""
Value = float | Sketch

GAUGE, COUNT, DISTRIBUTION = "gauge", "count", "distribution"
STATUSES = ("ok", "warning", "critical", "unknown")


def tags_of(tags: Iterable[str]) -> Tags:
    """Tags as Datadog stores them."""
    return tuple(sorted({stored(tag) for tag in tags}))


def values_of(tags: Tags, key: str) -> tuple[str, ...]:
    """All values that a tag has."""
    start = f"{key}:"
    return tuple(tag[len(start) :] for tag in tags if tag.startswith(start))


@dataclass(slots=True)
class PointSeries:
    """The points of one metric with one set of tags: times in seconds since the epoch, ascending."""

    kind: str
    tags: Tags
    times: list[int] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)

    def between(self, start: float, end: float) -> Iterator[tuple[int, Value]]:
        """Points from `start` on and before `end`."""
        at = bisect_left(self.times, start)
        while at < len(self.times) and self.times[at] < end:
            yield self.times[at], self.values[at]
            at += 1


@dataclass(slots=True)
class StatusSeries:
    """The statuses of one service check with one set of tags."""

    tags: Tags
    times: list[int] = field(default_factory=list)
    values: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EventSeen:
    """An event: title and text, and its fields such as `source`."""

    time: int
    title: str
    tags: Tags
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Observations:
    """Everything that monitors look at, from `start` to `end`.

    What came before `start` is unknown, so nothing, unless `period` says how many seconds from `start` on are what
    happened before again and again. Then monitors that compare with last week have something to compare with.
    """

    start: int
    end: int
    period: int = 0
    metrics: dict[str, dict[Tags, PointSeries]] = field(default_factory=dict)
    checks: dict[str, dict[Tags, StatusSeries]] = field(default_factory=dict)
    events: list[EventSeen] = field(default_factory=list)

    def point(self, name: str, kind: str, tags: Iterable[str], time: float, value: Value) -> None:
        """Add a point. One at the same time replaces that of before, as Datadog does."""
        found = tags_of(tags)
        series = self.metrics.setdefault(name, {}).setdefault(found, PointSeries(kind, found))
        second = int(time)
        if series.times and series.times[-1] >= second:
            if series.times[-1] > second:
                raise ValueError(f"{name}: a point at {second} comes after one at {series.times[-1]}")
            series.values[-1] = value
        else:
            series.times.append(second)
            series.values.append(value)

    def status(self, name: str, tags: Iterable[str], time: float, status: str) -> None:
        """Add the status of a service check, one of `STATUSES`."""
        found = tags_of(tags)
        series = self.checks.setdefault(name, {}).setdefault(found, StatusSeries(found))
        series.times.append(int(time))
        series.values.append(status)

    def event(self, title: str, tags: Iterable[str], time: float, **fields: str) -> None:
        """Add an event."""
        self.events.append(EventSeen(int(time), title, tags_of(tags), fields))

    def tag_names(self) -> frozenset[str]:
        """Names of the tags that anything bears."""
        metrics, checks = (chain.from_iterable(found.values()) for found in (self.metrics, self.checks))
        bearers = chain(metrics, checks, (event.tags for event in self.events))
        return frozenset(tag.partition(":")[0] for tags in bearers for tag in tags)
