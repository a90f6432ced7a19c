"""What monitors do over time: groups, delays, missing data, service checks, composites, events, notifications.

What is expected follows Datadog's pages on monitors: configuration, types, notifications.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.simulate.notation import read_numbers, read_statuses
from datadog_checks.model_serving.workstation.provision.simulate.observations import COUNT, GAUGE, Observations
from datadog_checks.model_serving.workstation.provision.simulate.simulation import MonitorHistory, Simulator

T = 1_767_225_600
MINUTE = 60
GAUGES = {"query": "avg(last_5m):avg:g{*} by {k} > 5"}
COUNTS = {"query": "sum(last_5m):sum:c{*} by {k}.as_count() > 5"}
CHECKS = {"query": '"c".over("*").by("k").last(4).count_by_status()', "type": "service check"}


def observed(series: Mapping[str, str], length: int = 0, kind: str = GAUGE) -> Observations:
    """A value a minute, by `name{tags}`; of checks, statuses."""
    found = Observations(T, T)
    for text, values in series.items():
        name, _, tags = text.rstrip("}").partition("{")
        is_check = values[0].isalpha()
        read: Iterable[Any] = read_statuses(values) if is_check else read_numbers(values)
        for minute, value in enumerate(read):
            at = T + minute * MINUTE
            found.end = max(found.end, at + MINUTE)
            if value is not None and is_check:
                found.status(name, tags.split(","), at, value)
            elif value is not None:
                found.point(name, kind, tags.split(","), at, value)
    found.end = max(found.end, T + length * MINUTE)
    return found


def history(body: Mapping[str, Any], found: Observations, **options: Any) -> MonitorHistory:
    body = {"type": "query alert", "message": "@a", "tags": [], **body, "options": {"new_group_delay": 0, **options}}
    return Simulator([Resource("monitor", "m", body)], found).history("m")


def told(found: MonitorHistory) -> list[tuple[int, str, str]]:
    """Minute, group and state of every change, which must be the same in all ways but for a minute."""
    assert not found.not_simulated
    assert found.depends == []
    run = next(iter(found.runs.values()))
    return [(int(one.time - T) // MINUTE, ",".join(value for _, value in one.group), one.after) for one in run.changes]


def test_a_new_group_is_left_alone_for_a_while() -> None:
    found = observed({"g{k:old}": "9x20", "g{k:new}": "_x10 9x10"})
    assert told(history(GAUGES, found, new_group_delay=300)) == [(6, "old", "Alert"), (16, "new", "Alert")]


def test_a_series_without_the_tag_is_not_seen() -> None:
    assert told(history(GAUGES, observed({"g{other:a}": "9x20"}))) == []


NO_DATA = [
    ({}, [(1, "a", "Alert")]),
    ({"timeout_h": 1}, [(1, "a", "Alert"), (76, "a", "OK")]),
    ({"notify_no_data": True, "no_data_timeframe": 20}, [(1, "a", "Alert"), (30, "a", "No Data")]),
    ({"on_missing_data": "show_no_data"}, [(1, "a", "Alert"), (16, "a", "No Data")]),
    ({"on_missing_data": "resolve"}, [(1, "a", "Alert"), (16, "a", "OK")]),
    ({"on_missing_data": "default"}, [(1, "a", "Alert")]),
]


@pytest.mark.parametrize(("options", "expected"), NO_DATA)
def test_data_that_goes_missing(options: dict[str, Any], expected: list[tuple[int, str, str]]) -> None:
    """The last value is of minute 10, and in the window until 15."""
    assert told(history(GAUGES, observed({"g{k:a}": "9x10"}, 120), **options)) == expected


def test_a_missing_count_is_zero_by_default() -> None:
    found = observed({"c{k:a}": "9x10"}, 60, COUNT)
    assert told(history(COUNTS, found, on_missing_data="default")) == [(1, "a", "Alert"), (16, "a", "OK")]


def test_what_never_had_data_is_no_missing_data() -> None:
    found = observed({"other{k:a}": "1x60"})
    body = {"query": "avg(last_5m):avg:g{*} > 5"}
    assert told(history(body, found, notify_no_data=True, no_data_timeframe=10)) == []


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ("okx5 criticalx5 okx5", {}, [(1, "a", "OK"), (9, "a", "Alert"), (14, "a", "OK")]),
        ("okx5 criticalx1 warning criticalx1 ok criticalx1 okx5", {}, [(1, "a", "OK")]),
        ("okx5 criticalx1 unknown criticalx1 okx5", {}, [(1, "a", "OK")]),
        ("okx5 _x30", {"notify_no_data": True, "no_data_timeframe": 10}, [(1, "a", "OK"), (15, "a", "No Data")]),
        ("okx5 _x30", {}, [(1, "a", "OK")]),
    ],
)
def test_rows_of_statuses(values: str, options: dict[str, Any], expected: list[tuple[int, str, str]]) -> None:
    """Three critical ones, or two that are OK, without another in between."""
    found = observed({"c{k:a}": values})
    assert told(history(CHECKS, found, thresholds={"critical": 3, "ok": 2}, **options)) == expected


def test_several_contexts_of_one_group_depend() -> None:
    """One host is down for good, the other is not: no page says what the group of both is."""
    found = observed({"c{k:a,host:x}": "okx20", "c{k:a,host:y}": "okx5 criticalx14"})
    outcome = history(CHECKS, found, thresholds={"critical": 3, "ok": 2})
    assert outcome.depends == [(("k", "a"),)]
    assert outcome.inferred


def test_scopes_of_service_checks() -> None:
    found = observed({"c{k:a,env:prod}": "criticalx5", "c{k:b,env:dev}": "criticalx5", "c{k:c,env:prod,x:y}": "okx5"})
    body = {**CHECKS, "query": '"c".over("env:prod").exclude("x:y").by("k").last(2).count_by_status()'}
    assert told(history(body, found)) == [(1, "a", "Alert")]


def test_one_notification_for_all_that_notify_by_takes_together() -> None:
    found = observed({"g{k:a,n:x}": "1x9 9x20 1x20", "g{k:a,n:y}": "1x12 9x17 1x20", "g{k:b,n:z}": "1x40 9x9"})
    body = {"query": "avg(last_5m):avg:g{*} by {k,n} > 5"}
    each, by_k, all_ = (
        [(one.kind, dict(one.group)) for one in next(iter(history(body, found, **options).runs.values())).notifications]
        for options in ({}, {"notify_by": ["k"]}, {"notify_by": ["*"]})
    )
    assert [kind for kind, _ in each] == ["alert", "alert", "recovery", "recovery", "alert"]
    assert by_k == [("alert", {"k": "a"}), ("recovery", {"k": "a"}), ("alert", {"k": "b"})]
    assert all_ == [("alert", {}), ("recovery", {}), ("alert", {})]


@pytest.mark.parametrize(
    ("options", "number"),
    [({}, 1), ({"renotify_interval": 10}, 7), ({"renotify_interval": 10, "renotify_occurrences": 2}, 3)],
)
def test_repeats(options: dict[str, Any], number: int) -> None:
    found = history(GAUGES, observed({"g{k:a}": "9x60"}), **options)
    assert {len(run.notifications) for run in found.runs.values()} == {number}


def test_handles_of_a_message() -> None:
    message = (
        '@always {{#is_alert}}@oncall{{#is_exact_match "k.name" "a"}} @team-a{{/is_exact_match}}{{/is_alert}}'
        ' {{^is_recovery}}@chat{{/is_recovery}} {{#is_match "k.name" "b"}}@nobody@example.com{{/is_match}}'
    )
    run = next(iter(history({**GAUGES, "message": message}, observed({"g{k:a}": "9x9 1x9"})).runs.values()))
    assert [one.recipients for one in run.notifications] == [("always", "oncall", "team-a", "chat"), ("always",)]


def test_events() -> None:
    found = Observations(T, T + 60 * MINUTE)
    for minute, source, change in (
        (10, "model_serving", "driver"),
        (12, "other", "driver"),
        (14, "model_serving", "x"),
    ):
        found.event("changed", [f"change:{change}", "k:a"], T + minute * MINUTE, source=source)
    query = 'events("source:model_serving change:(driver OR model)").rollup("count").by("k").last("15m") > 0'
    assert told(history({"query": query, "type": "event-v2 alert"}, found)) == [(11, "a", "Alert"), (26, "a", "OK")]


def test_groups_of_composites_meet_by_their_tags() -> None:
    """`k` meets `k,n`; a group that one part lacks is not evaluated, so `!b` holds it back."""
    found = observed({"g{k:a,n:x}": "9x20", "g{k:b,n:y}": "9x20", "h{k:a}": "1x20"})
    parts = {"one": "avg(last_5m):avg:g{*} by {k,n} > 5", "two": "avg(last_5m):avg:h{*} by {k} > 5"}
    options = {"new_group_delay": 0}
    resources = [
        Resource("monitor", key, {"type": "query alert", "query": query, "message": "", "options": options})
        for key, query in parts.items()
    ]
    body = {"type": "composite", "query": "${monitor:one} && !${monitor:two}", "message": "", "options": {}}
    assert told(Simulator([*resources, Resource("monitor", "m", body)], found).history("m")) == [(1, "a,x", "Alert")]


@pytest.mark.parametrize("query", ["${monitor:one} && ${monitor:gone}", "${monitor:one} && ${monitor:odd}"])
def test_a_composite_of_what_is_not_simulated_is_not_either(query: str) -> None:
    bodies = {"one": GAUGES["query"], "odd": "avg(last_4h):anomalies(avg:g{*} by {k}, 'basic', 2) >= 1"}
    resources = [
        Resource("monitor", key, {"type": "query alert", "query": one, "message": "", "options": {}})
        for key, one in bodies.items()
    ]
    body = {"type": "composite", "query": query, "message": "", "options": {}}
    found = Simulator([*resources, Resource("monitor", "m", body)], observed({"g{k:a}": "1x9"})).history("m")
    assert found.not_simulated


def test_both_orders_of_a_function_and_the_sum_are_tried() -> None:
    """One failure in each of five minutes: five in all, and none of the buckets has more than one."""
    found = observed({"c{k:a}": "1x9"}, kind=COUNT)
    body = {"query": "sum(last_5m):cutoff_min(sum:c{*} by {k}.as_count(), 5) + 0 >= 5"}
    assert history(body, found).depends == [(("k", "a"),)]
