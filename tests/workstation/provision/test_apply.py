"""Applying reaches the plan's end from everywhere: under every fault at every call, after a kill, and again."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from urllib3.connection import HTTPConnection

from datadog_checks.model_serving.errors import ProvisionError
from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.apply import Result, apply
from datadog_checks.model_serving.workstation.provision.credentials import AccountCredentials
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import KINDS, Resource
from datadog_checks.model_serving.workstation.provision.plan import PlanChoices, destroy_plan, make_plan
from datadog_checks.model_serving.workstation.provision.state import read_account
from datadog_checks.model_serving.workstation.provision.validate import validate_monitors
from datadog_checks.model_serving.workstation.provision.values import Values

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
    rule,
    told,
)
from .standin import Fault, Standin
from .standin.faults import Call

Connect = Callable[..., Client]
WRITES = ("POST", "PUT", "PATCH", "DELETE")


def foreign(dd: Standin) -> str:
    """Everything in the account that isn't ours, to compare before and after."""
    state = dd.state
    everything = [*state.monitors.values(), *state.dashboards.values(), *state.slos.values(), *state.rules.values()]
    others = [one for one in everything if "model-serving" not in json.dumps(one)]
    tags = {name: metric.queryable() for name, metric in state.metrics.items()}
    return json.dumps([others, tags], sort_keys=True)


def converges(dd: Standin, connect: Connect, wanted: list[Resource], expected: dict[str, int]) -> None:
    """Without faults, one more run finishes the work and the next finds nothing to do, with nothing there twice."""
    dd.faults.clear()
    outcomes = applied(connect(), wanted)
    assert {one.result for one in outcomes} <= {Result.DONE}, told(outcomes)
    plan = planned(connect(), wanted)
    assert set(actions(plan).values()) == {"unchanged"}, actions(plan)
    assert numbers(dd) == expected


def test_applying_twice_leaves_nothing_to_do(dd: Standin, connect: Connect) -> None:
    outcomes = applied(connect(), every_kind())
    assert set(told(outcomes).values()) == {"done"}
    assert numbers(dd) == WHOLE
    dd.forget()
    assert applied(connect(), every_kind()) == []
    assert not [call for call in dd.calls if call.method in WRITES]


def test_ids_stand_where_references_were(dd: Standin, connect: Connect) -> None:
    applied(connect(), every_kind())
    (slo,) = dd.state.slos
    by_name = {one["name"]: one for one in dd.state.monitors.values()}
    assert by_name["Monitor slo.fast"]["query"].startswith(f'burn_rate("{slo}")')
    parts = [by_name[f"Monitor {key}"]["id"] for key in ("latency.mean", "errors.share")]
    assert by_name["Monitor both"]["query"] == f"{parts[0]} && {parts[1]}"
    (board,) = dd.state.dashboards.values()
    assert board["widgets"][-1]["definition"]["slo_id"] == slo


def test_an_slo_of_monitors_gets_their_ids_as_numbers(dd: Standin, connect: Connect) -> None:
    uptime = availability(type="monitor", query=None, monitor_ids=["${monitor:errors.share}"])
    body = {name: value for name, value in uptime.body.items() if value is not None}
    wanted = [errors(), Resource("slo", "availability", body)]
    assert set(told(applied(connect(), wanted)).values()) == {"done"}
    (slo,) = dd.state.slos.values()
    assert slo["monitor_ids"] == list(dd.state.monitors)
    assert not planned(connect(), wanted).differs


def test_no_tag_is_hidden_by_percentiles(dd: Standin, connect: Connect) -> None:
    before = dd.state.metrics[LATENCY].queryable()
    applied(connect(), [percentiles()])
    dd.state.see(LATENCY, "distribution", ["model_name:new"])
    assert dd.state.metrics[LATENCY].queryable() == [*before, "model_name:new"]


