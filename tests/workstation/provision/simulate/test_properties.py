"""What holds for any values, any routes: properties of the evaluator, against short models of the truth."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.workstation.provision.audience import Route, reached
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.query import parse_metric_expression
from datadog_checks.model_serving.workstation.provision.query.tree import (
    And,
    Condition,
    Everything,
    In,
    Metric,
    Not,
    Or,
)
from datadog_checks.model_serving.workstation.provision.routing import Receiver, Routing, handles, notification_rules
from datadog_checks.model_serving.workstation.provision.simulate.buckets import Leaves
from datadog_checks.model_serving.workstation.provision.simulate.notation import read_numbers
from datadog_checks.model_serving.workstation.provision.simulate.observations import COUNT, GAUGE, Observations
from datadog_checks.model_serving.workstation.provision.simulate.recipients import Broadcaster
from datadog_checks.model_serving.workstation.provision.simulate.simulation import Simulator
from datadog_checks.model_serving.workstation.provision.simulate.states import ALERT, OK, WARN, GroupState, StateOptions

T = 1_767_225_600
MINUTE = 60
WEEK = 7 * 86400

QUERIES = [
    "sum(last_5m):sum:a{*} by {k}.as_count() / sum:b{*} by {k}.as_count() > 1",
    "avg(last_15m):avg:g{*} by {k} > 5",
    "pct_change(avg(last_10m),last_1d):avg:g{*} by {k} > 10",
    "sum(last_10m):sum:a{*} by {k}.as_count() / week_before(sum:a{*} by {k}.as_count()) < 0.5",
    "min(last_5m):sum:a{*} by {k}.as_rate() > 0.05",
]


@settings(max_examples=25)
@given(
    st.sampled_from(QUERIES),
    st.lists(st.tuples(*[st.none() | st.integers(0, 9)] * 3), min_size=10, max_size=10),
    st.lists(st.tuples(*[st.none() | st.integers(0, 9)] * 3), min_size=5, max_size=15),
)
def test_what_repeats_itself_is_as_if_it_were_written_out(
    query: str, before: list[tuple[int | None, ...]], after: list[tuple[int | None, ...]]
) -> None:
    """`repeat` gives what the same values give that are there for all the weeks."""
    body = {"type": "query alert", "query": query, "message": "", "options": {"new_group_delay": 0}}
    # As far back as any query looks, and only where it looks.
    shifts = [0, 86400 // 600, WEEK // 600]
    turns = sorted({shift + turn for shift in shifts for turn in range(-3, 4) if shift + turn > 0}, reverse=True)
    short, long = (Observations(T, T + MINUTE * (10 + len(after)), period) for period in (600, 0))
    for turn in turns:
        fill(long, before, T - turn * 600)
    for found in (short, long):
        fill(found, [*before, *after], T)
    histories = [Simulator([Resource("monitor", "m", body)], found).history("m") for found in (short, long)]
    one, other = ({variant: run.changes for variant, run in history.runs.items()} for history in histories)
    assert one == other


@settings(max_examples=50)
@given(
    st.lists(st.tuples(*[st.none() | st.integers(0, 9)] * 3), min_size=12, max_size=20),
    st.sampled_from([0, 300, 420]),
    st.sampled_from([1, 20, 60, 300]),
    st.integers(-3000, 1200),
    st.integers(0, 3000),
)
def test_what_a_window_adds_up_to_is_the_sum_of_its_buckets(
    rows: list[tuple[int | None, ...]], period: int, width: int, start: int, length: int
) -> None:
    """Also of buckets that do not fit into the time that repeats itself."""
    found = Observations(T, T + MINUTE * len(rows), period)
    fill(found, rows, T)
    metric = parse_metric_expression("sum:a{*} by {k}.as_count()")
    assert isinstance(metric, Metric)
    leaves, window = Leaves(found), (width, T + start, T + start + length)
    sums = {group: sum(points.values()) for group, points in leaves.points(metric, *window).items()}
    assert leaves.totals(metric, *window) == sums


def fill(found: Observations, values: list[tuple[int | None, ...]], start: int) -> None:
    for number, row in enumerate(values):
        for (name, kind), value in zip((("a", COUNT), ("b", COUNT), ("g", GAUGE)), row, strict=True):
            if value is not None:
                found.point(name, kind, ["k:v"], start + number * MINUTE, value)


NUMBERS = st.integers(-20, 20).map(float)


@given(st.booleans(), st.lists(NUMBERS, min_size=4, max_size=4, unique=True), st.lists(NUMBERS, max_size=30))
def test_a_state_is_entered_at_its_threshold_and_left_at_its_recovery(
    above: bool, limits: list[float], values: list[float]
) -> None:
    low = sorted(limits) if above else sorted(limits, reverse=True)
    thresholds = dict(zip(("warning_recovery", "warning", "critical_recovery", "critical"), low, strict=True))
    state = GroupState(StateOptions(">" if above else "<", thresholds), (), T)
    sign = 1 if above else -1
    before: str | None = None
    for number, value in enumerate(values):
        state.see(T + number * MINUTE, value, set())
        beyond = {name: sign * value > sign * limit for name, limit in thresholds.items()}
        if beyond["critical"] or (before == ALERT and beyond["critical_recovery"]):
            expected = ALERT
        elif beyond["warning"] or (before == WARN and beyond["warning_recovery"]):
            expected = WARN
        else:
            expected = OK
        assert state.state == expected
        before = state.state


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-3, 3), st.integers(0, 5)), min_size=1, max_size=5))
def test_notation(parts: list[tuple[int, int, int]]) -> None:
    text = " ".join(f"{first}{step:+d}x{more}" for first, step, more in parts)
    assert read_numbers(text) == [first + step * number for first, step, more in parts for number in range(more + 1)]


OURS = ("managed_by:model-serving", "integration:model-serving")
"""Tags of all our monitors, by which rules are limited to them."""
TAGS = {"team": ("a", "b"), "severity": ("critical", "warning"), "model_name": ("m", "n")}
MATCH = st.dictionaries(
    st.sampled_from(list(TAGS)), st.lists(st.sampled_from("ab"), min_size=1, max_size=2, unique=True), min_size=1
).map(
    lambda found: {
        key: tuple(TAGS[key]["ab".index(value)] for value in values) for key, values in sorted(found.items())
    }
)
LEAVES = st.builds(Route, st.just(""), st.sampled_from("xyz"), MATCH, st.booleans(), st.just(()))
ROUTES = st.builds(
    Route,
    st.just(""),
    st.sampled_from("xyz"),
    st.just({}),
    st.just(False),
    st.lists(
        LEAVES | st.builds(Route, st.just(""), st.sampled_from("xyz"), MATCH, st.booleans(), st.tuples(LEAVES)),
        max_size=3,
    ).map(tuple),
)


def holds(condition: Condition, tags: Mapping[str, str]) -> bool:
    match condition:
        case Everything():
            return True
        case In(key=key, values=values):
            return tags.get(key) in values
        case Not(operand=operand):
            return not holds(operand, tags)
        case And(operands=operands):
            return all(holds(one, tags) for one in operands)
        case Or(operands=operands):
            return any(holds(one, tags) for one in operands)
    raise AssertionError(condition)


@settings(max_examples=60)
@given(ROUTES, st.sampled_from(TAGS["team"]), st.sampled_from(TAGS["severity"]), st.sampled_from(TAGS["model_name"]))
def test_rules_and_handles_reach_whom_the_routes_name(root: Route, team: str, severity: str, model: str) -> None:
    """Scopes of rules and blocks of messages, as they are written for Datadog, are read here as they are meant."""
    receivers = {name: Receiver((f"to-{name}",)) for name in "xyz"}
    tags = [f"team:{team}", f"severity:{severity}", *OURS]
    everything = {"team": team, "severity": severity, "model_name": model}
    wanted = {f"to-{name}" for name, condition in reached(root).items() if holds(condition, everything)}
    group = (("model_name", model),)
    rules = Broadcaster(notification_rules(Routing("", "rules", None, root, receivers)))
    assert set(rules.recipients({"message": "", "tags": tags}, group, OK, ALERT)) == wanted
    message = handles(Routing("", "handles", None, root, receivers), tags, ["model_name"])
    assert set(Broadcaster([]).recipients({"message": message, "tags": tags}, group, OK, ALERT)) == wanted
