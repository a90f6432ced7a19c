"""A simulated gateway before the engine of a language model: it waits, tries again, and falls back to a provider.

A client's request is one request, whatever the gateway does to get it answered.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, NamedTuple

from .exposition import Buckets
from .ledger import Ledger
from .llm import MICRO, REFUSED, Generation, LlmEngine
from .scenario import MINUTE, LlmModel, LlmRoute

# The gateway acts at multiples of this (microseconds), so that what it does is the same however time is advanced.
TICK = MICRO // 4
LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 420, 600)
OK = "200"
MILLION = 1_000_000


class LlmFailure(NamedTuple):
    """Why an attempt or a request failed: the status of HTTP, and the exception that LiteLLM makes of it."""

    status: str
    exception: str


UNAVAILABLE = LlmFailure("503", "Openai.InternalServerError")
BROKEN = LlmFailure("500", "Openai.InternalServerError")
TIMEOUT = LlmFailure("408", "Openai.Timeout")
LIMITED = LlmFailure("429", "Openai.RateLimitError")


class Deployment(NamedTuple):
    """Where the gateway sends requests to: a model at a provider, as the configuration of the gateway has it."""

    id: str
    model: str
    provider: str
    base: str


@dataclass(eq=False, slots=True)
class ChatRequest:
    """What a client asks of the gateway. Tokens, and simulated seconds."""

    arrival: float
    prompt: int
    output: int
    shared: int = 0
    ends: str = "stop"
    """How a try at the engine ends: `stop`, `length` or, as a failure, `error`."""
    tries: int = 0


@dataclass
class DeploymentTotals:
    """What became of the attempts at one deployment."""

    tried: int = 0
    succeeded: int = 0
    failures: Counter[LlmFailure] = field(default_factory=Counter)
    down: bool = False
    """Whether the last attempt failed."""
    prompt: int = 0
    output: int = 0
    dollars: float = 0.0
    latency: Buckets = field(default_factory=lambda: Buckets(LATENCY))
    """Of requests that it has answered, from their arrival at the gateway."""
    upstream: Buckets = field(default_factory=lambda: Buckets(LATENCY))
    """Of these, from the attempt on."""
    first_token: Buckets = field(default_factory=lambda: Buckets(LATENCY))
    per_token: Buckets = field(default_factory=lambda: Buckets(LATENCY))

    def fail(self, failure: LlmFailure) -> None:
        """Add an attempt that failed."""
        self.failures[failure] += 1
        self.down = True


class LlmGateway:
    """One gateway, with the engine behind it."""

    def __init__(self, model: LlmModel, route: LlmRoute) -> None:
        self.route = route
        self.engine = LlmEngine(model, self._engine_ended)
        self.own = Deployment("own-0", model.name, "hosted_vllm", "http://vllm:8000/v1")
        self.deployments = {self.own: DeploymentTotals()}
        self.fallback: Deployment | None = None
        if route.fallback is not None:
            self.fallback = Deployment(
                "hosted-0", route.fallback.name, route.fallback.provider, "https://llm.example.com"
            )
            self.deployments[self.fallback] = DeploymentTotals()
        self.ledger = Ledger()
        """Requests of clients, by the status of those that failed, with the latencies of those that succeeded."""
        self.answered: Counter[tuple[Deployment, str]] = Counter()
        """Requests of clients, by the last deployment that was tried and the status of the answer."""
        self.failed: Counter[tuple[Deployment, LlmFailure]] = Counter()
        self.fallbacks: Counter[tuple[Literal["successful", "failed"], LlmFailure]] = Counter()
        """Requests that were sent to the other model, by how that ended and why the first one did not do."""
        self._now = 0
        self._minute, self._spent = 0, 0
        """The minute of the last request to the provider, and the tokens of that minute."""
        self._open: set[ChatRequest] = set()
        self._tries: dict[Generation, ChatRequest] = {}
        self._serial = count()
        self._due: list[tuple[int, int, Callable[[int], None]]] = []
        """What there is to do, each with its time."""

    @property
    def in_flight(self) -> int:
        """Requests of clients that have no answer yet."""
        return sum(request.arrival * MICRO <= self._now for request in self._open)

    @property
    def idle(self) -> bool:
        """Tell whether all that was asked has been answered, and the engine has nothing left to do."""
        return not self._open and self.engine.idle

    @property
    def remaining_tokens(self) -> int | None:
        """Tokens that the provider still allows in this minute, None where there is none."""
        if self.route.fallback is None:
            return None
        spent = self._spent if self._minute == self._now // (MINUTE * MICRO) else 0
        return self.route.fallback.tokens_per_minute - spent

    def submit(self, request: ChatRequest) -> None:
        """Take on what a client asks, before time is advanced past its arrival."""
        self._open.add(request)
        self._try(request, request.arrival)

    def advance(self, now: float) -> None:
        """Move to the time `now` (simulated seconds)."""
        until = round(now * MICRO)
        while (tick := self._now - self._now % TICK + TICK) <= until:
            self._now = tick
            self.engine.advance(tick / MICRO)
            while self._due and self._due[0][0] <= tick:
                due, _, action = heapq.heappop(self._due)
                action(due)
        self._now = until
        self.engine.advance(now)

    def _at(self, due: int, action: Callable[[int], None]) -> None:
        heapq.heappush(self._due, (due, next(self._serial), action))

    def _try(self, request: ChatRequest, now: float) -> None:
        request.tries += 1
        generation = Generation(
            now, request.prompt, request.output, request.shared, request.ends, patience=self.route.timeout
        )
        self._tries[generation] = request
        self._at(self._deadline(generation), lambda due: self._tried(generation, due))
        self.engine.submit(generation)

    def _deadline(self, generation: Generation) -> int:
        return generation.arrived + round(self.route.timeout * MICRO)

    def _engine_ended(self, generation: Generation) -> None:
        # What took too long is seen at its deadline, whether the engine has noticed that it is over or hangs.
        if generation in self._tries and generation.ended < self._deadline(generation):
            self._at(generation.ended, lambda due: self._tried(generation, due))

    def _tried(self, generation: Generation, now: int) -> None:
        """Go on after a try at the engine, which has ended now or taken too long."""
        request = self._tries.pop(generation, None)
        if request is None:
            return
        totals = self.deployments[self.own]
        totals.tried += 1
        ended = generation.reason if generation.ended < self._deadline(generation) else ""
        if ended in ("stop", "length"):
            self._answer(request, self.own, now, now - generation.arrived, generation.time_to_first or 0.0)
            return
        failure = UNAVAILABLE if ended == REFUSED else BROKEN if ended else TIMEOUT
        totals.fail(failure)
        if ended and request.tries <= self.route.retries:
            self._at(now + round(self.route.backoff * MICRO), lambda due: self._try(request, self._now / MICRO))
        elif self.fallback is None:
            self._fail(request, self.own, failure)
        else:
            self._fall_back(request, self.fallback, failure, now)

    def _fall_back(self, request: ChatRequest, deployment: Deployment, reason: LlmFailure, now: int) -> None:
        provider, totals = self.route.fallback, self.deployments[deployment]
        assert provider is not None
        totals.tried += 1
        minute, tokens = now // (MINUTE * MICRO), request.prompt + request.output
        if minute != self._minute:
            self._minute, self._spent = minute, 0
        if self._spent + tokens > provider.tokens_per_minute:
            totals.fail(LIMITED)
            self.fallbacks["failed", reason] += 1
            self._fail(request, deployment, LIMITED)
            return
        self._spent += tokens
        took = round((provider.first_ms + (request.output - 1) * provider.token_ms) * 1000)

        def done(due: int) -> None:
            self.fallbacks["successful", reason] += 1
            totals.dollars += (
                request.prompt * provider.prompt_price + request.output * provider.output_price
            ) / MILLION
            self._answer(request, deployment, due, took, provider.first_ms / 1000)

        self._at(now + took, done)

    def _answer(self, request: ChatRequest, deployment: Deployment, now: int, took: int, first: float) -> None:
        totals, latency = self.deployments[deployment], now / MICRO - request.arrival
        totals.down = False
        totals.succeeded += 1
        totals.prompt += request.prompt
        totals.output += request.output
        totals.latency.observe(latency)
        totals.upstream.observe(took / MICRO)
        totals.first_token.observe(first)
        totals.per_token.observe(took / MICRO / request.output)
        self.answered[deployment, OK] += 1
        self.ledger.enter("", latency)
        self._open.remove(request)

    def _fail(self, request: ChatRequest, deployment: Deployment, failure: LlmFailure) -> None:
        self.answered[deployment, failure.status] += 1
        self.failed[deployment, failure] += 1
        self.ledger.enter(failure.status, None)
        self._open.remove(request)