@pytest.mark.parametrize("mode", [False, True])
def test_an_existing_tag_configuration_keeps_its_tags(dd: Standin, connect: Connect, mode: bool) -> None:
    metric = dd.state.metrics[LATENCY]
    metric.configuration = {
        "metric_type": "distribution",
        "tags": ["env"],
        "exclude_tags_mode": mode,
        "include_percentiles": False,
    }
    applied(connect(), [percentiles()])
    assert metric.configuration["include_percentiles"] is True
    assert (metric.configuration["tags"], metric.configuration["exclude_tags_mode"]) == (["env"], mode)


def test_a_new_threshold_or_name_keeps_the_id(dd: Standin, connect: Connect) -> None:
    applied(connect(), every_kind())
    before = {one["name"]: number for number, one in dd.state.monitors.items()}
    changed = [*(one for one in every_kind() if one.key != "latency.mean"), latency(3, name="Renamed")]
    assert told(applied(connect(), changed)) == {"monitor:latency.mean": "done"}
    after = dd.state.monitors[before["Monitor latency.mean"]]
    assert (after["name"], after["options"]["thresholds"]["critical"]) == ("Renamed", 3.0)
    assert numbers(dd) == WHOLE


def test_only_a_new_query_resets_groups(dd: Standin, connect: Connect) -> None:
    applied(connect(), [errors()])
    for wanted, edits in ((errors(name="Renamed"), 0), (errors(message="Other."), 0), (errors(scope="env:prod"), 1)):
        (step,) = planned(connect(), [wanted]).steps
        assert step.resets is bool(edits)
        applied(connect(), [wanted])
        assert sum(dd.state.query_edits.values()) == edits


def test_mutes_and_other_fields_of_others_survive_an_update(dd: Standin, connect: Connect) -> None:
    applied(connect(), [errors(), availability(), dashboard()])
    (watched,) = dd.state.monitors.values()
    watched["options"]["silenced"] = {"*": None}
    (board,) = dd.state.dashboards.values()
    board["notify_list"] = ["frog@example.com"]
    assert not planned(connect(), [errors(), availability(), dashboard()]).differs
    applied(connect(), [errors(message="Other."), availability(), dashboard("Other")])
    assert watched["options"]["silenced"] == {"*": None}
    (board,) = dd.state.dashboards.values()
    assert board["notify_list"] == ["frog@example.com"]


def test_what_was_edited_by_hand_is_put_right(dd: Standin, connect: Connect) -> None:
    applied(connect(), every_kind())
    one = next(one for one in dd.state.monitors.values() if one["name"] == "Monitor errors.share")
    one["options"]["renotify_interval"] = 60
    one["priority"] = 1
    plan = planned(connect(), every_kind())
    changes = [(change.path, change.old, change.new) for step in plan.steps for change in step.changes]
    assert changes == [("priority", 1, None), ("options.renotify_interval", 60, 0)]
    converges(dd, connect, every_kind(), WHOLE)
    assert one["priority"] is None


def test_a_field_taken_out_of_a_dashboard_is_taken_out_of_the_account(dd: Standin, connect: Connect) -> None:
    note = {"definition": {"type": "note", "content": "x", "background_color": "yellow"}}
    plain = {"definition": {"type": "note", "content": "x"}}
    applied(connect(), [dashboard(widgets=[note])])
    applied(connect(), [dashboard(widgets=[plain])])
    (board,) = dd.state.dashboards.values()
    assert "background_color" not in board["widgets"][0]["definition"]


def test_a_new_type_is_a_replacement(dd: Standin, connect: Connect) -> None:
    applied(connect(), [latency(), errors(), composite()])
    old = next(number for number, one in dd.state.monitors.items() if one["name"] == "Monitor errors.share")
    check = '"model_serving.openmetrics.health".over("*").by("endpoint").last(3).count_by_status()'
    replacement = monitor("errors.share", check, 2, "service check")
    outcomes = applied(connect(), [latency(), replacement, composite()])
    assert set(told(outcomes).values()) == {"done"}
    assert old not in dd.state.monitors
    converges(dd, connect, [latency(), replacement, composite()], {**dict.fromkeys(KINDS, 0), "monitor": 3})


