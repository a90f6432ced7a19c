"""From the lines of a body to samples: known lines go to their series at once, all others through the parsers.

What is broken is left out and counted. Formats: Prometheus text 0.0.4 and OpenMetrics text 1.0.0, as published by their
projects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TextIO, cast

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_fd_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_fd_to_metric_families as parse_text

from ...errors import PayloadError
from ...http.body import Malformed, excerpt
from ...submit.series import Series
from . import syntax
from .cache import EXCLUDED, NOWHERE, Cell, Declared, Family, LineCache, valid
from .syntax import METADATA, sound_line

MAX_MALFORMED = 100
"""A payload that starts with so many broken lines and not one sound sample is no exposition at all."""

MAX_BLOCK = 1 << 17
"""Characters that are parsed together. A family beyond arrives in several parts."""

SUFFIXES = {"summary": ("_count", "_sum", ""), "histogram": ("_count", "_sum", "_bucket")}
"""What the samples of a family may be called in the text format, beyond its name. Others: its name alone."""

NOTHING: dict[str, Cell] = {}


class KnownSeries(Protocol):
    """What takes the numbers of known lines. See `Collector`, which is the one."""

    lines: int
    samples: int
    cache: LineCache

    def context(self) -> object: ...

    def again(self, series: Series) -> None: ...

    def stamp(self, series: Series, timestamp: float) -> None: ...

    def declare(self, declared: Declared) -> None: ...

    def unclaim(self, family: str) -> None: ...


@dataclass(slots=True)
class Block:
    """Lines to be parsed together: the metadata of one family, and samples that its name begins, or of none.

    An `unlawful` one broke a rule of its format and was read more leniently: with other numbers beside them its lines
    may be read otherwise. `repeated` are numbers of lines that came again and are left out.
    """

    family: Family
    metadata: list[str]
    lines: list[str]
    unlawful: bool = False
    repeated: list[int] = field(default_factory=list)


class Reader:
    """Reads one payload. Broken lines are given to `malformed` and left out.

    `sound` says that there was a sample. `known` gets the numbers of the lines that its cache knows.
    """

    def __init__(self, known: KnownSeries, malformed: Malformed) -> None:
        self.sound = False
        self._known = known
        self._cache = known.cache
        self._malformed = malformed
        self._name = ""
        self._metadata: dict[str, str] = {}
        self._family: Family | None = None
        self._block: list[str] = []
        self._size = 0
        self._empty = False
        self._ready: Block | None = None

    def families(self, chunks: Iterable[list[str]]) -> Iterator[Metric]:
        """The families that had to be parsed, each to be used up before the next one is asked for.

        Raises PayloadError where nothing could be read, and what the chunks fail with.
        """
        self._cache.begin(self._context())
        for lines in chunks:
            yield from self._chunk(lines)
        self._over()
        self._close()
        yield from self._parse()
        self._finish()

    def _chunk(self, lines: list[str]) -> Iterator[Metric]:
        known, number_of = self._known, syntax.numbers.get
        cell_of = self._lines().get
        unknown = excluded = 0
        for line in lines:
            head, _, text = line.rpartition(" ")
            cell = cell_of(head)
            if cell is not None:
                number = number_of(text)
                if number is None:
                    number = syntax.number(text)
                if number is not None:
                    numbers, index, owner = cell
                    if numbers[index] is None:
                        numbers[index] = number
                    elif numbers is not NOWHERE:
                        if isinstance(owner, Series):
                            known.again(owner)
                    elif owner is None:
                        excluded += 1
                    elif owner:
                        known.unclaim(cast(str, owner))
                    continue
            unknown += 1
            while not self._line(line):
                yield from self._parse()
            cell_of = self._lines().get
        known.lines += len(lines)
        known.samples += len(lines) - unknown - excluded

    def _lines(self) -> dict[str, Cell]:
        """What can be looked up right now: nothing while lines before wait to be parsed."""
        return NOTHING if self._family is None or self._block else self._family.lines

    def _line(self, line: str) -> bool:
        """A line that is not known where it stands: metadata, the first of a family, one with a timestamp, or news.

        False if another block must be parsed before it, since that may have a say in how the line is read.
        """
        if self._family is not None and (found := self._find(self._family, line)) is not None:
            return self._store(*found)
        sound = self._sound(line)
        if sound is None:
            return True
        start = sound.lstrip()
        declared = METADATA.match(start) if start[:1] == "#" else None
        if declared is not None:
            return self._declare(sound, declared.group(1), declared.group(2) or "")
        if self._name and not start.startswith((self._name, "{")):
            if self._close():
                return False
            self._name, self._metadata = "", {}
        if self._family is None:
            family = self._family = self._cache.family_of(self._metadata.values())
            self._empty = False
            if family.besides is not None:
                self._known.declare(family.besides)
            if (found := self._find(family, sound)) is not None:
                return self._store(*found)
        if self._size >= MAX_BLOCK and self._may_cut(start) and self._close():
            return False
        self._block.append(sound)
        self._size += len(sound)
        return True

    def _declare(self, line: str, kind: str, name: str) -> bool:
        """A line of metadata. Of each kind the last one counts. False as in `_line`."""
        if name != self._name:
            if self._close():
                return False
            self._name, self._metadata = name, {}
        if self._metadata.get(kind) != line:
            if self._block and self._close():
                return False
            self._metadata = {**self._metadata, kind: line}
            self._family, self._empty = None, True
        return True

    def _close(self) -> bool:
        """Whether something of the family must be parsed: new lines, or its declaration where it has no line at all."""
        if self._block or self._empty:
            family = self._family or self._cache.family_of(self._metadata.values())
            if self._block or family.alone is None:
                self._ready = Block(family, list(self._metadata.values()), self._block)
            else:
                self._known.declare(family.alone)
        self._block, self._size = [], 0
        self._family, self._empty = None, False
        return self._ready is not None

    def _may_cut(self, line: str) -> bool:
        """Whether a long family can be cut before a line: not within a series of a histogram or summary."""
        before = self._block[-1].lstrip() if self._block else ""
        size = len(self._name)
        return not line.startswith(("_sum", "_count"), size) and not (
            line.startswith("_bucket", size) and before.startswith("_bucket", size)
        )

    def _find(self, family: Family, line: str) -> tuple[Cell, float, float | None] | None:
        """Where the number of a line goes, the number and its timestamp. None where the parser must be asked."""
        parts = syntax.split(line) if family.lines or family.older else None
        if parts is None:
            return None
        head, text, time = parts
        cell = family.lines.get(head)
        if cell is None:
            cell = family.older.pop(head, None)
            if cell is None or not valid(cell):
                return None
            family.lines[head] = cell
        number = syntax.number(text)
        timestamp = syntax.number(time) if time else None
        return None if number is None or (time and timestamp is None) else (cell, number, timestamp)

    def _store(self, cell: Cell, number: float, timestamp: float | None) -> bool:
        """Store the number of a known line. False as in `_line`: of two that say the same the first counts."""
        if self._block and self._close():
            return False
        self.sound = True
        known, (numbers, index, owner) = self._known, cell
        if owner is not None:
            known.samples += 1
        if isinstance(owner, Series):
            if numbers[index] is None:
                numbers[index] = number
            else:
                known.again(owner)
            if timestamp is not None:
                known.stamp(owner, self._seconds(timestamp))
        elif owner:
            known.unclaim(owner)
        return True

    def _parse(self) -> Iterator[Metric]:
        """The families of the block that is complete."""
        block, self._ready = self._ready, None
        if block is None:
            return
        metrics = self._metrics(block)
        heads = self._heads(metrics, block)
        end = 0
        for metric in metrics:
            start, end = end, end + len(metric.samples)
            self._cache.expect(block.family, heads[start:end], not block.lines, not block.unlawful)
            yield metric
            self._count_repetitions(number - start for number in block.repeated if start <= number < end)
            self._cache.commit(self._context())

    def _count_repetitions(self, numbers: Iterable[int]) -> None:
        """Of samples of the metric that has just been collected lines came again, as if these had been known."""
        for number in numbers:
            cell = self._cache.cell(number)
            if cell != EXCLUDED:
                self._known.samples += 1
            if cell is not None and isinstance(cell[2], Series):
                self._known.again(cell[2])

    def _heads(self, metrics: list[Metric], block: Block) -> list[str | None]:
        """The text of each sample's series, as far as it can be known again."""
        samples = sum(len(metric.samples) for metric in metrics)
        if not self._cache.enabled or block.unlawful or samples != len(block.lines):
            return [None] * samples
        return list(map(syntax.head, block.lines))

    def _context(self) -> object:
        """What decides, besides its metadata, how a line is read."""
        return type(self), self._known.context()

    # -- what differs between the formats

    def _sound(self, line: str) -> str | None:
        """What is to be parsed of a line, None where that is nothing."""
        raise NotImplementedError

    def _metrics(self, block: Block) -> list[Metric]:
        """The families of a block. Lines that the parser refuses are taken out of it."""
        raise NotImplementedError

    def _over(self) -> None:
        """There are no more lines. Raises PayloadError where there was no sample among them."""

    def _finish(self) -> None:
        """All is parsed. Raises PayloadError where nothing could be read."""

    @staticmethod
    def _seconds(timestamp: float) -> float:
        """A timestamp of the format in seconds."""
        raise NotImplementedError


