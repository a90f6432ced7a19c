"""The receiver of remote write, asked over HTTP as senders do and as nobody should."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from datadog_checks.model_serving.workstation.bridge import listening
from datadog_checks.model_serving.workstation.bridge.prometheus import receiver as receivers
from datadog_checks.model_serving.workstation.bridge.prometheus import wire
from datadog_checks.model_serving.workstation.bridge.prometheus.source import BridgeCheck
from datadog_checks.model_serving.workstation.bridge.prometheus.wire import Written, WrittenSeries, encode

from ....conftest import submissions
from ....ports import free_port

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
PATH = "/api/v1/write"


class Sender:
    """A check that listens, and a client that writes to it."""

    def __init__(self, **entry: Any) -> None:
        self.port = free_port()
        said = {"listen": f"127.0.0.1:{self.port}", "delay": "0s", **entry}
        self.check = BridgeCheck("model_serving", {}, [{"remote_write": said, "serving_system": "custom_ml"}])
        # It listens from the first run on.
        assert self.check.run() == ""

    def ask(
        self, body: bytes = b"", headers: dict[str, str] | None = None, path: str = PATH, method: str = "POST"
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body, HEADERS if headers is None else headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def write(self, *series: WrittenSeries, **types: str) -> tuple[int, str]:
        return self.ask(encode(Written(list(series), types)))


def series(name: str, value: float | None, ago: float = 0.0, **labels: str) -> WrittenSeries:
    return WrittenSeries(
        {"__name__": name, "job": "a", "instance": "i", **labels}, [(round((time.time() - ago) * 1000), value)]
    )


@pytest.fixture(scope="module")
def shared() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.check.cancel()


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.check.cancel()


def test_what_is_written_is_submitted(sender: Sender, aggregator: Any) -> None:
    assert sender.write(series("inference_requests_total", 100.0, 2, model="m"), series("model_accuracy", 0.5, 2)) == (
        204,
        "",
    )
    sender.check.run()
    assert sender.write(series("inference_requests_total", 104.0, 1, model="m"), series("model_accuracy", None, 1)) == (
        204,
        "",
    )
    aggregator.reset()
    sender.check.run()
    endpoint = f"endpoint_name:127.0.0.1:{sender.port}"
    assert submissions(aggregator, ("endpoint", "serving_system")) == [
        f"count bridge.remote_write.samples.count 2 {endpoint}",
        "count request.count 4 endpoint_name:a instance:i job:a model_name:m",
    ]


def test_refused_samples_are_told_and_counted_by_reason(sender: Sender, aggregator: Any) -> None:
    sender.write(series("model_accuracy", 0.5, 1))
    aggregator.reset()
    status, text = sender.write(series("model_accuracy", 0.4, 5), series("model_accuracy", 0.4, 900, model="x"))
    assert status == 400
    assert "1 older than one before it of the same series: two senders" in text
    assert "1 older than `max_age`" in text
    sender.check.run()
    refused = [line for line in submissions(aggregator) if "samples.rejected" in line]
    assert [line.split()[-2:] for line in refused] == [
        ["reason:out_of_order", "serving_system:custom_ml"],
        ["reason:too_old", "serving_system:custom_ml"],
    ]


def test_a_request_that_is_sent_again_is_no_mistake(shared: Sender) -> None:
    samples = [(round(time.time() * 1000) - before, 1.0) for before in (3000, 2000, 1000)]
    body = encode(Written([WrittenSeries({"__name__": "again"}, samples)]))
    assert shared.ask(body) == (204, "")
    # Only the last sample is remembered once it has been read.
    assert shared.check.run() == ""
    assert shared.ask(body) == (204, "")


SECOND = {**HEADERS, "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (HEADERS, None),
        ({**HEADERS, "Content-Type": "application/x-protobuf;proto=prometheus.WriteRequest"}, None),
        (SECOND, (415, "only remote write 1.0 is read")),
        (
            {**HEADERS, "X-Prometheus-Remote-Write-Version": "2.0.0"},
            (415, "`protobuf_message: "),
        ),
        ({**HEADERS, "Content-Type": "application/json"}, (415, "only remote write 1.0 is read")),
        ({"Content-Encoding": "snappy"}, (415, "only remote write 1.0 is read")),
        ({**HEADERS, "Content-Encoding": "gzip"}, (415, "only Snappy is read")),
        ({**HEADERS, "Content-Length": str(receivers.MAX_BODY + 1)}, (413, "lower `max_samples_per_send`")),
        ({**HEADERS, "Content-Length": "many"}, (411, "send Content-Length")),
    ],
)
def test_what_is_taken_and_what_is_not(shared: Sender, headers: dict[str, str], said: tuple[int, str] | None) -> None:
    status, text = shared.ask(encode(Written([series("taken", 1.0, 1, test=str(headers))])), headers)
    if said is None:
        assert (status, text) == (204, "")
    else:
        assert (status, said[1] in text) == (said[0], True), text


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"", "no Snappy block"), (b"hello", "no Snappy block"), (b"\xff\xff\xff\xff\x0f", "holds 4294967295 bytes")],
)
def test_a_body_that_is_none_is_refused_for_good(shared: Sender, body: bytes, said: str) -> None:
    status, text = shared.ask(body)
    assert (status, said in text) == (400, True), text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", PATH, 405), ("POST", "/api/v1/query", 404), ("PUT", PATH, 405), ("POST", f"{PATH}?x=1", 204)],
)
def test_other_requests(shared: Sender, method: str, path: str, status: int) -> None:
    assert shared.ask(encode(Written([])), path=path, method=method)[0] == status


def test_a_token_must_be_sent_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hidden-word")
    sender = Sender(token_env="TOKEN")
    try:
        body = encode(Written([]))
        assert sender.ask(body, {**HEADERS, "Authorization": "Bearer hidden-word"}) == (204, "")
        for wrong in ({}, {"Authorization": "Bearer hidden-wor"}, {"Authorization": "Basic hidden-word"}):
            status, text = sender.ask(body, {**HEADERS, **wrong})
            assert (status, "the token is missing or wrong" in text) == (401, True)
            assert "hidden" not in text
    finally:
        sender.check.cancel()


def test_a_sender_beyond_the_places_is_told_to_come_again(shared: Sender) -> None:
    """Requests whose bodies are still on their way hold all places."""
    waiting = []
    try:
        for _ in range(receivers.AT_ONCE):
            slow = socket.create_connection(("127.0.0.1", shared.port), timeout=10)
            head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
            slow.sendall(f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{head}Content-Length: 9\r\n\r\n12".encode())
            waiting.append(slow)
        places = shared.check.source.receiver._server.places
        while places._value:
            time.sleep(0.001)
        status, text = shared.ask(encode(Written([])))
        assert (status, "send it again" in text) == (503, True)
    finally:
        for slow in waiting:
            slow.close()
    while shared.ask(encode(Written([])))[0] == 503:
        time.sleep(0.001)


def test_a_body_that_drips_is_not_waited_for(shared: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a byte of it comes: four of these would keep everybody else out."""
    monkeypatch.setattr(receivers, "BODY_SECONDS", 0.2)
    slow = socket.create_connection(("127.0.0.1", shared.port), timeout=10)
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    slow.sendall(f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{head}Content-Length: 1000000\r\n\r\n".encode())
    slow.settimeout(0.02)
    with slow:
        for _ in range(1000):
            try:
                slow.sendall(b"x")
                if slow.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    raise AssertionError("it still waits for the body")


def test_very_many_series_in_one_request_are_refused(shared: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest of them take fifty times their bytes."""
    monkeypatch.setattr(wire, "MOST_SERIES", 3)
    assert shared.write(*(series(f"s{number}_of_many", 1.0) for number in range(3)))[0] == 204
    status, text = shared.write(*(series(f"t{number}_of_many", 1.0) for number in range(4)))
    assert (status, "4 samples of 4 series, more than 100000 of 3: lower `max_samples_per_send`" in text) == (400, True)


def test_connections_beyond_those_that_there_may_be_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST_CONNECTIONS", 2)
    sender = Sender()
    try:
        idle = [socket.create_connection(("127.0.0.1", sender.port), timeout=10) for _ in range(2)]
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            sender.ask(encode(Written([])))
        for connection in idle:
            connection.close()
        for _ in range(1000):
            with suppress(http.client.RemoteDisconnected, ConnectionError):
                assert sender.ask(encode(Written([])))[0] == 204
                break
        else:
            raise AssertionError("closed connections count for ever")
    finally:
        sender.check.cancel()


def test_a_port_that_is_taken_is_told_and_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        check = BridgeCheck("model_serving", {}, [{"remote_write": {"listen": f"127.0.0.1:{port}"}}])
        message = json.loads(check.run())[0]["message"]
    assert f"`remote_write.listen`: 127.0.0.1:{port} can't be listened on (Address already in use)" in message
    assert check.run() == ""
    check.cancel()


def test_nothing_for_long_is_told(sender: Sender) -> None:
    server = sender.check.source.receiver._server
    server.heard -= receivers.SILENCE + 1
    message = json.loads(sender.check.run())[0]["message"]
    assert "nothing was written for 301 s: check the `remote_write` of the sender" in message


def test_nothing_listens_after_the_end(sender: Sender) -> None:
    sender.check.cancel()
    with pytest.raises(ConnectionRefusedError):
        sender.ask()