def test_destroy_takes_what_is_ours_and_nothing_else(dd: Standin, connect: Connect) -> None:
    dd.state.add_foreign_monitors(5000)
    before = foreign(dd)
    client = connect()
    applied(client, every_kind())
    assert foreign(dd) == before
    _, copy = copied(dd, "Monitor slo.fast")
    outcomes = apply(client, destroy_plan(read_account(client, ())))
    assert set(told(outcomes).values()) == {"done"}
    assert numbers(dd) == {**dict.fromkeys(KINDS, 0), "percentiles": 1, "monitor": 5001}
    del dd.state.monitors[copy]
    assert foreign(dd) == before


def test_an_slo_that_a_dashboard_shows_is_left_with_what_to_do(dd: Standin, connect: Connect) -> None:
    """Datadog deletes none that is used, and the dashboard stays where the SLO's pack alone is to go."""
    client = connect()
    applied(client, [availability(), dashboard()])
    (outcome,) = apply(client, destroy_plan(read_account(client, ()), lambda found: found.kind == "slo"))
    assert (outcome.result, numbers(dd)["slo"]) == (Result.FAILED, 1)
    assert "SLO is used in dashboard" in outcome.text
    assert "leave the pack of the SLO out of `packs` in the values file, and `apply --prune` does both" in outcome.text
    plain = dashboard(widgets=[])
    assert set(told(applied(client, [plain], prune=True)).values()) == {"done"}
    assert numbers(dd)["slo"] == 0


@pytest.mark.parametrize("mark", ["tags", "description", "name"])
def test_what_lost_its_mark_is_never_touched(dd: Standin, connect: Connect, mark: str) -> None:
    wanted = [*(one for one in every_kind() if one.kind != "dashboard"), dashboard(widgets=[])]
    applied(connect(), wanted)
    state = dd.state
    some: dict[str, Any] = {
        "tags": next(iter(state.monitors.values())),
        "description": next(iter(state.dashboards.values())),
        "name": next(iter(state.rules.values()))["attributes"],
    }[mark]
    some[mark] = ["team:ml"] if mark == "tags" else "Ours no more"
    kept = json.dumps(some)
    assert applied(connect(), wanted)
    client = connect()
    apply(client, destroy_plan(read_account(client, ())))
    assert sum(numbers(dd).values()) == 2, "the one without a mark, and the percentiles"
    assert json.dumps(some) == kept


def by_hand(dd: Standin, *tags: str) -> int:
    """A monitor that somebody made before, the same as ours but for the tags."""
    dd.policy.duplicates_ignore_tags = True
    (resource,) = [errors()]
    body = {**resource.body, "tags": list(tags)}
    options = {**body["options"], "notify_audit": False, "notify_no_data": False, "new_host_delay": 300, "silenced": {}}
    options["thresholds"] = {"critical": 0.01}
    return int(dd.state.add_monitor({**body, "options": options}, "2026-01-01T00:00:00+00:00")["id"])


def test_a_twin_is_adopted(dd: Standin, connect: Connect) -> None:
    twin = by_hand(dd, "team:ml")
    outcomes = applied(connect(), [errors()])
    assert told(outcomes) == {"monitor:errors.share": f"done adopted monitor {twin}, which was the same"}
    assert "model_serving_key:errors.share" in dd.state.monitors[twin]["tags"]
    converges(dd, connect, [errors()], {**dict.fromkeys(KINDS, 0), "monitor": 1})


def test_a_twin_that_is_adopted_keeps_the_tags_that_are_left_to_others(dd: Standin, connect: Connect) -> None:
    twin = by_hand(dd, "team:ml", "owner:bob", "web")
    client = connect()
    wanted = checked([errors()])
    plan = make_plan(wanted, read_account(client, wanted), PlanChoices(ignore_tags=("owner",)))
    assert set(told(apply(client, plan)).values()) == {f"done adopted monitor {twin}, which was the same"}
    tags = dd.state.monitors[twin]["tags"]
    assert ("owner:bob" in tags, "web" in tags) == (True, False)
    assert not make_plan(wanted, read_account(client, wanted), PlanChoices(ignore_tags=("owner",))).differs


