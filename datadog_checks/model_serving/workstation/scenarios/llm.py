"""An engine for a language model, and a gateway before it or a provider, with the traffic that a scenario says."""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..demo.dialects.litellm import LiteLLM
from ..demo.dialects.vllm import VLLM
from ..demo.exposition import Buckets, histogram, sample
from ..demo.llm import FIRST_TOKEN, Generation, LlmEngine
from ..demo.llm_gateway import ChatRequest, LlmGateway
from ..demo.scenario import LlmFallback, LlmModel, LlmRoute

MODEL = LlmModel(name="chat-70b", blocks=8192, sequences=64)
PROVIDER, OTHER = "openai", "chat-small"
"""Who serves the model where no engine does, and the model that answers where engine or provider do not."""
ROUTE = LlmRoute(
    endpoint="llm-gateway",
    timeout=60,
    fallback=LlmFallback(
        name=OTHER,
        provider=PROVIDER,
        first_ms=500,
        token_ms=10,
        tokens_per_minute=2_000_000,
        prompt_price=0.15,
        output_price=0.6,
    ),
)
ANSWERED, FIRST, WINDOW = 3.0, 0.5, 60.0
"""Seconds until a provider's answer is complete, until its first token, and of the window of its limits."""
TOKENS_LIMIT = 80_000
GATEWAY_LATENCY = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
GATEWAY_CONTENT_TYPE = "text/plain; version=0.0.4"


@dataclass(frozen=True, slots=True)
class LlmChapter:
    """Requests to the language model from one minute until another; of several chapters the last one counts."""

    per_minute: float
    start: float = 0.0
    until: float = math.inf
    prompt: int = 1000
    """Tokens, of which the first `shared` are those of other prompts, too."""
    shared: int = 600
    output: int = 200
    patience: float | None = None
    """Seconds after which clients give up, if the answer is not complete. Of them so many do as `impatient` says."""
    impatient: float = 1.0
    hung: bool = False
    cold: bool = False
    """Whether the engine hangs, which a restart ends, and whether its prefix cache is empty."""


class GenerationServer(Protocol):
    """What answers the requests."""

    def submit(self, generation: Generation) -> None:
        """Take a request."""

    def advance(self, now: float, chapter: LlmChapter) -> None:
        """Let simulated time pass, in which this chapter applies."""


class ScriptedLlm:
    """Requests at even distances, which a server gets as time passes. Minutes begin at `offset` seconds."""

    def __init__(self, chapters: Sequence[LlmChapter], server: GenerationServer, offset: float) -> None:
        self._chapters = chapters
        self._server = server
        self._offset = offset
        self._now = 0.0
        self._due = 0.0
        self._impatient = 0.0

    def chapter(self, now: float) -> LlmChapter:
        """The one that applies from this second on."""
        minute = max((now - self._offset) / 60, 0)
        return [one for one in self._chapters if one.start <= minute < one.until][-1]

    def advance(self, now: float) -> None:
        """Hand over what arrives until then, and let time pass. No chapter begins within it."""
        chapter, start = self.chapter(self._now), self._now
        self._due += chapter.per_minute / 60 * (now - start)
        whole = int(self._due + 1e-9)
        self._due -= whole
        for place in range(whole):
            arrival = start + (now - start) * (place + 0.5) / whole
            self._server.submit(
                Generation(arrival, chapter.prompt, chapter.output, chapter.shared, patience=self._patience(chapter))
            )
        self._server.advance(now, chapter)
        self._now = now

    def _patience(self, chapter: LlmChapter) -> float | None:
        if chapter.patience is None:
            return None
        self._impatient += chapter.impatient
        gives_up = self._impatient >= 1 - 1e-9
        self._impatient -= gives_up
        return chapter.patience if gives_up else None


class LlmServer:
    """A server of one engine. A restart loses the requests that it has."""

    def __init__(self) -> None:
        self._coming: list[Generation] = []
        self.dialect = VLLM(LlmEngine(MODEL))

    def submit(self, generation: Generation) -> None:
        """Take a request."""
        self._coming.append(generation)

    def advance(self, now: float, chapter: LlmChapter) -> None:
        """Let simulated time pass."""
        if self.dialect.engine.hung and not chapter.hung:
            self.dialect.engine = LlmEngine(MODEL)
        engine = self.dialect.engine
        engine.hung, engine.cold = chapter.hung, chapter.cold
        for generation in self._coming:
            engine.submit(generation)
        self._coming.clear()
        engine.advance(now)


