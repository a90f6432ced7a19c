"""What the demo tells at the end: what happened, and whether what arrived is what was simulated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

from ..standin.recorder import ServiceStatus
from ..standin.runner import Round
from .ledger import LATENCIES_KEPT
from .llm import LlmEngine
from .llm_gateway import LlmGateway
from .observe import GpuRow, Row, Signals, tag_values
from .scenario import MINUTE, Phase
from .world import World

QUANTILES = (0.5, 0.99)
FIRST_TOKEN = "token.time_to_first"
# The share of the requests that the SLO on the first token is about.
FIRST_TOKEN_SHARE = 0.95
JOULE_TOLERANCE = 1e-6


class NumberComparison(NamedTuple):
    """One number of the simulator beside the same number in Datadog's types."""

    system: str
    endpoint: str
    what: str
    simulated: float
    arrived: float

    @property
    def agrees(self) -> bool:
        """Tell whether both are the same, up to rounding of sums."""
        return abs(self.simulated - self.arrived) <= JOULE_TOLERANCE * max(1.0, abs(self.simulated))


class LatencyComparison(NamedTuple):
    """Exact quantiles (seconds) of the simulated latencies beside those of the distribution that arrived."""

    system: str
    endpoint: str
    simulated: tuple[float, ...]
    arrived: tuple[float, ...]


def compare(world: World, signals: Signals) -> list[NumberComparison]:
    """Compare requests and errors of every endpoint, what an engine and its gateway did besides, and XID errors and
    energy of every simulated GPU by source."""
    result = []
    for system, name, what, simulated, metric in _counted(world):
        arrived = signals.of_endpoint(metric, system, name)
        result.append(NumberComparison(system, name, what, simulated, arrived))
    for source, device in product(world.gpu_sources, world.node.devices):
        row = GpuRow(source, device.gpu.index)
        name = f"{device.host.hostname}, GPU {row.gpu}"
        xids = sum(count for (at, _), count in signals.xids.items() if at == row)
        result.append(NumberComparison(source, name, "XID errors", len(device.xids), xids))
        joules = signals.gpu_counts[row, "gpu.energy.count"]
        result.append(NumberComparison(source, name, "energy (J)", device.energy / 1000, joules))
    return result


def _counted(world: World) -> Iterator[tuple[str, str, str, float, str]]:
    """Yield system, endpoint, a word, what was simulated, and the count in which it arrives."""
    for system, name, ledger in world.ledgers():
        yield system, name, "requests", ledger.requests, "request.count"
        yield system, name, "errors", ledger.failed, "request.error.count"
        if world.llm is not None and system in ("litellm", "vllm"):
            told = _gateway_counts(world.llm.gateway) if system == "litellm" else _engine_counts(world.llm.engine)
            for what, simulated, metric in told:
                yield system, name, what, simulated, metric


def _gateway_counts(gateway: LlmGateway) -> Iterator[tuple[str, float, str]]:
    upstream = gateway.deployments.values()
    yield "attempts", sum(one.tried for one in upstream), "litellm.deployment.request.count"
    yield "fallbacks", gateway.fallbacks.total(), "litellm.fallback.count"
    yield "tokens in", sum(one.prompt for one in upstream), "token.prompt.count"
    yield "tokens out", sum(one.output for one in upstream), "token.generation.count"
    yield "cost ($)", sum(one.dollars for one in upstream), "cost.count"


def _engine_counts(engine: LlmEngine) -> Iterator[tuple[str, float, str]]:
    totals = engine.totals
    yield "aborted", totals.finished["abort"], "request.aborted.count"
    yield "preempted", totals.preemptions, "request.preempted.count"
    yield "TTFT", totals.first, f"{FIRST_TOKEN}.count"
    yield "tokens in", totals.prompt, "token.prompt.count"
    yield "in cache", totals.prefix_hits, "prefix_cache.hit.count"
    yield "tokens out", totals.generated, "token.generation.count"


def compare_latency(world: World, signals: Signals) -> list[LatencyComparison]:
    """Compare quantiles of every endpoint of which every latency is known, and of times to first token (TTFT)."""
    timed = [(system, name, "", ledger.latencies) for system, name, ledger in world.ledgers()]
    if world.llm is not None:
        timed.append(("vllm", world.llm.service.endpoint, "TTFT", world.llm.engine.totals.times_to_first))
    result = []
    for system, name, what, seconds in timed:
        exact, row = sorted(seconds), Row(system, name, "")
        sketch = signals.sketch(row, FIRST_TOKEN) if what else signals.latency(row)
        if not exact or sketch is None or len(exact) == LATENCIES_KEPT:
            continue
        simulated = tuple(exact[round(share * (len(exact) - 1))] for share in QUANTILES)
        shown = f"{name}, {what}" if what else name
        result.append(LatencyComparison(system, shown, simulated, tuple(sketch.quantile(q) for q in QUANTILES)))
    return result


