"""What widgets show: the queries and formulas of a request over observations of which the answer is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.workstation.preview.data import Answers, group_text, variables_of
from datadog_checks.model_serving.workstation.preview.recorded import Recorded
from datadog_checks.model_serving.workstation.provision.simulate.observations import (
    COUNT,
    DISTRIBUTION,
    GAUGE,
    Observations,
)
from datadog_checks.model_serving.workstation.provision.simulate.variants import NotSimulated
from datadog_checks.model_serving.workstation.standin.sketch import Sketch

START = 1_700_000_400
"""A whole minute."""


def observed() -> Observations:
    """Three minutes of two models: a answers 60, 120 and 180 requests, b 30 in the last minute, of which 15 fail."""
    seen = Observations(START, START + 180)
    for minute, requests in enumerate((60, 120, 180)):
        at = START + 60 * minute + 10
        seen.point("requests", COUNT, ["model:a", "env:prod"], at, requests)
        seen.point("busy", GAUGE, ["model:a"], at, minute)
        sketch = Sketch()
        sketch.insert_bucket(1.0 + minute, 1.001 + minute, 1)
        seen.point("latency", DISTRIBUTION, ["model:a"], at, sketch)
    seen.point("requests", COUNT, ["model:b"], START + 130, 30)
    seen.point("errors", COUNT, ["model:b"], START + 130, 15)
    return seen


def request(show: Mapping[str, str], aggregate: str = "", **queries: str) -> dict[str, Any]:
    """A request in the form of today."""
    named = [
        {"data_source": "metrics", "name": name, "query": query, **({"aggregator": aggregate} if aggregate else {})}
        for name, query in queries.items()
    ]
    return {"queries": named, "formulas": [{"formula": formula, "alias": alias} for alias, formula in show.items()]}


def answers(variables: list[dict[str, Any]] | None = None) -> Answers:
    recorded = Recorded(observed(), hidden=frozenset(("model_serving.model.age",)))
    return Answers(recorded, variables_of({"template_variables": variables or []}))


COUNTS = "sum:requests{*} by {model}.as_count()"
ERRORS = "sum:errors{*} by {model}.as_count()"

OVER_TIME = {
    "a count by group": (request({"R": "a"}, a=COUNTS), {"R: a": [60, 120, 180], "R: b": [30]}),
    "a rate": (request({"R": "a"}, a="sum:requests{*}.as_rate()"), {"R": [1, 2, 3.5]}),
    "a gauge": (request({"B": "a"}, a="avg:busy{*}"), {"B": [0, 1, 2]}),
    "a formula over two queries": (request({"S": "a / b * 100"}, a=ERRORS, b=COUNTS), {"S: b": [50]}),
    "a function in a formula": (request({"R": "default_zero(a)"}, a=COUNTS),
                                {"R: a": [60, 120, 180], "R: b": [0, 0, 30]}),
    "several formulas": (request({"R": "a", "B": "b"}, a="sum:requests{model:a}.as_count()", b="avg:busy{*}"),
                         {"R": [60, 120, 180], "B": [0, 1, 2]}),
    "a rollup": (request({"R": "a"}, a="sum:requests{*}.as_count().rollup(sum, 3600)"), {}),
    "an earlier time, of which nothing is known": (request({"R": "week_before(a)"}, a=COUNTS), {}),
    "a metric that nobody submits": (request({"R": "a"}, a="avg:nobody{*}"), {}),
    "the form of before": ({"q": "sum:requests{model:a}.as_count(), avg:busy{*}"}, {"": [0, 1, 2]}),
    "names that are there without being given": (
        {"queries": [{"data_source": "metrics", "query": "avg:busy{*}"}], "formulas": [{"formula": "query1 * 2"}]},
        {"query1 * 2": [0, 2, 4]},
    ),
    "queries without a formula": (
        {"queries": [{"data_source": "metrics", "name": "a", "query": "avg:busy{*}"}]},
        {"a": [0, 1, 2]},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "lines"), OVER_TIME.values(), ids=OVER_TIME)
def test_graphs_over_time(asked: dict[str, Any], lines: dict[str, list[float]]) -> None:
    found = {line.name: list(line.points.values()) for line in answers().lines(asked)}
    assert found == lines


NUMBERS = {
    "a sum": (request({"R": "a"}, "sum", a=COUNTS), {"a": (360,), "b": (30,)}),
    "the last value": (request({"B": "a"}, "last", a="avg:busy{*}"), {"": (2,)}),
    "the mean": (request({"B": "a"}, "avg", a="avg:busy{*}"), {"": (1,)}),
    "a ratio of sums, not a mean of ratios": (
        request({"S": "a / b * 100"}, "sum", a="sum:errors{*}.as_count()", b="sum:requests{*}.as_count()"),
        {"": (15 / 390 * 100,)},
    ),
    "a percentile of everything, not a mean of percentiles": (
        request({"p99": "a"}, "percentile", a="p99:latency{*}"), {"": (pytest.approx(3, rel=0.02),)},
    ),
    "groups that one of two formulas lacks": (
        request({"R": "a", "E": "b"}, "sum", a=COUNTS, b=ERRORS), {"a": (360, None), "b": (30, 15)},
    ),
    "the form of before": ({"q": "sum:requests{*}.as_count()", "aggregator": "max"}, {"": (210,)}),
    "nothing": (request({"R": "a"}, "sum", a="avg:nobody{*}"), {}),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "rows"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_of_lists_and_values(asked: dict[str, Any], rows: dict[str, tuple[float | None, ...]]) -> None:
    found = {group_text(group): row for group, row in answers().figures(asked).rows.items()}
    assert found == rows


UNKNOWN = {
    "an algorithm": (request({"R": "anomalies(a, 'robust', 3)"}, "avg", a=COUNTS), r"`anomalies\(\)`"),
    "another source": ({"queries": [{"data_source": "logs", "name": "a"}]}, "a query of logs"),
    "a variable that is not there": (request({"R": "a"}, "sum", a="sum:requests{$env}"), r"`\$env`"),
    "a variable within a value": (request({"R": "a"}, "sum", a="sum:requests{model:$m.value}"), "within"),
    "no query": ({"apm_query": {}}, "without a query"),
    "what the clock of the machine tells": (request({"R": "a"}, "sum", a="max:model_serving.model.age{*}"), "clock"),
}


@pytest.mark.parametrize("method", ["lines", "figures"])
@pytest.mark.parametrize(("asked", "reason"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_not_simulated_is_said(asked: dict[str, Any], reason: str, method: str) -> None:
    """It is never left out in silence, nor is anything shown in its place."""
    with pytest.raises(NotSimulated, match=reason):
        getattr(answers(), method)(asked)


@pytest.mark.parametrize(
    ("defaults", "requests"), [(["*"], 390), (["prod"], 360), (["dev"], None), (["dev", "prod"], 360)]
)
def test_template_variables_choose_what_they_do_at_first(defaults: list[str], requests: float | None) -> None:
    found = answers([{"name": "e", "prefix": "env", "defaults": defaults}])
    rows = found.figures(request({"R": "a"}, "sum", a="sum:requests{$e}.as_count()")).rows
    assert rows == ({(): (requests,)} if requests else {})


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 100)), max_size=30))
def test_a_sum_is_the_sum_of_the_graph(points: list[tuple[int, int]]) -> None:
    """What a value or a list shows of counts is what the graph beside it shows, added up."""
    seen = Observations(START, START + 1200)
    for minute, value in sorted(dict(points).items()):
        seen.point("requests", COUNT, [f"model:{value % 3}"], START + 60 * minute + 1, value)
    found = Answers(Recorded(seen), {})
    graph = {line.name: sum(line.points.values()) for line in found.lines(request({"R": "a"}, a=COUNTS))}
    rows = found.figures(request({"R": "a"}, "sum", a=COUNTS)).rows
    assert {f"R: {group_text(group)}": row[0] for group, row in rows.items()} == graph
