"""Several endpoints in one instance: read at the same time, each on its own account, and nothing is left at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from datadog_checks.base.utils.http import RequestsWrapper

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving import check as check_module
from datadog_checks.model_serving.errors import ScrapeError
from datadog_checks.model_serving.http import pool as pool_module
from datadog_checks.model_serving.http.pool import Expired, Job, WorkerPool
from datadog_checks.model_serving.http.transport import Transport
from datadog_checks.model_serving.sources import several
from datadog_checks.model_serving.sources.several import SeveralEndpoints

from ..conftest import Answer, Endpoint, make_check, submissions
from ..leftovers import sockets, threads, wait_until
from ..patience import Patience

PAGE = """\
# TYPE model_infer_request_success counter
model_infer_request_success_total{{model="{model}",version="v1"}} {count}
"""
HEALTH = "model_serving.openmetrics.health"

Handle = Callable[[BaseHTTPRequestHandler], None]
Many = Callable[..., ModelServingCheck]


class Clock:
    """The monotonic clock of a fleet, which stands still unless a test says otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Deadlines:
    """The clock by which deadlines are kept: it moves only when nothing is waited for but `patience` says so."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience

    def monotonic(self) -> float:
        return 1000.0 + self.patience.ahead()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(check_module, "time", clock)
    return clock


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Set at the end of a test, for handlers that stall."""
    event = threading.Event()
    yield event
    event.set()


class Asking:
    """The checks and pools of threads that a test has work."""

    def __init__(self) -> None:
        self.checks: list[ModelServingCheck] = []
        self.pools: list[WorkerPool] = []

    def __call__(self) -> list[WorkerPool]:
        sources = (check.source for check in self.checks)
        return [*self.pools, *(source.pool for source in sources if isinstance(source, SeveralEndpoints))]


@pytest.fixture
def asking() -> Iterator[Asking]:
    """They end, whatever becomes of the test."""
    asking = Asking()
    yield asking
    for check in asking.checks:
        check.cancel()
    for pool in asking.pools:
        pool.close()


