"""Readiness of Databricks serving endpoints, as their REST API tells it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from datadog_checks.base.utils.http import RequestsWrapper

from datadog_checks.model_serving.sources.probes.base import Probe
from datadog_checks.model_serving.sources.probes.databricks import PROBE

from ..conftest import Endpoint, make_check
from .readiness import readiness, serve_json

DETAIL = "/api/2.0/serving-endpoints/fraud"


def entity(name: str, deployment: str, version: str = "3", message: str = "") -> dict[str, Any]:
    state = {"deployment": deployment, **({"deployment_state_message": message} if message else {})}
    return {"name": f"{name}-{version}", "entity_name": f"main.{name}", "entity_version": version, "state": state}


CASES: dict[str, tuple[Any, list[str]]] = {
    "ready": (
        {
            "name": "fraud",
            "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
            "config": {
                "served_entities": [entity("fraud", "DEPLOYMENT_READY"), entity("risk", "DEPLOYMENT_READY", "1")]
            },
        },
        [
            "endpoint OK",
            "model OK model_name:main.fraud model_version:3 served_entity:fraud-3",
            "model OK model_name:main.risk model_version:1 served_entity:risk-1",
        ],
    ),
    "not ready, and an update that failed": (
        {
            "state": {"ready": "NOT_READY", "config_update": "UPDATE_FAILED"},
            "config": {
                "served_entities": [
                    entity("a", "DEPLOYMENT_CREATING", message="Deploying"),
                    entity("b", "DEPLOYMENT_FAILED", message="Out of memory\n"),
                    entity("c", "DEPLOYMENT_ABORTED"),
                    entity("d", "DEPLOYMENT_RECOVERING"),
                    entity("e", "DEPLOYMENT_PONDERING"),
                ]
            },
        },
        [
            "endpoint CRITICAL: state NOT_READY, configuration update UPDATE_FAILED",
            "model WARNING model_name:main.a model_version:3 served_entity:a-3: DEPLOYMENT_CREATING: Deploying",
            "model CRITICAL model_name:main.b model_version:3 served_entity:b-3: DEPLOYMENT_FAILED: Out of memory",
            "model CRITICAL model_name:main.c model_version:3 served_entity:c-3: DEPLOYMENT_ABORTED",
            "model WARNING model_name:main.d model_version:3 served_entity:d-3: DEPLOYMENT_RECOVERING",
            "model UNKNOWN model_name:main.e model_version:3 served_entity:e-3: DEPLOYMENT_PONDERING",
        ],
    ),
    "the other name of the update's state": (
        {"state": {"ready": "NOT_READY", "update_state": "IN_PROGRESS"}},
        ["endpoint CRITICAL: state NOT_READY, configuration update IN_PROGRESS"],
    ),
    "served_models": (
        {
            "state": {"ready": "READY"},
            "config": {
                "served_models": [
                    {
                        "name": "iris-2",
                        "model_name": "iris",
                        "model_version": "2",
                        "state": {"deployment": "DEPLOYMENT_READY"},
                    }
                ]
            },
        },
        ["endpoint OK", "model OK model_name:iris model_version:2 served_entity:iris-2"],
    ),
    "an external model, which is not deployed": (
        {
            "state": {"ready": "READY"},
            "config": {"served_entities": [{"name": "gpt", "external_model": {"name": "x"}}]},
        },
        ["endpoint OK"],
    ),
    "a state never heard of": (
        {"state": {"ready": "SOON"}},
        ["endpoint UNKNOWN: state SOON, configuration update unknown"],
    ),
    "JSON of another form": (
        {"state": "READY", "config": {"served_entities": [1, {"state": 2}, {"name": 3, "state": {"deployment": 4}}]}},
        [
            "endpoint UNKNOWN: state None, configuration update unknown",
            "model UNKNOWN model_name:3 served_entity:3: 4",
        ],
    ),
    "lists where objects belong": (
        {"state": [], "config": []},
        ["endpoint UNKNOWN: state None, configuration update unknown"],
    ),
    "no object": (
        ["READY"],
        ["endpoint UNKNOWN: the serving-endpoints API gave no JSON object: check `databricks_host` or the URL"],
    ),
}


def check_of(endpoint: Endpoint, **options: Any) -> Any:
    endpoint.serve("cpu_usage_percentage 7\n", f"{DETAIL}/metrics")
    return make_check(
        **{
            "databricks_host": f"http://127.0.0.1:{endpoint.port}",
            "endpoint_name": "fraud",
            "databricks_token": "dapi-hush",
            **options,
        }
    )


@pytest.mark.parametrize("name", CASES)
def test_detail(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """What the endpoint's detail says about its readiness and its entities'."""
    detail, expected = CASES[name]
    check = check_of(endpoint)
    serve_json(endpoint, DETAIL, detail)
    assert check.run() == ""
    assert readiness(aggregator) == expected
    (found,) = aggregator.service_checks("model_serving.endpoint.ready")
    assert {"endpoint_name:fraud", "serving_system:databricks"} <= set(found.tags)
    asked = {path: headers for _, path, headers in endpoint.requests}
    assert asked[DETAIL]["Authorization"] == "Bearer dapi-hush"
    assert aggregator.metrics("model_serving.cpu.utilization")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, ("no serving endpoint of this name", "`endpoint_name`")),
        (401, ("expired or was revoked", "Create a new one", "`databricks_token`")),
        (403, ("lacks permission", "`Can View`")),
        (429, ("limits requests",)),
        (500, ("HTTP 500",)),
    ],
)
def test_refusals(status: int, words: tuple[str, ...], endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A refusal of the API is told by the readiness check, and never stops the scrape."""
    check = check_of(endpoint)
    serve_json(endpoint, DETAIL, {"error_code": "NOPE", "message": "dapi-hush"}, status)
    assert check.run() == ""
    (line,) = readiness(aggregator)
    assert line.startswith("endpoint CRITICAL: ")
    assert all(word in line for word in words), line
    assert "hush" not in line
    assert aggregator.metrics("model_serving.cpu.utilization")


