"""Stacks share an account and leave each other alone, whatever one of them does; two runs at once leave no twins."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import ProvisionError
from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.apply import Outcome, Result, apply, waiting
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import (
    KINDS,
    STACK,
    Resource,
    mark,
    mark_of,
    owned_key,
    resembles,
    with_mark_of,
)
from datadog_checks.model_serving.workstation.provision.plan import Plan, destroy_plan, make_plan
from datadog_checks.model_serving.workstation.provision.render import outcome_text, plan_text
from datadog_checks.model_serving.workstation.provision.state import read_account
from datadog_checks.model_serving.workstation.provision.validate import validate_monitors

from .resources import (
    LATENCY,
    WHOLE,
    actions,
    applied,
    availability,
    composite,
    copied,
    dashboard,
    downtime,
    errors,
    every_kind,
    latency,
    monitor,
    numbers,
    percentiles,
    planned,
    rule,
    told,
)
from .standin import Fault, Standin

Connect = Callable[..., Client]
MARKED = [errors(), availability(), dashboard(), rule(), downtime()]
stacks = st.just("") | st.from_regex(STACK, fullmatch=True)


def plan_of(client: Client, resources: Sequence[Resource], stack: str, source: str = "", **options: Any) -> Plan:
    return planned(client, resources, stack=stack, source=source, **options)


def apply_to(client: Client, resources: Sequence[Resource], stack: str, source: str = "", **options: Any) -> set[str]:
    """How the steps of a run ended."""
    outcomes = apply(client, plan_of(client, resources, stack, source, **options))
    assert {one.result for one in outcomes} <= {Result.DONE}, told(outcomes)
    return {str(one.step.action) for one in outcomes}


def destroy(client: Client, stack: str) -> list[Outcome]:
    return apply(client, destroy_plan(read_account(client, (), stack)))


def ids(dd: Standin) -> set[Any]:
    planned = (one for one, body in dd.state.downtimes.items() if body["attributes"]["canceled"] is None)
    return {*dd.state.monitors, *dd.state.slos, *dd.state.dashboards, *dd.state.rules, *planned}


def named(resources: Sequence[Resource], prefix: str) -> list[Resource]:
    """As a team has them that gives its resources a name of their own."""
    whole = json.dumps([one.body for one in resources]).replace('"name": "', f'"name": "{prefix} ')
    bodies = json.loads(whole.replace('"title": "', f'"title": "{prefix} '))
    return [Resource(one.kind, one.key, body) for one, body in zip(resources, bodies, strict=True)]


@given(st.sampled_from(MARKED), stacks, stacks)
def test_a_mark_is_of_one_stack_and_key(resource: Resource, stack: str, other: str) -> None:
    marked = mark(resource, stack)
    assert mark_of(resource.kind, marked.body) == (stack, resource.key)
    assert owned_key(resource.kind, marked.body, other) == (resource.key if other == stack else None)
    assert not resembles(resource.kind, marked.body)
    assert with_mark_of(marked, stack, other) == mark(resource, other)


LOOKALIKES: list[tuple[str, str, dict[str, Any]]] = [
    ("a person's rule", "notification_rule", {"name": "model-serving oncall: page", "filter": {"scope": "team:a"}}),
    (
        "a rule about monitors of another tag",
        "notification_rule",
        {"name": "model-serving a: b", "filter": {"scope": "managed_by:model-serving-x AND team:a"}},
    ),
    (
        "a rule about another stack",
        "notification_rule",
        {"name": "model-serving a: b", "filter": {"scope": "managed_by:model-serving.x"}},
    ),
    (
        "two owners",
        "monitor",
        {"tags": ["managed_by:model-serving", "managed_by:model-serving.a", "model_serving_key:x"]},
    ),
    ("two keys", "slo", {"tags": ["managed_by:model-serving", "model_serving_key:x", "model_serving_key:y"]}),
    ("no key", "monitor", {"tags": ["managed_by:model-serving.a"]}),
    (
        "a person's downtime of our monitors",
        "downtime",
        {"message": "Quiet.", "monitor_identifier": {"monitor_tags": ["managed_by:model-serving", "team:a"]}},
    ),
    (
        "a downtime of ours that was widened",
        "downtime",
        {"message": "managed by model-serving (key: a)", "monitor_identifier": {"monitor_tags": ["*"]}},
    ),
    (
        "a downtime of another stack's monitors",
        "downtime",
        {
            "message": "managed by model-serving (key: a)",
            "monitor_identifier": {"monitor_tags": ["managed_by:model-serving.a"]},
        },
    ),
    (
        "a downtime of one monitor by its id",
        "downtime",
        {"message": "managed by model-serving (key: a)", "monitor_identifier": {"monitor_id": 7}},
    ),
]


@pytest.mark.parametrize(("kind", "body"), [one[1:] for one in LOOKALIKES], ids=[one[0] for one in LOOKALIKES])
def test_what_only_resembles_a_mark_is_none(kind: str, body: dict[str, Any]) -> None:
    assert mark_of(kind, body) is None
    assert resembles(kind, body)


def before(resource: Resource) -> Resource:
    """Marked as by the versions that knew no stacks."""
    body = json.loads(json.dumps(resource.body))
    if resource.kind in ("monitor", "slo"):
        body["tags"] += ["managed_by:model-serving", f"model_serving_key:{resource.key}"]
    elif resource.kind == "dashboard":
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:8]
        line = f"managed by model-serving (key: {resource.key}, content: {digest})"
        body["description"] = f"{body['description'].rstrip()}\n\n{line}"
    elif resource.kind == "notification_rule":
        own = body["data"]["attributes"] if "data" in body else body
        own["name"] = f"model-serving {resource.key}: {own['name']}"
        own["filter"]["scope"] = f"managed_by:model-serving AND {own['filter']['scope']}"
        body = {"data": {"type": "monitor-notification-rule", "attributes": own}}
    return Resource(resource.kind, resource.key, body)


def test_an_account_of_a_version_without_stacks_is_as_it_should_be(dd: Standin, connect: Connect) -> None:
    path = Path(__file__).with_name("before.json")
    saved = [Resource(one["kind"], one["key"], one["body"]) for one in json.loads(path.read_text(encoding="utf-8"))]
    saved += [dashboard(widgets=[{"definition": {"type": "note", "content": "Overview"}}])]
    client = connect()
    old = [before(resource) for resource in saved]
    assert {one.result for one in apply(client, make_plan(old, read_account(client, old)))} == {Result.DONE}
    plan = plan_of(client, saved, "")
    assert set(actions(plan).values()) == {"unchanged"}, actions(plan)
    assert {step.kind for step in plan.steps} == set(KINDS) - {"downtime"}, "which they had none of"
    assert len(plan.steps) == len(saved)


def test_a_life_of_two_teams(dd: Standin, connect: Connect) -> None:
    """Beside each other, and beside what somebody made by hand, with all that a team does."""
    client = connect()
    a, b = named(every_kind(), "[a]"), named(every_kind(), "[b]")
    dd.state.add_foreign_monitors(3)
    foreign = set(dd.state.monitors)
    assert apply_to(client, a, "a") == {"create"}
    of_a = ids(dd) - foreign
    snapshot = json.dumps([dd.state.monitors, dd.state.slos, dd.state.dashboards, dd.state.rules], sort_keys=True)
    assert apply_to(client, b, "b") == {"create"}
    of_b = ids(dd) - of_a - foreign
    for stack, resources in (("a", a), ("b", b)):
        plan = plan_of(client, resources, stack)
        assert not plan.differs
        other = "b" if stack == "a" else "a"
        assert f"seen of the stack `{other}`: 1 dashboard, 1 downtime, 1 notification rule" in plan_text(plan).plain
    for one in dd.state.rules.values():
        scope, name = one["attributes"]["filter"]["scope"], one["attributes"]["name"]
        assert scope.startswith(f"managed_by:model-serving.{'a' if '[a]' in name else 'b'} AND ")
    # B changes one, prunes one, and goes; the other has noticed nothing.
    fewer = [
        *(one for one in b if one.key not in ("both", "latency.mean", "errors.share")),
        *named([latency(3)], "[b]"),
    ]
    assert apply_to(client, fewer, "b", prune=True) == {"change", "delete"}
    assert ids(dd) - of_a - foreign < of_b
    assert {one.result for one in destroy(client, "b")} == {Result.DONE}
    assert ids(dd) == of_a | foreign
    left = json.dumps([dd.state.monitors, dd.state.slos, dd.state.dashboards, dd.state.rules], sort_keys=True)
    assert left == snapshot
    assert not plan_of(client, a, "a").differs
    assert destroy(client, "") == []
    assert ids(dd) == of_a | foreign


def test_naming_a_stack_later_moves_what_is_there(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, every_kind())
    there, edits = ids(dd), sum(dd.state.query_edits.values())
    plan = plan_of(client, every_kind(), "ml")
    assert {str(step.action) for step in plan.steps if step.kind != "percentiles"} == {"change"}
    shown = plan_text(plan).plain
    assert shown.count("moves here from the stack without a name") == 8
    assert "tags: -managed_by:model-serving +managed_by:model-serving.ml\n" in shown
    apply_to(client, every_kind(), "ml")
    assert (ids(dd), sum(dd.state.query_edits.values())) == (there, edits), "nothing is new, no state is reset"
    assert not plan_of(client, every_kind(), "ml").differs
    assert set(actions(plan_of(client, every_kind(), "")).values()) >= {"create"}, "the one without a name is empty"


@pytest.mark.parametrize("nth", range(1, 9))
def test_a_move_that_breaks_off_is_finished_by_the_next_run(dd: Standin, connect: Connect, nth: int) -> None:
    client = connect()
    applied(client, every_kind())
    there = ids(dd)
    changes = lambda call: call.method in ("PUT", "PATCH")  # noqa: E731
    dd.faults.add(Fault("status", where=changes, nth=nth, times=1000, status=400))
    apply(client, plan_of(client, every_kind(), "ml"))
    dd.faults.clear()
    apply_to(client, every_kind(), "ml")
    assert ids(dd) == there
    assert not plan_of(client, every_kind(), "ml").differs


def test_what_is_about_to_be_moved_is_checked_as_a_change_of_it(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, [latency(), errors(), composite()])
    dd.forget()
    wanted = checked([latency(), errors(), composite()], stack="ml")
    outcomes = validate_monitors(client, wanted, read_account(client, wanted, "ml"))
    assert {one.result for one in outcomes} == {Result.DONE}
    assert dd.count("ValidateExistingMonitor") == 3


def test_a_new_stack_beside_one_without_a_name_has_to_be_said(dd: Standin, connect: Connect) -> None:
    """What is otherwise may be a new stack, or the old one with a name and a change: nobody but the user knows."""
    client = connect()
    applied(client, every_kind())
    there = ids(dd)
    own = named(every_kind(), "[b]")
    with pytest.raises(ProvisionError, match=r"--move-from none; if .* --new-stack") as caught:
        apply(client, plan_of(client, own, "b"))
    assert "  slo:availability: " in str(caught.value)
    assert ids(dd) == there
    assert apply_to(client, own, "b", move=False) == {"create"}
    assert ids(dd) > there
    # From now on it goes without saying, also for what only the other one has.
    assert not plan_of(client, own, "b").differs
    more = errors()
    more = Resource("monitor", "more", {**more.body, "name": "More", "message": "More."})
    applied(client, [*every_kind(), more])
    assert actions(plan_of(client, [*own, more], "b"))["monitor:more"] == "create"


def test_a_stack_takes_over_another_where_that_is_said(dd: Standin, connect: Connect) -> None:
    client = connect()
    apply_to(client, every_kind(), "a")
    there = ids(dd)
    assert apply_to(client, named(every_kind(), "[b]"), "b", source="a", move=True) == {"change"}
    assert ids(dd) == there
    assert destroy(client, "a") == []


def test_a_clone_is_reported_and_stays(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, every_kind())
    original, clone = copied(dd, "Monitor slo.fast")
    kept = json.dumps(dd.state.monitors[clone])
    plan = planned(client, every_kind())
    assert not plan.differs
    assert f"a copy of {original}, which is older: take the mark off, or delete it" in plan_text(plan).plain
    applied(client, [*(one for one in every_kind() if one.key != "slo.fast")], prune=True)
    assert original not in dd.state.monitors
    assert json.dumps(dd.state.monitors[clone]) == kept


def test_a_clone_never_becomes_the_original(dd: Standin, connect: Connect) -> None:
    """A replacement would leave the copy as the oldest with the key."""
    client = connect()
    applied(client, [errors()])
    copied(dd, "Monitor errors.share")
    there = ids(dd)
    check = '"model_serving.openmetrics.health".over("*").by("endpoint").last(3).count_by_status()'
    with pytest.raises(ProvisionError, match=r"monitor:errors.share: its type changes, .* delete the copies"):
        applied(client, [monitor("errors.share", check, 2, "service check")])
    assert ids(dd) == there


def test_destroy_leaves_a_persons_rule_and_says_so(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, [rule()])
    (ours,) = dd.state.rules.values()
    own = {**ours["attributes"], "name": "model-serving oncall: page the bank", "filter": {"scope": "team:bank"}}
    dd.state.rules["x"] = {**ours, "id": "x", "attributes": own}
    plan = destroy_plan(read_account(client, ()))
    assert "x notification_rule:x" in plan_text(plan).plain
    apply(client, plan)
    assert list(dd.state.rules) == ["x"]


def both(run: Callable[[int], list[Outcome]]) -> list[list[Outcome]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, range(2)))


@pytest.mark.parametrize("at_once", [False, True])
def test_two_runs_at_once_leave_no_twins(dd: Standin, connect: Connect, at_once: bool) -> None:
    """Each has planned before the other began; also where both creates are under way at the same moment."""
    # The one that goes may take its time about it: the other waits so long.
    clients = [connect(pause=0.1), connect(pause=0.1)]
    plans = [planned(client, every_kind()) for client in clients]
    if at_once:
        for operation in ("CreateSLO", "CreateDashboard", "CreateMonitorNotificationRule"):
            together = threading.Barrier(2)
            dd.faults.add(Fault(lambda call, at=together: at.wait(60), where=operation, times=2))
        results = both(lambda number: apply(clients[number], plans[number]))
    else:
        results = [apply(clients[number], plans[number]) for number in range(2)]
    assert {one.result for outcomes in results for one in outcomes} == {Result.DONE}, [told(one) for one in results]
    made = [one for outcomes in results for one in outcomes if not one.was_there]
    assert "there by then, of another run or adopted" in "".join(outcome_text(one).plain for one in results)
    # Both switch on percentiles that are on by then.
    assert len(made) - (len(results) - 1) == len(every_kind()), "each of them was made by one of the runs"
    dd.faults.clear()
    assert numbers(dd) == WHOLE
    plan = planned(connect(), every_kind())
    assert set(actions(plan).values()) == {"unchanged"}
    assert len(plan.steps) == len(every_kind())


def test_two_runs_that_want_otherwise_leave_one_monitor(dd: Standin, connect: Connect) -> None:
    clients = [connect(), connect()]
    plans = [planned(clients[0], [latency(2)]), planned(clients[1], [latency(3)])]
    apply(clients[0], plans[0])
    outcomes = apply(clients[1], plans[1])
    assert "another run made" in told(outcomes)["monitor:latency.mean"]
    assert outcome_text(outcomes).plain.startswith("Done: nothing.\n1 failed:\n")
    assert [one["options"]["thresholds"]["critical"] for one in dd.state.monitors.values()] == [2.0]
    assert set(told(applied(connect(), [latency(3)])).values()) == {"done"}


def test_a_create_that_arrives_late_leaves_no_twin(dd: Standin, connect: Connect) -> None:
    def arrive(call: object) -> None:
        (board,) = dd.state.dashboards.values()
        dd.state.dashboards["late"] = {**board, "id": "late", "created_at": "2099-01-01T00:00:00+00:00"}

    dd.faults.add(Fault("close", where="CreateDashboard"))
    # Asked after the answer was lost, after the second create, and at the end.
    dd.faults.add(Fault(arrive, where="ListDashboards", nth=4))
    applied(connect(), [availability(), dashboard()])
    assert "late" not in dd.state.dashboards
    assert dd.count("ListDashboards") >= 4
    assert numbers(dd)["dashboard"] == 1


def test_a_dashboard_that_another_run_deletes_meanwhile_is_not_there(dd: Standin, connect: Connect) -> None:
    applied(connect(), [availability(), dashboard()])
    dd.faults.add(Fault(lambda call: dd.state.dashboards.clear(), where="GetDashboard"))
    assert actions(planned(connect(), [availability(), dashboard()]))["dashboard:overview"] == "create"


def test_twins_are_shown_follow_the_original_and_are_pruned(dd: Standin, connect: Connect) -> None:
    wanted = [availability(), dashboard(), rule()]
    applied(connect(), wanted)
    state = dd.state
    (board,), (some,) = state.dashboards.values(), state.rules.values()
    state.dashboards["twin"] = {**board, "id": "twin", "created_at": "2099-01-01T00:00:00+00:00"}
    later = {**some["attributes"], "created_at": "2099-01-01T00:00:00+00:00"}
    state.rules["twin"] = {**some, "id": "twin", "attributes": later}
    plan = planned(connect(), wanted)
    assert not plan.differs
    shown = plan_text(plan).plain
    assert f"the same as {board['id']}, but younger: two runs made it at one time" in shown
    changed = [availability(), dashboard("Other"), rule("pagerduty-ml")]
    applied(connect(), changed)
    plan = planned(connect(), changed, prune=True)
    assert [str(step.action) for step in plan.steps].count("delete") == 2
    apply(connect(), plan)
    assert numbers(dd) == {**dict.fromkeys(WHOLE, 0), "slo": 1, "dashboard": 1, "notification_rule": 1}
    assert "twin" not in ids(dd)


def test_percentiles_where_an_empty_list_of_tags_is_refused(dd: Standin, connect: Connect) -> None:
    dd.policy.empty_tag_lists = False
    metric = dd.state.metrics[LATENCY]
    everything = metric.queryable()
    assert set(told(applied(connect(), [percentiles()])).values()) == {"done"}
    assert metric.configuration is not None
    assert metric.configuration["tags"] == ["model_serving_no_such_tag"]
    assert metric.queryable() == everything, "no tag is hidden"
    metric.configuration = {
        "metric_type": "distribution",
        "tags": [],
        "exclude_tags_mode": True,
        "include_percentiles": False,
    }
    assert set(told(applied(connect(), [percentiles()])).values()) == {"done"}
    assert metric.queryable() == everything


def test_a_refusal_for_another_reason_is_told_as_it_was(dd: Standin, connect: Connect) -> None:
    dd.faults.add(Fault("status", where="CreateTagConfiguration", times=2, status=400, body={"errors": ["No."]}))
    assert set(told(applied(connect(), [percentiles()])).values()) == {"failed 400: No."}


def test_what_can_not_work_before_the_first_data_is_named(dd: Standin, connect: Connect) -> None:
    del dd.state.metrics[LATENCY]
    p99 = monitor("p99", f"percentile(last_5m):p99:{LATENCY}{{*}} > 2", 2)
    pair = monitor("pair", "${monitor:p99} && ${monitor:errors.share}", None, "composite")
    wanted = [percentiles(), p99, errors(), pair]
    plan = planned(connect(), wanted)
    assert waiting(plan) == ["monitor:p99", "monitor:pair"]
    assert "until then these can't work: monitor:p99, monitor:pair" in plan_text(plan).plain
    outcomes = apply(connect(), plan)
    assert {one.result for one in outcomes} == {Result.DONE}
    # The metric was known, but is gone when its turn comes.
    dd.state.see(LATENCY, "distribution", ["env:prod"])
    plan = planned(connect(), wanted)
    assert waiting(plan) == []
    del dd.state.metrics[LATENCY]
    outcomes = apply(connect(), plan)
    assert {one.result for one in outcomes} == {Result.WAITS}
    assert waiting(plan, outcomes) == ["monitor:p99", "monitor:pair"]
    assert composite().address not in waiting(plan, outcomes)
