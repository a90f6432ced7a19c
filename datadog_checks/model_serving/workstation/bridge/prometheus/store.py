"""What senders of remote write have said last, series by series, within limits."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .payload import STRUCTURE, Payload, series_text
from .wire import WrittenSeries

FUTURE = 600.0
"""Seconds by which a sample may be ahead of the clock, as in Prometheus."""

WAITING = 16
"""Samples of a series that may wait for their time to be shown. With more the oldest of them is shown before."""

MAX_TYPES = 20_000

AVERAGE_TEXT = 1024
"""Characters of a series' name and labels, on average over as many as there may be."""

REASONS = {
    "out_of_order": "older than one before it of the same series: two senders may write the same series, as a "
    "pair of Prometheus servers whose label for the replica is dropped",
    "duplicate": "of the time of another one of the same series, with another value",
    "too_old": "older than `max_age`: the sender lags, or one of the clocks is wrong",
    "future": "more than 10 minutes ahead: one of the clocks is wrong",
    "limit": "of series beyond `max_series`: raise it, or send less with `write_relabel_configs`",
}
"""Why samples are refused, in words that follow their number."""

NO_TYPES: dict[str, str] = {}
Said = tuple[int, str | None]
"""When a sample was taken, in milliseconds since 1970, and its value as text; None at the end of the series."""


@dataclass(slots=True)
class StoredSeries:
    """One series: what is shown of it, and what waits until it is."""

    name: str
    shown: Said | None = None
    waiting: deque[Said] = field(default_factory=deque)

    @property
    def newest(self) -> Said | None:
        return self.waiting[-1] if self.waiting else self.shown

    def advance(self, until: int) -> None:
        """Show the newest sample of this time or before."""
        while self.waiting and self.waiting[0][0] <= until:
            self.shown = self.waiting.popleft()


class SeriesStore:
    """Series with their last samples. All times are in seconds; `clock` gives those since 1970.

    A sample is shown once it is `delay` old: until then the rest of its scrape, which may come with other requests,
    is on its way. It is shown until it is `max_age` older than that, unless its series has ended before. Of more than
    `max_series`, or with far more text than these have, the later ones are refused. May be used by several threads.
    """

    def __init__(self, delay: float, max_age: float, max_series: int, clock: Callable[[], float]) -> None:
        self._delay, self._max_age, self._max_series = delay, max_age, max_series
        self.clock = clock
        self._lock = threading.Lock()
        self._series: dict[str, StoredSeries] = {}
        self._characters = 0
        self._types: dict[str, str] = {}
        self._accepted = 0
        self._refused: Counter[str] = Counter()
        self._late = False

    def __len__(self) -> int:
        return len(self._series)

    def write(self, written: Iterable[WrittenSeries], types: dict[str, str] = NO_TYPES) -> Counter[str]:
        """Take what a request says. Returns how many of its samples were refused, by reason; the others are taken."""
        refused: Counter[str] = Counter()
        now = self.clock()
        oldest, latest = round((now - self._max_age - self._delay) * 1000), round((now + FUTURE) * 1000)
        due = (now - self._delay) * 1000
        texts = [(series_text(each.labels), each) for each in written]
        with self._lock:
            for text, each in texts:
                said: list[Said] = [
                    *((at, None if value is None else repr(value)) for at, value in each.samples),
                    *((at, STRUCTURE) for at in each.structures),
                ]
                stored = self._series.get(text)
                if stored is None and not self._room_for(text):
                    # A marker of what was never taken ends nothing.
                    refused["limit"] += sum(value is not None for _, value in said)
                    continue
                for sample in said:
                    if sample[0] < oldest:
                        refused["too_old"] += sample[1] is not None
                    elif sample[0] > latest:
                        refused["future"] += 1
                    else:
                        if stored is None:
                            stored = self._series[text] = StoredSeries(each.labels["__name__"])
                            self._characters += len(text)
                        reason = _append(stored, sample)
                        if reason:
                            refused[reason] += 1
                        else:
                            self._accepted += 1
                            self._late = self._late or sample[0] < due
            for family, kind in types.items():
                if family in self._types or len(self._types) < MAX_TYPES:
                    self._types[family] = kind
            refused = +refused
            self._refused += refused
        return refused

    def _room_for(self, text: str) -> bool:
        longest = self._max_series * AVERAGE_TEXT
        return len(self._series) < self._max_series and self._characters + len(text) <= longest

    def payload(self) -> Payload:
        """What is shown now. What is too old, or has ended that long ago, is forgotten."""
        now = self.clock()
        until, oldest = round((now - self._delay) * 1000), round((now - self._delay - self._max_age) * 1000)
        with self._lock:
            payload = Payload(self._types)
            # What was taken at the same time as a sample that has come late may come later still.
            payload.doubtful, self._late = self._late, False
            gone = []
            for text, stored in self._series.items():
                stored.advance(until)
                shown = stored.shown
                if shown is not None and shown[0] < oldest:
                    stored.shown = shown = None
                    if not stored.waiting:
                        gone.append(text)
                if shown is not None and shown[1] is not None:
                    payload.add(stored.name, text, shown[1], shown[0])
            for text in gone:
                del self._series[text]
                self._characters -= len(text)
        return payload

    def taken(self) -> tuple[int, Counter[str]]:
        """How many samples were accepted, and how many refused by reason, since the last call."""
        with self._lock:
            found = self._accepted, self._refused
            self._accepted, self._refused = 0, Counter()
        return found


def _append(stored: StoredSeries, sample: Said) -> str:
    """Add a sample behind the others of its series. Returns why it is refused, empty where it isn't."""
    newest = stored.newest
    if newest is not None and sample[0] <= newest[0]:
        if sample == stored.shown or sample in stored.waiting:
            # What a sender repeats whose answer was lost.
            return ""
        return "duplicate" if sample[0] == newest[0] else "out_of_order"
    if len(stored.waiting) >= WAITING:
        stored.shown = stored.waiting.popleft()
    stored.waiting.append(sample)
    return ""