@pytest.mark.parametrize("body", ["", "{", "<html>login</html>", '"READY"', "\xff"])
def test_no_json(body: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """An answer that is no JSON leaves readiness unknown."""
    check = check_of(endpoint)
    endpoint.serve(body.encode("latin-1"), DETAIL)
    assert check.run() == ""
    assert [line.split(":")[0] for line in readiness(aggregator)] == ["endpoint UNKNOWN"]


def test_endpoint_that_exports_nothing(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """An endpoint without metrics is healthy, and its readiness is told all the same."""
    check = check_of(endpoint)
    endpoint.serve("{}", f"{DETAIL}/metrics", status=404)
    serve_json(endpoint, DETAIL, {"state": {"ready": "READY"}})
    assert check.run() == ""
    assert readiness(aggregator) == ["endpoint OK"]
    assert [found.status for found in aggregator.service_checks("model_serving.openmetrics.health")] == [0]


def test_scrape_that_fails(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Readiness is asked for also where the scrape has failed."""
    check = check_of(endpoint)
    endpoint.serve("", f"{DETAIL}/metrics", status=500)
    serve_json(endpoint, DETAIL, {"state": {"ready": "NOT_READY"}})
    assert "HTTP 500" in check.run()
    assert [line.split(":")[0] for line in readiness(aggregator)] == ["endpoint CRITICAL"]


def test_expired_token(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A token that has expired is told as such by the run, by health and by readiness."""
    check = check_of(endpoint)
    endpoint.serve("", f"{DETAIL}/metrics", status=401)
    serve_json(endpoint, DETAIL, {}, 401)
    told = [check.run(), *readiness(aggregator)]
    told += [found.message for found in aggregator.service_checks("model_serving.openmetrics.health")]
    assert len(told) == 3
    assert all("it has expired or was revoked" in text for text in told)


@pytest.mark.parametrize(
    ("options", "probes"),
    [
        ({}, 1),
        ({"readiness_interval": 0}, 3),
        ({"readiness_interval": 3600}, 1),
        ({"readiness": False}, 0),
        ({"readiness": True}, 1),
    ],
)
def test_interval(
    options: dict[str, Any], probes: int, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """The API is asked at most once in `readiness_interval`, a minute unless told otherwise."""
    check = check_of(endpoint, **options)
    serve_json(endpoint, DETAIL, {"state": {"ready": "READY"}})
    for _ in range(3):
        assert check.run() == ""
    assert [path for _, path, _ in endpoint.requests].count(DETAIL) == probes
    assert readiness(aggregator) == ["endpoint OK"] * probes


def test_url_that_is_no_endpoints(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Where the metrics come from elsewhere, nothing is asked until `readiness_url` says where."""
    endpoint.serve("cpu_usage_percentage 7\n")
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="databricks")
    assert check.run() == ""
    assert readiness(aggregator) == []
    serve_json(endpoint, "/detail", {"state": {"ready": "READY"}})
    url = f"http://127.0.0.1:{endpoint.port}/detail/"
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="databricks", readiness_url=url)
    assert check.run() == ""
    assert readiness(aggregator) == ["endpoint OK"]


def detail(version: str) -> dict[str, Any]:
    """The description of an endpoint that serves a version with a share of the traffic and a size."""
    served = {**entity("fraud", "DEPLOYMENT_READY", version), "workload_size": "Medium", "scale_to_zero_enabled": True}
    route = {"served_entity_name": served["name"], "traffic_percentage": 80}
    config = {"config_version": int(version), "served_entities": [served], "traffic_config": {"routes": [route]}}
    return {"name": "fraud", "state": {"ready": "READY", "config_update": "NOT_UPDATING"}, "config": config}


def test_gauges(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """What an entity gets and may use, tagged as its service check."""
    check = check_of(endpoint)
    serve_json(endpoint, DETAIL, detail("3"))
    assert check.run() == ""
    values = {"traffic.share": 80, "scale_to_zero": 1, "concurrency.min": 0, "concurrency.max": 16}
    (ready,) = aggregator.service_checks("model_serving.model.ready")
    for name, value in values.items():
        (found,) = aggregator.metrics(f"model_serving.{name}")
        assert found.value == value
        assert set(found.tags) == set(ready.tags)


# What the description says of the creation of an entity, by the time in milliseconds, and the age that is submitted.
AGES: dict[str, tuple[Callable[[int], Any], float | None]] = {
    "an hour ago": (lambda now: now - 3_600_000, 3600),
    "as a text": (lambda now: str(now - 3_600_000), 3600),
    "by a clock that is ahead": (lambda now: now + 60_000, 0),
    "in an hour": (lambda now: now + 3_600_000, None),
    "in seconds": (lambda now: now // 1000, None),
    "never": (lambda now: 0, None),
    "a negative number": (lambda now: -1, None),
    "null": (lambda now: None, None),
    "words": (lambda now: "yesterday", None),
}


@pytest.mark.parametrize("name", AGES)
def test_age(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Since when a version is served, where that is told and can be meant."""
    created, age = AGES[name]
    described = detail("3")
    described["config"]["served_entities"][0]["creation_timestamp"] = created(int(time.time() * 1000))
    check = check_of(endpoint)
    serve_json(endpoint, DETAIL, described)
    assert check.run() == ""
    found = [metric.value for metric in aggregator.metrics("model_serving.model.age")]
    assert found == ([] if age is None else [pytest.approx(age, abs=30)])


def test_events(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A new version is told once, also where it came while the Agent was restarted."""
    due = [[], ["fraud: configuration update finished", "fraud serves main.fraud version 4"], []]
    for version, expected in zip(("3", "4", "4"), due, strict=True):
        check = check_of(endpoint, readiness_interval=0)
        serve_json(endpoint, DETAIL, detail(version))
        found = len(aggregator.events)
        assert check.run() == ""
        assert check.run() == ""
        assert [event["msg_title"] for event in aggregator.events[found:]] == expected
    assert {"endpoint_name:fraud", "serving_system:databricks", "model_version:4"} <= set(aggregator.events[-1]["tags"])


def test_probe_in_another_thread(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """There everything waits for the thread of the run."""
    check = check_of(endpoint)
    serve_json(endpoint, DETAIL, detail("3"))
    base = f"http://127.0.0.1:{endpoint.port}{DETAIL}"
    probe = Probe(RequestsWrapper({}, {}), base, ["endpoint_name:fraud"])
    PROBE.probe(probe)
    assert readiness(aggregator) == []
    assert aggregator.metric_names == []
    for finding in probe.findings:
        finding(check)
    assert readiness(aggregator) == [
        "endpoint OK",
        "model OK model_name:main.fraud model_version:3 served_entity:fraud-3 workload_size:Medium",
    ]
    assert aggregator.metrics("model_serving.traffic.share")
