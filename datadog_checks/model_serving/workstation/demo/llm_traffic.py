"""What simulated clients ask of a language model: Poisson arrivals, log-normal numbers of tokens, now and then a whole
document."""

from __future__ import annotations

import math
import random
from collections import deque

from .llm_gateway import ChatRequest
from .scenario import LlmService, Scenario, Timeline
from .traffic import GRID


class LlmTraffic:
    """The requests of one language model, reproducible from the seed whatever the steps in which time advances."""

    def __init__(self, service: LlmService, scenario: Scenario, timeline: Timeline, seed: int) -> None:
        self._service, self._scenario, self._timeline = service, scenario, timeline
        self._random = random.Random(f"{seed}/{service.model.name}")
        self._coming: deque[ChatRequest] = deque()
        self._generated = 0.0
        self._open = True

    def advance(self, now: float) -> list[ChatRequest]:
        """Move to the time `now` (simulated seconds) and return what has arrived by then."""
        while self._open and self._generated < now:
            self._arrivals(self._generated, self._generated + GRID)
            self._generated += GRID
        arrived = []
        while self._coming and self._coming[0].arrival <= now:
            arrived.append(self._coming.popleft())
        return arrived

    def close(self) -> None:
        """Let no more requests arrive. Arrivals after now never happened."""
        self._open = False
        self._coming.clear()

    def _arrivals(self, start: float, end: float) -> None:
        name, percent = self._service.model.name, self._timeline.percent(start)
        rate = self._service.rate * math.prod(self._scenario.effects("rate", name, percent))
        documents = sum(self._scenario.effects("documents", name, percent))
        arrival = start
        while rate > 0 and (arrival := arrival + self._random.expovariate(rate)) < end:
            self._coming.append(self._request(arrival, documents))

    def _request(self, arrival: float, documents: float) -> ChatRequest:
        service, rng = self._service, self._random
        drawn = [
            round(rng.lognormvariate(math.log(median), sigma)) for median, sigma in (service.prompt, service.output)
        ]
        document = rng.randint(*service.documents)
        prompt = service.shared + (document if rng.random() < documents else max(1, drawn[0]))
        output = min(max(1, drawn[1]), service.max_tokens)
        ends = "length" if output == service.max_tokens else "stop"
        return ChatRequest(arrival, min(prompt, service.model.longest - output), output, service.shared, ends)
