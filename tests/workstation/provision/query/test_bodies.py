"""The checks of whole monitors, dashboards and SLOs, case by case: bodies.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.workstation.provision.query import (
    Known,
    Problem,
    check_dashboard,
    check_monitor,
    check_slo,
    parse_monitor,
)
from datadog_checks.model_serving.workstation.provision.query.documents import check_document
from datadog_checks.model_serving.workstation.provision.query.monitors import monitor_type

TABLE: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    Path(__file__).with_name("bodies.yaml").read_text(encoding="utf-8")
)
CHECKS: dict[str, Callable[[Mapping[str, Any]], list[Problem]]] = {
    "monitors": check_monitor,
    "dashboards": check_dashboard,
    "slos": check_slo,
}
CASES = [pytest.param(kind, case, id=f"{kind}: {case['name']}") for kind in CHECKS for case in TABLE[kind]]


def body_of(case: dict[str, Any]) -> dict[str, Any]:
    """The body of a case; a monitor given by its query gets the type that it needs."""
    if "body" in case:
        return dict(case["body"])
    body = {key: value for key, value in case.items() if key not in ("name", "expect")}
    return {"type": monitor_type(parse_monitor(case["query"])), **body}


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_body(kind: str, case: dict[str, Any]) -> None:
    """All that is wrong with a body is told, in order, and nothing else."""
    problems = CHECKS[kind](body_of(case))
    found = [[problem.path, problem.column, f"{problem.severity} {problem.id}"] for problem in problems]
    assert found == [expected[:3] for expected in case["expect"]]
    for problem, expected in zip(problems, case["expect"], strict=True):
        assert ", ".join(map(str, expected[3:])) in problem.message


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_column_points_into_the_text_at_the_path(kind: str, case: dict[str, Any]) -> None:
    """The path of a problem with a column leads to the very text that the column counts in."""
    body = body_of(case)
    for problem in CHECKS[kind](body):
        if problem.column is not None:
            value: Any = body
            for key in problem.path.replace("]", "").replace("[", ".").split("."):
                value = value[int(key) if isinstance(value, list) else key]
            assert value == problem.text
            assert 1 <= problem.column <= len(value) + 1


@pytest.mark.parametrize("kind", CHECKS)
def test_wrappings_make_no_difference(kind: str) -> None:
    """A list, an answer of the API, an integration's asset: the same is found, its path longer."""
    bodies = [body_of(case) for case in TABLE[kind] if "type" in body_of(case) or kind == "dashboards"]
    alone = [problem for body in bodies for problem in check_document(body)]
    for wrapped in (bodies, {kind: bodies}, {"data": bodies}, [{"title": "", "definition": body} for body in bodies]):
        found = check_document(wrapped)
        assert [(problem.id, problem.message) for problem in found] == [
            (problem.id, problem.message) for problem in alone
        ]
        assert all(problem.path.startswith(("[", f"{kind}[", "data[")) for problem in found)


def test_template_variables_of_a_recommended_monitor() -> None:
    """An integration's asset may define the template variables of its monitor; a monitor of an account has none."""
    # DataDog/integrations-core, nginx/assets/monitors/upstream_latency.json
    monitor = {"type": "query alert", "query": "avg(last_5m):avg:app.load{$env} by {host} > 5"}
    asset = {"title": "Load", "template_variables": [{"name": "env", "prefix": "env"}], "definition": monitor}
    assert check_document(asset) == []
    for document in (monitor, {**asset, "template_variables": []}, {**asset, "template_variables": [{"name": "zone"}]}):
        assert [(problem.severity, problem.id) for problem in check_document(document)] == [("error", "query/template")]


@pytest.mark.parametrize("document", [None, 5, "text", [], {}, [5], {"monitors": []}, {"title": "x"}])
def test_what_holds_nothing_to_check_is_an_error(document: Any) -> None:
    """The wrong file is never fine."""
    assert [(problem.severity, problem.id) for problem in check_document(document)] == [("error", "file/content")]


@pytest.mark.parametrize(
    "body",
    [
        {"type": "query alert", "query": "avg(last_5m):avg:a.b{*} > 5", "options": 5, "message": 5},
        {"type": "query alert", "query": "avg(last_5m):avg:a.b{*} > 5", "options": {"thresholds": [1], "notify_by": 3}},
        {"type": "query alert", "query": 'formula("a").last("5m") > 5', "options": {"variables": {"a": 1}}},
        {"type": ["query alert"], "query": "avg(last_5m):avg:a.b{*} > 5"},
        {"widgets": {"definition": 5}, "tags": "team:a", "template_variables": [5, {"name": 5}]},
        {"widgets": [5, {}, {"definition": {"requests": {"q": 5, "fill": {"q": None}}}}]},
        {"widgets": [{"definition": {"type": "check_status", "check": 5, "tags": [5]}}]},
        {"type": "metric", "query": 5, "sli_specification": 5, "thresholds": {"30d": 99}},
        {"type": "time_slice", "sli_specification": {"time_slice": {"query": 5}}},
    ],
)
def test_values_of_the_wrong_type_break_nothing(body: Any) -> None:
    """What no API would take is passed over or told, never an exception."""
    for problem in check_document(body):
        assert problem.message


def test_percentiles_must_be_switched_on() -> None:
    """Where it is known which distributions have percentiles, a query of any other finds nothing."""
    body = {"type": "query alert", "query": "percentile(last_5m):p99:model_serving.request.latency{*} > 2"}
    assert check_monitor(body) == []
    assert check_monitor(body, Known(percentiles=frozenset({"model_serving.request.latency"}))) == []
    (problem,) = check_monitor(body, Known(percentiles=frozenset({"model_serving.request.queue.time"})))
    assert (problem.severity, problem.id, problem.column) == ("error", "query/percentile", 21)


def test_tags_of_the_user() -> None:
    """A tag that instances add may be grouped by as one's own."""
    body = {
        "type": "query alert",
        "query": "avg(last_5m):avg:model_serving.cpu.utilization{squad:a} by {squad,env} > 2",
    }
    assert [problem.severity for problem in check_monitor(body)] == ["error", "warning"]
    assert check_monitor(body, Known(user_tags=frozenset({"squad", "env"}))) == []


def test_the_path_starts_where_the_body_is() -> None:
    """`path` is that of the body within its file."""
    (problem,) = check_monitor({"type": "query alert", "query": ""}, path="resources[3].body")
    assert problem.path == "resources[3].body.query"
