"""What the tests of authentication with Databricks share: a workspace over HTTP that answers as a test says."""

from __future__ import annotations

import base64
import json
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

TOKEN_PATH = "/oidc/v1/token"
MARK = "sEcReT"
"""Part of every secret in these tests, so that one search finds any of them."""

CLIENT = "0a1b2c3d-client-of-tests"
SECRET = f"dose-{MARK}-0123456789"
BASIC = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()


@dataclass
class Answer:
    """One answer, or with `before` what is done (in the server's thread) until it is given."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None

    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, list[str]]

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")


@dataclass
class Server:
    """Issues tokens that live `life` seconds, and answers `{}` to requests with a token out of `valid`.

    `scripted` answers, by path, come first, each once. `dead` paths refuse every token.
    """

    url: str = ""
    life: Any = 3600
    asked: list[Asked] = field(default_factory=list)
    scripted: dict[str, list[Answer]] = field(default_factory=dict)
    valid: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    refusal: Answer = field(default_factory=lambda: Answer(401, {"error_code": 401}))
    issued: int = 0
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def script(self, path: str, *answers: Answer) -> None:
        self.scripted.setdefault(path, []).extend(answers)

    def count(self, path: str) -> int:
        with self.lock:
            return sum(1 for asked in self.asked if asked.path == path)

    @property
    def token_requests(self) -> int:
        return self.count(TOKEN_PATH)

    def answer(self, asked: Asked) -> Answer:
        with self.lock:
            self.asked.append(asked)
            if self.scripted.get(asked.path):
                return self.scripted[asked.path].pop(0)
            if asked.path == TOKEN_PATH:
                if asked.authorization != f"Basic {BASIC}":
                    return Answer(401, {"error": "invalid_client", "error_description": f"no {SECRET}"})
                self.issued += 1
                token = f"tok-{MARK}-{self.issued}"
                self.valid = {token}
                return Answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": self.life})
            if asked.authorization.removeprefix("Bearer ") not in self.valid or asked.path in self.dead:
                return self.refusal
            return Answer(200, {})


@contextmanager
def serve() -> Iterator[Server]:
    """A server on 127.0.0.1 that keeps connections, and ends with the context."""
    known = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10
        wbufsize = -1

        def setup(self) -> None:
            super().setup()
            with known.lock:
                known.connections += 1

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            answer = known.answer(Asked(self.command, self.path, dict(self.headers), parse_qs(body)))
            answer.before()
            # The other method adds a Date of its own.
            self.send_response_only(answer.status)
            content = answer.encoded()
            for name, value in {"Content-Length": str(len(content)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Listener(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Clock:
    """A clock that stands still until a test moves it, and a `wait` that moves it."""

    now: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return False


def together(count: int, work: Callable[[], Any]) -> list[Any]:
    """What `work` gave, or raised, in `count` threads that begin at the same time."""
    start = threading.Barrier(count)
    results: list[Any] = []

    def run() -> None:
        start.wait(60)
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == count
    return results


def shown(*things: object) -> str:
    """All that could be seen of some objects: repr, and of exceptions traceback, attributes and what they chain to."""
    texts: list[str] = []
    for thing in things:
        texts += [repr(thing), str(thing)]
        seen: set[int] = set()
        pending = [thing]
        while pending:
            error = pending.pop()
            if not isinstance(error, BaseException) or id(error) in seen:
                continue
            seen.add(id(error))
            texts += traceback.format_exception(error)
            texts += [repr(error), repr(error.args), repr(vars(error))]
            pending += [error.__cause__, error.__context__]
    return "\n".join(texts)


def assert_silent(text: str) -> None:
    """No secret of these tests is in a text, in none of its forms."""
    assert MARK not in text
    assert BASIC not in text
