"""What the Agent makes of the submissions of check instances: one `Commit` per run of an instance.

Contexts of different instances never mix, as in the Agent, where each instance has a sampler of its own. The Agent
commits with each run the sketches of all seconds but the current one, so that what a short run submits comes with the
run after it: `Aggregation(hold_back=True)` does that too, else a distribution comes with its own run.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .accumulators import Accumulator, Discarded, MonotonicCount, accumulator
from .recorder import Batch, Bucket, MetricType, Sample
from .sketch import Sketch

FORGET_AFTER = 2
"""A context that is absent from this many runs in a row is forgotten, unless it holds the last value of a counter."""


class Context(NamedTuple):
    """What identifies a series: `tags` without duplicates, in alphabetical order, as the Agent sends them."""

    name: str
    tags: tuple[str, ...]
    host: str


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """One point: `type` is gauge, count or rate; a count is an increase since the last commit."""

    context: Context
    type: str
    value: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """The sketch of everything that one distribution got since the last commit."""

    context: Context
    sketch: Sketch


@dataclass(slots=True)
class Commit:
    """What one run gave, ordered by name and tags. `discarded` says what the Agent drops without a trace, and why."""

    series: list[SeriesPoint] = field(default_factory=list)
    distributions: list[Distribution] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)


class Aggregation:
    """Samplers of all check instances, by check id. `hold_back` keeps the sketches of the second of a commit back."""

    def __init__(self, hold_back: bool = False) -> None:
        self._hold_back = hold_back
        self._samplers: dict[str, Sampler] = {}

    def add(self, batch: Batch) -> None:
        """Take everything that was submitted, whichever instance did."""
        for sample in batch.samples:
            self._sampler(sample.check_id).add(sample)
        for bucket in batch.buckets:
            self._sampler(bucket.check_id).add_bucket(bucket)

    def commit(self, check_id: str, now: float = math.inf) -> Commit:
        """End a run of one instance and return its points. `now` is when that is, in seconds since the epoch."""
        return self._sampler(check_id).commit(int(now) if self._hold_back and now < math.inf else None)

    def readings(self, check_id: str) -> list[Any]:
        """What the increases of an instance's counters are counted from, as JSON can hold it."""
        return self._sampler(check_id).readings()

    def recall(self, check_id: str, readings: Iterable[Any]) -> None:
        """Count from what `readings` told in a process before."""
        self._sampler(check_id).recall(readings)

    def _sampler(self, check_id: str) -> Sampler:
        return self._samplers.setdefault(check_id, Sampler())


