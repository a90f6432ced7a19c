"""Whatever an endpoint answers: a message that helps, a check that lives on, and numbers that stay true."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trustme
from datadog_checks.base.checks.openmetrics.v2.transform import MetricTransformer

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.catalog.plain_text import plain_text
from datadog_checks.model_serving.http import body as body_module
from datadog_checks.model_serving.scrape import collector as collector_module
from datadog_checks.model_serving.scrape.tags import TagRules
from datadog_checks.model_serving.submit.series import Series
from datadog_checks.model_serving.submit.submitter import Submitter

from ..conftest import Answer, Endpoint, make_check, submissions
from ..ports import free_port

ROOT = Path(__file__).parents[2]
HIDDEN = ("serving_system", "endpoint_name")
BUCKETS = "0..1:0,1..inf:0"
HEALTH = "model_serving.openmetrics.health"
OK, CRITICAL = 0, 2

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Handler = BaseHTTPRequestHandler
Served = Answer | Callable[[Handler], None]


def good(number: int) -> str:
    """A sound MLServer payload in which every total is `number`."""
    return f"""\
# TYPE model_infer_request_success_total counter
model_infer_request_success_total{{model="m"}} {number}
# TYPE batch_request_queue histogram
batch_request_queue_bucket{{model_name="m",le="1.0"}} {number // 2}
batch_request_queue_bucket{{model_name="m",le="+Inf"}} {number}
batch_request_queue_count{{model_name="m"}} {number}
batch_request_queue_sum{{model_name="m"}} {number * 3}
"""


def grown(number: int, lower: int) -> list[str]:
    """What `good` submits when every total has grown by `number`, of which `lower` are in the first bucket."""
    queue = "model_name:m queue:batching"
    return [
        f"count request.count {number} model_name:m",
        f"count request.queue.depth.count {number} {queue}",
        f"count request.queue.depth.sum {number * 3} {queue}",
        f"distribution request.queue.depth 0..1:{lower},1..inf:{number - lower} {queue}",
    ]


def text(body: str | bytes, content_type: str | None = "text/plain", **headers: str) -> Answer:
    """An answer with a body, and headers written with underscores."""
    data = body if isinstance(body, bytes) else body.encode()
    return Answer(data, content_type, headers={name.replace("_", "-"): value for name, value in headers.items()})


def broken_off(start: bytes, **headers: str) -> Callable[[Handler], None]:
    """An answer whose connection is closed behind `start`, whatever `headers` promise."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        for name, value in {"Content_Type": "text/plain", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(start)

    return answer


def endless(block: Callable[[int], bytes], megabytes: int = 100, **headers: str) -> Callable[[Handler], None]:
    """An answer of so many megabytes, as far as the client takes them."""

    def answer(handler: Handler) -> None:
        broken_off(b"", **headers)(handler)
        sent = 0
        try:
            for number in count():
                sent += handler.wfile.write(block(number))
                if sent >= megabytes << 20:
                    return
        except OSError:
            return

    return answer


def slow(handler: Handler) -> None:
    """Headers at once, then nothing until the client has gone."""
    broken_off(b"", Content_Length="100")(handler)
    handler.connection.settimeout(60)
    handler.rfile.read(1)


def silent(handler: Handler) -> None:
    """No answer at all until the client has gone."""
    handler.connection.settimeout(60)
    handler.rfile.read(1)


def drip(handler: Handler) -> None:
    """A byte now and then, each long before a time-out."""
    broken_off(b"")(handler)
    try:
        while True:
            handler.wfile.write(b"a")
            time.sleep(0.002)
    except OSError:
        return


def redirect(handler: Handler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/login?next=%2Fmetrics&token=hush-hush")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def circle(handler: Handler) -> None:
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def status(code: int) -> Answer:
    return Answer(b"model_infer_request_success 999\n", "text/plain", code)


LOGIN = "<!DOCTYPE html>\n<html><body><form action='/login'>Sign in</form></body></html>\n"
HALF = good(1000).encode()[:-12]
BOMB = gzip.compress(b"a" * (100 << 20), 1)
NEWLINES = gzip.compress(b"\n" * (100 << 20), 1)

REFUSED: dict[str, tuple[Served, dict[str, Any], tuple[str, ...]]] = {
    "an empty body": (text(""), {}, ("the answer is empty", "path of the URL")),
    "blank lines": (text("\n \n\r\n"), {}, ("the answer is empty",)),
    "HTML": (text(LOGIN, "text/html; charset=utf-8"), {}, ("HTML", "text/html", "path of the URL")),
    "HTML called text": (text(LOGIN), {}, ("HTML", "text/plain", "path of the URL")),
    "HTML without a line end": (text("<html>"), {}, ("HTML",)),
    "HTML called OpenMetrics": (text(LOGIN, OPENMETRICS), {}, ("HTML", "openmetrics-text")),
    "JSON": (text('{"error": "no such route"}', "application/json"), {}, ("JSON", "application/json")),
    "a JSON list": (text("[]"), {}, ("JSON", "text/plain")),
    "JSON in small pieces": (broken_off(b'\n {\n  "error": 1\n}\n'), {}, ("JSON",)),
    "less than announced": (broken_off(HALF, Content_Length="9999"), {}, ("broke off", "nothing of it was used")),
    "half a chunk": (
        broken_off(b"%x\r\n%b" % (len(HALF) + 50, HALF), Transfer_Encoding="chunked"),
        {},
        ("broke off", "nothing of it was used"),
    ),
    "no last chunk": (
        broken_off(b"%x\r\n%b\r\n" % (len(HALF), HALF), Transfer_Encoding="chunked"),
        {},
        ("broke off",),
    ),
    "half a gzip": (
        broken_off(gzip.compress(HALF)[:-50], Content_Encoding="gzip", Content_Length="999"),
        {},
        ("broke off",),
    ),
    "a line without end": (endless(lambda number: b"x" * 65536), {}, ("a line is longer than 131072 bytes", "URL")),
    "a label without end": (endless(lambda number: b'a{b="' + b"x" * 65536), {}, ("a line is longer",)),
    "lines of garbage": (
        endless(lambda number: b"%d garbage; not a metric\n" % number * 1000),
        {},
        ("the first 100 lines hold no metric", "garbage; not a metric", "URL"),
    ),
    "binary": (text(bytes(range(1, 256)) * 40, "application/octet-stream"), {}, ("hold no metric", "URL")),
    "a gzip bomb": (text(BOMB, Content_Encoding="gzip"), {}, ("a line is longer",)),
    "a bomb of line ends": (
        text(NEWLINES, Content_Encoding="gzip"),
        {"max_payload_bytes": 8 << 20},
        ("larger than `max_payload_bytes` (8388608)",),
    ),
    "more than allowed": (text(good(1000) * 20), {"max_payload_bytes": 5000}, ("`max_payload_bytes` (5000)", "raise")),
    "more lines than allowed": (
        endless(lambda number: b'unknown_%d{l="%b"} 1\n' % (number, b"x" * 10000)),
        {"max_payload_bytes": 4 << 20},
        ("`max_payload_bytes`",),
    ),
    "gzip that doesn't say so": (
        text(gzip.compress(good(1000).encode())),
        {},
        ("compressed with gzip", "text/plain", "`Content-Encoding: gzip`"),
    ),
    "UTF-16": (text(good(1000).encode("utf-16")), {}, ("UTF-16", "have the server send UTF-8")),
    "one line, cut off": (
        broken_off(b"model_infer_request_success_total 1"),
        {},
        ("ends within its first line", "URL"),
    ),
    "gzip that is none": (text(good(1000), Content_Encoding="gzip"), {}, ("can't be decompressed", "proxy")),
    "a broken gzip": (
        text(gzip.compress(good(1000).encode())[:20] + b"xxxx" * 20, Content_Encoding="gzip"),
        {},
        ("decompressed",),
    ),
    "a login page": (redirect, {}, ("HTML page", "after a redirect to", "/login", "login page", "credentials")),
    "a circle of redirects": (circle, {}, ("circle", "URL")),
    "no answer": (silent, {"read_timeout": 3}, ("connected, but no answer within the time-out", "raise `timeout`")),
    "half an answer": (slow, {"read_timeout": 3}, ("no answer within the time-out",)),
    "a slow drip": (drip, {"endpoint_deadline": 0.5}, ("no complete answer within 0.5 s", "`endpoint_deadline`")),
    "HTTP 401": (status(401), {}, ("HTTP 401", "credentials are refused", "`headers`")),
    "HTTP 403": (status(403), {}, ("HTTP 403", "permission")),
    "HTTP 404": (status(404), {}, ("HTTP 404", "check the URL")),
    "HTTP 429": (status(429), {}, ("HTTP 429", "`min_collection_interval`")),
    "HTTP 500": (status(500), {}, ("HTTP 500", "log")),
    "OpenMetrics that is none": (text("a b c\n" * 10, OPENMETRICS), {}, ("declared OpenMetrics", "URL")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A bad answer is told, submits nothing, loses nothing, and touches no other instance."""
    answer, options, words = REFUSED[name]
    check = mlserver(endpoint.url, **options)
    other = mlserver(f"http://127.0.0.1:{endpoint.port}/other")
    endpoint.answers["/login?next=%2Fmetrics&token=hush-hush"] = text(LOGIN, "text/html")
    endpoint.serve(good(10))
    endpoint.serve(good(10), "/other")
    assert (check.run(), other.run()) == ("", "")

    endpoint.answers["/metrics"] = answer
    endpoint.serve(good(12), "/other")
    aggregator.reset()
    message = failure(check)
    assert message.startswith(f"{endpoint.url}: ")
    assert all(word in message for word in words), message
    assert "hush" not in message
    assert [(health.status, health.message) for health in aggregator.service_checks(HEALTH)] == [
        (CRITICAL, plain_text(message))
    ]
    assert [line for line in submissions(aggregator, HIDDEN, BUCKETS) if ".rejected" not in line] == []

    aggregator.reset()
    assert other.run() == ""
    assert submissions(aggregator, HIDDEN, BUCKETS) == grown(2, 1)

    aggregator.reset()
    endpoint.serve(good(30))
    assert check.run() == ""
    assert submissions(aggregator, HIDDEN, BUCKETS) == grown(20, 10)
    assert [health.status for health in aggregator.service_checks(HEALTH)] == [OK]


def mlserver(url: str, **options: Any) -> ModelServingCheck:
    """A check of an MLServer that isn't asked for readiness."""
    return make_check(
        openmetrics_endpoint=url,
        serving_system="mlserver",
        readiness=False,
        tag_by_endpoint=False,
        timeout=30,
        **options,
    )


def failure(check: ModelServingCheck) -> str:
    """The message of a run, which has to fail."""
    report = check.run()
    assert report, "the run did not fail"
    message: str = json.loads(report)[0]["message"]
    return message


# -- connections


@contextmanager
def serving(body: str, port: int = 0, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that answers everything with `body`, over TLS where a context is given. Yields its port."""

    class Plain(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up is what some of these tests are about."""

    server = Quiet(("127.0.0.1", port), Plain)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def closed() -> Iterator[int]:
    """A port at which nothing listens."""
    yield free_port()


@contextmanager
def deaf() -> Iterator[int]:
    """A port whose queue of connections is full, so that further ones get no answer."""
    port = free_port()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield port


@contextmanager
def hanging_up() -> Iterator[int]:
    """A port that closes every connection at once."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as listener:

        def hang_up() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        yield port
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


CONNECTIONS = {
    "nothing listens": (closed, "http", {}, ("no connection", "host and port")),
    "no one accepts": (deaf, "http", {"connect_timeout": 0.3}, ("no connection within the time-out", "firewall")),
    "a hang-up": (hanging_up, "http", {}, ("closed the connection without an answer",)),
    "no TLS behind https": (lambda: serving(good(1)), "https", {}, ("the TLS connection failed", "Write http://")),
}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_no_connection(name: str, aggregator: Any, datadog_agent: Any) -> None:
    """What keeps a connection from coming about is told, and the same check works once it does come."""
    bad, scheme, options, words = CONNECTIONS[name]
    with bad() as port:
        check = mlserver(f"{scheme}://127.0.0.1:{port}/metrics", **options)
        message = failure(check)
    assert message.startswith(f"{scheme}://127.0.0.1:{port}/metrics: ")
    assert all(word in message for word in words), message
    assert [(health.status, health.message) for health in aggregator.service_checks(HEALTH)] == [
        (CRITICAL, plain_text(message))
    ]
    assert submissions(aggregator) == []
    if scheme == "https":
        return
    with serving(good(10), port):
        assert check.run() == ""
        assert submissions(aggregator) == [], "what was counted before the first scrape is no traffic"
    aggregator.reset()
    with serving(good(14), port):
        assert check.run() == ""
    assert submissions(aggregator, HIDDEN, BUCKETS) == grown(4, 2)


def test_ignored_connection_errors(aggregator: Any, datadog_agent: Any, endpoint: Endpoint) -> None:
    """With `ignore_connection_errors` no connection is no failure of the check, but neither health nor a scrape."""
    with closed() as port:
        check = mlserver(f"http://127.0.0.1:{port}/metrics", ignore_connection_errors=True)
        assert check.run() == ""
    health = aggregator.service_checks(HEALTH)
    assert [(each.status, "no connection" in each.message) for each in health] == [(CRITICAL, True)]
    with serving(good(10), port):
        assert check.run() == ""
    assert submissions(aggregator) == [], "a server met for the first time is not one that started since"
    with serving(good(14), port):
        assert check.run() == ""
    assert submissions(aggregator, HIDDEN, BUCKETS) == grown(4, 2)

    endpoint.answers["/metrics"] = slow
    broken = mlserver(endpoint.url, ignore_connection_errors=True, read_timeout=0.3)
    assert "no answer within the time-out" in failure(broken), "half an answer is no missing connection"


# -- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[[str], ssl.SSLContext]]:
    """A certificate authority nobody knows: the file of its certificate, and contexts for servers it certifies."""
    certifier = trustme.CA()
    root_file = tmp_path_factory.mktemp("tls") / "ca.pem"
    certifier.cert_pem.write_to_path(str(root_file))

    def context(host: str) -> ssl.SSLContext:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certifier.issue_cert(host).configure_cert(server)
        return server

    return root_file, context


@pytest.mark.parametrize(
    ("host", "options", "words"),
    [
        ("127.0.0.1", {}, ("the TLS connection failed", "`tls_ca_cert`")),
        ("127.0.0.1", {"tls_ca_cert": "CA"}, ()),
        ("127.0.0.1", {"tls_verify": False}, ()),
        ("other.example", {"tls_ca_cert": "CA"}, ("the TLS connection failed", "of this host")),
        ("127.0.0.1", {"tls_ca_cert": "/no/such/ca.pem"}, ("option `tls_ca_cert`", "no file /no/such/ca.pem")),
    ],
    ids=["unknown authority", "tls_ca_cert", "tls_verify false", "another host", "no such file"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:datadog_checks")
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_tls(
    host: str, options: dict[str, Any], words: tuple[str, ...], authority: Any, aggregator: Any, datadog_agent: Any
) -> None:
    """A certificate that nobody vouches for is refused, with the option that mends it."""
    root, context = authority
    if options.get("tls_ca_cert") == "CA":
        options = {**options, "tls_ca_cert": str(root)}
    with serving(good(10), 0, context(host)) as port:
        check = mlserver(f"https://127.0.0.1:{port}/metrics", **options)
        if not words:
            assert check.run() == ""
            assert [health.status for health in aggregator.service_checks(HEALTH)] == [OK]
            return
        message = failure(check)
    assert all(word in message for word in words), message
    assert all(health.status == CRITICAL for health in aggregator.service_checks(HEALTH))


# -- answers that are odd, and taken

COUNT = "count request.count {} model_name:m".format
TAKEN: dict[str, Served] = {
    "gzip": text(gzip.compress(good(30).encode()), Content_Encoding="gzip"),
    "no content type": text(good(30), None),
    "octets": text(good(30), "application/octet-stream"),
    "text called OpenMetrics": text(good(30), OPENMETRICS),
    "text with counters named _total called OpenMetrics": text(
        good(30).replace("success_total counter", "success_total counter\n# HELP x y"), OPENMETRICS
    ),
    "OpenMetrics called text": text(good(30).replace("success_total counter", "success counter") + "# EOF\n"),
    "OpenMetrics": text(good(30).replace("success_total counter", "success counter") + "# EOF\n", OPENMETRICS),
    "OpenMetrics without EOF": text(good(30).replace("success_total counter", "success counter"), OPENMETRICS),
    "EOF in the middle": text(
        good(30).replace("success_total counter", "success counter").replace("# TYPE batch", "# EOF\n# TYPE batch"),
        OPENMETRICS,
    ),
    "Windows line ends": text(good(30).replace("\n", "\r\n")),
    "no line end at the end": text(good(30).rstrip("\n")),
    "no line end at the end, in chunks": broken_off(
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(good(30)) - 1, good(30)[:-1].encode()), Transfer_Encoding="chunked"
    ),
    "blanks and comments": text("\n# a comment\n#\n\n" + good(30).replace("\n", "  \n\n")),
    "a redirect to metrics": lambda handler: moved(handler),
    "a byte order mark": text(b"\xef\xbb\xbf" + good(30).encode()),
    "a byte order mark before OpenMetrics": text(
        b"\xef\xbb\xbf%b# EOF\n" % good(30).replace("success_total counter", "success counter").encode(), OPENMETRICS
    ),
    "a name in braces first": text('{__name__="not_ours", a="b"} 7\n' + good(30)),
    "a long name in quotes first": text('{"' + "not.ours" * 20 + '", a="b"} 7\n' + good(30)),
    "a UTF-8 name": text('{"not.ours", a="b"} 7\n' + good(30)),
}


def moved(handler: Handler) -> None:
    handler.send_response(307)
    handler.send_header("Location", "/other")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """An answer that is odd but whole is read like any other."""
    endpoint.serve(good(30), "/other")
    check = mlserver(endpoint.url)
    endpoint.serve(good(10))
    assert check.run() == ""
    endpoint.answers["/metrics"] = TAKEN[name]
    aggregator.reset()
    assert check.run() == ""
    assert [line for line in submissions(aggregator, HIDDEN, BUCKETS) if ".rejected" not in line] == grown(20, 10)
    assert [health.status for health in aggregator.service_checks(HEALTH)] == [OK]


# -- broken lines among good ones

NATIVE = "{count:1,sum:1.5,schema:0,zero_threshold:1e-10,zero_count:0,positive_spans:[0:1],positive_buckets:[1]}"
LINES = {
    "malformed lines": (
        'model_infer_request_success_total{model="b" 5\nmodel_infer_request_success_total{model="b"}\n'
        "model_infer_request_success_total{model=b} 5\n!garbage\n1234\n"
        'model_infer_request_success_total{model="b"} 12x4\nmodel_infer_request_success_total{model="b"} 1 2 3\n',
        ["5 raw_metric:model_infer_request_success_total reason:malformed", "2 raw_metric:unknown reason:malformed"],
    ),
    "a series twice": (
        'model_infer_request_success_total{model="m"} 777\n',
        ["1 raw_metric:model_infer_request_success reason:duplicate"],
    ),
    "a bucket twice": (
        'batch_request_queue_bucket{model_name="m",le="1"} 777\n',
        ["1 raw_metric:batch_request_queue reason:duplicate"],
    ),
    "a bucket without a bound": (
        'batch_request_queue_bucket{model_name="m"} 7\nbatch_request_queue_bucket{model_name="m",le="x"} 7\n'
        'batch_request_queue_bucket{model_name="m",le="NaN"} 7\n',
        ["3 raw_metric:batch_request_queue reason:malformed"],
    ),
    "buckets that fall": (
        'batch_request_queue_bucket{model_name="b",le="1"} 9\nbatch_request_queue_bucket{model_name="b",le="+Inf"} 3\n'
        'batch_request_queue_count{model_name="b"} 3\n',
        ["1 raw_metric:batch_request_queue reason:not_cumulative"],
    ),
    "negative buckets": (
        'batch_request_queue_bucket{model_name="b",le="1"} -9\nbatch_request_queue_count{model_name="b"} 3\n',
        ["1 raw_metric:batch_request_queue reason:out_of_range"],
    ),
    "no numbers": (
        'model_infer_request_success_total{model="b"} NaN\nmodel_infer_request_success_total{model="c"} +Inf\n'
        'model_infer_request_success_total{model="d"} -Inf\nrest_server_requests_in_progress NaN\n'
        'batch_request_queue_bucket{model_name="b",le="1"} NaN\nbatch_request_queue_count{model_name="b"} 3\n',
        [
            "3 raw_metric:model_infer_request_success reason:non_finite",
            "1 raw_metric:rest_server_requests_in_progress reason:non_finite",
            "1 raw_metric:batch_request_queue reason:non_finite",
        ],
    ),
    "numbers beyond all bounds": (
        'model_infer_request_success_total{model="b"} -1\nmodel_infer_request_success_total{model="c"} 1e999\n',
        [
            "1 raw_metric:model_infer_request_success reason:out_of_range",
            "1 raw_metric:model_infer_request_success reason:non_finite",
        ],
    ),
    "invalid UTF-8": (
        b"not_ours 1\nmodel_infer_request_\xff\xfe 1\n\xc3\x28\n",
        ["2 raw_metric:unknown reason:malformed"],
    ),
    "native histograms": (
        "# TYPE rest_server_request_duration_seconds histogram\n"
        f"rest_server_request_duration_seconds {NATIVE}\n"
        f'rest_server_request_duration_seconds{{endpoint="/"}} {NATIVE} 1788718020000\nnot_ours{NATIVE}\n',
        [
            "2 raw_metric:rest_server_request_duration_seconds reason:unsupported",
            "1 raw_metric:unknown reason:unsupported",
        ],
    ),
    "counts that no number holds": (
        'batch_request_queue_bucket{model_name="b",le="1"} 1\n'
        f'batch_request_queue_count{{model_name="b"}} {2**53 + 2}\n'
        'batch_request_queue_bucket{model_name="c",le="1"} 1e20\nbatch_request_queue_sum{model_name="c"} 3\n'
        f"model_infer_request_duration_count {2**63}\nmodel_infer_request_duration_sum 5\n",
        [
            "2 raw_metric:batch_request_queue reason:out_of_range",
            "1 raw_metric:model_infer_request_duration reason:out_of_range",
        ],
    ),
    "lines that are too long": (
        f'model_infer_request_success_total{{model="{"x" * body_module.MAX_LINE}"}} 5\n'
        f"# HELP not_ours {'x' * 300_000}\n{'x' * (3 << 20)}\n",
        ["1 raw_metric:model_infer_request_success_total reason:malformed", "2 raw_metric:unknown reason:malformed"],
    ),
    "metadata of no sense": (
        "# TYPE\n# TYPE x\n# TYPE not_ours timer\nnot_ours 3\n# TYPE 1x counter\n# HELP\n# TYPE y counter z\n#\n",
        ["6 raw_metric:unknown reason:malformed"],
    ),
}


@pytest.mark.parametrize("first", [True, False], ids=["in the first scrape", "later"])
@pytest.mark.parametrize("name", LINES)
def test_lines(name: str, first: bool, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A line that can't be read costs itself, is counted, and is nowhere taken for a number, then or later."""
    lines, rejected = LINES[name]
    bad = lines if isinstance(lines, bytes) else lines.encode()
    check = mlserver(endpoint.url)
    if not first:
        endpoint.serve(good(10))
        assert check.run() == ""
    aggregator.reset()
    endpoint.serve(good(12).encode() + bad)
    assert check.run() == ""
    expected = [f"count scrape.samples.rejected {what}" for what in rejected]
    assert submissions(aggregator, HIDDEN, BUCKETS) == sorted(([] if first else grown(2, 1)) + expected)
    assert [health.status for health in aggregator.service_checks(HEALTH)] == [OK]

    aggregator.reset()
    endpoint.serve(good(30))
    assert check.run() == ""
    assert submissions(aggregator, HIDDEN, BUCKETS) == grown(18, 9)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ('model_infer_request_success_total{model="m"} 12x4\n', 'model_infer_request_success_total{model="m"} 1240\n'),
        ('model_infer_request_success_total{model="m"} NaN\n', 'model_infer_request_success_total{model="m"} 1240\n'),
        ('model_infer_request_success_total{model="m"} -1\n', 'model_infer_request_success_total{model="m"} 1240\n'),
        (
            'batch_request_queue_bucket{model_name="m",le="1"} 9\nbatch_request_queue_count{model_name="m"} 3\n',
            'batch_request_queue_bucket{model_name="m",le="1"} 900\nbatch_request_queue_count{model_name="m"} 900\n',
        ),
    ],
    ids=["malformed", "no number", "out of range", "buckets that fall"],
)
def test_first_readings_lost(
    first: str, then: str, times: int, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """A total whose first readings were bad did not start at the first good one: its history is no traffic."""
    check = mlserver(endpoint.url)
    for body in (*["other 1\n" + first] * times, "other 1\n" + then):
        aggregator.reset()
        endpoint.serve(body)
        assert check.run() == ""
    assert submissions(aggregator) == []


def test_line_cut_in_half(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Where nothing tells the length of the answer, half a number at its end is none, and what is missing not new."""
    full = good(1000)
    check = mlserver(endpoint.url)
    endpoint.answers["/metrics"] = broken_off(full[: full.index("1000") + 2].encode())
    assert check.run() == ""
    assert submissions(aggregator, HIDDEN, BUCKETS) == [
        "count scrape.samples.rejected 1 raw_metric:model_infer_request_success_total reason:malformed"
    ]
    aggregator.reset()
    endpoint.serve(full)
    assert check.run() == ""
    assert submissions(aggregator, HIDDEN, BUCKETS) == []
    endpoint.answers["/metrics"] = broken_off(good(1100).encode()[:-3])
    assert check.run() == ""
    aggregator.reset()
    endpoint.serve(good(1200))
    assert check.run() == ""
    # The part of the histogram that was there had to wait for the part that was not: all of one time, or none.
    assert submissions(aggregator, HIDDEN, BUCKETS) == sorted([COUNT(100), *grown(200, 100)[1:]])


def test_openmetrics_cut_off(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Where nothing but its missing end tells that OpenMetrics was cut off, what comes back later is not new."""
    full = good(1000).replace("success_total counter", "success counter") + "# EOF\n"
    check = mlserver(endpoint.url)
    for body in (full[: full.index("\nmodel_infer") + 1], full):
        endpoint.answers["/metrics"] = broken_off(body.encode(), Content_Type=OPENMETRICS)
        assert check.run() == ""
    assert submissions(aggregator, HIDDEN, BUCKETS) == [
        "count scrape.samples.rejected 1 raw_metric:unknown reason:malformed"
    ]


def test_histogram_that_lost_a_line(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A bucket line that can't be read delays its histogram; what never comes back is done without."""
    check = mlserver(endpoint.url)
    sound = good(40)
    lost = sound.replace('le="1.0"} 20', 'le="1.0"} 2O')
    for body, expected in (
        (good(10), []),
        (lost, [COUNT(30)]),
        (good(50), [COUNT(10), *grown(40, 20)[1:]]),
        (good(60), grown(10, 5)),
        (without_bucket(70), [COUNT(10)]),
        (
            without_bucket(80),
            [
                COUNT(10),
                "count request.queue.depth.count 20 model_name:m queue:batching",
                "count request.queue.depth.sum 60 model_name:m queue:batching",
            ],
        ),
        (
            without_bucket(82),
            [
                COUNT(2),
                "count request.queue.depth.count 2 model_name:m queue:batching",
                "count request.queue.depth.sum 6 model_name:m queue:batching",
                "distribution request.queue.depth 1..inf:2 model_name:m queue:batching",
            ],
        ),
    ):
        aggregator.reset()
        endpoint.serve(body)
        assert check.run() == ""
        assert [line for line in submissions(aggregator, HIDDEN, BUCKETS) if ".rejected" not in line] == sorted(
            expected
        )


def without_bucket(number: int) -> str:
    """`good` from which the finite bucket is gone."""
    return "".join(line for line in good(number).splitlines(keepends=True) if 'le="1.0"' not in line)


@pytest.mark.parametrize(
    ("label", "tag"),
    [
        (r"we\"ird\\na}me{,=", 'we"ird\\na}me{,='),
        (r"two\nlines", "two_lines"),
        ("Größe 模型 🚀", "Größe 模型 🚀"),
        ("# EOF", "# EOF"),
        ("a,b:c d", "a,b:c d"),
        ("\t", "_"),
        ('} 1\\"', '} 1"'),
    ],
)
@pytest.mark.parametrize("content_type", ["text/plain", OPENMETRICS])
def test_odd_labels(
    label: str, tag: str, content_type: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """A label's value arrives in its tag, whatever it is made of, but for control characters."""
    check = mlserver(endpoint.url)
    for number in (5, 9):
        line = f'model_infer_request_success_total{{model="{label}",version="1"}} {number}'
        endpoint.serve(f"# TYPE model_infer_request_success counter\n{line}\n# EOF\n", content_type=content_type)
        assert check.run() == ""
    assert submissions(aggregator, HIDDEN, BUCKETS) == [
        f"count request.count 4 {' '.join(sorted([f'model_name:{tag}', 'model_version:1']))}"
    ]


BROKEN_FAMILIES = {
    "a value": "# TYPE other gauge\nother one\n",
    "a type": "# TYPE other timer\nother 1\n",
    "a timestamp": "# TYPE other gauge\nother 1 yesterday\n",
    "an exemplar": '# TYPE other counter\nother_total 1 # {a="b"\n',
    "interleaved": '# TYPE other gauge\nother{a="1"} 1\nother{a="2"} 1\nother{a="1"} 2\n',
    "twice": "# TYPE other gauge\nother 1\n# TYPE another gauge\nanother 1\n# TYPE other gauge\nother 2\n",
    "a counter declared with its suffix": "# TYPE other_total counter\nother_total 1\n",
    "a histogram without +Inf": '# TYPE other histogram\nother_bucket{le="1"} 1\nother_count 1\n',
    "blank lines": "\n\n# TYPE other gauge\n\nother 1\n\n",
}


@pytest.mark.parametrize("name", BROKEN_FAMILIES)
def test_broken_openmetrics_family(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A family that breaks the OpenMetrics rules costs at most itself."""
    check = mlserver(endpoint.url)
    for number in (10, 30):
        aggregator.reset()
        sound = good(number).replace("success_total counter", "success counter")
        endpoint.serve(BROKEN_FAMILIES[name] + sound + BROKEN_FAMILIES[name] + "# EOF\n", content_type=OPENMETRICS)
        assert check.run() == ""
    assert [line for line in submissions(aggregator, HIDDEN, BUCKETS) if ".rejected" not in line] == grown(20, 10)


@pytest.mark.parametrize("content_type", ["text/plain", OPENMETRICS])
def test_names_in_quotes(content_type: str, agent_parser: None, endpoint: Endpoint, aggregator: Any) -> None:
    """Names as Prometheus 3 writes them mean what they do without quotes, whatever the Agent does to its parser."""
    check = mlserver(endpoint.url, metrics=["our.jobs"])
    strict = content_type == OPENMETRICS
    for number in (5, 9):
        endpoint.serve(
            f'# HELP "model_infer_request_success{"" if strict else "_total"}" What it is.\n'
            f'# TYPE "model_infer_request_success{"" if strict else "_total"}" counter\n'
            f'{{"model_infer_request_success_total",model="q"}} {number}\n'
            f'{{"model_infer_request_success_total",model="r","zone-id"="5, }} \\"x\\""}} {number}\n'
            f'{{model="s","model_infer_request_success_total","version"="1"}} {number}\n'
            f'# TYPE "our.jobs" gauge\n{{"our.jobs","größe"="L"}} {number}\n# EOF\n',
            content_type=content_type,
        )
        aggregator.reset()
        assert check.run() == ""
    assert submissions(aggregator, HIDDEN) == [
        "count request.count 4 model_name:q",
        'count request.count 4 model_name:r zone-id:5, } "x"',
        "count request.count 4 model_name:s model_version:1",
        "gauge our.jobs 9 größe:L",
    ]
    assert [health.status for health in aggregator.service_checks(HEALTH)] == [OK]


def test_no_content(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, caplog: pytest.LogCaptureFixture) -> None:
    """HTTP 204 is an endpoint that has no metrics yet: what comes later has begun since."""
    check = mlserver(endpoint.url)
    endpoint.answers["/metrics"] = Answer(b"", None, 204, length=False)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            aggregator.reset()
            assert check.run() == ""
            assert submissions(aggregator) == []
            assert [health.status for health in aggregator.service_checks(HEALTH)] == [OK]
            assert [metric.value for metric in aggregator.metrics("model_serving.scrape.samples")] == [0]
    told = [(record.levelname, record.getMessage()) for record in caplog.records if "204" in record.getMessage()]
    assert told == [("INFO", f"{endpoint.url}: the endpoint has no metrics yet (HTTP 204)")]
    endpoint.serve(good(4))
    assert check.run() == ""
    assert submissions(aggregator, HIDDEN, BUCKETS) == grown(4, 2)


FAULTS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "its tags": (TagRules, "tags", lambda rules, system, labels, target, raw: raw.get("poison") == "1"),
    "its readings": (Series, "read", lambda series, layouts: series.raw.names[0] == POISON),
    "its validation": (collector_module, "sound", lambda series, reject: series.raw.names[0] == POISON),
    "its submission": (
        Submitter,
        "_series",
        lambda submitter, series, readings, fresh, told, now: series.raw.names[0] == POISON,
    ),
    "what the user wants of it": (
        MetricTransformer,
        "get",
        lambda transformer, metric: metric.name == POISON,
    ),
}
POISON = "rest_server_requests_in_progress"


@pytest.mark.parametrize("place", [0, 1, 7])
@pytest.mark.parametrize("fault", FAULTS)
def test_exception_in_one_family(
    fault: str,
    place: int,
    endpoint: Endpoint,
    aggregator: Any,
    datadog_agent: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A fault of the check itself in what it does for one family costs that family, and is told once."""
    where, name, hit = FAULTS[fault]
    real = getattr(where, name)

    def faulty(*args: Any) -> Any:
        if hit(*args):
            raise TypeError("a fault of ours")
        return real(*args)

    monkeypatch.setattr(where, name, faulty)
    check = mlserver(endpoint.url)
    with caplog.at_level(logging.WARNING):
        for number in (10, 30, 50):
            lines = good(number).splitlines(keepends=True)
            lines.insert(place, f'# TYPE {POISON} gauge\n{POISON}{{poison="0"}} 3\n{POISON}{{poison="1"}} 4\n')
            endpoint.serve("".join(lines))
            aggregator.reset()
            assert check.run() == ""
            found = submissions(aggregator, HIDDEN, BUCKETS)
            assert [line for line in found if POISON not in line and "in_flight" not in line] == (
                [] if number == 10 else grown(20, 10)
            )
            assert [line.split()[1:] for line in found if "rejected" in line] == [
                ["scrape.samples.rejected", "2", f"raw_metric:{POISON}", "reason:error"]
            ]
            assert [health.status for health in aggregator.service_checks(HEALTH)] == [OK]
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    refused = f"refused 2 sample(s) of {POISON}: error"
    assert told == [f"{endpoint.url}: {refused}. The fault is the check's own, its debug log says where"]


def test_messages_are_logged_once(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What is left out is said, with its place and an excerpt, the first time it happens."""
    check = mlserver(endpoint.url)
    endpoint.serve(good(1) + "gar bage\n" * 30)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert check.run() == ""
    told = [record.getMessage() for record in caplog.records if "malformed line" in record.getMessage()]
    assert told == [f"{endpoint.url}: left out a malformed line: 'gar bage'"]


# -- memory

SCRAPE = """
import json, re, sys
from pathlib import Path
from datadog_checks.model_serving import ModelServingCheck

def peak():
    # That of `resource` begins with what the parent had when it started this process.
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10

results = {}
for path in ["/good", *sys.argv[2:]]:
    instance = {"openmetrics_endpoint": sys.argv[1] + path, "serving_system": "auto", "max_payload_bytes": 200 << 20}
    if path == "/default":
        del instance["max_payload_bytes"]
    check = ModelServingCheck("model_serving", {}, [instance])
    report = check.run()
    results[path] = (peak(), json.loads(report)[0]["message"] if report else "")
print(json.dumps(results))
"""
"""Scrapes each path in turn, and prints the peak of resident memory in MiB after it, and the message."""

FLOODS: dict[str, tuple[Served, str]] = {
    "/line": (endless(lambda number: b"x" * 65536), "a line is longer"),
    "/garbage": (endless(lambda number: b"%d !\n" % number * 10000), "hold no metric"),
    "/bomb": (text(BOMB, Content_Encoding="gzip"), "a line is longer"),
    "/comments": (endless(lambda number: b"# %b\n" % (b"x" * 100_000)), ""),
    "/default": (endless(lambda number: b"# %b\n" % (b"x" * 100_000)), "`max_payload_bytes` (67108864)"),
    "/long": (endless(lambda number: b'u%d{l="%b"} 1\n' % (number, b"x" * 100_000), 8), ""),
    "/family": (
        endless(
            lambda number: (
                b"# TYPE u gauge\n" * (not number)
                + b"".join(b'u{l="%0100d"} 1\n' % (number * 500 + n) for n in range(500))
            ),
            4,
        ),
        "",
    ),
    "/names": (endless(lambda number: b"".join(b"a%x 1\n" % (number * 2000 + n) for n in range(2000)), 1), ""),
}


def test_memory(endpoint: Endpoint) -> None:
    """100 MB of whatever are refused or skipped, and less of what takes long to read is read, in little memory."""
    endpoint.serve(good(1), "/good")
    for path, (answer, _) in FLOODS.items():
        endpoint.answers[path] = answer
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRAPE, f"http://127.0.0.1:{endpoint.port}", *FLOODS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    results = json.loads(run.stdout)
    baseline = results.pop("/good")[0]
    for path, (peak, message) in results.items():
        expected = FLOODS[path][1]
        assert (expected in message) if expected else message == "", (path, message)
        # A body is kept until it is complete, 100 MB of it are allowed, and memory that was freed may come back late.
        assert peak - baseline < 130, f"{path} took {peak - baseline} MiB"


# -- secrets

SECRETS = {
    "bearer token": {"headers": {"Authorization": "Bearer hush-bearer-1234"}},
    "a header that isn't sent": {"extra_headers": {"X-Api-Key": "hush-key\n"}},
    "basic password": {"username": "user", "password": "hush-password"},
    "password in the URL": {"url": "http://user:hush%2Fpw@127.0.0.1:{port}/metrics"},
    "token in the query": {"url": "http://127.0.0.1:{port}/metrics?api_token=hush-query&match[]=up&sig=hush%2Bsig"},
    "Databricks token": {"url": None, "databricks_token": "hush-dapi", "endpoint_name": "e"},
}
FAILURES: dict[str, Served] = {
    "fine": text(good(5)),
    "401": status(401),
    "a login page": redirect,
    "a circle": circle,
    "broken off": broken_off(HALF, Content_Length="9999"),
    "garbage": text("garbage\n" * 200),
    "hang-up": lambda handler: handler.connection.close(),
}


@pytest.mark.parametrize("name", SECRETS)
def test_secrets(
    name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """No secret of the configuration is in a message, a traceback, a tag, a log or a representation."""
    options = dict(SECRETS[name])
    url = options.pop("url", "http://127.0.0.1:{port}/metrics")
    if url is None:
        options["databricks_host"] = f"http://127.0.0.1:{endpoint.port}"
    else:
        options["openmetrics_endpoint"] = url.format(port=endpoint.port)
    said = []
    with caplog.at_level(logging.DEBUG):
        check = make_check(serving_system="mlserver" if url else "databricks", log_requests=True, timeout=30, **options)
        for answer in FAILURES.values():
            for path in ("/metrics", "/metrics?api_token=hush-query&match[]=up&sig=hush%2Bsig"):
                endpoint.answers[path] = answer
            endpoint.answers["/api/2.0/serving-endpoints/e/metrics"] = answer
            endpoint.answers["/api/2.0/serving-endpoints/e"] = answer
            said += [check.run(), *check.warnings, repr(check), repr(check.settings)]
    for kind in aggregator.service_check_names:
        said += [f"{health.message} {health.tags}" for health in aggregator.service_checks(kind)]
    said += [str(metric) for kind in aggregator.metric_names for metric in aggregator.metrics(kind)]
    said += [f"{record.name}: {record.getMessage()} {record.exc_text or ''}" for record in caplog.records]
    assert any("127.0.0.1" in text for text in said)
    assert [text for text in said if "hush" in text] == []
    sent = [line for _, path, headers in endpoint.requests for line in (path, *headers.values())]
    if name != "a header that isn't sent":
        assert any("hush" in line or "Basic" in line for line in sent), "the secret never got to where it belongs"
