"""Readiness of MLServer over the Open Inference Protocol."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from datadog_checks.model_serving.sources.probes.base import other_port, same_port

from ..conftest import Endpoint, make_check
from .readiness import readiness, serve_json

SEEN = """\
model_infer_request_success_total{model="seen",version="v1"} 5
model_infer_request_success_total{model="idle",version="v1"} 0
model_infer_request_failure_total{model="unknown"} 3
"""


def check_of(endpoint: Endpoint, **options: Any) -> Any:
    endpoint.serve(SEEN)
    return make_check(
        **{
            "openmetrics_endpoint": endpoint.url,
            "serving_system": "mlserver",
            "readiness_url": f"http://127.0.0.1:{endpoint.port}",
            "tag_by_endpoint": False,
            **options,
        }
    )


def asked(endpoint: Endpoint) -> list[str]:
    return [f"{method} {path}" for method, path, _ in endpoint.requests if path != "/metrics"]


def test_repository(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """The server, then every model of its repository, once, whatever is in its name."""
    check = check_of(endpoint)
    serve_json(endpoint, "/v2/health/ready", {})
    index = [{"name": "a", "version": "1", "state": "READY"}, {"name": "a", "version": "2"}, {"name": "b c/d"}, {}, 5]
    serve_json(endpoint, "/v2/repository/index", index)
    serve_json(endpoint, "/v2/models/a/ready", {})
    serve_json(endpoint, "/v2/models/b%20c%2Fd/ready", {"error": "not ready"}, 400)
    serve_json(endpoint, "/v2", {"name": "mlserver", "version": "1.7.1"})
    assert check.run() == ""
    assert readiness(aggregator) == [
        "endpoint OK",
        "model OK model_name:a",
        "model CRITICAL model_name:b c/d: the model is not ready: HTTP 400",
    ]
    assert asked(endpoint) == [
        "GET /v2/health/ready",
        "GET /v2",
        "POST /v2/repository/index",
        "GET /v2/models/a/ready",
        "GET /v2/models/b%20c%2Fd/ready",
    ]
    assert all(
        "serving_system:mlserver" in found.tags for found in aggregator.service_checks("model_serving.model.ready")
    )
    datadog_agent.assert_metadata(
        "model_serving:test",
        {
            "version.raw": "1.7.1",
            "version.scheme": "semver",
            "version.major": "1",
            "version.minor": "7",
            "version.patch": "1",
        },
    )


def test_models_option(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Configured models are asked for, and the repository isn't."""
    check = check_of(endpoint, models=["x", "y"])
    serve_json(endpoint, "/v2/health/ready", {})
    serve_json(endpoint, "/v2/models/y/ready", {})
    assert check.run() == ""
    assert readiness(aggregator) == [
        "endpoint OK",
        "model CRITICAL model_name:x: the model is not ready: HTTP 404",
        "model OK model_name:y",
    ]
    assert "POST /v2/repository/index" not in asked(endpoint)


