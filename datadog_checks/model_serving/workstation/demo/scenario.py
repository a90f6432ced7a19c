"""The scenario: what is served, how much traffic comes, and what goes wrong when. Data only, read from YAML."""

from __future__ import annotations

from importlib.resources import files
from math import ceil
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...strict_yaml import parse_yaml

Outcome = Literal["ok", "client", "invalid", "server", "unavailable"]
Share = Annotated[float, Field(ge=0, le=1)]
Line = tuple[float, float]
Span = tuple[float, float]
"""From, until, in percent of the run."""
MINUTE = 60


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Clock(_Data):
    """How simulated time runs: `step` simulated seconds in every `every` real ones, from the hour `starts` on."""

    starts: str = Field(pattern=r"^\d\d:\d\d$")
    step: float = Field(gt=0, le=60)
    every: float = Field(gt=0)

    @model_validator(mode="after")
    def _whole_minutes(self) -> Clock:
        if 60 % self.step:
            raise ValueError("clock.step must divide 60, so that every simulated minute ends at a run of the check")
        return self


class Model(_Data):
    """One served model: its arrivals (per second), its service time (milliseconds, log-normal) and its capacity."""

    name: str
    version: str
    rate: float = Field(gt=0)
    service_ms: float = Field(gt=0)
    sigma: float = Field(ge=0)
    workers: int = Field(ge=1)
    queue_limit: int | None = None
    errors: dict[Outcome, Share] = {}
    grpc: Share = 0.0
    rows: tuple[int, int] = (1, 1)
    api: Literal["predict", "classify", "regress"] = "predict"
    gpu: str | None = None
    accuracy: float | None = None
    features: tuple[str, ...] = ()
    classes: dict[str, Line] = {}
    cache: Share = 0.0


class LlmModel(_Data):
    """A language model as one engine serves it: the size of its cache and its batch, and how long a step takes."""

    name: str
    blocks: int = Field(gt=0)
    """Blocks of the key-value cache, of `block_tokens` tokens each."""
    block_tokens: int = Field(default=16, gt=0)
    longest: int = Field(default=32768, gt=1)
    """Tokens that a prompt and its output may have together."""
    sequences: int = Field(default=256, gt=0)
    """Requests that may run at once."""
    batch_tokens: int = Field(default=8192, gt=0)
    """Tokens that one step takes on at most."""
    queue_limit: int | None = None
    """Requests that may wait; the next one is refused."""
    step_ms: float = Field(default=20, gt=0)
    """Milliseconds of a step, to which each token read from a prompt and each one written add theirs."""
    read_ms: float = Field(default=0.05, ge=0)
    write_ms: float = Field(default=0.2, ge=0)


class LlmFallback(_Data):
    """A model of a provider, which answers what the engine does not. Prices are dollars per million tokens."""

    name: str
    provider: str
    first_ms: float = Field(gt=0)
    """Milliseconds until its first token, and for each one after that."""
    token_ms: float = Field(gt=0)
    tokens_per_minute: int = Field(gt=0)
    """What the provider allows. A request beyond it is refused."""
    prompt_price: float = Field(ge=0)
    output_price: float = Field(ge=0)


class LlmRoute(_Data):
    """What a gateway does with a request: how long it waits, how often it tries the engine, what it falls back to."""

    endpoint: str
    timeout: float = Field(default=60, gt=0)
    """Seconds."""
    retries: int = Field(default=1, ge=0)
    backoff: float = Field(default=1, ge=0)
    """Seconds before it tries again."""
    fallback: LlmFallback | None = None


class LlmService(_Data):
    """A language model on one engine behind a gateway, and what clients ask of it.

    `prompt` and `output` are the median and the spread of log-normal numbers of tokens, of which `shared` at the
    beginning of each prompt are the same; `documents` is the least and the most that a prompt with a document has.
    """

    endpoint: str
    model: LlmModel
    gateway: LlmRoute
    rate: float = Field(gt=0)
    prompt: tuple[float, float]
    output: tuple[float, float]
    shared: int = Field(default=0, ge=0)
    documents: tuple[int, int]
    max_tokens: int = Field(gt=0)
    """What clients let an answer have."""
    first_token_limit: float = Field(gt=0)
    """Seconds within which 95 % of the requests are to get their first token."""


class Service(_Data):
    """One serving endpoint of one system, and the models behind it."""

    system: Literal["databricks", "mlserver", "tensorflow_serving", "custom_ml"]
    endpoint: str
    workload: str = "CPU"
    models: tuple[Model, ...] = Field(min_length=1)


class Gpu(_Data):
    """One GPU of the simulated node."""

    index: str
    uuid: str
    bus: str


class GpuHost(_Data):
    """What the GPUs of the node have in common: MiB, watt, MHz, degree Celsius."""

    hostname: str
    model: str
    driver: str
    memory_mib: int
    reserved_mib: int
    power_idle: float
    power_full: float
    power_limit: float
    sm_clock: tuple[int, int]
    memory_clock: int
    ambient: float
    throttle_at: float


