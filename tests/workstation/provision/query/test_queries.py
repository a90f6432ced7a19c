"""The grammar and the checks of a single query, case by case: queries.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.errors import QueryError
from datadog_checks.model_serving.workstation.provision.query import check_monitor, parse_monitor, render
from datadog_checks.model_serving.workstation.provision.query.monitors import monitor_type
from datadog_checks.model_serving.workstation.provision.query.problems import IDS

TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("queries.yaml").read_text(encoding="utf-8"))


def found(query: str) -> list[Any]:
    """What there is to say of a monitor with this query, whose type is the right one."""
    try:
        kind = monitor_type(parse_monitor(query))
    except QueryError:
        kind = "query alert"
    return check_monitor({"type": kind, "query": query})


@pytest.mark.parametrize("query", TABLE["accepted"])
def test_accepted(query: str) -> None:
    """Nothing is said of a query that Datadog takes, and its canonical form means the same."""
    assert found(query) == []
    tree = parse_monitor(query)
    assert parse_monitor(render(tree)) == tree


@pytest.mark.parametrize(("query", "what", "message"), TABLE["refused"], ids=[query for query, *_ in TABLE["refused"]])
def test_refused(query: str, what: str, message: str) -> None:
    """Exactly one thing is said of each, with its column, and the message helps."""
    (problem,) = found(query)
    assert f"{problem.column} {problem.severity} {problem.id}" == what
    assert message in problem.message
    assert (problem.path, problem.text) == ("query", query)
    assert problem.id in IDS


def test_several_problems_are_told_at_once() -> None:
    """Checks go on after the first problem, where the query can be read."""
    query = "avg(5m):avg:model_serving.request.latensy{host:a*b} > 5"
    assert [problem.id for problem in found(query)] == ["query/window", "query/wildcard", "catalog/metric"]


@pytest.mark.parametrize(
    "query",
    [
        "avg(last_5m):" + "(" * 5000,
        "avg(last_5m):" + "1+" * 5000 + "1 > 2",
        "!" * 5000 + "1",
        "avg(last_5m):avg:a.b{" + "!" * 5000,
    ],
    ids=["parentheses", "sum", "monitors", "tags"],
)
def test_what_is_too_deep_is_told(query: str) -> None:
    """A query beyond all measure is a QueryError, not a crash."""
    with pytest.raises(QueryError, match=r"too deeply|more than 300 operations"):
        parse_monitor(query)
