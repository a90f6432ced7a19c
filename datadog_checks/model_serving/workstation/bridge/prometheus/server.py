"""Serves the exposition of the bridge at `/metrics`."""

from __future__ import annotations

import gzip
import threading

from ....errors import OptionError
from ..listening import BoundedHandler, BoundedServer
from .entries import ExposeSettings
from .exposition import MetricsExposition

SECONDS = 10.0
"""A connection that says nothing for so long is closed."""

SMALL = 1 << 12
"""Bytes below which compression is not worth it."""


class MetricsServer:
    """Serves an exposition from `start` to `close`."""

    def __init__(self, exposition: MetricsExposition, settings: ExposeSettings) -> None:
        self._exposition = exposition
        self._settings = settings
        self._server: _ExpositionServer | None = None

    @property
    def port(self) -> int:
        """Where it listens, also where the settings left that open."""
        return self._settings.port if self._server is None else self._server.server_port

    def start(self) -> None:
        """Begin to listen. Raises OptionError where that can't be."""
        settings = self._settings
        try:
            self._server = _ExpositionServer(self._exposition, settings)
        except OSError as error:
            raise OptionError(
                f"`expose.listen`: {settings.host}:{settings.port} can't be listened on ({error.strerror or error}): "
                "free it, or write another one"
            ) from None
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _ExpositionServer(BoundedServer):
    def __init__(self, exposition: MetricsExposition, settings: ExposeSettings) -> None:
        self.exposition = exposition
        self.token = settings.token.encode()
        super().__init__(settings.host, settings.port, _ExpositionHandler)


class _ExpositionHandler(BoundedHandler):
    server: _ExpositionServer
    timeout = SECONDS

    def do_GET(self) -> None:
        if not self.bears(self.server.token):
            self._reply(401, b"the token is missing or wrong\n", "text/plain; charset=utf-8")
        elif self.path.partition("?")[0] == "/metrics":
            self._reply(200, *self.server.exposition.render(self.headers.get("Accept", "")))
        else:
            self._reply(404, b"there is only /metrics\n", "text/plain; charset=utf-8")

    do_HEAD = do_GET

    def _reply(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        if len(body) > SMALL and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
