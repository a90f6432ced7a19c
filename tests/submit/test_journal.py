"""A restart of the Agent loses nothing that can be known, and a crash at any moment counts nothing twice."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.submit.journal import MAX_AGE, read, written
from datadog_checks.model_serving.submit.series import Reading
from datadog_checks.model_serving.workstation.standin.recorder import Batch
from datadog_checks.model_serving.workstation.standin.runner import Runner

from ..conftest import Answer, Endpoint, reply
from .agents import INTERVAL, START, Agents, counted

STEADY: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
OLD, NEW = START - 1000, START + 40
"""When a process of the target started: long ago, and after the last scrape of the first Agent."""

NAMES = ("request.count", "request.queue.depth.count", "request.queue.depth.sum")


def instance(endpoint: Endpoint, **options: Any) -> dict[str, Any]:
    return {"openmetrics_endpoint": endpoint.url, "serving_system": "mlserver", "readiness": False, **options}


def payload(count: float, model: str = "m", start: float | None = None) -> str:
    """A counter and a histogram of `count` requests of a second each, as a process shows them that began at `start`."""
    told = "" if start is None else f"process_start_time_seconds {start}\n"
    return told + (
        f'model_infer_request_success_total{{model="{model}"}} {count}\n'
        f'batch_request_queue_bucket{{le="0.5"}} 0\nbatch_request_queue_bucket{{le="1"}} {count}\n'
        f'batch_request_queue_bucket{{le="+Inf"}} {count}\nbatch_request_queue_count {count}\n'
        f"batch_request_queue_sum {count}\n"
    )


# -- the text of a reading

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 2**60).map(float)


@given(
    st.builds(Reading, value=NUMBERS)
    | st.lists(NUMBERS, max_size=20).flatmap(
        lambda counts: st.builds(
            Reading,
            count=NUMBERS | st.none() if counts else NUMBERS,
            sum=NUMBERS | st.none(),
            bounds=st.just(tuple(map(float, range(1, len(counts) + 1)))),
            counts=st.just(counts),
        )
    )
)
def test_a_reading_is_read_as_it_was_written(reading: Reading) -> None:
    """To the last bit: one that seemed to have fallen would count as a whole."""
    assert read(written(reading), reading.bounds) == reading


def test_a_reading_is_short() -> None:
    counts = [0.0, 0.0, 12.0, 40.0, 41.0, 41.0]
    assert written(Reading(0.0, 41.0, 17.25, (0.1, 0.2, 0.5, 1.0, 2.0, inf), counts)) == "41 17.25 ,0,0,12,28,1,0"
    assert written(Reading(7.0)) == "7"


# -- what a restart loses

STEPS = st.lists(st.sampled_from(["restart", "trial", "failed", "away"]) | st.integers(0, 50), min_size=4, max_size=30)


@settings(max_examples=60, **STEADY)
@given(steps=STEPS, known=st.booleans())
def test_nothing_is_lost_and_nothing_comes_twice(
    steps: list[Any], known: bool, agents: Agents, endpoint: Endpoint
) -> None:
    """Whatever restarts, trial runs, failed scrapes and absences there are, all requests but the first are counted.

    `known` is whether the target tells when its process started.
    """
    shutil.rmtree(agents.cache_dir, ignore_errors=True)
    start = 1_690_000_000.0 if known else None
    count, sums, base = 1000, dict.fromkeys(NAMES, 0.0), 1000
    config = instance(endpoint)
    endpoint.serve(payload(count, start=start))
    agent = agents.start(config)
    agents.run(agent, 2)
    for step in [*steps, 1, 1, 1]:
        if step == "restart":
            agent = agents.start(config)
        elif step == "trial":
            # Beside the Agent: what it counts goes nowhere.
            agents.trial(config)
        else:
            count += step if isinstance(step, int) else 7
            if step == "failed":
                endpoint.serve("", status=500)
            else:
                endpoint.serve(payload(count, start=start) if step != "away" else "other 1\n")
            rounds = agents.run(agent)
            for name in NAMES:
                sums[name] += sum(counted(rounds, name))
    assert sums == dict.fromkeys(NAMES, count - base)


def restarted(agents: Agents, endpoint: Endpoint, before: str, after: str, pause: float = 0.0) -> list[float]:
    """What the requests of two payloads give, with a restart of the Agent in between."""
    endpoint.serve(before)
    agents.run(agents.start(instance(endpoint)), 3)
    agents.now += pause
    endpoint.serve(after)
    return counted(agents.run(agents.start(instance(endpoint)), 3))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (payload(10), payload(14), [0, 4, 0]),
        (payload(10), payload(10), [0, 0, 0]),
        (payload(10, start=OLD), payload(14, start=OLD + 0.4), [0, 4, 0]),
        (payload(10, start=OLD), payload(14, start=NEW), [0, 14, 0]),
        (payload(10, start=OLD), payload(4, start=NEW), [0, 4, 0]),
        (payload(10, start=OLD), payload(4, start=OLD), [0, 0, 0]),
        (payload(10, start=OLD), payload(400, start=OLD + 100), [0, 0, 0]),
        (payload(10), payload(4), [0, 4, 0]),
        (payload(10, "m"), payload(14, "n"), [0, 0, 0]),
    ],
    ids=[
        "goes on",
        "nothing new",
        "the same process",
        "another process that has counted further",
        "another process",
        "the same process lost a part",
        "another one that was there before",
        "a fall",
        "another model",
    ],
)
def test_the_target_may_have_restarted_too(
    before: str, after: str, expected: list[float], agents: Agents, endpoint: Endpoint
) -> None:
    """It is told as between two scrapes of one process of the Agent."""
    assert restarted(agents, endpoint, before, after) == expected


@pytest.mark.parametrize(("pause", "expected"), [(MAX_AGE - 100, 4), (MAX_AGE + 1, 0), (-30, 4), (-100, 0)], ids=str)
def test_readings_that_are_too_old(pause: float, expected: float, agents: Agents, endpoint: Endpoint) -> None:
    """After an hour, or with a clock of no sense, nothing is known of what was between."""
    assert sum(restarted(agents, endpoint, payload(10), payload(14), pause)) == expected


def test_readings_that_stay_the_same_don_t_get_old(agents: Agents, endpoint: Endpoint) -> None:
    endpoint.serve(payload(10))
    agents.run(agents.start(instance(endpoint)), 3 * int(MAX_AGE / 300), pause=300.0)
    endpoint.serve(payload(14))
    assert counted(agents.run(agents.start(instance(endpoint)), 2)) == [0, 4]


def test_written_only_when_changed(agents: Agents, endpoint: Endpoint) -> None:
    """And not again where only the time has passed, for a quarter of an hour."""
    file = agents.cache_dir / "model_serving"
    endpoint.serve(payload(10))
    agent = agents.start(instance(endpoint))
    agents.run(agent, 2)
    (path,) = file.glob("*_readings")
    path.unlink()
    agents.run(agent, 10)
    assert not path.exists()
    endpoint.serve(payload(11))
    agents.run(agent)
    assert path.exists()


def test_a_series_that_is_away_at_the_restart(agents: Agents, endpoint: Endpoint) -> None:
    """It goes on from where it was, and does not count as new: its whole life would be counted."""
    config = instance(endpoint)
    endpoint.serve(payload(10))
    agents.run(agents.start(config), 3)
    endpoint.serve("other 1\n")
    for _ in range(2):
        agents.run(agents.start(config), 3)
    agent = agents.start(config)
    agents.run(agent, 3)
    endpoint.serve(payload(14))
    assert counted(agents.run(agent, 2)) == [4, 0]
    assert counted(agents.run(agents.start(config), 2)) == [0, 0]


def test_a_histogram_with_other_buckets(agents: Agents, endpoint: Endpoint) -> None:
    """Nothing is known of what is in the new ones; the counter goes on."""
    other = payload(14).replace('le="0.5"', 'le="0.7"')
    endpoint.serve(payload(10))
    agents.run(agents.start(instance(endpoint)), 3)
    endpoint.serve(other)
    rounds = agents.run(agents.start(instance(endpoint)), 2)
    assert [sum(counted(rounds, name)) for name in NAMES] == [4, 0, 0]


def test_distributions_go_on_too(agents: Agents, endpoint: Endpoint) -> None:
    endpoint.serve(payload(10))
    agents.run(agents.start(instance(endpoint)), 3)
    endpoint.serve(payload(14))
    rounds = agents.run(agents.start(instance(endpoint)), 2)
    found = [
        (each.context.name, each.sketch.count)
        for round_ in rounds
        for run in round_.runs
        for each in run.commit.distributions
    ]
    assert found == [("model_serving.request.queue.depth", 4)]


def test_each_target_behind_a_federation(agents: Agents, endpoint: Endpoint) -> None:
    """With the start of its own process."""

    def federated(*targets: tuple[str, float, float]) -> str:
        return "".join(
            f'process_start_time_seconds{{job="j",instance="{name}"}} {start}\n'
            f'model_infer_request_success_total{{job="j",instance="{name}",model="m"}} {count}\n'
            for name, start, count in targets
        )

    assert restarted(
        agents, endpoint, federated(("a", OLD, 10), ("b", OLD, 10)), federated(("a", NEW, 30), ("b", OLD, 14))
    ) == [0, 34, 0]


def test_several_endpoints(agents: Agents, endpoint: Endpoint) -> None:
    """Each has readings of its own, and they share the limit."""
    urls = [endpoint.url, endpoint.url + "2"]
    config = {**instance(endpoint), "openmetrics_endpoints": urls, "restart_memory_bytes": 500}
    del config["openmetrics_endpoint"]
    paths = ("/metrics", "/metrics2")
    for path, count in zip(paths, (10, 20), strict=True):
        endpoint.serve(payload(count), path)
    agents.run(agents.start(config), 3)
    files = list((agents.cache_dir / "model_serving").glob("*_readings_*"))
    assert len(files) == 2
    assert all(0 < file.stat().st_size <= 250 for file in files)
    for path, count in zip(paths, (14, 27), strict=True):
        endpoint.serve(payload(count), path)
    assert counted(agents.run(agents.start(config), 2)) == [0, 11]


def test_a_cluster_check_does_not_remember_readings(agents: Agents, endpoint: Endpoint) -> None:
    """Another runner may have counted meanwhile what this one would count again. The Cluster Agent sets the option."""
    config = instance(endpoint, empty_default_hostname=True)
    endpoint.serve(payload(10))
    agents.run(agents.start(config), 3)
    endpoint.serve(payload(14))
    assert counted(agents.run(agents.start(config), 3)) == [0, 0, 0]


def test_a_device_whose_holder_changed(agents: Agents, endpoint: Endpoint) -> None:
    """A GPU goes on over a restart, whoever holds it."""

    def energy(pod: str, joules: int) -> None:
        endpoint.serve(f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="0",UUID="GPU-1",pod="{pod}"}} {joules * 1000}\n')

    config = instance(endpoint, serving_system="dcgm")
    energy("a", 100)
    agents.run(agents.start(config), 3)
    agent = agents.start(config)
    energy("b", 200)
    rounds = agents.run(agent, 3)
    energy("a", 303)
    rounds += agents.run(agent)
    assert sum(counted(rounds, "gpu.energy.count")) == 203


@pytest.mark.parametrize("answering", ["abababab", "aabbaabb", "abbbaaab"])
@pytest.mark.parametrize("restart", range(1, 8))
def test_several_processes_that_take_turns(answering: str, restart: int, agents: Agents, endpoint: Endpoint) -> None:
    """Each goes on from what it had counted, wherever the Agent is restarted; nothing is counted twice."""
    starts, counts = {"a": 1_690_000_000.0, "b": 1_690_000_500.0}, {"a": 1000, "b": 5000}
    config = instance(endpoint)
    endpoint.serve(payload(counts["a"], start=starts["a"]))
    agent = agents.start(config)
    agents.run(agent, 2)
    answers = [*answering, *"abab"]
    first = {"a": 1000}
    total = 0.0
    for number, name in enumerate(answers):
        if number == restart:
            agent = agents.start(config)
        counts[name] += 1
        first.setdefault(name, counts[name])
        endpoint.serve(payload(counts[name], start=starts[name]))
        total += sum(counted(agents.run(agent)))
    truth = sum(counts[name] - first[name] for name in counts)
    known = {*answers[:restart]} == {"a", "b"}
    assert truth - (2 if known else 6) <= total <= truth, (total, truth)


# -- limits


def many(count: int, models: int = 100) -> str:
    name = "model_infer_request_success_total"
    return "".join(f'{name}{{model="m{n}"}} {count}\n' for n in range(models)) + payload(count)


@pytest.mark.parametrize("limit", [0, 100, 300, 1000, 1500, 100_000])
def test_what_does_not_fit(limit: int, agents: Agents, endpoint: Endpoint) -> None:
    """The same series are remembered each time, counters before histograms."""
    config = instance(endpoint, restart_memory_bytes=limit)
    gains, logs = [], []
    endpoint.serve(many(10))
    agent = agents.start(config)
    agents.run(agent, 3)
    size = sum(file.stat().st_size for file in agents.cache_dir.rglob("*_readings"))
    assert size <= limit
    for count in (20, 30):
        endpoint.serve(many(count))
        agent = agents.start(config)
        rounds = agents.run(agent, 3)
        logs.append([line for round_ in rounds for line in round_.logs])
        gains.append(
            {
                (point.context.name, point.context.tags)
                for round_ in rounds
                for point in round_.runs[0].commit.series
                if point.type == "count" and point.value == 10
            }
        )
    assert gains[0] == gains[1]
    assert len(gains[0]) == {0: 0, 100_000: 103}.get(limit, len(gains[0]))
    if 1000 <= limit < 100_000:
        assert 0 < len(gains[0]) < 103
        assert {name for name, _ in gains[0]} == {"model_serving.request.count"}
    assert logs == [[], []], "below the level of warnings"


def test_it_is_said_once_that_not_all_fits(
    agents: Agents, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    endpoint.serve(many(10))
    agents.run(agents.start(instance(endpoint, restart_memory_bytes=500)), 4)
    lines = [
        line for line in caplog.records if line.name.endswith("base.model_serving") and "fit into" in line.getMessage()
    ]
    assert len(lines) == 1
    assert "of 102 counters and histograms fit into `restart_memory_bytes` (500)" in lines[0].getMessage()


# -- trial runs, and a cache that fails


def test_a_trial_beside_an_agent_shows_counts(agents: Agents, endpoint: Endpoint) -> None:
    """From its second run on, and takes nothing from the Agent."""
    config = instance(endpoint)
    endpoint.serve(payload(10))
    agent = agents.start(config)
    agents.run(agent, 3)
    trial = agents.start(config)
    rounds = []
    for count in (12, 13, 15):
        endpoint.serve(payload(count))
        rounds += agents.run(trial, pause=2.0)
    assert counted(rounds) == [0, 3, 2]
    assert counted(agents.run(agent, 2)) == [5, 0]


def test_writes_that_are_lost(agents: Agents, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that is read-only each process finds the same old readings: going on from them would count twice."""
    config = instance(endpoint)
    endpoint.serve(payload(10))
    agents.run(agents.start(config), 3)
    assert agents.stand_in is not None
    monkeypatch.setattr(type(agents.stand_in), "write_cache", lambda *_: None)
    total = 0.0
    for count in (20, 30):
        endpoint.serve(payload(count))
        agent = agents.start(config)
        agents.run(agent)
        endpoint.serve(payload(count + 5))
        rounds = agents.run(agent, 3)
        assert "chown" in rounds[-1].runs[0].warnings[0]
        total += sum(counted(rounds))
    assert total == 10


