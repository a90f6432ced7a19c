"""Rate limits: calls per period, told in headers and answered with 429."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field

SLO_WRITES = ("CreateSLO", "UpdateSLO")
SLO_READS = ("GetSLO", "ListSLOs", "DeleteSLO")
TAG_WRITES = ("CreateTagConfiguration", "UpdateTagConfiguration", "DeleteTagConfiguration")
DUPLICATES = "duplicate monitors"


@dataclass(slots=True)
class Limit:
    """At most `calls` in every window of `period` seconds. Windows follow each other without gap from the start."""

    calls: int
    period: float
    begun: float = field(default_factory=time.monotonic)
    used: int = 0

    def take(self) -> tuple[bool, dict[str, str]]:
        """Count a call. Answers whether it is allowed, and the headers that tell what is left."""
        passed = time.monotonic() - self.begun
        if passed >= self.period:
            self.begun += self.period * (passed // self.period)
            self.used = 0
        allowed = self.used < self.calls
        self.used += allowed
        left = self.begun + self.period - time.monotonic()
        return allowed, {
            "x-ratelimit-limit": str(self.calls),
            "x-ratelimit-period": f"{self.period:g}",
            "x-ratelimit-remaining": str(self.calls - self.used),
            "x-ratelimit-reset": str(max(1, math.ceil(left))),
        }

    def words(self) -> str:
        return f"Rate limit of {self.calls} requests in {self.period:g} seconds reached. Please try again later."


class Limits(dict[str, Limit]):
    """Limits by operation id; one Limit under several ids is shared by them. Starts with those seen in recordings."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        for operations, calls, period in ((SLO_WRITES, 500, 60.0), (SLO_READS, 3000, 10.0), (TAG_WRITES, 50, 60.0)):
            self.update(dict.fromkeys(operations, Limit(calls, period)))
        self["ListTagsByMetricName"] = Limit(600, 3600.0)
        self[DUPLICATES] = Limit(5, 600.0)

    def take(self, name: str) -> tuple[bool, dict[str, str], str]:
        """Whether a call passes, the headers, and the words where it doesn't. Nothing limits an unknown name."""
        with self._lock:
            limit = self.get(name)
            return (*limit.take(), limit.words()) if limit else (True, {}, "")
