"""What the check remembers of one raw series, and how two successive readings become increments."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite

from ..catalog.model import RawMetric, Target


@dataclass(slots=True)
class Output:
    """One target of a series, resolved: what it is called and tagged in Datadog."""

    name: str
    target: Target
    tags: tuple[str, ...]
    scale: float


@dataclass(slots=True)
class Reading:
    """One observation of a series. Plain metrics use `value`; histograms and summaries the rest."""

    value: float = 0.0
    count: float | None = None
    sum: float | None = None
    buckets: dict[float, float] = field(default_factory=dict)

    def settle(self) -> None:
        """Fill in what a grouped metric left out: the +Inf bucket and the count are the same number."""
        if self.buckets:
            if self.count is not None:
                self.buckets.setdefault(inf, self.count)
            elif inf in self.buckets:
                self.count = self.buckets[inf]


@dataclass(slots=True)
class Increment:
    """Difference of two readings; None or an absent bound where it can't be known."""

    value: float | None = None
    count: float | None = None
    sum: float | None = None
    buckets: dict[float, float] = field(default_factory=dict)


@dataclass(slots=True)
class Series:
    """A raw series: its outputs, its previous reading, and the one that is being collected.

    `seen` is the number of the scrape that `current` belongs to; `group` the target it came from
    behind a federation, empty otherwise; `starts_at_zero` is the system's own.
    """

    raw: RawMetric
    outputs: tuple[Output, ...]
    hostname: str
    group: str
    key: str
    starts_at_zero: bool = True
    current: Reading = field(default_factory=Reading)
    timestamp: float | None = None
    seen: int = -1
    last: Reading | None = None
    minute: int | None = None

    def increment(self, from_zero: bool, restarted: bool | None) -> Increment:
        """What has come since the previous reading, which `current` then replaces.

        Without a previous reading it is everything when `from_zero`, else unknown. `restarted` says
        whether the process behind the series is another one (None: can't be told). After a fall the
        new reading counts in full, unless the process is known to be the same: then a part of its
        counts has vanished (a worker that died), and what has come since can't be known.
        """
        last, current = self.last, self.current
        self.last = current
        if last is None:
            return _whole(current) if from_zero else Increment()
        fell = (
            current.value < last.value
            or _less(current.count, last.count)
            or (current.count is None and _less(current.sum, last.sum))
            or any(count < last.buckets.get(bound, -inf) for bound, count in current.buckets.items())
        )
        if restarted or fell:
            return Increment() if fell and restarted is False else _whole(current)
        return Increment(
            value=current.value - last.value,
            count=_difference(current.count, last.count),
            sum=_difference(current.sum, last.sum),
            # After a change of the bucket layout nothing is known of the new bounds.
            buckets=(
                {bound: count - last.buckets[bound] for bound, count in current.buckets.items()}
                if current.buckets.keys() == last.buckets.keys()
                else {}
            ),
        )

    def new_minute(self, now: float) -> bool:
        """Whether the per-minute totals in `current` are of a minute that was not counted yet.

        A timestamp names the minute. Without one, the first scrape in each minute of the clock
        counts: each published minute stands for 60 s, so one look per 60 s meets it once on average,
        whatever the unknown time between the minute and its publication.
        """
        minute = int((self.timestamp if self.timestamp is not None else now) // 60)
        if self.minute is not None and (minute <= self.minute if self.timestamp is not None else minute == self.minute):
            return False
        self.minute = minute
        return True


def whole_window(reading: Reading) -> Increment:
    """A per-minute reading taken as the increment that it is."""
    return _whole(reading)


def _whole(reading: Reading) -> Increment:
    return Increment(reading.value, reading.count, reading.sum, dict(reading.buckets))


def _less(current: float | None, last: float | None) -> bool:
    return current is not None and last is not None and current < last


def _difference(current: float | None, last: float | None) -> float | None:
    return None if current is None or last is None else current - last


def finite(reading: Reading) -> bool:
    """Whether every number of a reading is one."""
    numbers = (reading.value, reading.count or 0.0, reading.sum or 0.0, *reading.buckets.values())
    return all(isfinite(number) for number in numbers)