class TextReader(Reader):
    """Reads a Prometheus text payload.

    Exemplars, which only OpenMetrics knows, are cut off: servers exist that mix the two. PayloadError is raised when
    so many, or all, of the lines at the start are broken.
    """

    def __init__(self, known: KnownSeries, malformed: Malformed) -> None:
        super().__init__(known, malformed)
        self._broken = 0
        self._last = ""

    def _sound(self, line: str) -> str | None:
        found = sound_line(line, self._reject)
        if found is not None and not self.sound and not found.lstrip().startswith("#"):
            self.sound = True
        return found

    def _metrics(self, block: Block) -> list[Metric]:
        return _sound_families(block, self._malformed)

    def _over(self) -> None:
        if self._broken and not self.sound:
            raise PayloadError(
                f"the first {self._broken} lines hold no metric, the last of them {excerpt(self._last)}: this is no "
                "metrics payload, check the URL"
            )

    def _reject(self, line: str, cut: bool) -> None:
        self._malformed(line, cut)
        self._broken += 1
        self._last = line
        if not self.sound and self._broken == MAX_MALFORMED:
            self._over()

    @staticmethod
    def _seconds(timestamp: float) -> float:
        return timestamp / 1000


class StrictReader(Reader):
    """Reads an OpenMetrics payload, each block on its own, so that a broken one costs only itself.

    The strict parser otherwise refuses a whole payload for one family. What it refuses is read as
    the text format, since much of that is sound and merely unlawful (a summary whose sum is
    negative, a counter declared with `_total`); `malformed` gets the lines that are neither. A
    payload of which nothing can be read raises PayloadError. Where nothing else tells that it is
    `whole`, one without `# EOF` has been cut off.
    """

    def __init__(self, known: KnownSeries, malformed: Malformed, whole: bool) -> None:
        super().__init__(known, malformed)
        self.whole = whole
        self._ended = self._warned = False
        self._complaint = ""

    def _sound(self, line: str) -> str | None:
        if line.startswith("# EOF"):
            # What comes behind it is complained about, known or not.
            self._ended, self._family = True, None
            return None
        start = line.lstrip()
        if not start or (start.startswith("#") and METADATA.match(start) is None):
            return None
        if self._ended and not self._warned:
            self._warned = True
            self._malformed("# EOF", False)
        # The parser would take some digits that are none, and what it refuses costs the whole block its strictness.
        return line if start.startswith("#") or sound_line(line, self._reject) is not None else None

    def _metrics(self, block: Block) -> list[Metric]:
        lines = block.lines
        try:
            self._leave_repetitions_out(block)
            text = [*(f"{line}\n" for line in (*block.metadata, *block.lines)), "# EOF\n"]
            metrics = list(parse_openmetrics(text))
            if sum(len(metric.samples) for metric in metrics) < len(block.lines):
                # It leaves a series that comes again, written otherwise, out in silence.
                raise ValueError("a series comes twice")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
            first = (block.metadata or block.lines)[0]
            self._complaint = self._complaint or f"{excerpt(first)} ({excerpt(str(error), 120)})"
            block.unlawful, block.repeated = True, []
            block.metadata, block.lines = (
                [found for line in each if (found := sound_line(line, self._malformed)) is not None]
                for each in (block.metadata, lines)
            )
            metrics = [_in_seconds(metric) for metric in _sound_families(block, self._malformed)]
        self.sound = self.sound or any(metric.samples for metric in metrics)
        return metrics

    def _leave_repetitions_out(self, block: Block) -> None:
        """The parser takes offence at some of them, and leaves others out in silence."""
        numbers: dict[object, int] = {}
        lines: list[str] = []
        for line in block.lines:
            parts = syntax.split(line)
            key = line if parts is None else (parts[0], parts[2])
            number = numbers.setdefault(key, len(lines))
            if number == len(lines):
                lines.append(line)
            else:
                block.repeated.append(number)
        block.lines = lines

    def _reject(self, line: str, cut: bool) -> None:
        self._malformed(line, cut)
        self._complaint = self._complaint or f"{excerpt(line)} (which is no sample)"

    def _over(self) -> None:
        if not self._ended and not self.whole:
            self._ended = True
            self._malformed("no # EOF at the end", True)

    def _finish(self) -> None:
        if self._complaint and not self.sound:
            raise PayloadError(
                f"the payload is declared OpenMetrics but is not, from {self._complaint}: check the URL, or have the "
                "server declare the format that it speaks"
            )

    @staticmethod
    def _seconds(timestamp: float) -> float:
        return timestamp


