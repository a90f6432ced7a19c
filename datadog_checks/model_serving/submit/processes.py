"""Which process answers at an address: a restart, or one of several that take turns.

Each process counts for itself, so what one has counted says nothing of another. They are told apart by when they
started (`process_start_time_seconds`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

JITTER = 1.5
"""Seconds by which the start of one and the same process may be told differently."""

SKEW = 60.0
"""Seconds by which the clocks of a target and of the Agent may differ."""

FORGET_AFTER = 240
"""Scrapes after which a process that has not answered is forgotten, an hour at the Agent's default interval."""

MANY_TARGETS = 500
"""Targets that may be known beyond twice those of a scrape."""

MAX_PROCESSES = 64
"""Processes behind one target that are told apart."""


@dataclass(eq=False, slots=True)
class Process:
    """One process behind a target. `start` is when it began, in epoch seconds, `told` the same as told last.

    `began` says that it did so after the target had answered last, so that all it has counted is news; `answers` is how
    many scrapes it has answered, `seen` the newest of them. `exact` is false where this answer has told a slightly
    different start.
    """

    start: float
    told: float
    began: bool = False
    answers: int = 0
    seen: int = 0
    exact: bool = True


@dataclass(slots=True)
class Answering:
    """The processes of one target: those known, the one that answered last, and when that was.

    `several` says that they are proven to take turns.
    """

    known: dict[float, Process] = field(default_factory=dict)
    current: Process | None = None
    at: float = 0.0
    several: bool = False


class Processes:
    """The processes behind the targets of one source."""

    def __init__(self) -> None:
        self._targets: dict[str, Answering] = {}

    def meet(self, target: str, start: float, now: float, scrape: int, fell: Callable[[], bool]) -> Process:
        """The process that has answered scrape number `scrape` of a target, at `now` in epoch seconds.

        `fell` says whether a counter has fallen since the scrape before; it is asked where `start` leaves that open.
        """
        answering = self._targets.setdefault(target, Answering())
        process = self._told(answering, start, fell)
        answering.current, answering.at = process, now
        process.answers += 1
        process.seen = scrape
        for old in [one for one in answering.known.values() if one.seen <= scrape - FORGET_AFTER]:
            del answering.known[old.start]
        while len(answering.known) > MAX_PROCESSES:
            del answering.known[min(answering.known.values(), key=lambda one: one.seen).start]
        answering.several = answering.several and len(answering.known) > 1
        return process

    def remember(self, target: str, starts: Sequence[float], at: float) -> None:
        """The starts of the processes that answered before the Agent was restarted, at `at` for the last time.

        That of the last one comes first. Nothing changes where the target has answered since.
        """
        answering = self._targets.setdefault(target, Answering())
        if answering.current is None and starts:
            answering.known = {start: Process(start, start) for start in starts}
            answering.current, answering.at = answering.known[starts[0]], at
            answering.current.answers = 1
            answering.several = len(answering.known) > 1

    def forget(self, others_than: Collection[str]) -> None:
        """Where most of what is known is of other targets than these, forget it."""
        if len(self._targets) > MANY_TARGETS + 2 * len(others_than):
            self._targets = {target: one for target, one in self._targets.items() if target in others_than}

    def several(self, target: str) -> bool:
        """Whether several processes are proven to take turns at a target."""
        answering = self._targets.get(target)
        return answering is not None and answering.several

    def known(self, target: str) -> Collection[float]:
        """The starts of the processes of a target that are remembered."""
        answering = self._targets.get(target)
        return answering.known if answering is not None else ()

    def in_turn(self) -> list[str]:
        """Targets at which several processes take turns."""
        return [target for target, one in self._targets.items() if one.several]

    def alive(self, target: str, scrape: int) -> Collection[float]:
        """The starts of the processes of a target that have answered of late: all would, a few times over."""
        answering = self._targets.get(target)
        known = answering.known if answering is not None else {}
        if len(known) < 2:
            return known
        oldest = scrape - 8 * max(2, len(known))
        return {start for start, process in known.items() if process.seen > oldest}

    @staticmethod
    def _told(answering: Answering, start: float, fell: Callable[[], bool]) -> Process:
        """The process with this start, known or new."""
        current, known = answering.current, answering.known
        if current is None:
            # It may have answered before without telling when it began.
            known[start] = process = Process(start, start, answers=1)
            return process
        if start == current.told:
            current.exact = True
            return current
        if start in known:
            answering.several = True
            return known[start]
        if not answering.several and abs(start - current.told) <= JITTER and not fell():
            current.told, current.exact = start, False
            return current
        # One that began before its target answered last was there beside the one that answered.
        began = start > current.told and start > answering.at - SKEW
        if not answering.several and began:
            known.clear()
        # A later one may have taken the place of the one before; no restart makes an earlier one.
        answering.several = answering.several or start < current.told
        known[start] = process = Process(start, start, began)
        return process
