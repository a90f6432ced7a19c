"""How a block of lines is known again, whatever its numbers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import eq

from .blocks import EXACT, Window, guess, head, numbers
from .strict import Rules

SEGMENT = 256
"""Lines that are compared and read before the next ones, while they are at hand."""

SAMPLED = 16
"""Lines by which a block that is not learnt yet is known again."""


@dataclass(slots=True)
class Seen:
    """A block that came once, or for which learning does not pay.

    `failures` counts how often in a row that was in vain, `not_before` is the scrape of the next try.
    """

    heads: tuple[str, ...] = ()
    seen: int = 0
    failures: int = 0
    not_before: int = 0

    def failed(self, now: int) -> None:
        """Learning was in vain: wait longer each time."""
        self.failures += 1
        self.not_before = now + (1 << min(self.failures, 10))

    def look(self, lines: Sequence[str]) -> None:
        """Remember some of the lines."""
        self.heads = tuple(guess(line) for line in lines[:: max(1, len(lines) // SAMPLED)] if line[:1] != "#")

    def again_in(self, lines: Sequence[str]) -> bool:
        """Whether most of what is remembered is there again, so that learning pays."""
        found = set(map(guess, lines))
        return 2 * sum(head in found for head in self.heads) >= len(self.heads)


@dataclass(slots=True, kw_only=True)
class Shape:
    """The lines of a block but for their numbers.

    `notes` are comments and blank lines, `note_lines` where they are (None: before all samples), `heads` the
    sample lines up to their values, `rules` of the OpenMetrics format, `declared` the family that was declared last.
    `over` says that the payload ends with the block.
    """

    length: int
    notes: list[str]
    note_lines: list[int] | None
    heads: list[str]
    sample_lines: list[int] = field(default_factory=list)
    rules: Rules | None = None
    over: bool = False
    declared: str | None = None

    @classmethod
    def of(cls, lines: Sequence[str], strict: bool) -> Shape | None:
        """The shape of lines, which one of them may not have plainly."""
        note_lines, sample_lines, heads = [], [], []
        for number, line in enumerate(lines):
            if line.lstrip()[:1] in ("#", ""):
                note_lines.append(number)
                continue
            found = head(line, strict)
            if found is None:
                return None
            sample_lines.append(number)
            heads.append(found)
        together = not note_lines or note_lines[-1] == len(note_lines) - 1
        return Shape(
            length=len(lines),
            notes=[lines[number] for number in note_lines],
            note_lines=None if together else note_lines,
            heads=heads,
            sample_lines=[] if together else sample_lines,
        )

    def texts(self, lines: Sequence[str]) -> list[str]:
        """What is behind the heads in all the lines of a block of this shape."""
        samples = lines[len(self.notes) :] if self.note_lines is None else [lines[each] for each in self.sample_lines]
        return list(map(str.removeprefix, samples, self.heads))

    def as_seen(self, failures: int = 0) -> Seen:
        """Some of the lines, to know them by."""
        return Seen(tuple(self.heads[:: max(1, len(self.heads) // SAMPLED)]), failures=failures)

    def read(self, window: Window) -> tuple[bool, list[float] | None]:
        """Whether the lines of this block come next, and their values. These are None where the parser must tell."""
        values: list[float] | None = []
        step = SEGMENT if self.note_lines is None else self.length
        for start in range(0, self.length, step):
            stop = min(start + step, self.length)
            if not window.fill(stop):
                return False, None
            lines = window.lines[window.at + start : window.at + stop]
            first = max(start - len(self.notes), 0)
            if self.note_lines is not None:
                if [lines[each] for each in self.note_lines] != self.notes:
                    return False, None
                lines = [lines[each] for each in self.sample_lines]
            elif start < len(self.notes):
                notes = self.notes[start:stop]
                if lines[: len(notes)] != notes:
                    return False, None
                lines = lines[len(notes) :]
            heads = self.heads[first : first + len(lines)]
            texts = list(map(str.removeprefix, lines, heads))
            # A line that doesn't begin with its head stays whole.
            if any(map(eq, texts, lines)):
                return False, None
            if values is not None:
                more = self.values(texts, first)
                if more is None:
                    values = None
                else:
                    values += more
        return self.ends(window), values

    def ends(self, window: Window) -> bool:
        """Whether a block of this length comes next."""
        if window.fill(self.length + 1):
            return window.begins_another(self.length, self.declared)
        # Only the end of an OpenMetrics payload says that it is one.
        return window.error is None and (self.over or not window.strict)

    def values(self, texts: Sequence[str], first: int = 0) -> list[float] | None:
        """The values in texts, of samples from number `first` on. None where the parser must read them."""
        if self.rules is None:
            return numbers(texts)
        return numbers(texts, self.rules.exemplars[first : first + len(texts)])


Times = list[float | None]


def plain(texts: Sequence[str], exemplars: Sequence[int] | None = None) -> tuple[list[float] | None, Times]:
    """Values from the texts behind the heads of samples, as `numbers` reads them, and timestamps in seconds.

    The values are None where a line would have to be looked at as a whole: what stands between its numbers may be
    what only `float` takes for a blank. `exemplars` is given for the OpenMetrics format, in which lines with a
    timestamp are not read here.
    """
    nothing: Times = [None] * len(texts)
    joined = "".join(texts)
    if not joined.isprintable():
        return None, nothing
    values = numbers(texts, exemplars)
    if values is None or exemplars is not None or " " not in joined:
        return values, nothing
    times = [None if not time else float(time) for _, _, time in (text.strip().partition(" ") for text in texts)]
    if not all(time is None or -EXACT < time < EXACT for time in times):
        return None, nothing
    return values, [None if time is None else time / 1000 for time in times]


def same(parsed: Sequence[float], values: Sequence[float]) -> bool:
    """Whether two lists hold the same numbers, one of which may be none."""
    return len(parsed) == len(values) and all(
        a == b or (a != a and b != b) for a, b in zip(parsed, values, strict=True)
    )