@pytest.mark.parametrize("index", [None, "{", '{"models": []}', "[]"])
def test_seen_models(index: str | None, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Without a repository to ask, the models that have answered requests are asked for, not those that failed only."""
    check = check_of(endpoint)
    serve_json(endpoint, "/v2/health/ready", {})
    if index is not None:
        endpoint.serve(index, "/v2/repository/index")
    serve_json(endpoint, "/v2/models/seen/ready", {})
    assert check.run() == ""
    assert readiness(aggregator) == ["endpoint OK", "model OK model_name:seen"]


@pytest.mark.parametrize("status", [400, 500, 503])
def test_not_ready(status: int, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A server that isn't ready because one model isn't is told so, its models one by one, and the scrape goes on."""
    check = check_of(endpoint, models=["a", "b"])
    serve_json(endpoint, "/v2/health/ready", {}, status)
    serve_json(endpoint, "/v2/models/a/ready", {})
    serve_json(endpoint, "/v2/models/b/ready", {}, 400)
    assert check.run() == ""
    assert readiness(aggregator) == [
        f"endpoint CRITICAL: the server is not ready: HTTP {status}",
        "model OK model_name:a",
        "model CRITICAL model_name:b: the model is not ready: HTTP 400",
    ]
    assert not any(found.value for found in aggregator.metrics("model_serving.request.count"))
    endpoint.serve(SEEN.replace(" 5", " 6"))
    assert check.run() == ""
    assert any(found.value for found in aggregator.metrics("model_serving.request.count"))


def test_no_connection(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A wrong `readiness_url` is told with the URL and what to do, without its secrets."""
    check = check_of(endpoint, readiness_url="http://me:hush@127.0.0.1:9/?key=hush")
    for _ in range(2):
        assert check.run() == ""
    line = readiness(aggregator)[0]
    assert line.startswith("endpoint CRITICAL: http://127.0.0.1:9/: no connection: check that")
    assert "hush" not in line
    assert aggregator.metrics("model_serving.request.count")


def test_where_to_ask(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Metrics on a port of one's own don't tell where the API is: the option is asked for, once."""
    check = check_of(endpoint, readiness_url=None)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            assert check.run() == ""
    told = [record.getMessage() for record in caplog.records if "readiness" in record.getMessage()]
    assert told == [f"{endpoint.url}: set `readiness_url` to have readiness checked"]
    assert readiness(aggregator) == []


@pytest.mark.parametrize(
    ("url", "other", "same"),
    [
        ("http://h:8082/metrics", "http://h:8080", "http://h:8082"),
        ("https://me:pw@h:8082/metrics?a=b", "https://h:8080", "https://h:8082"),
        ("http://[::1]:8082/metrics", "http://[::1]:8080", "http://[::1]:8082"),
        ("http://h:9999/metrics", None, "http://h:9999"),
        ("http://h/metrics", None, "http://h"),
    ],
)
def test_ports(url: str, other: str | None, same: str) -> None:
    """The API beside a metrics URL, where that is on the port the system uses by default, or on the same port."""
    assert other_port(url, {"metrics": 8082, "api": 8080}) == other
    assert same_port(url, {}) == same
    assert other_port(url, {}) is None


def test_metadata_not_wanted(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Where the Agent collects no metadata, the version isn't asked for."""
    datadog_agent._config["enable_metadata_collection"] = False
    check = check_of(endpoint)
    serve_json(endpoint, "/v2/health/ready", {})
    serve_json(endpoint, "/v2", {"version": "1.7.1"})
    assert check.run() == ""
    assert "GET /v2" not in asked(endpoint)
    datadog_agent.assert_metadata_count(0)


@pytest.mark.parametrize("version", [None, 5, {}, "not a version"])
def test_odd_version(version: Any, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A version that is none neither stops the probe nor becomes metadata."""
    check = check_of(endpoint, models=["x"])
    serve_json(endpoint, "/v2/health/ready", {})
    serve_json(endpoint, "/v2", {"version": version})
    serve_json(endpoint, "/v2/models/x/ready", {})
    assert check.run() == ""
    assert readiness(aggregator) == ["endpoint OK", "model OK model_name:x"]
    datadog_agent.assert_metadata_count(0)


def test_probe_that_breaks(
    endpoint: Endpoint,
    aggregator: Any,
    datadog_agent: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even a fault of the probe itself only costs the probe."""
    check = check_of(endpoint)
    assert check.run() == ""
    monkeypatch.setattr(check, "service_check", lambda *args, **kwargs: 1 / 0 if args[0] == "endpoint.ready" else None)
    aggregator.reset()
    assert check.run() == ""
    assert aggregator.metrics("model_serving.request.count")
    assert [record.getMessage() for record in caplog.records if "probe" in record.getMessage()] == [
        f"{endpoint.url}: the readiness probe failed: ZeroDivisionError"
    ]


def test_recognised(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A system that was recognised is asked for readiness from the run that recognised it, another system's never."""
    check = check_of(endpoint, serving_system="auto")
    endpoint.serve("something_else 1\n")
    serve_json(endpoint, "/v2/health/ready", {})
    assert check.run() == ""
    assert readiness(aggregator) == []
    endpoint.serve(SEEN)
    assert check.run() == ""
    assert readiness(aggregator)[0] == "endpoint OK"
