"""What a person has made becomes ours in place, as the plan says, or it is refused, and never deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import ApiError, OptionError, ProvisionError
from datadog_checks.model_serving.workstation.provision.adopt import read_adoptions
from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.apply import Result, apply
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.plan import Action, Plan, destroy_plan, make_plan
from datadog_checks.model_serving.workstation.provision.render import plan_text
from datadog_checks.model_serving.workstation.provision.state import Account, Found, read_account
from datadog_checks.model_serving.workstation.provision.validate import refusals

from .resources import (
    WHOLE,
    actions,
    applied,
    availability,
    burn,
    composite,
    copied,
    dashboard,
    errors,
    every_kind,
    latency,
    numbers,
    planned,
    rule,
    told,
)
from .standin import Fault, Standin

Connect = Callable[..., Client]
LATENCY, SLO, BOARD, RULE = (
    "monitor:latency.mean",
    "slo:availability",
    "dashboard:overview",
    "notification_rule:critical",
)
MOMENT = "2025-01-01T00:00:00+00:00"


def plan_of(
    client: Client, resources: Sequence[Resource], adopt: dict[str, Any], stack: str = "", source: str = "", **how: Any
) -> Plan:
    ids = {address: str(one) for address, one in adopt.items()}
    return planned(client, resources, stack=stack, source=source, adopt=ids, **how)


def slow(dd: Standin, **fields: Any) -> int:
    """A monitor of a person's: another query, recipients, and tags."""
    body = {
        "name": "Scoring is slow",
        "type": "metric alert",
        "query": "avg(last_10m):avg:model_serving.request.latency{env:prod} by {endpoint_name} > 1",
        "message": "Too slow.\nLook at the queue. @slack-scoring @slack-ml @ml@example.com",
        "tags": ["team:scoring", "owner:bob", "web"],
        "priority": 1,
        "options": {"thresholds": {"critical": 1.0}, "renotify_interval": 60, "escalation_message": "@pagerduty-ml"},
    }
    return int(dd.state.add_monitor({**body, **fields}, MOMENT)["id"])


def by_hand(dd: Standin, connect: Connect) -> dict[str, Any]:
    """One of each kind, made by a person through the API, by the address that it is to have."""
    client = connect()
    slo = availability(name="Good requests", tags=["owner:bob"], thresholds=[{"timeframe": "7d", "target": 99}])
    note = {"definition": {"type": "note", "content": "Mine"}}
    board = dashboard(title="My board", description="Mine.", widgets=[note] * 3, tags=["team:web"])
    oncall: dict[str, Any] = {"name": "On call", "filter": {"tags": ["team:web"]}, "recipients": ["slack-web"]}
    made = {
        SLO: client.call(client.slos.create_slo, body=dict(slo.body))["data"][0],
        BOARD: client.call(client.dashboards.create_dashboard, body=dict(board.body)),
        RULE: client.call(
            client.rules.create_monitor_notification_rule,
            body={"data": {"type": "monitor-notification-rule", "attributes": oncall}},
        )["data"],
    }
    return {LATENCY: slow(dd), **{address: one["id"] for address, one in made.items()}}


def test_a_monitor_is_changed_in_place_and_ours_from_then_on(dd: Standin, connect: Connect) -> None:
    client, number = connect(), slow(dd)
    plan = plan_of(client, [latency(message="Slow. @slack-ml")], {LATENCY: number})
    assert plan_text(plan).plain == (
        f"""\
  ~ monitor:latency.mean  "Monitor latency.mean" (id {number}) adopted: was "Scoring is slow"; resets the state of \
its groups, since the query changes
      name: "Scoring is slow" -> "Monitor latency.mean"
      query:
        - "avg(last_10m):avg:model_serving.request.latency{{env:prod}} by {{endpoint_name}} > 1"
        + "avg(last_5m):avg:model_serving.request.latency{{*}} by {{endpoint_name}} > 2"
      message:
        + Slow. @slack-ml
        - Too slow.
        - Look at the queue. @slack-scoring @slack-ml @ml@example.com
      tags: -owner:bob -team:scoring -web +managed_by:model-serving +model_serving_key:latency.mean +team:ml
      priority: 1 -> 2
      options.escalation_message: "@pagerduty-ml" -> ""
      options.renotify_interval: 60 -> 0
      options.thresholds.critical: 1 -> 2
      no longer notifies ml@example.com, pagerduty-ml, slack-scoring
Plan: 1 to change."""
    )
    assert [call.method for call in dd.calls if call.method != "GET"] == []
    assert told(apply(client, plan)) == {LATENCY: "done"}
    assert list(dd.state.monitors) == [number]
    assert dd.state.monitors[number]["created"] == MOMENT
    for adopt in ({}, {LATENCY: number}):
        assert actions(plan_of(client, [latency(message="Slow. @slack-ml")], adopt)) == {LATENCY: "unchanged"}
    assert {one.result for one in apply(client, destroy_plan(read_account(client, ())))} == {Result.DONE}
    assert dd.state.monitors == {}


