"""A whole workspace from one instance, over HTTPS: who is watched, what is said of whom, and what trouble costs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving.sources.databricks.workspace import DatabricksWorkspace
from datadog_checks.model_serving.workstation.demo.workspace import API, TOKEN_PATH, Call

from .databricks_workspace import (
    CLIENT,
    COUNT,
    CREATOR,
    CRITICAL,
    HEALTH,
    MODEL,
    OK,
    PASSWORD,
    READY,
    SECRET,
    TOKEN,
    WARNING,
    WORKSPACE,
    World,
    path_name,
    wait_until,
)

LOOK = 31.0
"""Seconds after which every endpoint that answers is asked again."""


def serving(world: World, *names: str) -> None:
    for name in names:
        world.workspace.serving(name)


# -- logging in


@pytest.mark.parametrize("kind", ["token", "token file", "oauth", "oauth file", "env token", "env oauth", "env host"])
def test_logins(kind: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to log in works, and goes on to when what is in a file is replaced, or a token expires."""
    serving(world, "a", "b")
    file = tmp_path / "secret"
    nothing: dict[str, Any] = {"databricks_token": None}
    client = {**nothing, "databricks_client_id": CLIENT}
    options: dict[str, dict[str, Any]] = {
        "token": {"databricks_token": TOKEN},
        "token file": {**nothing, "databricks_token_path": str(file)},
        "oauth": {**client, "databricks_client_secret": SECRET},
        "oauth file": {**client, "databricks_client_secret_path": str(file)},
        "env host": {**nothing, "databricks_host": None, "serving_system": "databricks"},
    }
    if kind.startswith("env"):
        variables = {"CLIENT_ID": CLIENT, "CLIENT_SECRET": SECRET} if kind == "env oauth" else {"TOKEN": TOKEN}
        for variable, value in {"HOST": world.served.url, **variables}.items():
            monkeypatch.setenv(f"DATABRICKS_{variable}", value)
    file.write_text(f"{TOKEN if kind.startswith('token') else SECRET}\n")
    oauth = "oauth" in kind
    check = world.check(**options.get(kind, nothing))
    assert world.run(check).error == ""
    if kind == "token file":
        world.workspace.personal_tokens = {"dapi-another-9876543210"}
        file.write_text("dapi-another-9876543210")
    if kind == "oauth file":
        world.workspace.clients[CLIENT] = "another-secret-9876543210"
        file.write_text("another-secret-9876543210")
    world.workspace.expire_tokens()
    second = world.run(check, 60)
    assert (second.error, second.warnings) == ("", [])
    assert world.run(check, 60).error == ""
    assert world.counted == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("b", 3)]
    assert world.workspace.token_requests == (2 if oauth else 0)
    assert {call.token for call in world.workspace.calls if call.path.startswith(API)} <= (
        {"oauth", "expired"} if oauth else {"personal", "unknown"}
    )


@pytest.mark.parametrize("refusal", [401, 403])
def test_token_expires_amid_a_run(refusal: int, world: World) -> None:
    """However many endpoints are refused at the same time, there is one request for another token."""
    names = [f"e{number:02}" for number in range(20)]
    serving(world, *names)
    workspace = world.workspace
    workspace.refusal = refusal
    check = world.oauth()
    assert world.run(check).error == ""
    answered = []

    def expire(call: Call) -> None:
        if path_name(call.path)[1] and call.status == 200:
            answered.append(call)
            if len(answered) == 3:
                workspace.expire_tokens()

    workspace.after = expire
    run = world.run(check, 60)
    assert (run.error, run.warnings) == ("", [])
    assert run.counts() == [(name, 2) for name in names]
    assert set(run.statuses(HEALTH).values()) == {OK}
    assert any(call.token == "expired" for call in workspace.calls)
    assert workspace.token_requests == 2


