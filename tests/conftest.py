"""A real HTTP endpoint to scrape, and what a check submitted, in a form that tables can state."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trustme
from datadog_checks.base.stubs import aggregator as aggregator_stub
from datadog_checks.base.stubs import datadog_agent as agent_stub
from hypothesis import HealthCheck, settings

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.submit.agent_cache import AgentCache, forget_claims

# How long an example takes depends on what else the machine does.
settings.register_profile("unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

UNSTEADY = (
    *("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    *("COLUMNS", "LINES", "LANG", "LANGUAGE", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONCOERCECLOCALE"),
)
"""What people and CI systems set, and what changes how a command writes."""

LONG_FILES = (
    "tests/test_contributing.py",
    "tests/http/test_bounds.py",
    "tests/workstation/cli/test_provision.py",
    "tests/workstation/provision/test_apply.py",
    "tests/workstation/cli/test_terminal.py",
    "tests/workstation/cli/test_check.py",
    "tests/test_benchmarks.py",
    "tests/submit/test_journal.py",
    "tests/endurance/test_upheavals.py",
    "tests/endurance/test_soak.py",
    "tests/workstation/scenarios/test_matrix.py",
    "tests/workstation/scenarios/test_matrix_rest.py",
    "tests/scrape/test_state.py",
    "tests/scrape/test_line_cache.py",
    "tests/scrape/test_bad_input.py",
    "tests/test_strict_yaml.py",
    "tests/sources/test_databricks_minutes.py",
    "tests/sources/test_databricks_live.py",
    "tests/workstation/provision/test_values.py",
    "tests/workstation/provision/simulate/test_cases.py",
    "tests/workstation/demo/test_command.py",
    "tests/packaging/test_dropin.py",
)
"""What takes ten seconds or more, the longest first: begun last, one keeps a process busy while others are idle."""

KINDS = {0: "gauge", 1: "rate", 2: "count", 3: "monotonic_count"}


def pytest_report_header() -> str:
    """Which of the base packages that are supported the tests run with."""
    return f"datadog-checks-base: {version('datadog-checks-base')}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, and everything else in its order."""
    place = {name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are processors, since many a test waits: for a time-out, or another process."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def steady_environment() -> Iterator[None]:
    """Commands write for no terminal in particular, in UTF-8, wherever the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name in UNSTEADY or name.startswith("LC_"):
                patch.delenv(name)
        patch.setenv("LC_ALL", "C.UTF-8")
        patch.setenv("TERM", "xterm-256color")
        yield


@pytest.fixture(scope="session")
def authority_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a certificate authority that has certified nobody."""
    path = tmp_path_factory.mktemp("authorities") / "authority.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module", autouse=True)
def few_authorities(authority_of_nobody: Path) -> Iterator[None]:
    """The machine knows one certificate authority.

    The base package reads all of them anew for each check, and the usual hundred and more take longer than whatever
    else a test does.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority_of_nobody))
        patch.setenv("SSL_CERT_DIR", str(authority_of_nobody.parent))
        yield


@dataclass
class Answer:
    """What the endpoint serves at one path."""

    body: bytes = b""
    content_type: str | None = "text/plain; version=0.0.4"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: bool = True


@dataclass
class Endpoint:
    """An HTTP server on 127.0.0.1. `answers` by path, `requests` as (method, path, headers) in order."""

    port: int
    answers: dict[str, Answer | Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/metrics"

    def serve(self, text: str | bytes, path: str = "/metrics", **options: Any) -> None:
        body = text if isinstance(text, bytes) else text.encode()
        self.answers[path] = Answer(body, **options)


def reply(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    """Send an answer, also from where `answers` have a function of their own."""
    handler.send_response(answer.status)
    if answer.content_type is not None:
        handler.send_header("Content-Type", answer.content_type)
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    if answer.length:
        handler.send_header("Content-Length", str(len(answer.body)))
    handler.end_headers()
    handler.wfile.write(answer.body)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A server that answers what the test tells it to, 404 where it was told nothing."""
    with serving() as server:
        yield server


