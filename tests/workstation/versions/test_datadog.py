"""Which versions can be unloaded, by what a Datadog account has received from the check."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.errors import UserError
from datadog_checks.model_serving.sources.loaded import LoadedVersion
from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.credentials import AccountCredentials
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.versions.datadog import DatadogTraffic
from datadog_checks.model_serving.workstation.versions.inventory import Listed
from datadog_checks.model_serving.workstation.versions.verdict import judge

from ..provision.standin import Fault, Standin
from .fleet import FLEET, HOUR, IDLE, MODELS, fleet, versions, watch

NOW = 1_800_000_000 // HOUR * HOUR + 1000.0
COUNT, CALLS, LOADED = "request.count", "tensorflow_serving.model.call.count", "model.loaded"


def test_of_25_versions_the_6_idle_ones_are_named(account: Standin, aggregator: Any, datadog_agent: Any) -> None:
    """From the server through the check to the account, where the command finds them; and so do table and monitor."""
    now = time.time() // HOUR * HOUR
    with fleet() as server:
        watch(server, account, aggregator, [now - hour * HOUR + 60 for hour in range(25, -1, -1)])
        models = [word for model in MODELS for word in ("--model", model)]
        done = versions(server.url, *models, "--datadog", "--json")
        shown = versions(server.url, *models, "--datadog")
    assert done.exit_code == 3, done.output
    found = {(one["model"], one["version"]) for one in json.loads(done.stdout)["versions"] if one["verdict"] == "idle"}
    assert found == IDLE
    assert "25 versions loaded, last 24 hours: 19 keep, 6 idle, 0 unknown" in shown.stdout
    assert idlest_of_the_table(account, now)[:6] == sorted(IDLE)
    assert below_the_monitor(account, now) == IDLE


def series_of(account: Standin, query: str, now: float) -> list[tuple[tuple[str, str], list[float]]]:
    client = client_of(account)
    answer = client.call(client.queries.query_metrics, _from=int(now - 24 * HOUR), to=int(now), query=query)
    client.close()
    found = []
    for series in answer["series"]:
        tags = dict(tag.split(":", 1) for tag in series["tag_set"])
        found.append(((tags["model_name"], tags["model_version"]), [value for _, value in series["pointlist"]]))
    return found


def idlest_of_the_table(account: Standin, now: float) -> list[tuple[str, str]]:
    """The versions in the order of the dashboard's table."""
    (dashboard,) = [one.body for one in desired(None) if (one.kind, one.key) == ("dashboard", "overview")]
    tables = [
        widget["definition"]["requests"][0]["queries"][0]["query"]
        for group in dashboard["widgets"]
        for widget in group["definition"]["widgets"]
        if widget["definition"].get("time") == {"live_span": "1d"}
    ]
    (query,) = [query for query in tables if query.startswith("sum:model_serving.request.count{")]
    rows = series_of(account, re.sub(r",\$\w+|\$\w+,?", "", query), now)
    return [version for _, version in sorted((max(values), version) for version, values in rows)]


def below_the_monitor(account: Standin, now: float) -> set[tuple[str, str]]:
    """The groups for which the monitor alerts."""
    (body,) = [one.body for one in desired(None, optional=True) if one.key == "version.idle"]
    found = re.fullmatch(r"sum\(last_1d\):(.*) < 1", body["query"])
    assert found
    return {version for version, values in series_of(account, found[1], now) if sum(values) < 1}


def test_without_readiness_the_check_sends_only_what_was_called(
    account: Standin, aggregator: Any, datadog_agent: Any
) -> None:
    """Never called versions have no series then: they are idle since the server was seen, of unknown age."""
    now = time.time() // HOUR * HOUR
    with fleet() as server:
        watch(server, account, aggregator, [now - hour * HOUR + 60 for hour in range(25, -1, -1)], readiness=False)
        models = [word for model in MODELS for word in ("--model", model)]
        done = versions(server.url, *models, "--datadog")
    assert "25 versions loaded, last 24 hours: 19 keep, 6 idle, 0 unknown" in done.stdout
    assert "Of 6 idle ones nobody tells since when it is loaded" in done.stdout
    assert len(FLEET) == 25


Hourly = Callable[[int], float | None]


@dataclass
class DatadogCase:
    """Loaded versions as `model version` at the endpoint `own`, and series by metric, tags and value of an hour."""

    versions: list[str]
    series: list[tuple[str, str, float | Hourly]]
    expect: dict[str, str]
    system: str = "tensorflow_serving"
    read: dict[str, float | Hourly] = field(default_factory=lambda: {"own": 1.0})
    endpoints: tuple[str, ...] = ("own",)
    where: str = ""


