"""The evaluator against numbers that Datadog's documentation, its engineers and recordings of its API give.

Each test names where its numbers are from: a page of docs.datadoghq.com (by its path), a recording of the public API
client, the source of the Agent, or `derived` from documented rules alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.query import parse_metric_expression, parse_monitor
from datadog_checks.model_serving.workstation.provision.query.tree import MetricMonitor
from datadog_checks.model_serving.workstation.provision.simulate.arithmetic import Span, series, sums
from datadog_checks.model_serving.workstation.provision.simulate.buckets import Leaves, first_bucket
from datadog_checks.model_serving.workstation.provision.simulate.composites import by_group, evaluate
from datadog_checks.model_serving.workstation.provision.simulate.metric import MetricEvaluation
from datadog_checks.model_serving.workstation.provision.simulate.observations import (
    COUNT,
    DISTRIBUTION,
    GAUGE,
    Observations,
)
from datadog_checks.model_serving.workstation.provision.simulate.recipients import Broadcaster
from datadog_checks.model_serving.workstation.provision.simulate.simulation import Simulator
from datadog_checks.model_serving.workstation.provision.simulate.states import (
    ALERT,
    NO_DATA,
    OK,
    WARN,
    GroupState,
    StateChange,
    StateOptions,
)
from datadog_checks.model_serving.workstation.provision.simulate.variants import INSTANT, SLIDING, Variant
from datadog_checks.model_serving.workstation.standin.sketch import Sketch

T = 1_767_225_600
MINUTE, HOUR = 60, 3600


def seen(metrics: Mapping[str, Sequence[float | None]], kind: str = COUNT, step: int = MINUTE) -> Observations:
    """Metrics without tags, a value every `step` seconds."""
    found = Observations(T, T)
    for name, values in metrics.items():
        for number, value in enumerate(values):
            if value is not None:
                found.point(name, kind, (), T + number * step, value)
            found.end = max(found.end, T + (number + 1) * step)
    return found


def value_of(query: str, found: Observations, now: float | None = None, width: int = MINUTE, **options: Any) -> Any:
    """What a monitor without groups compares with its threshold."""
    tree = parse_monitor(query)
    assert isinstance(tree, MetricMonitor)
    evaluation = MetricEvaluation(tree, options, Leaves(found), set())
    return evaluation.values(found.end if now is None else now, Variant(width=width)).get(())


def at(clock: str) -> int:
    return T + sum(int(part) * length for part, length in zip(clock.split(":"), (HOUR, MINUTE, 1), strict=True))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sum(last_5m):sum:e{*}.as_rate() / sum:t{*}.as_rate() > 0", 1.5),
        ("sum(last_5m):sum:e{*}.as_count() / sum:t{*}.as_count() > 0", 0.3),
        ("avg(last_5m):sum:e{*}.as_rate() / sum:t{*}.as_rate() > 0", 0.3),
    ],
)
def test_v1_ratios_of_rates_and_of_counts(query: str, expected: float) -> None:
    """Page monitors/guide/as-count-in-monitor-evaluations."""
    assert value_of(query, seen({"e": [1, 2, 3, 4, 5], "t": [10] * 5})) == pytest.approx(expected)


@pytest.mark.parametrize(("method", "expected"), [(".as_rate()", 10), (".as_count()", 30)])
def test_v2_a_division_by_zero_or_by_nothing_is_no_point(method: str, expected: float) -> None:
    """Page monitors/faq/as-count-monitor-evaluation, 2019."""
    query = f"sum(last_3m):sum:a{{*}}{method} / sum:b{{*}}{method} > 0"
    assert value_of(query, seen({"a": [10, 10, 10], "b": [0, 1, None]})) == pytest.approx(expected)


def test_v3_gauges_that_never_meet_have_no_result_until_they_are_filled() -> None:
    """Page monitors/guide/monitor-arithmetic-and-sparse-metrics."""
    found = seen({"n": [None, 1, None, 0, None, 1, None, 1], "o": [1, None, 1, None, 1, None, 1, None]}, GAUGE, 300)
    assert value_of("sum(last_35m):avg:n{*} / avg:o{*} > 0", found, width=300) is None
    filled = "sum(last_35m):avg:n{*}.fill(last, 900) / avg:o{*}.fill(last, 900) > 0"
    assert value_of(filled, found, width=300) == pytest.approx(5)


def test_v4_gaps_of_a_denominator() -> None:
    """Page monitors/guide/division-in-monitor-evaluations, 2019."""
    found = seen({"a": [1] * 5, "b": [1, None, 1, None, 1]}, GAUGE)
    assert value_of("sum(last_5m):avg:a{*} / avg:b{*} > 0", found) == pytest.approx(3)
    assert value_of("sum(last_5m):avg:a{*} / avg:b{*}.fill(last) > 0", found) == pytest.approx(5)


def test_v5_a_rollup_loses_the_bucket_that_a_window_begins_within() -> None:
    """Page monitors/guide/why-rollup-should-not-be-used-in-monitors, whose alert is a false one."""
    found = Observations(at("17:10:00"), at("17:30:00"))
    for second in range(at("17:10:00"), at("17:30:00")):
        found.point("a", COUNT, (), second, 100 if second in (at("17:14:50"), at("17:24:20")) else 0)
    times = [at(f"17:{minute}:02") for minute in (23, 24, 25, 26)]
    rolled = [value_of("max(last_10m):sum:a{*}.rollup(sum, 60) < 1", found, now, 1) < 1 for now in times]
    assert rolled == [False, True, False, False]
    assert not any(value_of("max(last_10m):sum:a{*}.as_count() < 1", found, now, 1) < 1 for now in times)


def test_v6_buckets_are_aligned_to_the_clock() -> None:
    """Recording `test_query_timeseries_points` of the public API client for Python."""
    start, end, width = 1641343852, 1641430252, 300
    first, last = first_bucket(start, width), end // width * width
    assert (first, last, (last - first) // width + 1) == (1641344100, 1641430200, 288)


@pytest.mark.parametrize(
    ("points", "full"),
    [
        ([1] * 12, True),
        ([None] + [1] * 11, False),
        ([1, 1, None, None, None] + [1] * 7, True),
        ([1, None, None, None, 1, 1, 1, 1, None, None, 1, 1], False),
    ],
)
def test_v7_a_full_window(points: list[float | None], full: bool) -> None:
    """Page monitors/types/metric: windows of hours have buckets of ten minutes, of which three may be empty."""
    found = seen({"g": points}, GAUGE, 600)
    value = value_of("avg(last_2h):avg:g{*} > 0", found, require_full_window=True)
    assert (value == 1) is full


@pytest.mark.parametrize(
    ("operator", "critical", "recovery", "values", "states"),
    [
        (">", 80, 70, [85, 75, 70], [ALERT, ALERT, OK]),
        (">=", 80, 70, [80, 70, 69.9], [ALERT, ALERT, OK]),
        ("<", 95, 97, [94, 96, 97], [ALERT, ALERT, OK]),
        ("<=", 95, 97, [95, 97, 97.1], [ALERT, ALERT, OK]),
    ],
)
def test_v8_recovery(operator: str, critical: float, recovery: float, values: list[float], states: list[str]) -> None:
    """Page monitors/guide/recovery-thresholds."""
    options = StateOptions(operator, {"critical": critical, "critical_recovery": recovery})
    state = GroupState(options, (), T)
    found = []
    for number, value in enumerate(values):
        state.see(T + number * MINUTE, value, set())
        found.append(state.state)
    assert found == states


def spans(expression: str, found: Observations, minutes: int, width: int = MINUTE) -> Any:
    span = Span(Leaves(found), Variant(width=width), T, T + minutes * MINUTE)
    return series(parse_metric_expression(expression), span)


def test_v9_default_fills_the_series_that_there_are() -> None:
    """The page on interpolation of 2019, on `default()`."""
    found = Observations(T, T + 10 * MINUTE)
    for group in ("val1", "val2"):
        found.point("m", COUNT, [f"k:{group}"], T + 8 * MINUTE, 60)
    found.point("other", COUNT, ["k:val3"], T, 1)
    values = spans("default(sum:m{*} by {k}.as_count(), 0)", found, 10)
    assert values == {
        (("k", group),): {T + minute * MINUTE: 60 if minute == 8 else 0 for minute in range(10)}
        for group in ("val1", "val2")
    }


def test_v10_default_zero_holds_a_gauge_for_five_minutes_first() -> None:
    """Page dashboards/functions/interpolation."""
    found = Observations(T, T + 20 * MINUTE)
    found.point("g", GAUGE, (), T + 5 * MINUTE, 1)
    values = spans("default_zero(avg:g{*})", found, 20)[()]
    assert list(values.values()) == [0] * 5 + [1] * 6 + [0] * 9


def test_v11_gauges_are_interpolated_before_they_are_added_up() -> None:
    """Page metrics/guide/interpolation-the-fill-modifier-explained."""
    found = Observations(T, T + MINUTE)
    for name, points in {"a": {0: 15, 30: 25}, "b": {10: 10, 40: 40}}.items():
        for second, value in points.items():
            found.point("g", GAUGE, [f"source:{name}"], T + second, value)
    values = spans("sum:g{*}", found, 1, width=1)[()]
    assert values[T + 10] == pytest.approx(28.33, abs=0.01)
    assert values[T + 30] == pytest.approx(55)


def test_v12_a_distribution() -> None:
    """Page metrics/types; the Agent's sketch is exact to 1/128."""
    found = Observations(T, T + MINUTE)
    for host, values in {"web_1": [1, 1, 1, 2, 2, 2, 3, 3], "web_2": [1, 1, 2]}.items():
        sketch = Sketch()
        for value in values:
            sketch.insert_bucket(value, value, 1)
        found.point("d", DISTRIBUTION, [f"host:{host}"], T, sketch)
    wanted = {"avg": 1.73, "sum": 19, "count": 11, "min": 1, "max": 3, "p50": 2, "p75": 2, "p90": 3, "p95": 3, "p99": 3}
    for aggregator, expected in wanted.items():
        assert spans(f"{aggregator}:d{{*}}", found, 1)[()][T] == pytest.approx(expected, rel=1 / 60), aggregator
    for share, expected in {"p50": 2, "p99": 3}.items():
        assert value_of(f"percentile(last_5m):{share}:d{{*}} > 0", found) == pytest.approx(expected, rel=1 / 60)


