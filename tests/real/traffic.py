"""Inference traffic for MLServer, measured by the client that sends it."""

import http.client
import json
import random
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

WEIRD_MODEL = 'we"ird\\name'
CLIENTS = 12
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Call:
    """One HTTP request: `inference` says whether it asks a model for an answer, `reaches` whether the model is asked
    (a payload refused as invalid never gets there), `delay` the seconds that the model is told to take."""

    path: str
    expected: int
    body: bytes | None = None
    model: str = ""
    version: str = ""
    inference: bool = False
    reaches: bool = False
    delay: float = 0.0

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True)
class Reply:
    call: Call
    status: int
    seconds: float


@dataclass(frozen=True, repr=False)
class Traffic:
    """What was sent and what came back."""

    replies: list[Reply] = field(default_factory=list)

    def inference(self, **wanted: str | bool | int) -> list[Reply]:
        """The inference requests whose call has the `wanted` attributes."""
        return [
            reply
            for reply in self.replies
            if reply.call.inference and all(getattr(reply.call, key) == value for key, value in wanted.items())
        ]


def failed(replies: list[Reply]) -> list[Reply]:
    """Those that were not answered with a result."""
    return [reply for reply in replies if reply.status >= 400]


def _tensor(*values: float) -> bytes:
    rows = {"name": "x", "datatype": "FP64", "shape": [len(values), 1], "data": list(values)}
    return json.dumps({"inputs": [rows]}).encode()


def _infer(model: str, body: bytes, expected: int = 200, version: str = "", delay: float = 0.0, **more: str) -> Call:
    verb = more.get("verb", "infer")
    within = f"/versions/{version}" if version else ""
    path = f"/v2/models/{urllib.parse.quote(model)}{within}/{verb}"
    return Call(path, expected, body, model, version, True, expected != 422, delay)


def calls(scale: int = 1) -> list[Call]:
    """Some 330 requests times `scale`, good and bad, in an order of their own that is the same each time.

    The delays put the middle of the latencies well inside one bucket of MLServer's, the tail well inside others.
    """

    def plan() -> Iterator[Call]:
        for delay, number in ((0.035, 120), (0.15, 50), (0.35, 20), (0.6, 12)):
            for index in range(number):
                version = "2024-06" if index % 4 == 0 else ""
                yield _infer("credit", _tensor(delay), version=version, delay=delay)
        for _ in range(60):
            yield _infer("ranking", _tensor(1.0))
        for _ in range(5):
            yield _infer("credit", _tensor(0.035), delay=0.035, verb="generate")
        for _ in range(9):
            yield _infer("credit", _tensor(-1.0), 400)
        for _ in range(7):
            yield _infer("credit", _tensor(-2.0), 500)
        for _ in range(4):
            yield _infer("credit", b'{"outputs": []}', 422)
        for _ in range(2):
            yield _infer("ranking", b'{"inputs": 7}', 422)
        for _ in range(3):
            yield _infer("credit", b"{}", 422, verb="generate")
        for _ in range(5):
            yield _infer("no-such-model", _tensor(1.0), 404)
        for _ in range(4):
            yield _infer("credit", _tensor(1.0), 404, version="1999-12")
        for _ in range(2):
            yield _infer(WEIRD_MODEL, _tensor(1.0), 404)
        for path, number, expected in (
            ("/v2/models/credit", 10, 200),
            ("/v2/models/ranking/ready", 6, 200),
            ("/v2", 4, 200),
            ("/v2/models/no-such-model", 3, 404),
            ("/no/such/path", 3, 404),
        ):
            for _ in range(number):
                yield Call(path, expected)

    order = list(plan()) * scale
    random.Random(2).shuffle(order)
    return order


def send(base: str, order: list[Call], clients: int = CLIENTS) -> Traffic:
    """Sends the calls to `base` from several clients at once, each on a connection that it keeps."""
    host = urllib.parse.urlsplit(base).netloc
    own = threading.local()

    def one(call: Call) -> Reply:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(host, timeout=ANSWER_SECONDS)
        begun = time.perf_counter()
        own.connection.request(call.method, call.path, call.body, {"Content-Type": "application/json"})
        reply = own.connection.getresponse()
        reply.read()
        if reply.status >= 500:
            # The server hangs up after an exception that it did not expect, without saying so beforehand.
            own.connection.close()
        return Reply(call, reply.status, time.perf_counter() - begun)

    with ThreadPoolExecutor(clients) as pool:
        return Traffic(list(pool.map(one, order)))
