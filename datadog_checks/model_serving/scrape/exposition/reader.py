"""Guards between the lines of a body and the parsers: what is broken is left out and counted.

Formats: Prometheus text 0.0.4 and OpenMetrics text 1.0.0, as published by their projects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO, cast
from zlib import crc32

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_fd_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_fd_to_metric_families as parse_text

from ...errors import PayloadError
from ...http.body import Malformed, excerpt
from .blocks import Window, guess
from .syntax import METADATA, sound_line

MAX_MALFORMED = 100
"""A payload that starts with so many broken lines and not one sound sample is no exposition at all."""

MIN_BLOCK, MAX_BLOCK = 1 << 17, 1 << 20
"""Characters that are parsed together. A family beyond the first arrives in several parts, each up to a line that says
so by what it is called, so that the others stay as they are where some lines come and go.
"""

CUT = 32
"""One of so many lines can begin a part."""

MAX_LEFT_OUT = 1 << 16
"""Characters of comments and broken lines in a block with which it can still be remembered."""

Family = tuple[str, tuple[str, ...]]
"""A name, and the lines that declare it."""
NO_FAMILY: Family = ("", ())


def text_families(lines: Iterable[str], malformed: Malformed) -> Iterator[Metric]:
    """The families of a Prometheus text payload, as TextReader reads them."""
    return TextReader(malformed).families(Window(iter([list(lines)])))


def openmetrics_families(lines: Iterable[str], malformed: Malformed, whole: bool = True) -> Iterator[Metric]:
    """The families of an OpenMetrics payload, as StrictReader reads them."""
    return StrictReader(malformed, whole).families(Window(iter([list(lines)])))


@dataclass(slots=True)
class Block:
    """Lines that are parsed together, all of one family. `raw` are all that were read, empty where these are too many.

    What is cut because it is long starts with its metadata again: `before` is the family of which the block is another
    part, `after` the one of which the next block can be.
    """

    lines: list[str]
    raw: list[str]
    before: Family
    after: Family

    def begins(self) -> str:
        """The first of its own lines."""
        return self.lines[len(self.before[1])].lstrip()


class Reader:
    """Reads a payload, block by block. Broken lines are given to `malformed` and left out.

    `family` is the name to which the next lines may belong, empty for any, and its metadata. `sound` says that there
    was a sample, `refused` counts the lines and blocks of which a parser would not have anything.
    """

    def __init__(self, malformed: Malformed) -> None:
        self.refused = 0
        self._malformed = malformed
        self.family: Family = NO_FAMILY
        self.sound = False

    def families(self, window: Window) -> Iterator[Metric]:
        """All families. Raises PayloadError where nothing could be read, and what the stream fails with."""
        while (block := self.block(window)) is not None:
            yield from self.parse(block)
        self.finish()

    def block(self, window: Window) -> Block | None:
        """The next block: metadata of one name, and the samples whose names start with it. None where there is none.

        A block is cut where it is long, but never within the buckets of a series.
        """
        before = self.family
        name, lines, raw = before[0], [*before[1]], list[str]()
        metadata, own, samples, size, left_out = len(lines), 0, 0, 0, 0
        bucket = over = False
        while not over and window.fill():
            for line in window.lines[window.at :]:
                sound = self._sound(line, bool(own))
                if sound is None:
                    window.at += 1
                    left_out += len(line)
                    if left_out < MAX_LEFT_OUT:
                        raw.append(line)
                    continue
                declared = METADATA.match(sound)
                new, inside = name, False
                if declared is not None:
                    new = declared.group(2) or ""
                elif sound:
                    start = sound.lstrip()
                    if not start.startswith((name, "{")):
                        new = ""
                    inside, bucket = bucket, start.startswith("_bucket", len(name))
                    inside = inside and bucket
                if not sound or new != name or (size >= MIN_BLOCK and _begins_part(sound, name, inside, size)):
                    over = samples > 0 or (own > 0 and before == NO_FAMILY)
                    if over:
                        self.family = NO_FAMILY if new != name else (name, tuple(lines[:metadata]))
                        break
                    if new != name:
                        lines, metadata, own, before = [], 0, 0, NO_FAMILY
                name = new
                if sound:
                    lines.append(sound)
                    own += 1
                    size += len(sound)
                    if declared is None:
                        samples += 1
                    elif len(lines) == metadata + 1:
                        metadata += 1
                raw.append(line)
                window.at += 1
        if window.error is not None and not over:
            raise window.error
        if not samples and (not own or before != NO_FAMILY):
            return None
        return Block(lines, raw if left_out < MAX_LEFT_OUT else [], before, (name, tuple(lines[:metadata])))

    def malformed(self, line: str, cut: bool) -> None:
        """Refuse a line, and say whether more than this line may be missing."""
        self.refused += 1
        self._malformed(line, cut)

    def parse(self, block: Block) -> list[Metric]:
        """The families of a block."""
        raise NotImplementedError

    def finish(self) -> None:
        """The payload is over. Raises PayloadError where nothing of it could be read."""
        raise NotImplementedError

    def _sound(self, line: str, more: bool) -> str | None:
        """What is to be parsed of a line, None where that is nothing.

        Empty where the block must end before it, if there is `more` of that.
        """
        raise NotImplementedError


class TextReader(Reader):
    """Reads a Prometheus text payload.

    Exemplars, which only OpenMetrics knows, are cut off: servers exist that mix the two. PayloadError is raised when
    so many, or all, of the lines at the start are broken.
    """

    def __init__(self, malformed: Malformed) -> None:
        super().__init__(malformed)
        self._broken = 0
        self._last = ""

    def block(self, window: Window) -> Block | None:
        block = super().block(window)
        if not window.fill():
            # What is no payload has no families either.
            self.finish()
        return block

    def parse(self, block: Block) -> list[Metric]:
        return _sound_families(block.lines, self.malformed)

    def finish(self) -> None:
        if self._broken and not self.sound:
            raise PayloadError(
                f"the first {self._broken} lines hold no metric, the last of them {excerpt(self._last)}: this is no "
                "metrics payload, check the URL"
            )

    def _sound(self, line: str, more: bool) -> str | None:
        found = sound_line(line, self._reject)
        if found is not None and not self.sound and not found.lstrip().startswith("#"):
            self.sound = True
        return found

    def _reject(self, line: str, cut: bool) -> None:
        self.malformed(line, cut)
        self._broken += 1
        self._last = line
        if not self.sound and self._broken == MAX_MALFORMED:
            self.finish()


class StrictReader(Reader):
    """Reads an OpenMetrics payload, each block on its own, so that a broken one costs only itself.

    The strict parser otherwise refuses a whole payload for one family. What it refuses is read as
    the text format, since much of that is sound and merely unlawful (a summary whose sum is
    negative, a counter declared with `_total`); `malformed` gets the lines that are neither. A
    payload of which nothing can be read raises PayloadError. Where nothing else tells that it is
    `whole`, one without `# EOF` has been cut off.
    """

    def __init__(self, malformed: Malformed, whole: bool) -> None:
        super().__init__(malformed)
        self.whole = whole
        self._ended = self._told = False
        self._complaint = ""

    def parse(self, block: Block) -> list[Metric]:
        try:
            families = list(parse_openmetrics([*(f"{line}\n" for line in block.lines), "# EOF\n"]))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            self.refused += 1
            self._complaint = self._complaint or f"{excerpt(block.lines[0])} ({excerpt(str(error), 120)})"
            found = (sound_line(line, self.malformed) for line in block.lines)
            sound = [line for line in found if line is not None]
            families = [_in_seconds(family) for family in _sound_families(sound, self.malformed)]
        self.sound = self.sound or any(family.samples for family in families)
        return families

    def finish(self) -> None:
        self._over()
        if self._complaint and not self.sound:
            raise PayloadError(
                f"the payload is declared OpenMetrics but is not, from {self._complaint}: check the URL, or have the "
                "server declare the format that it speaks"
            )

    def block(self, window: Window) -> Block | None:
        block = super().block(window)
        if not window.fill():
            # Who reads the families may stop before it is told that there are no more.
            self._over()
        return block

    def _over(self) -> None:
        if not self._ended and not self.whole:
            self._ended = True
            self.malformed("no # EOF at the end", True)

    def _sound(self, line: str, more: bool) -> str | None:
        if line.startswith("# EOF"):
            if more:
                # Not to be a part of a block: only the last one has it.
                return ""
            self._ended = True
            return None
        if not line.strip():
            return None
        if self._ended and not self._told:
            self._told = True
            self.malformed("# EOF", False)
        return line


def _sound_families(block: list[str], malformed: Malformed) -> list[Metric]:
    try:
        return parsed(block)
    except (ValueError, IndexError):
        return parsed([line for line in block if _parsable(line, malformed)])


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


def _begins_part(line: str, name: str, inside: bool, size: int) -> bool:
    """Whether a long family can be cut before a line. `inside` is one among the buckets of a series."""
    if inside or line.startswith(("_sum", "_count"), len(name)):
        return size >= 2 * MAX_BLOCK and not inside
    return size >= MAX_BLOCK or crc32(guess(line).encode()) % CUT == 0


def _in_seconds(family: Metric) -> Metric:
    """The text format's timestamps are milliseconds, and its parser divided what were seconds already."""
    family.samples = [
        sample if sample.timestamp is None else sample._replace(timestamp=float(sample.timestamp) * 1000)
        for sample in family.samples
    ]
    return family
