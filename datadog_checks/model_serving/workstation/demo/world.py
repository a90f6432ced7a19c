"""The simulated world: traffic, GPUs and systems of a scenario on one clock, and a ledger of what really happened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from .dialects.custom_ml import CustomML
from .dialects.databricks import Databricks
from .dialects.dcgm import Dcgm
from .dialects.litellm import LiteLLM
from .dialects.mlserver import MLServer
from .dialects.tensorflow_serving import TensorFlowServing
from .dialects.vllm import VLLM
from .gpu import GpuNode
from .ledger import Ledger
from .llm_gateway import LlmGateway
from .llm_traffic import LlmTraffic
from .nvml import SimulatedDriver
from .scenario import MINUTE, LlmService, Phase, Scenario, Service, Timeline
from .traffic import Traffic

Dialect = Databricks | MLServer | TensorFlowServing | CustomML


@dataclass
class Simulated:
    """One serving endpoint of the world."""

    service: Service
    dialect: Dialect
    traffic: list[Traffic]
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def times_failures(self) -> bool:
        """Tell whether the system's latency metric also holds the requests that failed."""
        return self.service.system in ("databricks", "mlserver")


class SimulatedLlm:
    """A language model of the world: clients, a gateway, and the engine behind it."""

    def __init__(self, service: LlmService, scenario: Scenario, timeline: Timeline, seed: int) -> None:
        self.service = service
        self.gateway = LlmGateway(service.model, service.gateway)
        self.engine = self.gateway.engine
        self.vllm, self.litellm = VLLM(self.engine), LiteLLM(self.gateway)
        self._traffic = LlmTraffic(service, scenario, timeline, seed)

    def advance(self, now: float) -> None:
        """Move to the time `now` (simulated seconds)."""
        for request in self._traffic.advance(now):
            self.gateway.submit(request)
        self.gateway.advance(now)

    def close(self) -> None:
        """Let no more requests arrive."""
        self._traffic.close()


class World:
    """Everything that a scenario describes, at one simulated time.

    `length` is how many simulated seconds the story takes. Take `lock` before reading a dialect from another thread
    than the one that calls `advance`.
    """

    def __init__(self, scenario: Scenario, *, length: float, seed: int = 0, repeat: bool = False) -> None:
        self.scenario = scenario
        self.timeline = Timeline(length, repeat)
        self.epoch = _latest(scenario.clock.starts)
        self.now = 0.0
        self.lock = threading.Lock()
        self.node = GpuNode(scenario, self.timeline, seed)
        self.dcgm = Dcgm(self.node)
        self.nvml = SimulatedDriver(self.node)
        self.endpoints = [self._endpoint(service, seed) for service in scenario.services]
        self.llm = SimulatedLlm(scenario.llm, scenario, self.timeline, seed) if scenario.llm else None
        self.followers: list[Callable[[], None]] = []
        """Called whenever time has passed."""
        self._open = True

    def _endpoint(self, service: Service, seed: int) -> Simulated:
        stamp = self.epoch.timestamp()
        dialect: Dialect
        match service.system:
            case "databricks":
                dialect = Databricks(service, stamp, seed)
            case "mlserver":
                dialect = MLServer(service)
            case "tensorflow_serving":
                dialect = TensorFlowServing(service)
            case "custom_ml":
                dialect = CustomML(service, self.scenario, self.timeline, seed)
        traffic = [Traffic(model, self.scenario, self.timeline, seed) for model in service.models]
        return Simulated(service, dialect, traffic)

    @property
    def time(self) -> datetime:
        """The simulated time of day."""
        return self.epoch + timedelta(seconds=self.now)

    @property
    def gpu_sources(self) -> tuple[str, ...]:
        """The systems that tell of the simulated GPUs. NVML does unless it tells of real ones."""
        return ("dcgm", "nvml") if self.nvml.used else ("dcgm",)

    @property
    def quiet(self) -> bool:
        """Tell whether no more requests come, all have been answered, and the last minute is over."""
        drained = all(traffic.drained for endpoint in self.endpoints for traffic in endpoint.traffic)
        drained = drained and (self.llm is None or self.llm.gateway.idle)
        return not self._open and drained and self.now % MINUTE == 0

    def ledgers(self) -> list[tuple[str, str, Ledger]]:
        """List what was done to every endpoint, with its system and its name."""
        found: list[tuple[str, str, Ledger]] = [
            (one.service.system, one.service.endpoint, one.ledger) for one in self.endpoints
        ]
        if self.llm is not None:
            service = self.llm.service
            found.append(("litellm", service.gateway.endpoint, self.llm.gateway.ledger))
            found.append(("vllm", service.endpoint, self.llm.engine.ledger))
        return found

    @property
    def behind(self) -> tuple[str, str] | None:
        """System and name of the endpoint that only a gateway calls: its requests are those of the gateway again."""
        return None if self.llm is None else ("vllm", self.llm.service.endpoint)

    def phases(self) -> list[Phase]:
        """List the phases of the story that applied at some time of the last step, at the start those that begin it."""
        if not self.now:
            return [phase for phase in self.scenario.phases if phase.start == 0]
        since, until = self.timeline.span(self.now - self.scenario.clock.step, self.now)
        return [phase for phase in self.scenario.phases if phase.start < until and since < phase.until]

    def advance(self, seconds: float) -> None:
        """Let simulated time pass. No step crosses the end of a minute, so what a minute holds is always exact."""
        with self.lock:
            until = self.now + seconds
            while self.now < until:
                self._step(min(until, self.now + self.scenario.clock.step, (self.now // MINUTE + 1) * MINUTE))
        self.nvml.deliver()
        for follow in self.followers:
            follow()

    def close(self) -> None:
        """Let no more requests arrive. Time has to pass until those under way are answered: see `quiet`."""
        with self.lock:
            self._open = False
            for endpoint in self.endpoints:
                for traffic in endpoint.traffic:
                    traffic.close()
            if self.llm is not None:
                self.llm.close()

    def _step(self, until: float) -> None:
        span = self.timeline.span(self.now, until)
        self.now = until
        busy: dict[str, float] = {}
        for endpoint in self.endpoints:
            for traffic in endpoint.traffic:
                for request in traffic.advance(until):
                    endpoint.dialect.record(request)
                    told = request.outcome == "ok" or endpoint.times_failures
                    failure = "" if request.outcome == "ok" else request.outcome
                    endpoint.ledger.enter(failure, request.latency if told else None)
            loads = {traffic.model.name: traffic.load() for traffic in endpoint.traffic}
            ready = {name: self.scenario.ready(name, span) for name in loads}
            endpoint.dialect.observe(until, loads, ready)
            for model in endpoint.service.models:
                if model.gpu is not None:
                    busy[model.gpu] = min(1.0, busy.get(model.gpu, 0.0) + loads[model.name].busy)
        if self.llm is not None:
            self.llm.advance(until)
        self.node.advance(until, busy)


def _latest(hour: str) -> datetime:
    """Return the latest time at that hour of the day (UTC) which is not in the future."""
    now = datetime.now(UTC)
    hours, minutes = map(int, hour.split(":"))
    today = now.replace(hour=hours, minute=minutes, second=0, microsecond=0)
    return today if today <= now else today - timedelta(days=1)
