"""Servers that answer as nobody should, over bare sockets, and a script that runs a check against one."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
METRICS = b'# TYPE model_infer_request_success_total counter\nmodel_infer_request_success_total{model="m"} 1\n'

Behaviour = Callable[[socket.socket, bytes], None]
"""What is sent in answer to the head of a request."""


def whole(body: bytes, *headers: bytes, start: bytes = OK) -> Behaviour:
    """A whole answer."""

    def answer(connection: socket.socket, _: bytes) -> None:
        head = b"".join(header + b"\r\n" for header in (*headers, b"Content-Length: %d" % len(body)))
        connection.sendall(start + head + b"\r\n" + body)

    return answer


def forever(start: bytes, block: bytes, seconds: float = 0.0) -> Behaviour:
    """An answer whose `block` comes again and again, with a pause before each, until the client has had enough."""

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(start)
        # More than any limit, and little enough for a machine to bear when a limit fails.
        for _ in range((1 << 31) // len(block)):
            time.sleep(seconds)
            connection.sendall(block)

    return answer


def by_path(answers: dict[bytes, Behaviour], otherwise: Behaviour) -> Behaviour:
    """An answer by the path of the request."""

    def answer(connection: socket.socket, head: bytes) -> None:
        answers.get(head.split(b" ")[1].partition(b"?")[0], otherwise)(connection, head)

    return answer


def listening(path: str = "") -> socket.socket:
    """A socket that listens at a free port of 127.0.0.1, or at the path of a Unix domain socket."""
    if not path:
        return socket.create_server(("127.0.0.1", 0))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


@contextmanager
def hostile(behaviour: Behaviour, path: str = "") -> Iterator[int]:
    """A server at a port of 127.0.0.1, which is yielded, or at the path of a Unix domain socket."""
    listener = listening(path)

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            behaviour(connection, head)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield 0 if path else listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@lru_cache(maxsize=8)
def bomb(block: bytes, times: int, layers: int = 1) -> bytes:
    """What becomes of `block`, so many times, when it is compressed with gzip in so many layers."""
    if layers > 1:
        return gzip.compress(bomb(block, times, layers - 1))
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return b"".join(packer.compress(block) for _ in range(times)) + packer.flush()


RUN = """
import json, re, sys, time
from pathlib import Path
from datadog_checks.model_serving import ModelServingCheck

def peak():
    # That of `resource` begins with what the parent had when it started this process.
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10

good, instance = map(json.loads, sys.argv[1:3])
ModelServingCheck("model_serving", {}, [good]).run()
before = peak()
check = ModelServingCheck("model_serving", {}, [instance])
started = time.monotonic()
report = check.run()
seconds = time.monotonic() - started
from datadog_checks.base.stubs import aggregator
checks = {kind: [f"{found.status} {found.message}" for found in aggregator.service_checks(kind)]
          for kind in aggregator.service_check_names}
kept = sum(len(scraper.collector.series) for scraper in check.scrapers.values())
message = json.loads(report)[0]["message"] if report else ""
print(json.dumps({"memory": peak() - before, "seconds": seconds, "message": message, "checks": checks, "series": kept}))
"""
"""Runs two checks, and prints what the second one took: MiB of memory above the first, seconds, and what it said."""


def run_in_process(instance: dict[str, Any]) -> dict[str, Any]:
    """What a run of the instance comes to, in a process of its own, after a run against a decent server."""
    with hostile(whole(METRICS)) as port:
        good = {**instance, "openmetrics_endpoint": f"http://127.0.0.1:{port}/metrics", "readiness": False}
        for option in [option for option in good if option.startswith(("databricks", "readiness_url"))]:
            del good[option]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", RUN, json.dumps(good), json.dumps(instance)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
