"""A server behind a Unix domain socket is scraped like any other, in both spellings that the stock check knows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from urllib.parse import quote

import pytest

from ..conftest import make_check

OK = 0
PAGE = """\
# TYPE model_infer_request_success counter
model_infer_request_success_total{{model="m",version="v1"}} {count}
# TYPE rest_server_requests_in_progress gauge
rest_server_requests_in_progress{{method="POST",path="/infer"}} {count}
"""


class Behind(ThreadingUnixStreamServer):
    """An HTTP server behind a socket. `asked` are the paths of its requests."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        self.asked: list[str] = []
        super().__init__(path, Handler)


class Handler(BaseHTTPRequestHandler):
    server: Behind

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        ready = not self.path.startswith("/metrics")
        body = b"{}" if ready else PAGE.format(count=3 * len(self.server.asked)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Behind]:
    with Behind(str(tmp_path / "Serving.sock")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def spellings(path: str) -> list[str]:
    return [f"unix://{path}/metrics", f"unix://{quote(path, safe='')}/metrics"]


@pytest.mark.parametrize("spelling", [0, 1], ids=["plain", "quoted"])
def test_one(spelling: int, server: Behind, aggregator: Any, datadog_agent: Any) -> None:
    """Metrics, health and readiness of one server. It is called by the path of its socket where nothing names it."""
    path = str(server.server_address)
    url = spellings(path)[spelling]
    check = make_check(openmetrics_endpoint=url, serving_system="mlserver", readiness_url=f"unix://{path}")
    for _ in range(2):
        assert check.run() == ""
    (count,) = aggregator.metrics("model_serving.request.count")
    assert count.value > 0
    assert {f"endpoint_name:{path}", f"endpoint:{url}", "serving_system:mlserver"} <= set(count.tags)
    assert {each.status for each in aggregator.service_checks("model_serving.openmetrics.health")} == {OK}
    ready = aggregator.service_checks("model_serving.endpoint.ready")
    assert ready, server.asked
    assert {each.status for each in ready} == {OK}
    assert "/metrics" in server.asked
    assert any("/health/ready" in each for each in server.asked)


def test_several(server: Behind, aggregator: Any, datadog_agent: Any) -> None:
    """Threads read sockets as well."""
    path = str(server.server_address)
    check = make_check(openmetrics_endpoints=spellings(path), serving_system="mlserver", readiness=False)
    try:
        for _ in range(2):
            assert check.run() == ""
    finally:
        check.cancel()
    counts = aggregator.metrics("model_serving.request.count")
    assert {tag for count in counts for tag in count.tags if tag.startswith("endpoint:")} == {
        f"endpoint:{url}" for url in spellings(path)
    }


@pytest.mark.parametrize("url", ["unix:///run/server/metrics", "unix://run%2Fserver/metrics", "unix://"])
def test_no_socket_named(url: str, aggregator: Any, datadog_agent: Any) -> None:
    """Where the path of the socket ends can't be seen: the message says how to write it."""
    report = make_check(openmetrics_endpoint=url).run()
    assert "`openmetrics_endpoint` must name the path of a socket that ends in .sock" in report
    assert "unix://%2Frun%2Fserver/metrics" in report