def last(hours: int, value: float = 1.0) -> Hourly:
    """In the last hours only; hour 24 is the one that goes on."""
    return lambda hour: value if hour > 24 - hours else None


CASES = {
    "called and not called": DatadogCase(
        ["m 1", "m 2", "m 3"],
        [(COUNT, "model_name:m model_version:1", 60), (COUNT, "model_name:m model_version:2", 0)],
        {"m 1": "keep", "m 2": "idle", "m 3": "idle"},
    ),
    "one call in the hour that goes on": DatadogCase(
        ["m 1"], [(COUNT, "model_name:m model_version:1", last(1))], {"m 1": "keep"}
    ),
    "as Datadog spells it": DatadogCase(
        ["Half_Plus (2) 1"], [(COUNT, "model_name:half_plus_2 model_version:1", 1)], {"Half_Plus (2) 1": "keep"}
    ),
    "another endpoint is a replica": DatadogCase(
        ["m 1"],
        [(COUNT, "model_name:m model_version:1", 0), (COUNT, "model_name:m model_version:1 endpoint_name:b", 1)],
        {"m 1": "keep"},
        read={"own": 1, "b": 1},
    ),
    "a replica that the check could not read": DatadogCase(
        ["m 1"],
        [(COUNT, "model_name:m model_version:1", 0)],
        {"m 1": "unknown: only 4 of 24 hours seen"},
        read={"own": 1, "b": last(5)},
        endpoints=("own", "b"),
    ),
    "nothing was sent of the endpoint": DatadogCase(
        ["m 1"],
        [],
        {"m 1": "unknown: only 0 of 24 hours seen: the check has sent nothing of endpoint_name:own"},
        read={},
    ),
    "seen for five hours": DatadogCase(
        ["m 1"],
        [(COUNT, "model_name:m model_version:1", last(6, 0))],
        {"m 1": "unknown: only 5 of 24 hours seen"},
        read={"own": last(6)},
    ),
    "loaded in the last hours": DatadogCase(
        ["m 1", "m 2", "m 3"],
        [
            (LOADED, "model_name:m model_version:1", 1),
            (LOADED, "model_name:m model_version:2", last(3)),
            (COUNT, "model_name:m model_version:2 called:never", last(3, 0)),
        ],
        {"m 1": "idle", "m 2": "unknown: loaded in the last 2 hours", "m 3": "unknown: loaded in the last hour"},
    ),
    "nobody told before what is loaded": DatadogCase(
        ["m 1"],
        [(LOADED, "model_name:m model_version:1", last(4))],
        {"m 1": "unknown: only 3 of 24 hours seen: nobody told before what is loaded"},
    ),
    "requests that name no version": DatadogCase(
        ["m 1", "m 2", "n 1"],
        [(COUNT, "model_name:m", 60), (COUNT, "model_name:n", 60)],
        {
            "m 1": "unknown: calls came that don't say which version they are of",
            "m 2": "unknown: calls came that don't say which version they are of",
            "n 1": "keep",
        },
    ),
    "requests beside calls by version": DatadogCase(
        ["m 1", "m 2"],
        [(COUNT, "model_name:m", 60), (CALLS, "model_name:m model_version:1", 1)],
        {"m 1": "keep", "m 2": "idle"},
    ),
    "requests at a replica without calls by version": DatadogCase(
        ["m 1", "m 2"],
        [
            (COUNT, "model_name:m", 60),
            (CALLS, "model_name:m model_version:1", 1),
            (COUNT, "model_name:m endpoint_name:b", 60),
        ],
        {"m 1": "keep", "m 2": "unknown: calls came that don't say which version they are of"},
    ),
    "questions for the status are no calls": DatadogCase(
        ["m 1"], [(COUNT, "model_name:m", 60), ("request.latency.count", "model_name:m", 0)], {"m 1": "idle"}
    ),
    "an old server that counts no requests": DatadogCase(
        ["m 1"], [("request.inference.latency.count", "model_name:m", 60)], {"m 1": "keep"}
    ),
    "MLServer, input that was refused by another one": DatadogCase(
        ["m 1"], [(COUNT, "status_code:422 endpoint_name:b", 60)], {"m 1": "idle"}, system="mlserver"
    ),
    "MLServer, input that was refused": DatadogCase(
        ["m 1", "n 1"],
        [(COUNT, "status_code:422", 60)],
        {
            "m 1": "unknown: calls came that don't say which version they are of",
            "n 1": "unknown: calls came that don't say which version they are of",
        },
        system="mlserver",
    ),
    "Databricks, an endpoint for itself": DatadogCase(
        ["m 1", "m 2"],
        [
            (COUNT, "model_name:m model_version:1", 1),
            (COUNT, "model_name:m model_version:2", 0),
            (COUNT, "model_name:m model_version:2 endpoint_name:b", 1),
        ],
        {"m 1": "keep", "m 2": "idle"},
        system="databricks",
    ),
    "Databricks, an endpoint that tells nothing of its entities": DatadogCase(
        ["m 1", "m 2"],
        [(COUNT, "", 1)],
        {
            "m 1": "unknown: calls came that don't say which version they are of",
            "m 2": "unknown: calls came that don't say which version they are of",
        },
        system="databricks",
    ),
    "other tags": DatadogCase(
        ["m 1"],
        [(COUNT, "model_name:m model_version:1 env:test", 1), (COUNT, "model_name:m model_version:1 env:prod", 0)],
        {"m 1": "idle"},
        where="env:prod",
    ),
}  # fmt: skip


