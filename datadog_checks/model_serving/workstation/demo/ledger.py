"""What really happened at a simulated serving endpoint."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

LATENCIES_KEPT = 500_000
"""Every latency is kept up to here, to tell exact quantiles; a run that goes on for hours must not fill the memory."""


@dataclass
class Ledger:
    """What the simulator did to one serving endpoint."""

    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """Failed requests by outcome."""
    latencies: array[float] = field(default_factory=lambda: array("d"))
    """Seconds, of every request that its system puts into its latency metric."""

    @property
    def failed(self) -> int:
        """Number of failed requests."""
        return self.errors.total()

    def enter(self, failure: str, latency: float | None) -> None:
        """Add one request: how it failed, empty where it succeeded, and its latency where the system tells it."""
        self.requests += 1
        if failure:
            self.errors[failure] += 1
        if latency is not None and len(self.latencies) < LATENCIES_KEPT:
            self.latencies.append(latency)