def test_every_kind_is_adopted_and_what_needs_it_gets_its_id(dd: Standin, connect: Connect) -> None:
    client = connect()
    adopt = by_hand(dd, connect)
    there = {*dd.state.monitors, *dd.state.slos, *dd.state.dashboards, *dd.state.rules}
    plan = plan_of(client, every_kind(), adopt)
    assert {address for address, action in actions(plan).items() if action == "change"} == set(adopt)
    shown = plan_text(plan).plain
    for line in (
        'adopted: was "Good requests"\n',
        "      thresholds.7d:\n",
        "      tags: -owner:bob ",
        'adopted: was "My board"\n',
        '      widgets[1]: widget note "" -> widget slo ""\n',
        '      widgets[2]: widget note "" -> (nothing)\n',
        "      tags: -team:web\n",
        'adopted: was "On call"\n',
        "      recipients: -slack-web +slack-ml\n",
    ):
        assert line in shown
    assert {one.result for one in apply(client, plan)} == {Result.DONE}
    assert there < {*dd.state.monitors, *dd.state.slos, *dd.state.dashboards, *dd.state.rules}
    assert numbers(dd) == WHOLE
    (fast,) = (one for one in dd.state.monitors.values() if one["name"] == "Monitor slo.fast")
    assert adopt[SLO] in fast["query"]
    assert not plan_of(client, every_kind(), {}).differs


def test_tags_that_are_left_to_others_stay_on_what_is_adopted(dd: Standin, connect: Connect) -> None:
    client, number = connect(), slow(dd)
    plan = plan_of(client, [latency()], {LATENCY: number}, ignore_tags=["owner"])
    assert "tags: -team:scoring -web +" in plan_text(plan).plain
    apply(client, plan)
    assert "owner:bob" in dd.state.monitors[number]["tags"]
    assert not plan_of(client, [latency()], {}, ignore_tags=["owner"]).differs


def test_who_hears_of_it_by_a_rule_is_not_lost(dd: Standin, connect: Connect) -> None:
    client, number = connect(), slow(dd)
    plan = plan_of(client, [latency(), rule("slack-scoring", "pagerduty-ml")], {LATENCY: number})
    assert "no longer notifies ml@example.com, slack-ml\n" in plan_text(plan).plain


def test_half_a_mark_makes_nothing_ours_and_can_be_adopted(dd: Standin, connect: Connect) -> None:
    client, number = connect(), slow(dd, tags=["managed_by:model-serving"])
    assert actions(plan_of(client, [latency()], {}))[f"monitor:{number}"] == "foreign"
    plan = plan_of(client, [latency()], {LATENCY: number})
    assert [(step.action, step.adopted) for step in plan.steps] == [(Action.CHANGE, True)]


def test_in_a_new_stack_and_beside_a_move(dd: Standin, connect: Connect) -> None:
    """The mark is that of the stack. A key that is taken over from another stack has its resource already."""
    client, number = connect(), slow(dd)
    assert {one.result for one in applied(client, [errors()])} == {Result.DONE}
    plan = plan_of(client, [errors(), latency()], {LATENCY: number}, "ml", move=True)
    assert actions(plan) == {"monitor:errors.share": "change", LATENCY: "change"}
    assert {one.result for one in apply(client, plan)} == {Result.DONE}
    assert {"managed_by:model-serving.ml"} <= set(dd.state.monitors[number]["tags"])
    assert not plan_of(client, [errors(), latency()], {}, "ml").differs
    moved = plan_of(client, [errors(), latency()], {LATENCY: number}, "web", "ml", move=True)
    assert [step.adopted for step in moved.having(Action.CHANGE)] == [False, False], "it moves as all the others do"
    another = slow(dd)
    with pytest.raises(ProvisionError, match="of the stack `ml`, which is taken over; delete that in Datadog first"):
        plan_of(client, [errors(), latency()], {LATENCY: another}, "web", "ml", move=True)
    plan = plan_of(client, [errors(), latency()], {LATENCY: another}, "web", "ml", move=False)
    assert actions(plan)[LATENCY] == "change"
    assert plan.having(Action.CHANGE)[0].found[0].id == str(another)


