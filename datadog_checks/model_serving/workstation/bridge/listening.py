"""What the servers of the bridge have in common."""

from __future__ import annotations

import hmac
import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MOST_CONNECTIONS = 64
"""Connections that a server has at a time, so that threads have a bound."""

logger = logging.getLogger(__name__)


class BoundedServer(ThreadingHTTPServer):
    """A server whose connections have a thread each. Those beyond `MOST_CONNECTIONS` are closed at once."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a connection of %s broke off", client_address, exc_info=True)


class BoundedHandler(BaseHTTPRequestHandler):
    """Answers the requests of a connection, which is closed when it says nothing for `timeout` seconds."""

    protocol_version = "HTTP/1.1"
    server_version = "model-serving-bridge"
    sys_version = ""

    def bears(self, token: bytes) -> bool:
        """Whether the request comes with a token, or none is asked for."""
        sent = self.headers.get("Authorization", "").encode("latin-1", "replace")
        return not token or hmac.compare_digest(sent, b"Bearer " + token)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are logged for who looks for a fault."""
        logger.debug(f"{type(self).__name__}: {format}", *args)
