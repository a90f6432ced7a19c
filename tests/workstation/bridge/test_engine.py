"""Instances run as in an Agent, and what they remember and give goes to the disk together, or not at all."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import SpoolError
from datadog_checks.model_serving.workstation.bridge import intake
from datadog_checks.model_serving.workstation.bridge.engine import time_of_points
from datadog_checks.model_serving.workstation.bridge.health import state_of
from datadog_checks.model_serving.workstation.bridge.intake import CLOCK_PUT_BACK
from datadog_checks.model_serving.workstation.bridge.process import Reporter
from datadog_checks.model_serving.workstation.bridge.spool import NewBatch, Spool
from datadog_checks.model_serving.workstation.standin.aggregation import Commit, Context, SeriesPoint

from ...conftest import reply
from .bridges import START, BridgeHost, CountingServer, observations, totals


@given(st.lists(st.floats(0.0, 40.0), min_size=1, max_size=50), st.integers(1, 60))
def test_no_two_runs_have_points_of_one_time(pauses: list[float], step: int) -> None:
    """Datadog keeps the last value of a series at a time: the one before would be lost."""
    now, last, times = START, None, []
    for pause in pauses:
        now += pause
        last = time_of_points(now, step, last)
        times.append(last)
        assert last <= now + len(pauses)
    assert times == sorted(set(times))
    # One that comes in its turn has an aligned time.
    late = [pause > step + len(pauses) for pause in pauses[1:]]
    assert all(time % step == 0 for time, alone in zip(times[1:], late, strict=True) if alone)


@pytest.mark.parametrize(("back", "expected"), [(60, 1_700_000_001), (CLOCK_PUT_BACK + 1, 1_699_999_395)])
def test_a_clock_that_is_put_back(back: float, expected: int) -> None:
    """A little: times go on. So far that Datadog would not take them: they begin again."""
    assert time_of_points(1_700_000_000 - back, 15, 1_700_000_000) == expected


def test_two_instances_with_one_series_lose_nothing(host: BridgeHost, endpoint: Any) -> None:
    """As in an Agent, whose instances have times of their own."""
    server = CountingServer(endpoint)
    host.instances = [{**server.instance, "name": name} for name in ("a", "b", "c")]
    host.start()
    for _ in range(3):
        host.step()
        server.serve(10)
    (points,) = (
        points
        for (context, _), points in host.intake.arrived.series.items()
        if context.metric == "model_serving.request.count"
    )
    assert len(points) == 6
    assert totals(host.intake, "request.count") == 60


def test_two_instances_with_one_series_around_a_restart(host: BridgeHost, endpoint: Any) -> None:
    """What ran before must not give a time that what runs after gives as well."""
    server = CountingServer(endpoint)
    host.instances = [{**server.instance, "name": name} for name in ("a", "b")]
    host.start()
    host.step()
    server.serve(10)
    host.engine.run(host.engine.watched[0])
    host.kill()
    host.start()
    host.engine.run(host.engine.watched[1])
    host.deliver()
    assert totals(host.intake, "request.count") == 20


def test_two_instances_with_one_series_among_very_many(host: BridgeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "KEPT_PREFIXES", 5)
    encoder = intake.Encoder(host.settings())
    commit = Commit([SeriesPoint(Context(f"m{number}", (), ""), "count", 1.0) for number in range(20)])
    times = [encoder.claim(commit, int(START) + late) for late in (0, 0, 0, 1, 900, 900, 900)]
    assert len(set(times)) == len(times)
    others = [Commit([SeriesPoint(Context(f"o{number}", (), ""), "count", 1.0)]) for number in range(2000)]
    for number, other in enumerate(others):
        encoder.claim(other, int(START) + 900 + number)
    assert len(encoder._times) < 2 * CLOCK_PUT_BACK


def test_a_full_disk_loses_nothing(host: BridgeHost, endpoint: Any) -> None:
    """What can't be written goes with the next run, and a process that dies meanwhile goes on from before."""
    server = CountingServer(endpoint)
    host.instances = [server.instance]
    host.start()
    host.step()
    server.serve(10)
    host.spool._database.execute("PRAGMA max_page_count = 1")
    pages = host.spool._database.execute("PRAGMA page_count").fetchone()[0]
    host.spool._database.execute(f"PRAGMA max_page_count = {pages}")
    host.engine._encoder._tags = tuple(f"filler:{number}" for number in range(20_000))
    host.run()
    (watched,) = host.engine.watched
    assert "make room on its disk" in watched.warnings[-1]
    assert host.spool.held().batches == 0
    host.engine._encoder._tags = ()
    server.serve(5)
    host.kill()
    host.now += 15
    host.start()
    host.step()
    assert totals(host.intake, "request.count") == 15
    assert observations(host.intake, "request.latency") == 15


