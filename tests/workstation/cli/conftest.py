"""A serving endpoint whose counters grow, and the command as a user runs it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datadog_checks.base.checks.openmetrics.v2.base  # noqa: F401  (with its stubs, as other tests expect it)
import pytest

from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.state import metric_of

from ..provision.standin import Standin

ROOT = Path(__file__).parents[3]

PAYLOAD = """\
# TYPE model_infer_request_success counter
model_infer_request_success_total{{model="iris",version="v1"}} {hundreds}
# TYPE rest_server_requests_in_progress gauge
rest_server_requests_in_progress{{path="/infer",method="POST"}} {scrape}
# TYPE rest_server_request_duration_seconds histogram
rest_server_request_duration_seconds_bucket{{path="/infer",method="POST",status_code="200",le="0.5"}} 0
rest_server_request_duration_seconds_bucket{{path="/infer",method="POST",status_code="200",le="1"}} {tens}
rest_server_request_duration_seconds_bucket{{path="/infer",method="POST",status_code="200",le="+Inf"}} {tens}
rest_server_request_duration_seconds_sum{{path="/infer",method="POST",status_code="200"}} {tens}
rest_server_request_duration_seconds_count{{path="/infer",method="POST",status_code="200"}} {tens}
"""


class Endpoint(ThreadingHTTPServer):
    """Speaks MLServer's metrics; the n-th scrape finds 100 n requests, 10 n of them timed between 0.5 and 1 s."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scrapes = 0
        self.authorization: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/metrics"


class Handler(BaseHTTPRequestHandler):
    """Answers /metrics, and 401 where the path says so."""

    server: Endpoint

    def do_GET(self) -> None:
        self.server.authorization.append(self.headers.get("Authorization"))
        self.server.scrapes += 1
        scrape = self.server.scrapes
        body = PAYLOAD.format(scrape=scrape, tens=10 * scrape, hundreds=100 * scrape).encode()
        self.send_response(200 if self.path.startswith("/metrics") else 401)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def conf(tmp_path: Path) -> Callable[..., str]:
    """Write a configuration with these instances, given as YAML flow mappings, and return its path."""

    def write(*instances: str) -> str:
        path = tmp_path / "conf.yaml"
        path.write_text(
            "init_config:\ninstances:\n" + "".join(f"  - {{{instance}}}\n" for instance in instances), "utf-8"
        )
        return str(path)

    return write


COMMAND = [sys.executable, "-m", "datadog_checks.model_serving"]


def model_serving(
    *arguments: str, encoding: str = "utf-8", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own. It never ends with a traceback."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        encoding=encoding,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def on_a_terminal(*arguments: str, answer: str = "", environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run with a terminal for everything, type the answer, and return the exit status and what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **(environment or {})},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:
        # How Linux says that the other side has gone.
        pass
    os.close(ours)
    return process.wait(timeout=300), shown.decode(errors="replace")


@pytest.fixture
def dd() -> Iterator[Standin]:
    """An account that has received every distribution whose percentiles the packs query."""
    with Standin() as standin:
        for resource in desired(None):
            if resource.kind == "percentiles":
                standin.state.see(metric_of(resource), "distribution", ["env:prod"])
        yield standin
