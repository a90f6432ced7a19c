"""What the numbers in a monitor mean: the units, ranges and kinds of the check's metrics against its thresholds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..vocabulary import PARTS, PREFIX, Vocabulary
from .problems import Place, Problem
from .rules import counted, metrics_of
from .tree import (
    Argument,
    Chain,
    Comparison,
    Expression,
    FunctionCall,
    Method,
    Metric,
    MetricMonitor,
    Negative,
    Number,
    Operation,
    walk,
)

PERCENT, RATIO, EVENTS = "percent", "ratio", "observation"
SAME = frozenset(("rollup", "fill", "as_count", "weighted"))
"""Methods that leave the unit as it is."""
SAME_FUNCTIONS = frozenset(
    (
        *("default_zero", "default", "clamp_min", "clamp_max", "cutoff_min", "cutoff_max", "abs", "fill", "rollup"),
        *("hour_before", "day_before", "week_before", "month_before", "timeshift", "calendar_shift", "moving_rollup"),
        *("median_3", "median_5", "median_7", "median_9", "ewma_3", "ewma_5", "ewma_7", "ewma_10", "ewma_20", "top"),
        *("autosmooth", "exclude_null", "bottom"),
    )
)
LONG = 300
"""Seconds from which a latency looks as if milliseconds were meant, unless LONGEST knows the metric."""
LONGEST = {"token.inter_token.latency": 10, "token.per_output.latency": 10, "token.time_to_first": 100}
SMALL = 1024
"""Bytes below which a size looks as if a larger unit was meant."""
TINY_SHARE = 0.05
"""Percent up to which a share of failures looks as if it was written as a ratio."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What an expression is measured in, and between which numbers it stays, where that is known."""

    unit: str
    low: float | None = None
    high: float | None = None


def measure_of(part: Argument, vocabulary: Vocabulary) -> Measure | None:
    """What an expression over the check's metrics gives; None where that can't be told."""
    match part:
        case Metric():
            return _of_metric(part, vocabulary)
        case Chain():
            return measure_of(part.operand, vocabulary) if _keep(part.methods) else None
        case Negative():
            inner = measure_of(part.operand, vocabulary)
            return inner and Measure(inner.unit)
        case FunctionCall() if part.name in SAME_FUNCTIONS and part.arguments:
            return measure_of(part.arguments[0], vocabulary)
        case Operation():
            return _of_operation(part, vocabulary)
        case _:
            return None


def _keep(methods: tuple[Method, ...]) -> bool:
    return all(method.name in SAME for method in methods)


def _of_metric(metric: Metric, vocabulary: Vocabulary) -> Measure | None:
    if metric.condition or metric.aggregator == "count" or not _keep(metric.methods):
        return None
    base, _, part = metric.name.rpartition(".")
    if part in PARTS and vocabulary.kind_of(base) == "distribution":
        measure = vocabulary.measures[base]
        return Measure(measure[0] if part == "sum" else EVENTS, 0)
    found = vocabulary.measures.get(metric.name)
    if found is None:
        return None
    unit, low, high = found
    # The sum of several series leaves the range of one.
    return Measure(unit, low, None if metric.aggregator == "sum" else high)


def _of_operation(operation: Operation, vocabulary: Vocabulary) -> Measure | None:
    left, right = (measure_of(each, vocabulary) for each in (operation.left, operation.right))
    for number, other in ((operation.left, right), (operation.right, left)):
        if isinstance(number, Number) and other is not None:
            return _with_number(operation, number, other)
    if left is None or right is None:
        return None
    if operation.operator == "/":
        if right.unit == EVENTS and left.unit != EVENTS:
            return Measure(left.unit, 0)
        return Measure(RATIO, 0) if left.unit == right.unit else None
    return Measure(left.unit) if operation.operator in "+-" and left.unit == right.unit else None


