"""The HTTP API of a Prometheus, read by a check: what comes of its answers, and what is said of those it refuses."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from datadog_checks.base.stubs import aggregator as aggregator_stub
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.workstation.bridge.prometheus import query as queries
from datadog_checks.model_serving.workstation.bridge.prometheus.source import BridgeCheck

from ....conftest import submissions

SELECTOR = '{job="a"}'
AT = 1_800_000_000.0
HIDDEN = ("endpoint", "serving_system")

Said = tuple[int, dict[str, str], Any]
"""Status, headers and body of an answer; a body that is no bytes is sent as JSON."""


@dataclass
class StandInApi:
    """A server that takes the queries of the bridge and no others. `series` holds (labels, samples), those with a
    sample of None at their end have ended; `said` takes the place of an answer by the path it is for."""

    port: int = 0
    series: list[tuple[dict[str, str], list[tuple[float, str | None]]]] = field(default_factory=list)
    types: dict[str, list[str]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    said: Callable[[str, dict[str, str]], Said | None] = lambda path, query: None
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, query: dict[str, str]) -> Said:
        said = self.said(path, query)
        if said is not None:
            return said
        if path == "/api/v1/metadata":
            data: Any = {name: [{"type": kind} for kind in kinds] for name, kinds in self.types.items()}
            return 200, {}, {"status": "success", "data": data}
        if path != "/api/v1/query":
            return 404, {}, b"404 page not found"
        match = re.fullmatch(r'\{job="(\w+)"\}(\[\d+ms\])?( offset \d+ms)?', query["query"])
        assert match, query
        assert ("time" in query) == bool(match[2])
        result = []
        for labels, samples in self.series:
            if labels.get("job") != match[1]:
                continue
            numbers = [[at, value] for at, value in samples if value is not None]
            if match[2]:
                since = AT - int(match[2].strip("[ms]")) / 1000
                numbers = [[at, value] for at, value in numbers if at > since]
                result += [{"metric": labels, "values": numbers}] if numbers else []
            elif samples[-1][1] is not None:
                result.append({"metric": labels, "value": [AT, numbers[-1][1]]})
        kind = "matrix" if match[2] else "vector"
        return 200, {}, {"status": "success", "data": {"resultType": kind, "result": result}, **self.extra}


@pytest.fixture(scope="module")
def server() -> Iterator[list[StandInApi]]:
    current = [StandInApi()]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            current[0].asked.append((parts.path, query, dict(self.headers)))
            status, headers, body = current[0].answer(parts.path, query)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    current[0].port = http.server_port
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield current
    http.shutdown()
    http.server_close()


@pytest.fixture
def api(server: list[StandInApi]) -> StandInApi:
    server[0] = StandInApi(server[0].port)
    return server[0]


def check_of(api: StandInApi, path: str = "", match: tuple[str, ...] = (SELECTOR,), **options: Any) -> BridgeCheck:
    prometheus = {"url": f"{api.url}{path}", "match": list(match), **options.pop("prometheus", {})}
    return BridgeCheck("model_serving", {}, [{"prometheus": prometheus, "serving_system": "custom_ml", **options}])


def error_of(check: BridgeCheck) -> str:
    report = check.run()
    assert report, "the run succeeded"
    return json.loads(report)[0]["message"]


def samples(*values: str | None, every: float = 15.0) -> list[tuple[float, str | None]]:
    return [(AT - every * (len(values) - 1 - place), value) for place, value in enumerate(values)]


def labels(name: str, **more: str) -> dict[str, str]:
    return {"__name__": name, "job": "a", "instance": "i", **more}


def test_the_newest_samples_are_read_with_their_times(api: StandInApi, aggregator: Any) -> None:
    check = check_of(api, endpoint_name="e")
    for value in ("100", "104"):
        api.series = [(labels("inference_requests_total", model="m"), samples("90", value))]
        assert check.run() == ""
    assert submissions(aggregator, HIDDEN) == ["count request.count 4 endpoint_name:e instance:i job:a model_name:m"]
    paths = [(path, query.get("query"), query.get("time")) for path, query, _ in api.asked]
    assert paths[:3] == [
        ("/api/v1/query", SELECTOR, None),
        ("/api/v1/query", f"{SELECTOR}[120000ms]", repr(AT)),
        ("/api/v1/metadata", None, None),
    ]
    assert len(paths) == 5, "types are asked for once"


def test_what_has_ended_is_left_out(api: StandInApi, aggregator: Any) -> None:
    api.series = [
        (labels("model_accuracy", model="m"), samples("0.5", "0.6", "0.7")),
        (labels("model_accuracy", model="gone"), samples("0.9", "0.9", None)),
    ]
    check_of(api).run()
    assert submissions(aggregator, (*HIDDEN, "endpoint_name")) == [
        "gauge model.accuracy 70 instance:i job:a model_name:m"
    ]


def test_what_is_older_than_the_window_is_read_as_long_as_the_server_shows_it(api: StandInApi, aggregator: Any) -> None:
    """As the totals of a minute, which are exported with the time of the minute, two or three later."""
    check = check_of(api, endpoint_name="e", serving_system="databricks")
    for at, value in ((AT - 240, "7"), (AT - 240, "7"), (AT - 180, "4")):
        api.series = [(labels("request_count_total", served_model_name="m"), [(at, value)])]
        assert check.run() == ""
    counts = [line for line in submissions(aggregator, HIDDEN) if line.startswith("count request.count")]
    assert [line.split()[2] for line in counts] == ["4", "7"]


def test_a_delay_and_parameters_go_with_each_query(api: StandInApi) -> None:
    api.series = [(labels("model_accuracy"), samples("0.5"))]
    check = check_of(api, "/?dedup=true", prometheus={"delay": "30s", "window": "45s"})
    assert check.run() == ""
    assert [query.get("query") for _, query, _ in api.asked[:2]] == [
        f"{SELECTOR} offset 30000ms",
        f"{SELECTOR}[45000ms] offset 30000ms",
    ]
    assert {query["dedup"] for _, query, _ in api.asked} == {"true"}


def test_a_series_of_two_selectors_is_read_once(api: StandInApi, aggregator: Any) -> None:
    api.series = [(labels("model_accuracy"), samples("0.5"))]
    check_of(api, match=(SELECTOR, '{job="b"}', SELECTOR)).run()
    assert [line.split()[:3] for line in submissions(aggregator)] == [["gauge", "model.accuracy", "50"]]


def test_types_that_targets_agree_on_are_handed_on(api: StandInApi) -> None:
    api.types = {"model_accuracy": ["gauge"], "inference_requests_total": ["counter", "gauge"]}
    api.series = [(labels(name), samples("1")) for name in ("model_accuracy", "inference_requests_total")]
    check = check_of(api)
    assert check.run() == ""
    lines = b"".join(check.source.api.payload(check.source._http, 1e12).chunks()).decode()
    assert [line for line in lines.splitlines() if line.startswith("#")] == ["# TYPE model_accuracy gauge"]


def test_without_types_the_catalog_does(api: StandInApi, aggregator: Any) -> None:
    api.said = lambda path, query: (404, {}, b"") if path.endswith("metadata") else None
    api.series = [(labels("model_accuracy"), samples("0.5"))]
    assert check_of(api).run() == ""
    assert len(submissions(aggregator)) == 1


def test_native_histograms_are_told_as_what_is_not_read(api: StandInApi, aggregator: Any) -> None:
    structure = [AT, {"count": "3", "sum": "1.5"}]

    def said(path: str, query: dict[str, str]) -> Said | None:
        if path.endswith("metadata"):
            return None
        one = {"metric": labels("inference_latency_seconds")}
        if "time" in query:
            return result([{**one, "histograms": [structure]}], "matrix")
        return result([{**one, "histogram": structure}], "vector")

    api.said = said
    check_of(api).run()
    assert [line.split()[:3] for line in submissions(aggregator)] == [["count", "scrape.samples.rejected", "1"]]
    assert "reason:unsupported" in submissions(aggregator)[0]


def test_values_that_are_no_numbers_are_refused_by_the_check(api: StandInApi, aggregator: Any) -> None:
    api.series = [(labels("model_accuracy", model=value), samples(value)) for value in ("NaN", "+Inf", "-Inf")]
    check_of(api).run()
    (line,) = submissions(aggregator)
    assert line.startswith("count scrape.samples.rejected 3")


def test_a_partial_answer_is_told_and_nothing_is_taken_for_new(api: StandInApi, aggregator: Any) -> None:
    check = check_of(api, endpoint_name="e")
    api.extra = {"warnings": ["No StoreAPIs matched\nfor this query", "another"]}
    api.series = [(labels("inference_requests_total", model="m"), samples("100"))]
    assert check.run() == ""
    told = [text for text in check.get_warnings() if "incomplete" in text]
    assert [text.partition("incomplete: ")[2] for text in told] == ["No StoreAPIs matched for this query", "another"]
    api.extra = {}
    api.series.append((labels("inference_requests_total", model="back"), samples("5000")))
    assert check.run() == ""
    assert not [text for text in check.get_warnings() if "incomplete" in text]
    assert submissions(aggregator, HIDDEN) == ["count request.count 0 endpoint_name:e instance:i job:a model_name:m"]


@settings(max_examples=12)
@given(steps=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8)), min_size=2, max_size=10))
def test_replicas_that_answer_in_turn_count_nothing_twice(
    server: list[StandInApi], steps: list[tuple[int, int]]
) -> None:
    """Each answer is of some time, some of them earlier than the one before. The counter rises by 7 in each second."""
    api = server[0] = StandInApi(server[0].port)
    check = check_of(api)
    aggregator_stub.reset()
    now, seen = 100, []
    for passes, behind in steps:
        now += passes
        at = now - behind
        seen.append(at)
        api.series = [(labels("inference_requests_total"), [(AT + at, str(at * 7))])]
        assert check.run() == ""
    counted = sum(metric.value for metric in aggregator_stub.metrics("model_serving.request.count"))
    assert counted == 7 * (max(seen) - seen[0])


def result(found: Any, kind: str) -> Said:
    return 200, {}, {"status": "success", "data": {"resultType": kind, "result": found}}


def refusal(status: int, kind: str, words: str) -> Said:
    return status, {}, {"status": "error", "errorType": kind, "error": words}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {}, b"404 page not found"), "there is no HTTP API of a Prometheus (HTTP 404): write into `url` what"),
        ((401, {}, b"who?"), "the credentials are refused (HTTP 401): check `headers`, `username` or `auth_token`"),
        (refusal(401, "unauthorized", "no org id"), "the credentials are refused (HTTP 401)"),
        ((403, {}, b""), "the credentials lack permission (HTTP 403)"),
        ((429, {}, b""), "the endpoint limits requests (HTTP 429)"),
        ((414, {}, b""), "a selector of `match` is too long for the server (HTTP 414): split it"),
        ((502, {}, b"<html>"), "the endpoint answered HTTP 502"),
        (
            (302, {"Location": "http://elsewhere.invalid/"}, b""),
            "after a redirect to http://elsewhere.invalid/: the host",
        ),
        ((200, {}, b"<html>sign in</html>"), "no JSON of the HTTP API of a Prometheus: check `url`, and that no login"),
        ((200, {}, b"up 1\n"), "no JSON of the HTTP API"),
        ((200, {}, {"hello": 1}), "no JSON of the HTTP API"),
        (
            result([1, "1"], "scalar"),
            "the answer is no vector",
        ),
        ((200, {}, {"status": "success", "data": None}), "the answer is no vector"),
        (
            (
                200,
                {},
                {"status": "success", "data": {"resultType": "vector", "result": [{"metric": 5, "value": [1, "1"]}]}},
            ),
            "the answer is none of the HTTP API",
        ),
        (
            (
                200,
                {},
                {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "x"]}]}},
            ),
            "the answer is none of the HTTP API",
        ),
        (
            refusal(400, "bad_data", "parse error\nat char 3"),
            'can\'t read `match` for {job="a"}: parse error at char 3',
        ),
        (refusal(422, "bad_data", "no"), "can't read `match`"),
        (refusal(503, "timeout", "query timed out"), 'gave up the query for {job="a"} (timeout: query timed out)'),
        (refusal(503, "canceled", "x"), "gave up the query"),
        (
            refusal(422, "execution", "too many samples"),
            'failed at the query for {job="a"} (execution: too many samples)',
        ),
        (refusal(200, "internal", "\x1b[31mred"), r"(internal: \x1b[31mred)"),
        (refusal(500, "internal", "x" * 5000), f"{'x' * queries.WORDS}...)"),
    ],
)
def test_what_a_server_refuses_is_told_in_words(api: StandInApi, answer: Said, said: str) -> None:
    api.said = lambda path, query: answer
    check = check_of(api)
    message = error_of(check)
    assert said in message
    assert message.startswith(f"{api.url}/api/v1/query: ")


def test_an_answer_that_is_too_large_is_told(api: StandInApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.series = [(labels("model_accuracy", model=str(number)), samples("0.5")) for number in range(50)]
    monkeypatch.setattr(queries, "MAX_PAGE", 1000)
    assert f"the answer for {SELECTOR} is more than 0 MiB: split `match`" in error_of(check_of(api))


def test_more_series_than_the_limit_are_told(api: StandInApi) -> None:
    api.series = [(labels("model_accuracy", model=str(number)), samples("0.5")) for number in range(6)]
    assert "select more series than `sample_limit` (5)" in error_of(check_of(api, sample_limit=5))


def test_a_server_that_is_down_is_told(api: StandInApi) -> None:
    check = BridgeCheck("model_serving", {}, [{"prometheus": {"url": "http://127.0.0.1:9", "match": [SELECTOR]}}])
    assert "no connection" in error_of(check)


def test_a_failed_run_loses_nothing(api: StandInApi, aggregator: Any) -> None:
    check = check_of(api, endpoint_name="e")
    api.series = [(labels("inference_requests_total", model="m"), samples("100"))]
    check.run()
    api.said = lambda path, query: refusal(503, "timeout", "x")
    check.run()
    api.said = lambda path, query: None
    api.series = [(labels("inference_requests_total", model="m"), samples("107"))]
    check.run()
    assert submissions(aggregator, HIDDEN) == ["count request.count 7 endpoint_name:e instance:i job:a model_name:m"]


def test_credentials_are_sent_and_not_shown(
    api: StandInApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api.said = lambda path, query: refusal(500, "internal", "the token is hidden-word")
    monkeypatch.setenv("TOKEN", "hidden-word")
    check = check_of(api, prometheus={"token_env": "TOKEN"})
    message = error_of(check)
    assert api.asked[0][2]["Authorization"] == "Bearer hidden-word"
    assert "hidden-word" not in message + caplog.text


def test_logins_are_those_of_any_endpoint(api: StandInApi, tmp_path: Path) -> None:
    api.series = [(labels("model_accuracy"), samples("0.5"))]
    token = tmp_path / "token"
    token.write_text("of-a-file\n")
    for options, sent in (
        ({"username": "me", "password": "pw"}, "Basic bWU6cHc="),
        ({"prometheus": {"token_file": str(token)}}, "Bearer of-a-file"),
        ({"headers": {"Authorization": "Bearer own", "X-Scope-OrgID": "models"}}, "Bearer own"),
    ):
        api.asked.clear()
        assert check_of(api, **options).run() == ""
        assert {headers["Authorization"] for _, _, headers in api.asked} == {sent}
    assert {headers["X-Scope-OrgID"] for _, _, headers in api.asked} == {"models"}


def test_two_selections_of_one_server_are_two_sources(api: StandInApi) -> None:
    one, other = check_of(api), check_of(api, match=('{job="b"}',))
    assert one.persistent_cache_id() != other.persistent_cache_id()