@dataclass
class Peak:
    """The extremes that the check reported while a phase lasted, None where nothing was reported."""

    least_rate: float | None = None
    rate: float | None = None
    errors: float | None = None
    p99: float | None = None
    temperature: float | None = None
    accuracy: float | None = None
    drift: float | None = None
    cache: float | None = None
    first_token: float | None = None
    preempted: float | None = None
    fallbacks: float | None = None
    events: dict[str, list[str]] = field(default_factory=dict)
    """Titles of events about an XID error or a rollout of the phase, each with the systems that told it."""
    critical: set[str] = field(default_factory=set)


class Story:
    """Watches what the check reports in each phase of the scenario, and tells it in sentences.

    Where the story repeats, what is told of a phase are the extremes of all its rounds.
    """

    def __init__(self, world: World) -> None:
        self.rounds = 1
        """How many times the story has begun."""
        self._world = world
        self._peaks: dict[str, Peak] = {}
        self._times: dict[str, dict[int, str]] = {}
        """When each phase began, by the round of the story."""
        self._active: list[Phase] = []
        self._broken = False
        self._endpoints = {
            model.name: service.endpoint for service in world.scenario.services for model in service.models
        }

    def begun(self) -> list[str]:
        """Describe the phases that apply now and did not at the last call."""
        before, self._active = self._active, self._world.phases()
        return [f"{phase.title}{_named(phase)}" for phase in self._active if phase not in before]

    def objectives(self, recent: Signals) -> list[str]:
        """Tell that the SLO on the first token is broken in the last simulated minute, or is kept again."""
        if self._world.llm is None or (seconds := first_token(self._world, recent)) is None:
            return []
        limit, before = self._world.llm.service.first_token_limit, self._broken
        self._broken = seconds > limit
        if self._broken == before:
            return []
        told = f"p95 of {FIRST_TOKEN} is {seconds_text(seconds)} for vllm {self._world.llm.service.endpoint}"
        return [f"{told}: its SLO of {limit:g} s is {'broken' if self._broken else 'kept again'}"]

    def look(self, recent: Signals, done: Round) -> None:
        """Take the signals of the last simulated minute, and the last round of runs."""
        self.rounds = self._world.timeline.round(self._world.now)
        for phase in self._world.phases():
            self._times.setdefault(phase.title, {}).setdefault(self.rounds, f"{self._world.time:%H:%M}")
            peak = self._peaks.setdefault(phase.title, Peak())
            rows = [row for row in front(self._world, recent.rows()) if row.model in phase.of or not phase.of]
            _stretch(peak, recent, rows)
            if phase.documents:
                self._stretch_llm(peak, recent)
            for target, source in product(phase.of, self._world.gpu_sources):
                gpu = GpuRow(source, target.removeprefix("gpu:"))
                if (value := recent.gpu_gauges.get((gpu, "gpu.temperature"))) is not None:
                    peak.temperature = _most(peak.temperature, value)
            endpoints = {self._endpoints.get(target) for target in phase.of}
            for check in done.service_checks:
                tags = tag_values(check.tags)
                model, endpoint = tags.get("model_name"), tags.get("endpoint_name")
                if check.status == ServiceStatus.CRITICAL and (model in phase.of if model else endpoint in endpoints):
                    peak.critical.add(f"{check.name} of {model or endpoint}")

        for event, phase in product(done.events, self._world.scenario.phases):
            # What ends a phase is told when it is over.
            tags = tag_values(event.fields.get("tags", ()))
            if phase.title in self._peaks and self._tells(tags, phase):
                source = tags.get("serving_system", "")
                tellers = self._peaks[phase.title].events.setdefault(str(event.fields.get("msg_title", "")), [])
                tellers += [] if source in tellers else [source]

    def _stretch_llm(self, peak: Peak, recent: Signals) -> None:
        assert self._world.llm is not None
        service = self._world.llm.service
        used = [
            recent.gauges.get((row, "kv_cache.utilization")) for row in recent.scope(Row("vllm", service.endpoint, ""))
        ]
        for value in (one for one in used if one is not None):
            peak.cache = _most(peak.cache, value)
        if (seconds := first_token(self._world, recent)) is not None:
            peak.first_token = _most(peak.first_token, seconds)
        preempted = recent.of_endpoint("request.preempted.count", "vllm", service.endpoint)
        fallbacks = recent.of_endpoint("litellm.fallback.count", "litellm", service.gateway.endpoint)
        peak.preempted, peak.fallbacks = _most(peak.preempted, preempted), _most(peak.fallbacks, fallbacks)

    def _tells(self, tags: Mapping[str, str], phase: Phase) -> bool:
        """Tell whether an event with these tags is about a phase."""
        if tags.get("xid") == str(phase.xid):
            return tags.get("serving_system", "") in self._world.gpu_sources
        endpoints = {self._endpoints.get(target) for target in phase.of}
        return tags.get("model_version") == phase.version and tags.get("endpoint_name") in endpoints

    def sentences(self) -> Iterator[str]:
        """Tell each phase in the order in which it began."""
        for phase in sorted(self._world.scenario.phases, key=lambda phase: phase.start):
            if (peak := self._peaks.get(phase.title)) is not None:
                limit = self._world.llm.service.first_token_limit if self._world.llm else None
                told = "; ".join(_told(phase, peak, limit)) or "nothing of it was reported"
                first, *later = self._times[phase.title].values()
                again = f" ({len(later)} times more, last at {later[-1]})" if later else ""
                yield f"{first}{again} {phase.title}{_named(phase)}: {told}."


