"""Readings of counters and histograms in the Agent's cache, from which the process after a restart goes on.

The readings of a scrape are written before anything that follows from them is submitted. So a crash at any moment loses
at most what one scrape would have submitted, and nothing is counted twice.

A file is a line with a version and a checksum, then sections. A section begins with a line `@start time`: when the
process behind the readings had started (`-` where that is not known) and when they were taken, both in epoch seconds.
Each line of it is the digest of a series and its reading, see `written`.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from math import inf
from operator import sub
from typing import NamedTuple
from zlib import crc32

from .agent_cache import AgentCache
from .series import Reading, Series

CACHE_KEY = "readings"
VERSION = "1"

ACCUMULATING = frozenset(("counter", "histogram", "summary"))
"""Types of raw metrics of which it is the difference between two readings that counts."""

MAX_AGE = 3600.0
"""Seconds after which a reading is not used any more: a counter may have been reset and have risen beyond it."""

CLOCK_SLACK = 60.0
"""Seconds by which a reading may come from the future, where a clock was put right."""

REFRESH = 900.0
"""Seconds after which readings are written again although none has changed, so that they don't count as old."""

EXACT = 2.0**52
"""Whole numbers below are told exactly by floats, and so are their differences."""

HEAD_BYTES = 16
SECTION_BYTES = 48


class Remembered(NamedTuple):
    """The reading of a series as it was written, with the times of its section."""

    start: float | None
    time: float
    text: str


@dataclass(slots=True)
class Note:
    """What is written of a series: `line` says `reading`, `digest` names the series and the bounds of its buckets."""

    digest: str
    bounds: tuple[float, ...]
    reading: Reading | None = None
    line: str = ""


class Journal:
    """The readings of one endpoint. `prefix` tells it from others of its check, `limit` gives the bytes it may use.

    Until the check has run for long enough to write (`AgentCache.lasting`), what follows from a remembered reading is
    not submitted either, as the next process would go on from the same reading: this is what `waiting` says, and those
    series get their increment with the first scrape that is written. A trial run, which sends nothing, need not wait.
    """

    def __init__(self, cache: AgentCache, prefix: str, limit: Callable[[], int]) -> None:
        self.waiting = True
        self._cache = cache
        self._prefix = prefix
        self._limit = limit
        self._key = f"{CACHE_KEY}_{_digest(prefix)}" if prefix else CACHE_KEY
        self._scrapes = 0
        # Of the process before, as long as their series have not been met; None before they are read.
        self._remembered: dict[str, Remembered] | None = None
        # The first readings of this process, of series that wait.
        self._first: dict[Series, Reading] = {}
        self._frame: Sequence[Series] = ()
        self._order: list[Series] = []
        self._notes: dict[Series, Note] = {}
        self._fitting = 0
        # Of series that are not in the payload now.
        self._absent: dict[str, Remembered] = {}
        self._starts: Mapping[str, float] = {}
        self._rearranged = False
        self._time = -inf

    def begin(self, frame: Sequence[Series], process_start: Mapping[str, float], now: float) -> None:
        """Write the readings of a complete scrape at `now`, in epoch seconds, before anything of it is submitted.

        `process_start` is when the process behind each target started, where that is known.
        """
        self._scrapes += 1
        if self._limit() <= 0:
            self.waiting = False
        elif self._cache.lasting:
            if not self._cache.usable or not self._write(frame, process_start, now):
                self._give_up()
            self.waiting = False
            self._first.clear()
        elif self._scrapes > 1 and not self._cache.short:
            # The Agent would not run the check again so soon.
            self.waiting = False

    def holds(self, series: Series, now: float) -> bool:
        """Give a series without a past the reading that is remembered of it.

        True where nothing of this scrape may be submitted of it yet.
        """
        if series.last is None:
            found = self._recall(series, now)
            if found is not None:
                series.last, series.start = found
                if self.waiting:
                    self._first[series] = series.current
        return self.waiting and series in self._first

    def _recall(self, series: Series, now: float) -> tuple[Reading, float | None] | None:
        remembered = self._load()
        if not remembered:
            return None
        found = remembered.pop(self._note(series).digest, None)
        if found is None or not _current(found, now):
            return None
        return read(found.text, series.current.bounds), found.start

    def _load(self) -> dict[str, Remembered]:
        if self._remembered is None:
            text = self._cache.read(self._key) if self._limit() > 0 else ""
            try:
                self._remembered = _sections(text)
            except ValueError as error:
                self._cache.broken(self._key, error)
                self._remembered = {}
        return self._remembered

    def _give_up(self) -> None:
        """What can't be written now may be remembered once more by the process to come: so it must not count here."""
        self._remembered = {}
        for series, first in self._first.items():
            series.last, series.start = first, None

    def _write(self, frame: Sequence[Series], process_start: Mapping[str, float], now: float) -> bool:
        if frame != self._frame:
            self._arrange(frame)
        changed = self._rearranged or process_start != self._starts
        room, fitting, notes = self._limit() - HEAD_BYTES, 0, self._notes
        sections: dict[tuple[float | None, float], list[str]] = {}
        for series in self._order:
            note, reading = notes.get(series), series.current
            if note is None or note.reading != reading:
                note = self._note(series)
                note.reading, note.line = reading, f"{note.digest} {written(reading)}\n"
                changed = True
            start = _start(series, process_start)
            lines = sections.get((start, now))
            room -= len(note.line) + (SECTION_BYTES if lines is None else 0)
            if room < 0:
                self._cache.say_once(
                    f"only {fitting} of {len(self._order)} counters and histograms fit into `restart_memory_bytes` "
                    f"({self._limit()}): of the others, what comes around a restart of the Agent is not counted"
                )
                break
            if lines is None:
                lines = sections[start, now] = []
            lines.append(note.line)
            fitting += 1
        self._fitting = fitting
        if not changed and now - self._time < REFRESH:
            return True
        for digest, old in self._absent.items():
            lines = sections.setdefault((old.start, old.time), [])
            room -= len(digest) + len(old.text) + 2 + (0 if lines else SECTION_BYTES)
            if room >= 0 and _current(old, now):
                lines.append(f"{digest} {old.text}\n")
        if not sections and self._time == -inf:
            return True
        self._rearranged = not self._cache.write(self._key, _file(sections))
        if not self._rearranged:
            self._starts, self._time = dict(process_start), now
        return not self._rearranged

    def _arrange(self, frame: Sequence[Series]) -> None:
        """Take over the series of another payload, in an order that is the same in each process."""
        counting = dict.fromkeys(series for series in frame if series.raw.type in ACCUMULATING)
        absent = {**self._load(), **self._absent}
        for series in self._order[: self._fitting]:
            if series not in counting:
                digest, _, text = self._notes[series].line.rstrip().partition(" ")
                absent[digest] = Remembered(_start(series, self._starts), self._time, text)
        if absent:
            for series in counting:
                absent.pop(self._note(series).digest, None)
        self._absent = absent
        self._notes = {series: note for series, note in self._notes.items() if series in counting}
        # Most series for the bytes: counters come first.
        self._order = sorted(counting, key=lambda series: (series.raw.grouped, series.key))
        self._frame = list(frame)
        self._rearranged = True

    def _note(self, series: Series) -> Note:
        """What is written of a series, under the digest that it has with the buckets of this scrape."""
        note, bounds = self._notes.get(series), series.current.bounds
        if note is None or note.bounds != bounds:
            digest = _digest(f"{self._prefix}\n{series.group}\n{series.key}\n{bounds}")
            note = self._notes[series] = Note(digest, bounds)
        return note


