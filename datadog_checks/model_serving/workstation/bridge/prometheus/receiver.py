"""A server that takes remote write 1.0, as the specification of Prometheus has it, into a store of series."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from ....errors import BodyError, ScrapeError
from ..listening import BoundedHandler, BoundedServer
from .entries import WRITE_PATH, ReceiverEntry
from .store import REASONS, SeriesStore
from .wire import decode

MAX_BODY = 8 << 20
"""Bytes of a request as it is sent. A sender's default is far below: 2,000 samples."""

AT_ONCE = 4
"""Requests that are read at the same time, so that memory has a bound. Others are told to come again."""

IDLE_SECONDS = 120.0
"""A connection over which nothing is asked for so long is closed."""

BODY_SECONDS = 30.0
"""So is one whose body is not there within that time, however it comes."""

REMEMBERED = 256
"""Requests that are known again when they are sent again, as after an answer that got lost."""

SILENCE = 300.0
"""Seconds without a request after which nobody seems to write."""

Clock = Callable[[], float]


class RemoteWriteReceiver:
    """Listens where an entry says, from `start` to `close`. `store` holds what has come."""

    def __init__(self, entry: ReceiverEntry, clock: Clock = time.time) -> None:
        self.store = SeriesStore(entry.delay, entry.max_age, entry.max_series, clock)
        self._entry = entry
        self._lock = threading.Lock()
        self._server: _WriteServer | None = None
        self._closed = False

    def start(self) -> None:
        """Listen, unless it does already. Raises ScrapeError where it can't."""
        with self._lock:
            if self._server is not None or self._closed:
                return
            try:
                self._server = _WriteServer(self._entry, self.store)
            except OSError as error:
                raise ScrapeError(
                    f"`remote_write.listen`: {self._entry.host}:{self._entry.port} can't be listened on "
                    f"({error.strerror or error}): free it, or write another one"
                ) from None
            # A thread of its own for the whole time, and one for each connection.
            serve = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            serve.start()

    def silent(self) -> float:
        """Seconds for which no sender has written anything."""
        server = self._server
        return 0.0 if server is None else time.monotonic() - server.heard

    def close(self) -> None:
        """Stop listening for good."""
        with self._lock:
            self._closed = True
            server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


class _WriteServer(BoundedServer):
    def __init__(self, entry: ReceiverEntry, store: SeriesStore) -> None:
        self.token = entry.token.encode()
        self.store = store
        self.places = threading.BoundedSemaphore(AT_ONCE)
        self.decoding = threading.Lock()
        self.heard = time.monotonic()
        self.taken: deque[bytes] = deque(maxlen=REMEMBERED)
        super().__init__(entry.host, entry.port, _WriteHandler)


class _WriteHandler(BoundedHandler):
    server: _WriteServer
    timeout = IDLE_SECONDS

    def do_POST(self) -> None:
        problem = self._problem()
        if problem is not None:
            # What follows on this connection would be the body.
            self.close_connection = True
            self._reply(*problem)
        elif self.server.places.acquire(blocking=False):
            try:
                self._take()
            finally:
                self.server.places.release()
        else:
            self.close_connection = True
            self._reply(503, f"{AT_ONCE} requests are being read already: send it again", ("Retry-After", "1"))

    def do_GET(self) -> None:
        self._reply(405, f"remote write is sent with POST to {WRITE_PATH}", ("Allow", "POST"))

    do_PUT = do_HEAD = do_DELETE = do_GET

    def _problem(self) -> tuple[Any, ...] | None:
        """Why a request is refused before its body is read: the status, the reason and a header."""
        headers = self.headers
        if self.path.partition("?")[0] != WRITE_PATH:
            return 404, f"remote write is taken at {WRITE_PATH}"
        if not self.bears(self.server.token):
            return (
                401,
                "the token is missing or wrong: set `authorization: {credentials: ...}` of this remote_write",
                ("WWW-Authenticate", "Bearer"),
            )
        kind, *parameters = (part.strip().lower() for part in headers.get("Content-Type", "").split(";"))
        version = headers.get("X-Prometheus-Remote-Write-Version", "0.1.0")
        if kind != "application/x-protobuf" or not _is_first(parameters) or version.startswith("2."):
            return 415, (
                "only remote write 1.0 is read (application/x-protobuf;proto=prometheus.WriteRequest): set "
                "`protobuf_message: prometheus.WriteRequest` of this remote_write"
            )
        if headers.get("Content-Encoding", "").strip().lower() != "snappy":
            return 415, "only Snappy is read: send Content-Encoding: snappy"
        length = headers.get("Content-Length", "")
        if not length.isdecimal():
            return 411, "the length of the body is missing: send Content-Length"
        if int(length) > MAX_BODY:
            return 413, f"the body has {length} bytes, more than {MAX_BODY}: lower `max_samples_per_send`"
        return None

    def _take(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self._body(length)
        if len(body) < length:
            self.close_connection = True
            return
        digest = sha256(body).digest()
        if digest in self.server.taken:
            self._reply(204, "")
            return
        # One at a time: decoded, a request takes far more memory.
        with self.server.decoding:
            try:
                written = decode(body)
            except BodyError as error:
                self._reply(400, str(error))
                return
            refused = self.server.store.write(written.series, written.types)
        self.server.taken.append(digest)
        self.server.heard = time.monotonic()
        if refused:
            told = "; ".join(f"{number} {REASONS[reason]}" for reason, number in sorted(refused.items()))
            self._reply(400, f"samples were refused, the others were taken: {told}")
        else:
            self._reply(204, "")

    def _body(self, length: int) -> bytes:
        """So many bytes, or fewer where the connection ends or the time is over."""
        until = time.monotonic() + BODY_SECONDS
        parts: list[bytes] = []
        while length > 0 and (left := until - time.monotonic()) > 0:
            self.connection.settimeout(left)
            part = self.rfile.read1(length)
            if not part:
                break
            parts.append(part)
            length -= len(part)
        self.connection.settimeout(IDLE_SECONDS)
        return b"".join(parts)

    def _reply(self, status: int, text: str, header: tuple[str, str] | None = None) -> None:
        body = f"{text}\n".encode() if text else b""
        self.send_response(status)
        if header is not None:
            self.send_header(*header)
        if body:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _is_first(parameters: list[str]) -> bool:
    """Whether the parameters of a content type name the message of version 1, or none."""
    named = [part.partition("=")[2].strip('"') for part in parameters if part.startswith("proto=")]
    return not named or named == ["prometheus.writerequest"]
