"""What can be wrong with an expression, wherever it stands: words, scopes, aggregation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..vocabulary import PREFIX
from .algorithms import ALGORITHMS
from .catalog import check_metric, check_tags
from .filters import check_scope, check_template
from .problems import Place, Problem, nearest
from .tree import (
    Argument,
    By,
    Chain,
    Everything,
    Expression,
    FunctionCall,
    Metric,
    Name,
    Negative,
    Number,
    Operation,
    walk,
)
from .words import grammar

PERCENTILE = re.compile(r"p\d+(?:\.\d+)?")


def check_expression(
    expression: Expression, place: Place, time_aggregator: str = "", names: frozenset[str] | None = None
) -> Iterator[Problem]:
    """Everything about an expression but what depends on the monitor around it.

    `time_aggregator` is that of the monitor; `names` are the queries that a formula may name, None where the
    expression is no formula.
    """
    for part in walk(expression):
        match part:
            case Metric():
                yield from _metric(part, place)
            case FunctionCall():
                yield from _call(part, place)
            case Chain():
                yield from _methods(part, place)
            case _:
                pass
    yield from _names(expression, place, names)
    yield from _groups(expression, place)
    yield from _as_count(expression, place, time_aggregator)


def metrics_of(expression: Argument) -> list[Metric]:
    """The metrics in an expression, from left to right."""
    return [part for part in walk(expression) if isinstance(part, Metric)]


def grouped(part: Argument) -> Iterator[tuple[Metric | FunctionCall, tuple[By, ...]]]:
    """What an expression groups its series by: the operands and their tags, from left to right. An aggregation around
    another one replaces the tags of what is within."""
    match part:
        case Metric():
            yield part, part.by
        case FunctionCall(by=by) if by is not None:
            yield part, by
        case _:
            for each in _operands(part):
                yield from grouped(each)


def _operands(part: Argument) -> tuple[Argument, ...]:
    """What a part of an expression computes with, from left to right, without the settings of its methods."""
    match part:
        case FunctionCall():
            return part.arguments
        case Chain() | Negative():
            return (part.operand,)
        case Operation():
            return part.left, part.right
        case _:
            return ()


def group_tags(expression: Expression) -> tuple[str, ...]:
    """The tags that an expression groups its series by, in its order."""
    return tuple(dict.fromkeys(group.tag for _, by in grouped(expression) for group in by))


def _metric(metric: Metric, place: Place) -> Iterator[Problem]:
    words = grammar()
    aggregator = metric.aggregator
    if not aggregator:
        yield place.hint(
            "query/aggregator",
            f"no aggregation over the series of `{metric.name}`: write `avg:{metric.name}`, or sum, min, max",
            metric.at,
        )
    elif PERCENTILE.fullmatch(aggregator):
        if aggregator not in words["percentiles"]:
            yield place.warning(
                "query/aggregator",
                f"`{aggregator}` is none of the usual percentiles {', '.join(words['percentiles'])}",
                metric.at,
            )
    elif aggregator not in words["aggregators"]:
        near = nearest(aggregator, [*words["aggregators"], *words["percentiles"]])
        yield place.warning(
            "query/aggregator", f"`{aggregator}` isn't known as an aggregation over series{near}", metric.at
        )
    yield from _methods(metric, place)
    if metric.scope is None or metric.scope == Everything(empty=True):
        yield place.warning("query/scope", f"`{metric.name}` has no scope: write `{metric.name}{{*}}`", metric.name_at)
    if metric.scope is not None:
        yield from check_scope(metric.scope, place, metric.name.startswith(PREFIX))
    yield from check_template(metric.by, place)
    yield from check_metric(metric, place)
    yield from check_tags(metric, place)


def _methods(part: Metric | Chain, place: Place) -> Iterator[Problem]:
    for method in part.methods:
        if method.name not in grammar()["methods"]:
            yield place.warning(
                "query/function",
                f"`.{method.name}()` isn't known as a method{nearest(method.name, grammar()['methods'])}",
                method.at,
            )


def _call(call: FunctionCall, place: Place) -> Iterator[Problem]:
    words = grammar()
    if call.name in words["promql"]:
        yield place.error(
            "query/promql",
            f"`{call.name}()` is PromQL and unknown to Datadog; what does its work: {words['promql'][call.name]}",
            call.at,
        )
    elif call.by is not None and call.name in words["aggregators"]:
        yield from check_template(call.by, place)
    elif call.name not in words["functions"] and not any(
        re.fullmatch(pattern, call.name) for pattern in words["function_patterns"]
    ):
        near = nearest(call.name, words["functions"])
        yield place.warning("query/function", f"`{call.name}()` isn't known as a function{near}", call.at)
    elif call.name == "timeshift" and len(call.arguments) == 2 and isinstance(call.arguments[1], Number):
        shift = call.arguments[1]
        yield place.warning(
            "query/shift", f"a shift into the past is negative: write `timeshift(..., -{shift.text})`", shift.at
        )
    if call.name in ALGORITHMS:
        yield from ALGORITHMS[call.name](call, place)


def _names(expression: Expression, place: Place, names: frozenset[str] | None) -> Iterator[Problem]:
    for part in _bare(expression):
        if names is None:
            yield place.warning("query/scope", f"`{part.name}` has no scope: write `avg:{part.name}{{*}}`", part.at)
        elif names is not None and part.name not in names:
            near = nearest(part.name, names) or f"; known are {', '.join(sorted(names)) or 'none'}"
            yield place.error("query/variable", f"the formula names `{part.name}`, which is no query{near}", part.at)


def _bare(part: Argument) -> Iterator[Name]:
    """Bare words that stand for data: those among the settings of a function or method are left out."""
    match part:
        case Name():
            yield part
        case FunctionCall():
            for argument in part.arguments[:1]:
                yield from _bare(argument)
            for argument in part.arguments[1:]:
                if not isinstance(argument, Name):
                    yield from _bare(argument)
        case Chain():
            yield from _bare(part.operand)
        case Negative():
            yield from _bare(part.operand)
        case Operation():
            yield from _bare(part.left)
            yield from _bare(part.right)
        case _:
            return


def _groups(expression: Expression, place: Place) -> Iterator[Problem]:
    """Series of two operands only meet in arithmetic where their groups are the same."""
    first: tuple[Metric | FunctionCall, tuple[By, ...]] | None = None
    for part, by in grouped(expression):
        if not by:
            continue
        if first is None:
            first = part, by
        elif {group.tag for group in by} != {group.tag for group in first[1]}:
            yield place.warning(
                "query/by",
                f"`{part.name}` is grouped otherwise than `{first[0].name}`: only series of the same groups meet; "
                f"write `by {{{','.join(group.tag for group in first[1])}}}`",
                by[0].at,
            )


def _as_count(expression: Expression, place: Place, time_aggregator: str) -> Iterator[Problem]:
    for part in counted(expression):
        if part.has("as_count") and part.aggregator not in ("sum", "count", ""):
            yield place.hint(
                "query/as-count",
                f"`{part.aggregator}:` doesn't add up the counts of all series: together they are `sum:{part.name}`",
                part.at,
            )
    if time_aggregator in ("", "sum") or not any(metric.has("as_count") for metric in counted(expression)):
        return
    yield place.warning(
        "query/as-count",
        f"`.as_count()` goes with `sum` over time: the monitor starts with `{time_aggregator}(...)`; write `sum(...)`",
        0,
    )


def counted(part: Argument) -> Iterator[Metric]:
    """Metrics that the monitor itself aggregates over time: an algorithm looks at every point."""
    if isinstance(part, FunctionCall) and part.name in ALGORITHMS:
        return
    if isinstance(part, Metric):
        yield part
        return
    for each in _operands(part):
        yield from counted(each)