@pytest.mark.parametrize("refusal", [401, 403])
def test_revoked_token(refusal: int, world: World) -> None:
    """A personal token that was revoked is told with advice, and once it is good again nobody waits for long."""
    serving(world, "a", "b")
    world.workspace.refusal = refusal
    check = world.check()
    assert world.run(check).error == ""
    world.workspace.personal_tokens.clear()
    for _ in range(10):
        run = world.run(check, 60)
    assert "Create a new one" in run.error
    assert run.statuses(WORKSPACE) == {"": WARNING}
    assert run.statuses(HEALTH) == {"a": CRITICAL, "b": CRITICAL}
    world.workspace.personal_tokens.add(TOKEN)
    # The list is asked for beside the run that finds it due: what comes of it is seen by that one, or by the next.
    runs = [world.run(check, 60), world.run(check, 15)]
    assert runs[1].error == ""
    assert runs[1].statuses(WORKSPACE) == {"": OK}
    assert [name for run in runs for name, _ in run.counts()] == ["a", "b"]


# -- which endpoints


@pytest.mark.parametrize(
    ("choice", "watched", "beyond"),
    [
        ({}, ["dev-a", "prod-a", "prod-a-test", "prod-b"], 0),
        ({"include": ["^prod-"]}, ["prod-a", "prod-a-test", "prod-b"], 0),
        ({"include": ["-a$", "-b$"]}, ["dev-a", "prod-a", "prod-b"], 0),
        ({"exclude": ["-test$", "^dev"]}, ["prod-a", "prod-b"], 0),
        ({"include": ["a"], "exclude": ["test"], "limit": 1}, ["dev-a"], 1),
        ({"limit": 3}, ["dev-a", "prod-a", "prod-a-test"], 1),
        ({"include": ["nothing"]}, [], 0),
    ],
)
def test_selection(
    choice: dict[str, Any], watched: list[str], beyond: int, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Patterns choose by name; endpoints beyond the limit are told in every run, and logged once."""
    serving(world, "prod-b", "prod-a", "dev-a", "prod-a-test")
    check = world.check(serving_endpoints=choice)
    for _ in range(3):
        run = world.run(check, 60)
        assert run.error == ""
        assert [name for name, _ in run.counts()] == watched
        assert sorted(run.states(READY)) == watched
        assert len(run.warnings) == (1 if beyond else 0)
    said = f"{len(watched) + beyond} serving endpoints match, {len(watched)} are watched: raise `limit`"
    assert all(said in warning for warning in run.warnings)
    assert caplog.text.count("serving endpoints match") == (1 if beyond else 0)


def test_come_and_go(world: World) -> None:
    """Endpoints that appear are watched from the listing on, deleted ones are not; one that is renamed is both."""
    serving(world, "a", "b")
    check = world.check()
    assert world.run(check).events == []
    serving(world, "c")
    world.workspace.remove("a")
    world.workspace.rename("b", "B b/\u00e9")
    runs = [world.run(check, 60), world.run(check, 15), world.run(check, 60)]
    for run in runs[1:]:
        assert run.error == ""
        assert sorted(run.states(READY)) == ["B b/\u00e9", "c"]
    assert runs[2].counts() == [("B b/\u00e9", 3), ("c", 3)]
    # Both are new, and have served from the start.
    events = [event for run in runs for event in run.events]
    assert sorted(event["msg_title"].partition(" serves")[0] for event in events) == ["B b/\u00e9", "c"]
    assert all(event["event_type"] == "databricks_model_version" for event in events)
    # One that comes back within the hour is none that is new.
    world.workspace.rename("B b/\u00e9", "b")
    for _ in range(3):
        run = world.run(check, 60)
        assert run.events == []
    assert [name for name, _ in run.counts()] == ["b", "c"]


def test_empty_workspace(world: World) -> None:
    """A workspace without endpoints is fine, and so is the first one in it."""
    check = world.check()
    run = world.run(check)
    assert (run.error, run.warnings, run.metrics) == ("", [], [])
    assert run.statuses(WORKSPACE) == {"": OK}
    serving(world, "a")
    runs = [world.run(check, 60), world.run(check, 15)]
    assert [count for run in runs for count in run.counts()] == [("a", 2)]
    assert sum(len(run.events) for run in runs) == 1
    world.workspace.remove("a")
    world.run(check, 60)
    run = world.run(check, 15)
    assert (run.error, run.counts(), run.states(READY)) == ("", [], {})


# -- what exports nothing, or may not be seen


def test_nothing_exported(world: World) -> None:
    """What exports none is asked twice an hour, and at once when it was changed. It is no failure, and has a state."""
    workspace = world.workspace
    serving(world, "a")
    llm = {"name": "llm", "foundation_model": {"name": "databricks-llm"}}
    workspace.add("llm", entities=[llm], task="llm/v1/chat", creator=CREATOR)
    workspace.add("creating", creating=True, creator=CREATOR)
    check = world.check()
    for _ in range(10):
        run = world.run(check, 60)
        assert (run.error, run.warnings) == ("", [])
        assert run.statuses(READY) == {"a": OK, "creating": WARNING, "llm": OK}
        # That of what is not asked now is told as well, or a monitor would miss it.
        assert run.statuses(HEALTH) == {"a": OK, "creating": OK, "llm": OK}
    assert set(run.statuses(MODEL)) == {"a", "llm"}
    assert (workspace.asked("llm", True), workspace.asked("creating", True)) == (1, 1)
    world.run(check, 1300)
    assert (workspace.asked("llm", True), workspace.asked("creating", True)) == (2, 2)
    # Here what was being created begins to serve, there the configuration is changed.
    workspace.finish_update("creating")
    workspace.set_export("creating", lambda: workspace.page("creating"))
    workspace.begin_update("llm", [llm | {"name": "llm-2"}])
    runs = [world.run(check, 60), world.run(check, 15)]
    assert [name for run in runs for name, _ in run.counts() if name != "a"] == ["creating"]
    assert (workspace.asked("llm", True), workspace.asked("creating", True)) == (3, 3)


def test_forbidden(world: World) -> None:
    """Metrics that may not be seen are told of their endpoint; a description that may not be is done without."""
    serving(world, "a", "b", "c")
    world.workspace.forbidden.add("a")
    world.workspace.hidden.add("b")
    check = world.check()
    for _ in range(3):
        run = world.run(check, 60)
        assert run.error == ""
        assert run.statuses(HEALTH) == {"a": CRITICAL, "b": OK, "c": OK}
        assert [name for name, _ in run.counts()] == ["b", "c"]
        assert run.statuses(READY) == {"a": OK, "b": OK, "c": OK}
        assert set(run.statuses(MODEL)) == {"a", "c"}
        (warning,) = run.warnings
        assert "grant its owner `Can View` or `Can Query`" in warning
    # That it may be seen now is no deployment.
    world.workspace.hidden.clear()
    for _ in range(8):
        run = world.run(check, 60)
        assert run.events == []
    assert set(run.statuses(MODEL)) == {"a", "b", "c"}
    # What may not be seen any more is not told for ever as it was then.
    world.workspace.hidden.add("c")
    for _ in range(8):
        run = world.run(check, 60)
    assert set(run.statuses(MODEL)) == {"a", "b"}
    assert run.statuses(READY) == {"a": OK, "b": OK, "c": OK}


# -- listing


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (("status", {"code": 403}), "lacks permission"),
        (("status", {"code": 500}), "HTTP 500"),
        (("html", {}), "an HTML page"),
        (("cut", {}), "broke off"),
        (("drop", {}), "https://127.0.0.1"),
        (("stall", {}), "no complete answer within 20 s"),
        (("drip", {}), "no complete answer within 20 s"),
        (("rate_limit", {"retry_after": 60}), "limits requests"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_list_fails(fault: Any, words: str, world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Without a list the run fails, and says why. Later on the endpoints that are known are watched."""
    serving(world, "a", "b")
    kind, how = fault
    check = world.check(**world.impatient(20))
    world.workspace.fault(kind, match=API, times=None, **how)
    run = world.run(check)
    assert words in run.error
    ((status, message),) = run.states(WORKSPACE)[""]
    assert (status, run.metrics) == (CRITICAL, [])
    assert words in message
    world.workspace.clear_faults()
    assert world.run(check, 65).error == ""
    caplog.clear()
    if kind == "rate_limit":
        return
    fault = world.workspace.fault(kind, match=API, times=None, **how)
    serving(world, "c")
    held = kind in ("stall", "drip")
    for number in range(2):
        world.run(check, 60, settle=not held)
        wait_until(lambda number=number: fault.hits > number)  # type: ignore[misc]
        # It ends with the run that finds it beyond its time.
        world.run(check, 1, settle=not held)
        run = world.run(check, 15)
        assert run.error == ""
        ((status, message),) = run.states(WORKSPACE)[""]
        assert (status, len(run.warnings)) == (WARNING, 1)
        assert words in message
        assert words in run.warnings[0]
        assert sorted(run.states(READY)) == ["a", "b"]
    assert caplog.text.count("can't be listed") == 1
    assert {name for name, _ in world.counted} == {"a", "b"}
    world.workspace.clear_faults()
    world.run(check, 60)
    run = world.run(check, 15)
    assert run.statuses(WORKSPACE) == {"": OK}
    assert sorted(run.states(READY)) == ["a", "b", "c"]


# -- a limit on requests


def test_limit_that_is_waited_for(world: World) -> None:
    """Nobody sends while the workspace asks for a pause that the run has time for, and then all goes on."""
    names = [f"e{number:02}" for number in range(20)]
    serving(world, *names)
    check = world.check(max_connections=4)
    assert world.run(check).error == ""
    fault = world.workspace.fault("rate_limit", match=f"{API}/e*/metrics", retry_after=1)
    run = world.run(check, 60)
    assert (run.error, run.warnings) == ("", [])
    assert run.counts() == [(name, 2) for name in names]
    assert set(run.statuses(HEALTH).values()) == {OK}
    # As many as were on their way already.
    assert 1 <= fault.hits <= 4


def test_limit_that_is_not(world: World) -> None:
    """Endpoints are left out while the pause is longer than a run may be, and none is called broken for that."""
    names = [f"e{number:02}" for number in range(20)]
    serving(world, *names)
    check = world.check(max_connections=4)
    assert world.run(check).error == ""
    fault = world.workspace.fault("rate_limit", match=f"{API}/e*/metrics", retry_after=100)
    run = world.run(check, 60)
    assert 1 <= fault.hits <= 4
    world.settle(check)
    calls = len(world.workspace.calls)
    for _ in range(2):
        run = world.run(check, 30)
        assert run.error == ""
        assert len(world.workspace.calls) == calls
        assert "limits requests" in run.warnings[0]
        assert len(run.warnings) == 1
        assert HEALTH not in run.checks
        assert run.statuses(READY) == dict.fromkeys(names, OK)
    run = world.run(check, 45)
    assert run.counts() == [(name, 3) for name in names]
    assert run.warnings == []
    assert set(run.statuses(HEALTH).values()) == {OK}
    assert sorted(world.counted) == sorted(world.workspace.published)


# -- trouble with one endpoint


@pytest.mark.parametrize("metrics", [True, False], ids=["metrics", "detail"])
@pytest.mark.parametrize(
    ("kind", "how", "words"),
    [
        ("stall", {}, "no complete answer within 20 s"),
        ("drip", {}, "no complete answer within 20 s"),
        ("cut", {}, "broke off before its end"),
        ("drop", {}, "closed the connection without an answer"),
        ("html", {}, "an HTML page"),
        ("status", {"code": 500}, "HTTP 500"),
        ("status", {"code": 302, "headers": {"Location": "https://login.example.com/"}}, "redirects"),
    ],
)
def test_costs_only_itself(kind: str, how: dict[str, Any], words: str, metrics: bool, world: World) -> None:
    """Whatever one endpoint does, the others are read in time, and told of are only its own metrics."""
    serving(world, "a", "bad", "c")
    check = world.check(**world.impatient(20))
    path = f"{API}/bad{'/metrics' if metrics else ''}"
    fault = world.workspace.fault(kind, match=path, times=None, **how)
    run = world.run(check)
    assert run.error == ""
    assert fault.hits == 1
    counted = [name for name, _ in run.counts()]
    assert run.statuses(READY) == {"a": OK, "bad": OK, "c": OK}
    states = run.states(HEALTH)
    assert [state for name in "ac" for state in states[name]] == [(OK, "")] * 2
    if metrics or kind in ("stall", "drip"):
        assert counted == ["a", "c"]
        ((status, message),) = states["bad"]
        assert status == CRITICAL
        assert words in message
        assert [words in warning for warning in run.warnings] == [True]
    else:
        # The metrics don't need the description.
        assert counted == ["a", "bad", "c"]
        assert run.warnings == []
    world.workspace.clear_faults()
    run = world.run(check, 60)
    assert (run.error, run.warnings) == ("", [])
    assert run.counts() == [("a", 2), ("bad", 2), ("c", 2)]
    # What could not be had is asked for soon, and nobody takes it for a deployment.
    assert run.events == []
    assert set(run.statuses(MODEL)) == {"a", "bad", "c"}


def test_fault_of_ours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the check itself stumble over one answer, the others are read all the same.

    No answer is known that makes it, so the fault is put there.
    """
    serving(world, "a", "bad", "c")
    check = world.check()
    assert world.run(check).error == ""
    assert isinstance(check.source, DatabricksWorkspace)
    submitter = check.source.endpoints.members["bad"].scraper.submitter
    monkeypatch.setattr(submitter, "submit", lambda *args: {}["nothing"])
    run = world.run(check, 60)
    assert run.error == ""
    assert run.counts() == [("a", 2), ("c", 2)]
    assert run.statuses(HEALTH) == {"a": OK, "bad": CRITICAL, "c": OK}
    assert "could not be submitted (KeyError)" in run.warnings[0]


def test_state_of_what_is_left_alone(world: World) -> None:
    """An endpoint whose metrics fail keeps its state, which is looked after while nobody asks for its metrics."""
    serving(world, "a", "bad")
    check = world.check()
    world.workspace.fault("status", match=f"{API}/bad/metrics", times=None, code=500)
    for _ in range(8):
        run = world.run(check, 15)
    asked = world.workspace.asked("bad", True)
    assert asked < 5
    assert run.states(HEALTH)["bad"][0][0] == CRITICAL
    world.workspace.set_deployment("bad", "bad-1", "DEPLOYMENT_FAILED", "out of memory")
    # It shows in the description only, which is looked at every few minutes.
    runs = [world.run(check, 15) for _ in range(28)]
    states = [run.states(MODEL)["bad"] for run in runs]
    assert all(len(each) == 1 for each in states)
    assert states[-1] == [(CRITICAL, "DEPLOYMENT_FAILED: out of memory")]
    (event,) = [event for run in runs for event in run.events]
    assert event["event_type"] == "databricks_deployment_failed"
    world.workspace.set_ready("bad", False)
    runs = [world.run(check, 15) for _ in range(5)]
    assert runs[-1].statuses(READY) == {"a": OK, "bad": CRITICAL}


# -- tags, deployments and events


def test_tags(world: World) -> None:
    """Model, version and workload where they are the same for all requests, Databricks tags that are allowed."""
    workspace = world.workspace
    big = {"entity_name": "main.fraud", "entity_version": "7", "workload_size": "Medium", "workload_type": "GPU_SMALL"}
    small = {"entity_name": "main.fraud", "entity_version": "8", "workload_size": "Small", "workload_type": "GPU_SMALL"}
    tags = {"team": "risk", "cost_center": "42", "owner": CREATOR, "model_name": "liar"}
    workspace.serving("one", entities=[big], tags=tags)
    workspace.serving("two", entities=[big, small])
    check = world.check(databricks_tags=["team", "model_name", "absent"], tags=["site:x"])
    run = world.run(check)
    common = {"site:x", "serving_system:databricks"}
    one, two = run.tags()["one"], run.tags()["two"]
    assert one - {f"endpoint:{world.served.url}{API}/one/metrics"} == common | {
        "endpoint_name:one",
        "model_name:main.fraud",
        "model_version:7",
        "workload_size:Medium",
        "workload_type:GPU_SMALL",
        "team:risk",
        "databricks_model_name:liar",
    }
    assert two - {f"endpoint:{world.served.url}{API}/two/metrics"} == common | {
        "endpoint_name:two",
        "model_name:main.fraud",
        "workload_type:GPU_SMALL",
    }
    ready = next(check for check in run.checks[MODEL] if "endpoint_name:one" in check.tags)
    assert {"team:risk", "site:x", "served_entity:fraud-7", "model_version:7"} <= set(ready.tags)
    assert "traffic.share" in " ".join(metric.name for metric in run.metrics)
    for text in (CREATOR, PASSWORD, "cost_center"):
        assert text not in run.everything()


@pytest.mark.parametrize("exporting", [True, False])
def test_deployment(exporting: bool, world: World) -> None:
    """A new version is an event, once. From then on the tags are its own, and no minute is counted twice or lost."""
    workspace = world.workspace
    entity = {"entity_name": "main.fraud", "entity_version": "7"}
    workspace.serving("fraud", entities=[entity], tags={"team": "risk"})
    if not exporting:
        workspace.set_export("fraud", None)
    check = world.check(databricks_tags=["team"])
    world.run(check)
    runs = [world.run(check, 15) for _ in range(3)]
    workspace.begin_update("fraud", [{**entity, "entity_version": "8"}])
    runs += [world.run(check, 15) for _ in range(8)]
    workspace.finish_update("fraud")
    runs += [world.run(check, 15) for _ in range(12)]
    kinds = [event["event_type"] for run in runs for event in run.events]
    assert kinds == ["databricks_update_began", "databricks_update_finished", "databricks_model_version"]
    (event,) = [event for run in runs for event in run.events if event["event_type"] == "databricks_model_version"]
    assert "version 8" in event["msg_title"]
    assert {"model_name:main.fraud", "model_version:8", "team:risk", "endpoint_name:fraud"} <= set(event["tags"])
    assert sorted(world.counted) == sorted(set(workspace.published))
    if exporting:
        versions = [tag for run in runs for tag in run.tags().get("fraud", ()) if tag.startswith("model_version:")]
        assert set(versions) == {"model_version:7", "model_version:8"}
        assert versions == sorted(versions)
    tags = set(runs[-1].checks[MODEL][0].tags)
    assert {"model_version:8", "team:risk"} <= tags
    assert "model_version:7" not in tags


def test_changed_tags_of_what_exports_nothing(world: World) -> None:
    """The state of an endpoint has its Databricks tags, whether it has metrics or not."""
    world.workspace.add("quiet", tags={"team": "risk"}, creator=CREATOR)
    check = world.check(databricks_tags=["team"])
    assert "team:risk" in world.run(check).checks[READY][0].tags
    with world.workspace._lock:
        world.workspace._find("quiet").tags = {"team": "ops"}
    for _ in range(10):
        run = world.run(check, 60)
    (ready,) = run.checks[READY]
    assert "team:ops" in ready.tags
    assert "team:risk" not in ready.tags


def test_restart_of_the_agent(world: World) -> None:
    """A new check tells what has changed since the last one, and counts no minute that it has counted."""
    workspace = world.workspace
    entity = {"entity_name": "main.fraud", "entity_version": "7"}
    workspace.serving("fraud", entities=[entity])
    serving(world, "stays", "goes")
    check = world.check()
    assert world.run(check).events == []
    world.run(check, 15)
    check.cancel()
    again = world.check()
    run = world.run(again, 15)
    assert (run.error, run.events, run.counts()) == ("", [], [])
    again.cancel()
    workspace.begin_update("fraud", [{**entity, "entity_version": "8"}])
    workspace.finish_update("fraud")
    workspace.remove("goes")
    serving(world, "comes")
    last = world.check()
    runs = [world.run(last, 30) for _ in range(4)]
    titles = [event["msg_title"] for run in runs for event in run.events if "serves" in event["msg_title"]]
    assert sorted(title.partition(" serves")[0] for title in titles) == ["comes", "fraud"]
    assert sorted(world.counted) == sorted(set(workspace.published))
    # What went while nobody looked is forgotten as well, so that it is new when it comes again.
    for _ in range(65):
        world.run(last, 60)
    serving(world, "goes")
    runs = [world.run(last, 60), world.run(last, 15)]
    assert [event["msg_title"].partition(" serves")[0] for run in runs for event in run.events] == ["goes"]


def test_same_label(world: World) -> None:
    """Two endpoints that call themselves alike in their metrics are two all the same, also to what is remembered."""
    serving(world, "a", "b")
    for name in "ab":
        world.workspace.set_export(name, lambda: world.workspace.page("same"))
    for _ in range(2):
        check = world.check()
        for _ in range(2):
            run = world.run(check, 60)
            urls = {tag for metric in run.metrics if metric.name == COUNT for tag in metric.tags if "/metrics" in tag}
            assert len(run.counts()) == len(urls) == 2
        check.cancel()


def test_not_new_after_a_bad_start(world: World) -> None:
    """What could not be described at the first look was there before all the same: it is no deployment."""
    serving(world, "a", "b")
    world.workspace.fault("rate_limit", match=f"{API}/*", retry_after=100)
    check = world.check()
    run = world.run(check)
    assert (run.error, run.counts()) == ("", [])
    runs = [world.run(check, 60) for _ in range(4)]
    assert [event for run in runs for event in run.events] == []
    assert set(runs[-1].statuses(MODEL)) == {"a", "b"}


# -- options


def test_readiness_off(world: World) -> None:
    """Without readiness there is no service check of any state; gauges and events stay."""
    entity = {"entity_name": "main.fraud", "entity_version": "7"}
    world.workspace.serving("fraud", entities=[entity])
    check = world.check(readiness=False)
    runs = [world.run(check)]
    world.workspace.begin_update("fraud", [{**entity, "entity_version": "8"}])
    world.workspace.finish_update("fraud")
    runs += [world.run(check, 60) for _ in range(3)]
    assert {name for run in runs for name in run.checks} == {HEALTH, WORKSPACE}
    assert "databricks_model_version" in [event["event_type"] for run in runs for event in run.events]
    assert "model_serving.traffic.share" in {metric.name for metric in runs[-1].metrics}


def test_extra_metrics(world: World) -> None:
    """What the user names besides is sent for every endpoint, also after a deployment."""
    entity = {"entity_name": "main.fraud", "entity_version": "7"}
    world.workspace.serving("fraud", entities=[entity])
    serving(world, "b")
    check = world.check(extra_metrics=[{"cpu_usage_percentage": "own.cpu"}], namespace="mine")
    assert set(world.run(check).tags("mine.own.cpu")) == {"fraud", "b"}
    world.workspace.begin_update("fraud", [{**entity, "entity_version": "8"}])
    world.workspace.finish_update("fraud")
    world.run(check, 60)
    run = world.run(check, LOOK)
    assert set(run.tags("mine.own.cpu")) == {"fraud", "b"}
    assert "model_version:8" in run.tags("mine.own.cpu")["fraud"]


# -- secrets


TROUBLES: list[tuple[str, str, dict[str, Any]]] = [
    ("html", TOKEN_PATH, {}),
    ("status", TOKEN_PATH, {"code": 500}),
    ("status", TOKEN_PATH, {"code": 401}),
    ("cut", TOKEN_PATH, {}),
    ("drop", TOKEN_PATH, {}),
    ("status", f"{API}*", {"code": 401}),
    ("status", f"{API}*", {"code": 403}),
    ("status", f"{API}*", {"code": 302, "headers": {"Location": f"https://x.example/?token={TOKEN}"}}),
    ("cut", f"{API}*", {}),
    ("html", f"{API}*", {}),
    ("drop", f"{API}*", {}),
    ("rate_limit", f"{API}*", {"retry_after": 50}),
]


@pytest.mark.parametrize("kind", ["token", "token file", "oauth", "oauth file"])
def test_no_secret_anywhere(
    kind: str, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, datadog_agent: Any
) -> None:
    """Whatever goes wrong, no secret, and nobody's name, is in what is submitted, logged, shown or kept."""
    caplog.set_level(logging.DEBUG)
    workspace = world.workspace
    entity = {"entity_name": "main.fraud", "entity_version": "7"}
    workspace.serving("fraud", entities=[entity])
    serving(world, "b")
    file = tmp_path / "secret"
    file.write_text(TOKEN if kind.startswith("token") else SECRET)
    oauth: dict[str, Any] = {"databricks_token": None, "databricks_client_id": CLIENT}
    options: dict[str, dict[str, Any]] = {
        "token": {},
        "token file": {"databricks_token": None, "databricks_token_path": str(file)},
        "oauth": {**oauth, "databricks_client_secret": SECRET},
        "oauth file": {**oauth, "databricks_client_secret_path": str(file)},
    }
    check = world.check(**options[kind], log_requests=True)
    said = [world.run(check).everything()]
    for fault, match, how in TROUBLES:
        workspace.fault(fault, match=match, times=None, **how)
        workspace.expire_tokens()
        said += [world.run(check, 60).everything() for _ in range(2)]
        workspace.clear_faults()
        world.run(check, 60)
        said += [world.run(check, 60).everything()]
    message = f"the build of {CREATOR} with {PASSWORD} failed"
    workspace.begin_update("fraud", [{**entity, "entity_version": "8"}])
    said += [world.run(check, 60).everything() for _ in range(2)]
    workspace.fail_update("fraud", message, keep_pending=True)
    workspace.set_deployment("fraud", "fraud-7", "DEPLOYMENT_FAILED", message)
    said += [world.run(check, 60).everything() for _ in range(8)]
    workspace.clients.clear()
    workspace.personal_tokens.clear()
    workspace.expire_tokens()
    said += [world.run(check, 60).everything() for _ in range(2)]
    assert "failed" in said[-3]
    source = check.source
    assert isinstance(source, DatabricksWorkspace)
    shown = [check, vars(check), source, vars(source), vars(source.discovery), check.settings]
    shown.append(vars(source.discovery.access))
    text = "\n".join([*said, caplog.text, repr(datadog_agent._cache), *map(repr, shown)])
    for key in ("instance", "instances", "_config_model_instance"):
        # What the Agent itself has given.
        if key in vars(check):
            text = text.replace(repr(vars(check)[key]), "")
    issued = list(workspace._oauth)
    assert len(issued) >= (10 if kind.startswith("oauth") else 0)
    for secret in (TOKEN, SECRET, CREATOR, PASSWORD, *issued):
        assert secret not in text
