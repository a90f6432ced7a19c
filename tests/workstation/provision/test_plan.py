"""A plan says what would change, in words that a person can read, and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import ApiError, ProvisionError
from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.apply import apply, conflict_text
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.plan import Action, PlanChoices, Step, make_plan
from datadog_checks.model_serving.workstation.provision.render import plan_json, plan_text
from datadog_checks.model_serving.workstation.provision.state import Account, Found, read_account

from .resources import (
    LATENCY,
    WHOLE,
    actions,
    applied,
    availability,
    burn,
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
    recurring,
    rule,
)
from .standin import Fault, Standin

Connect = Callable[..., Client]
WRITES = ("POST", "PUT", "PATCH", "DELETE")


def text(plan: Any) -> str:
    """The plan, without the day of the next downtime."""
    shown = re.sub(r"next \w+ \d+ \w+ \d+ ", "next <day> ", plan_text(plan).plain)
    return "\n".join(line.rstrip() for line in shown.splitlines())


def test_against_nothing_everything_is_created_in_order() -> None:
    plan = make_plan(checked(reversed(every_kind())), Account())
    assert text(plan) == (
        """\
  + percentiles:model_serving.request.latency  new
  + slo:availability  "Availability" new
      numerator: sum:model_serving.request.count{*}.as_count()
      denominator: sum:model_serving.request.count{*}.as_count()
      99.9 % in 30d
  + notification_rule:critical  "model-serving critical: Critical" new
      managed_by:model-serving AND team:ml
      notifies slack-ml
  + downtime:nights  "Nobody is there." new
      silences the monitors with team:ml
      daily for 8h, next <day> 22:00 (Europe/Berlin)
  + monitor:both  "Monitor both" new
      ${monitor:latency.mean} && ${monitor:errors.share}
      team:ml
      notifies slack-ml
  + monitor:slo.fast  "Monitor slo.fast" new
      burn_rate("${slo:availability}").over("30d").long_window("1h").short_window("5m") > 14.4
      critical 14.4, team:ml
      notifies slack-ml
  + monitor:errors.share  "Monitor errors.share" new
      sum(last_5m):sum:model_serving.request.error.count{*} by {endpoint_name}.as_count() / \
sum:model_serving.request.count{*} by {endpoint_name}.as_count() > 0.01
      critical 0.01, team:ml
      notifies slack-ml
  + monitor:latency.mean  "Monitor latency.mean" new
      avg(last_5m):avg:model_serving.request.latency{*} by {endpoint_name} > 2
      critical 2, P2, team:ml
      notifies slack-ml
  + dashboard:overview  "Overview" new
      2 widgets