def test_a_twin_of_somebody_else_is_left_alone(dd: Standin, connect: Connect) -> None:
    twin = by_hand(dd, "team:ml", "managed_by:terraform")
    outcomes = applied(connect(), [errors(), rule()])
    words = told(outcomes)["monitor:errors.share"]
    assert words.startswith(f"failed monitor {twin} is the same but belongs to somebody else (managed_by:terraform)")
    assert dd.state.monitors[twin]["tags"] == ["team:ml", "managed_by:terraform"]
    assert told(outcomes)["notification_rule:critical"] == "done", "one failure doesn't stop the others"


def test_a_new_key_takes_over_its_orphan_and_pruning_spares_it(dd: Standin, connect: Connect) -> None:
    dd.policy.duplicates_ignore_tags = True
    applied(connect(), [errors()])
    (old,) = dd.state.monitors
    renamed = Resource("monitor", "errors.ratio", errors().body)
    applied(connect(), [renamed], prune=True)
    assert list(dd.state.monitors) == [old]
    assert "model_serving_key:errors.ratio" in dd.state.monitors[old]["tags"]


def test_twins_are_found_when_the_api_has_stopped_naming_them(dd: Standin, connect: Connect) -> None:
    dd.policy.duplicates_ignore_tags = True
    wanted = [
        monitor(f"m{number}", f"avg(last_5m):avg:system.load.1{{*}} > {number}", number) for number in range(1, 9)
    ]
    applied(connect(), wanted)
    for one in dd.state.monitors.values():
        one["tags"] = ["team:ml"]
    ids = set(dd.state.monitors)
    outcomes = applied(connect(), wanted)
    assert all("done adopted" in words for words in told(outcomes).values()), told(outcomes)
    assert set(dd.state.monitors) == ids
    assert any(call.status == 429 for call in dd.calls)


def test_failures_are_told_in_the_words_of_the_api_and_stop_only_what_needs_them(dd: Standin, connect: Connect) -> None:
    dd.faults.add(Fault("status", where="CreateSLO", times=9, status=400, body={"errors": ["No SLOs on Fridays"]}))
    outcomes = applied(connect(), every_kind())
    assert told(outcomes) == {
        "percentiles:model_serving.request.latency": "done",
        "slo:availability": "failed 400: No SLOs on Fridays",
        "monitor:slo.fast": "skipped needs slo:availability, which failed",
        "dashboard:overview": "skipped needs slo:availability, which failed",
        "monitor:latency.mean": "done",
        "monitor:errors.share": "done",
        "monitor:both": "done",
        "notification_rule:critical": "done",
        "downtime:nights": "done",
    }
    converges(dd, connect, every_kind(), WHOLE)


def test_nothing_is_pruned_while_something_else_failed(dd: Standin, connect: Connect) -> None:
    applied(connect(), [errors()])
    dd.faults.add(Fault("status", where="CreateMonitor", status=400))
    outcomes = applied(connect(), [latency()], prune=True)
    assert told(outcomes)["monitor:errors.share"] == "skipped left in place, since other resources failed"
    assert len(dd.state.monitors) == 1


def test_a_create_without_an_answer_is_looked_up_before_it_is_tried_again(dd: Standin, connect: Connect) -> None:
    creates = ("CreateMonitor", "CreateSLO", "CreateDashboard", "CreateMonitorNotificationRule")
    for operation in creates:
        dd.faults.add(Fault("close", where=operation, worked=True))
    outcomes = applied(connect(), [errors(), availability(), dashboard(), rule()])
    assert all("created, though the answer was lost" in words for words in told(outcomes).values())
    assert [dd.count(operation) for operation in creates] == [1, 1, 1, 1]


