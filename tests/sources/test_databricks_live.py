"""A workspace as live ones are: what is stopped on purpose, hosted for everybody, throttled at first, or refused."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.sources.databricks.workspace import DatabricksWorkspace
from datadog_checks.model_serving.workstation.demo.faults import REFUSALS
from datadog_checks.model_serving.workstation.demo.workspace import API

from .databricks_workspace import (
    COUNT,
    CRITICAL,
    HEALTH,
    MODEL,
    OK,
    READY,
    WARNING,
    WORKSPACE,
    World,
    path_name,
)

STOPPED = "model_serving.endpoint.stopped"
DEPLOYMENTS = ["DEPLOYMENT_READY", "DEPLOYMENT_CREATING", "DEPLOYMENT_RECOVERING", "DEPLOYMENT_FAILED"]
DEPLOYMENTS.append("DEPLOYMENT_ABORTED")


def kinds(run: Any) -> list[str]:
    """What the events of a run tell of whom."""
    return sorted(f"{event['event_type'].removeprefix('databricks_')} {event['msg_title']}" for event in run.events)


def gauges(run: Any, name: str) -> dict[str, float]:
    """A gauge by endpoint."""
    prefix = "endpoint_name:"
    return {
        next(tag for tag in metric.tags if tag.startswith(prefix)).removeprefix(prefix): metric.value
        for metric in run.metrics
        if metric.name == name
    }


# -- no event without a change

SHAPES = ["plain", "stopped", "update failed", "creating", "tile", "hosted", "throughput", "external", "broken"]


def populate(world: World, shapes: list[str]) -> list[str]:
    """Endpoints of these shapes, which were there for long. Returns their names."""
    workspace = world.workspace
    for name in workspace.names():
        workspace.remove(name)
    then = int((time.time() - 40 * 86_400) * 1000)
    for number, shape in enumerate(shapes):
        name = f"e{number}"
        if shape == "hosted":
            workspace.add(name, kind="pay_per_token", created=then)
        elif shape == "tile":
            workspace.add(name, kind="tile", created=then)
        elif shape == "throughput":
            tokens = {"min_provisioned_throughput": 0, "max_provisioned_throughput": 19000}
            workspace.serving(name, entities=[{"entity_name": "system.ai.x", **tokens}], created=then)
        elif shape == "external":
            workspace.serving(name, entities=[{"name": "x", "external_model": {"name": "x"}}], created=then)
        else:
            workspace.serving(name, created=then, creating=shape == "creating")
        if shape == "stopped":
            workspace.stop(name)
        if shape == "update failed":
            workspace.begin_update(name, [{"entity_version": "2"}])
            workspace.fail_update(name)
        if shape == "broken":
            workspace.set_deployment(name, f"{name}-1", "DEPLOYMENT_FAILED", "no such wheel")
    return workspace.names()


TROUBLES: list[tuple[str, dict[str, Any]]] = [
    ("rate_limit", {"retry_after": 60}),
    *(("status", {"code": code}) for code in (401, 403, 404, 409, 500, 503)),
    *(("refusal", {"reason": reason}) for reason in REFUSALS),
    ("drop", {}),
    ("cut", {}),
    ("html", {}),
]
WHERE = [f"{API}*", API, f"{API}/*", f"{API}/e?", f"{API}/*/metrics", f"{API}/e0", f"{API}/e1*"]
TROUBLE = st.tuples(st.sampled_from(TROUBLES), st.sampled_from(WHERE), st.sampled_from([1, 2, None]))
HIDDEN = st.sets(st.sampled_from(["e0", "e1", "e2"]))
LOOKS = st.lists(st.tuples(st.lists(TROUBLE, max_size=2), HIDDEN, st.booleans()), min_size=1, max_size=4)


@given(shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4), looks=LOOKS, hosted=st.booleans())
@example(
    shapes=["plain"] * 4,
    looks=[([(("rate_limit", {"retry_after": 60}), f"{API}/*", 1)], set(), False)],
    hosted=False,
)
@example(shapes=["plain"] * 3, looks=[([], {"e0", "e1", "e2"}, False), ([], set(), False)], hosted=False)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_event_of_what_does_not_change(
    world: World, datadog_agent: Any, shapes: list[str], looks: list[Any], hosted: bool
) -> None:
    """Whatever is throttled, fails, is refused or hidden, at first or later, and wherever the Agent is restarted."""
    datadog_agent.reset()
    names = populate(world, shapes)
    options = {"serving_endpoints": {"pay_per_token": hosted}}
    check = world.check(**options)
    runs = []
    for troubles, hidden, restart in looks:
        world.workspace.unlisted = hidden
        for (kind, how), match, times in troubles:
            world.workspace.fault(kind, match=match, times=times, **how)
        runs += [world.run(check), world.run(check, 61)]
        world.workspace.clear_faults()
        if restart:
            check.cancel()
            check = world.check(**options)
    world.workspace.unlisted = set()
    # A refusal of the workspace is asked about again within five minutes, and a limit is over after one.
    runs += [world.run(check, 61) for _ in range(7)]
    assert [event for run in runs for event in run.events] == []
    watched = {name for name, shape in zip(names, shapes, strict=True) if hosted or shape != "hosted"}
    assert set(runs[-1].states(READY)) == watched
    described = {"plain", "stopped", "update failed", "throughput", "external", "broken"}
    due = {name for name, shape in zip(names, shapes, strict=True) if shape in described}
    assert set(runs[-1].states(MODEL)) == due
    check.cancel()


def test_an_endpoint_that_could_not_be_seen_is_not_new(world: World) -> None:
    """What appears in the list is new if it was created of late, and else was only hidden."""
    long_ago = int((time.time() - 7200) * 1000)
    world.workspace.serving("old", created=long_ago)
    world.workspace.unlisted = {"old"}
    check = world.check()
    assert world.run(check).events == []
    world.workspace.unlisted = set()
    world.workspace.serving("young")
    runs = [world.run(check, 60), world.run(check, 15)]
    assert [kind for run in runs for kind in kinds(run)] == ["model_version young serves main.models.young version 1"]
    assert set(runs[-1].states(READY)) == {"old", "young"}


# -- stopped on purpose


@pytest.mark.parametrize("answer", [200, 400, 404, 409, 500, 503])
@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_stopped_and_started(deployment: str, answer: int, world: World) -> None:
    """Nothing is called broken while an endpoint is stopped, whatever its entities and its export say, or starts."""
    workspace = world.workspace
    workspace.serving("night")
    workspace.serving("day")
    check = world.check()
    run = world.run(check)
    assert gauges(run, STOPPED) == {"night": 0, "day": 0}
    workspace.stop("night", deployment)
    if answer != 200:
        workspace.fault("status", match=f"{API}/night/metrics", times=None, code=answer)
    runs = [world.run(check, 15) for _ in range(24)]
    told = [kind for run in runs for kind in kinds(run)]
    assert told == ["stopped night was stopped"]
    for run in runs[8:]:
        assert (run.error, run.warnings) == ("", [])
        assert run.statuses(READY) == {"night": OK, "day": OK}
        assert run.statuses(MODEL) == {"night": OK, "day": OK}
        assert gauges(run, STOPPED) == {"night": 1, "day": 0}
    for run in runs:
        assert {status for name in run.states(HEALTH) for status, _ in run.states(HEALTH)[name]} <= {OK}
    workspace.start("night")
    workspace.clear_faults()
    runs = [world.run(check, 15) for _ in range(10)]
    assert {run.statuses(READY)["night"] for run in runs} <= {OK, WARNING}
    assert runs[-1].statuses(READY) == {"night": WARNING, "day": OK}
    workspace.finish_update("night")
    ends = [world.run(check, 15) for _ in range(10)]
    assert [kind for run in (*runs, *ends) for kind in kinds(run)] == [
        "started night was started",
        "update_began night: configuration update began",
        "update_finished night: configuration update finished",
    ]
    assert ends[-1].statuses(READY) == {"night": OK, "day": OK}
    assert gauges(ends[-1], STOPPED) == {"night": 0, "day": 0}
    # It is asked for its metrics again.
    assert "night" in {name for run in ends for name, _ in run.counts()}


def test_refused_is_not_stopped(world: World) -> None:
    """Who may not read the metrics of an endpoint that is stopped is told so."""
    world.workspace.serving("a")
    world.workspace.serving("night")
    world.workspace.stop("night")
    world.workspace.forbidden.add("night")
    run = world.run(world.check())
    assert run.statuses(HEALTH) == {"a": OK, "night": CRITICAL}


def test_what_is_stopped_costs_little(world: World) -> None:
    """Its description is not asked for as if it were broken."""
    world.workspace.serving("night")
    world.workspace.stop("night")
    check = world.check()
    for _ in range(40):
        world.run(check, 15)
    assert world.workspace.asked("night") <= 4


def test_first_deployment(world: World) -> None:
    """An endpoint is a warning while it is deployed for the first time, and broken where that fails."""
    world.workspace.add("good", creating=True)
    world.workspace.add("bad", creating=True)
    check = world.check()
    assert world.run(check).statuses(READY) == {"good": WARNING, "bad": WARNING}
    world.workspace.finish_update("good")
    world.workspace.fail_update("bad")
    for _ in range(6):
        run = world.run(check, 15)
    assert run.statuses(READY) == {"good": OK, "bad": CRITICAL}


# -- cost and pace


def hosting(world: World, own: int = 1, hosted: int = 44, known: int = 0) -> None:
    for number in range(known, own):
        world.workspace.serving(f"own-{number:03}")
    for number in range(hosted):
        world.workspace.add(f"databricks-{number:03}", kind="pay_per_token")


def test_pay_per_token_is_left_out(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Endpoints that never export anything cost no request, count for no limit, and the log says so once."""
    caplog.set_level("INFO")
    hosting(world)
    check = world.check(serving_endpoints={"limit": 1})
    runs = [world.run(check, 15) for _ in range(20)]
    for run in runs:
        assert (run.error, run.warnings) == ("", [])
        assert set(run.states(READY)) == {"own-000"}
    assert {path_name(call.path)[0] for call in world.workspace.calls} == {"", "own-000"}
    assert caplog.text.count("44 pay-per-token endpoints are left out") == 1