@pytest.mark.parametrize(
    "spoil", [lambda text: text[:-3], lambda text: text.replace("@", "#"), lambda text: "7\n" + text]
)
def test_a_torn_file(spoil: Callable[[str], str], agents: Agents, endpoint: Endpoint) -> None:
    """A reading that is cut short would be a smaller one."""
    endpoint.serve(payload(10))
    agents.run(agents.start(instance(endpoint)), 3)
    (path,) = (agents.cache_dir / "model_serving").glob("*_readings")
    path.write_text(spoil(path.read_text()))
    endpoint.serve(payload(14))
    rounds = agents.run(agents.start(instance(endpoint)), 3)
    assert counted(rounds) == [0, 0, 0]
    assert counted(agents.run(agents.start(instance(endpoint)), 3)) == [0, 0, 0]


# -- crashes


class Killed(BaseException):
    """The end of a process, which nothing catches."""


class Executioner:
    """Counts what an Agent is asked for, and ends it at one of these calls: `before` it is done, halfway, or after."""

    def __init__(self, agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
        assert agents.stand_in is not None
        self.agents = agents
        self.stand_in = agents.stand_in
        self.calls = 0
        self.at: tuple[int, str] | None = None
        self.sent = Batch()
        for holder, name in (
            (type(self.stand_in), "read_cache"),
            (type(self.stand_in), "write_cache"),
            (type(self.stand_in.recorder), "sample"),
            (type(self.stand_in.recorder), "bucket"),
        ):
            monkeypatch.setattr(holder, name, self._watched(name, getattr(holder, name)))

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(this: Any, *arguments: Any, **named: Any) -> Any:
            if self.at == (-1, "dead"):
                # What is done on the way out of the process that is no more.
                return ""
            self.calls += 1
            step = self.at[1] if self.at is not None and self.at[0] == self.calls else ""
            if step == "halfway" and name == "write_cache":
                call(this, arguments[0], arguments[1][: len(arguments[1]) // 2])
            if step in ("before", "halfway"):
                self._end()
            result = call(this, *arguments, **named)
            if step == "after":
                self._end()
            return result

        return watched

    def _end(self) -> None:
        self.at = (-1, "dead")
        raise Killed

    @contextmanager
    def ends(self, number: int, step: str) -> Iterator[None]:
        self.calls, self.at = 0, (number, step)
        try:
            yield
        except Killed:
            pass
        finally:
            self.at = None

    def run(self, agent: Runner) -> None:
        """One run, of which everything that is submitted is sent, to where it was ended."""
        try:
            agent._instances[0].check.run()
        finally:
            batch = self.stand_in.recorder.take()
            self.sent.samples += batch.samples
            self.sent.buckets += batch.buckets
            self.agents.now += INTERVAL

    def sums(self) -> dict[str, int]:
        found = dict.fromkeys((*NAMES, "request.queue.depth"), 0.0)
        for sample in (*self.sent.samples, *self.sent.buckets):
            name = sample.name.removeprefix("model_serving.")
            if name in found:
                found[name] += sample.value
        return {name: int(value) for name, value in found.items()}


class Traffic:
    """A power of ten requests before each scrape: the digits of a sum say how often it has what came before which."""

    def __init__(self, endpoint: Endpoint, start: float | None) -> None:
        self.endpoint = endpoint
        self.start = start
        self.count = 0
        self.scrapes = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.count += 10**self.scrapes
        self.scrapes += 1
        self.endpoint.serve(payload(self.count, start=self.start))
        return self.scrapes


@pytest.mark.parametrize("step", ["before", "halfway", "after"])
@pytest.mark.parametrize("start", [None, 1_690_000_000.0])
def test_killed_at_every_call(
    step: str, start: float | None, agents: Agents, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One Agent is stopped, the next is killed at one call into the Agent after another, a third goes on."""
    executioner = Executioner(agents, monkeypatch)
    config = instance(endpoint)
    number = 0
    while True:
        number += 1
        shutil.rmtree(agents.cache_dir, ignore_errors=True)
        executioner.sent = Batch()
        traffic = Traffic(endpoint, start)
        agent = agents.start(config)
        for _ in range(2):
            next(traffic)
            executioner.run(agent)
        agent = agents.start(config)
        with executioner.ends(number, step):
            for _ in range(3):
                next(traffic)
                executioner.run(agent)
        over = executioner.calls < number
        agent = agents.start(config)
        for _ in range(3):
            next(traffic)
            executioner.run(agent)
        sums = executioner.sums()
        # A distribution comes in parts, after its count.
        assert sums.pop("request.queue.depth") <= sums["request.queue.depth.count"], number
        for name, total in sums.items():
            digits = f"{total:0{traffic.scrapes}d}"[::-1]
            assert {*digits} <= {"0", "1"}, (number, name, total, "something came twice")
            lost = [scrape for scrape, digit in enumerate(digits) if scrape > 0 and digit == "0"]
            # What waited for the second run of a process goes with it; and of a file that is torn nothing is known.
            assert len(lost) <= (3 if step == "halfway" else 2), (number, name, total)
            assert not over or not lost, (number, name, total)
        if over:
            break
    assert number > 20


AGENT = """
import os, signal, sys
from pathlib import Path
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.recorder import Recorder
from datadog_checks.model_serving.workstation.standin.standin import StandIn

url, cache_dir, runs, end = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with standing_in(StandIn(cache_dir=cache_dir)) as stand_in:
    from datadog_checks.model_serving import ModelServingCheck

    now = 0.0
    check = ModelServingCheck("model_serving", {}, ({"openmetrics_endpoint": url, "serving_system": "mlserver"},))
    check.check_id, check.clock = "model_serving:1", lambda: now
    sample, write = Recorder.sample, StandIn.write_cache
    sent = 0

    def send(this, check_id, kind, name, value, *more):
        global sent
        if name == "model_serving.request.count":
            os.write(1, f"{value:.0f}\\n".encode())
        elif name == "model_serving.request.queue.depth.count" and end == "sending" and run == runs:
            os.kill(os.getpid(), signal.SIGKILL)

    def keep(this, key, text):
        write(this, key, text)
        if end == "written" and run == runs and key.endswith("_readings"):
            os.kill(os.getpid(), signal.SIGKILL)

    Recorder.sample, StandIn.write_cache = send, keep
    for run in range(1, runs + 1):
        assert check.run() == ""
        now += 15.0
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("end", "expected"), [("run", "0111"), ("written", "0011"), ("sending", "0111")])
def test_killed_by_a_signal(end: str, expected: str, endpoint: Endpoint, tmp_path: Path) -> None:
    """A real process, ended by SIGKILL: after a run, between the write and the first submission, while it submits."""
    scrapes = 0

    def answer(handler: Any) -> None:
        nonlocal scrapes
        scrapes += 1
        body = payload(sum(10**number for number in range(scrapes))).encode()
        reply(handler, Answer(body))

    endpoint.answers["/metrics"] = answer
    total = 0
    for how in (end, "run"):
        done = subprocess.run(
            [sys.executable, "-c", AGENT, endpoint.url, str(tmp_path), "2", how],
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        total += sum(map(int, done.stdout.split()))
    assert scrapes == 4
    assert f"{total:04d}"[::-1] == expected
