"""`model-serving check` prints what the Agent would send, and its exit status tells how it went."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from datadog_checks.model_serving.workstation.cli.root import root

from ...sources.databricks_http import serve
from .conftest import Endpoint, model_serving

Conf = Callable[..., str]


def flushes(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def values(flush: dict[str, Any], kind: str) -> dict[str, float]:
    """Values of a metric type by name, without telemetry."""
    return {
        metric["name"].removeprefix("model_serving."): metric["value"]
        for metric in flush["metrics"]
        if metric["type"] == kind and ".scrape." not in metric["name"]
    }


def test_json_has_one_object_per_run(endpoint: Endpoint, conf: Conf) -> None:
    """The first run only knows gauges; later ones know what was counted since."""
    path = conf(f"openmetrics_endpoint: '{endpoint.url}', serving_system: mlserver, tags: [team:ml]")
    done = model_serving("check", "-c", path, "--times", "3", "--interval", "0", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third = flushes(done.stdout)
    assert [flush["round"] for flush in (first, second, third)] == [1, 2, 3]
    assert values(first, "count") == {}
    assert values(first, "gauge") == {"request.in_flight": 1}
    for number, flush in ((2, second), (3, third)):
        assert values(flush, "gauge") == {"request.in_flight": number}
        assert values(flush, "count") == {"request.count": 100, "request.latency.count": 10, "request.latency.sum": 10}
    (latency,) = (metric for metric in third["metrics"] if metric["type"] == "distribution")
    assert {key: latency[key] for key in ("instance", "name", "unit", "count")} == {
        "instance": 1,
        "name": "model_serving.request.latency",
        "unit": "second",
        "count": 10,
    }
    # The sum says that each took a second; spread over the bucket, (0.5, 1], they would average 0.742.
    assert latency["avg"] == pytest.approx(1.0, abs=0.008)
    # In a sketch a quantile may lie above the largest value, by less than the 1.6 % that it tells apart.
    assert 0.49 < latency["min"] <= latency["p50"] <= latency["p99"] < latency["max"] * 1.016 < 1.02
    assert {"team:ml", "serving_system:mlserver"} <= set(latency["tags"])
    assert [(check["name"], check["status"]) for check in third["service_checks"]] == [
        ("model_serving.openmetrics.health", "ok")
    ]


def test_nothing_is_remembered_from_call_to_call(endpoint: Endpoint, conf: Conf) -> None:
    """What came between two calls is in neither of them."""
    path = conf(f"openmetrics_endpoint: '{endpoint.url}', serving_system: mlserver")
    for _ in range(2):
        done = model_serving("check", "-c", path, "--interval", "0", "--json")
        first, second = flushes(done.stdout)
        assert values(first, "count") == {}
        assert values(second, "count")["request.count"] == 100


def test_tags_are_shown_as_datadog_stores_them(endpoint: Endpoint, conf: Conf) -> None:
    """As a query must spell them; the JSON has them as they are sent too."""
    tag = "path:/v2/{Model}/infer"
    path = conf(f"openmetrics_endpoint: '{endpoint.url}', serving_system: mlserver, tags: ['{tag}']")
    done = model_serving("check", "-c", path, "--times", "1")
    assert "path:/v2/_model_/infer" in done.stdout
    assert "{Model}" not in done.stdout
    done = model_serving("check", "-c", path, "--times", "1", "--json")
    (flush,) = flushes(done.stdout)
    for entry in (*flush["metrics"], *flush["service_checks"]):
        assert tag in entry["tags"]
        assert "path:/v2/_model_/infer" in entry["stored_tags"]
        assert len(entry["tags"]) == len(entry["stored_tags"])


def test_what_is_shown_adds_up_all_runs(endpoint: Endpoint, conf: Conf) -> None:
    path = conf(f"openmetrics_endpoint: '{endpoint.url}', serving_system: mlserver")
    done = model_serving("check", "-c", path, "--times", "3", "--interval", "0", "--all")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == endpoint.url
    assert lines[1].startswith("System MLServer")
    # request.count, .latency, .latency.sum, .latency.count, .in_flight, four about the scrape; a distribution is five.
    assert lines[-1] == "3 runs, 0 s apart: 9 metrics with their tags (13 custom metrics) from 1 instance"
    assert "model_serving.request.count 200 request" in lines
    assert lines[lines.index("model_serving.request.count 200 request") - 1] == "model_name:iris model_version:v1"
    assert any(
        re.match(r"model_serving.request.latency count 20 p50 \S+ p95 \S+ p99 \S+ second", line) for line in lines
    )
    assert any(line.startswith("model_serving.request.in_flight 3 request") for line in lines)
    assert "OK model_serving.openmetrics.health" in lines
    assert lines[-1].startswith("3 runs, 0 s apart: ")


def test_a_failing_instance_is_told_and_the_others_run(endpoint: Endpoint, conf: Conf) -> None:
    path = conf(
        "openmetrics_endpoint: 'http://127.0.0.1:1/metrics'",
        f"openmetrics_endpoint: '{endpoint.url}', serving_system: mlserver",
    )
    done = model_serving("check", "-c", path, "--interval", "0")
    assert done.returncode == 1
    assert re.search(r"^Failed +http://127.0.0.1:1/metrics", done.stdout, re.MULTILINE)
    assert "CRITICAL model_serving.openmetrics.health" in done.stdout
    assert "request.count" in done.stdout
    assert "2 instances, 1 failed" in done.stdout


def test_one_instance_of_several(endpoint: Endpoint, conf: Conf) -> None:
    path = conf(
        "openmetrics_endpoint: 'http://127.0.0.1:1/metrics'",
        f"openmetrics_endpoint: '{endpoint.url}', serving_system: mlserver",
    )
    done = model_serving("check", "-c", path, "-i", "2", "--times", "1", "--json")
    assert done.returncode == 0
    assert [instance["instance"] for instance in flushes(done.stdout)[0]["instances"]] == [2]


def test_a_wrong_option_is_a_mistake_of_its_instance_only(endpoint: Endpoint, conf: Conf) -> None:
    good = f"openmetrics_endpoint: '{endpoint.url}', serving_system: mlserver"
    done = model_serving("check", "-c", conf(f"{good}, servin_system: x", good), "--interval", "0", "--json")
    assert done.returncode == 2
    last = flushes(done.stdout)[-1]
    assert [instance["misconfigured"] for instance in last["instances"]] == [True, False]
    assert "servin_system" in last["instances"][0]["error"]
    assert values(last, "count")["request.count"] == 100


def test_secrets_are_sent_and_never_printed(endpoint: Endpoint, conf: Conf) -> None:
    """Neither in tables, errors and service checks, nor in a log at its lowest level."""
    refusing = endpoint.url.replace("/metrics", "/refuse")
    path = conf(
        f"openmetrics_endpoint: '{refusing}?token=in-the-query', serving_system: mlserver, "
        "headers: {Authorization: 'Bearer in-the-header'}",
        f"openmetrics_endpoint: '{endpoint.url.replace('//', '//me:in-the-url@')}', serving_system: mlserver",
    )
    for options in ([], ["--json"], ["--log-level", "trace"]):
        done = model_serving("check", "-c", path, "--times", "1", *options)
        assert done.returncode == 1
        printed = done.stdout + done.stderr
        for secret in ("in-the-query", "in-the-header", "in-the-url"):
            assert secret not in printed
    assert endpoint.authorization[0] == "Bearer in-the-header"


def test_a_profile_of_databricks_tools(conf: Conf, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It logs the command in, and is told without its secrets."""
    with serve() as server:
        server.valid.add("dapi-hush-0123")
        (tmp_path / "profiles").write_text(f"[lab]\nhost = {server.url}/?o=12345\ntoken = dapi-hush-0123\n")
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "profiles"))
        monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "lab")
        path = conf("serving_system: databricks")
        done = model_serving("check", "-c", path, "--times", "1", "--json", "--log-level", "debug")
    assert done.returncode == 0, done.stderr
    assert f"instance 1 logs in to Databricks with profile lab of {tmp_path / 'profiles'}" in done.stderr
    asked = server.asked[-1]
    assert (asked.authorization, asked.headers["X-Databricks-Workspace-Id"]) == ("Bearer dapi-hush-0123", "12345")
    (flush,) = flushes(done.stdout)
    (health,) = flush["service_checks"]
    assert (health["name"], health["status"]) == ("model_serving.workspace.health", "ok")
    assert "databricks_workspace_id:12345" in health["tags"]
    assert "hush" not in done.stdout + done.stderr


