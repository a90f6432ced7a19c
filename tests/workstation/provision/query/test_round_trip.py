"""What is written is what was read, and positions are those in the text."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import QueryError
from datadog_checks.model_serving.workstation.provision.query import (
    check_monitor,
    parse_metric_expression,
    parse_monitor,
    render,
)
from datadog_checks.model_serving.workstation.provision.query.tree import (
    And,
    CompositeMonitor,
    Everything,
    Expression,
    Metric,
    MonitorQuery,
    Number,
    Operation,
    Or,
    Tag,
)

from .strategies import expressions, monitors


@given(monitors)
@settings(deadline=None)
def test_monitor(tree: MonitorQuery) -> None:
    """Reading the written form of any monitor gives the monitor."""
    assert parse_monitor(render(tree)) == tree


@given(expressions)
@settings(deadline=None)
def test_expression(tree: Expression) -> None:
    """Reading the written form of any expression gives the expression."""
    assert parse_metric_expression(render(tree)) == tree


@given(monitors, st.data())
@settings(deadline=None)
def test_broken_queries_are_told(tree: MonitorQuery, data: st.DataObject) -> None:
    """A query with a piece cut out or put in is read or refused, within the text, and never crashes a check."""
    text = render(tree)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 5)))
    broken = text[:start] + data.draw(st.text("(){}[]\"'.,:!<>=*$ abAND159", max_size=3)) + text[end:]
    column = 1
    try:
        parse_monitor(broken)
    except QueryError as error:
        column = error.column
    assert 1 <= column <= len(broken) + 1
    for problem in check_monitor({"type": "query alert", "query": broken}):
        assert problem.column is None or 1 <= problem.column <= len(problem.text) + 1


@given(monitors)
@settings(deadline=None)
def test_positions_point_at_what_they_are_of(tree: MonitorQuery) -> None:
    """At the position of a metric is its name, at that of a number the number, at that of a tag its key."""
    text = render(tree)
    for part in parts(parse_monitor(text)):
        match part:
            case Metric():
                assert text.startswith(part.name, part.name_at)
                assert text.startswith(part.aggregator or part.name, part.at)
            case Number():
                assert text.startswith(part.text, part.at)
            case Tag():
                assert text.startswith(part.key, part.at)
            case _:
                pass


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("(sum:a{*}+sum:b{*})*100", "(sum:a{*} + sum:b{*}) * 100"),
        ("((sum:a{*}))/(sum:b{*})", "sum:a{*} / sum:b{*}"),
        ("sum:a{*}-(sum:b{*}-1)", "sum:a{*} - (sum:b{*} - 1)"),
        ("sum:a{*}-sum:b{*}-1", "sum:a{*} - sum:b{*} - 1"),
        ("-(a+b)", "-(a + b)"),
        ("avg:a{ x:y , !z:w } by { p , q }.rollup( 'avg' , 60 )", "avg:a{x:y,!z:w} by {p,q}.rollup('avg', 60)"),
        ("avg:a{x:y and not (z:w or z in (u,v))}", "avg:a{x:y AND NOT (z:w OR z IN (u,v))}"),
        ('top(avg:a{*}, 5, "it\'s", sort=desc)', 'top(avg:a{*}, 5, "it\'s", sort=desc)'),
        ("query1.rollup(sum, 60)", "query1.rollup(sum, 60)"),
    ],
)
def test_canonical_form(written: str, canonical: str) -> None:
    """One meaning has one form, with no parentheses but those that it needs."""
    assert render(parse_metric_expression(written)) == canonical


def test_positions_of_operators() -> None:
    """An operator between conditions or operands is where it stands."""
    query = parse_monitor("1 && !2 || 3")
    assert isinstance(query, CompositeMonitor)
    assert isinstance(query.condition, Or)
    assert query.condition.at == 8
    both = query.condition.operands[0]
    assert isinstance(both, And)
    assert (both.at, both.operands[1].at) == (2, 5)
    sum_ = parse_metric_expression("a:b{c:d AND e:f OR g:h} + -1")
    assert isinstance(sum_, Operation)
    assert (sum_.at, sum_.right.at) == (24, 26)
    assert isinstance(sum_.left, Metric)
    assert isinstance(sum_.left.scope, Or)
    assert (sum_.left.scope.at, sum_.left.scope.operands[0].at) == (16, 8)


def parts(tree: Any) -> list[Any]:
    """Everything in a tree."""
    if isinstance(tree, tuple):
        return [found for item in tree for found in parts(item)]
    if not is_dataclass(tree):
        return []
    return [tree, *(found for field in fields(tree) for found in parts(getattr(tree, field.name)))]


def test_the_position_is_no_part_of_equality() -> None:
    """Two queries that mean the same are equal wherever their parts stand."""
    assert parse_monitor("avg(last_5m):avg:a{*} > 5") == parse_monitor(" avg( last_5m ) : avg : a { * } >  5 ")
    assert Everything(at=3) == Everything()
