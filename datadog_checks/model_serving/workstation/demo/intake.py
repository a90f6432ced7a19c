"""A stand-in for Datadog's intake: takes what the API is documented to take, refuses the rest, and keeps what arrived.

It is for one key, on 127.0.0.1. Of a series it keeps the last value at a time, as Datadog does; values of distributions
add up. Points that Datadog would not take any more are answered with 202 and left out, as there.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from ...errors import InternalSignal
from ..standin.sketch import Sketch

API_KEY = "0123456789abcdef0123456789abcdef"

TYPES = {1: "count", 2: "rate", 3: "gauge"}
FUTURE = 600.0
METRIC_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,199}")


class ArrivedContext(NamedTuple):
    """A metric with its tags, sorted, and its host."""

    metric: str
    tags: tuple[str, ...]
    host: str


@dataclass(slots=True)
class Arrived:
    """What an intake has taken.

    `series` and `intervals` are by context and type: values, or seconds, by time. `distributions` are by context and
    time. `too_old` counts points that came too late or from the future.
    """

    series: dict[tuple[ArrivedContext, str], dict[int, float]] = field(default_factory=dict)
    intervals: dict[tuple[ArrivedContext, str], dict[int, int]] = field(default_factory=dict)
    distributions: dict[ArrivedContext, dict[int, Sketch]] = field(default_factory=dict)
    service_checks: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    too_old: int = 0

    def totals(self) -> Counter[ArrivedContext]:
        """The sum of each count over all time."""
        found: Counter[ArrivedContext] = Counter()
        for (context, kind), points in self.series.items():
            if kind == "count":
                found[context] += sum(points.values())  # type: ignore[assignment]
        return found

    def sketches(self) -> dict[ArrivedContext, Sketch]:
        """Each distribution over all time."""
        found: dict[ArrivedContext, Sketch] = {}
        for context, sketches in self.distributions.items():
            for sketch in sketches.values():
                found.setdefault(context, Sketch()).merge(sketch)
        return found


class RefusedRequest(InternalSignal):
    """An answer that takes nothing."""

    def __init__(self, status: int, words: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.headers = dict(headers or {})


class LostAnswer(InternalSignal):
    """The connection ends without an answer."""


Interference = Callable[[str, bool], None]
"""Called with the path of a request before it is taken (False) and after (True). It may raise RefusedRequest or
LostAnswer, or take its time."""


class RouteLimits(NamedTuple):
    sent: int
    plain: int
    encodings: tuple[str, ...]


ROUTES: Mapping[str, RouteLimits] = {
    "/api/v2/series": RouteLimits(512_000, 5_242_880, ("", "deflate", "gzip")),
    "/api/v1/distribution_points": RouteLimits(3_200_000, 62_914_560, ("", "deflate")),
    "/api/v1/check_run": RouteLimits(512_000, 5_242_880, ("",)),
    "/api/v1/events": RouteLimits(512_000, 5_242_880, ("",)),
}


class SimulatedIntake:
    """Datadog's intake on a free port of 127.0.0.1, between `start` and `close` or within `with`.

    `clock` gives epoch seconds. `requests` counts answered requests by path and status, `bytes` what came over the wire
    by path; `largest` is the largest body by path, before it was compressed. `interfere` gets in the way.
    """

    def __init__(self, clock: Callable[[], float] = time.time, api_key: str = API_KEY) -> None:
        self.clock = clock
        self.api_key = api_key
        self.arrived = Arrived()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.bytes: Counter[str] = Counter()
        self.largest: Counter[str] = Counter()
        self.interfere: Interference = lambda path, taken: None
        self.lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Listen."""

        class Handler(_IntakeHandler):
            intake = self

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the port."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, method: str, path: str, headers: Mapping[str, str], sent: bytes) -> dict[str, Any]:
        """Take one request. Raises RefusedRequest or LostAnswer."""
        if headers.get("dd-api-key") != self.api_key:
            raise RefusedRequest(403, "Forbidden")
        if (method, path) == ("GET", "/api/v1/validate"):
            self.interfere(path, False)
            return {"valid": True}
        if method != "POST" or path not in ROUTES:
            raise RefusedRequest(404, "Not found")
        self.interfere(path, False)
        body = self._body(path, headers, sent)
        with self.lock:
            self.bytes[path] += len(sent)
            answer = _TAKE[path](self, body)
        self.interfere(path, True)
        return answer

    def _body(self, path: str, headers: Mapping[str, str], sent: bytes) -> Any:
        limits, encoding = ROUTES[path], headers.get("content-encoding", "")
        if len(sent) > limits.sent:
            raise RefusedRequest(413, "Payload too large")
        if encoding not in limits.encodings:
            raise RefusedRequest(400, f"Content-Encoding {encoding!r} is not supported")
        plain = sent
        if encoding:
            try:
                inflating = zlib.decompressobj(wbits=47 if encoding == "gzip" else 15)
                plain = inflating.decompress(sent, limits.plain + 1)
            except zlib.error:
                raise RefusedRequest(400, "Unable to decompress payload") from None
        if len(plain) > limits.plain:
            raise RefusedRequest(413, "Payload too large")
        self.largest[path] = max(self.largest[path], len(plain))
        try:
            return json.loads(plain, parse_constant=_no_constant)
        except ValueError:
            raise RefusedRequest(400, "Payload is not in the expected format") from None

    def take_series(self, body: Any) -> dict[str, Any]:
        """`POST /api/v2/series`."""
        found = []
        for one in _listed(body, "series", {"metric", "points"}, _SERIES_FIELDS):
            kind = TYPES.get(one.get("type", 3))
            _need(kind is not None, "type")
            _need(kind == "gauge" or _whole(one.get("interval")), "interval")
            hosts = [resource["name"] for resource in one.get("resources", ()) if resource["type"] == "host"]
            context = _context(one, hosts[0] if hosts else "")
            for point in one["points"]:
                _need(isinstance(point, dict) and set(point) == {"timestamp", "value"}, "points")
                _need(_whole(point["timestamp"]) and _number(point["value"]), "points")
                found.append((context, str(kind), point["timestamp"], float(point["value"]), one.get("interval", 0)))
        for context, name, timestamp, value, interval in found:
            if self._in_time(timestamp):
                self.arrived.series.setdefault((context, name), {})[timestamp] = value
                self.arrived.intervals.setdefault((context, name), {})[timestamp] = interval
        return {"errors": []}

    def take_distributions(self, body: Any) -> dict[str, Any]:
        """`POST /api/v1/distribution_points`."""
        found = []
        for one in _listed(body, "series", {"metric", "points"}, _DISTRIBUTION_FIELDS):
            _need(one.get("type", "distribution") == "distribution", "type")
            context = _context(one, one.get("host", ""))
            for point in one["points"]:
                _need(isinstance(point, list) and len(point) == 2 and isinstance(point[1], list), "points")
                _need(_whole(point[0]) and all(map(_number, point[1])), "points")
                found.append((context, point[0], Counter(map(float, point[1]))))
        for context, timestamp, values in found:
            if self._in_time(timestamp):
                sketch = self.arrived.distributions.setdefault(context, {}).setdefault(timestamp, Sketch())
                for value, count in values.items():
                    sketch.insert_bucket(value, value, count)
        return {"status": "ok"}

    def take_checks(self, body: Any) -> dict[str, Any]:
        """`POST /api/v1/check_run`."""
        _need(isinstance(body, list), "body")
        for one in body:
            _need(isinstance(one, dict) and {"check", "host_name", "status", "tags"} <= set(one), "required fields")
            _need(set(one) <= {"check", "host_name", "status", "tags", "message", "timestamp"}, "fields")
            _need(one["status"] in (0, 1, 2, 3) and _tags(one["tags"]), "status or tags")
        self.arrived.service_checks += body
        return {"status": "ok"}

    def take_event(self, body: Any) -> dict[str, Any]:
        """`POST /api/v1/events`."""
        _need(isinstance(body, dict) and {"title", "text"} <= set(body), "required fields")
        _need(set(body) <= _EVENT_FIELDS, "fields")
        _need(len(body["text"]) <= 4000 and len(body.get("aggregation_key", "")) <= 100, "length")
        _need(body.get("alert_type", "info") in _ALERT_TYPES and _tags(body.get("tags", [])), "alert_type or tags")
        self.arrived.events.append(body)
        return {"status": "ok", "event": {"id": len(self.arrived.events)}}

    def _in_time(self, timestamp: float) -> bool:
        now = self.clock()
        if now - 3600 <= timestamp <= now + FUTURE:
            return True
        self.arrived.too_old += 1
        return False