def of_terraform(dd: Standin, client: Client) -> tuple[list[Resource], dict[str, Any]]:
    return [latency()], {LATENCY: slow(dd, tags=["managed_by:terraform"])}


def of_another_key(dd: Standin, client: Client) -> tuple[list[Resource], dict[str, Any]]:
    applied(client, [errors()])
    return [latency(), errors()], {LATENCY: max(dd.state.monitors)}


def of_another_stack(dd: Standin, client: Client) -> tuple[list[Resource], dict[str, Any]]:
    other = checked([latency()], stack="web")
    apply(client, make_plan(other, read_account(client, other, "web")))
    return [latency()], {LATENCY: max(dd.state.monitors)}


def a_key_that_has_one(dd: Standin, client: Client) -> tuple[list[Resource], dict[str, Any]]:
    applied(client, [latency()])
    return [latency()], {LATENCY: slow(dd)}


def a_copy_of_ours(dd: Standin, client: Client) -> tuple[list[Resource], dict[str, Any]]:
    applied(client, [latency()])
    return [latency()], {LATENCY: copied(dd, "Monitor latency.mean")[1]}


def of_another_type(dd: Standin, client: Client) -> tuple[list[Resource], dict[str, Any]]:
    query = '"model_serving.openmetrics.health".over("*").by("endpoint").last(3).count_by_status()'
    return [latency()], {LATENCY: slow(dd, type="service check", query=query)}


def a_composite_one(dd: Standin, client: Client) -> tuple[list[Resource], dict[str, Any]]:
    parts = [Resource("monitor", f"both.part{name}", body.body) for name, body in (("", latency()), (".x", errors()))]
    both = json.loads(
        json.dumps(composite().body).replace("latency.mean", "both.part").replace("errors.share", "both.part.x")
    )
    return [*parts, Resource("monitor", "both", both)], {"monitor:both": slow(dd)}


def an_slo_of_another_type(dd: Standin, client: Client) -> tuple[list[Resource], dict[str, Any]]:
    body = {**availability().body, "type": "monitor", "monitor_ids": [slow(dd)]}
    del body["query"]
    made = client.call(client.slos.create_slo, body=body)["data"][0]
    return [availability()], {SLO: made["id"]}


def a_layout(dd: Standin, client: Client) -> tuple[list[Resource], dict[str, Any]]:
    widget = {"definition": {"type": "note", "content": "x"}, "layout": {"x": 0, "y": 0, "width": 1, "height": 1}}
    body = {"title": "Free", "layout_type": "free", "widgets": [widget]}
    made = client.call(client.dashboards.create_dashboard, body=body)
    return [availability(), dashboard()], {BOARD: made["id"]}


REFUSED = {
    of_terraform: "it belongs to somebody else (managed_by:terraform); once it is managed there no longer, take",
    of_another_key: "it is ours already, as monitor:errors.share; take the mark off it in Datadog first",
    of_another_stack: "it is monitor:latency.mean of the stack `web`; take that stack over with --move-from web, or",
    a_key_that_has_one: '"Monitor latency.mean"; delete that in Datadog first, or name another key',
    a_copy_of_ours: '"Monitor latency.mean"; delete that in Datadog first, or name another key',
    of_another_type: "its type is `service check`, that of monitor:latency.mean is `query alert`, and Datadog can't",
    a_composite_one: "it may fit a part of that, monitor:both.part or monitor:both.part.x",
    an_slo_of_another_type: "its type is `monitor`, that of slo:availability is `metric`, and Datadog can't change it",
    a_layout: "its layout_type is `free`, that of dashboard:overview is `ordered`, and Datadog can't change it",
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.__name__)
def test_what_can_not_become_ours_is_refused_and_left(dd: Standin, connect: Connect, case: Any) -> None:
    client = connect()
    resources, adopt = case(dd, client)
    before = json.dumps([dd.state.monitors, dd.state.slos, dd.state.dashboards])
    with pytest.raises(ProvisionError) as caught:
        plan_of(client, resources, adopt)
    head, line = str(caught.value).split("\n")
    ((address, identity),) = adopt.items()
    assert head == "nothing was changed, since this can't be adopted:"
    assert line.startswith(f"  --adopt {address}={identity}, ")
    assert REFUSED[case] in line
    assert json.dumps([dd.state.monitors, dd.state.slos, dd.state.dashboards]) == before


