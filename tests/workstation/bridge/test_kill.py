"""A bridge that is killed at any moment loses nothing and says nothing twice, but distributions on their way."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving.workstation.bridge.intake import CHECKS, DISTRIBUTIONS, SERIES
from datadog_checks.model_serving.workstation.demo.intake import LostAnswer, SimulatedIntake

from .bridges import BridgeHost, CountingServer, observations, totals, until


class Killed(BaseException):
    """The process is gone."""


class Doomed:
    """A connection to a database whose process dies before the statement of a number, counted from 0."""

    def __init__(self, database: sqlite3.Connection, last: float) -> None:
        self._database = database
        self.left = last

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    def execute(self, *arguments: Any) -> Any:
        self._count()
        return self._database.execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        self._count()
        return self._database.executemany(*arguments)

    def close(self) -> None:
        self._database.close()


def doom(host: BridgeHost, last: float = float("inf")) -> Doomed:
    doomed = Doomed(host.spool._database, last)
    host.spool._database = doomed  # type: ignore[assignment]
    return doomed


@pytest.fixture
def server(host: BridgeHost, endpoint: Any) -> CountingServer:
    server = CountingServer(endpoint)
    host.instances = [server.instance]
    host.start()
    return server


def statements(host: BridgeHost, server: CountingServer) -> int:
    """How many statements a step takes."""
    doomed = doom(host, 1e9)
    server.serve(10)
    host.step()
    return round(1e9 - doomed.left)


def arrived(host: BridgeHost, server: CountingServer) -> tuple[float, float]:
    """What has arrived: requests by the counter, observations by the histogram's own count, both exact."""
    return totals(host.intake, "request.count"), totals(host.intake, "request.latency.count")


def finish(host: BridgeHost, server: CountingServer) -> None:
    """Two runs of a new process, and all is delivered."""
    host.start()
    for _ in range(2):
        server.serve(10)
        host.step()


def test_killed_before_any_statement_of_a_step(host: BridgeHost, server: CountingServer) -> None:
    """Each statement of a run and its delivery, the last one before a `kill -9`."""
    host.step()
    count = statements(host, server)
    assert count > 20
    resent = 0.0
    for last in range(count):
        server.serve(10)
        doom(host, last)
        with suppress(Killed):
            host.step()
        host.kill()
        host.now += 15
        finish(host, server)
        assert arrived(host, server) == (server.counted, server.counted), last
        before, resent = resent, host.spool.totals().get("resent distributions", 0.0)
        # At most the one batch that was on its way.
        assert resent - before in (0, 10), last
        assert server.counted <= observations(host.intake, "request.latency") <= server.counted + resent, last
    assert resent > 0


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("path", ["/api/v2/series", "/api/v1/distribution_points", "/api/v1/check_run"])
def test_killed_while_a_request_is_on_its_way(path: str, taken: bool, host: BridgeHost, server: CountingServer) -> None:
    host.step()
    server.serve(10)
    host.run()

    def die(at: str, after: bool) -> None:
        if (at, after) == (path, taken):
            doom(host, 0)
            raise LostAnswer

    host.intake.interfere = die
    with pytest.raises(Killed):
        host.deliver()
    host.intake.interfere = lambda at, after: None
    host.kill()
    host.now += 15
    finish(host, server)
    assert arrived(host, server) == (server.counted, server.counted)
    again = 10 if (path, taken) == ("/api/v1/distribution_points", True) else 0
    assert observations(host.intake, "request.latency") == server.counted + again
    kinds = {"/api/v2/series": SERIES, "/api/v1/distribution_points": DISTRIBUTIONS, "/api/v1/check_run": CHECKS}
    expected = 10 if kinds[path] == DISTRIBUTIONS else 0
    assert host.spool.totals().get("resent distributions", 0) == expected


def test_a_run_once_process_counts_on_from_the_one_before(host: BridgeHost, server: CountingServer) -> None:
    """As a cron job, at times that are no multiple of anything."""
    for more, seconds in ((10, 61), (20, 59), (0, 3), (7, 300), (5, 1)):
        for watched in host.engine.watched:
            host.engine.run(watched, once=True)
        host.deliver()
        host.stop()
        host.now += seconds
        server.serve(more)
        host.start()
    for watched in host.engine.watched:
        host.engine.run(watched, once=True)
    host.deliver()
    assert arrived(host, server) == (42, 42)
    assert observations(host.intake, "request.latency") == 42
    (points,) = [
        points
        for (context, _), points in host.intake.arrived.intervals.items()
        if context.metric == "model_serving.request.count"
    ]
    # What is divided by, for a rate, is what has passed.
    assert sum(points[at] for at in sorted(points)) == pytest.approx(61 + 59 + 3 + 300 + 1, abs=30)


def test_a_process_that_is_really_killed(tmp_path: Path, endpoint: Any) -> None:
    """SIGKILL, another process on the same spool, SIGTERM: what the source counted is what has arrived."""
    server = CountingServer(endpoint)
    file = tmp_path / "bridge.yaml"
    instance = {**server.instance, "min_collection_interval": 1}
    settings = {"instances": [instance], "spool": {"path": "bridge.db"}, "health": False, "expose": False}
    file.write_text(json.dumps(settings))
    with SimulatedIntake() as intake:
        environment = {**os.environ, "DD_API_KEY": intake.api_key, "MODEL_SERVING_DATADOG_URL": intake.url}
        command = [sys.executable, "-m", "datadog_checks.model_serving", "bridge", "-c", str(file)]

        with subprocess.Popen(command, env=environment) as process:
            until(lambda: len(endpoint.requests) > 0)
            server.serve(50)
            until(lambda: totals(intake, "request.count") == 50)
            process.kill()
        server.serve(7)
        with subprocess.Popen(command, env=environment) as process:
            until(lambda: totals(intake, "request.count") == 57)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=15) == 0
        assert totals(intake, "request.latency.count") == 57
        assert 57 <= observations(intake, "request.latency") <= 107
