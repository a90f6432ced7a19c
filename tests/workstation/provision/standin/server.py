"""The stand-in itself: an HTTP server on 127.0.0.1, its keys, its delays and its faults."""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time
import zlib
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from . import access, dashboards, downtimes, metrics, models, monitors, routes, rules, slos, timeseries
from .account import Account, Policy, Refusal, Reply, Request, State
from .faults import Call, Fault, Faults
from .limits import Limits

API_KEY = "0123456789abcdef0123456789abc_api"
APP_KEY = "0123456789abcdef0123456789abcdef0123_app"
GARBAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
SHELVES = (access, dashboards, downtimes, metrics, monitors, rules, slos, timeseries)
"""Importing these modules is what fills the routes."""

Answer = tuple[int, Any, dict[str, str]]


class Standin:
    """A Datadog account that answers on `url` between `start` and `stop`, or within `with`.

    `state` is what exists, `policy` what the account demands, `limits` and `faults` what gets in the way, `latency` the
    seconds that every call takes at least. `calls` logs every request in order of arrival; `peak` is the most that
    were in flight at once.
    """

    def __init__(self, state: State | None = None) -> None:
        self.account = Account(state=state or State())
        self.faults = Faults()
        self.latency = 0.0
        self.api_key, self.app_key = API_KEY, APP_KEY
        self.calls: list[Call] = []
        self.peak = 0
        self.crashes: list[Exception] = []
        self.stopping = threading.Event()
        self.hanging: set[int] = set()
        """Ports of callers that will get no answer."""
        self._flight = 0
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> State:
        return self.account.state

    @property
    def policy(self) -> Policy:
        return self.account.policy

    @property
    def limits(self) -> Limits:
        return self.account.limits

    @property
    def url(self) -> str:
        if self._server is None:
            raise RuntimeError("the stand-in isn't started")
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Listen on a free port."""

        class Handler(_Handler):
            standin = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128
            crashes = self.crashes

            def handle_error(self, request: Any, client_address: Any) -> None:
                error = sys.exc_info()[1]
                # Callers may go whenever they like.
                if isinstance(error, Exception) and not isinstance(error, ConnectionError):
                    self.crashes.append(error)

        self.stopping.clear()
        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port. Calls that hang are let go."""
        self.stopping.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        # Unnoticed, a mistake of the stand-in would look like the fault that a test is about.
        if self.crashes and error is None:
            raise RuntimeError(f"the stand-in broke down {len(self.crashes)} times") from self.crashes[0]

    def count(self, *operations: str) -> int:
        """How many calls there were of these operations, of all where none is named."""
        return sum(1 for call in list(self.calls) if not operations or call.operation in operations)

    def forget(self) -> None:
        """Empty the log, so that the next call is number 1. Faults keep their own counts."""
        with self._lock:
            self.calls.clear()
            self.peak = self._flight

    def begin(self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]) -> Call:
        found = routes.find(method, path)
        operation = found[0].name if isinstance(found, tuple) else None
        with self._lock:
            self._flight += 1
            self.peak = max(self.peak, self._flight)
            call = Call(len(self.calls) + 1, method, path, operation, query, body, headers)
            self.calls.append(call)
        return call

    def end(self) -> None:
        with self._lock:
            self._flight -= 1

    def answer(self, call: Call) -> Answer:
        """Do the work of a call: status, body, headers."""
        headers: dict[str, str] = {}
        try:
            found = routes.find(call.method, call.path)
            if not isinstance(found, tuple):
                raise Refusal(405, "Method not allowed") if found else Refusal(404, "Not found")
            operation, path = found
            self._let_in(call, operation)
            allowed, headers, words = self.limits.take(operation.name)
            if not allowed:
                raise Refusal(429, words)
            if operation.body is not None:
                models.check(operation.body, call.body)
            with self.state.lock:
                result = operation.work(self.account, Request(path, call.query, call.body))
                # Under the lock, for another call may change what this one answers with.
                body = json.dumps(result.body if isinstance(result, Reply) else result)
        except Refusal as refusal:
            return refusal.status, json.dumps(refusal.body), {**headers, **refusal.headers}
        except Exception as error:
            self.crashes.append(error)
            return 500, json.dumps({"errors": [f"the stand-in broke down: {error!r}"]}), headers
        return (result.status if isinstance(result, Reply) else 200), body, headers

    def _let_in(self, call: Call, operation: routes.Operation) -> None:
        key, application = call.headers.get("dd-api-key"), call.headers.get("dd-application-key")
        if not key or (operation.keys and not application):
            raise Refusal(401, "Unauthorized")
        if key != self.api_key or (operation.keys and application != self.app_key):
            raise Refusal(403, "Forbidden")
        if operation.permission is not None and operation.permission not in self.policy.granted():
            raise Refusal(403, "Forbidden", "Failed permission authorization checks")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    standin: Standin

    def _serve(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        raw = self.rfile.read(int(headers.get("content-length") or 0))
        call = self.standin.begin(self.command, unquote(url.path), query, _parse(raw, headers), headers)
        try:
            self._play(call, self.standin.faults.take(call))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.standin.end()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _play(self, call: Call, fault: Fault | None) -> None:
        if self.standin.latency:
            time.sleep(self.standin.latency)
        answer: Answer | None = None
        if fault is None or fault.worked:
            answer = self.standin.answer(call)
        if fault is not None and callable(fault.do):
            fault.do(call)
        if answer is None and (fault is None or callable(fault.do)):
            answer = self.standin.answer(call)
        if fault is None or callable(fault.do):
            assert answer is not None
            self._send(call, *answer)
        elif fault.do == "status":
            body = {"errors": [_reason(fault.status)]} if fault.body is None else fault.body
            self._send(call, fault.status, json.dumps(body), fault.headers)
        elif fault.do == "garbage":
            self._send(call, 200, GARBAGE.decode(), {"content-type": "text/html"})
        elif fault.do == "cut":
            status, text, headers = answer or (200, json.dumps({"data": []}), {})
            self._send(call, status, text, headers, whole=False)
        else:
            if fault.do == "hang":
                self._hang()
            self._close()

    def _hang(self) -> None:
        """Say nothing until the caller has gone or the stand-in stops."""
        port = self.client_address[1]
        self.standin.hanging.add(port)
        while not self.standin.stopping.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                break
        self.standin.hanging.discard(port)

    def _close(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, call: Call, status: int, text: str, headers: dict[str, str], whole: bool = True) -> None:
        body = b"" if status == 204 else text.encode()
        self.send_response(status)
        fields = {"content-type": "application/json", **headers, "content-length": str(len(body))}
        for name, value in fields.items():
            self.send_header(name, value)
        # In one piece, so that no acknowledgement is waited for between head and body.
        self._headers_buffer.append(b"\r\n" + (body if whole else body[: len(body) // 2]))  # type: ignore[attr-defined]
        if whole:
            call.status = status
        self.flush_headers()
        if not whole:
            self._close()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _parse(raw: bytes, headers: dict[str, str]) -> Any:
    """The JSON of a request, None where there is none, and the text itself where it is no JSON."""
    if headers.get("content-encoding") in ("gzip", "deflate"):
        raw = zlib.decompress(raw, wbits=47)
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase
