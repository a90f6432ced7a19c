"""Runs instances as an Agent would, each at its interval, and puts what they give into the spool.

What a run gave and what its check remembers are one transaction. Where the disk refuses it, both stay in memory and go
with the next run: a process that dies meanwhile goes on from what was remembered last, and nothing is lost.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...errors import SpoolError
from ..standin.configuration import interval_of
from ..standin.runner import Round, Runner
from ..standin.standin import StandIn
from .intake import CLOCK_PUT_BACK, Encoder
from .settings import BridgeSettings
from .spool import NewBatch, Spool, dropped

NAME = "model_serving"

RESTART_BYTES = 64 * 1024 * 1024
"""What a check may remember of its readings in each run, where its instance says nothing of it: all that there is."""

LONGEST_GAP = 3600.0
"""Seconds after which nothing is counted from what was read before, as in the check: a counter may have been reset."""

MINUTE = 60

WAITING_BYTES = 32 * 1024 * 1024
"""Characters of an instance's batches that wait in memory for a disk that is full."""


log = logging.getLogger("model_serving.bridge")


class RunListener(Protocol):
    """Is told of every run, from the thread of the run, after it has been committed to the spool."""

    def ran(self, round_: Round, timestamp: int) -> None:
        """A run has ended, the one of the round. `timestamp` is that of its points, in epoch seconds."""


@dataclass(slots=True)
class SpoolingStandIn(StandIn):
    """The stand-in whose persistent cache is the spool. What a run writes is kept with what it gives."""

    spool: Spool | None = None
    _threads: threading.local = field(default_factory=threading.local)

    @contextmanager
    def remembering(self, remembered: MutableMapping[str, str]) -> Iterator[None]:
        """Gather there what this thread writes, instead of keeping it at once."""
        self._threads.remembered = remembered
        try:
            yield
        finally:
            self._threads.remembered = None

    def read_cache(self, key: str) -> str:
        """What was last written under a key, empty where nothing was."""
        assert self.spool is not None
        remembered = getattr(self._threads, "remembered", None) or {}
        return remembered[key] if key in remembered else self.spool.read(key)

    def write_cache(self, key: str, value: str) -> None:
        """Keep a value under a key, with what the run gives that writes it, if one does. Raises SpoolError."""
        assert self.spool is not None
        remembered = getattr(self._threads, "remembered", None)
        if remembered is None:
            self.spool.write({key: value})
        else:
            remembered[key] = value


@dataclass(slots=True)
class Watched:
    """One instance and how it fares.

    `interval` is seconds between its runs. `hostless` leaves the bridge's host out. `key` is what it is remembered
    under, empty where it is not. `last` is the time of its last points, in epoch seconds. `remembered` and
    `waiting` are what no transaction has taken yet. `begun` is when its last run began, `ended` when it ended, by the
    engine's clock; `due` is when the next one is, by the monotonic clock, which nobody puts right.
    """

    number: int
    label: str
    interval: float
    hostless: bool
    key: str
    last: int | None = None
    remembered: dict[str, str] = field(default_factory=dict)
    waiting: list[NewBatch] = field(default_factory=list)
    totals: Counter[str] = field(default_factory=Counter)
    begun: float | None = None
    ended: float | None = None
    due: float = 0.0
    error: str | None = None
    misconfigured: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def step(self) -> int:
        """Seconds between two points of a series."""
        return max(1, math.ceil(self.interval))


