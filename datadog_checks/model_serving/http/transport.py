"""Requests from several threads over one TLS context and kept connections, each of which another thread can cut.

A thread that waits for an answer can't be told to stop. Its socket can: once that is shut down, the wait ends. Beyond
reach are name resolution and the opening of a connection, which the connect time-out limits, connections through a
SOCKS proxy, where `read_timeout` does, and what the stock wrapper asks over connections of its own: missing
certificates, and the tokens of `auth_token`.
"""

from __future__ import annotations

import copy
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from requests import Response
from requests.adapters import HTTPAdapter
from requests_unixsocket.adapters import UnixAdapter, UnixHTTPConnection, UnixHTTPConnectionPool
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from datadog_checks.base.utils.http import RequestsWrapper

from .body import decompressed, load

CHALLENGES = (401, 407)
MAX_CHALLENGE = 1 << 16
"""Bytes of such a refusal that are read for the sake of its connection, over which a login may go on."""


class Cuts:
    """Which socket each thread waits at, for another to cut it. What was cut stays so until the thread begins anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: dict[int, socket.socket] = {}
        self._unready: dict[int, socket.socket] = {}
        self._broken_off: set[int] = set()
        self._over: set[int] = set()
        self._ended = False

    def begin(self) -> None:
        """The calling thread begins with something that nobody has cut yet."""
        with self._lock:
            self._over.discard(threading.get_ident())

    def over(self) -> bool:
        """Whether what the calling thread does was cut."""
        return self._ended or threading.get_ident() in self._over

    def opened(self, sock: socket.socket) -> None:
        """The calling thread has a socket without TLS yet. The object will be replaced, so another is kept."""
        me = threading.get_ident()
        with self._lock:
            self._unready[me] = sock.dup()
            self._broken_off.discard(me)
            if self._ended or me in self._over:
                self._broken_off.add(me)
                _shut(sock)

    def broken_off(self) -> bool:
        """Whether the calling thread's last opening of a connection was cut."""
        return threading.get_ident() in self._broken_off

    def use(self, sock: socket.socket | None) -> None:
        """The calling thread uses this socket, None for no more."""
        me = threading.get_ident()
        with self._lock:
            unready = self._unready.pop(me, None)
            if sock is None:
                self._sockets.pop(me, None)
            else:
                # A connection forgets its socket when the server won't keep it, and the body is still to be read.
                self._sockets[me] = sock
                if self._ended or me in self._over:
                    _shut(sock)
        if unready is not None:
            unready.close()

    def cut(self, thread: int) -> None:
        """End what a thread waits for, and whatever it is about to until it begins anew."""
        with self._lock:
            self._over.add(thread)
            if thread in self._unready:
                self._broken_off.add(thread)
            for sock in (self._unready.get(thread), self._sockets.get(thread)):
                if sock is not None:
                    _shut(sock)

    def end(self) -> None:
        """End what any thread waits for, and whatever any of them is about to."""
        with self._lock:
            self._ended = True
            threads = self._unready.keys() | self._sockets.keys()
        for thread in threads:
            self.cut(thread)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        # Not the TLS socket's own method, which takes away what the other thread is using.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Limit:
    """A context in which the calling thread may wait for `seconds`. What it waits for then is cut: see `expired`."""

    def __init__(self, cuts: Cuts, seconds: float) -> None:
        self.expired = False
        self._cuts = cuts
        self._thread = threading.get_ident()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Limit:
        self._cuts.begin()
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._cuts.use(None)

    def _expire(self) -> None:
        self.expired = True
        self._cuts.cut(self._thread)


class Transport:
    """Makes a requests wrapper for each of `size` threads, like `http`. `hosts` is how many are talked to.

    Every option of the stock wrapper keeps its meaning, but connections, and with them cookies, are kept where `keep`
    says so. The body of a redirect is never read, that of a refusal only a little.
    """

    def __init__(self, http: RequestsWrapper, size: int, hosts: int = 1, keep: bool = True) -> None:
        self.keep = keep
        self.cuts = Cuts()
        self._size, self._hosts = size, hosts
        self._lock = threading.Lock()
        self._adapters: list[HTTPAdapter] = []
        self._pools = _pools(self.cuts, keep)
        self._http = copy.copy(http)
        # Of a session that is not kept the wrapper would make the adapters itself.
        self._http.persist_connections = True
        # Copies share them, and so another transport of the same wrapper would get hold of these connections.
        self._http._https_adapters = _Adapters(self._prepared)
        self._plain = self._prepared(HTTPAdapter())
        self._unix = self._prepared(_UnixAdapter(self.cuts, keep))

    def wrapper(self) -> Any:
        """A wrapper for the calling thread alone. It shares adapters, and so connections, with all others."""
        with self._lock:
            http = copy.copy(self._http)
            # Sessions are not made for several threads, the adapters behind them are.
            session: Any = http.session
            session.mount("http://", self._plain)
            session.mount("unix://", self._unix)
            # The stock wrapper closes its session when it is collected, at any time, but others use the adapters.
            session.close = lambda: None
            return http

    def limit(self, seconds: float) -> Limit:
        """A context in which the calling thread may use a wrapper for `seconds`."""
        return Limit(self.cuts, seconds)

    def _prepared(self, adapter: HTTPAdapter) -> HTTPAdapter:
        """An adapter with room for every thread's connection, all of which can be cut."""
        adapter.init_poolmanager(max(self._hosts, 10), max(self._size, 10))
        self._cuttable(adapter.poolmanager)
        # Otherwise connections stay until nothing knows their pool, and answers do for as long as they are known.
        adapter.poolmanager.pools.dispose_func = lambda pool: pool.close()
        own: Any = adapter
        manager, build = own.proxy_manager_for, own.build_response
        own.proxy_manager_for = lambda proxy, **options: self._cuttable(manager(proxy, **options))
        own.build_response = lambda request, raw: _without_body(build(request, raw))
        self._adapters.append(adapter)
        return adapter

    def _cuttable(self, manager: Any) -> Any:
        if manager.pool_classes_by_scheme.get("http") is HTTPConnectionPool:
            manager.pool_classes_by_scheme = self._pools
        return manager

    def close(self) -> None:
        """Cut the connections that somebody uses, those still to be opened included, and close all others."""
        self.cuts.end()
        with self._lock:
            for adapter in self._adapters:
                adapter.close()


