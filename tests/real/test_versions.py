"""Which versions can be unloaded, by what a real Prometheus has recorded: what makes people unload the wrong one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.sources.loaded import LoadedVersion
from datadog_checks.model_serving.workstation.cli.root import root
from datadog_checks.model_serving.workstation.versions.inventory import Listed
from datadog_checks.model_serving.workstation.versions.prometheus import PrometheusApi, PrometheusTraffic
from datadog_checks.model_serving.workstation.versions.traffic import RecordedTraffic
from datadog_checks.model_serving.workstation.versions.verdict import Judged, judge

from ..conftest import Endpoint, serving
from .available import or_skip
from .history import STEP, History, Value, prometheus_with

pytestmark = pytest.mark.real

CALLS, REQUESTS = ":tensorflow:serving:model_call_count", ":tensorflow:serving:request_count"
METRICS = "/monitoring/prometheus/metrics"
LATENCY = ":tensorflow:serving:request_latency_count"
RUNTIME, EXAMPLES = ":tensorflow:serving:runtime_latency_count", ":tensorflow:serving:request_example_count_total"
LOADS = ":tensorflow:cc:saved_model:load_attempt_count"
SUCCESS = "inference:model_run:mlserver:model_infer_request_success_total"
REST = "rest_server_requests_total"
FAILURE = "inference:model_run:mlserver:model_infer_request_failure_total"


@dataclass
class Case:
    """Loaded versions as `model version`, the series that Prometheus has, and the verdict of each version.

    `up` are the targets that it scrapes, the server itself where they aren't named, as `instance`; `load` says when a
    version was loaded, in hours ago.
    """

    versions: list[str]
    series: list[tuple[str, Value | float, dict[str, str]]]
    expect: dict[str, str]
    up: dict[str, Value | float] | None = None
    system: str = "tensorflow_serving"
    where: str = ""
    load: dict[str, float] = field(default_factory=dict)
    idle_below: float = 0.0
    endpoints: tuple[str, ...] = ("own",)


def since(hours: float, value: Value | float = 1.0) -> Value:
    """A series that has begun so many hours ago."""
    return lambda ago: None if ago > hours else value(ago) if callable(value) else value


def growing(ago: float) -> float:
    return round((60 - ago) * 3600)


def step_at(hours: float, before: float, after: float) -> Value:
    return lambda ago: before if ago > hours else after


def calls(version: str, value: Value | float, **labels: str) -> tuple[str, Value | float, dict[str, str]]:
    return CALLS, value, {"model_name": "m", "model_version": version, **labels}


def requests(value: Value | float, **labels: str) -> tuple[str, Value | float, dict[str, str]]:
    return REQUESTS, value, {"model_name": "m", "status": "OK", **labels}


CASES = {
    "called and not called": Case(
        ["m 1", "m 2", "m 3"], [calls("1", growing), calls("2", 7)], {"m 1": "keep", "m 2": "idle", "m 3": "idle"}
    ),
    "misspelt as in the description of the patch": Case(
        ["m 1", "m 2"],
        [
            (CALLS, growing, {"model_nane": "m", "model_version": "1"}),
            (CALLS, 7, {"model_nane": "m", "model_version": "2"}),
        ],
        {"m 1": "keep", "m 2": "idle"},
    ),
    "both spellings, one replica each": Case(
        ["m 1"],
        [calls("1", 7), (CALLS, growing, {"model_nane": "m", "model_version": "1", "instance": "replica"})],
        {"m 1": "keep"},
        up={"own": 1, "replica": 1},
    ),
    "its only call brought the series": Case(["m 1"], [calls("1", since(10))], {"m 1": "keep"}),
    "its only call was more than a day ago": Case(["m 1"], [calls("1", step_at(25.5, 6, 7))], {"m 1": "idle"}),
    "called right now": Case(["m 1"], [calls("1", step_at(STEP / 2 / 3600, 6, 7))], {"m 1": "keep"}),
    "between two hours, from one sample to the next": Case(
        ["m 1"], [calls("1", step_at(7 - STEP / 2 / 3600, 6, 7))], {"m 1": "keep"}
    ),
    "a restart, and calls since": Case(
        ["m 1"], [calls("1", lambda ago: 100 if ago > 9 else None if ago > 8 else 3)], {"m 1": "keep"}
    ),
    "a restart to the very number": Case(
        ["m 1"], [calls("1", lambda ago: 3 if ago > 9.2 else 1 if ago > 9.1 else 3)], {"m 1": "keep"}
    ),
    "a restart to zero": Case(["m 1"], [calls("1", step_at(9, 100, 0))], {"m 1": "idle"}),
    "a restart, and the series is gone": Case(
        ["m 1"], [calls("1", lambda ago: 100 if ago > 9 else None)], {"m 1": "idle"}
    ),
    "Prometheus was down, and nobody called": Case(
        ["m 1"],
        [calls("1", lambda ago: None if 5 < ago < 7.5 else 7)],
        {"m 1": "unknown: only 23 of 24 hours seen"},
        up={"own": lambda ago: None if 5 < ago < 7.5 else 1},
    ),
    "loaded an hour ago": Case(
        ["m 1", "m 2", "m 3"],
        [calls("1", growing)],
        {"m 1": "keep", "m 2": "unknown: loaded in the last 2 hours", "m 3": "idle"},
        load={"m/1": 50, "m/2": 1.5, "m/3": 50},
    ),
    "the path is called otherwise than the model": Case(
        ["m 1", "m 2"],
        [],
        {"m 1": "idle", "m 2": "unknown: loaded in the last 4 hours"},
        load={"saved_model_of_m/1": 50, "saved_model_of_m/2": 3.5},
    ),
    "loaded an hour ago, and called": Case(
        ["m 2"], [calls("2", since(0.5, growing))], {"m 2": "keep"}, load={"m/1": 50, "m/2": 1}
    ),
    "nobody told before what is loaded": Case(
        ["m 1"], [], {"m 1": "unknown: only 3 of 24 hours seen: nobody told before what is loaded"}, load={"m/1": 2.5}
    ),
    "seen for five hours": Case(
        ["m 1", "m 2"],
        [calls("1", since(4.9, 7))],
        {"m 1": "unknown: only 5 of 24 hours seen", "m 2": "unknown: only 5 of 24 hours seen"},
        up={"own": since(4.9)},
    ),
    "one replica is idle": Case(
        ["m 1"], [calls("1", 7), calls("1", growing, instance="replica")], {"m 1": "keep"}, up={"own": 1, "replica": 1}
    ),
    "a replica could not be scraped": Case(
        ["m 1"],
        [calls("1", 7), calls("1", lambda ago: 7 if ago > 4.9 else None, instance="replica")],
        {"m 1": "unknown: only 20 of 24 hours seen: CASE-replica could not be scraped"},
        up={"own": 1, "replica": lambda ago: 1 if ago > 4.9 else 0},
    ),
    "a replica was taken away": Case(
        ["m 1"],
        [calls("1", 7), calls("1", lambda ago: 7 if ago > 4.9 else None, instance="replica")],
        {"m 1": "idle"},
        up={"own": 1, "replica": lambda ago: 1 if ago > 4.9 else None},
    ),
    "a new replica has been called before its first scrape": Case(
        ["m 1"],
        [calls("1", 7), calls("1", since(5, 2), instance="replica")],
        {"m 1": "keep"},
        up={"own": 1, "replica": since(5)},
    ),
    "another server of the job is down": Case(
        ["m 1"], [calls("1", 7)], {"m 1": "idle"}, up={"own": 1, "stranger": 0}
    ),
    "two endpoints, one of them unseen": Case(
        ["m 1"],
        [calls("1", 7)],
        {"m 1": "unknown: only 0 of 24 hours seen: no target of Prometheus is CASE-other: say which are with --where"},
        endpoints=("own", "other"),
    ),
    "Prometheus knows the server by another address": Case(
        ["m 1"],
        [calls("1", 7, instance="10.0.0.1:8501")],
        {"m 1": "unknown: only 0 of 24 hours seen: no target of Prometheus is CASE-own: say which are with --where"},
        up={"10.0.0.1:8501": 1},
    ),
    "the user says which server it is": Case(
        ["m 1", "m 2"],
        [calls("1", 7, instance="10.0.0.1:8501")],
        {"m 1": "idle", "m 2": "idle"},
        up={"10.0.0.1:8501": 1},
        where='job="CASE"',
    ),
    "the user says what isn't there": Case(
        ["m 1"], [calls("1", 7)], {"m 1": "unknown: only 0 of 24 hours seen: no series `up` matches"}, where='job="x"'
    ),
    "requests that name no version": Case(
        ["m 1", "m 2", "n 1"],
        [requests(growing)],
        {
            "m 1": "unknown: calls came that don't say which version they are of",
            "m 2": "unknown: calls came that don't say which version they are of",
            "n 1": "idle",
        },
    ),
    "requests of the only version": Case(["m 1"], [requests(growing)], {"m 1": "keep"}),
    "no request for any version": Case(["m 1", "m 2"], [requests(7)], {"m 1": "idle", "m 2": "idle"}),
    "requests beside calls by version": Case(
        ["m 1", "m 2"], [requests(growing), calls("1", growing)], {"m 1": "keep", "m 2": "idle"}
    ),
    "requests at a replica without calls by version": Case(
        ["m 1", "m 2"],
        [requests(growing), calls("1", growing), requests(growing, instance="replica")],
        {"m 1": "keep", "m 2": "unknown: calls came that don't say which version they are of"},
        up={"own": 1, "replica": 1},
    ),
    "questions for the status are no calls": Case(
        ["m 1", "m 2"],
        [
            requests(growing),
            (LATENCY, growing, {"model_name": "m", "API": "", "entrypoint": "REST"}),
            (LATENCY, 5, {"model_name": "m", "API": "predict", "entrypoint": "REST"}),
        ],
        {"m 1": "idle", "m 2": "idle"},
    ),
    "calls that fail are calls": Case(
        ["m 1"],
        [
            requests(growing, status="INVALID_ARGUMENT"),
            (LATENCY, 5, {"model_name": "m", "API": "predict", "entrypoint": "REST"}),
        ],
        {"m 1": "keep"},
    ),
    "a server so old that it counts no requests": Case(
        ["m 1", "m 2", "n 1"],
        [
            (RUNTIME, growing, {"model_name": "m", "API": "Predict", "runtime": "TF1"}),
            (EXAMPLES, growing, {"model": "n"}),
        ],
        {
            "m 1": "unknown: calls came that don't say which version they are of",
            "m 2": "unknown: calls came that don't say which version they are of",
            "n 1": "keep",
        },
    ),
    "an old server that is patched": Case(
        ["m 1", "m 2"],
        [calls("1", growing), (RUNTIME, growing, {"model_name": "m", "API": "Predict", "runtime": "TF1"})],
        {"m 1": "keep", "m 2": "idle"},
    ),
    "seldom enough": Case(
        ["m 1", "m 2"],
        [calls("1", step_at(5.5, 6, 7)), calls("2", growing)],
        {"m 1": "idle", "m 2": "keep"},
        idle_below=0.01,
    ),
    "MLServer behind a prefix, with failures alone": Case(
        ["m 1", "m 2"],
        [
            (SUCCESS, 7, {"model": "m", "version": "1"}),
            (FAILURE, growing, {"model": "m", "version": "1"}),
            (SUCCESS, 7, {"model": "m", "version": "2"}),
        ],
        {"m 1": "keep", "m 2": "idle"},
        system="mlserver",
    ),
    "MLServer, input that was refused before it reached a model": Case(
        ["m 1"],
        [
            (SUCCESS, 7, {"model": "m", "version": "1"}),
            (REST, growing, {"app_name": "mlserver", "path": "/v2/models/{model_name}/infer", "status_code": "422"}),
            (REST, growing, {"app_name": "mlserver", "path": "/v2/models/{model_name}/ready", "status_code": "200"}),
        ],
        {"m 1": "keep"},
        system="mlserver",
    ),
    "MLServer, input that was refused by one that has several models": Case(
        ["m 1", "n 1"],
        [
            (SUCCESS, 7, {"model": "m", "version": "1"}),
            (REST, growing, {"app_name": "mlserver", "path": "/v2/models/{model_name}/infer", "status_code": "422"}),
        ],
        {
            "m 1": "unknown: calls came that don't say which version they are of",
            "n 1": "unknown: calls came that don't say which version they are of",
        },
        system="mlserver",
    ),
    "MLServer, requests that ask for no version": Case(
        ["m 1", "m 2", "n 1"],
        [(SUCCESS, growing, {"model": "m", "version": "None"}), (SUCCESS, growing, {"model": "n", "version": "None"})],
        {
            "m 1": "unknown: calls came that don't say which version they are of",
            "m 2": "unknown: calls came that don't say which version they are of",
            "n 1": "keep",
        },
        system="mlserver",
    ),
    "Databricks, totals of a minute": Case(
        ["m 1", "m 2"],
        [
            ("request_count_total", lambda ago: 60 if ago > 3 else 0, {"endpoint_name": "own", "entity_version": "1"}),
            ("request_count_total", 0, {"endpoint_name": "own", "entity_version": "2"}),
            ("request_count_total", 60, {"endpoint_name": "another", "entity_version": "2"}),
        ],
        {"m 1": "keep", "m 2": "idle"},
        system="databricks",
    ),
}  # fmt: skip


def slug(name: str) -> str:
    return name.replace(" ", "-").replace(",", "")


def place(name: str, instance: str) -> str:
    """An address of a case: unlike those of all others, which are in the same Prometheus."""
    return instance if "." in instance else f"{slug(name)}-{instance}"


def called(name: str, model: str) -> str:
    """A model of a case: unlike those of all others."""
    return f"{model}-of-{slug(name)}"


def listed_of(name: str, case: Case) -> list[Listed]:
    found = []
    for endpoint in case.endpoints:
        for model, version in map(str.split, case.versions):
            tags = (f"serving_system:{case.system}", f"endpoint_name:{endpoint}", f"model_name:{called(name, model)}")
            loaded = LoadedVersion((*tags, f"model_version:{version}"), "AVAILABLE", True)
            found.append(Listed(f"http://{place(name, endpoint)}/metrics", loaded))
    return found


LAST = {
    "called and not called": 23,
    "its only call brought the series": 13,
    "between two hours, from one sample to the next": 17,
    "called right now": 23,
    "a restart, and calls since": 15,
    "a new replica has been called before its first scrape": 18,
}
"""The hour of the last call of version 1, of 24, by the case."""


FLEET = [(f"model-{number % 5}", str(number)) for number in range(25)]
IDLE = {("model-1", "1"), ("model-2", "7"), ("model-3", "8"), ("model-0", "10"), ("model-4", "14"), ("model-1", "21")}


def add_fleet(history: History, address: str) -> None:
    """25 versions of 5 models, of which 6 are idle: some never called, some called as seldom as yesterday."""
    history.add("up", 1, job="fleet", instance=address)
    for number, (model, version) in enumerate(FLEET):
        labels = {"model_nane" if number % 2 else "model_name": model, "model_version": version}
        target = {"job": "fleet", "instance": address}
        history.add(LOADS, 1, model_path=f"/models/{model}/{version}", status="success", **target)
        if (model, version) not in IDLE:
            history.add(CALLS, step_at(1 + number / 2, 5, 6), **labels, **target)
        elif number % 2:
            history.add(CALLS, 5, **labels, **target)


@pytest.fixture(scope="module")
def tfs() -> Iterator[Endpoint]:
    """A TensorFlow Serving with 25 versions."""
    with serving() as endpoint:
        for model in sorted({model for model, _ in FLEET}):
            states = [
                {"version": version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
                for name, version in FLEET
                if name == model
            ]
            answer = json.dumps({"model_version_status": states})
            endpoint.serve(answer, f"/v1/models/{model}", content_type="application/json")
        endpoint.serve(f'{CALLS}{{model_nane="model-0",model_version="0"}} 6\n', METRICS)
        yield endpoint


@dataclass(frozen=True)
class Recorded:
    """A Prometheus whose records end at `end`, and what it tells of all cases that narrow nothing."""

    url: str
    end: int
    traffic: RecordedTraffic


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, tfs: Endpoint) -> Iterator[Recorded]:
    # Hours begin and end between two samples.
    end = int(time.time()) // STEP * STEP + STEP // 2
    history = History(end - STEP // 2, 32)
    for name, case in CASES.items():
        job = slug(name)
        own = place(name, "own")
        for instance, value in (case.up or {"own": 1}).items():
            history.add("up", value, job=job, instance=place(name, instance))
        for metric, value, labels in case.series:
            instance = place(name, labels.get("instance", "own"))
            own_names = {
                key: called(name, text) if key in ("model", "model_name", "model_nane") else text
                for key, text in labels.items()
            }
            history.add(metric, value, **{**own_names, "job": job, "instance": instance})
        for path, hours in case.load.items():
            history.add(
                LOADS, since(hours), model_path=f"/x/{_own_path(name, path)}", status="success", job=job, instance=own
            )
    add_fleet(history, f"127.0.0.1:{tfs.port}")
    with or_skip(prometheus_with(history, tmp_path_factory.mktemp("prometheus"))) as url:
        listed = [one for name, case in CASES.items() if not case.where for one in listed_of(name, case)]
        yield Recorded(url, end, observed(url, end, listed))


def observed(url: str, end: int, listed: list[Listed], where: str = "") -> RecordedTraffic:
    api = PrometheusApi(url)
    try:
        return PrometheusTraffic(api, builtin_catalog().systems, where).observe(listed, 24, end)
    finally:
        api.close()


def _own_path(name: str, path: str) -> str:
    model, _, version = path.partition("/")
    return f"{called(name, model)}/{version}"


def judged(recorded: Recorded, name: str) -> list[Judged]:
    case, listed, traffic = CASES[name], listed_of(name, CASES[name]), recorded.traffic
    if case.where:
        traffic = observed(recorded.url, recorded.end, listed, case.where.replace("CASE", slug(name)))
    return judge(listed, traffic, case.idle_below)


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str, recorded: Recorded) -> None:
    """What is not known is not idle."""
    expected = CASES[name].expect
    for one in judged(recorded, name):
        loaded = one.listed.loaded
        found = f"{one.verdict}: {one.reason}" if one.reason else one.verdict
        model = loaded.model.partition("-of-")[0]
        due = expected[f"{model} {loaded.version}"].replace("CASE", slug(name))
        assert found.startswith(due), (loaded, found)
        assert found == due or "--where" in due or "matches" in due


@pytest.mark.parametrize("name", LAST)
def test_last_call(name: str, recorded: Recorded) -> None:
    assert next(one.last for one in judged(recorded, name) if one.listed.loaded.version == "1") == LAST[name]


def versions(*arguments: str) -> Any:
    """The command, in this process."""
    return CliRunner().invoke(root, ["versions", *arguments])


def test_of_25_versions_the_6_idle_ones_are_named(recorded: Recorded, tfs: Endpoint) -> None:
    """From the status of the server and the history in Prometheus, and with an exit status for scripts."""
    models = [word for model in sorted({model for model, _ in FLEET}) for word in ("--model", model)]
    url = f"http://127.0.0.1:{tfs.port}{METRICS}"
    done = versions(url, *models, "--prometheus", recorded.url, "--json")
    assert done.exit_code == 3, done.output
    answer = json.loads(done.stdout)
    by = {
        verdict: {(one["model"], one["version"]) for one in answer["versions"] if one["verdict"] == verdict}
        for verdict in ("keep", "idle")
    }
    assert by["idle"] == IDLE
    assert by["keep"] == set(FLEET) - IDLE
    assert all(one["hours_seen"] == 24 and one["state"] == "AVAILABLE" for one in answer["versions"])
    shown = versions(url, *models, "--prometheus", recorded.url)
    assert "25 versions loaded, last 24 hours: 19 keep, 6 idle, 0 unknown" in shown.stdout
    lines = [line.split() for line in shown.stdout.splitlines() if line.endswith("idle: safe to unload")]
    assert {(line[0], line[1]) for line in lines} == IDLE


def test_what_is_in_the_file_is_asked(recorded: Recorded, tfs: Endpoint, tmp_path: Path) -> None:
    """The Agent's own instances, models included; an instance that can't be read fails, and hides nothing else."""
    path = tmp_path / "conf.yaml"
    url = f"http://127.0.0.1:{tfs.port}{METRICS}"
    instance = f"{{openmetrics_endpoint: '{url}', models: [model-2], readiness: false}}"
    path.write_text(
        f"instances:\n  - {instance}\n  - {{openmetrics_endpoint: 'http://127.0.0.1:9/metrics'}}\n", "utf-8"
    )
    done = versions("-c", str(path), "--prometheus", recorded.url)
    assert done.exit_code == 1
    assert "Error: instance 2: " in done.stderr
    assert "5 versions loaded, last 24 hours: 4 keep, 1 idle, 0 unknown" in done.stdout
    done = versions("-c", str(path), "--instance", "1", "--prometheus", recorded.url)
    assert done.exit_code == 3


KNOWN_QUERY = (
    'max_over_time( sum( rate(:tensorflow:serving:model_call_count{model_name!="",model_version!=""}[60m]) ) '
    "by (model_name,model_version)[86400s:3600s] )"
)


def test_the_busiest_hour_is_that_of_the_known_query(recorded: Recorded) -> None:
    """The query by which people have looked so far gives the same number, where it sees anything."""
    name = "called and not called"
    api = PrometheusApi(recorded.url)
    found = {
        (labels["model_name"], labels["model_version"]): value for labels, value in api.query(KNOWN_QUERY, recorded.end)
    }
    api.close()
    for one in judged(recorded, name):
        key = (one.listed.loaded.model, one.listed.loaded.version)
        assert one.peak == pytest.approx(found.get(key, 0.0))
    assert found[called(name, "m"), "1"] == pytest.approx(1.0)


def test_a_mistake_in_matchers_is_told_in_the_words_of_prometheus(recorded: Recorded, tfs: Endpoint) -> None:
    url = f"http://127.0.0.1:{tfs.port}{METRICS}"
    done = versions(url, "--model", "model-1", "--prometheus", recorded.url, "--where", 'job="')
    assert done.exit_code == 1
    assert f"Error: {recorded.url}: bad_data: " in done.stderr