class Engine:
    """The instances of a bridge. `check_class` is imported while the stand-in is in place.

    `run` may be called from several threads, for different instances. `clock` gives epoch seconds.
    """

    def __init__(
        self,
        check_class: Callable[..., Any],
        settings: BridgeSettings,
        spool: Spool,
        stand_in: SpoolingStandIn,
        *,
        listeners: Sequence[RunListener] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self._spool = spool
        self._stand_in = stand_in
        self.listeners = listeners
        configuration = settings.configuration
        instances = [(number, _remembering(instance)) for number, instance in configuration.instances]
        self._runner = Runner(
            _lasting(check_class),
            NAME,
            configuration.init_config,
            instances,
            stand_in,
            secrets=configuration.secrets,
        )
        # Of several instances of one source the first one remembers, as in the check.
        sources: dict[str, int] = {}
        for number, check in self._runner.checks.items():
            sources.setdefault(check.persistent_cache_id(), number)
        keys = {number: f"bridge:{source}" for source, number in sources.items()}
        self.watched = [
            Watched(
                number,
                self._runner.labels[number],
                max(1.0, interval_of(instance)),
                bool(instance.get("empty_default_hostname")),
                keys.get(number, ""),
            )
            for number, instance in configuration.instances
        ]
        for watched in self.watched:
            self._recall(watched)
        self._encoder = Encoder(settings, max((watched.last or 0 for watched in self.watched), default=0))

    def run(self, watched: Watched, *, once: bool = False) -> Round:
        """Run one instance and spool what it gave. `once` is for a process that runs it no second time: what it counts
        is of the time since the run before, whenever that was.
        """
        watched.begun = self.clock()
        with self._stand_in.remembering(watched.remembered):
            round_ = self._runner.run_one(watched.number)
        run = round_.runs[0]
        timestamp = time_of_points(watched.begun, watched.step, watched.last)
        timestamp = self._encoder.claim(run.commit, timestamp)
        interval = since(watched.last, timestamp, watched.step) if once else watched.step
        batches, thinned = self._encoder.encode(round_, timestamp, interval, watched.hostless)
        watched.waiting += batches
        watched.totals.update(thinned)
        watched.last = timestamp
        if watched.key:
            watched.remembered[watched.key] = json.dumps([timestamp, self._runner.readings(watched.number)])
        watched.warnings = run.warnings
        self._keep(watched)
        if run.error != watched.error:
            log.log(logging.ERROR if run.error else logging.INFO, "%s: %s", watched.label, run.error or "runs again")
        watched.error, watched.misconfigured = run.error, run.misconfigured
        for listener in self.listeners:
            try:
                listener.ran(round_, timestamp)
            except Exception:  # what is shown elsewhere must not cost what is sent
                log.exception("%s: the run could not be shown", watched.label)
        watched.ended = self.clock()
        return round_

    def close(self) -> None:
        """Tell every instance that it will not run again. What goes on is cut off."""
        self._runner.close()

    def _recall(self, watched: Watched) -> None:
        """Go on from where the process before was, as its check does by itself."""
        told = self._spool.read(watched.key) if watched.key else ""
        if not told:
            return
        watched.last, readings = json.loads(told)
        if watched.last is not None and self.clock() - watched.last <= LONGEST_GAP:
            self._runner.recall(watched.number, readings)

    def _keep(self, watched: Watched) -> None:
        """Write what the runs since the last transaction gave."""
        try:
            self._spool.write(watched.remembered, watched.waiting, watched.totals)
        except SpoolError as error:
            watched.warnings = [*watched.warnings, str(error)]
            log.error("%s: %s", watched.label, error)
            while len(watched.waiting) > 1 and sum(len(batch.body) for batch in watched.waiting) > WAITING_BYTES:
                lost = watched.waiting.pop(0)
                watched.totals.update(dropped(lost.kind, "disk", lost.points))
            return
        watched.remembered.clear()
        watched.waiting.clear()
        watched.totals.clear()


def time_of_points(now: float, step: int, last: int | None) -> int:
    """The time of the points of a run that begins `now`, in whole epoch seconds: the multiple of `step` before, or of a
    minute where that is less.

    It is never that of the run before, for Datadog keeps the last value of a series at a time.
    """
    aligned = int(now // min(step, MINUTE) * min(step, MINUTE))
    if last is None or aligned > last or last - now > CLOCK_PUT_BACK:
        return aligned
    return last + 1


def since(last: int | None, timestamp: int, otherwise: int) -> int:
    """The seconds that counts are of where the run before was of another process: `otherwise` where it is forgotten."""
    return otherwise if last is None or timestamp - last > LONGEST_GAP else max(1, timestamp - last)


def _remembering(instance: dict[str, Any]) -> dict[str, Any]:
    """An instance that remembers all its readings. What tells a cluster check would switch that off: here no other
    process runs the same instance, and the host is left out by the bridge.
    """
    options = {"restart_memory_bytes": RESTART_BYTES, **instance}
    options.pop("empty_default_hostname", None)
    return options


def _lasting(check_class: Callable[..., Any]) -> Callable[..., Any]:
    """Constructs checks that may remember from their first run on: this is no trial, even where it runs once."""

    def construct(**arguments: Any) -> Any:
        check = check_class(**arguments)
        check.cache.born = -math.inf
        return check

    return construct
