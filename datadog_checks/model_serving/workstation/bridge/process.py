"""The process: instances at their intervals in a few threads, delivery in another, until it is told to stop."""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ...errors import DeliveryError, SpoolError
from ..standin.runner import Round
from .deliverer import Deliverer
from .engine import Engine, Watched, time_of_points
from .intake import Encoder
from .metrics import own_commit
from .settings import BridgeSettings
from .spool import Spool

OWN_INTERVAL = 15
"""Seconds from one report of the bridge about itself to the next."""

GRACE = 5.0
"""Seconds that delivery has to end when the process is told to stop, and as many that runs have."""

OWN_KEY = "bridge:own"

log = logging.getLogger("model_serving.bridge")


class Reporter:
    """Spools what the bridge says about itself."""

    def __init__(self, settings: BridgeSettings, spool: Spool, clock: Callable[[], float]) -> None:
        self._spool = spool
        self._clock = clock
        self._encoder = Encoder(settings)
        self._host = settings.host
        self._last = int(spool.read(OWN_KEY) or 0) or None

    def report(self) -> None:
        """One report: what is told is subtracted from the totals in the same transaction. Raises SpoolError."""
        now = self._clock()
        timestamp = time_of_points(now, OWN_INTERVAL, self._last)
        totals = self._spool.totals()
        commit = own_commit(self._spool.held(), totals, now)
        batches = list(self._encoder.series(commit, timestamp, OWN_INTERVAL, self._host))
        self._spool.write({OWN_KEY: str(timestamp)}, batches, taken=totals)
        self._last = timestamp


class Bridge:
    """Runs an engine and delivers what it gives. `deliverer` is None where nothing is delivered."""

    def __init__(self, settings: BridgeSettings, spool: Spool, engine: Engine, deliverer: Deliverer | None) -> None:
        self.settings = settings
        self.engine = engine
        self.spool = spool
        self.deliverer = deliverer
        self.stopping = threading.Event()
        self._wake = threading.Event()
        self._failure: Exception | None = None
        self._reporter = Reporter(settings, spool, engine.clock)

    def stop(self) -> None:
        """End in good order, from any thread or signal handler."""
        self.stopping.set()
        self._wake.set()

    def run_once(self) -> bool:
        """Run every instance once and deliver. Returns whether everything has been delivered.

        Raises DeliveryError and SpoolError.
        """
        with ThreadPoolExecutor(self.settings.workers, "bridge-run") as pool:
            for future in [pool.submit(self.engine.run, watched, once=True) for watched in self.engine.watched]:
                future.result()
        self._reporter.report()
        return self.deliverer is None or self.deliverer.drain(self.stopping.is_set)

    def run(self) -> None:
        """Run until `stop`. Raises DeliveryError or SpoolError where it can't go on."""
        delivery = threading.Thread(target=self._deliver, name="bridge-delivery", daemon=True)
        delivery.start()
        pool = ThreadPoolExecutor(self.settings.workers, "bridge-run")
        try:
            self._schedule(pool)
        finally:
            self.stop()
            self.engine.close()
            pool.shutdown(wait=True, cancel_futures=True)
            delivery.join(GRACE)
        if self._failure is not None:
            raise self._failure

    def _schedule(self, pool: ThreadPoolExecutor) -> None:
        """Hand instances to the pool when they are due. One never runs twice at the same time."""
        clock, started = self.engine.clock, self.engine.clock()
        queue: list[tuple[float, int, Watched]] = []
        for place, watched in enumerate(self.engine.watched):
            # Spread over the interval, so that they don't all come at once.
            watched.due = started + watched.interval * place / len(self.engine.watched) * 0.9
            heapq.heappush(queue, (watched.due, watched.number, watched))
        lock = threading.Lock()

        def again(watched: Watched) -> Callable[[Future[Round]], None]:
            def done(future: Future[Round]) -> None:
                if not future.cancelled() and (error := future.exception()) is not None:
                    log.error("%s: the run broke off: %r", watched.label, error)
                # Where one took longer than its interval, the runs that were missed are not made up for.
                watched.due = max(watched.due + watched.interval, clock())
                with lock:
                    heapq.heappush(queue, (watched.due, watched.number, watched))
                self._wake.set()

            return done

        report_due = started + OWN_INTERVAL
        while not self.stopping.is_set():
            with lock:
                while queue and queue[0][0] <= clock():
                    watched = heapq.heappop(queue)[2]
                    pool.submit(self.engine.run, watched).add_done_callback(again(watched))
                due = queue[0][0] if queue else report_due
            if clock() >= report_due:
                report_due = max(report_due + OWN_INTERVAL, clock())
                try:
                    self._reporter.report()
                except SpoolError as error:
                    log.error("%s", error)
            self._wake.wait(max(0.0, min(due, report_due, clock() + 1.0) - clock()))
            self._wake.clear()

    def _deliver(self) -> None:
        """Deliver until the end, and what is left then within the time that there is."""
        assert self.deliverer is not None
        try:
            while not self.stopping.is_set():
                pause = self.deliverer.deliver()
                # What is spooled meanwhile goes within a second.
                self.stopping.wait(min(pause, 1.0))
            self.deliverer.drain(lambda: False)
        except (DeliveryError, SpoolError) as error:
            self._failure = error
            self.stop()
        except Exception as error:  # a mistake here must not leave a process that looks alive
            self._failure = error
            self.stop()
