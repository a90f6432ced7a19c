"""What a known block of lines comes to: which of its numbers are the readings of which series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ...submit.series import Reading, Series
from ..collector import Collector
from .blocks import EXACT
from .trace import Trace

NOTHING, ZERO = -1, -2
"""Numbers of two values that stand behind those of every block: None and 0."""


@dataclass(slots=True)
class Feed:
    """Where the numbers of one series are: its `value`, or `count`, `sum` and the buckets at the sorted `bounds`.

    `lines` is given for windows, whose timestamps matter: all the numbers, in order.
    """

    series: Series
    value: int = ZERO
    count: int = NOTHING
    sum: int = NOTHING
    bounds: tuple[float, ...] = ()
    buckets: slice | tuple[int, ...] = ()
    lines: tuple[int, ...] = ()

    @classmethod
    def of(cls, series: Series, parts: Iterable[tuple[int, str, float]]) -> Feed:
        """From (number, part, bound) of each of its samples."""
        feed = cls(series)
        buckets = []
        for number, part, bound in parts:
            if part == "bucket":
                buckets.append((bound, number))
            else:
                setattr(feed, part, number)
        if buckets:
            buckets.sort()
            feed.bounds = tuple(bound for bound, _ in buckets)
            feed._place([number for _, number in buckets])
        if series.raw.type.startswith("window"):
            feed.lines = tuple(sorted(number for number, _, _ in feed.parts()))
        return feed

    def parts(self) -> Iterator[tuple[int, str, float]]:
        """Number, part and bound of each sample."""
        for number, part in ((self.value, "value"), (self.count, "count"), (self.sum, "sum")):
            if number >= 0:
                yield number, part, 0.0
        for number, bound in zip(self._bucket_numbers(), self.bounds, strict=True):
            yield number, "bucket", bound

    def numbers(self) -> list[int]:
        """The numbers of all its samples."""
        return [*(each for each in (self.value, self.count, self.sum) if each >= 0), *self._bucket_numbers()]

    def moved(self, place: Sequence[int]) -> Feed:
        """The feed where sample n is now sample `place[n]`."""
        value, count, total = (each if each < 0 else place[each] for each in (self.value, self.count, self.sum))
        feed = Feed(self.series, value, count, total, self.bounds, lines=tuple(sorted(place[n] for n in self.lines)))
        feed._place([place[number] for number in self._bucket_numbers()])
        return feed

    def first(self) -> int:
        """The number of the sample with which the series appears."""
        return min(self.numbers())

    def _bucket_numbers(self) -> Sequence[int]:
        buckets = self.buckets
        return range(buckets.start, buckets.stop) if isinstance(buckets, slice) else buckets

    def _place(self, numbers: list[int]) -> None:
        first = numbers[0] if numbers else 0
        in_a_row = bool(numbers) and numbers == list(range(first, first + len(numbers)))
        self.buckets = slice(first, first + len(numbers)) if in_a_row else tuple(numbers)


@dataclass(slots=True)
class Plan:
    """What a block does to a Collector, for any numbers. `feeds` are in the order in which the series appear.

    `samples` is how many there are, `taken` how many the catalog knows, `fed` how many the feeds use; `timed` says that
    timestamps matter. The rest is as in Trace.
    """

    feeds: list[Feed]
    families: list[str]
    unclaimed: list[str]
    present: set[tuple[str, str]]
    starts: list[tuple[str, int]]
    samples: int
    taken: int
    fed: int = 0
    timed: bool = False

    @classmethod
    def of(cls, trace: Trace, samples: int, taken: int) -> Plan:
        """The plan of a block that has been parsed."""
        parts: dict[int, tuple[Series, list[tuple[int, str, float]]]] = {}
        for number, series, part, bound in trace.rows:
            parts.setdefault(id(series), (series, []))[1].append((number, part, bound))
        return cls(
            [Feed.of(series, rows) for series, rows in parts.values()],
            trace.families,
            trace.unclaimed,
            trace.present,
            trace.starts,
            samples,
            taken,
        ).settled()

    def settled(self) -> Plan:
        """With what follows from the feeds."""
        for feed in self.feeds:
            self.present.update(feed.series.names)
            self.fed += len(feed.numbers())
            self.timed = self.timed or bool(feed.lines)
        return self

    def can_read(self, values: Sequence[float]) -> bool:
        """Whether the numbers are such that only their size matters: finite, and exact as floats."""
        if not values or (isfinite(sum(values)) and min(values) > -EXACT and max(values) < EXACT):
            return True
        return all(-EXACT < values[number] < EXACT for feed in self.feeds for number in feed.numbers())

    def announce(self, collector: Collector, values: Sequence[float]) -> None:
        """Do all but the readings."""
        collector.samples += self.samples
        collector.taken += self.taken
        for family in self.families:
            collector.name(family)
        for family in self.unclaimed:
            collector.unclaim(family)
        for group, number in self.starts:
            collector.started(group, values[number])
        collector.present |= self.present


def padded(values: Sequence[float]) -> list[Any]:
    """The numbers of a block, with those behind them that stand for parts that aren't there."""
    return [*values, 0.0, None]


def run(feeds: Iterable[Feed], collector: Collector, numbers: list[Any], times: Sequence[float | None]) -> None:
    """Give series their readings from the `padded` numbers of a block.

    `times` are the timestamps of the samples in seconds, empty where no window needs them.
    """
    scrape, meet = collector.scrape, collector.meet
    for feed in feeds:
        series, buckets = feed.series, feed.buckets
        if series.seen == scrape:
            for number, part, bound in sorted(feed.parts()):
                collector.read(series, part, bound, numbers[number])
        else:
            counts = numbers[buckets] if type(buckets) is slice else [numbers[number] for number in buckets]
            meet(series, Reading(numbers[feed.value], numbers[feed.count], numbers[feed.sum], feed.bounds, counts))
        if times:
            for number in feed.lines:
                time = times[number]
                if time is not None:
                    collector.stamp(series, time)