@pytest.mark.parametrize("query", ["sum:g{*} by {k}.weighted()", "anomalies(avg:g{*}, 'basic', 2)", "cumsum(sum:g{*})"])
def test_v13_what_is_not_simulated_is_said(query: str) -> None:
    """`.weighted()` is appended by the web interface alone, of algorithms no formula is published."""
    body = {"type": "query alert", "query": f"avg(last_5m):{query} > 1", "message": "", "options": {}}
    history = Simulator([Resource("monitor", "m", body)], seen({"g": [1] * 9}, GAUGE)).history("m")
    assert history.not_simulated
    assert not history.runs


def test_v14_change_in_percent() -> None:
    """Page monitors/guide/change-alert."""
    found = seen({"g": [2] * 5 + [4] * 5}, GAUGE)
    assert value_of("pct_change(avg(last_5m),last_5m):avg:g{*} > 0", found) == pytest.approx(100)
    assert value_of("change(avg(last_5m),last_5m):avg:g{*} > 0", found) == pytest.approx(2)


def combined(query: str, states: Mapping[str, str], **options: Any) -> str | None:
    parts = {name: by_group([StateChange(T, (), None, state)]) for name, state in states.items()}
    tree = parse_monitor(query)
    changes = evaluate(tree.condition, parts, options, iter([T]), SLIDING)  # type: ignore[union-attr]
    return changes[-1].after if changes else None