def written(reading: Reading) -> str:
    """A reading as text: its value, or count, sum and what each bucket holds, `-` for what there is not.

    Where such differences would not add up to the very same counts, `=` and the cumulative counts themselves.
    """
    if reading.count is None and reading.sum is None and not reading.bounds:
        return _number(reading.value)
    text = f"{_number(reading.count)} {_number(reading.sum)}"
    counts = list(reading.counts)
    if not counts:
        return text
    buckets = [counts[0], *map(sub, counts[1:], counts)]
    exact = all(map(float.is_integer, counts)) and max(counts) < EXACT > -min(counts)
    shown = buckets if exact else counts
    # 17 digits tell any float exactly, and whole numbers without a fraction.
    return f"{text} {'' if exact else '='}{',%.17g' * len(shown) % tuple(shown)}"


def read(text: str, bounds: tuple[float, ...]) -> Reading:
    """The reading that `written` made a text of. Raises ValueError for another text."""
    count, *more = text.split(" ")
    if not more:
        return Reading(float(count))
    total, *buckets = more
    counts: list[float] = []
    if buckets:
        equals, _, numbers = buckets[0].partition(",")
        counts = [float(number) for number in numbers.split(",")]
        counts = counts if equals else list(accumulate(counts))
    if len(counts) != len(bounds):
        raise ValueError("other buckets than its series")
    return Reading(0.0, _float(count), _float(total), bounds, counts)


def _number(value: float | None) -> str:
    return "-" if value is None else repr(value).removesuffix(".0")


def _float(text: str) -> float | None:
    return None if text == "-" else float(text)


def _start(series: Series, process_start: Mapping[str, float]) -> float | None:
    """As `Series.increment` will know it."""
    return process_start.get(series.group, series.start) if series.starts_at_zero else None


def _current(old: Remembered, now: float) -> bool:
    return -CLOCK_SLACK <= now - old.time <= MAX_AGE


def _digest(text: str) -> str:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def _file(sections: Mapping[tuple[float | None, float], Iterable[str]]) -> str:
    body = "".join(
        f"@{'-' if start is None else repr(start)} {time!r}\n{''.join(lines)}"
        for (start, time), lines in sections.items()
        if lines
    )
    return f"{VERSION} {crc32(body.encode()):08x}\n{body}"


def _sections(text: str) -> dict[str, Remembered]:
    """The readings of a file by digest; none where another version of the check wrote it. Raises ValueError."""
    head, _, body = text.partition("\n")
    version, _, checksum = head.partition(" ")
    if not text or (version.isdigit() and version != VERSION):
        return {}
    if checksum != f"{crc32(body.encode('utf-8', 'surrogatepass')):08x}":
        raise ValueError("its checksum is wrong")
    found: dict[str, Remembered] = {}
    start, time = None, 0.0
    for line in body.splitlines():
        name, _, said = line.partition(" ")
        if name.startswith("@"):
            start, time = _float(name[1:]), float(said)
        else:
            found[name] = Remembered(start, time, said)
    return found
