"""What a page is filled with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ..provision.simulate.observations import Observations

MINUTE = 60


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the check has submitted, and what a page says of it.

    `about` tells at the head of the page where it is from, `sources` what it is of, one by one. `during` is what its
    time is called where nothing has come. `interval` is the seconds of a bucket: each is one point of a graph. `hidden`
    are metrics that are not drawn, since another clock measured them than that of what was recorded. `is_judged` says
    whether the time is long enough for monitors and SLOs to be evaluated over it. Times plus `offset` are seconds since
    the epoch.
    """

    seen: Observations
    about: str = ""
    sources: tuple[str, ...] = ()
    during: str = "the time that was simulated"
    interval: int = MINUTE
    hidden: frozenset[str] = frozenset()
    is_judged: bool = True
    offset: int = 0

    @property
    def start(self) -> int:
        """When what was recorded begins, in seconds since the epoch."""
        return self.seen.start + self.offset

    @property
    def end(self) -> int:
        """When it ends."""
        return self.seen.end + self.offset


def clock_text(time: float) -> str:
    """The time of day in UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%H:%M")
