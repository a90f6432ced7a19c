"""Deadlines that are reached by what never ends, and by nothing else, however busy the machine is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from datadog_checks.model_serving.http.pool import WorkerPool


class Patience:
    """By how many seconds a clock is ahead, since all that a check waits for are requests that a server holds.

    `pools` gives those that ask. As soon as each job that they are busy with waits for a request that is held, all
    of them have waited for `seconds`. Without `seconds` nobody's patience ends.
    """

    def __init__(self, pools: Callable[[], Iterable[WorkerPool]], seconds: float = 0.0) -> None:
        self.pools = pools
        self.seconds = seconds
        self._lock = threading.Lock()
        self._held = 0
        self._ahead = 0.0

    def hold(self) -> None:
        """A request has come that the server will not answer to its end."""
        with self._lock:
            self._held += 1

    def ahead(self) -> float:
        """To be added to each reading of the clock by which deadlines are kept."""
        with self._lock:
            if self.seconds and self._held and self._held == sum(len(pool._busy) for pool in self.pools()):
                self._held = 0
                self._ahead += self.seconds
            return self._ahead
