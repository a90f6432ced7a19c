"""Simulated requests: Poisson arrivals, a queue before a fixed number of workers, log-normal service times."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from typing import NamedTuple

from .scenario import Model, Outcome, Scenario, Timeline

# The arrival rate is held constant for so long (simulated seconds). The grid is fixed: how time is advanced, in
# many small steps or in a few large ones, changes nothing in what is simulated.
GRID = 5.0
# Failures that never reach a worker are answered about this fast (seconds).
REFUSAL = 0.003


class InferenceRequest(NamedTuple):
    """One finished request. Times are simulated seconds since the start of the run."""

    model: Model
    arrival: float
    start: float
    """When a worker began; equal to arrival for a request that needed none."""
    end: float
    outcome: Outcome
    grpc: bool
    rows: int
    depth: int
    """Requests found waiting on arrival."""
    in_flight: int
    """Requests found waiting or being served on arrival."""

    @property
    def latency(self) -> float:
        """Seconds from arrival to answer."""
        return self.end - self.arrival

    @property
    def served(self) -> bool:
        """Tell whether a worker spent time on it."""
        return self.outcome in ("ok", "server")


class Load(NamedTuple):
    """The state of one model's workers: requests waiting and being served now, and the share of time (0..1) that
    workers were busy since the last look."""

    waiting: int
    serving: int
    busy: float


class Traffic:
    """The requests of one model, reproducible from the seed whatever the steps in which time advances."""

    def __init__(self, model: Model, scenario: Scenario, timeline: Timeline, seed: int) -> None:
        self.model = model
        self.now = 0.0
        self._scenario = scenario
        self._timeline = timeline
        self._random = random.Random(f"{seed}/{model.name}")
        self._generated = 0.0
        self._open = True
        self._free = [0.0] * model.workers
        self._present: list[tuple[float, float]] = []
        self._pending: list[tuple[float, int, InferenceRequest]] = []
        self._serial = 0
        self._busy = 0.0
        self._looked = 0.0

    def advance(self, now: float) -> list[InferenceRequest]:
        """Move to the time `now` (simulated seconds) and return the requests that ended by then, in their order."""
        while self._open and self._generated < now:
            self._arrivals(self._generated, self._generated + GRID)
            self._generated += GRID
        self.now = now
        done = []
        while self._pending and self._pending[0][0] <= now:
            done.append(heapq.heappop(self._pending)[2])
        self._busy += sum(request.end - request.start for request in done if request.served)
        return done

    def close(self) -> None:
        """Let no more requests arrive; those that came already are still served. Arrivals after now never happened."""
        self._open = False
        self._pending = [item for item in self._pending if item[2].arrival <= self.now]
        heapq.heapify(self._pending)

    @property
    def drained(self) -> bool:
        """Tell whether every request that arrived has been answered."""
        return not self._pending

    def load(self) -> Load:
        """Look at the workers now."""
        here = [item[2] for item in self._pending if item[2].arrival <= self.now]
        waiting = sum(1 for request in here if request.start > self.now)
        span = (self.now - self._looked) * self.model.workers
        busy = min(1.0, self._busy / span) if span else 0.0
        self._busy, self._looked = 0.0, self.now
        return Load(waiting=waiting, serving=len(here) - waiting, busy=busy)

    def _arrivals(self, start: float, end: float) -> None:
        percent = self._timeline.percent(start)
        rate = self.model.rate * math.prod(self._scenario.effects("rate", self.model.name, percent))
        slowdown = math.prod(self._scenario.effects("service", self.model.name, percent))
        kinds, weights = zip(*self._shares(percent), strict=True)
        arrival = start
        while rate > 0 and (arrival := arrival + self._random.expovariate(rate)) < end:
            outcome = self._random.choices(kinds, weights)[0]
            request = self._serve(arrival, outcome, slowdown)
            self._serial += 1
            heapq.heappush(self._pending, (request.end, self._serial, request))

    def _shares(self, percent: float) -> Iterator[tuple[Outcome, float]]:
        errors = self._scenario.errors(self.model, percent)
        yield "ok", max(0.0, 1 - sum(errors.values()))
        yield from errors.items()

    def _serve(self, arrival: float, outcome: Outcome, slowdown: float) -> InferenceRequest:
        present = self._present
        while present and present[0][0] <= arrival:
            heapq.heappop(present)
        depth = sum(1 for _, start in present if start > arrival)
        limit = self.model.queue_limit
        if limit is not None and depth >= limit:
            outcome = "unavailable"
        grpc = self._random.random() < self.model.grpc
        # Validation of the payload is the REST server's work: over gRPC the same mistake is a bad request.
        if grpc and outcome == "invalid":
            outcome = "client"
        rows = self._random.randint(*self.model.rows)
        if outcome in ("ok", "server"):
            start = max(arrival, heapq.heappop(self._free))
            service = self._random.lognormvariate(math.log(self.model.service_ms / 1000), self.model.sigma)
            end = start + service * slowdown
            heapq.heappush(self._free, end)
        else:
            start, end = arrival, arrival + self._random.uniform(0.3, 1.7) * REFUSAL
        request = InferenceRequest(self.model, arrival, start, end, outcome, grpc, rows, depth, len(present))
        heapq.heappush(present, (end, start))
        return request
