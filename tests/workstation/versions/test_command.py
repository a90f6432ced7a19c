"""`model-serving versions` as a user calls it: what it lists, what it notes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving.workstation.demo.servers import CLIENT_ID, CLIENT_SECRET
from datadog_checks.model_serving.workstation.demo.workspace import SimulatedWorkspace, serve_workspace

from ...conftest import Endpoint
from ..provision.standin import Standin
from .fleet import CALLS, METRICS, MODELS, fleet, versions


def conf(path: Path, *instances: str) -> str:
    file = path / "conf.yaml"
    file.write_text("init_config:\ninstances:\n" + "".join(f"  - {{{one}}}\n" for one in instances), "utf-8")
    return str(file)


def answered(endpoint: Endpoint, path: str, value: Any, status: int = 200) -> None:
    endpoint.serve(json.dumps(value), path, content_type="application/json", status=status)


def rows(done: Any) -> list[tuple[str, str | None, str, str]]:
    return [(one["model"], one["version"], one["state"], one["verdict"]) for one in json.loads(done.stdout)["versions"]]


MISTAKES = {
    "nothing to look at": ([], "say what to look at: -c FILE, or a URL of metrics"),
    "nobody who knows of calls": (["http://a/metrics"], "say who knows of calls: either --prometheus URL or --datadog"),
    "two who do": (["http://a/metrics", "--datadog", "--prometheus", "http://b"], "say who knows of calls: either"),
    "no file": (["-c", "/nowhere/conf.yaml", "--datadog"], "/nowhere/conf.yaml does not exist"),
    "no hours": (["http://a/metrics", "--datadog", "--hours", "0"], "--hours"),
    "a rate below nothing": (["http://a/metrics", "--datadog", "--idle-below", "-1"], "--idle-below"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_wrong_usage(name: str) -> None:
    arguments, words = MISTAKES[name]
    done = versions(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_key_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DD_API_KEY", "DD_APP_KEY"):
        monkeypatch.delenv(name, raising=False)
    with fleet() as server:
        done = versions(server.url, "--datadog")
    assert done.exit_code == 2
    assert "no API key: set DD_API_KEY, or give --api-key-file FILE" in done.stderr


def test_an_instance_that_can_t_be_right(account: Standin, tmp_path: Path) -> None:
    """The others are listed all the same."""
    with fleet() as server:
        wrong = "openmetrics_endpoint: 'http://127.0.0.1:9/metrics', sample_limt: 5"
        right = f"openmetrics_endpoint: '{server.url}', models: [model-1]"
        done = versions("-c", conf(tmp_path, wrong, right), "--datadog", "--json")
    assert done.exit_code == 2
    assert "Error: instance 1: " in done.stderr
    assert "sample_limit" in done.stderr
    assert len(rows(done)) == 5


def test_mlserver(endpoint: Endpoint, account: Standin, tmp_path: Path) -> None:
    """Its repository lists what it has, also where the instance names some models only. What is there and can't answer
    is never idle."""
    endpoint.serve('model_infer_request_success_total{model="a",version="1"} 5\n')
    answered(endpoint, "/v2/health/ready", {})
    for model in ("a", "b"):
        answered(endpoint, f"/v2/models/{model}/ready", {})
    index = [("a", "1", "READY"), ("a", "2", "UNAVAILABLE"), ("b", "None", "READY"), ("c", "3", "LOADING")]
    answered(
        endpoint,
        "/v2/repository/index",
        [{"name": name, "version": version, "state": state, "reason": ""} for name, version, state in index],
    )
    base = f"http://127.0.0.1:{endpoint.port}"
    instance = f"openmetrics_endpoint: '{endpoint.url}', serving_system: mlserver, readiness_url: '{base}', models: [a]"
    done = versions("-c", conf(tmp_path, instance), "--datadog", "--json")
    assert done.exit_code == 0, done.output
    assert rows(done) == [
        ("a", "1", "READY", "unknown"),
        ("b", None, "READY", "unknown"),
        ("c", "3", "LOADING", "unknown"),
    ]
    assert "c: the model is not ready: HTTP 404" in done.stderr


def test_a_databricks_workspace(account: Standin, tmp_path: Path) -> None:
    """Every served entity, and since when there is one."""
    workspace = SimulatedWorkspace()
    workspace.clients[CLIENT_ID] = CLIENT_SECRET
    workspace.add("scoring")
    with serve_workspace(workspace) as served:
        login = f"databricks_client_id: {CLIENT_ID}, databricks_client_secret: {CLIENT_SECRET}"
        instance = f"databricks_host: '{served.url}', tls_ca_cert: '{served.ca}', {login}"
        done = versions("-c", conf(tmp_path, instance), "--datadog", "--json")
    (one,) = json.loads(done.stdout)["versions"]
    assert (one["endpoint"], one["state"], one["verdict"]) == ("scoring", "DEPLOYMENT_READY", "unknown")
    assert one["loaded_since"]
    assert CLIENT_SECRET not in done.output


def test_what_can_t_be_asked_is_noted(endpoint: Endpoint, account: Standin, tmp_path: Path) -> None:
    """Systems without such an API, servers whose models nobody knows, and GPUs, which have none."""
    endpoint.serve('model_accuracy{model="m"} 0.9\n')
    endpoint.serve(f"# TYPE {CALLS} counter\n", METRICS)
    custom = f"openmetrics_endpoint: '{endpoint.url}', serving_system: custom_ml"
    tfs = f"openmetrics_endpoint: 'http://127.0.0.1:{endpoint.port}{METRICS}', serving_system: tensorflow_serving"
    done = versions("-c", conf(tmp_path, custom, tfs, "gpu: auto"), "--datadog")
    assert done.exit_code == 1
    assert f"Note: instance 1, {endpoint.url}: Custom ML exporter has no API that tells what is loaded" in done.stderr
    assert "Note: instance 2, http://127.0.0.1:" in done.stderr
    assert "TensorFlow Serving named no version: check `readiness_url`, and name models" in done.stderr
    assert "0 versions loaded" in done.stdout


def test_names_are_whole_and_printable(endpoint: Endpoint, account: Standin) -> None:
    """At any width, whatever a model is called."""
    name = "a-model-with-a-very-long-name-indeed" * 5
    state = {"version": "1", "state": "AVAILABLE"}
    answered(endpoint, f"/v1/models/{name}", {"model_version_status": [state]})
    answered(endpoint, "/v1/models/%1B%5B2J", {"model_version_status": [state]})
    endpoint.serve(f'{CALLS}{{model_name="{name}",model_version="1"}} 6\n', METRICS)
    url = f"http://127.0.0.1:{endpoint.port}{METRICS}"
    done = versions(url, "--model", name, "--model", "\x1b[2J", "--datadog")
    assert name in done.stdout
    assert "\x1b" not in done.stdout
    assert "2 versions loaded" in done.stdout


def test_models_are_asked_for_besides_those_of_the_file(account: Standin, tmp_path: Path) -> None:
    with fleet() as server:
        path = conf(tmp_path, f"openmetrics_endpoint: '{server.url}', models: [model-1]")
        done = versions("-c", path, "--model", "model-2", "--datadog", "--json")
    assert {model for model, _, _, _ in rows(done)} == {"model-1", "model-2"}
    assert len(MODELS) == 5