@pytest.mark.parametrize(
    ("query", "states", "expected", "without_no_data"),
    [
        ("1 && 2", (ALERT, WARN), WARN, WARN),
        ("1 || 2", (ALERT, WARN), ALERT, ALERT),
        ("1 && 2", (WARN, OK), OK, OK),
        ("1 && 2", (NO_DATA, WARN), NO_DATA, None),
        ("1 || 2", (NO_DATA, OK), NO_DATA, None),
        ("1 && 2", (NO_DATA, OK), OK, OK),
        ("1 && !2", (ALERT, ALERT), OK, OK),
        ("1 && !2", (ALERT, OK), ALERT, ALERT),
        ("1 && !2", (ALERT, NO_DATA), NO_DATA, None),
    ],
)
def test_v15_composites(query: str, states: tuple[str, str], expected: str, without_no_data: str | None) -> None:
    """Page monitors/types/composite, its table."""
    named = dict(zip("12", states, strict=True))
    assert combined(query, named, notify_no_data=True) == expected
    assert combined(query, named, notify_no_data=False) == without_no_data


def test_v15_parts_count_with_their_worst_state_of_five_minutes() -> None:
    """The page of 2017; "behavior that we intended" (an engineer, DataDog/documentation #1770)."""
    a = by_group([StateChange(T, (), None, ALERT), StateChange(T + MINUTE, (), ALERT, OK)])
    b = by_group([StateChange(T, (), None, OK), StateChange(T + MINUTE, (), OK, ALERT)])
    tree = parse_monitor("1 && 2")
    times = [T, T + MINUTE, T + 2 * MINUTE]
    found = {
        mode: [
            (change.time - T, change.after)
            for change in evaluate(tree.condition, {"1": a, "2": b}, {}, iter(times), mode)  # type: ignore[union-attr]
        ]
        for mode in (SLIDING, INSTANT)
    }
    assert found == {SLIDING: [(0, OK), (MINUTE, ALERT)], INSTANT: [(0, OK)]}


