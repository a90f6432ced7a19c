"""Bridges that are started, killed and started again on one spool, and an intake that they deliver to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.sources import claims
from datadog_checks.model_serving.submit.agent_cache import forget_claims
from datadog_checks.model_serving.workstation.bridge.deliverer import Deliverer
from datadog_checks.model_serving.workstation.bridge.engine import Engine, SpoolingStandIn
from datadog_checks.model_serving.workstation.bridge.intake import Intake
from datadog_checks.model_serving.workstation.bridge.settings import BridgeSettings, SpoolSettings
from datadog_checks.model_serving.workstation.bridge.spool import Spool
from datadog_checks.model_serving.workstation.demo.intake import SimulatedIntake
from datadog_checks.model_serving.workstation.provision.credentials import AccountCredentials
from datadog_checks.model_serving.workstation.standin.configuration import Configuration
from datadog_checks.model_serving.workstation.standin.runner import Round

START = 1_700_000_000.0
INTERVAL = 15.0


class BridgeHost:
    """One host with a spool, on which bridges are started and killed. `now` is the time of everything."""

    def __init__(self, folder: Path, intake: SimulatedIntake, stand_in: SpoolingStandIn) -> None:
        self.now = START
        self.instances: list[Mapping[str, Any]] = []
        self.options: dict[str, Any] = {}
        self.spool_options: dict[str, Any] = {}
        self.check_class: Any = ModelServingCheck
        self.intake = intake
        self._folder = folder
        self._stand_in = stand_in
        self._spool: Spool | None = None
        self._engine: Engine | None = None
        self._deliverer: Deliverer | None = None
        self._client: Intake | None = None

    def time(self) -> float:
        """In place of `time.time`."""
        return self.now

    @property
    def path(self) -> Path:
        return self._folder / "bridge.db"

    @property
    def spool(self) -> Spool:
        assert self._spool is not None
        return self._spool

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    @property
    def deliverer(self) -> Deliverer:
        assert self._deliverer is not None
        return self._deliverer

    def settings(self) -> BridgeSettings:
        configuration = Configuration(self._folder / "bridge.yaml", {}, tuple(enumerate(map(dict, self.instances), 1)))
        credentials = AccountCredentials(self.intake.api_key, "", url=self.intake.url)
        spool = SpoolSettings(self.path, **self.spool_options)
        return BridgeSettings(configuration, spool, credentials, **self.options)

    def start(self) -> None:
        """A process of its own."""
        forget_claims()
        claims._READERS.clear()
        settings = self.settings()
        assert settings.credentials is not None
        self._spool = self._stand_in.spool = Spool(self.path, settings.spool.max_bytes)
        # A process that is killed is no power cut, and the disks of test machines are slow.
        self._spool._database.execute("PRAGMA synchronous = OFF")
        self._client = Intake(settings.credentials, timeout=5.0)
        self._engine = Engine(self.check_class, settings, self._spool, self._stand_in, clock=self.time)
        self._deliverer = Deliverer(self._spool, self._client, settings.spool.max_age, self.time)

    def kill(self) -> None:
        """What `kill -9` leaves: a transaction that goes on is undone, nothing else is done."""
        if self._spool is not None:
            self._spool._database.close()
        self.release()

    def release(self) -> None:
        """What the operating system does when a process has ended."""
        if self._engine is not None:
            self._engine.close()
        if self._client is not None:
            self._client.close()
        self._stand_in.recorder.take()
        self._engine = self._client = self._spool = None

    def stop(self) -> None:
        """The end of a process in good order."""
        if self._spool is not None:
            self._spool.close()
        self.release()

    def run(self) -> list[Round]:
        """Each instance once."""
        return [self.engine.run(watched) for watched in self.engine.watched]

    def step(self, seconds: float = INTERVAL) -> list[Round]:
        """Each instance once, all of it delivered, then time passes."""
        rounds = self.run()
        self.deliver()
        self.now += seconds
        return rounds

    def deliver(self) -> None:
        """Deliver what there is, whatever pauses that takes."""
        for _ in range(200):
            if self.spool.held().batches == 0:
                return
            pause = self.deliverer.deliver()
            self.now += pause
        raise AssertionError(f"not delivered: {self.deliverer.progress}")


def totals(intake: SimulatedIntake, name: str) -> float:
    """What has arrived of a count."""
    return sum(value for context, value in intake.arrived.totals().items() if context.metric == f"model_serving.{name}")


def observations(intake: SimulatedIntake, name: str) -> int:
    """How many observations of a distribution have arrived."""
    sketches = intake.arrived.sketches().items()
    return sum(sketch.count for context, sketch in sketches if context.metric == f"model_serving.{name}")


PAYLOAD = """\
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1699990000
# TYPE inference_requests_total counter
inference_requests_total{{model="m"}} {total}
# TYPE inference_latency_seconds histogram
inference_latency_seconds_bucket{{model="m",le="0.1"}} {fast}
inference_latency_seconds_bucket{{model="m",le="1"}} {total}
inference_latency_seconds_bucket{{model="m",le="+Inf"}} {total}
inference_latency_seconds_sum{{model="m"}} {sum}
inference_latency_seconds_count{{model="m"}} {total}
# TYPE model_accuracy gauge
model_accuracy{{model="m"}} 0.9
"""


class CountingServer:
    """A system that has answered `total` requests, a few of them slowly."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint
        self.instance = {"openmetrics_endpoint": endpoint.url, "serving_system": "custom_ml"}
        self.total = 1000
        self.first = self.total
        self.serve()

    @property
    def counted(self) -> int:
        """Requests since the first scrape."""
        return self.total - self.first

    def serve(self, more: int = 0) -> None:
        """Answer `more` requests."""
        self.total += more
        fast = self.total * 3 // 4
        self._endpoint.serve(PAYLOAD.format(total=self.total, fast=fast, sum=self.total * 0.125))


def until(true: Callable[[], bool]) -> None:
    """Wait for what other threads or processes do."""
    for _ in range(1200):
        if true():
            return
        time.sleep(0.025)
    raise AssertionError("it did not happen")