_SERIES_FIELDS = {"interval", "metadata", "metric", "points", "resources", "source_type_name", "tags", "type", "unit"}
_DISTRIBUTION_FIELDS = {"host", "metric", "points", "tags", "type"}
_EVENT_FIELDS = {
    *("aggregation_key", "alert_type", "date_happened", "device_name", "host", "priority", "related_event_id"),
    *("source_type_name", "tags", "text", "title"),
}
_ALERT_TYPES = ("error", "warning", "info", "success", "user_update", "recommendation", "snapshot")

_TAKE: Mapping[str, Callable[[SimulatedIntake, Any], dict[str, Any]]] = {
    "/api/v2/series": SimulatedIntake.take_series,
    "/api/v1/distribution_points": SimulatedIntake.take_distributions,
    "/api/v1/check_run": SimulatedIntake.take_checks,
    "/api/v1/events": SimulatedIntake.take_event,
}


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _need(right: bool, what: str) -> None:
    if not right:
        raise RefusedRequest(400, f"Payload is not in the expected format: {what}")


def _listed(body: Any, key: str, required: set[str], fields: set[str]) -> list[dict[str, Any]]:
    _need(isinstance(body, dict) and isinstance(body.get(key), list), key)
    for one in body[key]:
        _need(isinstance(one, dict) and required <= set(one) <= fields, f"fields of {key}")
        _need(isinstance(one["points"], list) and _tags(one.get("tags", [])), "points or tags")
    found: list[dict[str, Any]] = body[key]
    return found


def _context(one: Mapping[str, Any], host: str) -> ArrivedContext:
    _need(isinstance(one["metric"], str) and METRIC_NAME.fullmatch(one["metric"]) is not None, "metric")
    return ArrivedContext(one["metric"], tuple(sorted(one.get("tags", ()))), host)


def _tags(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(tag, str) for tag in value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class _IntakeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    intake: SimulatedIntake

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        sent = self.rfile.read(int(headers.get("content-length") or 0))
        extra: dict[str, str] = {}
        try:
            status, body = 202, self.intake.answer(self.command, self.path, headers, sent)
            status = 200 if self.command == "GET" else 202
        except RefusedRequest as refused:
            status, body, extra = refused.status, {"errors": [refused.words]}, refused.headers
        except LostAnswer:
            self.close_connection = True
            return
        self.intake.requests[self.path, status] += 1
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(text)), **extra}.items():
            self.send_header(name, value)
        # In one piece, so that no acknowledgement is waited for between head and body.
        self._headers_buffer.append(b"\r\n" + text)  # type: ignore[attr-defined]
        self.flush_headers()

    do_GET = do_POST = _serve

    def log_message(self, format: str, *args: Any) -> None:
        pass