def front(world: World, rows: Iterable[Row]) -> list[Row]:
    """Leave out the rows of what only a gateway calls: its requests are those of the gateway once more."""
    return [row for row in rows if row[:2] != world.behind]


def first_token(world: World, recent: Signals) -> float | None:
    """Return the 95th percentile of the time to the first token of the world's engine (seconds), None without one."""
    sketch = None if world.llm is None else recent.sketch(Row("vllm", world.llm.service.endpoint, ""), FIRST_TOKEN)
    return None if sketch is None else sketch.quantile(FIRST_TOKEN_SHARE)


def _told(phase: Phase, peak: Peak, limit: float | None) -> Iterator[str]:
    if phase.rate and peak.rate is not None and peak.least_rate is not None:
        yield f"request.count rose from {peak.least_rate:.0f} to {peak.rate:.0f} per second"
    if phase.errors and peak.errors is not None:
        yield f"request.error.count reached {peak.errors:.0f} % of the requests"
    if phase.service and not phase.errors and peak.p99 is not None:
        yield f"p99 of request.latency reached {seconds_text(peak.p99)}"
    if phase.heat and peak.temperature is not None:
        yield f"gpu.temperature reached {peak.temperature:.0f} degrees"
    for sources in dict.fromkeys(map(tuple, peak.events.values())):
        titles = [f'"{title}"' for title, tellers in peak.events.items() if tuple(tellers) == sources]
        yield f"event{'s' * (len(titles) > 1)} {', '.join(titles)} from {' and '.join(sources)}"
    if not phase.ready and peak.critical:
        yield f"service check {' and '.join(sorted(peak.critical))} was critical"
    if phase.documents and peak.cache is not None:
        yield f"kv_cache.utilization reached {peak.cache:.0f} %"
        yield f"request.preempted.count reached {peak.preempted:.0f} per minute"
        if peak.first_token is not None and limit is not None:
            broken = (
                f"above the {limit:g} s of its SLO" if peak.first_token > limit else f"within its SLO of {limit:g} s"
            )
            yield f"p95 of {FIRST_TOKEN} reached {seconds_text(peak.first_token)}, {broken}"
        yield f"litellm.fallback.count reached {peak.fallbacks:.0f} per minute"
    if phase.drift and peak.drift is not None and peak.accuracy is not None:
        yield f"model.feature_drift reached {peak.drift:.2f} while model.accuracy fell to {peak.accuracy:.1f} %"


def _stretch(peak: Peak, recent: Signals, rows: Sequence[Row]) -> None:
    requests = recent.total("request.count", rows)
    rate = requests / MINUTE
    peak.rate = _most(peak.rate, rate)
    # Before the first requests are in there is no rate to speak of.
    if rate:
        peak.least_rate = rate if peak.least_rate is None else min(peak.least_rate, rate)
        peak.errors = _most(peak.errors, 100 * recent.total("request.error.count", rows) / requests)
    for row in rows:
        if (sketch := recent.latency(row)) is not None:
            peak.p99 = _most(peak.p99, sketch.quantile(0.99))
        if (drift := recent.gauges.get((row, "model.feature_drift"))) is not None:
            peak.drift = _most(peak.drift, drift)
        if (accuracy := recent.gauges.get((row, "model.accuracy"))) is not None:
            peak.accuracy = accuracy if peak.accuracy is None else min(peak.accuracy, accuracy)


def seconds_text(seconds: float) -> str:
    """Return a duration with three significant digits, in milliseconds or seconds."""
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def _named(phase: Phase) -> str:
    models = [target for target in phase.of if not target.startswith("gpu:")]
    return f" ({', '.join(models)})" if models else ""


def _most(before: float | None, now: float) -> float:
    return now if before is None else max(before, now)
