"""Saved payloads as an endpoint: a real server on this machine answers each scrape with the next of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CLASSIC = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class ReplayServer(ThreadingHTTPServer):
    """The n-th request gets the n-th payload, and the last one from then on."""

    daemon_threads = True

    def __init__(self, payloads: Sequence[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _ReplayHandler)
        self._payloads = payloads
        self._lock = threading.Lock()
        self._asked = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/metrics"

    def next_payload(self) -> bytes:
        """What is answered now."""
        with self._lock:
            self._asked += 1
            return self._payloads[min(self._asked, len(self._payloads)) - 1]


class _ReplayHandler(BaseHTTPRequestHandler):
    server: ReplayServer

    def do_GET(self) -> None:
        body = self.server.next_payload()
        self.send_response(200)
        self.send_header("Content-Type", OPENMETRICS if body.rstrip().endswith(b"# EOF") else CLASSIC)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Standard error is the command's."""


@contextmanager
def replayed(payloads: Sequence[bytes]) -> Iterator[str]:
    """The URL of a server for these payloads, as long as the context lasts."""
    with ReplayServer(payloads) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()
