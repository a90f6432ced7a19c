"""Monitors of metrics: what a query is worth at one time, by group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any

from ..query.rules import metrics_of
from ..query.tree import Expression, FunctionCall, Metric, MetricMonitor, walk
from .arithmetic import (
    Grouped,
    Span,
    counts,
    counts_somewhere,
    fills,
    operation,
    over_window,
    series,
    sums,
    wraps_counts,
)
from .buckets import PERCENTILE, Group, Leaves, of_sketch
from .states import StateOptions, read_thresholds
from .variants import FUNCTION_FIRST, RAW, NotSimulated, Variant, also, buckets

MINUTE, HOUR, DAY = 60, 3600, 86400
ALGORITHMS = ("anomalies", "outliers", "forecast", "autosmooth", "cumsum")
MONTH_WINDOW = 4 * HOUR
MOST_EMPTY = 3
"""Empty buckets that a full window may have."""

MIXED_COUNT = "other metrics beside .as_count() are summed over the window, too"
NO_TIMEFRAME_GIVEN = "without no_data_timeframe, data counts as missing after twice the window"


@dataclass(slots=True)
class MetricEvaluation:
    """A monitor of metrics, ready to be asked. `inferred` gathers what rests on no documentation."""

    query: MetricMonitor
    options: Mapping[str, Any]
    leaves: Leaves
    inferred: set[str]
    _metrics: list[Metric] = field(init=False)
    _length: int = field(init=False)
    _counts: bool = field(init=False)
    """The metrics of the query, its window in seconds, and whether it is arithmetic of counts: asked for at each
    evaluation."""

    def __post_init__(self) -> None:
        self._metrics = metrics_of(self.query.expression)
        self._length = self.query.window.seconds
        self._counts = counts(self.query.expression)
        for part in walk(self.query.expression):
            if isinstance(part, FunctionCall) and part.name in ALGORITHMS:
                raise NotSimulated(f"`{part.name}()`")
        if self.query.window.kind not in ("last", "current"):
            raise NotSimulated(f"the window `{self.query.window.text}`")
        by = {frozenset(tag.tag for tag in metric.by) for metric in self._metrics}
        if len(by) > 1:
            raise NotSimulated("arithmetic between metrics that are grouped by different tags")
        for metric in self._metrics:
            self.leaves.leaf(metric)

    @property
    def every(self) -> int:
        """Seconds between two evaluations."""
        window = self._length
        return MINUTE if window < DAY else 10 * MINUTE if window < 2 * DAY else 30 * MINUTE

    @property
    def grouped(self) -> bool:
        return any(metric.by for metric in self._metrics)

    @property
    def sees(self) -> bool:
        """Whether there is a series for it at any time; without one it never has a group."""
        return any(self.leaves.groups(metric) for metric in self._metrics)

    def variants(self) -> Iterator[Variant]:
        """Every possibility that may matter."""
        found: Iterator[Variant] = (one for one in buckets() if one.width != RAW or not fills(self.query.expression))
        if self._counts and wraps_counts(self.query.expression):
            found = also(found, "functions", FUNCTION_FIRST)
        return found

    def state_options(self) -> StateOptions:
        """What decides about states."""
        options, query = self.options, self.query
        timeframe = options.get("no_data_timeframe")
        notify = options.get("notify_no_data") is True
        if notify and timeframe is None:
            self.inferred.add(NO_TIMEFRAME_GIVEN)
        comparison = query.comparison
        thresholds = {"critical": float(comparison.threshold), **read_thresholds(options)}
        delay = options.get("new_group_delay") or options.get("new_host_delay") or 0
        if self.grouped and "new_group_delay" not in options and "new_host_delay" not in options:
            delay = MINUTE
        count = query.aggregator == "sum" and counts_somewhere(query.expression) and not fills(query.expression)
        return StateOptions(
            operator=comparison.operator,
            thresholds=thresholds,
            notify_no_data=notify,
            no_data_after=MINUTE * float(timeframe or 0) or 2 * query.window.seconds,
            missing="" if notify else str(options.get("on_missing_data") or ""),
            count=count,
            timeout=HOUR * float(options.get("timeout_h") or 0),
            new_group_delay=float(delay) if self.grouped else 0,
        )

    def window(self, now: float) -> tuple[float, float]:
        """Start and end of what an evaluation looks at."""
        end = now - float(self.options.get("evaluation_delay") or 0)
        length = self._length
        if self.query.window.kind == "current":
            if length not in (HOUR, DAY):
                raise NotSimulated(f"the window `{self.query.window.text}`")
            return end // length * length, end
        return end - length, end

    def values(self, now: float, variant: Variant) -> dict[Group, float | None]:
        """The value of every group that has data in the window; None where it has no result, nan where the window is
        not full, which cancels the evaluation."""
        start, end = self.window(now)
        span = Span(self.leaves, variant, start, end, self.inferred)
        found = self._values(span)
        if self.options.get("require_full_window") is True:
            full = self._full(start, end)
            found = {group: value if group in full else nan for group, value in found.items()}
        return found

    def last_point(self, group: Group, now: float) -> float:
        """When a group last had a point."""
        end = now - float(self.options.get("evaluation_delay") or 0)
        points = (self.leaves.last_point(metric, group, end) for metric in self._metrics)
        return float(max((point for point in points if point is not None), default=0))

    def _values(self, span: Span) -> dict[Group, float | None]:
        query = self.query
        expression = query.expression
        if query.aggregator == "percentile":
            return dict(self._percentile(span))
        if query.change:
            now, before = _series(expression, span), _series(expression, span.shifted(_seconds(query)))
            return {
                group: over_window(query.aggregator, points) for group, points in self._changes(now, before).items()
            }
        if self._counts:
            if query.aggregator != "sum":
                raise NotSimulated(f"`{query.aggregator}(...)` over arithmetic with .as_count()")
            if not all(metric.has("as_count") for metric in self._metrics):
                self.inferred.add(MIXED_COUNT)
            totals = sums(expression, span)
            return totals if isinstance(totals, dict) else {}
        present = self._present(span)
        found = _series(expression, span)
        return {group: over_window(query.aggregator, found.get(group, {})) for group in present | found.keys()}

    def _present(self, span: Span) -> set[Group]:
        """Groups of which any metric has a point, whatever the arithmetic makes of it."""
        if isinstance(self.query.expression, Metric):
            return set()
        found = (self.leaves.points(metric, span.variant.width, span.start, span.end) for metric in self._metrics)
        return {group for points in found for group in points} if self.grouped else set()

    def _changes(self, now: Grouped, before: Grouped) -> Grouped:
        shift = _seconds(self.query)
        found: Grouped = {}
        for group, points in now.items():
            earlier = before.get(group, {})
            found[group] = {}
            for at, value in points.items():
                if at - shift not in earlier:
                    continue
                old = earlier[at - shift]
                change: float | None = value - old
                if self.query.change == "pct_change":
                    change = operation("/", 100 * (value - old), old)
                if change is not None:
                    found[group][at] = change
        return found

    def _percentile(self, span: Span) -> Iterator[tuple[Group, float | None]]:
        expression = self.query.expression
        if not isinstance(expression, Metric) or not PERCENTILE.fullmatch(expression.aggregator):
            raise NotSimulated("`percentile(...)` over anything but one percentile of a distribution")
        for group, sketch in self.leaves.sketches(expression, span.start, span.end).items():
            yield group, of_sketch(expression.aggregator, sketch)

    def _full(self, start: float, end: float) -> set[Group]:
        """Groups whose window is full."""
        text = self.query.window.text
        unit = next((name for name in ("mo", "w", "d", "h", "m") if text.endswith(name)), "m")
        width = {"m": MINUTE, "h": 10 * MINUTE, "d": HOUR, "w": HOUR, "mo": MONTH_WINDOW}[unit]
        times: dict[Group, set[int]] = {}
        for metric in self._metrics:
            for group, points in self.leaves.points(metric, RAW, start, end).items():
                times.setdefault(group, set()).update(int((at - start) // width) for at in points)
        most = int((end - start) // width)
        return {group for group, at in times.items() if 0 in at and most - len(at & set(range(most))) <= MOST_EMPTY}


def _series(expression: Expression, span: Span) -> Grouped:
    found = series(expression, span)
    if isinstance(found, float):
        raise NotSimulated("an expression without a metric")
    return found


def _seconds(query: MetricMonitor) -> int:
    assert query.shift is not None
    return query.shift.seconds