@pytest.mark.parametrize("address", [LATENCY, SLO, BOARD, RULE])
def test_an_id_that_is_not_there_is_refused(dd: Standin, connect: Connect, address: str) -> None:
    with pytest.raises(ProvisionError, match=rf"--adopt {address}=7: the account has nothing with this id; look for"):
        plan_of(connect(), every_kind(), {address: "7"})


@pytest.mark.parametrize("answer", [{"odd": [1]}, {"id": 8, "type": "query alert", "name": "Another", "tags": []}])
def test_an_answer_about_something_else_adopts_nothing(dd: Standin, connect: Connect, answer: dict[str, Any]) -> None:
    number = slow(dd)
    dd.faults.add(Fault("status", where="GetMonitor", status=200, body=answer))
    with pytest.raises(ApiError, match=f"monitor {number}: the answer is not what the API is documented to give"):
        plan_of(connect(), [latency()], {LATENCY: number})


WANTED = {"monitor:latency.p99", "monitor:latency.p99.sdxl", SLO, "dashboard:gpu", "percentiles:x"}
KNOWN = {"monitor:latency.p99", "monitor:gpu.xid", SLO, "dashboard:gpu"}


def test_a_key_alone_is_that_of_a_monitor() -> None:
    given = ["latency.p99.sdxl=12", "monitor:latency.p99=1", "slo:availability=a1-b2", "latency.p99=1"]
    found = {"monitor:latency.p99.sdxl": "12", "monitor:latency.p99": "1", SLO: "a1-b2"}
    assert read_adoptions(given, WANTED, KNOWN) == found


MISTAKES = {
    ("latency.p99",): "write KEY=ID, such as `latency.p99=12345678`",
    ("=1",): "write KEY=ID",
    ("latency.p99=",): "write KEY=ID",
    ("latency.p98=1",): "there is no monitor:latency.p98; did you mean `monitor:latency.p99` or",
    ("availability=1",): "there is no monitor:availability; did you mean `slo:availability`?",
    ("zzzz=1",): "`plan --offline --brief` has all",
    ("gpu.xid=1",): "monitor:gpu.xid isn't provisioned here: its pack isn't chosen",
    ("percentiles:x=1",): "`percentiles` can't be adopted: write `monitor:`, `slo:`",
    ("latency.p99=abc",): "`abc` can't be its id: write the number in its URL",
    ("slo:availability=../x",): "`../x` can't be its id: write its id alone",
    ("latency.p99=1", "latency.p99=2"): "monitor:latency.p99 is to be 1 as well",
    ("latency.p99=1", "latency.p99.sdxl=1"): "1 is to be monitor:latency.p99 as well",
}


@pytest.mark.parametrize("given", MISTAKES, ids=" ".join)
def test_a_mistake_in_the_option_says_what_to_write(given: tuple[str, ...]) -> None:
    with pytest.raises(OptionError) as caught:
        read_adoptions(given, WANTED, KNOWN)
    assert str(caught.value).startswith(f"--adopt {given[-1]}: ")
    assert MISTAKES[given] in str(caught.value)


@given(st.text(), st.text(), st.booleans())
def test_nothing_that_a_person_calls_it_passes_for_a_line(name: str, tag: str, refused: bool) -> None:
    (wanted,) = checked([latency()])
    tags = [tag, *(["managed_by:x"] if refused else [])]
    account = Account(to_adopt={LATENCY: Found("monitor", "", "7", {**wanted.body, "name": name, "tags": tags})})
    if refused:
        with pytest.raises(ProvisionError) as caught:
            make_plan([wanted], account)
        lines = str(caught.value).split("\n")
        assert len(lines) == 2
    else:
        lines = plan_text(make_plan([wanted], account)).plain.split("\n")
        assert [line.startswith("Plan: ") for line in lines].index(True) == len(lines) - 1
    assert [line for line in lines if not line.isprintable()] == []


def test_a_burn_rate_of_an_slo_that_is_adopted_is_checked_before_it_is_written(dd: Standin, connect: Connect) -> None:
    client = connect()
    identity = by_hand(dd, connect)[SLO]
    plan = plan_of(client, [availability(thresholds=[{"timeframe": "7d", "target": 99}])], {SLO: identity})
    assert refusals(client, plan) == []
    assert actions(plan_of(client, [availability(), burn()], {SLO: identity}))["monitor:slo.fast"] == "create"