class LlmProxy:
    """A gateway with an engine behind it, and another model to fall back to. What it has waited for long enough takes
    the place of what clients give up."""

    def __init__(self) -> None:
        self._gateway = LlmGateway(MODEL, ROUTE)
        self.dialect = VLLM(self._gateway.engine)
        self.page = LiteLLM(self._gateway)

    def submit(self, generation: Generation) -> None:
        """Take a request."""
        self._gateway.submit(ChatRequest(generation.arrival, generation.prompt, generation.output, generation.shared))

    def advance(self, now: float, chapter: LlmChapter) -> None:
        """Let simulated time pass."""
        self._gateway.engine.hung, self._gateway.engine.cold = chapter.hung, chapter.cold
        self._gateway.advance(now)


class Provider:
    """Answers everything at once and at the same speed, up to a number of requests in a minute."""

    def __init__(self, gateway: ProviderPage, limit: int) -> None:
        self._gateway = gateway
        self._limit = limit
        self._coming: list[tuple[float, int, Generation]] = []
        self._taken: deque[float] = deque()
        gateway.left = (limit, TOKENS_LIMIT)

    def submit(self, generation: Generation) -> None:
        """Take a request."""
        heapq.heappush(self._coming, (generation.arrival, len(self._coming), generation))

    def advance(self, now: float, chapter: LlmChapter) -> None:
        """Answer what has arrived, or let the gateway fall back."""
        while self._coming and self._coming[0][0] <= now:
            arrival, _, generation = heapq.heappop(self._coming)
            self._forget(arrival)
            tokens = generation.prompt + generation.output
            if len(self._taken) < self._limit:
                self._taken.append(arrival)
                self._gateway.answered(generation, FIRST, ANSWERED)
            else:
                self._gateway.fell_back(generation, FIRST, ANSWERED)
            self._gateway.left = (self._limit - len(self._taken), TOKENS_LIMIT - len(self._taken) * tokens)

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0] <= now - WINDOW:
            self._taken.popleft()


class ProviderPage:
    """The metrics page of LiteLLM's proxy before one model of a provider."""

    def __init__(self) -> None:
        self._deployment = {"model": MODEL.name, "api_provider": PROVIDER, "requested_model": MODEL.name}
        self._counts: Counter[str] = Counter()
        self._tokens = [0, 0]
        self._fallbacks = 0
        self._latency = Buckets(GATEWAY_LATENCY)
        self._first = Buckets(FIRST_TOKEN)
        self.left = (0, 0)
        """Requests and tokens that the provider still allows."""

    def answered(self, generation: Generation, first: float, latency: float) -> None:
        """Add a request that was answered."""
        self._counts["200"] += 1
        self._tokens[0] += generation.prompt
        self._tokens[1] += generation.output
        self._first.observe(first)
        self._latency.observe(latency)

    def fell_back(self, generation: Generation, first: float, latency: float) -> None:
        """Add a request that another model answered."""
        self._fallbacks += 1
        self.answered(generation, first, latency)

    def render(self) -> str:
        """Return the payload."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        asked = {"requested_model": MODEL.name, "route": "/v1/chat/completions"}
        yield from _counter(
            "litellm_proxy_total_requests_metric",
            [({**asked, "status_code": code}, number) for code, number in sorted(self._counts.items())],
        )
        yield from _counter("litellm_input_tokens_metric", [(self._deployment, self._tokens[0])])
        yield from _counter("litellm_output_tokens_metric", [(self._deployment, self._tokens[1])])
        failed = {"exception_class": "RateLimitError", "exception_status": "429"}
        fallback = {"requested_model": MODEL.name, "fallback_model": OTHER, **failed}
        if self._fallbacks:
            yield from _counter("litellm_deployment_successful_fallbacks", [(fallback, self._fallbacks)])
        provider = {"api_provider": PROVIDER, "litellm_model_name": MODEL.name, "model_group": MODEL.name}
        for name, value in zip(("requests", "tokens"), self.left, strict=True):
            yield f"# TYPE litellm_remaining_{name}_metric gauge"
            yield sample(f"litellm_remaining_{name}_metric", provider, str(value))
        for name, buckets in (
            ("litellm_request_total_latency_metric", self._latency),
            ("litellm_llm_api_time_to_first_token_metric", self._first),
        ):
            yield f"# TYPE {name} histogram"
            yield from histogram(name, self._deployment, buckets, repr(buckets.sum))


def _counter(name: str, values: Sequence[tuple[dict[str, str], int]]) -> Iterator[str]:
    yield f"# TYPE {name}_total counter"
    yield from (sample(f"{name}_total", labels, str(value)) for labels, value in values)
