"""Delivers what is in the spool, in its order, until Datadog has taken it or it is too old.

Series and service checks that may have been taken are sent again as they were, for Datadog keeps the last value of a
series at a time. Distributions and events add up: what may have been taken is sent again once at most, after the intake
has answered something else.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ...errors import DeliveryError
from .intake import (
    CHECKS,
    DISTRIBUTIONS,
    EVENTS,
    LIMITS,
    REQUEST_BYTES,
    SERIES,
    Delivery,
    Encoded,
    Verdict,
    batch_of,
    body_of,
    encoded,
    halves,
)
from .spool import Spool, SpooledBatch, dropped

KINDS = (SERIES, DISTRIBUTIONS, CHECKS, EVENTS)
ADDING = (DISTRIBUTIONS, EVENTS)
"""Kinds that count twice when they arrive twice."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds from one try to the next, doubled each time."""

LONGEST_LIMIT = 3600.0
"""Seconds that an answer may have the bridge wait."""

MOST_INVALID = 50
"""What the intake calls invalid is halved to find what is wrong in it, unless that many answers in a row said so."""

SLACK = 60.0
"""Seconds before the intake calls a point too old: the way there takes time."""

log = logging.getLogger("model_serving.bridge")


class Destination(Protocol):
    """What takes requests: the intake, or what stands in for it."""

    def send(self, kind: str, body: Encoded) -> Delivery:
        """Send one request."""

    def probe(self, kind: str) -> Delivery:
        """Ask what takes a kind something that changes nothing."""


@dataclass(slots=True)
class Progress:
    """How delivery fares. `last` is when something was taken last, in epoch seconds.

    By kind, `problems` are what hinders it, `failures` are those in a row, and nothing is sent `not_before` a time,
    which is `pauses` seconds after the last failure.
    """

    last: float | None = None
    problems: dict[str, str] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)
    pauses: dict[str, float] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        """What hinders delivery, empty where nothing does."""
        return "; ".join(dict.fromkeys(filter(None, list(self.problems.values()))))

    def tell(self, kind: str, problem: str) -> bool:
        """Note what hinders a kind, empty where nothing does. Returns whether that is something new."""
        before, self.problems[kind] = self.problems.get(kind, ""), problem
        return problem not in ("", before)

    def left(self, kind: str, now: float) -> float:
        """Seconds until a kind is sent again: none where they are more than were said, for the clock was put back."""
        left = self.not_before.get(kind, 0.0) - now
        # A sum of epoch seconds is a bit more or less than what was added.
        return left if 0.0 < left <= self.pauses[kind] + 0.001 else 0.0


