"""The simulated systems over real HTTP: routes, authentication, readiness, and an end that leaves nothing behind."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from datadog_checks.model_serving.workstation.demo.dialects.databricks import Databricks
from datadog_checks.model_serving.workstation.demo.scenario import Scenario
from datadog_checks.model_serving.workstation.demo.servers import (
    TOKEN,
    SimulatedSource,
    serve_world,
    workspace_instance,
    world_workspace,
)
from datadog_checks.model_serving.workstation.demo.workspace import API, TOKEN_PATH, serve_workspace
from datadog_checks.model_serving.workstation.demo.world import World

from .conftest import parse, total

DATABRICKS = ("churn-scorer", "product-embedder", "databricks-llama-4-maverick")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def sources(scenario: Scenario) -> Iterator[dict[str, SimulatedSource]]:
    """Every endpoint after one minute of traffic. Time stands still; probes are counted all the same."""
    world = World(scenario, length=600, seed=1)
    world.advance(60)
    with serve_world(world) as served:
        found = {source.endpoint: source for source in served if source.system != "databricks"}
        (workspace,) = (source for source in served if source.system == "databricks")
        yield {**found, **{name: workspace._replace(endpoint=name) for name in DATABRICKS}}


def url_of(source: SimulatedSource) -> str:
    host = source.instance.get("databricks_host")
    return f"{host}{API}/{source.endpoint}/metrics" if host else str(source.instance["openmetrics_endpoint"])


def read(source: SimulatedSource, url: str = "", headers: dict[str, str] = BEARER) -> requests.Response:
    return requests.get(url or url_of(source), headers=headers, verify=source.instance.get("tls_ca_cert"), timeout=60)


CONTENT_TYPES = {
    "churn-scorer": "text/plain; charset=utf-8",
    "product-embedder": "text/plain; charset=utf-8",
    "fraud-platform": "text/plain; version=1.0.0; charset=utf-8",
    "vision-and-search": "text/plain",
    "llm-gateway": "text/plain; version=0.0.4; charset=utf-8",
    "llm-engine": "text/plain; version=1.0.0; charset=utf-8",
    "gpu-node-1": "text/plain; charset=utf-8",
}


def test_every_source_serves_metrics_as_its_system_labels_them(sources: dict[str, SimulatedSource]) -> None:
    served = {name: read(source) for name, source in sources.items()}
    refused = served.pop("databricks-llama-4-maverick")
    assert (refused.status_code, refused.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert all(parse(answer.text) for answer in served.values())
    assert served.pop("pricing-worker").headers["Content-Type"].startswith("text/plain; version=")
    assert {name: answer.headers["Content-Type"] for name, answer in served.items()} == CONTENT_TYPES


def test_the_custom_exporter_negotiates_openmetrics(sources: dict[str, SimulatedSource]) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = requests.get(url_of(sources["pricing-worker"]), headers=accept, timeout=60)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}])
def test_databricks_asks_for_its_token(sources: dict[str, SimulatedSource], headers: dict[str, str]) -> None:
    source = sources["churn-scorer"]
    for path in (f"{API}/churn-scorer/metrics", f"{API}/churn-scorer", API):
        assert read(source, source.instance["databricks_host"] + path, headers).status_code == 401


def test_databricks_describes_its_endpoints(sources: dict[str, SimulatedSource]) -> None:
    source = sources["churn-scorer"]
    host = source.instance["databricks_host"]
    known = read(source, f"{host}{API}/churn-scorer").json()
    assert (known["state"]["ready"], known["state"]["config_update"]) == ("READY", "NOT_UPDATING")
    (entity,) = known["config"]["served_entities"]
    assert (entity["entity_name"], entity["entity_version"]) == ("main.models.churn_scorer", "12")
    assert entity["state"]["deployment"] == "DEPLOYMENT_READY"
    hosted = read(source, f"{host}{API}/databricks-llama-4-maverick")
    assert (hosted.status_code, hosted.json()["endpoint_type"]) == (200, "FOUNDATION_MODEL_API")
    listed = read(source, f"{host}{API}").json()
    assert [one["name"] for one in listed["endpoints"]] == list(DATABRICKS)
    for path, status in ((f"{API}/nobody", 404), (f"{API}/nobody/metrics", 404), ("/", 404)):
        assert read(source, f"{host}{path}").status_code == status


def test_a_rollout_of_the_story_is_an_update_of_the_workspace(scenario: Scenario) -> None:
    phase = next(phase for phase in scenario.phases if phase.version)
    world = World(scenario, length=600, seed=1, repeat=True)
    workspace = world_workspace(world)
    seen = []
    for percent in (10, phase.start + 1, phase.until + 1, 101, 100 + phase.until + 1):
        world.advance(percent * 6 - world.now)
        detail = workspace.endpoint("churn-scorer")
        pending = detail.get("pending_config", {}).get("served_entities", [])
        (serving,) = detail["config"]["served_entities"]
        state = [entity["entity_version"] for entity in (serving, *pending)]
        seen.append((detail["state"]["config_update"], *state))
    # What the story begins with comes back when it begins again.
    at_rest, at_end = ("NOT_UPDATING", "12"), ("NOT_UPDATING", phase.version)
    assert seen == [at_rest, ("IN_PROGRESS", "12", phase.version), at_end, at_rest, at_end]


def test_one_instance_can_read_the_whole_workspace(scenario: Scenario) -> None:
    with serve_workspace(world_workspace(World(scenario, length=600, seed=1))) as served:
        options = workspace_instance(served)
        client = (options["databricks_client_id"], options["databricks_client_secret"])
        url, ca = options["databricks_host"], options["tls_ca_cert"]
        form = {"grant_type": "client_credentials", "scope": "all-apis"}
        token = requests.post(url + TOKEN_PATH, auth=client, data=form, verify=ca, timeout=60).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        listed = requests.get(url + API, headers=bearer, verify=ca, timeout=60).json()["endpoints"]
    assert [one["name"] for one in listed if "endpoint_type" not in one] == [
        "churn-scorer",
        "product-embedder",
    ]


def test_a_databricks_model_that_is_loaded_again_recovers(scenario: Scenario) -> None:
    world = World(scenario, length=600, seed=1)
    dialect = next(one.dialect for one in world.endpoints if isinstance(one.dialect, Databricks))
    workspace = world_workspace(world)
    seen = []
    for ready in (True, False, True):
        dialect.ready = ready
        detail = workspace.endpoint(dialect.service.endpoint)
        (entity,) = detail["config"]["served_entities"]
        seen.append((detail["state"]["ready"], entity["state"]["deployment"]))
    ready_state = ("READY", "DEPLOYMENT_READY")
    assert seen == [ready_state, ("NOT_READY", "DEPLOYMENT_RECOVERING"), ready_state]


MLSERVER = [
    ("GET", "/v2/health/live", 200, ""),
    ("GET", "/v2/health/ready", 200, ""),
    ("GET", "/v2/models/recommender/ready", 200, "/v2/models/{model_name}/ready"),
    ("GET", "/v2/models/recommender", 200, "/v2/models/{model_name}"),
    ("GET", "/v2/models/nobody/ready", 404, "/v2/models/{model_name}/ready"),
    ("POST", "/v2/repository/index", 200, "/v2/repository/index"),
    ("GET", "/v2/repository/index", 405, "/v2/repository/index"),
    ("GET", "/v2", 200, "/v2"),
    ("GET", "/elsewhere", 404, ""),
]


@pytest.mark.parametrize(("method", "path", "status", "counted_as"), MLSERVER)
def test_mlserver_answers_and_counts_calls_of_its_inference_port(
    sources: dict[str, SimulatedSource], method: str, path: str, status: int, counted_as: str
) -> None:
    source = sources["fraud-platform"]
    name = "rest_server_requests_total"
    before = parse(requests.get(url_of(source), timeout=60).text)
    answer = requests.request(method, source.instance["readiness_url"] + path, timeout=60)
    after = parse(requests.get(url_of(source), timeout=60).text)
    assert answer.status_code == status
    labels = {"method": method, "path": counted_as, "status_code": str(status)} if counted_as else {}
    assert total(after, name, **labels) - total(before, name, **labels) == (1 if counted_as else 0)


def test_a_model_that_is_loaded_again_is_not_ready(scenario: Scenario) -> None:
    world = World(scenario, length=600, seed=1)
    world.advance(600 * 0.55)
    paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/fraud-detector/ready", "/v2/models/recommender/ready")
    with serve_world(world) as served:
        api = next(source for source in served if source.system == "mlserver").instance["readiness_url"]
        assert [requests.get(api + path, timeout=60).status_code for path in paths] == [200, 400, 400, 200]
        index = requests.post(f"{api}/v2/repository/index", timeout=60).json()
    assert {model["name"]: model["state"] for model in index} == {"fraud-detector": "LOADING", "recommender": "READY"}


def test_tensorflow_serving_tells_a_models_state_and_counts_the_question(sources: dict[str, SimulatedSource]) -> None:
    metrics = url_of(sources["vision-and-search"])
    base = metrics.removesuffix("/monitoring/prometheus/metrics")
    name = ":tensorflow:serving:request_count_total"
    before = total(parse(requests.get(metrics, timeout=60).text), name)
    known = requests.get(f"{base}/v1/models/search-ranker", timeout=60).json()["model_version_status"][0]
    assert (known["version"], known["state"], known["status"]["error_code"]) == ("21", "AVAILABLE", "OK")
    assert total(parse(requests.get(metrics, timeout=60).text), name) == before + 1
    assert requests.get(f"{base}/v1/models/nobody", timeout=60).status_code == 404


@pytest.mark.parametrize(
    ("name", "path", "status"),
    [
        ("llm-gateway", "/health/liveliness", 200),
        ("llm-gateway", "/health/readiness", 200),
        ("llm-gateway", "/metrics", 404),
        ("llm-engine", "/health", 200),
        ("llm-engine", "/v1/models", 200),
        ("llm-engine", "/v2", 404),
    ],
)
def test_a_language_models_servers_tell_that_they_are_there(
    sources: dict[str, SimulatedSource], name: str, path: str, status: int
) -> None:
    base = url_of(sources[name]).rstrip("/").removesuffix("/metrics")
    assert requests.get(base + path, timeout=60).status_code == status


def test_the_end_leaves_no_thread_and_no_open_port(scenario: Scenario) -> None:
    world = World(scenario, length=600, seed=1)
    threads = set(threading.enumerate())
    with serve_world(world) as sources:
        assert set(threading.enumerate()) - threads
        urls = [url_of(source) for source in sources]
        assert all(read(source) is not None for source in sources)
        assert {urlsplit(url).hostname for url in urls} == {"127.0.0.1"}
    # Threads of earlier tests may end in the meantime: only new ones matter, and none may go on.
    left = set(threading.enumerate()) - threads
    for thread in left:
        thread.join(60)
    assert not [thread.name for thread in left if thread.is_alive()]
    for url in urls:
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) != 0
