"""Clocks that jump, a machine that is suspended, a cache that takes nothing, signals and forks: nothing hangs, nothing
is counted twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.submit import submitter

from ..conftest import Answer, Endpoint, aggregator_stub, make_check, reply, serving

HOUR = 3600.0
START = 1_700_000_000.0


def page(count: float, start: float | None = None) -> str:
    told = "" if start is None else f"process_start_time_seconds {start}\n"
    return f'{told}model_infer_request_success_total{{model="m"}} {count}\n'


class Clocks:
    """The time of day, and the seconds since the machine was started."""

    def __init__(self) -> None:
        self.wall = START
        self.monotonic = 1000.0

    def time(self) -> float:
        return self.wall


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(submitter, "time", clocks)
    return clocks


def counted() -> float:
    found = sum(each.value for each in aggregator_stub.metrics("model_serving.request.count"))
    aggregator_stub.reset()
    return found


def checked(endpoint: Endpoint, clocks: Clocks, **options: Any) -> Any:
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="mlserver", readiness=False, **options)
    check.clock = lambda: clocks.monotonic
    return check


# By how many seconds the clocks move between two scrapes, and how many requests come: put right, suspended, or both.
JUMPS = st.lists(
    st.tuples(
        st.sampled_from([15.0, -5 * HOUR, -61.0, -1.0, 0.0, 61.0, 5 * HOUR, 400 * 24 * HOUR]),
        st.sampled_from([15.0, 0.001, 5 * HOUR]),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=JUMPS, start=st.sampled_from([None, START - 60.0, START + HOUR]))
@example(steps=[(15.0, 15.0, 1, False), (-5 * HOUR, 15.0, 1, False), (5 * HOUR, 5 * HOUR, 1, False)], start=None)
@example(steps=[(15.0, 15.0, 1, False), (-5 * HOUR, 15.0, 1, True), (15.0, 15.0, 1, False)], start=START - 60.0)
def test_clocks_that_jump(
    steps: list[tuple[float, float, int, bool]], start: float | None, clocks: Clocks, datadog_agent: Any
) -> None:
    """Without a restart of the Agent every request is counted once; with one, at most once."""
    datadog_agent.reset()
    aggregator_stub.reset()
    with serving() as endpoint:
        check, total, restarts, found = checked(endpoint, clocks), 100, 0, 0.0
        endpoint.serve(page(total, start))
        assert check.run() == ""
        assert counted() == 0
        for wall, monotonic, requests, restart in steps:
            clocks.wall += wall
            clocks.monotonic += monotonic
            total += requests
            if restart:
                check.cancel()
                check = checked(endpoint, clocks)
                restarts += 1
            endpoint.serve(page(total, start))
            assert check.run() == ""
            step = counted()
            assert step >= 0
            found += step
        check.cancel()
    assert found <= total - 100
    if not restarts:
        assert found == total - 100


AGENT = """
import os, resource, signal, sys
from pathlib import Path
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.recorder import Recorder
from datadog_checks.model_serving.workstation.standin.standin import StandIn

url, cache_dir, runs, how = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with standing_in(StandIn(cache_dir=cache_dir)):
    from datadog_checks.model_serving import ModelServingCheck

    now = 0.0
    several = how.startswith("several ")
    endpoints = {"openmetrics_endpoints": [url, url + "2"]} if several else {"openmetrics_endpoint": url}
    instance = {**endpoints, "serving_system": "mlserver", "readiness": False}
    check = ModelServingCheck("model_serving", {}, (instance,))
    check.check_id, check.clock = "model_serving:1", lambda: now
    sample = Recorder.sample

    def send(this, check_id, kind, name, value, *more):
        if name == "model_serving.request.count":
            os.write(1, f"{value:.0f}\\n".encode())

    Recorder.sample = send

    def run():
        global now
        assert check.run() == "", how
        now += 15.0

    for number in range(runs):
        if how == "full" and number == 2:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
        if how.endswith("fork") and number == 2:
            if (child := os.fork()) == 0:
                # One that hangs ends by itself.
                signal.alarm(60)
                os.close(1)
                os.open(os.devnull, os.O_WRONLY)
                run()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        run()
    check.cancel()
"""


class Growing:
    """An endpoint whose count has one more digit with each scrape: the digits of a sum say what was counted."""

    def __init__(self, endpoint: Endpoint, path: str = "/metrics") -> None:
        self.scrapes = 0
        endpoint.answers[path] = self.answer

    def answer(self, handler: Any) -> None:
        self.scrapes += 1
        body = page(sum(10**number for number in range(self.scrapes))).encode()
        reply(handler, Answer(body))


def agent(endpoint: Endpoint, cache_dir: Path, runs: int, how: str = "") -> int:
    """A process that runs the check; what it has counted."""
    command = [sys.executable, "-c", AGENT, endpoint.url, str(cache_dir), str(runs), how]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return sum(map(int, done.stdout.split()))


@pytest.mark.parametrize("how", ["", "full"])
def test_a_cache_that_takes_nothing(how: str, endpoint: Endpoint, tmp_path: Path) -> None:
    """A disk that gets full, or a directory that isn't one: counting goes on, and nothing comes twice after it."""
    Growing(endpoint)
    cache_dir = tmp_path / "cache"
    if not how:
        cache_dir.write_text("a file", encoding="utf-8")
    total = agent(endpoint, cache_dir, 4, how)
    assert total == 1110
    total += agent(endpoint, cache_dir, 3)
    assert set(str(total)) <= {"0", "1"}, "something came twice"


@pytest.mark.parametrize("how", ["fork", "several fork"])
def test_a_fork(how: str, endpoint: Endpoint, tmp_path: Path) -> None:
    """A copy of the process runs the check to its end, and what the first one counts stays right."""
    Growing(endpoint)
    Growing(endpoint, "/metrics2")
    total = agent(endpoint, tmp_path, 4, how)
    # The copy takes the third scrape, whose requests then come with the fourth.
    assert total == (2 if how.startswith("several") else 1) * 11110


@pytest.mark.parametrize("option", ["openmetrics_endpoint: {url}", "openmetrics_endpoints: ['{url}', '{url}2']"])
def test_sigterm_in_a_run(option: str, endpoint: Endpoint, tmp_path: Path) -> None:
    """The command ends at once while an endpoint lets it wait, and shows no traceback."""
    asked, released = threading.Event(), threading.Event()

    def stall(handler: Any) -> None:
        asked.set()
        released.wait(60)

    endpoint.answers["/metrics"] = stall
    file = tmp_path / "conf.yaml"
    file.write_text(f"instances: [{{{option.format(url=endpoint.url)}, timeout: 3600}}]\n", encoding="utf-8")
    command = [sys.executable, "-m", "datadog_checks.model_serving", "check", "-c", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
        assert asked.wait(60)
        process.terminate()
        _, said = process.communicate(timeout=60)
    released.set()
    assert process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM), said
    assert "Traceback" not in said


def test_a_machine_that_sleeps_in_a_run(
    endpoint: Endpoint, clocks: Clocks, aggregator: Any, datadog_agent: Any
) -> None:
    """Hours pass between the request and its answer: it counts once, and so do those after it."""
    total = 100

    def answer(handler: Any) -> None:
        nonlocal total
        total += 1
        clocks.wall += 5 * HOUR
        clocks.monotonic += 5 * HOUR
        body = page(total, START - 60.0).encode()
        reply(handler, Answer(body))

    endpoint.answers["/metrics"] = answer
    check = checked(endpoint, clocks)
    for _ in range(4):
        assert check.run() == ""
    assert counted() == 3
    check.cancel()