def _with_number(operation: Operation, number: Number, other: Measure) -> Measure | None:
    if operation.operator == "*" and other.unit == RATIO and float(number.text) == 100:
        return replace(other, unit=PERCENT)
    if operation.operator in "+-":
        whole = other.unit == PERCENT and float(number.text) == 100 and number is operation.left
        return other if whole and other.high == 100 else Measure(other.unit)
    return None


def check_numbers(query: MetricMonitor, options: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    """A threshold that the expression never meets or that was meant in another unit; counts and gauges added up in a
    way that gives another number than it looks. `place` is that of the query."""
    yield from _kinds(query, place)
    vocabulary = place.known.vocabulary
    measure = measure_of(query.expression, vocabulary)
    # A threshold that is never met leaves a monitor of missing data.
    missing_alone = options.get("notify_no_data") is True or options.get("on_missing_data") not in (None, "default")
    text = query.comparison.threshold
    if measure is None or text == "threshold" or query.change or _sums_a_gauge(query, vocabulary):
        return
    if not missing_alone:
        yield from _range(measure, query.comparison, place)
    yield from _units(measure, query.expression, text, query.comparison.threshold_at, place)


def check_units(expression: Expression, threshold: float, place: Place) -> Iterator[Problem]:
    """A threshold of an SLO in another unit than its query gives. `place` is that of the threshold."""
    measure = measure_of(expression, place.known.vocabulary)
    if measure is not None:
        yield from _units(measure, expression, f"{threshold:g}", None, place)


def _units(measure: Measure, expression: Expression, text: str, at: int | None, place: Place) -> Iterator[Problem]:
    value, vocabulary = float(text), place.known.vocabulary
    if measure.unit == PERCENT and 0 < value < (1 if measure.high else TINY_SHARE):
        yield place.warning(
            "unit/threshold", f"{text} is {text} %: percent run from 0 to 100; write {value * 100:g} for a share", at
        )
    elif measure.unit == RATIO and value >= 1 and _is_of_errors(expression):
        yield place.warning(
            "unit/threshold",
            f"{text} is {value * 100:g} %: behind a ratio write `* 100` for percent, or a part of 1",
            at,
        )
    elif measure.unit == "second" and value >= _long(expression) and _are_durations(expression, vocabulary):
        yield place.warning(
            "unit/threshold", f"{text} is {value / 60:g} minutes: for milliseconds write {value / 1000:g}", at
        )
    elif measure.unit == "byte" and 0 < value < SMALL:
        yield place.warning(
            "unit/threshold",
            f"{text} is as many bytes: for GiB write {value * 2**30:.0f}, for MiB {value * 2**20:.0f}",
            at,
        )


def _range(measure: Measure, comparison: Comparison, place: Place) -> Iterator[Problem]:
    value, low, high = float(comparison.threshold), measure.low, measure.high
    match comparison.operator:
        case ">":
            never, always = high is not None and value >= high, low is not None and value < low
        case ">=":
            never, always = high is not None and value > high, low is not None and value <= low
        case "<":
            never, always = low is not None and value <= low, high is not None and value > high
        case "<=":
            never, always = low is not None and value < low, high is not None and value >= high
        case _:
            return
    if never or always:
        bounds = " and ".join(
            f"{word} {bound:g}" for word, bound in (("at least", low), ("at most", high)) if bound is not None
        )
        yield place.error(
            "unit/range",
            f"values are {bounds}{f' {measure.unit}' if measure.unit else ''}: {'never' if never else 'always'} "
            f"`{comparison.operator} {comparison.threshold}`",
            comparison.threshold_at,
        )


def _counts(expression: Expression, vocabulary: Vocabulary) -> list[Metric]:
    """Counts of ours that the monitor itself adds up."""
    return [part for part in counted(expression) if vocabulary.kind_of(part.name) == "count"]


def _sums_a_gauge(query: MetricMonitor, vocabulary: Vocabulary) -> bool:
    expression = query.expression
    if query.aggregator != "sum" or query.change or not isinstance(expression, Metric):
        return False
    plain = not expression.condition and not expression.has("as_count")
    return plain and vocabulary.kind_of(expression.name) == "gauge"


def _are_durations(expression: Expression, vocabulary: Vocabulary) -> bool:
    """Whether all of it are distributions, such as latencies: gauges in seconds can be ages."""
    return all(
        "distribution" in (vocabulary.kind_of(metric.name), vocabulary.kind_of(metric.name.rpartition(".")[0]))
        for metric in metrics_of(expression)
    )


def _long(expression: Expression) -> float:
    names = [metric.name.removeprefix(PREFIX) for metric in metrics_of(expression)]
    return min((LONGEST.get(re.sub(r"\.(?:sum|count)$", "", name), LONG) for name in names), default=LONG)


def _is_of_errors(expression: Expression) -> bool:
    return any(metric.name == f"{PREFIX}request.error.count" for metric in metrics_of(expression))


def _kinds(query: MetricMonitor, place: Place) -> Iterator[Problem]:
    vocabulary, id = place.known.vocabulary, "unit/count"
    counts = _counts(query.expression, vocabulary)
    for metric in counts:
        if metric.condition or metric.aggregator.startswith("p"):
            continue
        if not metric.has("as_count") and not metric.has("as_rate"):
            yield place.warning(
                id,
                f"`{metric.name}` is a count: write `.as_count()` behind it, or `.as_rate()` for one per second",
                metric.at,
            )
        elif metric.has("as_rate") and query.aggregator == "sum" and not query.change:
            yield place.warning(
                id,
                f"adds up rates, one per point: write `.as_count()` for how many, or `avg({query.window.text})`",
                metric.at,
            )
    rates = [metric for metric in counts if metric.has("as_rate")]
    if len(rates) > 1 and query.aggregator == "avg" and _divides(query.expression):
        yield place.warning(
            id,
            "is the mean of the ratio at each point, however few were counted there: write "
            f"`sum({query.window.text}):` and `.as_count()`",
            query.at,
        )
    if _sums_a_gauge(query, vocabulary):
        yield place.warning(
            id, f"adds up every point of a gauge: write `avg({query.window.text})`, or max or min", query.at
        )


def _divides(expression: Expression) -> bool:
    return any(isinstance(part, Operation) and part.operator == "/" for part in walk(expression))


def check_rollups(query: MetricMonitor, place: Place) -> Iterator[Problem]:
    """Points that are further apart than the window is long."""
    if query.window.kind != "last":
        return
    for part in walk(query.expression):
        if not isinstance(part, Metric | Chain):
            continue
        for method in part.methods:
            last = method.arguments[-1] if method.arguments else None
            if method.name == "rollup" and isinstance(last, Number) and float(last.text) > query.window.seconds:
                yield place.warning(
                    "query/rollup",
                    f"a point each {last.text} s, and the window `{query.window.text}` is shorter: "
                    f"write at most {query.window.seconds}",
                    last.at,
                )


def check_missing(query: MetricMonitor, options: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    """Options of a monitor of counts that complain where nothing was to be counted. `place` is that of the options."""
    counts = [metric for metric in _counts(query.expression, place.known.vocabulary) if metric.has("as_count")]
    if not counts:
        return
    # Other counts may be there all the time, and a monitor of theirs may want them to be.
    if options.get("require_full_window") is True and _is_of_errors(query.expression):
        yield place.within("require_full_window").warning(
            "monitor/option", "errors are rare, and a window with gaps isn't evaluated: write false"
        )
    for name in ("notify_no_data", "on_missing_data"):
        if options.get(name) in (True, "show_and_notify_no_data"):
            yield place.within(name).warning(
                "monitor/no-data",
                f"`{counts[0].name}` vanishes where nothing is counted, which is no fault: watch the service check "
                "`model_serving.openmetrics.health`",
            )
