"""A real Prometheus between a server and the bridge, and behind the bridge.

What it tells through its HTTP API and by remote write is what /federate tells, and what the server itself tells.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from datadog_checks.base import AgentCheck

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.workstation.bridge.prometheus.entries import ExposeSettings
from datadog_checks.model_serving.workstation.bridge.prometheus.exposition import MetricsExposition
from datadog_checks.model_serving.workstation.bridge.prometheus.server import MetricsServer
from datadog_checks.model_serving.workstation.bridge.prometheus.source import BridgeCheck
from datadog_checks.model_serving.workstation.standin.aggregation import Commit, Context, Distribution, SeriesPoint
from datadog_checks.model_serving.workstation.standin.recorder import ServiceCheck, ServiceStatus
from datadog_checks.model_serving.workstation.standin.sketch import Sketch

from ..conftest import serving
from ..ports import free_ports
from .available import or_skip
from .servers import start
from .servers.processes import fetch, wait_until
from .submissions import Run, Series, filled, run, succeed, without

pytestmark = pytest.mark.real

TABLES = Path(__file__).resolve().parents[1] / "tables"
SECONDS = 30

# What a series has only through Prometheus, or only because the check was pointed elsewhere.
PLACE = {"endpoint", "endpoint_name", "instance", "job", *(f"model_serving_{one}" for one in start.TARGET_LABELS)}
PLACE |= {"model_serving_cluster"}
BEGUN = 'inference:model_run:mlserver:rest_server_requests_total{name="run",path="/ready",status_code="500"} 3\n'
ENDS = 'inference:model_run:mlserver:rest_server_requests_in_progress{name="gone"} 7\n'


def documented(case: str) -> list[str]:
    """The scrapes of a case of the table of MLServer."""
    cases = yaml.safe_load((TABLES / "mlserver.yaml").read_text(encoding="utf-8"))["cases"]
    return next([scrape["payload"] for scrape in one["scrapes"]] for one in cases if one["name"].startswith(case))


@dataclass(frozen=True, repr=False)
class WaysIn:
    """The same change seen in four ways, by two runs each around it, and a third after nothing answers any more."""

    prometheus: start.Prometheus
    runs: dict[str, list[Run]]
    payloads: dict[str, list[str]]

    def last(self, way: str) -> Run:
        return self.runs[way][1]


def exposition() -> MetricsExposition:
    """One that has what a run gives, some time ago."""
    now = [0.0]
    exposed = MetricsExposition(builtin_catalog(), clock=lambda: now[0])
    sketch = Sketch()
    sketch.insert_bucket(0.04, 0.04, 3)
    sketch.insert_bucket(1.2, 1.2, 1)
    tags = ("job:nightly", "model_name:m", "serving_system:mlserver")
    exposed.record(
        "a",
        Commit(
            [
                SeriesPoint(Context("model_serving.request.count", tags, ""), "count", 4.0),
                SeriesPoint(Context("model_serving.request.latency.count", tags, ""), "count", 4.0),
                SeriesPoint(Context("model_serving.request.latency.sum", tags, ""), "count", 1.32),
                SeriesPoint(Context("model_serving.gpu.utilization", tags, "node"), "gauge", 75.0),
            ],
            [Distribution(Context("model_serving.request.latency", tags, ""), sketch)],
        ),
        [ServiceCheck("a", "model_serving.openmetrics.health", ServiceStatus.OK, tags, "", "")],
    )
    now[0] = 600.0
    return exposed


@pytest.fixture(scope="module")
def exposed() -> Iterator[MetricsServer]:
    server = MetricsServer(exposition(), ExposeSettings("127.0.0.1", 0))
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory, exposed: MetricsServer) -> Iterator[WaysIn]:
    before, after = documented("Model RUN, each suffix")
    (port,) = free_ports(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKEN", "hidden-word")
        listen = {"listen": f"127.0.0.1:{port}", "delay": "1s", "token_env": "TOKEN"}
        written = BridgeCheck("model_serving", {}, [{"remote_write": listen, "name": "written"}])
    writes = {"url": f"http://127.0.0.1:{port}/api/v1/write", "authorization": {"credentials": "hidden-word"}}
    with serving() as server:
        server.serve(before + ENDS)
        assert run(written).error == ""
        targets = {"model-run": server.url, "bridge": f"http://127.0.0.1:{exposed.port}/metrics"}
        folder = tmp_path_factory.mktemp("prometheus")
        with or_skip(start.prometheus(folder, targets, writes)) as prometheus:
            match = '{job="model-run"}'
            federate = f"{prometheus.url}/federate?" + urllib.parse.urlencode({"match[]": match})
            checks: dict[str, Any] = {
                "direct": ModelServingCheck("model_serving", {}, [{"openmetrics_endpoint": server.url}]),
                "federate": ModelServingCheck("model_serving", {}, [{"openmetrics_endpoint": federate}]),
                "api": BridgeCheck("model_serving", {}, [{"prometheus": {"url": prometheus.url, "match": [match]}}]),
                "remote write": written,
            }
            runs: dict[str, list[Run]] = {way: [] for way in checks}
            payloads: dict[str, list[str]] = {"api": [], "remote write": []}

            def held() -> str:
                return b"".join(written.source.receiver.store.payload().chunks()).decode()

            def observe(mark: str) -> None:
                prometheus.wait_for_scrape()
                wait_until(lambda: mark in held(), f"{mark} being written", SECONDS)
                payloads["remote write"].append(held())
                for way, check in checks.items():
                    runs[way].append(succeed(check))

            observe('exported_instance="2476"')
            server.serve(after + BEGUN)
            observe('status_code="500"')
            yield WaysIn(prometheus, runs, payloads)
    for check in checks.values():
        check.cancel()


def mapped(group: dict[Series, Any]) -> dict[Series, Any]:
    """What the catalog maps, without where it was read from."""
    return without(of_the_server(group), PLACE)


def of_the_server(group: dict[Series, Any]) -> dict[Series, Any]:
    """All that the check does not say of its own work."""
    return {key: value for key, value in group.items() if ".scrape." not in key[0] and ".bridge." not in key[0]}


@pytest.mark.parametrize("way", ["federate", "api", "remote write"])
def test_every_way_tells_what_the_server_itself_tells(ways: WaysIn, way: str) -> None:
    direct, through = ways.last("direct"), ways.last(way)
    assert any(mapped(direct.counts).values())
    assert mapped(through.counts) == pytest.approx(mapped(direct.counts))
    assert mapped(through.gauges) == mapped(direct.gauges)
    assert {key: filled(spans) for key, spans in mapped(through.buckets).items()} == {
        key: filled(spans) for key, spans in mapped(direct.buckets).items()
    }
    assert through.status("model_serving.openmetrics.health") == [AgentCheck.OK]
    assert through.warnings == []


@pytest.mark.parametrize("way", ["api", "remote write"])
def test_the_tags_are_those_of_a_federation(ways: WaysIn, way: str) -> None:
    """Those that say where it was read from besides."""
    read_from = {"endpoint", "endpoint_name", "model_serving_cluster"}
    for part in ("counts", "gauges"):
        found, of_federation = (of_the_server(getattr(ways.last(one), part)) for one in (way, "federate"))
        assert without(found, read_from).keys() == without(of_federation, read_from).keys()


def test_a_series_that_has_ended_is_not_shown(ways: WaysIn) -> None:
    """The gauge of a model that is gone: through staleness markers, and by what an instant query leaves out."""
    for way in ("direct", "federate", "api", "remote write"):
        first, second = (
            [value for (name, tags), value in each.gauges.items() if name.endswith("in_flight") and value == 7]
            for each in ways.runs[way]
        )
        assert (first, second) == ([7.0], []), way


def test_what_a_real_prometheus_writes_is_taken(ways: WaysIn) -> None:
    counts = ways.last("remote write").counts
    assert next(value for (name, _), value in counts.items() if name.endswith("remote_write.samples.count")) > 0
    assert not [name for name, _ in counts if name.endswith("remote_write.samples.rejected")]


def test_types_come_with_it(ways: WaysIn) -> None:
    assert (
        "# TYPE inference:model_run:mlserver:rest_server_requests_in_progress gauge"
        in (ways.payloads["remote write"][1])
    )


def test_what_the_server_refuses_is_told_in_its_words(ways: WaysIn) -> None:
    check = BridgeCheck("model_serving", {}, [{"prometheus": {"url": ways.prometheus.url, "match": ['{job=~"("}']}}])
    message = json.loads(run(check).error)[0]["message"]
    assert 'the server can\'t read `match` for {job=~"("}: ' in message
    assert "missing closing )" in message


def test_a_delay_asks_for_an_earlier_state(ways: WaysIn) -> None:
    source = {"url": ways.prometheus.url, "match": ['{job="model-run"}'], "delay": "1s", "window": "1m"}
    check = BridgeCheck("model_serving", {}, [{"prometheus": source, "name": "delayed"}])
    assert mapped(succeed(check).gauges)


def test_a_selector_of_nothing_is_told(ways: WaysIn) -> None:
    check = BridgeCheck("model_serving", {}, [{"prometheus": {"url": ways.prometheus.url, "match": ["nothing"]}}])
    assert "`match` selects no series now" in run(check).error


def asked(prometheus: start.Prometheus, query: str) -> list[tuple[dict[str, str], float]]:
    _, body = fetch(f"{prometheus.url}/api/v1/query?" + urllib.parse.urlencode({"query": query}))
    return [(one["metric"], float(one["value"][1])) for one in json.loads(body)["data"]["result"]]


def test_a_prometheus_scrapes_the_exposition(ways: WaysIn) -> None:
    expected = {
        'model_serving_request_count_total{model_name="m"}': 4.0,
        'model_serving_request_latency_seconds_count{serving_system="mlserver"}': 4.0,
        "model_serving_request_latency_seconds_sum": 1.32,
        'model_serving_request_latency_seconds_bucket{le="0.05"}': 3.0,
        'model_serving_request_latency_seconds_bucket{le="2.5"}': 4.0,
        'model_serving_gpu_utilization_percent{exported_host="node"}': 75.0,
        "model_serving_openmetrics_health_status": 0.0,
    }
    for query, value in expected.items():
        assert [found for _, found in asked(ways.prometheus, query)] == [value], query
    name = "model_serving_request_latency_seconds"
    _, body = fetch(f"{ways.prometheus.url}/api/v1/metadata?metric={name}")
    metadata = json.loads(body)["data"][name]
    assert metadata[0]["type"] == "histogram"
    assert metadata[0]["unit"] == "seconds"


def test_promtool_has_nothing_against_it() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    text, _ = exposition().render()
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