def _sound_families(block: Block, malformed: Malformed) -> list[Metric]:
    """The families of lines of the text format."""
    try:
        return families(block.metadata, block.lines)
    except (ValueError, IndexError):
        block.metadata = [line for line in block.metadata if _parsable(line, malformed)]
        block.lines = [line for line in block.lines if _parsable(line, malformed)]
        return parsed([*block.metadata, *block.lines])


def families(metadata: list[str], lines: list[str]) -> list[Metric]:
    """As `parsed`, for the metadata of one family and samples, but lines as most are need no parser."""
    found = [syntax.sample(line) for line in lines]
    samples = [each[1] for each in found if each is not None]
    declared = parsed(metadata)
    raw = METADATA.match(metadata[0].lstrip()) if metadata else None
    name = (raw.group(2) or "") if raw is not None else ""
    if len(samples) < len(lines) or len(declared) > 1 or name.startswith('"'):
        return parsed([*metadata, *lines])
    own = 0
    if declared:
        (metric,) = declared
        allowed = {name + suffix for suffix in SUFFIXES.get(metric.type, ("",))}
        own = next((number for number, sample in enumerate(samples) if sample.name not in allowed), len(samples))
        renamed = metric.type == "counter" and not name.endswith("_total")
        metric.samples = [sample._replace(name=f"{name}_total") if renamed else sample for sample in samples[:own]]
    # The parser takes what a family does not own, and all that follows, for families of one sample each.
    for sample in samples[own:]:
        metric = Metric(sample.name, "", "untyped")
        metric.samples = [sample]
        declared.append(metric)
    return declared


def parsed(lines: list[str]) -> list[Metric]:
    """The families of lines of the text format. Raises ValueError or IndexError for a broken one."""
    # The parser only iterates, though it is declared to want a file.
    return list(parse_text(cast(TextIO, lines)))


def _parsable(line: str, malformed: Malformed) -> bool:
    """Whether the parser takes a line that looks sound, which it refuses for a label named twice, among others."""
    try:
        parsed([line])
    except (ValueError, IndexError):
        malformed(line, False)
        return False
    return True


def _in_seconds(family: Metric) -> Metric:
    """The text format's timestamps are milliseconds, and its parser divided what were seconds already."""
    family.samples = [
        sample if sample.timestamp is None else sample._replace(timestamp=float(sample.timestamp) * 1000)
        for sample in family.samples
    ]
    return family