def test_a_create_that_was_not_done_is_tried_again(dd: Standin, connect: Connect) -> None:
    dd.faults.add(Fault("close", where="CreateDashboard"))
    assert told(applied(connect(), [availability(), dashboard()])) == {
        "slo:availability": "done",
        "dashboard:overview": "done",
    }
    assert dd.count("CreateDashboard") == 2


def test_requests_run_in_parallel_within_the_bound(dd: Standin, connect: Connect) -> None:
    # Four at a time: the first of them wait for each other.
    together = threading.Barrier(4)
    dd.faults.add(Fault(lambda call: together.wait(60), where=is_write, times=4))
    wanted = [
        monitor(f"m{number}", f"avg(last_5m):avg:system.load.1{{*}} > {number}", number) for number in range(1, 25)
    ]
    applied(connect(parallel=4), wanted)
    assert dd.peak == 4


def test_every_monitor_is_sent_to_be_checked(dd: Standin, connect: Connect) -> None:
    client = connect()
    applied(client, [latency()])
    dd.policy.recipients = {"slack-ml"}
    wanted = checked([latency(3), errors(message="@slack-nobody"), availability(), burn()])
    outcomes = validate_monitors(client, wanted, read_account(client, wanted))
    assert told(outcomes) == {
        "monitor:latency.mean": "done",
        "monitor:errors.share": "refused 400: Invalid recipients: slack-nobody not found",
        "monitor:slo.fast": "skipped needs the id of slo:availability; apply first",
    }
    assert (dd.count("ValidateMonitor"), dd.count("ValidateExistingMonitor")) == (1, 1)
    assert numbers(dd)["monitor"] == 1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_stopped_run_tells_what_was_not_begun_and_the_next_one_goes_on(dd: Standin, connect: Connect) -> None:
    client = connect(parallel=1)

    # As Ctrl-C does, in the middle of a call, which ends once the run has noticed.
    def stop(call: Call) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert client.stop.wait(60)

    dd.faults.add(Fault(stop, where=is_write, nth=3))
    plan = planned(client, every_kind())
    outcomes = told(apply(client, plan))
    assert set(outcomes) == {step.address for step in plan.steps}
    words = {said for said in outcomes.values() if "stopped" in said}
    assert words == {"skipped the run was stopped"}, "of what was not begun and of what was under way alike"
    assert sum(is_write(call) for call in dd.calls) < len(plan.steps)
    converges(dd, connect, every_kind(), WHOLE)


FAULTS: dict[str, dict[str, Any]] = {
    "an error of the server": {"do": "status", "status": 503},
    "an error after the work was done": {"do": "status", "status": 502, "worked": True},
    "a refusal": {"do": "status", "status": 400},
    "no connection": {"do": "close"},
    "an answer that is lost": {"do": "close", "worked": True},
    "an answer that breaks off": {"do": "cut", "worked": True},
    "no answer": {"do": "hang"},
    "no answer though the work was done": {"do": "hang", "worked": True},
    "a page of somebody else": {"do": "garbage"},
    "an answer of another shape": {"do": "status", "status": 200, "body": {"odd": [1]}},
    "a list where none is due, though the work was done": {"do": "status", "status": 200, "body": [1], "worked": True},
    "too many requests": {"do": "status", "status": 429, "headers": {"X-Ratelimit-Reset": "1"}},
}


def interrupted(dd: Standin, client: Client, wanted: list[Resource]) -> None:
    """A run that may fail anywhere, but only in the ways that are known."""
    try:
        for one in applied(client, wanted):
            assert one.result is Result.DONE or one.text
    except ProvisionError:
        return


