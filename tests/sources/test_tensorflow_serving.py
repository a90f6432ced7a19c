"""Readiness of TensorFlow Serving over its REST model status."""

from __future__ import annotations

from typing import Any

import pytest

from ..conftest import Endpoint, make_check
from .readiness import readiness, serve_json

METRICS = "/monitoring/prometheus/metrics"
SEEN = """\
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="half",status="OK"} 7
:tensorflow:serving:request_count{model_name="gone",status="NOT_FOUND"} 7
"""


def check_of(endpoint: Endpoint, **options: Any) -> Any:
    endpoint.serve(SEEN, METRICS)
    url = f"http://127.0.0.1:{endpoint.port}{METRICS}"
    return make_check(**{"openmetrics_endpoint": url, "serving_system": "tensorflow_serving", **options})


def state(version: str, name: str, error: str = "") -> dict[str, Any]:
    return {
        "version": version,
        "state": name,
        "status": {"error_code": "OK" if not error else "X", "error_message": error},
    }


CASES: dict[str, tuple[Any, int, list[str]]] = {
    "available": (
        {"model_version_status": [state("2", "AVAILABLE"), state("1", "END")]},
        200,
        ["endpoint OK", "model OK model_name:half model_version:2"],
    ),
    "every state": (
        {
            "model_version_status": [
                state("5", "START"),
                state("4", "LOADING"),
                state("3", "UNLOADING"),
                state("2", "UNKNOWN", "out of memory"),
                state("1", "PONDERING"),
            ]
        },
        200,
        [
            "endpoint OK",
            "model WARNING model_name:half model_version:5: state START",
            "model WARNING model_name:half model_version:4: state LOADING",
            "model WARNING model_name:half model_version:3: state UNLOADING",
            "model CRITICAL model_name:half model_version:2: out of memory",
            "model CRITICAL model_name:half model_version:1: state PONDERING",
        ],
    ),
    "not found": (
        {"error": "Could not find any versions of model half"},
        404,
        ["endpoint OK", "model CRITICAL model_name:half: no status of this model: HTTP 404"],
    ),
    "no JSON object": ([], 200, ["endpoint OK", "model CRITICAL model_name:half: no status of this model: HTTP 200"]),
    "JSON of another form": (
        {"model_version_status": [1, {"version": 2, "state": "AVAILABLE", "status": "fine"}]},
        200,
        [
            "endpoint OK",
            "model CRITICAL model_name:half: state UNKNOWN",
            "model OK model_name:half model_version:2",
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_status(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """What the status of a model says about its versions. A model that was replaced isn't missed."""
    answer, status, expected = CASES[name]
    check = check_of(endpoint, readiness=True)
    serve_json(endpoint, "/v1/models/half", answer, status)
    assert check.run() == ""
    assert readiness(aggregator) == expected
    assert aggregator.service_checks("model_serving.openmetrics.health")[0].status == 0


def test_off_by_default(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Asking counts as traffic of the model, so nothing is asked unless wanted."""
    check = check_of(endpoint)
    for _ in range(2):
        assert check.run() == ""
    assert {path for _, path, _ in endpoint.requests} == {METRICS}
    assert readiness(aggregator) == []


def test_models_option(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Configured models are asked for instead of those seen."""
    check = check_of(endpoint, readiness=True, models=["a b"])
    serve_json(endpoint, "/v1/models/a%20b", {"model_version_status": [state("1", "AVAILABLE")]})
    assert check.run() == ""
    assert readiness(aggregator) == ["endpoint OK", "model OK model_name:a b model_version:1"]


def test_no_connection(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Where the API can't be reached, endpoint and model are not ready, and say why."""
    check = check_of(endpoint, readiness=True, readiness_url="http://127.0.0.1:9")
    assert check.run() == ""
    endpoint_line, model_line = readiness(aggregator)
    assert endpoint_line.startswith("endpoint CRITICAL: http://127.0.0.1:9/v1/models/half: no connection")
    assert model_line.startswith("model CRITICAL model_name:half: http://127.0.0.1:9/v1/models/half: no connection")


def test_nothing_to_ask(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Before any model is known there is nothing to ask, and nothing to say."""
    check = check_of(endpoint, readiness=True)
    endpoint.serve(":tensorflow:serving:request_example_count_total 0\n", METRICS)
    assert check.run() == ""
    assert readiness(aggregator) == []


NAMED = {
    "calls by version": ':tensorflow:serving:model_call_count{model_name="half",model_version="1"} 7\n',
    "examples": ':tensorflow:serving:request_example_count_total{model="half"} 7\n',
    "the runtime's latency": ':tensorflow:serving:runtime_latency_count{model_name="half",API="Predict"} 7\n',
    "a setting": ':tensorflow:serving:batching:max_enqueued_batches{model_name="half"} 0\n',
    "an answer among failures": SEEN + ':tensorflow:serving:request_count{model_name="half",status="INTERNAL"} 9\n',
    "failures of a request that reached the runtime": (
        ':tensorflow:serving:request_count{model_name="half",status="OK"} 1\n'
        ':tensorflow:serving:request_count{model_name="gone",status="NOT_FOUND"} 7\n'
        ':tensorflow:serving:request_log_count{model_name="gone",status="NOT_FOUND"} 7\n'
    ),
    "a name that nothing was counted for": (
        ':tensorflow:serving:model_call_count{model_name="half"} 7\n'
        ':tensorflow:serving:model_call_count{model_name="gone"} 0\n'
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_models_of_any_metric(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Models are asked that any metric of theirs shows, but none that is nothing but failures."""
    check = check_of(endpoint, readiness=True)
    endpoint.serve(NAMED[name], METRICS)
    serve_json(endpoint, "/v1/models/half", {"model_version_status": [state("1", "AVAILABLE")]})
    assert check.run() == ""
    assert readiness(aggregator) == ["endpoint OK", "model OK model_name:half model_version:1"]


def test_models_of_the_system_alone(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Models that another system in the same payload names are not asked of this one."""
    check = check_of(endpoint, readiness=True, serving_system=["tensorflow_serving", "custom_ml"])
    endpoint.serve(SEEN + 'model_accuracy{model_name="theirs"} 0.9\n', METRICS)
    serve_json(endpoint, "/v1/models/half", {"model_version_status": [state("1", "AVAILABLE")]})
    assert check.run() == ""
    assert readiness(aggregator) == ["endpoint OK", "model OK model_name:half model_version:1"]