@contextmanager
def serving() -> Iterator[Endpoint]:
    """One such server, for tests that need several."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            endpoint.requests.append((self.command, self.path, dict(self.headers)))
            answer = endpoint.answers.get(self.path, Answer(status=404))
            if not isinstance(answer, Answer):
                answer(self)
                return
            reply(self, answer)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint = Endpoint(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield endpoint
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["patched", "as published"])
def agent_parser(request: pytest.FixtureRequest, datadog_agent: Any) -> Iterator[None]:
    """From base package 38 on the Agent replaces functions of prometheus_client, unless `patch_prometheus_client`."""
    try:
        from datadog_checks.base.checks.openmetrics import parser_optimizations
    except ImportError:
        if request.param == "patched":
            pytest.skip("this base package leaves prometheus_client as it is")
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(datadog_agent._config, "patch_prometheus_client", request.param == "patched")
        parser_optimizations.init_from_agent_config()
        yield
    parser_optimizations.init_from_agent_config()


@pytest.fixture
def aggregator() -> Iterator[Any]:
    """The stub that takes what a check submits, empty before and after."""
    aggregator_stub.reset()
    yield aggregator_stub
    aggregator_stub.reset()


@pytest.fixture
def datadog_agent() -> Iterator[Any]:
    """The stub of the Agent's own module, with an empty persistent cache before and after."""
    agent_stub.reset()
    yield agent_stub
    agent_stub.reset()


def make_check(**instance: Any) -> ModelServingCheck:
    """The check as the Agent builds it, for one instance, in a process that is no trial: it may write its memory."""
    check = ModelServingCheck(name="model_serving", init_config={}, instances=(instance,))
    check.check_id = "model_serving:test"
    as_in_a_new_agent(check.cache)
    return check


def spy_on_cache(check: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the check writes into the Agent's cache from now on, text by text."""
    written: list[str] = []
    write = check.write_persistent_cache

    def spy(key: str, text: str) -> None:
        written.append(text)
        write(key, text)

    monkeypatch.setattr(check, "write_persistent_cache", spy)
    return written


def as_in_a_new_agent(cache: AgentCache) -> None:
    """The cache of a check that nobody has claimed, as after a restart, and that may be written."""
    forget_claims()
    cache.born = -inf


def submissions(aggregator: Any, hidden: Mapping[str, str] | tuple[str, ...] = (), buckets: str = "") -> list[str]:
    """Everything in the stub but telemetry, sorted, as `type name value tag tag`, spans as `lower..upper:count`.

    Tags named in `hidden` are left out. With `buckets` spans are gathered in these.
    """
    found = []
    for name in aggregator.metric_names:
        if name.startswith("model_serving.scrape.") and not name.endswith(".rejected"):
            continue
        for metric in aggregator.metrics(name):
            found.append((KINDS[metric.type], name, f"{metric.value:.10g}", metric.tags))
    for name, submitted in aggregator._histogram_buckets.items():
        by_tags: dict[tuple[str, ...], list[str]] = {}
        for bucket in submitted:
            assert bucket.monotonic is False
            span = f"{bucket.lower_bound:.6g}..{bucket.upper_bound:.6g}:{bucket.value}"
            by_tags.setdefault(tuple(bucket.tags), []).append(span)
        for tags, spans in by_tags.items():
            shown = ",".join(spans)
            found.append(("distribution", name, gathered(shown, buckets) if buckets else shown, tags))
    lines = []
    for kind, name, value, tags in found:
        kept = sorted(tag for tag in tags if tag.partition(":")[0] not in hidden)
        lines.append(" ".join([kind, name.removeprefix("model_serving."), value, *kept]))
    return sorted(lines)


def in_buckets(found: list[str], due: list[str]) -> list[str]:
    """Lines of `submissions` with the spans of a distribution gathered in the buckets that a line of `due` names.

    Where in its bucket an observation is placed is the business of the placement's own tests: here a span counts in
    the bucket that holds it, and one that no bucket holds stays as it is, for the comparison to fail.
    """
    named = {(name, *tags): value for kind, name, value, *tags in map(_words, due) if kind == "distribution"}
    lines = []
    for kind, name, value, *tags in map(_words, found):
        wanted = named.get((name, *tags))
        if kind == "distribution" and wanted is not None:
            value = gathered(value, wanted)
        lines.append(" ".join([kind, name, value, *tags]))
    return sorted(lines)


def _words(line: str) -> list[str]:
    """The parts of a line: kind, name, value, tags. Tags may hold blanks, which then split in the same way in both."""
    return line.split(" ")


def gathered(found: str, wanted: str) -> str:
    """Spans `lower..upper:count` in the buckets of `wanted`. One named with no observations shows if it has some."""
    counts = {bucket.rpartition(":")[0]: 0 for bucket in wanted.split(",")}
    for span in found.split(","):
        place, _, count = span.rpartition(":")
        lower, upper = map(float, place.split(".."))
        for bucket in counts:
            low, high = map(float, bucket.split(".."))
            if lower >= low - abs(low) * 1e-5 and upper <= high + abs(high) * 1e-5:
                counts[bucket] += int(count)
                break
        else:
            return found
    empty = {bucket.rpartition(":")[0] for bucket in wanted.split(",") if bucket.endswith(":0")}
    return ",".join(f"{bucket}:{count}" for bucket, count in counts.items() if count or bucket not in empty)
