"""How the Agent turns the samples of one context into points, one class per metric type.

A context is a metric name with a set of tags and a host. The rules are those of the Agent's `metrics` package
(github.com/DataDog/datadog-agent, pkg/metrics).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ...errors import InternalSignal
from .recorder import MetricType

Point = tuple[str, str, float]
"""Suffix of the metric name, type in Datadog (gauge, count or rate), value."""

PERCENTILE = 95
"""The one percentile that the Agent computes of a histogram unless its `histogram_percentiles` say otherwise."""


class Discarded(InternalSignal):
    """What was submitted gives no point; the text says why."""


class Accumulator(Protocol):
    """Takes the samples of one context and gives its points at every commit."""

    stateful: bool
    """Whether it must outlive runs in which its context is absent."""

    def add(self, value: float, timestamp: float, flush_first_value: bool) -> None:
        """Take one sample, `timestamp` in seconds."""

    def flush(self) -> Iterator[Point]:
        """The points since the last call. Raises Discarded when there is something, but no valid point."""


class Gauge:
    """The last value wins."""

    stateful = False

    def __init__(self) -> None:
        self._value: float | None = None

    def add(self, value: float, timestamp: float, flush_first_value: bool) -> None:
        self._value = value

    def flush(self) -> Iterator[Point]:
        if self._value is not None:
            yield "", "gauge", self._value
        self._value = None


class Count:
    """The sum of all values. `kind` is "rate" for a counter, which the Agent divides by an interval of 1 s."""

    stateful = False

    def __init__(self, kind: str = "count") -> None:
        self._kind = kind
        self._sum: float | None = None

    def add(self, value: float, timestamp: float, flush_first_value: bool) -> None:
        self._sum = (self._sum or 0.0) + value

    def flush(self) -> Iterator[Point]:
        if self._sum is not None:
            yield "", self._kind, self._sum
        self._sum = None


class MonotonicCount:
    """The increase of a counter over successive samples.

    The first sample ever is only where counting starts, and a fall (a counter that restarted) counts as no increase.
    With `flush_first_value` the sample counts in full in both cases; after a fall it also replaces what the same
    run had gathered before. `last` is the last sample.
    """

    stateful = True

    def __init__(self) -> None:
        self.last: float | None = None
        self._increase: float | None = None

    def add(self, value: float, timestamp: float, flush_first_value: bool) -> None:
        start = 0.0 if self.last is None and flush_first_value else self.last
        if start is not None:
            gathered = self._increase or 0.0
            if value >= start:
                gathered += value - start
            elif flush_first_value:
                gathered = value
            self._increase = gathered
        self.last = value

    def flush(self) -> Iterator[Point]:
        if self._increase is not None:
            yield "", "count", self._increase
        self._increase = None


class Rate:
    """The difference per second between the last two samples."""

    stateful = True

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None
        self._now: tuple[float, float] | None = None

    def add(self, value: float, timestamp: float, flush_first_value: bool) -> None:
        if self._now is not None:
            self._before = self._now
        self._now = (value, timestamp)

    def flush(self) -> Iterator[Point]:
        if self._before is None or self._now is None:
            return
        rise, seconds = (now - before for now, before in zip(self._now, self._before, strict=True))
        if seconds == 0:
            raise Discarded("a rate needs two samples at different times")
        self._before, self._now = self._now, None
        if rise / seconds < 0:
            raise Discarded("the rate is negative, as after a restart of the counter")
        yield "", "gauge", rise / seconds


class Histogram:
    """Largest, median, average and a percentile as gauges, and how many values there were as a rate."""

    stateful = False

    def __init__(self) -> None:
        self._values: list[float] = []

    def add(self, value: float, timestamp: float, flush_first_value: bool) -> None:
        self._values.append(value)

    def flush(self) -> Iterator[Point]:
        values, self._values = sorted(self._values), []
        count = len(values)
        if not count:
            return
        yield ".max", "gauge", values[-1]
        yield ".median", "gauge", values[(count - 1) // 2]
        yield ".avg", "gauge", sum(values) / count
        yield ".count", "rate", float(count)
        yield f".{PERCENTILE}percentile", "gauge", values[(PERCENTILE * count - 1) // 100]


class Historate:
    """A histogram of the rates between successive samples of one run."""

    stateful = True

    def __init__(self) -> None:
        self._rates = Histogram()
        self._last: tuple[float, float] | None = None
        self._sampled = False

    def add(self, value: float, timestamp: float, flush_first_value: bool) -> None:
        if self._last is not None:
            before, then = self._last
            if timestamp != then:
                self._rates.add((value - before) / (timestamp - then), timestamp, flush_first_value)
                self._sampled = True
        self._last = (value, timestamp)

    def flush(self) -> Iterator[Point]:
        if self._sampled:
            self._last, self._sampled = None, False
            yield from self._rates.flush()


def accumulator(kind: MetricType) -> Accumulator:
    """A new accumulator for a metric type."""
    match kind:
        case MetricType.GAUGE:
            return Gauge()
        case MetricType.COUNT:
            return Count()
        case MetricType.COUNTER:
            return Count("rate")
        case MetricType.MONOTONIC_COUNT:
            return MonotonicCount()
        case MetricType.RATE:
            return Rate()
        case MetricType.HISTOGRAM:
            return Histogram()
        case MetricType.HISTORATE:
            return Historate()