def test_pay_per_token_is_brought_back(world: World) -> None:
    """Whoever wants to know whether Databricks' models are ready pays for a metrics request each half hour."""
    hosting(world, hosted=3)
    check = world.check(serving_endpoints={"pay_per_token": True})
    for _ in range(20):
        run = world.run(check, 15)
        assert len(run.states(READY)) == 4
    asked = [path_name(call.path) for call in world.workspace.calls]
    for number in range(3):
        assert [metrics for name, metrics in asked if name == f"databricks-{number:03}"] == [True]


@pytest.mark.parametrize("rate", [20, 40])
def test_first_looks_are_paced(rate: float, world: World) -> None:
    """In no second do first looks exceed the rate; later runs are not held up, nor is what is known by new ones."""
    hosting(world, own=20, hosted=0)
    check = world.check(serving_endpoints={"initial_requests_per_second": rate})
    run = world.run(check)
    assert len(run.counts()) == 20
    calls = sorted(call.when for call in world.workspace.calls if path_name(call.path)[0])
    assert len(calls) == 40
    # Both requests of one endpoint belong to its turn, and a thread may be late by its own scheduling.
    assert calls[-1] - calls[0] >= 19 * 2 / rate - 0.5
    # What was asked before goes on at once, and so does the first of what comes.
    assert isinstance(check.source, DatabricksWorkspace)
    assert check.source._paced() == {}
    hosting(world, own=22, hosted=0, known=20)
    world.run(check, 60)
    run = world.run(check, 15)
    assert len(run.states(READY)) == 22


