"""A metric of a query over time: points into buckets, series into groups."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from statistics import fmean

from ...standin.sketch import Sketch
from ..query.tree import Method, Metric, Name, Number
from .matching import matches
from .observations import COUNT, DISTRIBUTION, GAUGE, Observations, PointSeries, Value, values_of
from .variants import NotSimulated

Group = tuple[tuple[str, str], ...]
"""The tags that a monitor is grouped by and their values, in alphabetical order."""
Points = dict[int, float]
"""Values by the start of their bucket, ascending."""

MINUTE = 60
INTERPOLATED = 300
"""Seconds over which a gauge is carried on where nothing else is said."""
PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)")

TIME: Mapping[str, Callable[[Iterable[float]], float]] = {"avg": fmean, "sum": sum, "min": min, "max": max}


def first_bucket(start: float, width: int) -> int:
    """The first bucket of a window: one that begins before the window is dropped whole."""
    return int(-(-start // width) * width)


@dataclass(slots=True)
class Leaf:
    """What selects and shapes the series of one metric of a query."""

    metric: Metric
    kind: str
    sources: list[tuple[Group, PointSeries]]
    rollup: str
    width: int | None
    fill: tuple[str, int] | None
    built: dict[tuple[int, bool], dict[Group, tuple[list[int], list[Value]]]] = field(default_factory=dict)
    """Buckets and their values by group, for each width, and whether they are numbers already."""
    repeated: dict[tuple[int, bool], dict[Group, Value]] = field(default_factory=dict)
    """A bucket by its place in the period that repeats itself before the start, if it is there, else relative to it."""

    @property
    def summed(self) -> bool:
        return self.metric.has("as_count") or self.metric.has("as_rate")


class Leaves:
    """The metrics of queries over some observations; what was computed once is kept."""

    def __init__(self, seen: Observations) -> None:
        self.seen = seen
        self._leaves: dict[int, tuple[Metric, Leaf]] = {}

    def leaf(self, metric: Metric) -> Leaf:
        """The leaf of a metric. Raises NotSimulated for a form that isn't known well enough."""
        # By identity, for a tree takes long to be hashed; what is kept keeps its id.
        known = self._leaves.get(id(metric))
        if known is None:
            known = self._leaves[id(metric)] = metric, self._make(metric)
        return known[1]

    def points(self, metric: Metric, width: int, start: float, end: float) -> dict[Group, Points]:
        """What a metric is per group and bucket, within a window."""
        leaf = self.leaf(metric)
        return self._window(leaf, leaf.width or width, start, end, True)  # type: ignore[return-value]

    def totals(self, metric: Metric, width: int, start: float, end: float) -> dict[Group, float]:
        """The sum of what a metric is in the buckets of a window, of each group that has any."""
        leaf, seen = self.leaf(metric), self.seen
        if leaf.width is not None or (seen.period and (seen.start % width or seen.period % width)):
            # Buckets need not fit into the period that repeats itself.
            return {group: sum(found.values()) for group, found in self.points(metric, width, start, end).items()}
        first, last = first_bucket(start, width), int(end // width * width)
        found: dict[Group, float] = {}
        for group, (buckets, values) in self._whole(leaf, width, True).items():
            parts = [values[low:high] for _, low, high in self._stretches(buckets, first, last) if low < high]
            if parts:
                found[group] = sum(map(sum, parts))  # type: ignore[arg-type]
        if end > last >= first:
            for group, slot in self._build(leaf, width, last, end, True).items():
                found[group] = found.get(group, 0.0) + sum(slot.values())  # type: ignore[arg-type]
        return found

    def sketches(self, metric: Metric, start: float, end: float, width: int = MINUTE) -> dict[Group, Sketch]:
        """All that a distribution got within a window, in buckets of a width, by group."""
        found: dict[Group, Sketch] = {}
        for group, values in self._window(self.leaf(metric), width, start, end, False).items():
            sketch = found.setdefault(group, Sketch())
            for value in values.values():
                if isinstance(value, Sketch):
                    sketch.merge(value)
        return found

    def _window(self, leaf: Leaf, width: int, start: float, end: float, numbers: bool) -> dict[Group, dict[int, Value]]:
        """Values per group and bucket: as numbers, or of distributions as sketches."""
        first, last = first_bucket(start, width), int(end // width * width)
        found: dict[Group, dict[int, Value]] = {}
        if leaf.width is not None and self.seen.period and first < self.seen.start:
            # A bucket as wide as a query asks for need not fit into the period that repeats itself.
            known = first_bucket(self.seen.start, width)
            for at in range(first, min(last, known), width):
                for group, value in self._repeated(leaf, at, numbers).items():
                    found.setdefault(group, {})[at] = value
            first = known
        for group, (buckets, values) in self._whole(leaf, width, numbers).items():
            slots = self._slice(buckets, values, first, last)
            if slots:
                found.setdefault(group, {}).update(slots)
        if end > last >= first_bucket(start, width):
            # The bucket that is not over yet holds what has come so far.
            for group, slot in self._build(leaf, width, last, end, numbers).items():
                found.setdefault(group, {}).update(slot)
        return found

    def _repeated(self, leaf: Leaf, at: int, numbers: bool) -> dict[Group, Value]:
        """A bucket that begins before the start. Those within the repetition are the same in each of its turns."""
        width, before = leaf.width or 1, at - self.seen.start
        place = before % self.seen.period if before + width <= 0 else before
        if (place, numbers) not in leaf.repeated:
            built = self._build(leaf, width, at, at + width, numbers)
            leaf.repeated[place, numbers] = {group: slot[at] for group, slot in built.items() if at in slot}
        return leaf.repeated[place, numbers]

    def _points(self, series: PointSeries, start: float, end: float) -> Iterator[tuple[int, Value]]:
        """The points of a series; before the start the period repeats itself."""
        began, period = self.seen.start, self.seen.period
        if period and start < began:
            for turn in range(int((start - began) // period), min(0, int(-((began - end) // period)))):
                shift = turn * period
                upto = min(end - shift, began + period)
                yield from ((at + shift, value) for at, value in series.between(max(start - shift, began), upto))
        yield from series.between(start, end)

    def last_point(self, metric: Metric, group: Group, end: float) -> int | None:
        """When the last point of a group came, before `end`."""
        last: list[int] = []
        start, period = self.seen.start, self.seen.period
        for owner, series in self.leaf(metric).sources:
            if owner == group:
                last += series.times[: bisect_left(series.times, end)][-1:]
                # Before the start the period has repeated itself.
                last += [at - period for at in series.times[: bisect_left(series.times, start + period)][-1:] if period]
        return max(last, default=None)

    def groups(self, metric: Metric) -> set[Group]:
        """Every group that ever has a point."""
        return {group for group, _ in self.leaf(metric).sources}

    def _make(self, metric: Metric) -> Leaf:
        series = self.seen.metrics.get(metric.name, {})
        sources = [
            (group, one)
            for tags, one in series.items()
            if matches(metric.scope, tags)
            for group in groups_among(tags, tuple(by.tag for by in metric.by))
        ]
        kinds = {one.kind for one in series.values()}
        if len(kinds) > 1:
            raise NotSimulated(f"{metric.name} is submitted as {' and as '.join(sorted(kinds))}")
        kind = next(iter(kinds), COUNT if metric.has("as_count") else GAUGE)
        rollup, width, fill = _methods(metric)
        if metric.condition:
            raise NotSimulated("a condition on values, `count(v: ...)`")
        known = ("avg", "sum", "min", "max", "count")
        if not (metric.aggregator in known or PERCENTILE.fullmatch(metric.aggregator)):
            raise NotSimulated(f"the aggregation `{metric.aggregator}` over series")
        if kind != DISTRIBUTION and PERCENTILE.fullmatch(metric.aggregator) and series:
            raise NotSimulated(f"`{metric.aggregator}` of {metric.name}, which is no distribution")
        return Leaf(metric, kind, sources, rollup, width, fill)

    def _whole(self, leaf: Leaf, width: int, numbers: bool) -> dict[Group, tuple[list[int], list[Value]]]:
        key = width, numbers
        if key not in leaf.built:
            whole = self._build(leaf, width, self.seen.start if self.seen.period else 0, self.seen.end + 1, numbers)
            leaf.built[key] = {group: (list(slot), list(slot.values())) for group, slot in whole.items()}
        return leaf.built[key]

    def _slice(self, buckets: list[int], values: list[Value], first: int, last: int) -> dict[int, Value]:
        """What lies from the bucket `first` on and before `last`."""
        found: dict[int, Value] = {}
        for shift, low, high in self._stretches(buckets, first, last):
            found.update(zip([at + shift for at in buckets[low:high]], values[low:high], strict=True))
        return found

    def _stretches(self, buckets: list[int], first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Which of the buckets lie from `first` on and before `last`: places, and by how many seconds they are shifted,
        for before the start the period repeats itself."""
        start, period = self.seen.start, self.seen.period
        if first < start and period:
            upto, end = bisect_left(buckets, start + period), min(last, start)
            for turn in range((first - start) // period, -((start - end) // period)):
                shift = turn * period
                yield shift, bisect_left(buckets, first - shift, 0, upto), bisect_left(buckets, end - shift, 0, upto)
        yield 0, bisect_left(buckets, first), bisect_left(buckets, last)

    def _build(self, leaf: Leaf, width: int, start: float, end: float, numbers: bool) -> dict[Group, dict[int, Value]]:
        by_group: dict[Group, list[dict[int, Value]]] = {}
        for group, series in leaf.sources:
            slots: dict[int, list[Value]] = {}
            for time, value in self._points(series, start, end):
                slots.setdefault(time // width * width, []).append(value)
            if slots:
                by_group.setdefault(group, []).append({at: _over_time(leaf, slots[at]) for at in sorted(slots)})
        found = {group: _over_space(leaf, sources) for group, sources in by_group.items()}
        return {group: _reduced(leaf, values, width) for group, values in found.items()} if numbers else found


def groups_among(tags: tuple[str, ...], by: tuple[str, ...]) -> Iterator[Group]:
    """The groups that a series is part of: none where it lacks a tag, several where it has one several times."""
    keys = sorted(set(by))
    yield from (tuple(zip(keys, values, strict=True)) for values in product(*(values_of(tags, key) for key in keys)))


def _methods(metric: Metric) -> tuple[str, int | None, tuple[str, int] | None]:
    rollup, width, fill = "", None, None
    for method in metric.methods:
        match method:
            case Method(name="as_count" | "as_rate"):
                pass
            case Method(name="rollup", arguments=(Name(name=rollup),)) if rollup in TIME:
                pass
            case Method(name="rollup", arguments=(Name(name=rollup), Number(text=text))) if rollup in TIME:
                width = int(float(text))
            case Method(name="fill", arguments=(Name(name=mode),)):
                fill = mode, INTERPOLATED
            case Method(name="fill", arguments=(Name(name=mode), Number(text=text))):
                fill = mode, min(int(float(text)), 900)
            case _:
                raise NotSimulated(f"`.{method.name}()` as it is written here")
    if fill is not None and fill[0] not in ("last", "linear", "zero", "null"):
        raise NotSimulated(f"`.fill({fill[0]})`")
    return rollup, width, fill


def _over_time(leaf: Leaf, values: list[Value]) -> Value:
    if leaf.kind == DISTRIBUTION:
        return _merged(values)
    numbers = [value for value in values if isinstance(value, int | float)]
    method = leaf.rollup or ("sum" if leaf.summed and leaf.kind == COUNT else "avg")
    return TIME[method](numbers)


def _over_space(leaf: Leaf, sources: list[dict[int, Value]]) -> dict[int, Value]:
    if len(sources) == 1 and leaf.metric.aggregator != "count":
        return sources[0]
    union = sorted(set().union(*sources))
    if leaf.kind == DISTRIBUTION:
        return {at: _merged([source[at] for source in sources if at in source]) for at in union}
    if leaf.kind == GAUGE:
        mode, limit = leaf.fill or ("linear", INTERPOLATED)
        sources = [interpolated(source, union, mode, limit) for source in sources]  # type: ignore[arg-type,misc]
    found: dict[int, Value] = {}
    for at in union:
        numbers = [value for source in sources if isinstance(value := source.get(at), int | float)]
        if leaf.metric.aggregator == "count":
            found[at] = float(len(numbers))
        elif numbers:
            found[at] = TIME[leaf.metric.aggregator](numbers)
    return found


def interpolated(source: Points, at: list[int], mode: str, limit: int) -> Points:
    """The series with values where others have some and it has none, up to `limit` seconds after a real one."""
    if mode == "null" or len(source) == len(at):
        return source
    times = list(source)
    found: Points = {}
    for time in at:
        if time in source:
            found[time] = source[time]
            continue
        after = bisect_left(times, time)
        if mode == "zero":
            found[time] = 0.0
            continue
        if not after or time - times[after - 1] > limit:
            continue
        before = times[after - 1]
        if mode == "linear" and after < len(times) and times[after] - before <= limit:
            slope = (source[times[after]] - source[before]) / (times[after] - before)
            found[time] = source[before] + slope * (time - before)
        else:
            found[time] = source[before]
    return found


def _reduced(leaf: Leaf, values: dict[int, Value], width: int) -> dict[int, Value]:
    """Numbers: of a distribution what the query asks for, of a rate what it is per second."""
    if leaf.kind == DISTRIBUTION:
        return {
            at: of_sketch(leaf.metric.aggregator, value) for at, value in values.items() if isinstance(value, Sketch)
        }
    rate = leaf.metric.has("as_rate") and leaf.kind == COUNT and width > 1
    return {at: value / width for at, value in values.items() if not isinstance(value, Sketch)} if rate else values


def of_sketch(aggregator: str, sketch: Sketch) -> float:
    """A percentile, or another aggregate, of a distribution."""
    if match := PERCENTILE.fullmatch(aggregator):
        return sketch.quantile(float(match.group(1)) / 100)
    return float(getattr(sketch, aggregator))


def _merged(values: Iterable[Value]) -> Sketch:
    merged = Sketch()
    for value in values:
        if isinstance(value, Sketch):
            merged.merge(value)
    return merged