def client_of(account: Standin) -> Client:
    return Client(AccountCredentials(account.api_key, account.app_key, url=account.url), pause=0.001, timeout=10.0)


def receive(account: Standin, name: str, kind: str, value: float | Hourly, tags: dict[str, str]) -> None:
    for hour in range(25):
        known = value(hour) if callable(value) else value
        if known is not None:
            moment = NOW // HOUR * HOUR + (hour - 24) * HOUR + 60
            account.state.receive(f"model_serving.{name}", kind, moment, known, [f"{k}:{v}" for k, v in tags.items()])


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str, account: Standin) -> None:
    """What is not known is not idle."""
    case = CASES[name]
    common = {"serving_system": case.system, "endpoint_name": "own", "env": "prod"}
    for metric, tags, value in case.series:
        own = dict(tag.split(":", 1) for tag in tags.split())
        receive(account, metric, "gauge" if metric == LOADED else "count", value, {**common, **own})
    for endpoint, value in case.read.items():
        receive(account, "scrape.samples", "gauge", value, {**common, "endpoint_name": endpoint})
    listed = []
    for endpoint in case.endpoints:
        for model, version in (text.rsplit(" ", 1) for text in case.versions):
            tags = (f"serving_system:{case.system}", f"endpoint_name:{endpoint}", f"model_name:{model}")
            loaded = LoadedVersion((*tags, f"model_version:{version}"), "AVAILABLE", True)
            listed.append(Listed(f"http://{endpoint}/metrics", loaded))
    client = client_of(account)
    traffic = DatadogTraffic(client, builtin_catalog().systems, case.where).observe(listed, 24, NOW)
    client.close()
    for one in judge(listed, traffic):
        found = f"{one.verdict}: {one.reason}" if one.reason else one.verdict
        assert found == case.expect[f"{one.listed.loaded.model} {one.listed.loaded.version}"]


FAULTS: dict[str, tuple[Callable[[Standin], object], str]] = {
    "no permission": (
        lambda account: account.policy.missing_permissions.add("timeseries_query"),
        "403: Forbidden; Failed permission authorization checks. Its owner needs the permission timeseries_query.",
    ),
    "an error in a good answer": (
        lambda account: account.faults.add(
            Fault("status", "QueryMetrics", times=9, status=200, body={"status": "error", "error": "too much"})
        ),
        "Datadog could not answer the query",
    ),
    "no answer": (
        lambda account: account.faults.add(Fault("close", "QueryMetrics", times=9)),
        "Datadog has not answered the query",
    ),
    "another form": (
        lambda account: account.faults.add(
            Fault("status", "QueryMetrics", times=9, status=200, body={"status": "ok", "series": [{"pointlist": 1}]})
        ),
        "the answer is not what the API is documented to give",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_without_an_answer_nothing_is_idle(name: str, account: Standin) -> None:
    """It fails with what was asked."""
    break_it, words = FAULTS[name]
    break_it(account)
    tags = ("serving_system:tensorflow_serving", "endpoint_name:own", "model_name:m", "model_version:1")
    listed = [Listed("http://own/metrics", LoadedVersion(tags, "AVAILABLE", True))]
    client = client_of(account)
    with pytest.raises(UserError, match=re.escape(words)):
        DatadogTraffic(client, builtin_catalog().systems).observe(listed, 24, NOW)
    client.close()


def test_a_failure_shows_no_key(account: Standin) -> None:
    account.policy.missing_permissions.add("timeseries_query")
    with fleet() as server:
        done = versions(server.url, "--model", "model-1", "--datadog")
    assert done.exit_code == 1
    assert "idle" not in done.stdout
    assert account.api_key not in done.output
    assert account.app_key not in done.output


def test_a_scope_that_is_none_is_wrong_usage(account: Standin) -> None:
    with fleet() as server:
        done = versions(server.url, "--model", "model-1", "--datadog", "--where", "env:prod}")
    assert done.exit_code == 2
    assert "--where env:prod}: this is no scope of a Datadog query" in done.stderr
