"""A new model, version, server or driver is told once, and what was there at the first look is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.scrape.versions import CACHE_KEY, MAX_EVENTS, MAX_SUBJECTS, SeenVersions, Version

from ..conftest import Endpoint, make_check
from ..sources.readiness import serve_json

Make = Callable[..., Any]


@pytest.fixture
def make(endpoint: Endpoint, datadog_agent: Any) -> Make:
    """Builds a check as after a start of the Agent, whose cache the test keeps."""

    def make(system: Any = "mlserver", **options: Any) -> Any:
        instance = {"serving_system": system, "endpoint_name": "e", "tag_by_endpoint": False, "readiness": False}
        return make_check(openmetrics_endpoint=endpoint.url, **{**instance, **options})

    return make


def told(check: Any, aggregator: Any, endpoint: Endpoint, payload: str) -> list[str]:
    """Titles of the events of one scrape."""
    aggregator.reset()
    endpoint.serve(payload)
    assert check.run() == ""
    return [event["msg_title"] for event in aggregator.events]


def success(model: str, version: str = "", value: float = 5) -> str:
    return f'model_infer_request_success_total{{model="{model}",version="{version}"}} {value}\n'


def failure(model: str, version: str = "", value: float = 5) -> str:
    return f'model_infer_request_failure_total{{model="{model}",version="{version}"}} {value}\n'


def accuracy(model: str, version: str) -> str:
    return f'model_accuracy{{model_name="{model}",model_version="{version}"}} 0.9\n'


def gpu(host: str, driver: str, index: int = 0) -> str:
    labels = f'gpu="{index}",UUID="GPU-{host}-{index}",Hostname="{host}",DCGM_FI_DRIVER_VERSION="{driver}"'
    return f"DCGM_FI_DEV_GPU_UTIL{{{labels}}} 5\nDCGM_FI_DEV_GPU_TEMP{{{labels}}} 50\n"


ASKED = 'litellm_proxy_total_requests_metric_total{{requested_model="a",status_code="200"}} {}\n'
A1, A2, B1 = success("a", "1"), success("a", "2"), success("b", "1")
# Of each scrape the payload and the titles of its events; None is a restart of the Agent.
CASES: dict[str, tuple[Any, list[tuple[str, list[str]] | None]]] = {
    "what is there at first": ("mlserver", [(A1 + B1, []), (A1 + B1, [])]),
    "a new version": ("mlserver", [(A1, []), (A1 + A2, ["e serves a version 2"]), (A1 + A2, []), (A2, []), (A1, [])]),
    "a new model": ("mlserver", [(A1, []), (A1 + B1, ["e serves b version 1"]), (A1 + B1, [])]),
    "one without a version": ("mlserver", [(A1, []), (A1 + success("b"), ["e serves b"])]),
    "a known model without its version": ("mlserver", [(A1, []), (A1 + success("a"), [])]),
    "one that comes with a restart of the Agent": (
        "mlserver",
        [(A1, []), None, (A1 + A2, ["e serves a version 2"]), None, (A1 + A2, [])],
    ),
    "the version of a model that was known without": (
        "mlserver",
        [
            (success("a"), []),
            (success("a") + A1, []),
            (success("a") + A1 + A2, ["e serves a version 2"]),
        ],
    ),
    "a name that only fails": (
        "mlserver",
        [(A1, []), (A1 + failure("typo", "7"), []), (A1 + failure("typo", "7", 9) + success("typo", "7", 0), [])],
    ),
    "one that fails before it answers": (
        "mlserver",
        [(A1, []), (A1 + failure("b", "1"), []), (A1 + failure("b", "1") + B1, ["e serves b version 1"])],
    ),
    "one that is idle at first": (
        "mlserver",
        [(A1, []), (A1 + success("b", "1", 0), []), (A1 + success("b", "1", 1), ["e serves b version 1"])],
    ),
    "one that is idle at the first look": ("mlserver", [(A1 + success("b", "1", 0), []), (A1 + B1, [])]),
    "one whose number is refused": (
        "mlserver",
        [(A1, []), (A1 + success("b", "1", -3), []), (A1 + B1, ["e serves b version 1"])],
    ),
    "a gauge of a new version": (
        "custom_ml",
        [(accuracy("a", "v1"), []), (accuracy("a", "v2"), ["e serves a version v2"]), (accuracy("a", "v1"), [])],
    ),
    "a driver": (
        "dcgm",
        [
            (gpu("n", "550") + gpu("n", "550", 1), []),
            (gpu("n", "560") + gpu("n", "560", 1), ["e of n has driver version 560"]),
            None,
            (gpu("n", "560"), []),
            (gpu("n", "570"), ["e of n has driver version 570"]),
        ],
    ),
    "a new host": ("dcgm", [(gpu("n", "550"), []), (gpu("n", "550") + gpu("o", "560"), [])]),
    "what a fallback of a gateway has answered": (
        "litellm",
        [
            (ASKED.format(5), []),
            (ASKED.format(5) + 'litellm_remaining_tokens_metric{model_group="other"} 7\n', []),
            (ASKED.format(6) + 'litellm_request_total_latency_metric_count{requested_model="other"} 1\n', []),
        ],
    ),
    "what Databricks tells itself": (
        "databricks",
        [
            ('request_count_total{entity_name="a",entity_version="1"} 1\n', []),
            ('request_count_total{entity_name="a",entity_version="2"} 1\n', []),
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_told_once(name: str, make: Make, endpoint: Endpoint, aggregator: Any) -> None:
    system, steps = CASES[name]
    check = make(system)
    for number, step in enumerate(steps):
        if step is None:
            check = make(system)
            continue
        payload, titles = step
        assert told(check, aggregator, endpoint, payload) == titles, number


GATEWAYS = [system for system in builtin_catalog().systems.values() if ("hop", "gateway") in system.tags]
GAUGES = [
    (system.name, raw.names[0])
    for system in GATEWAYS
    for raw in system.metrics
    if raw.type == "gauge" and not raw.conditions
]


@pytest.mark.parametrize("system", sorted({system for system, _ in GAUGES}))
def test_a_gateway_serves_no_model_itself(system: str, make: Make, endpoint: Endpoint, aggregator: Any) -> None:
    """Whatever metric of it names a new one."""
    check = make(system)
    for model in ("a", "b"):
        lines = [f'{raw}{{model_name="{model}",model="{model}"}} 1\n' for of, raw in GAUGES if of == system]
        assert told(check, aggregator, endpoint, "".join(lines)) == []
        assert any(
            f"model_name:{model}" in metric.tags
            for name in aggregator.metric_names
            for metric in aggregator.metrics(name)
        )


def test_event(make: Make, endpoint: Endpoint, aggregator: Any) -> None:
    """It carries the tags of the model and the mark that the dashboards look for."""
    check = make(tags=["team:ml"])
    told(check, aggregator, endpoint, A1)
    told(check, aggregator, endpoint, A1 + A2)
    (event,) = aggregator.events
    assert event["msg_text"] == (
        "MLServer, also under Cloud.ru Model RUN: e serves a version 2. Before it was version 1."
    )
    assert sorted(event["tags"]) == [
        "change:model_version",
        "endpoint_name:e",
        "model_name:a",
        "model_version:2",
        "serving_system:mlserver",
        "team:ml",
    ]


def test_server(make: Make, endpoint: Endpoint, aggregator: Any) -> None:
    """The version that the probe is told, also when it changes back."""
    check = make(readiness=True, readiness_url=f"http://127.0.0.1:{endpoint.port}", models=["a"])
    serve_json(endpoint, "/v2/health/ready", {})
    serve_json(endpoint, "/v2/models/a/ready", {})
    for version, titles in (
        ("1.6.0", []),
        ("1.7.1", ["e runs version 1.7.1"]),
        ("1.7.1", []),
        ("1.6.0", ["e runs version 1.6.0"]),
    ):
        serve_json(endpoint, "/v2", {"version": version})
        assert told(check, aggregator, endpoint, A1) == titles


@pytest.mark.parametrize("kept", ["{", "[]", '"x"', '{"e": 1}', '{"e": {"model_version": {"a": 1}}}', "null", "7"])
def test_what_cannot_be_read(kept: str, make: Make, endpoint: Endpoint, aggregator: Any) -> None:
    """It is as if never seen, and the next look is remembered."""
    check = make()
    check.write_persistent_cache(CACHE_KEY, kept)
    assert told(check, aggregator, endpoint, A1) == []
    assert told(check, aggregator, endpoint, A1 + A2) == ["e serves a version 2"]


class Recorder:
    """A check as far as this needs one."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.cache = ""

    def event(self, event: Any) -> None:
        self.events.append(event)

    def read(self, key: str) -> str:
        return self.cache

    def write(self, key: str, value: str) -> bool:
        self.cache = value
        return True


def test_bounds() -> None:
    """However many names there are, neither the events of a look nor the memory grow without end."""
    check = Recorder()
    seen, tags = SeenVersions(check, check), ("endpoint_name:e", "serving_system:s")
    seen.see(tags, [Version("model_version", "first", "1")], "S")
    seen.see(tags, [Version("model_version", f"m{number}", "1") for number in range(5000)], "S")
    assert len(check.events) == MAX_EVENTS
    (kinds,) = json.loads(check.cache).values()
    assert len(kinds["model_version"]) == MAX_SUBJECTS
    check.events.clear()
    seen.see(tags, [Version("model_version", "first", str(number)) for number in range(200)], "S")
    assert len(check.events) == MAX_EVENTS
    (kinds,) = json.loads(check.cache).values()
    assert kinds["model_version"]["first"][-1] == "199"
    assert len(kinds["model_version"]["first"]) == 50
