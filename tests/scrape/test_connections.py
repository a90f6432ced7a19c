"""Every way in which a connection can fail has a sentence of its own: what is wrong, where, and what to do."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ..conftest import make_check
from ..http.hostile import listening
from ..ports import free_port

SECRET = "geheim-5f3a"
BODY = "\n".join(f'model_infer_request_success_total{{model="m",version="{i}"}} {i}' for i in range(200)).encode()


class Server(BaseHTTPRequestHandler):
    """Answers by path; as a proxy it lets nobody through."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, headers, body = 200, {"Content-Type": "text/plain"}, BODY + b"\n"
        if self.path.startswith("/to/"):
            status, headers, body = 302, {"Location": f"http://127.0.0.1:{self.path[4:]}/login?token={SECRET}"}, b""
        elif self.path == "/cut":
            compressed = gzip.compress(BODY[:60])
            headers["Content-Encoding"], body = "gzip", compressed[: len(compressed) // 2]
        elif self.path.startswith("/status/"):
            status, body = int(self.path[8:]), b""
        elif self.path.startswith("http://"):
            status, body = 407, b""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        status = 407 if "wrong" in self.path else 403
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    """A server whose handshakes are made by the threads of the requests."""

    daemon_threads = True

    def finish_request(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            request.settimeout(10)
            try:
                request.do_handshake()
            except ssl.SSLError:
                # Closed at once, with something of the client's unread, the connection would lose the alert.
                with socket.socket(fileno=request.detach()) as raw:
                    raw.settimeout(10)
                    raw.shutdown(socket.SHUT_WR)
                    while raw.recv(4096):
                        pass
                return
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what these tests are about."""


@dataclass
class Place:
    """Where the servers of one case live, and certificates of an authority that nobody knows."""

    path: Path
    stack: ExitStack
    authority: trustme.CA = field(default_factory=trustme.CA)

    @property
    def root(self) -> str:
        """The file of the authority's certificate."""
        file = self.path / "ca.pem"
        self.authority.cert_pem.write_to_path(str(file))
        return str(file)

    def tls(self, host: str = "127.0.0.1", **options: Any) -> ssl.SSLContext:
        """The context of a server with a certificate of this host."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(host, **options).configure_cert(context)
        return context

    def wanting(self, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """The context of a server that wants a client certificate."""
        context = self.tls()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.root)
        context.maximum_version = newest
        return context

    def client(self, password: str = "", authority: trustme.CA | None = None) -> dict[str, str]:
        """The options of a client certificate, its key encrypted where there is a password."""
        certificate = (authority or self.authority).issue_cert("client.example")
        key = certificate.private_key_pem.bytes()
        if password:
            private = load_pem_private_key(key, None)
            lock = BestAvailableEncryption(password.encode())
            key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
        (self.path / "key.pem").write_bytes(key)
        (self.path / "cert.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
        return {"tls_cert": str(self.path / "cert.pem"), "tls_private_key": str(self.path / "key.pem")}

    def http(self, context: ssl.SSLContext | None = None) -> int:
        """The port of a server, over TLS where a context is given."""
        server = Quiet(("127.0.0.1", 0), Server)
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self.stack.callback(end)
        return server.server_port

    def raw(self, answer: bytes | None, path: str = "") -> int:
        """The port, or the socket at a path, of a server that sends these bytes and hangs up, or None to say nothing
        for ever."""
        listener = listening(path)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    connection.recv(4096)
                    if answer is None:
                        over.wait()
                    else:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def end() -> None:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()

        self.stack.callback(end)
        return 0 if path else int(listener.getsockname()[1])

    def socket(self, answer: bytes) -> str:
        """The URL of a Unix domain socket that sends these bytes and hangs up."""
        self.raw(answer, f"{self.path}/a.sock")
        return f"unix://{self.path}/a.sock/metrics"

    def full(self) -> int:
        """A port whose queue of connections is full, so that further ones get no answer."""
        listener = self.stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = self.stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        return int(listener.getsockname()[1])


@contextmanager
def place(path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(path, stack)


def at(port: int, path: str = "/metrics", scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{port}{path}"


def proxied(url: str, proxy: str) -> tuple[str, dict[str, Any]]:
    return url, {"proxy": {"http": proxy, "https": proxy}}


def secure(here: Place, context: ssl.SSLContext, **options: Any) -> tuple[str, dict[str, Any]]:
    return at(here.http(context), scheme="https"), {"tls_ca_cert": here.root, **options}


EXPIRED = {"not_before": datetime(2019, 1, 1), "not_after": datetime(2020, 1, 1)}
TLS = "the TLS connection failed: "
GONE = b"HTTP/1.0 404 Gone\r\n\r\n"

Case = tuple[Callable[[Place], tuple[str, dict[str, Any]]], str, str]

CASES: dict[str, Case] = {
    "DNS": (
        lambda here: ("http://mlservr.invalid:8082/metrics", {}),
        "the host name mlservr.invalid is not known",
        "check its spelling",
    ),
    "refused": (lambda here: (at(free_port()), {}), "no connection: check that the server runs", "host and port"),
    "time-out of the connection": (
        lambda here: (at(here.full()), {"connect_timeout": 0.3}),
        "no connection within the time-out",
        "firewall",
    ),
    "time-out of the answer": (
        lambda here: (at(here.raw(None)), {"read_timeout": 0.3}),
        "connected, but no answer within the time-out",
        "raise `timeout`",
    ),
    "HTTP to a TLS port that hangs up": (
        lambda here: (at(here.http(here.tls())), {}),
        "the server closed the connection without an answer",
        "if its port speaks TLS, write https://",
    ),
    "HTTP to a TLS port that sends an alert": (
        lambda here: (at(here.raw(b"\x15\x03\x01\x00\x02\x02\x46")), {}),
        "the port speaks TLS",
        "write https:// instead of http://",
    ),
    "HTTP to a TLS port that answers 400": (
        lambda here: (at(here.http(), "/status/400"), {}),
        "the endpoint answered HTTP 400",
        "if its port speaks TLS, write https://",
    ),
    "no HTTP": (
        lambda here: (at(here.raw(b"SSH-2.0-OpenSSH_9.6\r\n")), {}),
        "what answers there speaks no HTTP",
        "port",
    ),
    "TLS to a port of HTTP": (
        lambda here: (at(here.http(), scheme="https"), {}),
        f"{TLS}the port speaks plain HTTP",
        "Write http:// instead of https://",
    ),
    "unknown authority": (
        lambda here: (at(here.http(here.tls()), scheme="https"), {}),
        f"{TLS}the server's certificate is not trusted, as its authority is not known",
        "set `tls_ca_cert`",
    ),
    "another host": (
        lambda here: secure(here, here.tls("other.example")),
        f"{TLS}the server's certificate is not trusted, as it is not of this host",
        "`tls_validate_hostname: false`",
    ),
    "expired": (
        lambda here: secure(here, here.tls(**EXPIRED)),
        f"{TLS}the server's certificate is not trusted, as it has expired",
        "have it renewed",
    ),
    "client certificate wanted": (
        lambda here: secure(here, here.wanting()),
        f"{TLS}the server ended the handshake",
        "wants a client certificate. Check `tls_cert`",
    ),
    "client certificate wanted, TLS 1.2": (
        lambda here: secure(here, here.wanting(ssl.TLSVersion.TLSv1_2)),
        f"{TLS}the server ended the handshake",
        "wants a client certificate. Check `tls_cert`",
    ),
    "client certificate refused": (
        lambda here: secure(here, here.wanting(), **here.client(authority=trustme.CA())),
        f"{TLS}the server refuses the client certificate",
        "`tls_cert`",
    ),
    "TLS hung up on": (
        lambda here: (at(here.raw(b""), scheme="https"), {}),
        f"{TLS}the server closed it without an answer",
        "check `tls_cert`",
    ),
    "password of the key": (
        lambda here: secure(here, here.wanting(), **here.client(SECRET), tls_private_key_password=f"{SECRET}x"),
        "the client certificate or its key can't be read",
        "`tls_private_key_password`",
    ),
    "key of another certificate": (
        lambda here: secure(here, here.tls(), **{**here.client(), "tls_cert": other_certificate(here)}),
        "`tls_private_key` is not the key of `tls_cert`",
        "the two files that belong together",
    ),
    "authority without a certificate": (
        lambda here: (at(here.http(here.tls()), scheme="https"), {"tls_ca_cert": __file__}),
        "`tls_ca_cert` holds no certificate",
        "PEM form",
    ),
    "proxy down": (
        lambda here: proxied("http://h.example/metrics", f"http://me:{SECRET}@127.0.0.1:9"),
        "no connection to the proxy 127.0.0.1:9",
        "`skip_proxy: true`",
    ),
    "proxy down, TLS": (
        lambda here: proxied("https://h.example/metrics", f"http://me:{SECRET}@127.0.0.1:9"),
        "no connection to the proxy 127.0.0.1:9",
        "`skip_proxy: true`",
    ),
    "name of the proxy": (
        lambda here: proxied("http://h.example/metrics", "http://prxy.invalid:3128"),
        "no connection to the proxy prxy.invalid:3128",
        "its URL in `proxy`",
    ),
    "proxy refuses": (
        lambda here: proxied("https://h.example/metrics", at(here.http(), "")),
        "the proxy refuses to connect to this host (HTTP 403)",
        "allow it there",
    ),
    "proxy wants credentials": (
        lambda here: proxied("http://h.example/metrics", at(here.http(), "")),
        "the proxy refuses the credentials (HTTP 407)",
        "`proxy`",
    ),
    "proxy wants credentials, TLS": (
        lambda here: proxied("https://wrong.example/metrics", at(here.http(), "")),
        "the proxy refuses the credentials (HTTP 407)",
        "`proxy`",
    ),
    "redirect to nowhere": (
        lambda here: (at(here.http(), "/to/9"), {}),
        "after a redirect to http://127.0.0.1:9/login: no connection",
        "host and port",
    ),
    "redirect to a missing page": (
        lambda here: (at(here.http(), f"/to/{here.raw(GONE)}"), {}),
        "after a redirect to http://127.0.0.1:",
        "there is nothing at this path (HTTP 404)",
    ),
    "redirect that is not followed": (
        lambda here: (at(here.http(), "/to/9"), {"allow_redirects": False}),
        "the endpoint redirects to http://127.0.0.1:9/login (HTTP 302), and `allow_redirects: false` forbids",
        "write that URL",
    ),
    "header that can't be sent": (
        lambda here: (at(here.http()), {"headers": {"X-Token": f"{SECRET}\u20ac"}}),
        "a header, user name or password has a character that can't be sent",
        "keep to ASCII in `headers`",
    ),
    "no socket": (
        lambda here: (f"unix://{here.path}/gone.sock/metrics", {}),
        "no connection: check that the server runs, and that its socket has this path",
        "socket",
    ),
    "socket hung up": (
        lambda here: (here.socket(b""), {}),
        "the server closed the connection without an answer: look into its own log",
        "log",
    ),
    "compressed and cut off": (
        lambda here: (at(here.http(), "/cut"), {}),
        "the answer ends within its first line",
        "broke off",
    ),
}


def other_certificate(here: Place) -> str:
    file = here.path / "other.pem"
    here.authority.issue_cert("other.example").cert_chain_pems[0].write_to_path(str(file))
    return str(file)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:datadog_checks")
def test_each_failure_has_its_sentence(
    name: str, tmp_path: Path, aggregator: Any, datadog_agent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What failed, where, and what to do, without a secret, in the run's error and in the health check's message."""
    caplog.set_level(logging.DEBUG)
    arrange, what, cure = CASES[name]
    with place(tmp_path) as here:
        url, options = arrange(here)
        report = make_check(openmetrics_endpoint=url, serving_system="mlserver", **{"timeout": 10, **options}).run()
    message = json.loads(report)[0]["message"]
    assert message.startswith(f"{url}: {what}"), message
    assert cure in message
    assert SECRET not in message + caplog.text
    assert "\u20ac" not in message
    assert [check.message for check in aggregator.service_checks("model_serving.openmetrics.health")] == [message]


def test_no_two_failures_share_a_sentence() -> None:
    """A sentence says which failure it was, but for the same one on another way."""
    ways = {name for name in CASES if name.endswith((", TLS", ", TLS 1.2"))} | {"name of the proxy"}
    told = [what for name, (_, what, _) in CASES.items() if name not in ways]
    assert len(set(told)) == len(told)