class Sampler:
    """Aggregates the submissions of one check instance."""

    def __init__(self) -> None:
        self._accumulators: dict[Context, tuple[MetricType, Accumulator]] = {}
        self._sketches: dict[int, dict[Context, Sketch]] = {}
        self._last_buckets: dict[Context, dict[tuple[float, float] | None, int]] = {}
        self._last_seen: dict[Context, int] = {}
        self._discarded: list[str] = []
        self._commits = 0

    def add(self, sample: Sample) -> None:
        """Take one sample. A value that is not finite, or the second type of a context, is noted as discarded."""
        if not math.isfinite(sample.value):
            self._discarded.append(f"{sample.name}: the value {sample.value} is not finite")
            return
        context = self._track(sample.name, sample.tags, sample.host)
        kind, samples = self._accumulators.setdefault(context, (sample.type, accumulator(sample.type)))
        if kind != sample.type:
            # The Agent feeds the sample to the first type, so it is counted, but not as the check meant it.
            self._discarded.append(
                f"{sample.name}: a {sample.type.name.lower()} of the tags of a {kind.name.lower()} counts as the latter"
            )
        samples.add(sample.value, sample.timestamp, sample.flush_first_value)

    def add_bucket(self, bucket: Bucket) -> None:
        """Take one histogram bucket.

        A monotonic bucket counts what it gained since the last one of its context: by name, tags and host only, so
        buckets without a tag for their bounds spoil each other, unless they came by `submit_histogram_bucket_multi`.
        A bucket whose value is 0 is not even remembered. Bounds are read with single precision.
        """
        lower, upper = _single(bucket.lower), _single(bucket.upper)
        if bucket.value < 0:
            self._discarded.append(f"{bucket.name}: the bucket count {bucket.value} is negative")
        elif math.isnan(lower + upper) or math.isinf(lower) or upper < lower:
            self._discarded.append(f"{bucket.name}: the bucket bounds {bucket.lower:g} to {bucket.upper:g} are invalid")
        elif bucket.value > 0:
            context = self._track(bucket.name, bucket.tags, bucket.host)
            count = self._gain(context, bucket, lower, upper) if bucket.monotonic else bucket.value
            if count > 0:
                sketch = self._sketches.setdefault(int(bucket.timestamp), {}).setdefault(context, Sketch())
                sketch.insert_bucket(lower, lower if math.isinf(upper) else upper, count)

    def commit(self, current: int | None = None) -> Commit:
        """End the run: return its points, forget contexts that are long gone.

        Distributions of the `current` second and later ones are kept for the next commit.
        """
        commit = Commit(discarded=self._discarded)
        self._discarded = []
        for context, (_, samples) in self._accumulators.items():
            try:
                for suffix, kind, value in samples.flush():
                    commit.series.append(SeriesPoint(context._replace(name=context.name + suffix), kind, value))
            except Discarded as reason:
                commit.discarded.append(f"{context.name}: {reason}")
        commit.series.sort(key=lambda series: series.context)
        sketches: dict[Context, Sketch] = {}
        for second in [second for second in self._sketches if current is None or second < current]:
            for context, sketch in self._sketches.pop(second).items():
                sketches.setdefault(context, Sketch()).merge(sketch)
        commit.distributions = [Distribution(context, sketches[context]) for context in sorted(sketches)]
        for context in [key for key, seen in self._last_seen.items() if self._commits - seen >= FORGET_AFTER]:
            del self._last_seen[context]
            self._last_buckets.pop(context, None)
            if context in self._accumulators and not self._accumulators[context][1].stateful:
                del self._accumulators[context]
        self._commits += 1
        return commit

    def readings(self) -> list[Any]:
        """The last value of each monotonic count, and the last ones of monotonic buckets by their bounds."""
        counts = [
            [*context, samples.last]
            for context, (_, samples) in self._accumulators.items()
            if isinstance(samples, MonotonicCount) and samples.last is not None
        ]
        buckets = [[*context, list(known.items())] for context, known in self._last_buckets.items()]
        return [*counts, *buckets]

    def recall(self, readings: Iterable[Any]) -> None:
        """Go on from the readings of another sampler."""
        for name, tags, host, last in readings:
            context = self._track(name, tags, host)
            if isinstance(last, list):
                known = {None if bounds is None else tuple(map(float, bounds)): int(value) for bounds, value in last}
                self._last_buckets[context] = known  # type: ignore[assignment]
            else:
                samples = MonotonicCount()
                samples.last = float(last)
                self._accumulators[context] = MetricType.MONOTONIC_COUNT, samples

    def _track(self, name: str, tags: Iterable[str], host: str) -> Context:
        context = Context(name, tuple(sorted(set(tags))), host)
        self._last_seen[context] = self._commits
        return context

    def _gain(self, context: Context, bucket: Bucket, lower: float, upper: float) -> int:
        """The increase of a monotonic bucket, 0 where there is nothing to compare with."""
        known = self._last_buckets.setdefault(context, {})
        key = (lower, upper) if bucket.by_bound else None
        last = known.get(key)
        known[key] = bucket.value
        if last is None or bucket.value < last:
            return bucket.value if bucket.flush_first_value else 0
        return bucket.value - last


def combine(commits: Iterable[Commit]) -> Commit:
    """Several commits of one instance as one: counts add up, sketches merge, of gauges and rates the last one stays."""
    series: dict[tuple[Context, str], SeriesPoint] = {}
    sketches: dict[Context, Sketch] = {}
    combined = Commit()
    for commit in commits:
        for point in commit.series:
            key = (point.context, point.type)
            if point.type == "count" and key in series:
                series[key] = SeriesPoint(point.context, point.type, series[key].value + point.value)
            else:
                series[key] = point
        for distribution in commit.distributions:
            sketches.setdefault(distribution.context, Sketch()).merge(distribution.sketch)
        combined.discarded += commit.discarded
    combined.series = [series[key] for key in sorted(series)]
    combined.distributions = [Distribution(context, sketches[context]) for context in sorted(sketches)]
    return combined


def _single(value: float) -> float:
    """A number after a trip through C's `float`, as bounds take on their way into the Agent."""
    return ctypes.c_float(value).value
