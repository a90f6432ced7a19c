"""What a hostile answer may cost: memory that has a bound, and time that ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..conftest import make_check
from .hostile import JSON, METRICS, OK, Behaviour, bomb, by_path, forever, hostile, run_in_process, whole

DEADLINE = 1.0
ENDPOINT = b"/api/2.0/serving-endpoints/e"
TOKEN = b"/oidc/v1/token"

MOVED = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n"
REFUSED = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm="a", nonce="b", qop="auth"\r\n'
BLOCK = b"x" * 65536
MANY = b"".join(b'model_infer_request_success_total{model="%x"} 1\n' % number for number in range(450_000))
LABELS = b"model_infer_request_success_total{%b} 1\n" % b",".join(b'l%d="a"' % number for number in range(9000))


def packed(body: bytes, encoding: bytes = b"gzip") -> Behaviour:
    return whole(body, b"Content-Encoding: " + encoding)


def ready(answer: Behaviour) -> Behaviour:
    """A sound server of metrics that answers like this when it is asked whether it is ready."""
    return by_path({b"/metrics": whole(METRICS)}, answer)


def token(answer: Behaviour) -> Behaviour:
    """A workspace whose token endpoint answers like this."""
    return by_path({TOKEN: answer}, whole(METRICS))


READY = {"serving_system": "mlserver", "readiness_url": "http://127.0.0.1:{port}"}
OAUTH = {
    "openmetrics_endpoint": None,
    "databricks_host": "http://127.0.0.1:{port}",
    "endpoint_name": "e",
    "databricks_client_id": "hush-id",
    "databricks_client_secret": "hush-secret",
}

MEMORY: dict[str, tuple[Callable[[], Behaviour], dict[str, Any], str]] = {
    "1 GiB in gzip": (lambda: packed(bomb(b"#\n" * 32768, 1 << 14)), {}, "`max_payload_bytes` (67108864)"),
    "1 GiB in gzip, in gzip": (lambda: packed(bomb(b"#\n" * 32768, 1 << 14, 2), b"gzip, gzip"), {}, "'gzip, gzip'"),
    "1 GiB in gzip three times": (
        lambda: packed(bomb(b"#\n" * 32768, 1 << 14, 3), b"gzip, gzip, gzip"),
        {},
        "'gzip, gzip, gzip'",
    ),
    "1 GiB in deflate": (lambda: packed(bomb(b"#\n" * 32768, 1 << 14)[10:], b"deflate"), {}, "`max_payload_bytes`"),
    "gzip of nothing, again and again": (
        lambda: packed(bomb(b"", 0) * 100_000),
        {},
        "the answer is empty",
    ),
    "a body of a redirect without end": (
        lambda: forever(MOVED + b"\r\n", BLOCK),
        {"allow_redirects": False},
        "redirects to",
    ),
    "redirects with bodies without end": (lambda: forever(MOVED + b"\r\n", BLOCK), {}, "redirects in a circle"),
    "a refusal without end": (
        lambda: forever(REFUSED + b"\r\n", BLOCK),
        {"auth_type": "digest", "username": "a", "password": "hush-password"},
        "HTTP 401",
    ),
    "an error without end": (lambda: forever(b"HTTP/1.1 500 No\r\n\r\n", BLOCK), {}, "HTTP 500"),
    "450,000 series": (lambda: whole(MANY), {"serving_system": "mlserver"}, "`sample_limit` (200000)"),
    "450,000 series in gzip": (
        lambda: packed(bomb(MANY, 1)),
        {"serving_system": "mlserver"},
        "`sample_limit` (200000)",
    ),
    "9,000 labels each": (
        lambda: whole(LABELS * 600),
        {"serving_system": "mlserver"},
        "more than 2000000 labels together",
    ),
    "readiness: gzip in gzip": (
        lambda: ready(packed(bomb(b"[" * 65536, 1 << 14, 2), b"gzip, gzip")),
        READY,
        "",
    ),
    "readiness: 1 GiB in gzip": (lambda: ready(packed(bomb(b"[" * 65536, 1 << 14))), READY, ""),
    "readiness without end": (lambda: ready(forever(JSON + b"\r\n", BLOCK)), READY, ""),
    "readiness of millions of values": (lambda: ready(whole(b"[" + b"{}," * 1_300_000 + b"0]")), READY, ""),
    "readiness that is a redirect without end": (lambda: ready(forever(MOVED + b"\r\n", BLOCK)), READY, ""),
    "a token without end": (lambda: token(forever(JSON + b"\r\n", BLOCK)), OAUTH, "no token from"),
    "a token in gzip in gzip": (
        lambda: token(packed(bomb(b"[" * 65536, 1 << 14, 2), b"gzip, gzip")),
        OAUTH,
        "no token from",
    ),
    "a token that is a redirect without end": (lambda: token(forever(MOVED + b"\r\n", BLOCK)), OAUTH, "no token from"),
}
"""A hostile answer, options of the instance, and what the run says of it; nothing where the run itself is fine."""


def instance_of(port: int, options: dict[str, Any]) -> dict[str, Any]:
    """An instance with options, in whose texts `{port}` is filled in. None takes one away."""
    found = {"openmetrics_endpoint": "http://127.0.0.1:{port}/metrics", "readiness_interval": 0, **options}
    return {
        name: value.replace("{port}", str(port)) if isinstance(value, str) else value
        for name, value in found.items()
        if value is not None
    }


@pytest.mark.parametrize("name", MEMORY)
def test_memory_has_a_bound(name: str) -> None:
    """No answer takes more than twice what a payload may have, and nothing is remembered of one that was refused."""
    answer, options, words = MEMORY[name]
    with hostile(answer()) as port:
        found = run_in_process(instance_of(port, {"timeout": 10, **options}))
    assert words in found["message"] if words else found["message"] == "", found
    assert "hush-" not in json.dumps(found)
    assert found["memory"] < 128, found
    if words:
        assert found["series"] == 0


def drip(start: bytes, block: bytes = b"a") -> Behaviour:
    return forever(start, block, 0.05)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
DRIPS: dict[str, tuple[Callable[[], Behaviour], dict[str, Any]]] = {
    "a line of the headers": (lambda: drip(OK + b"X-A: "), {}),
    "headers": (lambda: drip(OK, b"X-A: a\r\n"), {}),
    "100 Continue": (lambda: drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), {}),
    "the first line": (lambda: drip(b"HTTP/1.1 200 "), {}),
    "a body until it is closed": (lambda: drip(OK + b"\r\n" + METRICS), {}),
    "a body of a length": (lambda: drip(OK + b"Content-Length: 9999\r\n\r\n" + METRICS), {}),
    "the size of a chunk": (lambda: drip(CHUNKED, b"0"), {}),
    "what follows the last chunk": (lambda: drip(CHUNKED + b"0\r\n", b"X-A: a\r\n"), {}),
    "gzip that comes to nothing": (
        lambda: drip(OK + b"Content-Encoding: gzip\r\n\r\n" + bomb(b"", 0)[:10], b"\0\0\0\xff\xff"),
        {},
    ),
    "headers of a redirect's target": (
        lambda: by_path({b"/metrics": whole(b"", start=MOVED)}, drip(OK + b"X-A: ")),
        {},
    ),
    "a refusal": (lambda: drip(REFUSED + b"\r\n"), {"auth_type": "digest", "username": "a", "password": "b"}),
    "a token's headers": (lambda: token(drip(JSON + b"X-A: ")), OAUTH),
    "a token": (lambda: token(drip(JSON + b"\r\n", b" ")), OAUTH),
    "through a proxy": (
        lambda: drip(OK + b"X-A: "),
        {"openmetrics_endpoint": "http://h.example/metrics", "proxy": {"http": "http://127.0.0.1:{port}"}},
    ),
    "with connections kept": (lambda: drip(OK + b"X-A: "), {"persist_connections": True}),
}


@pytest.mark.parametrize("kind", ["one", "several"])
@pytest.mark.parametrize("name", DRIPS)
def test_every_run_ends(name: str, kind: str, aggregator: Any, datadog_agent: Any) -> None:
    """What never stops, and never lets a time-out pass, is cut off at the deadline."""
    answer, options = DRIPS[name]
    with hostile(answer()) as port:
        instance = instance_of(port, {"timeout": 30, "endpoint_deadline": DEADLINE, **options})
        if "proxy" in instance:
            instance["proxy"] = {"http": f"http://127.0.0.1:{port}"}
        if kind == "several":
            if "databricks_host" in instance:
                del instance["endpoint_name"]
            else:
                instance["openmetrics_endpoints"] = [instance.pop("openmetrics_endpoint")]
        check = make_check(**instance)
        message = json.loads(ended(check))[0]["message"]
        check.cancel()
    # A body that has come to its end, and has nothing in it, is whole for what takes it as it comes.
    assert any(words in message for words in ("`endpoint_deadline`", "no token from", "the answer is empty")), message


READY_DRIPS = {
    "headers": drip(JSON + b"X-A: "),
    "a body": drip(JSON + b"\r\n", b" "),
    "a body of a length": drip(JSON + b"Content-Length: 99999\r\n\r\n", b" "),
    "100 Continue": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("name", READY_DRIPS)
def test_every_probe_ends(name: str, aggregator: Any, datadog_agent: Any) -> None:
    """The metrics have come, so the run is fine; of readiness it is told that there was no answer."""
    with hostile(ready(READY_DRIPS[name])) as port:
        check = make_check(**instance_of(port, {"timeout": 30, "endpoint_deadline": DEADLINE, **READY}))
        assert ended(check) == ""
        check.cancel()
    # Of a body that is cut off the status is there, and enough.
    (found, *_) = aggregator.service_checks("model_serving.endpoint.ready")
    assert name == "a body" or found.status == 2


def test_a_run_over_a_socket_ends(tmp_path: Path, aggregator: Any, datadog_agent: Any) -> None:
    path = f"{tmp_path}/a.sock"
    with hostile(drip(OK + b"X-A: "), path):
        check = make_check(openmetrics_endpoint=f"unix://{path}/metrics", timeout=30, endpoint_deadline=DEADLINE)
        assert "endpoint_deadline" in ended(check)
        check.cancel()


@pytest.mark.parametrize("name", DRIPS)
def test_a_cancelled_run_ends(name: str, aggregator: Any, datadog_agent: Any) -> None:
    """However long it might have waited, and it says nothing of what was cut off by that."""
    answer, options = DRIPS[name]
    reached = threading.Event()
    behaviour = answer()

    def tell(connection: Any, head: bytes) -> None:
        reached.set()
        behaviour(connection, head)

    with hostile(tell) as port:
        instance = instance_of(port, {"timeout": 300, "endpoint_deadline": 600, **options})
        if "proxy" in instance:
            instance["proxy"] = {"http": f"http://127.0.0.1:{port}"}
        check = make_check(**instance)
        reports: list[str] = []
        thread = threading.Thread(target=lambda: reports.append(check.run()), daemon=True)
        thread.start()
        assert reached.wait(60)
        check.cancel()
        thread.join(60)
        assert reports == [""]
    assert [each for each in aggregator.service_checks("model_serving.openmetrics.health") if each.status] == []


def ended(check: Any) -> str:
    """The report of a run, which has to end."""
    reports: list[str] = []
    thread = threading.Thread(target=lambda: reports.append(check.run()), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "the run goes on"
    return reports[0]