class Deliverer:
    """Delivers for one bridge. `clock` gives epoch seconds; `max_age` is how many a point may wait."""

    def __init__(self, spool: Spool, intake: Destination, max_age: float, clock: Callable[[], float]) -> None:
        self.progress = Progress()
        self._spool = spool
        self._intake = intake
        self._max_age = max_age
        self._clock = clock
        # Kinds whose last request was answered.
        self._answering: set[str] = set()
        # By kind, up to which position batches go alone, and how many answers in a row called one invalid.
        self._alone: dict[str, int] = {}
        self._invalid = 0

    def deliver(self) -> float:
        """Send what may be sent now. Returns the seconds until there may be more to do: 0 where there is.

        Raises DeliveryError where the intake takes nothing and waiting is no cure.
        """
        busy = False
        for kind in KINDS:
            if not self.progress.left(kind, self._clock()):
                busy = self._step(kind) or busy
        if busy:
            return 0.0
        now = self._clock()
        return min(filter(None, (self.progress.left(kind, now) for kind in KINDS)), default=LONGEST_PAUSE)

    def drain(self, patience: float, wait: Callable[[float], bool]) -> bool:
        """Deliver until nothing is left, or until it has waited for `patience` seconds. Whether nothing is left then.

        `wait` lets seconds pass, and says whether to stop. Raises DeliveryError as `deliver` does.
        """
        while self._spool.held().batches:
            pause = self.deliver()
            if pause > patience or (pause and wait(pause)):
                break
            patience -= pause
        return self._spool.held().batches == 0

    def _step(self, kind: str) -> bool:
        """One request. Returns whether another may follow at once."""
        batches = self._current(kind)
        if not batches:
            return False
        chosen, body = self._fitting(kind, batches)
        tries = chosen[0].tries
        if kind in ADDING:
            if tries > 1:
                self._drop(chosen, "unsure")
                return True
            if tries == 1 and not self._answers(kind):
                return False
            # Before it is on its way: a process that dies meanwhile can't tell.
            self._spool.set_tries(chosen, tries + 1, _resent(chosen, tries))
        return self._settle(kind, chosen, tries, self._intake.send(kind, body))

    def _settle(self, kind: str, chosen: list[SpooledBatch], tries: int, outcome: Delivery) -> bool:
        if outcome.verdict is Verdict.TAKEN:
            self._spool.remove(chosen, Counter({f"sent {kind}": _points(chosen)}))
            self.progress.last = self._clock()
            if self.progress.tell(kind, outcome.words):
                log.warning("Datadog has taken %s, but says: %s", kind, outcome.words)
            self.progress.failures.pop(kind, None)
            self.progress.not_before.pop(kind, None)
            self._answering.add(kind)
            self._invalid = 0
            return True
        if outcome.verdict is Verdict.UNSURE:
            self._answering.discard(kind)
            self._pause(kind, outcome)
            return False
        # Surely not taken.
        if kind in ADDING:
            self._spool.set_tries(chosen, tries, {name: -points for name, points in _resent(chosen, tries).items()})
        match outcome.verdict:
            case Verdict.FORBIDDEN:
                raise _refused(outcome)
            case Verdict.TOO_LARGE | Verdict.INVALID:
                self._divide(chosen, outcome)
                return True
            case _:
                self._pause(kind, outcome)
                return False

    def _current(self, kind: str) -> list[SpooledBatch]:
        """The oldest batches that Datadog would still take, as many as may go together; those before are dropped."""
        batches = self._spool.oldest(kind, REQUEST_BYTES[kind])
        limit = LIMITS[kind].age if kind in (CHECKS, EVENTS) else min(LIMITS[kind].age, self._max_age)
        oldest = self._clock() - limit + SLACK
        while batches and batches[0].time < oldest:
            self._drop([batch for batch in batches if batch.time < oldest], "too_old")
            batches = self._spool.oldest(kind, REQUEST_BYTES[kind])
        if batches and batches[0].position <= self._alone.get(kind, 0):
            return batches[:1]
        return batches

    def _fitting(self, kind: str, batches: list[SpooledBatch]) -> tuple[list[SpooledBatch], Encoded]:
        """As many of the batches as one request may hold, and its body."""
        while True:
            body = body_of(kind, [batch.body for batch in batches])
            made = encoded(kind, body)
            if len(batches) == 1 or (len(made.sent) <= LIMITS[kind].sent and len(body) <= LIMITS[kind].plain):
                return batches, made
            batches = batches[: len(batches) // 2]

    def _answers(self, kind: str) -> bool:
        """Whether the intake answers again, so that what may have been taken can be sent a second time."""
        if kind in self._answering:
            return True
        outcome = self._intake.probe(kind)
        if outcome.verdict is Verdict.FORBIDDEN:
            raise _refused(outcome)
        if outcome.verdict in (Verdict.TAKEN, Verdict.INVALID):
            self._answering.add(kind)
            return True
        self._pause(kind, outcome)
        return False

    def _divide(self, chosen: list[SpooledBatch], outcome: Delivery) -> None:
        """Find what is too large or wrong: the batches of a request one by one, then the halves of each."""
        kind = chosen[0].kind
        if len(chosen) > 1:
            self._alone[kind] = chosen[-1].position
            return
        (batch,) = chosen
        invalid = outcome.verdict is Verdict.INVALID
        reason = "invalid" if invalid else "too_large"
        self._invalid += invalid
        first, second = halves(kind, batch.body)
        if not second or self._invalid > MOST_INVALID:
            log.warning("Datadog refuses %d points of %s (%s): they are dropped", batch.points, kind, outcome.words)
            self._drop(chosen, reason)
            return
        self._alone[kind] = max(self._alone.get(kind, 0), batch.position)
        self._spool.split(batch, [batch_of(kind, batch.time, half) for half in (first, second)])

    def _drop(self, batches: list[SpooledBatch], reason: str) -> None:
        self._spool.remove(batches, dropped(batches[0].kind, reason, _points(batches)))

    def _pause(self, kind: str, outcome: Delivery) -> None:
        """Leave a kind alone for as long as the answer says, or twice as long as the last time."""
        failures = self.progress.failures.get(kind, 0)
        self.progress.failures[kind] = failures + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10)) * random.uniform(0.75, 1.0)
        self.progress.pauses[kind] = seconds = min(max(outcome.seconds, pause), LONGEST_LIMIT)
        self.progress.not_before[kind] = self._clock() + seconds
        if self.progress.tell(kind, outcome.words):
            log.warning("%s not delivered yet: %s", kind, outcome.words)


def _refused(outcome: Delivery) -> DeliveryError:
    return DeliveryError(
        f"Datadog takes nothing from the bridge: {outcome.words}. What is spooled is sent when it starts again"
    )


def _resent(batches: list[SpooledBatch], tries: int) -> dict[str, float]:
    """The total of what is on its way again."""
    return {f"resent {batches[0].kind}": float(_points(batches))} if tries else {}


def _points(batches: list[SpooledBatch]) -> int:
    return sum(batch.points for batch in batches)
