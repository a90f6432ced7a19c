"""Requests from several threads over one TLS context and kept connections, each of which another thread can cut.

A thread that waits for an answer can't be told to stop. Its socket can: once that is shut down, the wait ends. Beyond
reach are name resolution and the opening of a connection, which the connect time-out limits, and connections through
a proxy, where `read_timeout` does.
"""

from __future__ import annotations

import copy
import socket
import threading
from contextlib import suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from datadog_checks.base.utils.http import RequestsWrapper


class Cuts:
    """Which socket each thread waits at, for another to cut it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: dict[int, socket.socket] = {}
        self._unready: dict[int, socket.socket] = {}
        self._broken_off: set[int] = set()
        self._ended = False

    def opened(self, sock: socket.socket) -> None:
        """The calling thread has a socket without TLS yet. The object will be replaced, so another is kept."""
        me = threading.get_ident()
        with self._lock:
            self._unready[me] = sock.dup()
            self._broken_off.discard(me)
            if self._ended:
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
                if self._ended:
                    _shut(sock)
        if unready is not None:
            unready.close()

    def cut(self, thread: int) -> None:
        """End what a thread waits for."""
        with self._lock:
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


class Transport:
    """Makes a requests wrapper for each of `size` threads, like `http`. `hosts` is how many are talked to.

    Every option of the stock wrapper keeps its meaning, but connections are kept where `keep` says so.
    """

    def __init__(self, http: RequestsWrapper, size: int, hosts: int = 1, keep: bool = True) -> None:
        self._http = copy.copy(http)
        self._http.persist_connections = keep
        # Copies share them, and so another transport of the same wrapper would get hold of these connections.
        self._http._https_adapters = {}
        self.cuts = Cuts()
        self._lock = threading.Lock()
        self._size, self._hosts = size, hosts
        self._adapters: list[HTTPAdapter] = []

    def wrapper(self) -> Any:
        """A wrapper for the calling thread alone. It shares adapters, and so connections, with all others."""
        with self._lock:
            http = copy.copy(self._http)
            if not self._adapters:
                self._adapters = self._prepared(http.session)
            else:
                # Sessions are not made for several threads, the adapters behind them are.
                for prefix, adapter in http.session.adapters.items():
                    if adapter not in self._adapters and prefix in ("http://", "https://"):
                        http.session.mount(prefix, self._adapters[prefix == "https://"])
            return http

    def _prepared(self, session: Any) -> list[HTTPAdapter]:
        """The adapters for HTTP and HTTPS, with room for every thread's connection, all of which can be cut."""
        adapters = [session.adapters["http://"], session.adapters["https://"]]
        for adapter in adapters:
            adapter.init_poolmanager(max(self._hosts, 10), max(self._size, 10))
            adapter.poolmanager.pool_classes_by_scheme = _pools(self.cuts)
            # Otherwise connections stay until nothing knows their pool, and answers do for as long as they are known.
            adapter.poolmanager.pools.dispose_func = lambda pool: pool.close()
        return adapters

    def close(self) -> None:
        """Cut the connections that somebody uses, those still to be opened included, and close all others."""
        self.cuts.end()
        with self._lock:
            for adapter in self._adapters:
                adapter.close()


def _pools(cuts: Cuts) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pools, whose connections report who uses them."""
    pools: dict[str, type[HTTPConnectionPool]] = {}
    for scheme, pool in (("http", HTTPConnectionPool), ("https", HTTPSConnectionPool)):
        kind: Any = pool.ConnectionCls
        connection = type(f"Cuttable{kind.__name__}", (_Cuttable, kind), {"cuts": cuts})
        own = {"ConnectionCls": connection, "cuts": cuts}
        pools[scheme] = type(f"Cuttable{pool.__name__}", (_Releasing, pool), own)
    return pools


class _Releasing:
    """Put before a connection pool of urllib3: a connection that is back in the pool is another thread's next."""

    cuts: Cuts

    def _put_conn(self, conn: Any) -> None:
        self.cuts.use(None)
        super()._put_conn(conn)  # type: ignore[misc]


class _Cuttable:
    """Put before a connection class of urllib3."""

    cuts: Cuts
    sock: socket.socket | None

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
