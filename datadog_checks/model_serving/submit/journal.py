"""Readings of counters and histograms in the Agent's cache, from which the process after a restart goes on.

The readings of a scrape are written before anything that follows from them is submitted. So a crash at any moment loses
at most what one scrape would have submitted, and nothing is counted twice.

A file is a line with a version and a checksum, then sections. A section begins with a line `@start time`: when the
process behind the readings had started (`-` where that is not known) and when they were taken, both in epoch seconds.
Each line of it is the digest of a series and its reading, see `written`.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from math import inf
from operator import sub
from typing import NamedTuple
from zlib import crc32

from .agent_cache import AgentCache
from .series import Past, Reading, Series

CACHE_KEY = "readings"
VERSION = "1"

ACCUMULATING = frozenset(("counter", "histogram", "summary"))
"""Types of raw metrics whose readings are running totals."""

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
    start: float | None = None


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
        self._remembered: dict[str, list[Remembered]] | None = None
        # Of series that wait: what this process would have begun with, and the starts of those that are remembered.
        self._first: dict[Series, tuple[Past, set[float | None]]] = {}
        self._frame: Sequence[Series] = ()
        self._order: list[Series] = []
        self._notes: dict[Series, Note] = {}
        self._fitting = 0
        # Of series that are not in the payload now.
        self._absent: dict[str, list[Remembered]] = {}
        self._starts: Mapping[str, float] = {}
        self._rearranged = False
        self._time = -inf
        self._newest = -inf

    def recall(self, frame: Iterable[Series], now: float) -> list[tuple[str, list[float], float]]:
        """Give series without a past that of the process before.

        Returns, by target, the starts of the processes that had answered, the last of them first, and when that was.
        """
        self._scrapes += 1
        remembered = self._load()
        if remembered and now - self._newest > MAX_AGE:
            remembered.clear()
        if not remembered:
            return []
        found: dict[str, tuple[list[float], float]] = {}
        for series in frame:
            if series.last is not None or series.raw.type not in ACCUMULATING:
                continue
            olds = [old for old in remembered.pop(self._note(series).digest, ()) if _current(old, now)]
            if not olds:
                continue
            pasts = [Past(read(old.text, series.current.bounds), old.start) for old in olds]
            self._first[series] = Past(series.current), {past.start for past in pasts}
            series.past = pasts[0]
            series.others = {past.start: past for past in pasts[1:] if past.start is not None} or None
            starts = [past.start for past in pasts if past.start is not None]
            if starts and (series.group not in found or olds[0].time > found[series.group][1]):
                found[series.group] = starts, olds[0].time
        return [(target, starts, at) for target, (starts, at) in found.items()]

    def begin(self, frame: Sequence[Series], starts: Mapping[str, float], now: float) -> None:
        """Write the readings of a complete scrape at `now`, in epoch seconds, before anything of it is submitted.

        `starts` is when the process that answered for each target had started, where that is told.
        """
        for series, (first, _) in self._first.items():
            if first.start is None:
                first.start = _start(series, starts)
        if self._limit() <= 0:
            self.waiting = False
        elif self._cache.lasting:
            if not self._cache.usable or not self._write(frame, starts, now):
                self._give_up()
            self.waiting = False
        elif self._scrapes > 1 and not self._cache.short:
            # The Agent would not run the check again so soon.
            self.waiting = False
        if not self.waiting:
            self._first.clear()

    def holds(self, series: Series, start: float | None, began: bool) -> bool:
        """Whether nothing of this scrape may be submitted of a series yet.

        `start` is when the process that answered had started, and `began` that it did so after what is remembered.
        """
        if not self.waiting or series not in self._first:
            return False
        remembered = self._first[series][1]
        return began or start is None or start in remembered or None in remembered

    def _load(self) -> dict[str, list[Remembered]]:
        if self._remembered is None:
            text = self._cache.read(self._key) if self._limit() > 0 else ""
            try:
                self._remembered = _sections(text)
            except ValueError as error:
                self._cache.broken(self._key, error)
                self._remembered = {}
            self._newest = max((old.time for olds in self._remembered.values() for old in olds), default=-inf)
        return self._remembered

    def _give_up(self) -> None:
        """What can't be written now may be remembered once more by the process to come: so it must not count here."""
        self._remembered = {}
        for series, (first, remembered) in self._first.items():
            own = {past.start: past for past in (series.past, *(series.others or {}).values())}
            # A process that has not been met since is met for the first time, but has not begun since.
            own |= {start: Past(start=start, older=True) for start in remembered}
            if first.start in remembered or first.start not in own:
                own[first.start] = first
            series.past = own.pop(first.start)
            series.others = {start: past for start, past in own.items() if start is not None} or None

    def _write(self, frame: Sequence[Series], starts: Mapping[str, float], now: float) -> bool:
        if frame != self._frame:
            self._arrange(frame, now)
        changed = self._rearranged or starts != self._starts
        room, fitting, notes = self._limit() - HEAD_BYTES, 0, self._notes
        sections: dict[tuple[float | None, float], list[str]] = {}

        def fits(start: float | None, time: float, line: str) -> bool:
            nonlocal room
            lines = sections.get((start, time))
            room -= len(line) + (SECTION_BYTES if lines is None else 0)
            if room < 0:
                return False
            if lines is None:
                lines = sections[start, time] = []
            lines.append(line)
            return True

        for series in self._order:
            note, reading = notes.get(series), series.current
            if note is None or note.reading != reading:
                note = self._note(series)
                note.reading, note.line = reading, f"{note.digest} {written(reading)}\n"
                changed = True
            note.start = start = _start(series, starts)
            fit = fits(start, now, note.line)
            for past in _others(series, start):
                # Processes that answer in turn.
                if past.last is not None and past.last.bounds == reading.bounds:
                    fit = fit and fits(past.start, now, f"{note.digest} {written(past.last)}\n")
            if not fit:
                self._cache.say_once(
                    f"only {fitting} of {len(self._order)} counters and histograms fit into `restart_memory_bytes` "
                    f"({self._limit()}): of the others, what comes around a restart of the Agent is not counted"
                )
                break
            fitting += 1
        self._fitting = fitting
        if not changed and now - self._time < REFRESH:
            return True
        for digest, olds in self._absent.items():
            for old in olds:
                if room > 0 and _current(old, now):
                    fits(old.start, old.time, f"{digest} {old.text}\n")
        if not sections and self._time == -inf:
            return True
        self._rearranged = not self._cache.write(self._key, _file(sections))
        if not self._rearranged:
            self._starts, self._time = dict(starts), now
        return not self._rearranged

    def _arrange(self, frame: Sequence[Series], now: float) -> None:
        """Take over the series of another payload, in an order that is the same in each process."""
        counting = dict.fromkeys(series for series in frame if series.raw.type in ACCUMULATING)
        absent = {**self._load(), **self._absent}
        for series in self._order[: self._fitting]:
            if series not in counting:
                note = self._notes[series]
                absent[note.digest] = [Remembered(note.start, self._time, note.line.rstrip().partition(" ")[2])]
        if absent:
            for series in counting:
                absent.pop(self._note(series).digest, None)
        self._absent = {digest: olds for digest, olds in absent.items() if _current(olds[0], now)}
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


def _start(series: Series, starts: Mapping[str, float]) -> float | None:
    """When the process had started that has counted what a series shows now."""
    return starts.get(series.group, series.past.start) if series.starts_at_zero else None


def _others(series: Series, start: float | None) -> Iterator[Past]:
    """What other processes have counted in a series that may answer again."""
    if series.others is not None:
        yield from (past for past in (series.past, *series.others.values()) if past.start not in (None, start))


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


def _sections(text: str) -> dict[str, list[Remembered]]:
    """The readings of a file by digest; none where another version of the check wrote it. Raises ValueError."""
    head, _, body = text.partition("\n")
    version, _, checksum = head.partition(" ")
    if not text or (version.isdigit() and version != VERSION):
        return {}
    if checksum != f"{crc32(body.encode('utf-8', 'surrogatepass')):08x}":
        raise ValueError("its checksum is wrong")
    found: dict[str, list[Remembered]] = {}
    start, time = None, 0.0
    for line in body.splitlines():
        name, _, said = line.partition(" ")
        if name.startswith("@"):
            start, time = _float(name[1:]), float(said)
        else:
            found.setdefault(name, []).append(Remembered(start, time, said))
    return found
