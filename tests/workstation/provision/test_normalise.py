"""What the server makes of a body is no difference; what anybody else makes of it is one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.model import Resource, mark, owned_key, resolve
from datadog_checks.model_serving.workstation.provision.normalise import differences, preserved, type_change

from .resources import applied, availability, dashboard, downtime, errors, every_kind, planned, recurring, rule
from .standin import Standin

Connect = Callable[..., Client]
Json = dict[str, Any]

MONITOR: Json = {
    "name": "Queue",
    "type": "query alert",
    "query": "avg(last_5m):avg:model_serving.request.queue.size{*} by {endpoint_name} > 50",
    "message": "Too long.",
    "tags": ["team:ml", "env:prod"],
    "priority": 2,
    "options": {
        "thresholds": {"critical": 50, "warning": 40},
        "notify_no_data": True,
        "no_data_timeframe": 20,
        "include_tags": True,
        "renotify_interval": 0,
        "require_full_window": False,
        "on_missing_data": "default",
    },
}
SLO: Json = {
    "name": "Availability",
    "type": "metric",
    "query": {"numerator": "a", "denominator": "b"},
    "thresholds": [{"timeframe": "7d", "target": 99}, {"timeframe": "30d", "target": 99.9}],
    "tags": ["team:ml", "env:prod"],
}
BOARD: Json = {
    "title": "Overview",
    "description": "The golden signals.",
    "layout_type": "ordered",
    "template_variables": [{"name": "system", "prefix": "serving_system", "defaults": ["*"]}],
    "widgets": [{"definition": {"type": "note", "content": "x"}}, {"definition": {"type": "note", "content": "y"}}],
}
RULE: Json = {
    "name": "Critical",
    "filter": {"tags": ["team:ml", "env:prod"]},
    "recipients": ["slack-ml", "pagerduty-ml"],
}
DOWNTIME: Json = {
    "scope": "env:prod",
    "message": "Quiet.",
    "monitor_identifier": {"monitor_tags": ["team:ml", "severity:warning"]},
    "display_timezone": "Europe/Berlin",
    "schedule": recurring("2026-01-04T02:00:00", "FREQ=WEEKLY;BYDAY=SU", "2h"),
}
BODIES = {"monitor": MONITOR, "slo": SLO, "dashboard": BOARD, "notification_rule": RULE, "downtime": DOWNTIME}

Edit = Callable[[Json], Any]

SERVER: list[tuple[str, str, Edit]] = [
    ("ids and dates of its own", "monitor", lambda b: b.update(id=7, org_id=1, created="2026-01-01", multi=True)),
    ("the other name of the type", "monitor", lambda b: b.update(type="metric alert")),
    ("floats for thresholds", "monitor", lambda b: b["options"].update(thresholds={"critical": 50.0, "warning": 40.0})),
    ("texts trimmed", "monitor", lambda b: b.update(message="Too long.  ", query=f" {b['query']} ")),
    (
        "options of its own",
        "monitor",
        lambda b: b["options"].update(silenced={}, notify_audit=False, new_host_delay=300),
    ),
    ("mutes", "monitor", lambda b: b["options"].update(silenced={"*": None})),
    (
        "defaults left out",
        "monitor",
        lambda b: [b["options"].pop(name) for name in ("include_tags", "on_missing_data")],
    ),
    (
        "zeros and falses left out",
        "monitor",
        lambda b: [b["options"].pop(name) for name in ("renotify_interval", "require_full_window")],
    ),
    (
        "defaults put in",
        "monitor",
        lambda b: b["options"].update(new_group_delay=60, evaluation_delay=None, notify_by=[]),
    ),
    ("tags in another order", "monitor", lambda b: b["tags"].reverse()),
    (
        "draft status and assets",
        "monitor",
        lambda b: b.update(draft_status="published", assets=[], restricted_roles=None),
    ),
    ("displays of targets", "slo", lambda b: [one.update(target_display="99.") for one in b["thresholds"]]),
    ("tags in another order", "slo", lambda b: b["tags"].reverse()),
    ("thresholds in another order", "slo", lambda b: b["thresholds"].reverse()),
    ("an empty description", "slo", lambda b: b.update(description="", creator={"name": None}, monitor_tags=[])),
    ("the timeframe that is shown first", "slo", lambda b: b.update(timeframe="7d", target_threshold=99.0)),
    ("ids of widgets", "dashboard", lambda b: [one.update(id=1) for one in b["widgets"]]),
    (
        "more about a variable",
        "dashboard",
        lambda b: b["template_variables"][0].update(available_values=[], default="*"),
    ),
    ("author and address", "dashboard", lambda b: b.update(author_handle="frog", url="/dashboard/x", notify_list=None)),
    ("recipients in another order", "notification_rule", lambda b: b["recipients"].reverse()),
    ("dates", "notification_rule", lambda b: b.update(created_at="2026-01-01", modified_at="2026-01-01")),
    ("tags in another order", "downtime", lambda b: b["monitor_identifier"]["monitor_tags"].reverse()),
    (
        "when it is next",
        "downtime",
        lambda b: b["schedule"].update(current_downtime={"start": "2126-01-01", "end": None}),
    ),
    (
        "whom it tells, and dates",
        "downtime",
        lambda b: b.update(notify_end_types=["expired"], canceled=None, status="scheduled", created="2026-01-01"),
    ),
    ("a later start", "downtime", lambda b: b["schedule"]["recurrences"][0].update(start="2026-01-11T02:00:00")),
    ("another unit", "downtime", lambda b: b["schedule"]["recurrences"][0].update(duration="120m")),
]

PEOPLE: list[tuple[str, str, Edit, list[tuple[str, Any, Any]]]] = [
    ("another name", "monitor", lambda b: b.update(name="Q"), [("name", "Q", "Queue")]),
    (
        "another threshold",
        "monitor",
        lambda b: b["options"]["thresholds"].update(warning=30.0),
        [("options.thresholds.warning", 30, 40)],
    ),
    (
        "a recovery of their own",
        "monitor",
        lambda b: b["options"]["thresholds"].update(critical_recovery=30),
        [("options.thresholds.critical_recovery", 30, None)],
    ),
    (
        "a tag of their own",
        "monitor",
        lambda b: b["tags"].append("a:b"),
        [("tags", ["a:b", "env:prod", "team:ml"], ["env:prod", "team:ml"])],
    ),
    (
        "renotification",
        "monitor",
        lambda b: b["options"].update(renotify_interval=60),
        [("options.renotify_interval", 60, 0)],
    ),
    (
        "no tags in the title",
        "monitor",
        lambda b: b["options"].update(include_tags=False),
        [("options.include_tags", False, True)],
    ),
    ("no priority", "monitor", lambda b: b.update(priority=None), [("priority", None, 2)]),
    ("another target", "slo", lambda b: b["thresholds"][0].update(target=98.0), [("thresholds.7d.target", 98, 99)]),
    ("a warning", "slo", lambda b: b["thresholds"][0].update(warning=99.5), [("thresholds.7d.warning", 99.5, None)]),
    (
        "one more timeframe",
        "slo",
        lambda b: b["thresholds"].append({"timeframe": "90d", "target": 9}),
        [("thresholds.90d", {"warning": None, "timeframe": "90d", "target": 9}, None)],
    ),
    ("a description", "slo", lambda b: b.update(description="Mine."), [("description", "Mine.", None)]),
    ("one widget less", "dashboard", lambda b: b["widgets"].pop(), [("widgets[1]", None, BOARD["widgets"][1])]),
    (
        "one widget more",
        "dashboard",
        lambda b: b["widgets"].append({"definition": {}}),
        [("widgets[2]", {"definition": {}}, None)],
    ),
    (
        "another text",
        "dashboard",
        lambda b: b["widgets"][0]["definition"].update(content="z"),
        [("widgets[0].definition.content", "z", "x")],
    ),
    (
        "another recipient",
        "notification_rule",
        lambda b: b["recipients"].pop(),
        [("recipients", ["slack-ml"], ["pagerduty-ml", "slack-ml"])],
    ),
    (
        "another filter",
        "notification_rule",
        lambda b: b.update(filter={"scope": "a:b"}),
        [("filter.tags", None, ["env:prod", "team:ml"])],
    ),
    ("more of it", "downtime", lambda b: b.update(scope="*"), [("scope", "*", "env:prod")]),
    (
        "more monitors",
        "downtime",
        lambda b: b["monitor_identifier"]["monitor_tags"].pop(),
        [("monitor_identifier.monitor_tags", ["team:ml"], ["severity:warning", "team:ml"])],
    ),
    (
        "another hour",
        "downtime",
        lambda b: b["schedule"]["recurrences"][0].update(start="2026-01-04T03:00:00"),
        [("schedule.recurrences[0].start", "2026-01-04T03:00:00", "2026-01-04T02:00:00")],
    ),
    (
        "a start that is still to come",
        "downtime",
        lambda b: b["schedule"]["recurrences"][0].update(start="2126-01-06T02:00:00"),
        [("schedule.recurrences[0].start", "2126-01-06T02:00:00", "2026-01-04T02:00:00")],
    ),
    (
        "every other week",
        "downtime",
        lambda b: b["schedule"]["recurrences"][0].update(rrule="FREQ=WEEKLY;INTERVAL=2;BYDAY=SU"),
        [("schedule.recurrences[0].rrule", "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU", "FREQ=WEEKLY;BYDAY=SU")],
    ),
    (
        "another time zone",
        "downtime",
        lambda b: (b.update(display_timezone="UTC"), b["schedule"].update(timezone="UTC")),
        [
            ("display_timezone", "UTC", "Europe/Berlin"),
            ("schedule.timezone", "UTC", "Europe/Berlin"),
        ],
    ),
]


@pytest.mark.parametrize(("kind", "edit"), [case[1:] for case in SERVER], ids=[f"{c[1]}: {c[0]}" for c in SERVER])
def test_what_the_server_does_is_no_difference(kind: str, edit: Edit) -> None:
    actual = copy.deepcopy(BODIES[kind])
    edit(actual)
    assert json.dumps(actual) != json.dumps(BODIES[kind])
    assert differences(kind, BODIES[kind], actual) == []
    assert type_change(kind, BODIES[kind], actual) is None


@pytest.mark.parametrize(
    ("kind", "edit", "changes"), [case[1:] for case in PEOPLE], ids=[f"{c[1]}: {c[0]}" for c in PEOPLE]
)
def test_what_people_do_is_one(kind: str, edit: Edit, changes: list[tuple[str, Any, Any]]) -> None:
    actual = copy.deepcopy(BODIES[kind])
    edit(actual)
    assert [(one.path, one.old, one.new) for one in differences(kind, BODIES[kind], actual)] == changes


def test_the_stand_in_gives_back_no_difference(dd: Standin, connect: Connect) -> None:
    """Every body of the small set, through a server that normalises as the real one does."""
    applied(connect(), every_kind())
    assert not planned(connect(), every_kind()).differs


@pytest.mark.parametrize(
    "resource", [errors(), availability(), dashboard(), rule(), downtime()], ids=lambda one: str(one.kind)
)
def test_a_mark_is_found_again(resource: Resource) -> None:
    marked = mark(resource)
    assert owned_key(resource.kind, resource.body) is None
    assert owned_key(resource.kind, marked.body) == resource.key


FOREIGN = [
    ("monitor", {"tags": ["managed_by:model-serving"]}),
    ("monitor", {"tags": ["model_serving_key:x"]}),
    ("monitor", {"tags": ["managed_by:terraform", "model_serving_key:x"]}),
    ("slo", {"tags": None}),
    ("dashboard", {"description": "managed by model-serving (key: x) once"}),
    ("dashboard", {"description": None}),
    ("notification_rule", {"name": "our model-serving x: y"}),
    ("notification_rule", {"name": "model-serving"}),
    ("downtime", {"message": "managed by model-serving (key: x)"}),
    ("downtime", {"message": None, "monitor_identifier": {"monitor_tags": ["managed_by:model-serving"]}}),
]


@pytest.mark.parametrize(("kind", "body"), FOREIGN)
def test_half_a_mark_is_none(kind: str, body: Json) -> None:
    assert owned_key(kind, body) is None


def test_an_update_keeps_what_others_set() -> None:
    actual = {**MONITOR, "options": {**MONITOR["options"], "silenced": {"*": None}, "locked": True, "timeout_h": 4}}
    sent = preserved("monitor", MONITOR, actual)
    assert "type" not in sent
    assert sent["options"] == {**MONITOR["options"], "silenced": {"*": None}, "locked": True}


def test_an_update_clears_what_excludes_it() -> None:
    """`on_missing_data` and the options before it exclude each other, and an account may hold the older ones."""
    plain = {"thresholds": {"critical": 50}}
    wanted = {**MONITOR, "options": {**plain, "on_missing_data": "resolve"}}
    for older in ({"notify_no_data": True, "no_data_timeframe": 20}, {"no_data_timeframe": 10}):
        actual = {**MONITOR, "options": {**plain, **older}}
        sent = preserved("monitor", wanted, actual)["options"]
        assert (sent["notify_no_data"], sent["no_data_timeframe"]) == (False, None)
    sent = preserved("monitor", wanted, {**MONITOR, "options": {**plain, "notify_no_data": False}})["options"]
    assert sent == wanted["options"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4))
def test_nothing_differs_from_itself(body: Json) -> None:
    assert differences("dashboard", body, body) == []
    assert resolve(body, {}) == body