class Phase(_Data):
    """One chapter of the story: what changes, for which models or GPUs (all, if none is named), and when (percent)."""

    title: str
    start: float = Field(alias="from", ge=0, le=100)
    until: float = Field(ge=0, le=100)
    of: tuple[str, ...] = ()
    rate: Line | None = None
    service: Line | None = None
    heat: Line | None = None
    accuracy: Line | None = None
    drift: Line | None = None
    documents: Line | None = None
    errors: dict[Outcome, Share] | None = None
    ready: bool = True
    xid: int | None = None
    version: str | None = None

    def covers(self, target: str, percent: float) -> bool:
        """Tell whether the phase applies to a target (a model's name or `gpu:<index>`) at that point of the run."""
        return self.start <= percent < self.until and (not self.of or target in self.of)

    def lasts(self, target: str, span: Span) -> bool:
        """Tell whether the phase applies to a target at some time of a part of the run."""
        return self.start < span[1] and span[0] < self.until and (not self.of or target in self.of)

    def at(self, line: Line, percent: float) -> float:
        """Return the value of a line of this phase at that point of the run."""
        passed = (percent - self.start) / (self.until - self.start)
        return line[0] + (line[1] - line[0]) * passed


Effect = Literal["rate", "service", "heat", "accuracy", "drift", "documents"]


class Scenario(_Data):
    """Everything the demo simulates."""

    clock: Clock
    services: tuple[Service, ...]
    llm: LlmService | None = None
    pay_per_token: tuple[str, ...] = ()
    gpus: tuple[Gpu, ...]
    gpu_host: GpuHost
    phases: tuple[Phase, ...]

    @model_validator(mode="after")
    def _targets_exist(self) -> Scenario:
        names = [model.name for service in self.services for model in service.models]
        names += [self.llm.model.name] if self.llm else []
        known = {*names, *(f"gpu:{gpu.index}" for gpu in self.gpus)}
        if len(set(names)) < len(names):
            raise ValueError("two models of the scenario have the same name")
        for phase in self.phases:
            if phase.until <= phase.start:
                raise ValueError(f"phase {phase.title!r}: until must be greater than from")
            if missing := sorted(set(phase.of) - known):
                raise ValueError(
                    f"phase {phase.title!r}: unknown {', '.join(missing)}; known: {', '.join(sorted(known))}"
                )
        return self

    def effects(self, effect: Effect, target: str, percent: float) -> list[float]:
        """List the values that all phases give to one effect on one target at that point of the run."""
        return [
            phase.at(line, percent)
            for phase in self.phases
            if phase.covers(target, percent) and (line := getattr(phase, effect)) is not None
        ]

    def errors(self, model: Model, percent: float) -> dict[Outcome, float]:
        """Return the share of each kind of failure: the latest phase that names any, else the model's own."""
        shares: dict[Outcome, float] = dict(model.errors)
        for phase in self.phases:
            if phase.errors is not None and phase.covers(model.name, percent):
                shares = dict(phase.errors)
        return shares

    def ready(self, model: str, span: Span) -> bool:
        """Tell whether a model is ready to serve during all of a part of the run."""
        return all(phase.ready for phase in self.phases if phase.lasts(model, span))

    def versions(self, model: Model, percent: float) -> tuple[str, str]:
        """Return the version of a model that serves at that point of the run, and the one that is to."""
        serving = wanted = model.version
        for phase in sorted(self.phases, key=lambda phase: phase.start):
            if phase.version is not None and model.name in phase.of and phase.start <= percent:
                wanted = phase.version
                serving = wanted if percent >= phase.until else serving
        return serving, wanted

    def xid(self, gpu: str, span: Span) -> int:
        """Return the last XID error that a GPU suffers from in a part of the run, 0 for none."""
        codes = [p.xid for p in self.phases if p.xid is not None and p.lasts(f"gpu:{gpu}", span)]
        return codes[-1] if codes else 0


class Timeline(NamedTuple):
    """Where in the story a simulated time (seconds since the start) lies."""

    length: float
    """Simulated seconds that the story takes."""
    repeat: bool = False
    """Begin again when it is over; otherwise it stays at its end."""

    def percent(self, now: float) -> float:
        """Return the point of the story, from 0 to just below 100."""
        passed = now % self.length if self.repeat else min(now, self.length * 0.9999)
        return 100 * passed / self.length

    def round(self, now: float) -> int:
        """Return the number, from 1 on, of the round of the story that a step which ends now is part of."""
        return max(1, ceil(now / self.length)) if self.repeat else 1

    def span(self, since: float, until: float) -> Span:
        """Return the part of the story between two times that no start of the story lies between."""
        # The end of the story is the start of its next round.
        return self.percent(since), self.percent(until) or 100.0


def load() -> Scenario:
    """Read the scenario that comes with the package."""
    text = files(__package__).joinpath("scenario.yaml").read_text(encoding="utf-8")
    return Scenario.model_validate(parse_yaml(text))