def test_a_full_disk_that_has_room_again(host: BridgeHost, endpoint: Any) -> None:
    server = CountingServer(endpoint)
    host.instances = [server.instance]
    host.start()
    host.step()
    write = host.spool.write
    host.spool.write = _refusing  # type: ignore[method-assign]
    for _ in range(3):
        server.serve(10)
        host.run()
        host.now += 15
    host.spool.write = write  # type: ignore[method-assign]
    server.serve(10)
    host.step()
    assert totals(host.intake, "request.count") == 40
    assert observations(host.intake, "request.latency") == 40


def _refusing(*arguments: Any, **named: Any) -> None:
    raise SpoolError("the disk is full")


def test_metrics_that_a_user_names_count_on_after_a_restart(host: BridgeHost, endpoint: Any) -> None:
    """The Agent's own counting, which an Agent forgets."""
    host.instances = [
        {"openmetrics_endpoint": endpoint.url, "metrics": [{"own_requests": "own"}], "extra_metrics": ["own_time"]}
    ]
    for total in (100, 104, 110, 3):
        text = f"# TYPE own_requests_total counter\nown_requests_total {total}\n# TYPE own_time histogram\n"
        text += f'own_time_bucket{{le="1"}} {total}\nown_time_bucket{{le="+Inf"}} {total}\n'
        endpoint.serve(text + f"own_time_sum {total}\nown_time_count {total}\n")
        host.start()
        host.step()
        host.kill()
    # What a reset has counted while no process ran isn't known to the Agent's counting.
    assert totals(host.intake, "own.count") == 10


def test_instances_are_isolated_and_run_at_the_same_time(host: BridgeHost, endpoint: Any) -> None:
    server = CountingServer(endpoint)
    both = threading.Barrier(2, timeout=20)

    def meet(handler: Any) -> None:
        both.wait()
        reply(handler, endpoint.answers["/metrics"])

    endpoint.answers["/a"] = endpoint.answers["/b"] = meet
    base = endpoint.url.removesuffix("/metrics")
    common = {**server.instance}
    host.instances = [
        {**common, "openmetrics_endpoint": f"{base}/a", "tags": ["who:a"]},
        {**common, "openmetrics_endpoint": f"{base}/b", "tags": ["who:b"]},
        {**common, "openmetrics_endpoint": f"{base}/nothing"},
        {**common, "no_such_option": 1},
    ]
    host.start()
    for _ in range(2):
        threads = [threading.Thread(target=host.engine.run, args=(watched,)) for watched in host.engine.watched]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        host.deliver()
        host.now += 15
        server.serve(10)
    ours = [context for context in host.intake.arrived.totals() if context.metric == "model_serving.request.count"]
    assert sorted(tag for context in ours for tag in context.tags if tag.startswith("who:")) == ["who:a", "who:b"]
    assert totals(host.intake, "request.count") == 20
    errors = [watched.error for watched in host.engine.watched]
    assert errors[:2] == [None, None]
    assert "404" in str(errors[2])
    assert "no_such_option" in str(errors[3])


