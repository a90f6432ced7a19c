"""How the bridge fares, over HTTP on this machine: for a container's probe, a supervisor, or a person."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from ...errors import OptionError, SpoolError
from .deliverer import Progress
from .engine import Engine, Watched
from .listening import BoundedServer
from .settings import ListenAddress
from .spool import Spool

LATE = 2.0
"""Intervals by which a run may be behind before its instance is called late, and `LATE_SECONDS` at least."""

LATE_SECONDS = 30.0
LONGEST_LAG = 900.0
"""Seconds that what is not delivered may wait before this is called trouble. After an hour it is lost."""


def state_of(engine: Engine, spool: Spool, progress: Progress | None) -> dict[str, Any]:
    """How each instance and the delivery fare. `status` is `ok`, or what is wrong: `late`, `undelivered` or `spool`."""
    now = engine.clock()
    instances = [_instance(watched) for watched in engine.watched]
    try:
        held = spool.held()
        spool.check()
    except SpoolError as error:
        return {"status": "spool", "instances": instances, "delivery": {"problem": str(error)}}
    lag = 0.0 if held.oldest is None else max(0.0, now - held.oldest)
    status = "late" if any(one["late"] for one in instances) else "undelivered" if lag > LONGEST_LAG else "ok"
    delivery: dict[str, Any] = {"lag": round(lag, 1), "batches": held.batches, "bytes": held.bytes}
    if progress is not None:
        delivery |= {"last": progress.last, "problem": progress.problem}
    return {"status": status, "instances": instances, "delivery": delivery}


def _instance(watched: Watched) -> dict[str, Any]:
    return {
        "instance": watched.number,
        "label": watched.label,
        "late": time.monotonic() - watched.due > max(LATE * watched.interval, LATE_SECONDS),
        "last_run": watched.ended,
        "error": watched.error,
        "warnings": watched.warnings,
    }


class HealthServer:
    """Answers every GET with what `state` says: 200 where its `status` is `ok`, else 503."""

    def __init__(self, address: ListenAddress, state: Callable[[], dict[str, Any]]) -> None:
        self._address = address
        self._state = state
        self._server: BoundedServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. Raises OptionError where the address can't be had."""

        class StateHandler(_HealthHandler):
            state = staticmethod(self._state)

        try:
            self._server = BoundedServer(self._address.host, self._address.port, StateHandler)
        except OSError as error:
            raise OptionError(
                f"`health`: {self._address.host}:{self._address.port} can't be listened on ({error.strerror}): name "
                "another port, or false"
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None
        return self._server.server_port

    def close(self) -> None:
        """Close the port."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class _HealthHandler(BaseHTTPRequestHandler):
    timeout = 5
    state: Callable[[], dict[str, Any]]

    def do_GET(self) -> None:
        state = self.state()
        body = json.dumps(state).encode()
        self.send_response(200 if state["status"] == "ok" else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
