"""From the lines of a body to families of samples; the numbers of known lines go to their series at once.

What is broken is left out and counted. A line is read by itself and by its family's name and type, never by the numbers
around it: a family that breaks a rule of its format, such as a histogram without `+Inf`, is read as it is. Formats:
Prometheus text 0.0.4 and OpenMetrics text 1.0.0, as published by their projects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

from prometheus_client import Metric
from prometheus_client.samples import Sample

from ...errors import PayloadError
from ...http.body import Malformed, excerpt
from ...submit.series import Series
from . import syntax
from .cache import NOWHERE, Cell, Declared, Family, LineCache, valid

MAX_MALFORMED = 100
"""A payload that starts with so many broken lines and not one sound sample is no exposition at all."""

MAX_BLOCK = 1 << 17
"""Characters that are collected together. A family beyond arrives in several parts."""

BLANKS = " \t"
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
    """New samples of a family, or of none, to be collected together, and their lines, as far as to be known again.

    `sizes` are how much of each line that is, 0 for none. Without samples it is a declaration that none follows.
    """

    family: Family
    name: str
    kind: str
    samples: list[Sample]
    lines: list[str]
    sizes: list[int]

    def heads(self) -> list[str | None]:
        """The texts by which the lines are known again. Made together, so that they lie together in memory."""
        return [line[:size] or None for line, size in zip(self.lines, self.sizes, strict=True)]


@dataclass(frozen=True, slots=True)
class LabelLimits:
    """How many labels a sample may have, and how many characters the value of one. 0 is no limit."""

    labels: int = 0
    value: int = 0

    def hold(self, sample: Sample) -> None:
        """Raise PayloadError for a sample beyond a limit."""
        labels = sample.labels
        if self.labels and len(labels) > self.labels:
            raise PayloadError(
                f"a sample of {excerpt(sample.name)} has {len(labels)} labels, more than `label_limit` "
                f"({self.labels}): raise the option, or have the endpoint expose less"
            )
        if self.value and labels and len(max(labels.values(), key=len)) > self.value:
            label = max(labels, key=lambda name: len(labels[name]))
            raise PayloadError(
                f"a sample of {excerpt(sample.name)} has a label {excerpt(label)} of {len(labels[label])} characters, "
                f"more than `label_value_length_limit` ({self.value}): raise the option, or have the endpoint expose "
                "less"
            )


NO_LIMITS = LabelLimits()


class Reader:
    """Reads one payload. Broken lines are given to `malformed` and left out.

    `known` gets the numbers of the lines that its cache knows; new lines keep to `limits`. A subclass is a format:
    `PER_SECOND` is the unit of its timestamps, `SUFFIXES` say what the samples of a family may be called beyond its
    name (others: its name alone), `MARKS_END` that `# EOF` is the end, and `FOREIGN` is what is wrong with a payload of
    which nothing can be read.
    """

    PER_SECOND: ClassVar[int]
    SUFFIXES: ClassVar[dict[str, tuple[str, ...]]]
    MARKS_END: ClassVar[bool]
    FOREIGN: ClassVar[str]

    def __init__(
        self,
        known: KnownSeries,
        malformed: Malformed,
        whole: bool = True,
        limits: LabelLimits = NO_LIMITS,
    ) -> None:
        self._known = known
        self._limits = limits
        self._cache = known.cache
        self._malformed = malformed
        self._whole = whole
        self._sound = self._ended = self._warned = False
        self._broken, self._last = 0, ""
        self._name = self._kind = ""
        self._family: Family | None = None
        self._samples: list[Sample] = []
        self._lines: list[str] = []
        self._sizes: list[int] = []
        self._size = 0
        self._declared = False
        self._ready: Block | None = None

    def families(self, chunks: Iterable[list[str]]) -> Iterator[Metric]:
        """The families that have new lines, each to be used up before the next one is asked for.

        A payload that marks its end, and lacks it where nothing else tells that it is `whole`, has been cut off. Raises
        PayloadError where nothing could be read, and what the chunks fail with.
        """
        self._cache.begin(self._context())
        for lines in chunks:
            yield from self._chunk(lines)
        if self.MARKS_END and not self._ended and not self._whole:
            self._malformed("no # EOF at the end", True)
        self._refuse_foreign()
        self._close()
        yield from self._collected()

    def _chunk(self, lines: list[str]) -> Iterator[Metric]:
        known, number_of = self._known, syntax.numbers.get
        cell_of = self._known_lines().get
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
                yield from self._collected()
            cell_of = self._known_lines().get
        known.lines += len(lines)
        known.samples += len(lines) - unknown - excluded

    def _known_lines(self) -> dict[str, Cell]:
        """What can be looked up right now: nothing while lines before wait to be collected."""
        return NOTHING if self._family is None or self._samples else self._family.lines

    def _line(self, line: str) -> bool:
        """A line that is not known where it stands: metadata, the first of a family, one with a timestamp, or news.

        False if another block must be collected before it, since that may have a say in what becomes of the line.
        """
        if self._family is not None and (found := self._find(self._family, line)) is not None:
            return self._store(*found)
        start = line.lstrip(BLANKS)
        if not start:
            return True
        if start[0] == "#":
            return self._comment(start)
        if self._ended and not self._warned:
            self._warned = True
            self._malformed("# EOF", False)
        if self._family is None and (found := self._find(self._here(), line)) is not None:
            return self._store(*found)
        read = syntax.sample(line, self.PER_SECOND)
        if read is None:
            return self._refuse(line)
        size, sample = read
        self._limits.hold(sample)
        if self._name and not self._owns(sample.name):
            # As for the published parsers it ends the family, and stands without a declaration.
            if self._close():
                return False
            self._name = self._kind = ""
            if (found := self._find(self._here(), line)) is not None:
                return self._store(*found)
        if self._size >= MAX_BLOCK and self._may_cut(sample) and self._close():
            return False
        self._family, self._declared = self._here(), False
        self._sound = True
        self._samples.append(sample)
        self._lines.append(line)
        self._sizes.append(size)
        self._size += len(line)
        return True

    def _here(self) -> Family:
        """The family that a sample is of which comes now."""
        return self._family or self._cache.family_of(self._name, self._kind)

    def _owns(self, name: str) -> bool:
        """Whether a sample of a name belongs to the family that was declared."""
        return name.startswith(self._name) and name[len(self._name) :] in self.SUFFIXES.get(self._kind, ("",))

    def _refuse(self, line: str) -> bool:
        """A line that is no sample is left out."""
        self._malformed(line, False)
        if syntax.composite(line):
            # It isn't broken, we only don't know what to make of it.
            self._sound = True
        else:
            self._broken, self._last = self._broken + 1, line
            if self._broken == MAX_MALFORMED:
                self._refuse_foreign()
        return True

    def _refuse_foreign(self) -> None:
        if self._broken and not self._sound:
            raise PayloadError(self.FOREIGN.format(self._broken, excerpt(self._last)))

    def _comment(self, line: str) -> bool:
        """A line of metadata, or a comment. False as in `_line`."""
        if self.MARKS_END and line.startswith("# EOF"):
            # What comes behind it is complained about, known or not.
            self._ended, self._family = True, None
            return True
        declared = syntax.declaration(line)
        if declared is None:
            return self._refuse(line) if syntax.metadata(line) else True
        name, kind = declared
        if name != self._name:
            if self._close():
                return False
            self._name, self._kind, self._family, self._declared = name, "", None, True
        if kind and kind != self._kind:
            if self._samples and self._close():
                return False
            self._kind, self._family, self._declared = kind, None, True
        return True

    def _close(self) -> bool:
        """Whether something of the family must be collected: new lines, or its declaration if it has no line at all."""
        if self._samples or self._declared:
            family = self._here()
            if self._samples or family.declared is None:
                self._ready = Block(family, self._name, self._kind, self._samples, self._lines, self._sizes)
            else:
                self._known.declare(family.declared)
        self._samples, self._lines, self._sizes, self._size = [], [], [], 0
        self._family, self._declared = None, False
        return self._ready is not None

    def _may_cut(self, sample: Sample) -> bool:
        """Whether a long family can be cut before a sample: not within a series of a histogram or summary."""
        size = len(self._name)
        suffix, before = sample.name[size:], self._samples[-1].name[size:] if self._samples else ""
        return suffix not in ("_sum", "_count") and not suffix == before == "_bucket"

    def _find(self, family: Family, line: str) -> tuple[Cell, float, float | None] | None:
        """Where the number of a line goes, the number and its timestamp. None where the line isn't known."""
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
        if self._samples and self._close():
            return False
        self._family, self._declared = self._here(), False
        self._sound = True
        known, (numbers, index, owner) = self._known, cell
        if owner is not None:
            known.samples += 1
        if isinstance(owner, Series):
            if numbers[index] is None:
                numbers[index] = number
            else:
                known.again(owner)
            if timestamp is not None:
                known.stamp(owner, timestamp / self.PER_SECOND)
        elif owner:
            known.unclaim(owner)
        return True

    def _collected(self) -> Iterator[Metric]:
        """The families of the block that is complete."""
        block, self._ready = self._ready, None
        if block is None:
            return
        for metric, heads in self._metrics(block):
            self._cache.expect(block.family, heads)
            yield metric
            self._cache.commit(self._context())

    def _metrics(self, block: Block) -> Iterator[tuple[Metric, list[str | None]]]:
        """The family of a block, or without a declaration one for each name, with the texts of its lines."""
        name, kind = block.name, block.kind
        if name:
            metric = _metric(name.removesuffix("_total") if kind == "counter" else name, kind)
            metric.samples = block.samples
            if kind == "counter" and not name.endswith("_total"):
                metric.samples = [
                    sample._replace(name=f"{name}_total") if sample.name == name else sample for sample in block.samples
                ]
            yield metric, block.heads()
            return
        found: dict[str, tuple[Metric, list[str | None]]] = {}
        for sample, head in zip(block.samples, block.heads(), strict=True):
            if sample.name not in found:
                found[sample.name] = (_metric(sample.name, ""), [])
            metric, heads = found[sample.name]
            metric.samples.append(sample)
            heads.append(head)
        yield from found.values()

    def _context(self) -> object:
        """What decides, besides its family, how a line is read."""
        return type(self), self._known.context()