class _Adapters(dict[Any, Any]):
    """The stock wrapper's adapters by their options of TLS: it makes one when it needs it."""

    def __init__(self, prepared: Callable[[HTTPAdapter], HTTPAdapter]) -> None:
        super().__init__()
        self._prepared = prepared

    def __setitem__(self, options: Any, adapter: HTTPAdapter) -> None:
        super().__setitem__(options, self._prepared(adapter))


def _without_body(response: Response) -> Response:
    """A response whose body was closed if it is a redirect's, and cut short if it is a refusal's.

    Whoever follows a redirect or logs in, in requests or in its extensions, reads such a body first, without a limit.
    """
    raw: Any = response.raw
    if response.is_redirect:
        raw.close()
    elif response.status_code in CHALLENGES:
        received, body, left = [], bytearray(), MAX_CHALLENGE
        with suppress(Exception):
            while left > 0 and (piece := raw.read1(left, decode_content=False)):
                received.append(piece)
                left -= len(piece)
        raw.close()
        with suppress(Exception):
            # It says why, as far as it goes.
            for piece in decompressed(iter(received), response.headers.get("Content-Encoding", "")):
                body += piece
                if len(body) >= MAX_CHALLENGE:
                    break
        load(response, bytes(body[:MAX_CHALLENGE]))
    return response


def _pools(cuts: Cuts, keep: bool) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pools, whose connections report who uses them."""
    pools: dict[str, type[HTTPConnectionPool]] = {}
    for scheme, pool in (("http", HTTPConnectionPool), ("https", HTTPSConnectionPool)):
        kind: Any = pool.ConnectionCls
        connection = type(f"Cuttable{kind.__name__}", (_Cuttable, kind), {"cuts": cuts})
        own = {"ConnectionCls": connection, "cuts": cuts, "keep": keep}
        pools[scheme] = type(f"Cuttable{pool.__name__}", (_Releasing, pool), own)
    return pools


class _Releasing:
    """Put before a connection pool of urllib3: a connection that is back in the pool is another thread's next."""

    cuts: Cuts
    keep: bool

    def _put_conn(self, conn: Any) -> None:
        self.cuts.use(None)
        # A login that is going on, such as that of NTLM, is one of this connection.
        if conn is not None and not self.keep and not getattr(conn, "challenged", False):
            conn.close()
        super()._put_conn(conn)  # type: ignore[misc]


class _Cuttable:
    """Put before a connection class of urllib3."""

    cuts: Cuts
    sock: socket.socket | None
    challenged = False

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]
        except OSError:
            if self.cuts.broken_off():
                # After a failure of TLS the stock wrapper looks for certificates, over a connection of its own.
                raise ConnectionAbortedError from None
            raise
        finally:
            self.cuts.use(self.sock)

    def _new_conn(self) -> socket.socket:
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]
        self.cuts.opened(sock)
        return sock

    def request(self, *args: Any, **options: Any) -> Any:
        self.cuts.use(self.sock)
        return super().request(*args, **options)  # type: ignore[misc]

    def getresponse(self) -> Any:
        response = super().getresponse()  # type: ignore[misc]
        if self.cuts.over():
            # Headers that were cut off look like all that there are. Nobody else knows of the response, and its file
            # holds the socket open, for as long as the error is known.
            response.close()
            raise ConnectionAbortedError
        self.challenged = response.status in CHALLENGES
        return response


class _UnixAdapter(UnixAdapter):
    """The adapter for Unix domain sockets, whose connections report who uses them."""

    def __init__(self, cuts: Cuts, keep: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        connection = type("CuttableUnixHTTPConnection", (_Cuttable, UnixHTTPConnection), {"cuts": cuts})
        own = {
            "cuts": cuts,
            "keep": keep,
            "_new_conn": lambda pool: connection(pool.socket_path, pool.timeout),
        }
        self._pool = type("CuttableUnixHTTPConnectionPool", (_Releasing, UnixHTTPConnectionPool), own)

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        with self.pools.lock:
            if self.pools.get(url) is None:
                self.pools[url] = self._pool(url, self.timeout)
        return super().get_connection(url, proxies)  # type: ignore[no-untyped-call]