def test_the_log_is_printed_on_request(endpoint: Endpoint, conf: Conf) -> None:
    path = conf(f"openmetrics_endpoint: '{endpoint.url}', serving_system: mlserver")
    done = model_serving("check", "-c", path, "--times", "1", "--json", "--log-level", "debug")
    assert done.returncode == 0
    assert " DEBUG " in done.stderr
    assert '"GET /metrics HTTP/1.1" 200' in done.stderr
    assert len(flushes(done.stdout)) == 1


@pytest.mark.parametrize(
    ("instances", "arguments", "complaint"),
    [
        ([], [], "`instances` is empty"),
        (
            ["a: 'ENC[x]'"],
            [],
            "instances[1].a: ENC[x] is a secret that an Agent fetches from its secrets backend. Give it here with",
        ),
        (["a: 1"], ["-i", "2"], "has no instance 2: it has 1"),
        (["a: 1"], ["-i", "0"], "0 is not in the range x>=1"),
        (["a: 1"], ["--times", "none"], "'none' is not a valid integer"),
        (["a: 1"], ["--tims", "3"], "No such option"),
        (["a: 1"], ["--interval", "-1"], "-1.0 is not in the range x>=0"),
        (["a: 1"], ["--log-level", "loud"], "'loud' is not one of"),
        (["a: 1"], ["surplus"], "surplus is neither a file here nor a URL"),
        (["a: 1"], ["http://h/metrics"], "A target and -c are two things to check: give one of them."),
        (["a: 1"], ["--catalog", "x"], "--catalog is for targets: with -c write `catalog` into the file."),
        (["a: 1"], ["--header", "a: b"], "--header is for targets: with -c write `headers` into the file."),
    ],
)
def test_a_mistake_is_one_message_and_status_2(
    conf: Conf, instances: list[str], arguments: list[str], complaint: str
) -> None:
    done = CliRunner().invoke(root, ["check", "-c", conf(*instances), *arguments])
    assert done.exit_code == 2
    assert complaint in done.output
    assert isinstance(done.exception, SystemExit)


