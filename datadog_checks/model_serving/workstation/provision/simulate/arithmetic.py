"""Expressions of queries over a window, point by point or, with `.as_count()`, sum by sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ..query.rules import metrics_of
from ..query.tree import (
    Argument,
    Expression,
    FunctionCall,
    Metric,
    Name,
    Negative,
    Number,
    Operation,
    Text,
    walk,
)
from .buckets import INTERPOLATED, TIME, Group, Leaves, Points, first_bucket, interpolated
from .observations import COUNT
from .variants import FUNCTION_FIRST, NotSimulated, Variant

Grouped = dict[Group, Points]
Scalars = dict[Group, float | None]

ABSENT = "a group that one operand lacks counts there as 0, as other missing values of .as_count() do"
UNMATCHED = "a group that one operand lacks has no result"
PLAIN_COUNT = "a count without .as_count() or .as_rate() is averaged over its points"

DAY = 86400
SHIFTS = {"hour_before": 3600, "day_before": DAY, "week_before": 7 * DAY, "month_before": 28 * DAY}

POINTWISE: Mapping[str, Callable[..., float | None]] = {
    "abs": abs,
    "ceil": lambda value: float(math.ceil(value)),
    "floor": lambda value: float(math.floor(value)),
    "round": lambda value: float(round(value)),
    "log2": lambda value: math.log2(value) if value > 0 else None,
    "log10": lambda value: math.log10(value) if value > 0 else None,
    "clamp_min": max,
    "clamp_max": min,
    "cutoff_min": lambda value, limit: value if value >= limit else None,
    "cutoff_max": lambda value, limit: value if value <= limit else None,
    "is_greater": lambda value, limit: float(value > limit),
    "is_less": lambda value, limit: float(value < limit),
    "is_between": lambda value, low, high: float(low < value < high),
}
"""Functions of a value and numbers; None is a point that is dropped."""
FILLING = ("default_zero", "default")
WITHIN_GROUPS = ("count_nonzero", "count_not_null")


@dataclass(slots=True)
class Span:
    """The window of one evaluation. `named` are results that the expression has by name, such as the queries of a
    formula; of an earlier window nothing is known by name."""

    leaves: Leaves
    variant: Variant
    start: float
    end: float
    inferred: set[str] = field(default_factory=set)
    named: Mapping[str, Grouped] = field(default_factory=dict)

    def shifted(self, seconds: float) -> Span:
        """The same window, earlier."""
        return Span(self.leaves, self.variant, self.start - seconds, self.end - seconds, self.inferred)

    @property
    def grid(self) -> list[int]:
        """Every bucket of the window."""
        width = self.variant.width
        return list(range(first_bucket(self.start, width), math.ceil(self.end), width))


def counts(expression: Expression) -> bool:
    """Whether each metric is summed over the window before anything else: `.as_count()` within arithmetic."""
    if isinstance(expression, Metric):
        return False
    return any(metric.has("as_count") for metric in metrics_of(expression))


def wraps_counts(expression: Argument) -> bool:
    """Whether a function stands around an operand of `.as_count()`, whose order with the sum no page tells."""
    calls = (part for part in walk(expression) if isinstance(part, FunctionCall) and part.name not in SHIFTS)
    return counts_somewhere(expression) and any(counts_somewhere(call) for call in calls)


def counts_somewhere(expression: Argument) -> bool:
    """Whether any metric has `.as_count()`."""
    return any(metric.has("as_count") for metric in metrics_of(expression))


def fills(expression: Argument) -> bool:
    """Whether empty buckets are filled, so that there must be buckets."""
    calls = (part for part in walk(expression) if isinstance(part, FunctionCall))
    return any(call.name in FILLING for call in calls) or any(metric.has("fill") for metric in metrics_of(expression))


def series(part: Argument, span: Span) -> Grouped | float:
    """The value of an expression in every bucket, by group. Raises NotSimulated."""
    match part:
        case Number(text=text):
            return float(text)
        case Metric():
            leaf = span.leaves.leaf(part)
            if leaf.kind == COUNT and not leaf.summed and not leaf.rollup and part.aggregator != "count":
                span.inferred.add(PLAIN_COUNT)
            found = span.leaves.points(part, span.variant.width, span.start, span.end)
            if leaf.fill is not None and span.variant.width > 1:
                mode, limit = leaf.fill
                early = span.leaves.points(part, span.variant.width, span.start - limit, span.end)
                found = {
                    group: _within(interpolated(early[group], sorted({*early[group], *span.grid}), mode, limit), span)
                    for group in early
                }
            return found
        case Name(name=name) if name in span.named:
            return span.named[name]
        case Negative(operand=operand):
            return _combined("-", 0.0, series(operand, span), span)
        case Operation(operator=operator, left=left, right=right):
            return _combined(operator, series(left, span), series(right, span), span)
        case FunctionCall():
            return _called(part, span)
        case _:
            raise NotSimulated(
                "methods behind an expression in parentheses"
                if not hasattr(part, "name")
                else f"`{part.name}` in an expression"
            )


def sums(part: Argument, span: Span) -> Scalars | float | None:
    """The value of an expression by group, every metric being summed over the window first. Raises NotSimulated."""
    match part:
        case Number(text=text):
            return float(text)
        case Metric():
            return dict(span.leaves.totals(part, span.variant.width, span.start, span.end))
        case Negative(operand=operand):
            return _of_sums("-", 0.0, sums(operand, span))
        case Operation(operator=operator, left=left, right=right):
            if ABSENT not in span.inferred and _lacking(left, right, span):
                span.inferred.add(ABSENT)
            return _of_sums(operator, sums(left, span), sums(right, span))
        case FunctionCall(name=name) if name in SHIFTS or name == "timeshift":
            argument, seconds = _shift(part)
            return sums(argument, span.shifted(seconds))
        case FunctionCall(name=name) if span.variant.functions == FUNCTION_FIRST:
            each = series(part, span)
            return each if isinstance(each, float) else {group: sum(points.values()) for group, points in each.items()}
        case FunctionCall(name=name) if name in POINTWISE:
            argument, numbers = _arguments(part)
            inner = sums(argument, span)
            if not isinstance(inner, dict):
                return None if inner is None else POINTWISE[name](inner, *numbers)
            return {
                group: None if value is None else POINTWISE[name](value, *numbers) for group, value in inner.items()
            }
        case FunctionCall(name=name) if name in FILLING:
            argument, numbers = _arguments(part)
            inner = sums(argument, span)
            other = numbers[0] if numbers else 0.0
            if not isinstance(inner, dict):
                return other if inner is None else inner
            return {group: other if value is None else value for group, value in inner.items()}
        case _:
            raise NotSimulated(f"`{getattr(part, 'name', 'a method')}` around operands of .as_count()")


def over_window(aggregator: str, points: Points) -> float | None:
    """What a monitor compares: the aggregate of the points that are there."""
    return TIME[aggregator](points.values()) if points else None


def operation(operator: str, left: float, right: float) -> float | None:
    """An operation of two numbers; None for a division by zero."""
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left / right if right else None


def _combined(operator: str, left: Grouped | float, right: Grouped | float, span: Span) -> Grouped | float:
    if isinstance(left, float) and isinstance(right, float):
        found = operation(operator, left, right)
        return {} if found is None else found
    if isinstance(left, float):
        assert not isinstance(right, float)
        return {
            group: _kept((at, operation(operator, left, value)) for at, value in points.items())
            for group, points in right.items()
        }
    if isinstance(right, float):
        return {
            group: _kept((at, operation(operator, value, right)) for at, value in points.items())
            for group, points in left.items()
        }
    _same_tags(left, right)
    if left.keys() != right.keys():
        span.inferred.add(UNMATCHED)
    return {
        group: _kept(
            (at, operation(operator, value, right[group][at])) for at, value in points.items() if at in right[group]
        )
        for group, points in left.items()
        if group in right
    }


def _of_sums(operator: str, left: Scalars | float | None, right: Scalars | float | None) -> Scalars | float | None:
    if not isinstance(left, dict) and not isinstance(right, dict):
        return None if left is None or right is None else operation(operator, left, right)
    groups = dict.fromkeys([*(left if isinstance(left, dict) else ()), *(right if isinstance(right, dict) else ())])
    if isinstance(left, dict) and isinstance(right, dict):
        _same_tags(left, right)
    found: Scalars = {}
    for group in groups:
        # What one of them lacks is missing, and so 0 under .as_count().
        first = left.get(group, 0.0) if isinstance(left, dict) else left
        second = right.get(group, 0.0) if isinstance(right, dict) else right
        found[group] = None if first is None or second is None else operation(operator, first, second)
    return found


def _lacking(left: Expression, right: Expression, span: Span) -> bool:
    """Whether one operand has series of a group and the other never has any."""
    sides = [metrics_of(side) for side in (left, right)]
    if not all(sides):
        return False
    first, second = (set().union(*(span.leaves.groups(metric) for metric in side)) for side in sides)
    return first != second


def _called(call: FunctionCall, span: Span) -> Grouped | float:
    name = call.name
    if name in SHIFTS or name == "timeshift":
        argument, seconds = _shift(call)
        early = series(argument, span.shifted(seconds))
        if isinstance(early, float):
            return early
        return {group: {at + int(seconds): value for at, value in points.items()} for group, points in early.items()}
    if name == "moving_rollup":
        return _moving(call, span)
    argument, numbers = _arguments(call)
    inner = series(argument, span)
    if name == "exclude_null":
        return inner
    if isinstance(inner, float):
        raise NotSimulated(f"`{name}()` of a number")
    if name in POINTWISE:
        return {
            group: _kept((at, POINTWISE[name](value, *numbers)) for at, value in points.items())
            for group, points in inner.items()
        }
    if name in FILLING:
        return {
            group: _filled(argument, points, span, numbers[0] if numbers else 0.0) for group, points in inner.items()
        }
    if name in WITHIN_GROUPS:
        union = sorted(set().union(*inner.values())) if inner else []
        nonzero = name == "count_nonzero"
        return {
            (): {
                at: float(sum(at in points and (not nonzero or points[at] != 0) for points in inner.values()))
                for at in union
            }
        }
    raise NotSimulated(f"`{name}()`")


def _moving(call: FunctionCall, span: Span) -> Grouped:
    match call.arguments:
        case (argument, Number(text=text), (Text() | Name()) as method):
            word = method.value if isinstance(method, Text) else method.name
        case _:
            raise NotSimulated("`moving_rollup()` as it is written here")
    inner = series(argument, span)
    if isinstance(inner, float) or word not in TIME:
        raise NotSimulated("`moving_rollup()` as it is written here")
    length = float(text)
    return {
        group: {at: TIME[word]([value for time, value in points.items() if at - length < time <= at]) for at in points}
        for group, points in inner.items()
    }


def _filled(argument: Argument, points: Points, span: Span, other: float) -> Points:
    grid = span.grid
    gauges = not counts_somewhere(argument) and not any(metric.has("as_rate") for metric in metrics_of(argument))
    known = interpolated(points, sorted({*points, *grid}), "linear", INTERPOLATED) if gauges else points
    return {at: known.get(at, other) for at in grid}


def _within(points: Points, span: Span) -> Points:
    return {at: value for at, value in points.items() if first_bucket(span.start, span.variant.width) <= at < span.end}


def _kept(points: Iterator[tuple[int, float | None]]) -> Points:
    return {at: value for at, value in points if value is not None}


def _same_tags(left: Mapping[Group, object], right: Mapping[Group, object]) -> None:
    tags = {tuple(key for key, _ in group) for group in (*left, *right)}
    if len(tags) > 1:
        raise NotSimulated("arithmetic between metrics that are grouped by different tags")


def _arguments(call: FunctionCall) -> tuple[Argument, list[float]]:
    if not call.arguments:
        raise NotSimulated(f"`{call.name}()` without an argument")
    return call.arguments[0], [_number(argument, call) for argument in call.arguments[1:]]


def _shift(call: FunctionCall) -> tuple[Argument, float]:
    argument, numbers = _arguments(call)
    if call.name in SHIFTS:
        return argument, SHIFTS[call.name]
    if len(numbers) != 1 or numbers[0] > 0:
        raise NotSimulated("a shift into the future")
    return argument, -numbers[0]


def _number(argument: Argument, call: FunctionCall) -> float:
    match argument:
        case Number(text=text):
            return float(text)
        case Negative(operand=Number(text=text)):
            return -float(text)
        case _:
            raise NotSimulated(f"an argument of `{call.name}()` that is no number")