@pytest.fixture
def patience(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> Patience:
    """Deadlines are reached by what stalls and drips, and by nothing else."""
    patience = Patience(asking)
    for module in (pool_module, several):
        monkeypatch.setattr(module, "time", Deadlines(patience))
    return patience


@pytest.fixture
def many(endpoint: Endpoint, asking: Asking) -> Many:
    """Makes checks of several endpoints."""

    def make(*paths: str, **options: Any) -> ModelServingCheck:
        check = make_check(**{"openmetrics_endpoints": urls(endpoint, *paths), "serving_system": "mlserver", **options})
        asking.checks.append(check)
        return check

    return make


@pytest.fixture
def pool(asking: Asking) -> WorkerPool:
    """Two threads."""
    pool = WorkerPool(Transport(make_http(), 2), 2)
    asking.pools.append(pool)
    return pool


def no_threads() -> bool:
    return not threads()


def stalled(released: threading.Event, patience: Patience | None = None) -> Handle:
    """Takes a request and answers nothing."""

    def answer(_: BaseHTTPRequestHandler) -> None:
        if patience:
            patience.hold()
        released.wait()

    return answer


def dripping(released: threading.Event, patience: Patience | None = None) -> Handle:
    """A body that goes on for ever, a line now and then."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if patience:
            patience.hold()
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not released.wait(0.02):
            try:
                handler.wfile.write(b"# nothing\n")
                handler.wfile.flush()
            except OSError:
                return

    return answer


def broken_off(handler: BaseHTTPRequestHandler) -> None:
    """A body that ends before it should."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(PAGE.format(model="lost", count=7).encode())


def urls(endpoint: Endpoint, *paths: str) -> list[str]:
    return [f"http://127.0.0.1:{endpoint.port}/{path}" for path in paths]


def health(aggregator: Any) -> dict[str, list[tuple[int, str]]]:
    """By path of the endpoint, the states that were told, and why."""
    found: dict[str, list[tuple[int, str]]] = {}
    for each in aggregator.service_checks(HEALTH):
        url = next(tag for tag in each.tags if tag.startswith("endpoint:"))
        found.setdefault(url.rpartition("/")[2], []).append((each.status, each.message))
    return found


def make_http() -> RequestsWrapper:
    return RequestsWrapper({"timeout": 10}, {})


def test_as_one_by_one(many: Many, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """What a list submits is what an instance for each endpoint does."""
    names = [f"m{number}" for number in range(20)]
    singles = [make_check(openmetrics_endpoint=url, serving_system="mlserver") for url in urls(endpoint, *names)]
    check = many(*names, max_connections=4)
    found = []
    for runs in ([check], singles):
        aggregator.reset()
        for scrape in range(3):
            for number, name in enumerate(names):
                endpoint.serve(PAGE.format(model=name, count=number * scrape), f"/{name}")
            assert [each.run() for each in runs] == [""] * len(runs)
        found.append((submissions(aggregator), sorted(health(aggregator).items())))
    check.cancel()
    assert found[0] == found[1]
    assert len(found[0][0]) == 2 * len(names)
    assert len(endpoint.requests) == 2 * 3 * len(names)


@pytest.mark.parametrize(
    ("system", "line", "metric"),
    [
        ("databricks", "request_count_total {} 1788718020000\n", "request.count"),
        ("dcgm", 'DCGM_FI_DEV_XID_ERRORS{{gpu="0"}} {}\n', "gpu.xid.count"),
    ],
)
def test_what_is_remembered_is_remembered_of_each(
    system: str, line: str, metric: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """A minute counts for each endpoint, and an error's code is news where it is, however alike their series are."""
    urls = [f"http://127.0.0.1:{endpoint.port}/{path}" for path in "ab"]
    check = make_check(openmetrics_endpoints=urls, serving_system=system, tag_by_endpoint=False)
    for codes in ((48, 79), (48, 79), (48, 31)):
        for path, code in zip("ab", codes, strict=True):
            endpoint.serve(line.format(code), f"/{path}")
        assert check.run() == ""
    check.cancel()
    found = [found.value for found in aggregator.metrics(f"model_serving.{metric}")]
    assert sorted(found) == ([48, 79] if system == "databricks" else [1])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("stalled", "no complete answer within 20 s"),
        ("dripping", "no complete answer within 20 s"),
        ("broken off", "broke off before its end"),
        ("refused", "HTTP 503"),
        ("a page", "an HTML page"),
        ("too large", "`max_payload_bytes` (900)"),
    ],
)
def test_costs_only_itself(
    answer: str,
    words: str,
    many: Many,
    patience: Patience,
    endpoint: Endpoint,
    aggregator: Any,
    datadog_agent: Any,
    released: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Endpoints that are broken are told, and the others are read. Only if all are broken the run has failed."""
    answers: dict[str, Any] = {
        "stalled": stalled(released, patience),
        "dripping": dripping(released, patience),
        "broken off": broken_off,
        "refused": Answer(status=503),
        "a page": Answer(b"<!DOCTYPE html><html>" + b" " * 100),
        "too large": Answer(b"# large\n" * 200),
    }
    endpoint.answers["/bad"] = endpoint.answers["/worse"] = answers[answer]
    endpoint.serve(PAGE.format(model="good", count=3), "/good")
    patience.seconds = 20
    check = many("bad", "good", "worse", endpoint_deadline=20, max_payload_bytes=900)
    assert check.run() == ""
    states = health(aggregator)
    assert states["good"] == [(0, "")]
    for name in ("bad", "worse"):
        ((status, message),) = states[name]
        assert status == 2
        assert words in message
        assert any(words in warning and f"/{name}: " in warning for warning in check.warnings)
    check.cancel()
    only = many("bad", "worse", endpoint_deadline=20, max_payload_bytes=900)
    assert words in only.run()


def test_pauses(many: Many, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, clock: Clock) -> None:
    """One that keeps failing is asked ever more seldom, says so at each run, and once it is well all is as before."""
    endpoint.serve(PAGE.format(model="good", count=3), "/good")
    check = many("good", "bad")
    asked = []
    for run in range(60):
        if run == 50:
            endpoint.serve(PAGE.format(model="bad", count=1), "/bad")
        before = len(endpoint.requests)
        assert check.run() == ""
        asked.append(sorted(path for _, path, _ in endpoint.requests[before:]))
        clock.now += 15
    check.cancel()
    assert all("/good" in paths for paths in asked)
    # 15, 30, 60, 120, 240 and then 300 seconds after the failure before, in runs of 15 seconds.
    assert [run for run, paths in enumerate(asked) if "/bad" in paths] == [0, 1, 3, 7, 15, 31, *range(51, 60)]
    states = health(aggregator)["bad"]
    assert len(states) == 60
    assert [status for status, _ in states] == [2] * 51 + [0] * 9
    assert "failed 3 times in a row, asked again in 43 s" in states[4][1]
    assert len(states[2][1]) < 400


def test_asked_to_wait(many: Many, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, clock: Clock) -> None:
    """What one endpoint says in Retry-After is obeyed for that endpoint."""
    endpoint.serve(PAGE.format(model="good", count=3), "/good")
    endpoint.serve("", "/busy", status=429, headers={"Retry-After": "40"})
    check = many("good", "busy")
    for _ in range(4):
        check.run()
        clock.now += 15
    check.cancel()
    assert [path for _, path, _ in endpoint.requests if path == "/busy"] == ["/busy"] * 2
    assert len(endpoint.requests) == 6


def test_connections_are_kept(many: Many, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """There are no more connections than may be, and they serve run after run."""
    ports = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        ports.append(handler.client_address[1])
        handler.protocol_version, handler.close_connection = "HTTP/1.1", False
        body = PAGE.format(model=handler.path[1:], count=1).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    names = [f"m{number}" for number in range(12)]
    endpoint.answers |= {f"/{name}": answer for name in names}
    check = many(*names, max_connections=3)
    for _ in range(4):
        assert check.run() == ""
    assert len(threads()) <= 3
    check.cancel()
    assert len(ports) == 48
    assert len(set(ports)) <= 3


@pytest.mark.parametrize("kind", ["stalled", "dripping"])
def test_cancel(
    kind: str, many: Many, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, released: threading.Event
) -> None:
    """However long an endpoint takes, a check that is cancelled leaves no thread and no socket, and its run ends."""
    answers = {"stalled": stalled(released), "dripping": dripping(released)}
    before = sockets()
    for name in ("a", "b", "c"):
        endpoint.answers[f"/{name}"] = answers[kind]
    check = many("a", "b", "c", timeout=3600)
    run = threading.Thread(target=check.run)
    run.start()
    wait_until(lambda: len(endpoint.requests) == 3)
    check.cancel()
    run.join(60)
    assert not run.is_alive()
    wait_until(no_threads)
    released.set()
    wait_until(lambda: sockets() <= before)
    assert check.run() == ""
    assert not threads()


def test_runs_do_not_overlap(
    many: Many,
    endpoint: Endpoint,
    aggregator: Any,
    datadog_agent: Any,
    released: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run that comes while another goes on does nothing, and says so."""
    endpoint.answers["/a"] = stalled(released)
    check = many("a")
    run = threading.Thread(target=check.run)
    run.start()
    wait_until(lambda: len(endpoint.requests) == 1)
    check.check(None)
    assert len(endpoint.requests) == 1
    assert "is still going on" in caplog.text
    check.cancel()
    run.join(60)


def test_limit_of_contexts(many: Many, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """The stock limit on contexts is for one payload: many endpoints have more, unless the user sets it."""
    lines = "".join(PAGE.format(model=f"m{number}", count=1) for number in range(1500))
    for name in ("a", "b"):
        endpoint.serve(lines, f"/{name}")
    for limit, expected in (({}, 3000), ({"max_returned_metrics": 100}, 100)):
        aggregator.reset()
        check = many("a", "b", **limit)
        check.run()
        aggregator.reset()
        check.run()
        check.cancel()
        sent = [metric for name in aggregator.metric_names for metric in aggregator.metrics(name)]
        contexts = {(metric.name, tuple(metric.tags)) for metric in sent}
        assert len(contexts) >= 3000 if expected == 3000 else len(contexts) <= 100


def test_readiness(many: Many, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Probes go out beside the scrapes, and what they find is told in the run."""
    page = ':tensorflow:serving:request_count{model_name="m",status="OK"} 4\n'
    endpoint.serve(page, "/a")
    endpoint.serve('{"model_version_status": [{"version": "2", "state": "AVAILABLE"}]}', "/v1/models/m")
    check = many("a", serving_system="tensorflow_serving", readiness=True, models=["m"])
    assert check.run() == ""
    check.cancel()
    (state,) = aggregator.service_checks("model_serving.model.ready")
    assert state.status == 0
    assert {"model_name:m", "model_version:2"} <= set(state.tags)


# -- the pool of threads


def test_jobs(pool: WorkerPool, patience: Patience, endpoint: Endpoint, released: threading.Event) -> None:
    """Each job comes back once, with what it raised; one that takes too long is ended, not the next of its thread."""
    patience.seconds = 20
    endpoint.answers["/stall"] = stalled(released, patience)
    endpoint.serve("x", "/fine")
    (stall, fine) = urls(endpoint, "stall", "fine")

    def asks(url: str) -> Callable[[Any, float], None]:
        return lambda http, deadline: http.get(url).raise_for_status() and None

    def fails(http: Any, deadline: float) -> None:
        raise ScrapeError("no")

    jobs = [Job(f"{number}", asks(stall if number % 3 else fine), 20) for number in range(9)] + [Job("no", fails, 20)]
    results = {job.name: job.problem for job in pool.run(jobs)}
    pool.close()
    assert results.keys() == {job.name for job in jobs}
    assert {name for name, problem in results.items() if isinstance(problem, Expired)} == {"1", "2", "4", "5", "7", "8"}
    assert isinstance(results["no"], ScrapeError)
    assert [results[name] for name in "036"] == [None] * 3
    wait_until(no_threads)


def test_consumer_that_stops(pool: WorkerPool) -> None:
    """A run that nobody reads to its end keeps no thread from the next one, and holds no more than it may."""
    for _ in range(5):
        held: list[str] = []
        for _ in pool.run([Job("", partial(lambda held, http, deadline: held.append(1), held), 60) for _ in range(50)]):
            break
        assert len(held) <= 4
    assert len(list(pool.run([Job("last", lambda http, deadline: None, 60)]))) == 1
    pool.close()
    wait_until(no_threads)


def test_wrong_certificate(many: Many, endpoint: Endpoint, tmp_path: Any) -> None:
    """What can't even begin is told by each job, and nobody waits for ever."""
    (tmp_path / "ca.pem").write_text("no certificate")
    check = many(
        openmetrics_endpoints=[f"https://127.0.0.1:{endpoint.port}/a"],
        serving_system="auto",
        tls_ca_cert=str(tmp_path / "ca.pem"),
    )
    assert "127.0.0.1" in check.run()
    check.cancel()
    wait_until(no_threads)


def test_no_metrics_yet(many: Many, endpoint: Endpoint, clock: Clock, aggregator: Any, datadog_agent: Any) -> None:
    """An endpoint that has no metrics yet (HTTP 204) is well, and asked again in the next run."""
    endpoint.answers["/a"] = Answer(b"", None, 204, length=False)
    endpoint.serve(PAGE.format(model="b", count=5), "/b")
    check = many("a", "b")
    assert check.run() == ""
    assert health(aggregator) == {"a": [(0, "")], "b": [(0, "")]}
    endpoint.serve(PAGE.format(model="a", count=3), "/a")
    aggregator.reset()
    assert check.run() == ""
    counts = [line for line in submissions(aggregator) if line.startswith("count request.count 3")]
    assert len(counts) == 1