@contextmanager
def no_waiting_in_vain(account: Standin) -> Iterator[None]:
    """Whoever waits for an answer that the stand-in holds back runs into the time-out at once, and nobody else does.

    With a short time-out for all calls, one that is merely slow on a busy machine would be given up as well.
    """
    answered = HTTPConnection.getresponse

    def getresponse(connection: Any, *args: Any) -> Any:
        while not select.select([connection.sock], [], [], 0.02)[0]:
            if connection.sock.getsockname()[1] in account.hanging:
                raise TimeoutError("timed out")
        return answered(connection, *args)

    with patch.object(HTTPConnection, "getresponse", getresponse):
        yield


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_at_every_call_of_the_first_run(connect: Connect, dd: Standin, name: str, lasting: bool) -> None:
    applied(connect(), every_kind())
    calls = dd.count()
    for nth in range(1, calls + 1):
        with Standin() as account:
            account.state.see(LATENCY, "distribution", ["env:prod"])
            account.state.add_foreign_monitors(3)
            before = foreign(account)

            def again(account: Standin = account) -> Client:
                return Client(credentials(account), timeout=60.0, pause=0.001, patience=0.5)

            account.faults.add(Fault(**FAULTS[name], nth=nth, times=10_000 if lasting else 1))
            with no_waiting_in_vain(account):
                interrupted(account, again(), every_kind())
            converges(account, again, every_kind(), {**WHOLE, "monitor": 7})
            assert foreign(account) == before, nth


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_at_every_write_of_a_change_and_of_the_removal(name: str) -> None:
    """Each write goes wrong once, in a run that changes, replaces and deletes, and in one that takes all away."""
    check = '"model_serving.openmetrics.health".over("*").by("endpoint").last(3).count_by_status()'
    changed = [
        percentiles(),
        availability(99.5),
        latency(3),
        monitor("errors.share", check, 2, "service check"),
        burn(10),
        composite(),
        dashboard("Other"),
        rule("pagerduty-ml"),
        downtime(scope="env:prod"),
    ]
    gone = monitor("gone", "avg(last_5m):avg:system.load.1{*} > 5", 5)
    writes = 10
    for nth in range(1, writes + 1):
        with Standin() as account:
            account.state.see(LATENCY, "distribution", ["env:prod"])

            def again(account: Standin = account) -> Client:
                return Client(credentials(account), timeout=60.0, pause=0.001, patience=0.5)

            applied(again(), [*every_kind(), gone])
            fault = account.faults.add(Fault(**FAULTS[name], nth=nth, where=is_write))
            with no_waiting_in_vain(account):
                applied(again(), changed, prune=True)
            assert fault.hit or nth == writes, "the count of writes is too high"
            account.faults.clear()
            applied(again(), changed, prune=True)
            converges(account, again, changed, WHOLE)
            account.faults.add(Fault(**FAULTS[name], nth=nth, where=is_write))
            for client in (again(), again()):
                with no_waiting_in_vain(account):
                    apply(client, destroy_plan(read_account(client, ())))
                account.faults.clear()
            assert numbers(account) == {**dict.fromkeys(KINDS, 0), "percentiles": 1}, nth


def is_write(call: Call) -> bool:
    return call.method in WRITES


def credentials(account: Standin) -> AccountCredentials:
    return AccountCredentials(account.api_key, account.app_key, url=account.url)


def test_rules_and_downtimes_are_there_before_the_monitors(dd: Standin, connect: Connect) -> None:
    """Datadog routes monitors that are created after a rule was saved, and silences them from the start in a downtime.
    One that fails keeps no monitor back."""
    applied(connect(), every_kind())
    order = [call.operation for call in dd.calls if call.method == "POST" and call.operation is not None]
    for first in ("CreateMonitorNotificationRule", "CreateDowntime"):
        assert order.index(first) < order.index("CreateMonitor")
    dd.state.monitors.clear()
    dd.state.rules.clear()
    dd.faults.add(Fault("status", "CreateMonitorNotificationRule", status=400, body={"errors": ["no"]}))
    outcomes = told(applied(connect(), every_kind()))
    assert {address for address, text in outcomes.items() if text != "done"} == {"notification_rule:critical"}


