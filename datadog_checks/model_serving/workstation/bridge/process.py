"""The process: instances at their intervals in a few threads, delivery in another, until it is told to stop."""

from __future__ import annotations

import heapq
import json
import logging
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import SpoolError
from ..standin.install import standing_in
from ..standin.runner import Round, Run
from .deliverer import Deliverer
from .engine import Engine, RunListener, SpoolingStandIn, Watched, since, time_of_points
from .health import HealthServer, state_of
from .intake import PATHS, Delivery, Encoded, Encoder, Intake, Verdict
from .metrics import own_commit
from .parts import parts_of
from .settings import BridgeSettings
from .spool import Spool

OWN_INTERVAL = 15
"""Seconds from one report of the bridge about itself to the next."""

GRACE = 5.0
"""Seconds that delivery has to end when the process is told to stop, and as many that runs have."""

PATIENCE = 30.0
"""Seconds that a process which runs once waits for an intake that is hindered."""

DELIVERY_INTERVAL = 5.0
"""Seconds for which what instances give is gathered: so many requests there are at most, however many instances."""

PAUSE_OF_DISK = 5.0
"""Seconds until a spool that could not be written is tried again."""

OWN_KEY = "bridge:own"

log = logging.getLogger("model_serving.bridge")


class Reporter:
    """Spools what the bridge says about itself, and tells it to `listeners`."""

    def __init__(
        self,
        settings: BridgeSettings,
        spool: Spool,
        clock: Callable[[], float],
        listeners: Sequence[RunListener] = (),
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._listeners = listeners
        self._encoder = Encoder(settings)
        self._host = settings.host
        self._last = int(spool.read(OWN_KEY) or 0) or None

    def report(self, *, once: bool = False) -> None:
        """One report: what is told is subtracted from the totals in the same transaction. Raises SpoolError.

        `once` is for a process that reports no second time: what it counts is of the time since the report before.
        """
        now = self._clock()
        timestamp = time_of_points(now, OWN_INTERVAL, self._last)
        totals = self._spool.totals()
        commit = own_commit(self._spool.held(), totals, now)
        interval = since(self._last, timestamp, OWN_INTERVAL) if once else OWN_INTERVAL
        batches = list(self._encoder.series(commit, timestamp, interval, self._host))
        self._spool.write({OWN_KEY: str(timestamp)}, batches, taken=totals)
        self._last = timestamp
        for listener in self._listeners:
            listener.ran(Round(0, now, [Run(0, "bridge", OWN_KEY, commit)]), timestamp)


class Printer:
    """In place of the intake: what would be sent is handed to `tell`, as a line of JSON with path and body."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def send(self, kind: str, body: Encoded) -> Delivery:
        """Show one request."""
        self._tell(json.dumps({"path": PATHS[kind], "body": json.loads(body)}))
        return Delivery(Verdict.TAKEN)

    def probe(self, kind: str) -> Delivery:
        """Nothing is asked."""
        return Delivery(Verdict.TAKEN)


class Workers:
    """Threads that run instances, as many at a time as there are threads, and tell `ended` of each run.

    A run that never ends doesn't keep the process from ending.
    """

    def __init__(
        self, count: int, run: Callable[[Watched], object], ended: Callable[[Watched, Exception | None], None]
    ) -> None:
        self._run = run
        self._ended = ended
        self._tasks: queue.SimpleQueue[Watched | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"bridge-run-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def add(self, watched: Watched) -> None:
        """Run an instance as soon as a thread is free."""
        self._tasks.put(watched)

    def close(self, seconds: float) -> None:
        """Begin no further run, and wait for those that go on."""
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while (watched := self._tasks.get()) is not None:
            problem: Exception | None = None
            try:
                self._run(watched)
            except Exception as error:
                problem = error
            self._ended(watched, problem)


class Bridge:
    """Runs an engine and delivers what it gives."""

    def __init__(self, settings: BridgeSettings, spool: Spool, engine: Engine, deliverer: Deliverer) -> None:
        self.settings = settings
        self.engine = engine
        self.spool = spool
        self.deliverer = deliverer
        self.health: HealthServer | None = None
        self.stopping = threading.Event()
        self.interrupted = False
        """What a signal handler may set, which must not touch a lock. It is looked at every second."""
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._due: list[tuple[float, int, Watched]] = []
        self._failure: Exception | None = None
        self._reporter = Reporter(settings, spool, engine.clock, engine.listeners)

    def stop(self) -> None:
        """End in good order, from any thread."""
        self.stopping.set()
        self._wake.set()

    def run_once(self) -> bool:
        """Run every instance once and deliver. Returns whether every run ended and everything has been delivered.

        Raises DeliveryError and SpoolError.
        """
        done: queue.SimpleQueue[bool] = queue.SimpleQueue()
        workers = Workers(
            self.settings.workers,
            lambda watched: self.engine.run(watched, once=True),
            lambda watched, problem: done.put(_broken_off(watched, problem)),
        )
        left, broken = len(self.engine.watched), 0
        for watched in self.engine.watched:
            workers.add(watched)
        while left and not self._ends():
            with suppress(queue.Empty):
                broken += done.get(timeout=0.5)
                left -= 1
        if left:
            self.engine.close()
        workers.close(GRACE)
        self._reporter.report(once=True)
        return self.deliverer.drain(PATIENCE, self.pause) and not broken

    def pause(self, seconds: float) -> bool:
        """Wait, unless the bridge is told to stop. Returns whether it is."""
        until = time.monotonic() + seconds
        while not self._ends() and (left := until - time.monotonic()) > 0:
            self.stopping.wait(min(left, 0.5))
        return self._ends()

    def _ends(self) -> bool:
        return self.interrupted or self.stopping.is_set()

    def run(self) -> None:
        """Run until `stop`. Raises DeliveryError or SpoolError where it can't go on."""
        delivery = threading.Thread(target=self._deliver, name="bridge-delivery", daemon=True)
        delivery.start()
        workers = Workers(self.settings.workers, self.engine.run, self._ran)
        try:
            self._schedule(workers)
        finally:
            self.engine.close()
            workers.close(GRACE)
            # What these runs gave goes as well.
            self.stop()
            delivery.join(GRACE)
        if self._failure is not None:
            raise self._failure

    def _schedule(self, workers: Workers) -> None:
        """Hand out instances when they are due. One never runs twice at the same time."""
        now = time.monotonic()
        for place, watched in enumerate(self.engine.watched):
            # Spread over the interval, so that they don't all come at once.
            watched.due = now + watched.interval * place / len(self.engine.watched) * 0.9
            heapq.heappush(self._due, (watched.due, watched.number, watched))
        report_due = now + OWN_INTERVAL
        while not self._ends():
            now = time.monotonic()
            with self._lock:
                while self._due and self._due[0][0] <= now:
                    workers.add(heapq.heappop(self._due)[2])
                due = self._due[0][0] if self._due else report_due
            if now >= report_due:
                report_due = max(report_due + OWN_INTERVAL, now)
                try:
                    self._reporter.report()
                    self.spool.check()
                except SpoolError as error:
                    log.error("%s", error)
            self._wake.wait(max(0.0, min(due, report_due, now + 1.0) - now))
            self._wake.clear()

    def _ran(self, watched: Watched, problem: Exception | None) -> None:
        _broken_off(watched, problem)
        # Where one took longer than its interval, the runs that were missed are not made up for.
        watched.due = max(watched.due + watched.interval, time.monotonic())
        with self._lock:
            heapq.heappush(self._due, (watched.due, watched.number, watched))
        self._wake.set()

    def _deliver(self) -> None:
        """Deliver until the end, and what is left then within the time that there is."""
        try:
            while not self.stopping.is_set():
                try:
                    pause = self.deliverer.deliver()
                except SpoolError as error:
                    # What was delivered but could not be noted is sent again.
                    if self.deliverer.progress.tell("spool", str(error)):
                        log.error("%s", error)
                    self.stopping.wait(PAUSE_OF_DISK)
                    continue
                self.deliverer.progress.tell("spool", "")
                self.stopping.wait(min(pause, DELIVERY_INTERVAL))
            # Nothing waits for this thread longer than the grace.
            self.deliverer.drain(GRACE, threading.Event().wait)
        except Exception as error:  # whatever it is, a process that only looks alive is worse
            self._failure = error
            self.stop()


def _broken_off(watched: Watched, problem: Exception | None) -> bool:
    """Log what ended a run before its end, if something did. Returns whether that is so."""
    if problem is not None:
        log.error("%s: the run broke off: %r", watched.label, problem)
    return problem is not None


@contextmanager
def opened(
    settings: BridgeSettings,
    tell: Callable[[str], None] | None = None,
    *,
    log_level: str = "info",
    change: Callable[[Any], Callable[..., Any]] = lambda check_class: check_class,
    clock: Callable[[], float] = time.time,
) -> Iterator[Bridge]:
    """A bridge, ready to run, which is closed at the end. With `tell` it only says what it would send, and remembers
    nothing. `change` may put another check class in the place of ours.

    Raises SpoolError, and OptionError where an address can't be listened on.
    """
    with ExitStack() as stack:
        if tell is not None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="model-serving-"))
            settings = replace(
                settings, spool=replace(settings.spool, path=Path(folder) / "bridge.db"), health=None, expose=None
            )
        spool = Spool(settings.spool.path, settings.spool.max_bytes)
        stack.callback(spool.close)
        parts = parts_of(settings)
        for server in parts.servers:
            server.start()
            stack.callback(server.close)
        stand_in = SpoolingStandIn(spool=spool, hostname=settings.host, config={"log_level": log_level})
        stand_in.recorder.clock = clock
        stack.enter_context(standing_in(stand_in))
        # Imported here so that the base package finds the stand-in, where it was not loaded before.
        from .prometheus.source import BridgeCheck

        client: Intake | Printer
        if tell is not None or settings.credentials is None:
            client = Printer(tell or (lambda text: None))
        else:
            client = Intake(settings.credentials)
            stack.callback(client.close)
        engine = Engine(change(BridgeCheck), settings, spool, stand_in, listeners=parts.listeners, clock=clock)
        stack.callback(engine.close)
        deliverer = Deliverer(spool, client, settings.spool.max_age, clock)
        bridge = Bridge(settings, spool, engine, deliverer)
        if settings.health is not None:
            bridge.health = HealthServer(settings.health, lambda: state_of(engine, spool, deliverer.progress))
            bridge.health.start()
            stack.callback(bridge.health.close)
        yield bridge