def test_the_bridge_says_what_has_become_of_points(host: BridgeHost, endpoint: Any) -> None:
    """Exactly once, whatever happens to the process."""
    server = CountingServer(endpoint)
    host.instances = [server.instance]
    host.start()
    sent: list[float] = []
    for _ in range(4):
        host.run()
        Reporter(host.settings(), host.spool, host.time).report()
        host.deliver()
        host.now += 15
        server.serve(10)
        sent.append(sum(host.intake.requests.values()))
        host.kill()
        host.start()
    Reporter(host.settings(), host.spool, host.time).report()
    host.deliver()
    series = sum(len(points) for points in host.intake.arrived.series.values())
    left = host.spool.totals()["sent series"]
    kinds = {context.tags: value for context, value in host.intake.arrived.totals().items() if "sent" in context.metric}
    assert kinds[("kind:series",)] == series - left
    assert kinds[("kind:distributions",)] == observations(host.intake, "request.latency") == 30
    assert kinds[("kind:service_checks",)] == len(host.intake.arrived.service_checks) == 4


def test_the_spool_is_of_one_process(tmp_path: Any) -> None:
    first = Spool(tmp_path / "one.db", 10**7)
    with pytest.raises(SpoolError, match="in use by another process"):
        Spool(tmp_path / "one.db", 10**7)
    first.close()
    Spool(tmp_path / "one.db", 10**7).close()
    assert (tmp_path / "one.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_spool_that_is_none(tmp_path: Any, content: bytes) -> None:
    (tmp_path / "one.db").write_bytes(content)
    with pytest.raises(SpoolError, match="move the file away"):
        Spool(tmp_path / "one.db", 10**7)


def test_a_spool_that_breaks_meanwhile(host: BridgeHost, endpoint: Any) -> None:
    """It is told with the file and what to do, by whoever needs it; the process goes on."""
    host.instances = [CountingServer(endpoint).instance]
    host.start()
    host.run()
    host.spool._database.execute("UPDATE batches SET body = x'00'")
    with pytest.raises(SpoolError, match="move the file away"):
        host.deliver()
    host.spool._database.close()
    state = state_of(host.engine, host.spool, None)
    assert state["status"] == "spool"
    assert str(host.path) in state["delivery"]["problem"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_spool_that_is_removed_meanwhile(replaced: bool, host: BridgeHost, endpoint: Any) -> None:
    """The process goes on, and says that the next one will not find it."""
    server = CountingServer(endpoint)
    host.instances = [server.instance]
    host.start()
    host.step()
    # Kept elsewhere, so that the new file is another one.
    host.path.rename(host.path.with_suffix(".away"))
    if replaced:
        host.path.touch()
    server.serve(10)
    host.step()
    assert totals(host.intake, "request.count") == 10
    state = state_of(host.engine, host.spool, None)
    assert state["status"] == "spool"
    assert "was removed or replaced" in state["delivery"]["problem"]


def test_a_spool_of_another_version(tmp_path: Any) -> None:
    database = sqlite3.connect(tmp_path / "one.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(SpoolError, match="another version"):
        Spool(tmp_path / "one.db", 10**7)


def test_the_file_shrinks_again(tmp_path: Any) -> None:
    """What an outage has filled is given back."""
    spool = Spool(tmp_path / "one.db", 10**9)
    for number in range(50):
        body = "".join(f"{number * 7919 * index % 1_000_003}," for index in range(20_000))
        spool.write({}, [NewBatch("series", 1.0, 1, len(body), body)])
    large = (tmp_path / "one.db").stat().st_size + (tmp_path / "one.db-wal").stat().st_size
    while batches := spool.oldest("series", 1):
        spool.remove(batches, {})
    spool.close()
    assert (tmp_path / "one.db").stat().st_size < large / 5
