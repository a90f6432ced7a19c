"""A TensorFlow Serving with 25 versions of which 6 are idle, and a Datadog account that the check has sent to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner

from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.stored import stored

from ...conftest import KINDS, Endpoint, make_check, serving
from ..provision.standin import Standin

METRICS = "/monitoring/prometheus/metrics"
CALLS = ":tensorflow:serving:model_call_count"
HOUR = 3600

FLEET = [(f"model-{number % 5}", str(number)) for number in range(25)]
IDLE = {("model-1", "1"), ("model-2", "7"), ("model-3", "8"), ("model-0", "10"), ("model-4", "14"), ("model-1", "21")}
NEVER = {("model-1", "1"), ("model-2", "7"), ("model-4", "14")}
"""Of the idle ones those that nobody has called since the server started."""

MODELS = sorted({model for model, _ in FLEET})


class SimulatedFleet:
    """The server. Each hour every version gets as many calls as its number, but the idle ones, after the first hour."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.url = f"http://127.0.0.1:{endpoint.port}{METRICS}"
        self.hour = 0
        for model in MODELS:
            states = [
                {"version": version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
                for name, version in FLEET
                if name == model
            ]
            answer = json.dumps({"model_version_status": states})
            endpoint.serve(answer, f"/v1/models/{model}", content_type="application/json")
        self.pass_hour()

    def pass_hour(self) -> None:
        """Let an hour pass."""
        self.hour += 1
        lines = [f"# TYPE {CALLS} counter"]
        for number, (model, version) in enumerate(FLEET):
            label = "model_nane" if number % 2 else "model_name"
            count = 1 if (model, version) in IDLE else 1 + self.hour * (number + 1)
            if (model, version) not in NEVER:
                lines.append(f'{CALLS}{{{label}="{model}",model_version="{version}"}} {count}')
        self.endpoint.serve("\n".join(lines) + "\n", METRICS)


@contextmanager
def fleet() -> Iterator[SimulatedFleet]:
    """The server, as long as the context lasts."""
    with serving() as endpoint:
        yield SimulatedFleet(endpoint)


def watch(server: SimulatedFleet, standin: Standin, aggregator: Any, moments: Iterable[float], **options: Any) -> None:
    """Run the check at some moments, an hour of the server apart, and have the account receive what it submits."""
    instance = {"openmetrics_endpoint": server.url, "serving_system": "tensorflow_serving", "models": MODELS}
    check = make_check(**{**instance, "readiness": True, **options})
    for moment in moments:
        aggregator.reset()
        assert check.run() == ""
        for name in aggregator.metric_names:
            for metric in aggregator.metrics(name):
                kind = KINDS[metric.type]
                standin.state.receive(name, kind, moment, metric.value, map(stored, metric.tags))
        server.pass_hour()
    check.cancel()


def versions(*arguments: str) -> Any:
    """The command, in this process."""
    return CliRunner().invoke(root, ["versions", *arguments])


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """A Datadog account that the environment leads to."""
    with Standin() as standin:
        monkeypatch.setenv("DD_API_KEY", standin.api_key)
        monkeypatch.setenv("DD_APP_KEY", standin.app_key)
        monkeypatch.setenv("MODEL_SERVING_DATADOG_URL", standin.url)
        monkeypatch.delenv("DD_SITE", raising=False)
        yield standin
