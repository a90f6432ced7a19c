"""Alerts on burn rates of SLOs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..query import parse_metric_expression
from ..query.tree import Expression, Metric, SloMonitor, seconds
from .arithmetic import Span, sums
from .buckets import PERCENTILE, Group, Leaves, of_sketch
from .states import StateOptions, read_thresholds
from .variants import NotSimulated, Variant, phases

MINUTE = 60
WHOLE_SLICES = "a burn rate of time slices looks at the last slices that are over"
NOTHING_COUNTED = "a window without requests burns nothing and has no result"


@dataclass(slots=True)
class BurnRateEvaluation:
    """An alert on how fast the budget of an SLO is spent, over all groups together."""

    query: SloMonitor
    options: Mapping[str, Any]
    slo: Mapping[str, Any]
    leaves: Leaves
    inferred: set[str]
    parts: list[Expression] = field(default_factory=list)
    slices: dict[int, bool] = field(default_factory=dict)
    """Whether a time slice is good, by its start."""

    every = MINUTE
    grouped = False
    sees = True

    def __post_init__(self) -> None:
        if self.query.kind != "burn_rate":
            raise NotSimulated(f"`{self.query.kind}(...)`")
        if self.slo.get("type") == "metric":
            query = self.slo["query"]
            self.parts = [parse_metric_expression(str(query[side])) for side in ("numerator", "denominator")]
        elif self.slo.get("type") == "time_slice":
            query = self.slo["sli_specification"]["time_slice"]["query"]
            self.parts = [parse_metric_expression(str(one["query"])) for one in query["queries"]]
        else:
            raise NotSimulated(f"an SLO of type {self.slo.get('type')}")

    def variants(self) -> Iterator[Variant]:
        """Only the moment matters: windows are so long that their buckets don't."""
        return phases()

    def state_options(self) -> StateOptions:
        """What decides about states."""
        comparison = self.query.comparison
        return StateOptions(
            comparison.operator, {"critical": float(comparison.threshold), **read_thresholds(self.options)}
        )

    def values(self, now: float, variant: Variant) -> dict[Group, float | None]:
        """The lower of the two burn rates, as both must be beyond the threshold."""
        del variant
        lengths = [seconds(text.value) or 0 for text in (self.query.long_window, self.query.short_window) if text]
        rates = [self._burn(now - length, now) for length in lengths]
        found = [rate for rate in rates if rate is not None]
        return {(): min(found) if len(found) == len(rates) else None}

    def last_point(self, group: Group, now: float) -> float:
        """An SLO has no missing data."""
        return now

    def bad_share(self, start: float, end: float) -> float | None:
        """The share of bad events, or time slices, within a window; None where nothing was counted."""
        return self._counted(start, end) if self.slo["type"] == "metric" else self._sliced(start, end)

    def _burn(self, start: float, end: float) -> float | None:
        bad = self.bad_share(start, end)
        return None if bad is None else bad / (1 - float(self.slo["target_threshold"]) / 100)

    def _counted(self, start: float, end: float) -> float | None:
        span = Span(self.leaves, Variant(width=MINUTE), start, end, self.inferred)
        good, total = (self._total(side, span) for side in self.parts)
        if not total:
            self.inferred.add(NOTHING_COUNTED)
            return None
        return 1 - good / total

    @staticmethod
    def _total(side: Expression, span: Span) -> float:
        found = sums(side, span)
        return sum(value or 0.0 for value in found.values()) if isinstance(found, dict) else found or 0.0

    def _sliced(self, start: float, end: float) -> float:
        """The share of bad slices among the last ones that are over, as many as fit into the window."""
        definition = self.slo["sli_specification"]["time_slice"]
        length = int(definition["query_interval_seconds"])
        last = int(end // length * length)
        slices = range(last - max(1, int((end - start) // length)) * length, last, length)
        self.inferred.add(WHOLE_SLICES)
        return sum(not self._good(at, length, definition) for at in slices) / len(slices)

    def _good(self, at: int, length: int, definition: Mapping[str, Any]) -> bool:
        """Whether a slice is good in every group; one without data is."""
        if at not in self.slices:
            (expression,) = self.parts
            if not isinstance(expression, Metric) or not PERCENTILE.fullmatch(expression.aggregator):
                raise NotSimulated("a time slice of anything but a percentile")
            limit = float(definition["threshold"])
            found = self.leaves.sketches(expression, at, at + length).values()
            compare = StateOptions(str(definition["comparator"]), {"critical": limit})
            self.slices[at] = all(
                compare.beyond(of_sketch(expression.aggregator, sketch), "critical") for sketch in found if sketch.count
            )
        return self.slices[at]