def test_a_file_that_is_missing_or_no_yaml(tmp_path: Any) -> None:
    done = model_serving("check", "-c", str(tmp_path / "none.yaml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {tmp_path}/none.yaml does not exist.")
    assert len(done.stderr.splitlines()) == 1
    broken = tmp_path / "broken.yaml"
    broken.write_text("instances:\n  - a: b: c\n", encoding="utf-8")
    done = model_serving("check", "-c", str(broken))
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {broken}, line 2, column 9: mapping values are not allowed here.")
    done = model_serving("check")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: Nothing to check: give the URL of an endpoint, such as http://localhost:8082")


@pytest.mark.parametrize(
    "instance",
    [
        "2024-01-01: a, 1: b, null: c, openmetrics_endpoint: x",
        "openmetrics_endpoint: 2024-01-01, tags: [2024-01-01, 1]",
        "openmetrics_endpoint: 'http://127.0.0.1:1/m', headers: {2024-01-01: 2, 1: x}, min_collection_interval: .inf",
        "openmetrics_endpoints: {a: b}, catalog: [2024-01-01, 5]",
    ],
)
def test_dates_and_numbers_in_odd_places_are_no_traceback(instance: str, conf: Conf) -> None:
    done = model_serving("check", "-c", conf(instance), "-n", "1")
    assert done.returncode in (1, 2), done
    assert "Traceback" not in done.stderr
