"""A simulated engine for a language model, that batches continuously and keeps keys and values in blocks, as vLLM does.

It knows simulated time only and has no source of chance: the same requests give the same steps, to the microsecond,
however time is advanced.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from .exposition import Buckets
from .ledger import LATENCIES_KEPT, Ledger
from .scenario import LlmModel

MICRO = 1_000_000
LATENCY = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560),
)
INTER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
ITERATION = tuple(1 if not power else 4 * 2**power for power in range(13))
REASONS = ("stop", "length", "abort", "error", "repetition")
"""Why a request ends, as vLLM words it."""
REFUSED = "refused"
"""Why one ends that the engine has not taken on, as its queue was full."""


@dataclass(eq=False, slots=True)
class Generation:
    """One request to an engine, and what became of it. Times of the request are simulated seconds."""

    arrival: float
    prompt: int
    """Tokens of the prompt."""
    output: int
    """Tokens that the engine generates, if it is let."""
    shared: int = 0
    """Tokens at the beginning of the prompt that others have, too: found in the prefix cache where that is warm."""
    ends: str = "stop"
    """Why it ends, once it has all its output: `stop`, `length` or `error`."""
    patience: float | None = None
    """Seconds after which the client goes away. What is not over by then is aborted."""

    generated: int = 0
    cached: int = 0
    """Tokens of its prompt that the prefix cache had."""
    preemptions: int = 0
    reason: str = ""
    """Why it ended, one of REASONS or REFUSED; empty until then."""
    computed: int = 0
    """Tokens whose keys and values are in the cache now."""
    blocks: int = 0
    scheduled: int = -1
    """When the engine first took it up, in simulated microseconds as are all below; negative before that."""
    first: int = -1
    last: int = -1
    ended: int = -1

    @property
    def arrived(self) -> int:
        """Microseconds."""
        return round(self.arrival * MICRO)

    @property
    def latency(self) -> float:
        """Seconds from its arrival to its end."""
        return (self.ended - self.arrived) / MICRO

    @property
    def time_to_first(self) -> float | None:
        """Seconds from its arrival to its first token, None where it had none."""
        return None if self.first < 0 else (self.first - self.arrived) / MICRO


@dataclass
class LlmTotals:
    """What an engine has done since its start."""

    finished: Counter[str] = field(default_factory=Counter)
    """Requests by the reason of their end."""
    refused: int = 0
    prompt: int = 0
    """Tokens of prompts that were read to their end; one that is read again after a preemption counts once."""
    cached: int = 0
    """Of these, tokens that the prefix cache had."""
    generated: int = 0
    preemptions: int = 0
    prefix_queries: int = 0
    """Tokens looked up in the prefix cache."""
    prefix_hits: int = 0
    first: int = 0
    """Requests that got a first token."""
    times_to_first: array[float] = field(default_factory=lambda: array("d"))
    """Seconds, of each of these, up to the number that a ledger keeps."""


class LlmTimes:
    """The histograms of an engine: seconds, and tokens of requests and steps."""

    def __init__(self, longest: int) -> None:
        tokens = [first * 10**power for power in range(9) for first in (1, 2, 5)]
        self.first_token = Buckets(FIRST_TOKEN)
        self.inter_token = Buckets(INTER_TOKEN)
        self.per_token = Buckets(INTER_TOKEN)
        self.latency = Buckets(LATENCY)
        self.queue = Buckets(LATENCY)
        self.inference = Buckets(LATENCY)
        self.prefill = Buckets(LATENCY)
        self.decode = Buckets(LATENCY)
        self.prompt = Buckets([bound for bound in tokens if bound <= longest])
        self.output = Buckets(self.prompt.bounds)
        self.iteration = Buckets(ITERATION)


class LlmEngine:
    """One engine. Requests are handed over by `submit`, in any order, before time is advanced past their arrival.

    A step takes every running request on by one token, or by a piece of a prompt. What the cache has no block for
    takes one from the request that came last: that one is preempted, and begins again later. The prefix cache saves
    computing, not blocks.
    """

    def __init__(self, model: LlmModel, ended: Callable[[Generation], None] = lambda generation: None) -> None:
        """`ended` is told of each request that ends, those too that are refused, in the order in which they do."""
        self.model = model
        self.hung = False
        """While set, no step ends: requests run and no token comes."""
        self.cold = False
        """While set, the prefix cache finds nothing."""
        self.totals = LlmTotals()
        self.ledger = Ledger()
        """All requests, of which errors and refused ones have failed."""
        self.times = LlmTimes(model.longest)
        self._ended = ended
        self._serial = count()
        self._coming: list[tuple[int, int, Generation]] = []
        self._leaving: list[tuple[int, int, Generation]] = []
        self._waiting: deque[Generation] = deque()
        self._running: list[Generation] = []
        self._free = model.blocks
        self._warm = False
        self._blocked = False
        """Whether those that wait can't be taken up before a request ends."""
        self._plan: list[tuple[Generation, int]] = []
        """Tokens of each request that the step which has begun takes on. Empty only while there is nothing to do."""
        self._clock = 0
        """When the step that is under way began, or the last one ended."""

    @property
    def running(self) -> int:
        """Requests in the batch now."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that wait now to be taken up, preempted ones among them."""
        return len(self._waiting)

    @property
    def cache_used(self) -> float:
        """Share (0..1) of the blocks of the key-value cache that are taken."""
        return 1 - self._free / self.model.blocks

    @property
    def idle(self) -> bool:
        """Tell whether every request that was handed over has ended."""
        return not (self._coming or self._waiting or self._running)

    def submit(self, generation: Generation) -> None:
        """Hand over a request. Raises ValueError for one that the engine could never serve."""
        tokens = generation.prompt + generation.output
        longest = min(self.model.longest, self.model.blocks * self.model.block_tokens)
        if not (generation.prompt > 0 < generation.output and 0 <= generation.shared < generation.prompt):
            raise ValueError("a request needs a prompt, of which a part may be shared, and an output")
        if tokens > longest:
            raise ValueError(f"a request of {tokens} tokens is too long: the model takes {longest}")
        heapq.heappush(self._coming, (generation.arrived, next(self._serial), generation))

    def advance(self, now: float) -> None:
        """Move to the time `now` (simulated seconds)."""
        until = round(now * MICRO)
        while True:
            if not self._plan:
                self._arrive(self._clock)
                self._abort()
                self._schedule()
            if not self._plan:
                if not self._coming or self._coming[0][0] > until:
                    break
                self._clock = max(self._clock, self._coming[0][0])
                continue
            if self.hung:
                self._clock = max(self._clock, until)
            length = self._length()
            if self._clock + length > until:
                break
            self._step(length, until)
        self._arrive(until)

    def _arrive(self, until: int) -> None:
        limit = self.model.queue_limit
        while self._coming and self._coming[0][0] <= until:
            _, serial, generation = heapq.heappop(self._coming)
            if limit is not None and len(self._waiting) >= limit:
                self.totals.refused += 1
                self._end(generation, REFUSED, generation.arrived)
                continue
            self._waiting.append(generation)
            self._blocked = False
            if generation.patience is not None:
                leaves = generation.arrived + round(generation.patience * MICRO)
                heapq.heappush(self._leaving, (leaves, serial, generation))

    def _abort(self) -> None:
        """End those whose client has gone. A step that has begun is brought to its end before."""
        while self._leaving and self._leaving[0][0] <= self._clock:
            generation = heapq.heappop(self._leaving)[2]
            if generation.reason:
                continue
            if generation in self._running:
                self._running.remove(generation)
            else:
                self._waiting.remove(generation)
            self._end(generation, "abort", self._clock)

    def _schedule(self) -> None:
        """Decide what the next step does, and give it the blocks that it needs."""
        budget, place, preempted = self.model.batch_tokens, 0, False
        self._blocked = False
        while place < len(self._running) and budget:
            generation = self._running[place]
            tokens = min(budget, generation.prompt + generation.generated - generation.computed)
            while not self._allocate(generation, tokens):
                preempted = True
                victim = self._running.pop()
                self._preempt(victim)
                if victim is generation:
                    break
            else:
                self._plan.append((generation, tokens))
                budget -= tokens
                place += 1
        while self._waiting and budget and not preempted:
            generation = self._waiting[0]
            again = generation.scheduled >= 0
            cached = generation.shared if self._warm and not self.cold and not again else 0
            cached -= cached % self.model.block_tokens
            tokens = min(budget, generation.prompt + generation.generated - cached)
            full = len(self._running) == self.model.sequences
            self._blocked = full or not self._allocate(generation, cached + tokens)
            if self._blocked:
                break
            self._running.append(self._waiting.popleft())
            generation.computed = cached
            if not again:
                generation.scheduled, generation.cached = self._clock, cached
                self.totals.prefix_queries += generation.prompt
                self.totals.prefix_hits += cached
            self._plan.append((generation, tokens))
            budget -= tokens

    def _allocate(self, generation: Generation, tokens: int) -> bool:
        missing = -(-(generation.computed + tokens) // self.model.block_tokens) - generation.blocks
        if missing > self._free:
            return False
        self._free -= missing
        generation.blocks += missing
        return True

    def _preempt(self, generation: Generation) -> None:
        self._release(generation)
        generation.preemptions += 1
        self.totals.preemptions += 1
        self._waiting.appendleft(generation)

    def _release(self, generation: Generation) -> None:
        self._free += generation.blocks
        generation.blocks = generation.computed = 0

    def _length(self) -> int:
        """Return the microseconds that the step which is under way takes."""
        read = sum(tokens for _, tokens in self._plan if tokens > 1)
        written = sum(tokens == 1 for _, tokens in self._plan)
        model = self.model
        return max(1, round(1000 * (model.step_ms + read * model.read_ms + written * model.write_ms)))

    def _step(self, length: int, until: int) -> None:
        """End the step that is under way and, where nothing else can happen, as many like it as there is time for."""
        steps = self._alike(length, until)
        self.times.iteration.observe(sum(tokens for _, tokens in self._plan), steps)
        before, self._clock = self._clock, self._clock + steps * length
        plan, self._plan = self._plan, []
        for generation, tokens in plan:
            generation.computed += tokens + steps - 1
            if generation.computed < generation.prompt + generation.generated:
                continue
            if generation.first < 0:
                self._first_token(generation, before + length)
            else:
                self.times.inter_token.observe((before + length - generation.last) / MICRO)
            self.times.inter_token.observe(length / MICRO, steps - 1)
            generation.generated += steps
            generation.last = self._clock
            self.totals.generated += steps
            if generation.generated == generation.output:
                self._running.remove(generation)
                self._end(generation, generation.ends, self._clock)

    def _alike(self, length: int, until: int) -> int:
        """Return how many steps like the one under way end before anything else happens, that one included."""
        writes = all(one.first >= 0 and one.computed + 1 == one.prompt + one.generated for one, _ in self._plan)
        if not writes or (self._waiting and not self._blocked):
            return 1
        steps = min((until - self._clock) // length, min(one.output - one.generated for one, _ in self._plan))
        for times in (self._coming, self._leaving):
            if times:
                # The step in which it comes is the last one: it is seen at the end of that.
                steps = min(steps, max(1, -(-(times[0][0] - self._clock) // length)))
        while steps > 1:
            blocks = (-(-(one.computed + steps) // self.model.block_tokens) - one.blocks for one, _ in self._plan)
            if sum(blocks) <= self._free:
                break
            steps //= 2
        for generation, _ in self._plan:
            self._allocate(generation, steps)
        return steps

    def _first_token(self, generation: Generation, now: int) -> None:
        generation.first = now
        self._warm = self._warm or generation.shared > 0
        self.totals.prompt += generation.prompt
        self.totals.cached += generation.cached
        seconds = (now - generation.arrived) / MICRO
        self.totals.first += 1
        if self.totals.first <= LATENCIES_KEPT:
            self.totals.times_to_first.append(seconds)
        self.times.first_token.observe(seconds)

    def _end(self, generation: Generation, reason: str, now: int) -> None:
        self._release(generation)
        generation.reason, generation.ended = reason, now
        if reason == REFUSED:
            self.ledger.enter(reason, None)
        else:
            self.totals.finished[reason] += 1
            self.ledger.enter("error" if reason == "error" else "", generation.latency)
            self._time(generation)
        self._ended(generation)

    def _time(self, generation: Generation) -> None:
        times = self.times
        times.latency.observe(generation.latency)
        times.prompt.observe(generation.prompt)
        times.output.observe(generation.generated)
        if generation.scheduled < 0:
            return
        times.queue.observe((generation.scheduled - generation.arrived) / MICRO)
        if generation.first < 0:
            return
        times.prefill.observe((generation.first - generation.scheduled) / MICRO)
        times.inference.observe((generation.last - generation.scheduled) / MICRO)
        decode = (generation.last - generation.first) / MICRO
        times.decode.observe(decode)
        if generation.generated > 1:
            times.per_token.observe(decode / (generation.generated - 1))