Plan: 9 to create."""
    )
    assert plan.differs


def test_who_hears_of_something_new_is_shown() -> None:
    """From handles in a message, and from recipients of a rule, also of one that keeps silent in some states."""
    silent = {"conditions": [{"scope": "transition_type:alert", "recipients": ["pagerduty-ml"]}]}
    own = {"name": "notify ml", "filter": {"scope": "team:ml"}, "conditional_recipients": silent}
    later = Resource("notification_rule", "ml", {"data": {"type": "monitor-notification-rule", "attributes": own}})
    plan = make_plan(checked([latency(message="Slow. @slack-ml @me@example.com\n@slack-ml"), later]), Account())
    lines = [line.strip() for line in text(plan).splitlines()]
    assert lines[lines.index("critical 2, P2, team:ml") + 1] == "notifies me@example.com, pagerduty-ml, slack-ml"
    assert lines[lines.index("managed_by:model-serving AND team:ml") + 1] == "notifies pagerduty-ml"


def test_a_rule_or_a_handle_for_some_groups_says_so() -> None:
    """What is decided by the tags of the monitor is settled; what is decided by its groups is told as that."""
    message = """Slow. {{#is_alert}}@pagerduty-ml{{/is_alert}}
{{#is_exact_match "endpoint_name.name" "ranking"}}@slack-ranking{{/is_exact_match}}"""

    def scoped(name: str, scope: str) -> Resource:
        own = {"name": name, "filter": {"scope": scope}, "recipients": [name]}
        return Resource("notification_rule", name, {"data": {"type": "monitor-notification-rule", "attributes": own}})

    rules = [
        scoped("all", "team:(ml OR web) AND NOT severity:critical"),
        scoped("some", "team:ml AND NOT endpoint_name:ranking"),
        scoped("none", "team:web OR (endpoint_name:ranking AND team:web)"),
        scoped("host", "host:a"),
    ]
    shown = text(make_plan(checked([latency(message=message), *rules]), Account()))
    assert "      notifies all, pagerduty-ml, slack-ranking (some groups), some (some groups)\n" in shown


def test_it_is_told_once_that_nobody_is_notified() -> None:
    shown = text(make_plan(checked([latency(), errors()]), Account()))
    assert shown.count("Nobody hears of these monitors: give --routing FILE") == 1
    assert "notifies" not in shown


def test_brief_is_a_line_of_each() -> None:
    plan = make_plan(checked(every_kind()), Account())
    assert len(plan_text(plan, brief=True).plain.splitlines()) == 10


@pytest.mark.parametrize("width", [60, 80])
def test_lines_go_on_in_a_terminal_and_lose_nothing(width: int) -> None:
    plan = make_plan(checked(every_kind()), Account())
    narrow, wide = plan_text(plan, width=width).plain, plan_text(plan).plain
    assert narrow.split() == wide.split()
    long = [line for line in narrow.splitlines() if len(line) > width]
    assert not [line for line in long if len(line.split()) > 1], "only a single word may be longer"


def test_a_monitor_that_a_person_keeps_from_notifying_is_told_of(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, [latency(), errors()])
    muted, draft = dd.state.monitors.values()
    muted["options"]["silenced"] = {"*": None}
    draft["draft_status"] = "draft"
    plan = planned(client, [latency(), errors()])
    assert not plan.differs
    lines = [line.strip() for line in text(plan).splitlines()]
    assert "muted by hand, and left so" in lines
    assert any(line.startswith("a draft, and left so: it notifies nobody") for line in lines)
    assert lines[-1] == "Nothing to do: 2 unchanged."


def test_of_tags_what_comes_and_what_goes_is_shown(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, [latency()])
    (body,) = dd.state.monitors.values()
    body["tags"] = [*body["tags"], "owner:bob", "a b"]
    shown = text(planned(client, [latency(tags=["team:ml", "cost_center:ml"])]))
    assert '      tags: -"a b" -owner:bob +cost_center:ml\n' in shown


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        ((), set()),
        (("owner",), {"owner:bob", "owner"}),
        (("owner:*", "jira:A*"), {"owner:bob", "jira:A-1"}),
        (("*",), {"owner:bob", "owner", "jira:A-1", "jira:B-1"}),
    ],
)
def test_tags_that_belong_to_others_stay(
    dd: Standin, connect: Connect, patterns: tuple[str, ...], kept: set[str]
) -> None:
    client = connect()
    before = checked([latency(), availability()])
    applied(client, [latency(), availability()])
    others = ["owner:bob", "owner", "jira:A-1", "jira:B-1", "severity:critical"]
    (body,), (slo,) = dd.state.monitors.values(), dd.state.slos.values()
    own = set(body["tags"])
    for one in (body, slo):
        one["tags"] = [*one["tags"], *others]
    plan = make_plan(before, read_account(client, before), PlanChoices(ignore_tags=patterns))
    assert {step.action for step in plan.steps} == {"change"}, "what is set by provisioning is not left to others"
    apply(client, plan)
    (body,) = dd.state.monitors.values()
    assert {*body["tags"]} == own | kept
    assert not make_plan(before, read_account(client, before), PlanChoices(ignore_tags=patterns)).differs


def test_every_sort_of_difference_is_shown_field_by_field(dd: Standin, connect: Connect) -> None:
    client = connect()
    scoped = monitor(
        "queue", "avg(last_5m):avg:model_serving.request.queue.size{*} > 50", 50, message="Too long.\nLook at it."
    )
    applied(client, [*every_kind(), scoped])
    dd.forget()
    wanted = [
        percentiles(),
        availability(99.5),
        latency(2.5, name="Renamed"),
        errors(scope="env:prod", options={"notify_no_data": True, "no_data_timeframe": 20}),
        burn(),
        composite(),
        dashboard("Overview", "Second"),
        rule("slack-ml", "pagerduty-ml"),
        downtime(scope="env:prod", schedule=recurring("2026-01-05T22:00:00", duration="9h")),
    ]
    plan = planned(client, wanted)
    ids = {step.address: step.found[0].id for step in plan.steps}
    shown = text(plan)
    for address, identity in ids.items():
        shown = shown.replace(f"(id {identity})", f"(id <{address}>)")
    assert "managed by" not in shown, "a digest says nothing that the fields don't"
    assert shown == (
        """\
  ~ slo:availability  "Availability" (id <slo:availability>) changes
      thresholds.30d.target: 99.9 -> 99.5
  ~ notification_rule:critical  "model-serving critical: Critical" (id <notification_rule:critical>) changes
      recipients: +pagerduty-ml
  ~ downtime:nights  "Nobody is there." (id <downtime:nights>) changes
      scope: "*" -> "env:prod"
      schedule.recurrences[0].duration: "8h" -> "9h"
      daily for 9h, next <day> 22:00 (Europe/Berlin)
  ~ monitor:latency.mean  "Renamed" (id <monitor:latency.mean>) changes; resets the state of its groups, since the \
query changes
      name: "Monitor latency.mean" -> "Renamed"
      query:
        - "avg(last_5m):avg:model_serving.request.latency{*} by {endpoint_name} > 2"
        + "avg(last_5m):avg:model_serving.request.latency{*} by {endpoint_name} > 2.5"
      options.thresholds.critical: 2 -> 2.5
  ~ monitor:errors.share  "Monitor errors.share" (id <monitor:errors.share>) changes; resets the state of its groups, \
since the query changes
      query:
        - "sum(last_5m):sum:model_serving.request.error.count{*} by {endpoint_name}.as_count() / \
sum:model_serving.request.count{*} by {endpoint_name}.as_count() > 0.01"
        + "sum(last_5m):sum:model_serving.request.error.count{env:prod} by {endpoint_name}.as_count() / \
sum:model_serving.request.count{env:prod} by {endpoint_name}.as_count() > 0.01"
      options.no_data_timeframe: (nothing) -> 20
      options.notify_no_data: false -> true
  ~ dashboard:overview  "Overview" (id <dashboard:overview>) changes
      widgets[1].definition.type: "slo" -> "note"
      widgets[1].definition.content: (nothing) -> "Second"
      widgets[2]: (nothing) -> widget slo ""
  ? monitor:queue  "Monitor queue" (id <monitor:queue>) is ours but no longer wanted; --prune deletes it
Plan: 6 to change, 3 unchanged, 1 orphaned."""
    )
    assert not [call for call in dd.calls if call.method in WRITES], "a plan changes nothing"


def test_a_message_is_compared_line_by_line(connect: Connect) -> None:
    client = connect()
    applied(client, [latency(message="Slow.\nLook at the queue.\nThen at the GPU.")])
    plan = planned(client, [latency(message="Slow.\nLook at the batches.\nThen at the GPU.")])
    assert text(plan).splitlines()[1:4] == [
        "      message:",
        "        - Look at the queue.",
        "        + Look at the batches.",
    ]
    assert not plan.steps[0].resets


def test_a_new_type_is_announced_as_a_replacement_and_what_refers_to_it_changes(connect: Connect) -> None:
    client = connect()
    applied(client, [latency(), errors(), composite()])
    check = '"model_serving.openmetrics.health".over("*").by("endpoint").last(3).count_by_status()'
    plan = planned(client, [latency(), monitor("errors.share", check, 2, "service check"), composite()])
    assert actions(plan) == {
        "monitor:latency.mean": "unchanged",
        "monitor:errors.share": "replace",
        "monitor:both": "change",
    }
    shown = text(plan)
    assert "is replaced, since its type can't change: a new id, and its history is lost" in shown
    assert 'type: "query alert" -> "service check"' in shown
    assert "${monitor:errors.share}" in shown
    assert "(known after apply)" in shown


def test_of_two_with_one_key_the_older_is_ours(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, every_kind())
    original, copy = copied(dd, "Monitor both")
    plan = planned(client, every_kind())
    assert not plan.conflicts
    assert text(plan).splitlines() == [
        f'  x monitor:both  "A copy" (id {copy}) isn\'t ours and is left alone',
        f"      a copy of {original}, which is older: take the mark off, or delete it",
        "Nothing to do: 9 unchanged, 1 not ours.",
    ]


def test_a_copy_whose_original_somebody_deleted_is_ours_and_is_shown(dd: Standin, connect: Connect) -> None:
    """Nothing tells it from the original, so what happens to it is in the plan."""
    client = connect()
    applied(client, every_kind())
    original, copy = copied(dd, "Monitor both")
    del dd.state.monitors[original]
    assert text(planned(client, every_kind())).splitlines() == [
        f'  ~ monitor:both  "Monitor both" (id {copy}) changes',
        '      name: "A copy" -> "Monitor both"',
        "Plan: 1 to change, 8 unchanged.",
    ]


@pytest.mark.parametrize("prune", [False, True])
def test_what_is_no_longer_wanted_is_no_difference_unless_it_is_to_be_deleted(connect: Connect, prune: bool) -> None:
    client = connect()
    applied(client, [latency(), errors()])
    plan = planned(client, [latency()], prune)
    assert actions(plan) == {
        "monitor:latency.mean": "unchanged",
        "monitor:errors.share": "delete" if prune else "orphaned",
    }
    assert plan.differs is prune


def test_percentiles_wait_for_a_metric_that_was_never_received(dd: Standin, connect: Connect) -> None:
    plan = planned(connect(), [percentiles("model_serving.request.queue.duration")])
    assert actions(plan) == {"percentiles:model_serving.request.queue.duration": "wait"}
    assert not plan.differs
    assert text(plan).endswith("Nothing to do: 1 waiting.")


def test_nothing_foreign_is_read_or_shown_among_five_thousand_monitors(dd: Standin, connect: Connect) -> None:
    dd.state.add_foreign_monitors(5000)
    client = connect()
    applied(client, every_kind())
    assert numbers(dd) == {**WHOLE, "monitor": 5004}
    dd.forget()
    plan = planned(client, every_kind())
    assert not plan.differs
    assert len(plan.steps) == 9
    assert dd.count("ListMonitors") == 1
    assert dd.count() == 7, "one call a kind, one for the dashboard itself, one for the metric"


def test_more_than_a_page_of_every_kind_is_read(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, every_kind())
    (board,) = dd.state.dashboards.values()
    (some_rule,) = dd.state.rules.values()
    for index in range(250):
        # Older than ours, so that ours come on the last page.
        dd.state.dashboards = {
            f"old-{index}": {**board, "id": f"old-{index}", "description": ""},
            **dd.state.dashboards,
        }
        attributes = {**some_rule["attributes"], "name": f"Rule {index}", "created_at": "2020-01-01T00:00:00+00:00"}
        dd.state.rules[f"old-{index}"] = {**some_rule, "id": f"old-{index}", "attributes": attributes}
    plan = planned(client, every_kind())
    assert not plan.differs
    assert {str(step.action) for step in plan.steps} == {"unchanged"}


def test_a_plan_is_never_made_from_half_an_account(dd: Standin, connect: Connect) -> None:
    for operation in ("ListMonitors", "ListSLOs", "ListDashboards", "GetDashboard", "GetMonitorNotificationRules"):
        applied(connect(), every_kind())
        dd.faults.add(Fault("status", where=operation, times=100, status=503, body={"errors": ["out of order"]}))
        with pytest.raises(ApiError, match="503: out of order"):
            planned(connect(), every_kind())
        dd.faults.clear()


def test_the_json_says_the_same(connect: Connect) -> None:
    client = connect()
    applied(client, [latency(), errors()])
    found = plan_json(planned(client, [latency(3), errors(), burn(), availability()]), "datadoghq.eu")
    assert found["site"] == "datadoghq.eu"
    assert found["differs"] is True
    assert {name: count for name, count in found["counts"].items() if count} == {
        "create": 2,
        "change": 1,
        "unchanged": 1,
    }
    changed = next(step for step in found["steps"] if step["action"] == "change")
    assert changed["resets_group_state"] is True
    assert {"path": "options.thresholds.critical", "old": 2, "new": 3} in changed["changes"]


MISTAKES: list[tuple[str, list[Resource], str]] = [
    ("one key twice", [latency(), latency(3)], "monitor:latency.mean: defined twice"),
    (
        "a reference to nothing",
        [burn()],
        "monitor:slo.fast: needs slo:availability, which none of the chosen packs has",
    ),
    (
        "a circle",
        [monitor(*pair, None, "composite") for pair in (("a", "${monitor:b} && 1"), ("b", "${monitor:a} && 1"))],
        "a circle, so none of them can come first",
    ),
    (
        "a threshold that isn't that of the query",
        [latency(options={"thresholds": {"critical": 3}})],
        "monitor:latency.mean at options.thresholds.critical",
    ),
    (
        "a monitor with a metric that the check never sends",
        [monitor("x", "avg(last_5m):avg:model_serving.nope{*} > 1", 1)],
        "model_serving.nope",
    ),
    (
        "percentiles that nobody switches on",
        [monitor("x", f"avg(last_5m):p99:{LATENCY}{{*}} > 2", 2)],
        "monitor:x at query",
    ),
    (
        "a widget with a metric that the check never sends",
        [
            dashboard(
                widgets=[
                    {
                        "definition": {
                            "type": "timeseries",
                            "requests": [{"q": "avg:model_serving.nope{*}"}],
                        }
                    }
                ]
            )
        ],
        "dashboard:overview at widgets[0]",
    ),
]


@pytest.mark.parametrize(("resources", "words"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_mistakes_are_found_before_any_call(resources: list[Resource], words: str) -> None:
    with pytest.raises(ProvisionError) as caught:
        checked(resources)
    assert str(caught.value).startswith("nothing was sent:\n")
    assert words in str(caught.value)


@given(st.text(), st.text(), st.lists(st.text(), max_size=3), st.sampled_from([None, 40, 80]))
def test_nothing_of_an_account_passes_for_a_line_of_the_plan(
    name: str, message: str, tags: list[str], width: int | None
) -> None:
    """Whatever people call their things, a plan is printable, and its last line alone sums it up."""
    (wanted,) = checked([latency()])
    body = {**wanted.body, "name": name, "message": message, "tags": [*wanted.body["tags"], *tags], "id": 7}
    account = Account()
    account.add([Found("monitor", wanted.key, "7", body), Found("slo", "left", "8", {"name": name, "tags": tags})])
    lines = plan_text(make_plan([wanted], account, PlanChoices(prune=True)), width=width).plain.split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    assert [line.startswith(("Plan: ", "Nothing ")) for line in lines].index(True) == len(lines) - 1


@given(st.text(), st.text(), st.text())
def test_nothing_of_an_account_passes_for_a_line_of_a_conflict(identity: str, other: str, note: str) -> None:
    two = tuple(Found("monitor", "a", one, {}) for one in (identity, other))
    steps = [Step(Action.CONFLICT, "monitor:a", found=two), Step(Action.CONFLICT, "monitor:b", note=f"{note}b")]
    lines = conflict_text(steps).split("\n")
    assert [line for line in lines if not line.isprintable()] == []
    assert len(lines) == 4, "a heading, one of each, and what to do"
