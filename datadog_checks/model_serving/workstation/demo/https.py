"""An HTTP/1.1 server over TLS with kept connections, whose answers can fail in every way that real ones do.

One thread serves all connections, so that hundreds of them cost little and none of them outlives the server.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from .faults import Fault
from .messages import Reply, Request, parse_head

HOST = "127.0.0.1"
MAX_HEAD = 65_536


@dataclass(eq=False)
class Call:
    """One request that arrived, when it did (`time.monotonic`), and its status once there is an answer.

    `token` tells what kind of credential the Authorization header held, never the credential.
    """

    method: str
    path: str
    when: float
    connection: int
    token: str
    status: int | None = None
    fault: Fault | None = None
    latency: float = 0.0
    """Seconds from arrival to answer."""


class Site(Protocol):
    """What a server serves. Everything is called in the server's thread, so it must not block."""

    def connected(self) -> int:
        """Take note of a connection whose handshake is over, and return its number."""

    def disconnected(self) -> None:
        """Take note that a connection has ended."""

    def arrived(self, request: Request) -> Call:
        """Take note of a request."""

    def answer(self, request: Request, call: Call) -> Reply:
        """Return the answer, when it is time to send it."""

    def left(self, call: Call) -> None:
        """Take note that a request was answered, or never will be."""


class Address(NamedTuple):
    """Where a server listens. `disconnect` closes every connection that waits for a request, as servers do."""

    port: int
    disconnect: Callable[[], None]


@contextmanager
def serve_tls(site: Site, context: ssl.SSLContext, name: str) -> Iterator[Address]:
    """Serve a site on a free port of 127.0.0.1 while the context lasts.

    Its end interrupts whatever is under way, and leaves no thread (it has one, with that name) and no socket.
    """
    listener = socket.create_server((HOST, 0), backlog=1024)
    listener.setblocking(False)
    server = _TlsServer(site, context, listener)
    thread = threading.Thread(target=server.run, name=name, daemon=True)
    thread.start()
    try:
        yield Address(listener.getsockname()[1], server.disconnect)
    finally:
        server.loop.call_soon_threadsafe(server.stopping.set)
        thread.join()


class _TlsServer:
    def __init__(self, site: Site, context: ssl.SSLContext, listener: socket.socket) -> None:
        self.site, self.context, self.listener = site, context, listener
        self.loop = asyncio.SelectorEventLoop()
        self.stopping = asyncio.Event()
        self.connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        try:
            self.loop.run_until_complete(self._serve())
        finally:
            self.loop.close()

    async def _serve(self) -> None:
        self.loop.add_reader(self.listener, self._accept)
        await self.stopping.wait()
        self.loop.remove_reader(self.listener)
        self.listener.close()
        for task in self.tasks:
            task.cancel()
        for connection in self.connections:
            connection.transport.abort()
        # What is canceled ends, and what is aborted closes its socket, in the next rounds of the loop.
        while self.tasks or self.connections:
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _accept(self) -> None:
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        greeting = self.start(self._greet(client))
        greeting.add_done_callback(lambda task: client.close() if task.cancelled() else None)

    async def _greet(self, client: socket.socket) -> None:
        """Shake hands, each connection for itself: a slow client keeps nobody waiting."""
        # A client that does not trust the certificate, or speaks no TLS, goes away.
        with suppress(OSError):
            await self.loop.connect_accepted_socket(
                lambda: _Connection(self), client, ssl=self.context, ssl_shutdown_timeout=1.0
            )

    def disconnect(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close_idle(), self.loop).result()

    async def _close_idle(self) -> None:
        for connection in list(self.connections):
            if not connection.busy:
                connection.transport.close()


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, server: _TlsServer) -> None:
        self._server, self._site = server, server.site
        self._received = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._number = 0

    @property
    def busy(self) -> bool:
        return self._task is not None or bool(self._received)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._number = self._site.connected()
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._site.disconnected()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._task is None:
            self._next()

    def _next(self) -> None:
        while not self.transport.is_closing():
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                if len(self._received) > MAX_HEAD:
                    self._refuse(431)
                return
            try:
                method, path, version, headers = parse_head(bytes(self._received[:end]))
                length = int(headers.get("content-length", "0"))
                if length < 0:
                    raise ValueError("a negative length")
            except ValueError:
                return self._refuse(400)
            if "transfer-encoding" in headers:
                return self._refuse(411)
            start = end + 4
            if len(self._received) < start + length:
                return
            body = bytes(self._received[start : start + length])
            del self._received[: start + length]
            request = Request(method, path, headers, body, self._number)
            close = version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
            call = self._site.arrived(request)
            if call.fault is not None or call.latency:
                self._task = self._server.start(self._later(request, call, close))
                # Here, since a task that is canceled at once never comes to an end of its own.
                self._task.add_done_callback(partial(self._left, call))
                return
            self._write(self._site.answer(request, call), close)
            self._site.left(call)

    def _left(self, call: Call, _: asyncio.Task[None]) -> None:
        self._site.left(call)

    async def _later(self, request: Request, call: Call, close: bool) -> None:
        fault, kind = call.fault, call.fault.kind if call.fault else ""
        if call.latency:
            await asyncio.sleep(call.latency)
        if fault is not None and kind == "stall":
            await fault.stall()
        if kind == "drop":
            return self.transport.abort()
        reply = self._site.answer(request, call)
        if fault is not None and kind == "cut":
            self.transport.write(reply.head(close=close) + reply.body[: int(len(reply.body) * fault.how["share"])])
            return self.transport.abort()
        if fault is not None and kind == "drip":
            for byte in reply.head(close=close) + reply.body:
                self.transport.write(bytes([byte]))
                await asyncio.sleep(fault.how["interval"])
            if close:
                self.transport.close()
        else:
            self._write(reply, close)
        self._task = None
        self._next()

    def _write(self, reply: Reply, close: bool) -> None:
        self.transport.write(reply.head(close=close) + reply.body)
        if close:
            self.transport.close()

    def _refuse(self, status: int) -> None:
        self._received.clear()
        self._write(Reply.error(status, "This is no request.", "MALFORMED_REQUEST"), True)