def test_cancelled_while_it_paces(world: World) -> None:
    """A check that is cancelled amid a long first run ends."""
    hosting(world, own=200, hosted=0)
    check = world.check(serving_endpoints={"initial_requests_per_second": 1})
    calls = world.workspace.calls
    world.workspace.after = lambda call: check.cancel() if path_name(call.path)[1] else None
    world.run(check)
    assert len(calls) < 10


def test_workspace_of_hosted_models_alone(world: World) -> None:
    """A workspace where nobody has made an endpoint is fine."""
    hosting(world, own=0)
    run = world.run(world.check())
    assert (run.error, run.warnings, run.states(READY)) == ("", [], {})
    assert run.statuses(WORKSPACE) == {"": OK}
    assert COUNT not in {metric.name for metric in run.metrics}


# -- what nobody has told


def test_buckets_that_are_not_cumulative(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Should an export count each bucket for itself, its latency is missing, and the status says so."""
    at = int(time.time()) // 60 * 60_000
    lines = [f'request_latency_ms_bucket{{le="{bound}"}} {count} {at}' for bound, count in (("5", 4), ("+Inf", 0))]
    page = "\n".join(["# TYPE request_latency_ms histogram", *lines, f"request_latency_ms_count 4 {at}"])
    world.workspace.add("odd", export=lambda: f"{page}\nrequest_count_total 4 {at}\n")
    world.workspace.serving("a")
    check = world.check()
    for _ in range(2):
        run = world.run(check, 60)
        assert run.error == ""
        (warning,) = run.warnings
        assert "/odd/metrics: the buckets of request_latency_ms fall" in warning
        assert run.statuses(HEALTH) == {"a": OK, "odd": OK}
    assert caplog.text.count("the buckets of request_latency_ms fall") == 1
    assert ("odd", 4) in world.counted
