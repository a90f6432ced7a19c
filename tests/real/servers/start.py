"""The servers of these tests, each a context manager that yields what a test needs to talk to it."""

import json
import shutil
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ports import free_ports
from .environments import MLSERVER_PYTHONS, MLSERVER_REQUIREMENTS, environment, prometheus_binary, without_ours
from .processes import fetch, running, wait_for_start, wait_until

HERE = Path(__file__).resolve().parent
MODELS = ("credit", "ranking")
START_SECONDS = 120
SETTLE_SECONDS = 30
SCRAPE_SECONDS = 30


@dataclass(frozen=True)
class MLServer:
    api: str
    metrics: str
    workers: int

    def settle(self) -> str:
        """Waits until no request is in flight and the counters stand still (they follow the answers by a moment)."""
        seen = [""]

        def still() -> bool:
            _, payload = fetch(self.metrics)
            busy = any(
                float(line.rsplit(" ", 1)[1])
                for line in payload.splitlines()
                if line.startswith("rest_server_requests_in_progress{")
            )
            before, seen[0] = seen[0], payload
            return bool(payload) and not busy and before == payload

        wait_until(still, "MLServer's metrics standing still", SETTLE_SECONDS)
        return seen[0]


@contextmanager
def mlserver(folder: Path, workers: int = 2) -> Iterator[MLServer]:
    """MLServer with two models in `folder`, one of them behind adaptive batching, and so many inference worker
    processes (0: all in one process); raises Unavailable where it cannot be installed."""
    venv = environment("mlserver", [MLSERVER_REQUIREMENTS], MLSERVER_PYTHONS)
    work = folder / "models"
    shutil.copytree(HERE / "models", work, ignore=shutil.ignore_patterns("__pycache__"))
    http, grpc, metrics = free_ports(3)
    settings = json.loads((work / "settings.json").read_text(encoding="utf-8"))
    settings |= {"parallel_workers": workers, "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    (work / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    with running([str(venv / "bin" / "mlserver"), "start", "."], cwd=work, env=without_ours(venv)) as process:
        api = f"http://127.0.0.1:{http}"
        urls = [f"{api}/v2/models/{model}/ready" for model in MODELS] + [f"http://127.0.0.1:{metrics}/metrics"]
        wait_for_start(process, lambda: all(fetch(url)[0] == 200 for url in urls), "MLServer", START_SECONDS, work)
        yield MLServer(api, f"http://127.0.0.1:{metrics}/metrics", workers)


class Exporter:
    """The running exporter; every method returns once the change is visible to the next scrape."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._read()["port"])
        self.metrics = f"http://127.0.0.1:{self.port}/metrics"

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The exporter ended with {self._process.wait()}; server.log in its folder says why")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def set(self, metric: str, value: float, **labels: str) -> None:
        self._ask(do="set", metric=metric, labels=labels, values=[value])

    def inc(self, metric: str, value: float, **labels: str) -> None:
        self._ask(do="inc", metric=metric, labels=labels, values=[value])

    def observe(self, metric: str, *values: float, **labels: str) -> None:
        self._ask(do="observe", metric=metric, labels=labels, values=values)

    def served(self) -> list[str]:
        """The Content-Type of every scrape answered since the last call."""
        types: list[str] = self._ask(do="served")["content_types"]
        return types


@contextmanager
def exporter(folder: Path, *, optional: bool, port: int = 0) -> Iterator[Exporter]:
    """The exporter; `optional` adds the metrics that few exporters have, `port` 0 takes a free one."""
    command = [sys.executable, str(HERE / "exporter.py"), "--port", str(port), *(["--optional"] if optional else [])]
    with running(command, cwd=folder, pipes=True) as process:
        yield Exporter(process)


@dataclass(frozen=True)
class Prometheus:
    url: str
    jobs: tuple[str, ...]

    @property
    def federate(self) -> str:
        """The URL that federates every series."""
        return f"{self.url}/federate?" + urllib.parse.urlencode({"match[]": '{__name__=~".+"}'})

    def wait_for_scrape(self) -> None:
        """Waits until every live job has been scraped by a scrape that began after this call."""
        called = time.time()
        query = f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": "timestamp(up)"})

        def scraped() -> bool:
            status, body = fetch(query)
            found = json.loads(body)["data"]["result"] if status == 200 else []
            fresh = {each["metric"]["job"] for each in found if float(each["value"][1]) > called}
            return fresh >= set(self.jobs)

        wait_until(scraped, f"Prometheus scraping {', '.join(self.jobs)}", SCRAPE_SECONDS)


# The target labels are those that teams add and that Datadog keeps for itself. JSON is YAML.
TARGET_LABELS = {"env": "prod", "service": "scoring", "host": "node-7"}
RULES = {
    "model:prediction_latency_seconds:p99": (
        "histogram_quantile(0.99, sum(prediction_latency_seconds_bucket) by (le, model_name))"
    ),
    "job:model_infer_request_success:sum": "sum(model_infer_request_success_total) by (job)",
}


@contextmanager
def prometheus(
    folder: Path, targets: dict[str, str], remote_write: Mapping[str, Any] | None = None
) -> Iterator[Prometheus]:
    """Prometheus scraping `targets` (job name to metrics URL) each second, one dead target beside them, with recording
    rules, target labels and an external label `cluster`, and writing all of it where `remote_write` says, with the
    options of Prometheus' own configuration; raises Unavailable where it cannot be had.
    """
    binary = prometheus_binary()
    (port, dead) = free_ports(2)
    addresses = {job: urllib.parse.urlsplit(url).netloc for job, url in targets.items()} | {"dead": f"127.0.0.1:{dead}"}
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "external_labels": {"cluster": "lab"}},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [address], "labels": TARGET_LABELS}]}
            for job, address in addresses.items()
        ],
    }
    if remote_write:
        queue, metadata = {"batch_send_deadline": "50ms"}, {"send_interval": "1s"}
        config["remote_write"] = [{**remote_write, "queue_config": queue, "metadata_config": metadata}]
    rules = {"groups": [{"name": "sla", "rules": [{"record": name, "expr": expr} for name, expr in RULES.items()]}]}
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    (folder / "rules.yml").write_text(json.dumps(rules), encoding="utf-8")
    command = [
        str(binary),
        "--config.file=prometheus.yml",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.path=data",
    ]
    with running(command, cwd=folder) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for_start(process, lambda: fetch(f"{url}/-/ready")[0] == 200, "Prometheus", START_SECONDS, folder)
        yield Prometheus(url, tuple(targets))