class TextReader(Reader):
    """Reads the Prometheus text format."""

    PER_SECOND = 1000
    SUFFIXES: ClassVar[dict[str, tuple[str, ...]]] = {
        "summary": ("_count", "_sum", ""),
        "histogram": ("_count", "_sum", "_bucket"),
    }
    MARKS_END = False
    FOREIGN = "the first {} lines hold no metric, the last of them {}: this is no metrics payload, check the URL"


class OpenMetricsReader(Reader):
    """Reads OpenMetrics. What is not lawful there is read as in the text format, such as a counter without `_total`."""

    PER_SECOND = 1
    SUFFIXES: ClassVar[dict[str, tuple[str, ...]]] = {
        "counter": ("_total", "_created", ""),
        "summary": ("_count", "_sum", "", "_created"),
        "histogram": ("_count", "_sum", "_bucket", "_created"),
        "gaugehistogram": ("_gcount", "_gsum", "_bucket"),
        "info": ("_info", ""),
    }
    MARKS_END = True
    FOREIGN = (
        "the payload is declared OpenMetrics but is not, its first {} lines hold no metric, the last of them {}: check "
        "the URL, or have the server declare the format that it speaks"
    )


def _metric(name: str, kind: str) -> Metric:
    """A family without samples. What its constructor thinks of a name depends on a setting of the whole process."""
    metric = Metric("family", "", kind or "untyped")
    metric.name = name
    return metric