def burn(target: float, errors: Iterable[float], total: Iterable[float], query: str) -> Simulator:
    slo = {
        "type": "metric",
        "query": {"numerator": "sum:t{*}.as_count() - sum:e{*}.as_count()", "denominator": "sum:t{*}.as_count()"},
        "target_threshold": target,
    }
    body = {"type": "slo alert", "query": query, "message": "", "options": {}}
    found = seen({"e": list(errors), "t": list(total)})
    return Simulator([Resource("slo", "s", slo), Resource("monitor", "m", body)], found)


@pytest.mark.parametrize(
    ("target", "share", "threshold", "alerts"),
    [
        (99.9, 0.01, 9.99, True),
        (99.9, 0.01, 10.01, False),
        (96, 1, 24.99, True),
        (96, 1, 25.01, False),
    ],
)
def test_v16_burn_rates(target: float, share: float, threshold: float, alerts: bool) -> None:
    """Page service_management/service_level_objectives/burn_rate."""
    query = f'burn_rate("${{slo:s}}").over("30d").long_window("1h").short_window("5m") > {threshold}'
    history = burn(target, [1000 * share] * 90, [1000] * 90, query).history("m")
    assert {change.after for run in history.runs.values() for change in run.changes} == ({ALERT} if alerts else {OK})


def test_v16_both_windows_must_burn() -> None:
    """Page service_management/service_level_objectives/burn_rate."""
    query = 'burn_rate("${slo:s}").over("30d").long_window("1h").short_window("5m") > 10'
    history = burn(99.9, [1000] * 5 + [0] * 85, [1000] * 90, query).history("m")
    run = history.runs[Variant()]
    assert [change.after for change in run.changes] == [ALERT, OK]
    assert run.changes[-1].time == T + 10 * MINUTE