def counted(**options: Any) -> Resource:
    query = "sum(last_1h):sum:model_serving.gpu.xid.count{*} by {gpu_uuid,xid}.as_count() > 0"
    return monitor("gpu.xid", query, 0, options={"timeout_h": 1, **options})


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("takes", [False, True])
def test_an_account_that_refuses_on_missing_data(dd: Standin, connect: Connect, takes: bool, is_there: bool) -> None:
    """It gets the older form, is told so, and has nothing to do from then on; one that takes it loses the older
    options."""
    if is_there:
        applied(connect(), [counted(notify_no_data=True, no_data_timeframe=120)])
    if not takes:
        dd.policy.no_missing_data.add("query alert")
    wanted = [counted(on_missing_data="resolve")]
    said = told(applied(connect(), wanted))["monitor:gpu.xid"]
    (kept,) = (one["options"] for one in dd.state.monitors.values())
    assert kept.get("on_missing_data") == ("resolve" if takes else None)
    assert not kept["notify_no_data"]
    assert kept.get("no_data_timeframe") is None
    assert ("without on_missing_data, which the account refuses" in said) is not takes
    assert not planned(connect(), wanted).differs


@pytest.mark.parametrize("left", [None, "default"])
def test_on_missing_data_that_somebody_took_away(dd: Standin, connect: Connect, left: str | None) -> None:
    """Where the account took it, that it is gone is a change by somebody, which the next run undoes."""
    wanted = [counted(on_missing_data="resolve")]
    applied(connect(), wanted)
    (kept,) = (one["options"] for one in dd.state.monitors.values())
    if left is None:
        del kept["on_missing_data"]
    else:
        kept["on_missing_data"] = left
    assert planned(connect(), wanted).differs
    applied(connect(), wanted)
    assert [one["options"]["on_missing_data"] for one in dd.state.monitors.values()] == ["resolve"]
    assert not planned(connect(), wanted).differs


def test_an_account_that_takes_on_missing_data_after_all(dd: Standin, connect: Connect) -> None:
    """The next update tries it again, and takes the note of the refusal away."""
    dd.policy.no_missing_data.add("query alert")
    applied(connect(), [counted(on_missing_data="resolve")])
    dd.policy.no_missing_data.clear()
    wanted = [counted(on_missing_data="resolve", include_tags=False)]
    applied(connect(), wanted)
    (kept,) = dd.state.monitors.values()
    assert kept["options"]["on_missing_data"] == "resolve"
    assert not [tag for tag in kept["tags"] if tag.startswith("model_serving_without")]
    assert not planned(connect(), wanted).differs


def test_what_an_earlier_version_provisioned_converges(dd: Standin, connect: Connect) -> None:
    """One run changes in place what has another query, makes anew what has another type, and leaves what is not wanted
    any more to --prune."""
    path = Path(__file__).with_name("before.json")
    before = [Resource(one["kind"], one["key"], one["body"]) for one in json.loads(path.read_text(encoding="utf-8"))]
    assert {one.result for one in applied(connect(), before)} == {Result.DONE}
    ids = {one["name"]: number for number, one in dd.state.monitors.items()}
    wanted = desired(None, Values(runbooks="https://wiki.example.com/{monitor}"))
    plan = actions(planned(connect(), wanted))
    for key in ("errors.share", "endpoint.ready", "traffic.none"):
        assert plan[f"monitor:{key}"] == "replace"
    for key in ("gpu.xid", "endpoint.metrics", "readiness.http"):
        assert plan[f"monitor:{key}"] == "change"
    gone = {"success.share", "version.driver", "slo.latency.fast"}
    assert {address for address, action in plan.items() if action == "orphaned" and "monitor:" in address} == {
        f"monitor:{key}" for key in gone
    }
    outcomes = applied(connect(), wanted)
    assert {one.result for one in outcomes} == {Result.DONE}, told(outcomes)
    assert dd.state.monitors[ids["Model serving: New XID error"]]["options"]["on_missing_data"] == "resolve"
    assert not planned(connect(), wanted).differs
    applied(connect(), wanted, prune=True)
    left = {one["name"] for one in dd.state.monitors.values()}
    assert "Model serving: Success share is low" not in left
    assert "orphaned" not in actions(planned(connect(), wanted)).values()