def test_v17_a_slice_is_good_if_it_is_in_every_group() -> None:
    """Page service_management/service_level_objectives/time_slice: 12 h, one bad slice in each of two groups."""
    found = Observations(T, T + 12 * HOUR)
    for group, bad in {"a": 10, "b": 20}.items():
        for number in range(144):
            sketch = Sketch()
            sketch.insert_bucket(*[9.0 if number == bad else 1.0] * 2, 1)
            found.point("d", DISTRIBUTION, [f"k:{group}"], T + number * 300, sketch)
    slo = {
        "type": "time_slice",
        "target_threshold": 99,
        "sli_specification": {
            "time_slice": {
                "comparator": "<=",
                "threshold": 2,
                "query_interval_seconds": 300,
                "query": {"queries": [{"query": "p99:d{*} by {k}"}]},
            }
        },
    }
    for threshold, expected in ((1.38, ALERT), (1.40, OK)):
        query = f'burn_rate("${{slo:s}}").over("30d").long_window("12h").short_window("12h") > {threshold}'
        body = {"type": "slo alert", "query": query, "message": "", "options": {}}
        history = Simulator([Resource("slo", "s", slo), Resource("monitor", "m", body)], found).history("m")
        # Uptime 98.611 % of a target of 99 % is a burn rate of 1.389.
        assert history.states_at((), found.end)[Variant()] == expected


@pytest.mark.parametrize(("errors", "total", "expected"), [(1, 2, 0), (8, 15, 0), (8, 16, 50)])
def test_v18_at_least_so_many_requests(errors: int, total: int, expected: float) -> None:
    """Page monitors/guide/add-a-minimum-request-threshold-for-error-rate-alerts."""
    found = seen({"e": [errors], "t": [total]})
    query = "((sum:e{*}.as_count() / sum:t{*}.as_count()) * 100) * is_greater(sum:t{*}.as_count(), 15)"
    span = Span(Leaves(found), Variant(width=MINUTE), T, T + 5 * MINUTE)
    assert sums(parse_metric_expression(query), span) == {(): expected}


def rule(scope: str, *recipients: str) -> Resource:
    body = {"name": scope, "filter": {"scope": scope}, "recipients": list(recipients)}
    return Resource("notification_rule", recipients[0], body)


def test_v19_all_rules_that_match_and_each_recipient_once() -> None:
    """Page monitors/notify/notification_rules."""
    rules = [
        rule("team:s AND service:w", "slack", "jira"),
        rule("team:s", "jira"),
        rule("service:w", "jira"),
        rule("service:w AND env:prod", "user"),
    ]
    body = {"message": "", "tags": ["service:w"]}
    assert Broadcaster(rules).recipients(body, (("env", "prod"),), OK, ALERT) == ("jira", "user")


def test_v20_every_change_is_told_once() -> None:
    """Page monitors/notify/variables, its table of `first_triggered_at`: OK, WARN, ALERT, NO DATA, OK."""
    states = [OK, WARN, ALERT, NO_DATA, OK]
    changes = [StateChange(T + n, (), states[n - 1] if n else None, state) for n, state in enumerate(states)]
    sent = Broadcaster([]).sent("m", {"message": ""}, changes, True, T + HOUR)
    assert [(one.time - T, one.kind) for one in sent] == [
        (1, "warning"),
        (2, "alert"),
        (3, "no data"),
        (4, "recovery"),
    ]


@pytest.mark.parametrize(("zeros", "resolved"), [(True, 60), (False, 120)])
def test_v22_when_a_single_error_code_is_over(zeros: bool, resolved: int) -> None:
    """Derived: with zeros when it leaves the window of an hour, without when `timeout_h` has passed after that."""
    found = seen({"x": [0, 1] + [0 if zeros else None] * 180})
    body = {
        "type": "query alert",
        "query": "sum(last_1h):sum:x{*}.as_count() > 0",
        "message": "",
        "options": {"timeout_h": 1, "notify_no_data": False},
    }
    history = Simulator([Resource("monitor", "m", body)], found).history("m")
    assert not history.depends
    for run in history.runs.values():
        alert, over = run.changes[-2:]
        assert (alert.after, over.after) == (ALERT, OK)
        assert abs(over.time - alert.time - resolved * MINUTE) <= 2 * MINUTE
