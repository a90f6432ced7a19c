"""What is remembered of a block of lines: enough to know it again, and what it submits."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import eq
from typing import Any, Protocol

from prometheus_client import Metric

from .blocks import EXACT, Window, guess, head, numbers
from .program import Program
from .replay import Replay
from .strict import Rules, group_of, names, rules

SEGMENT = 256
"""Lines that are compared and read before the next ones, while they are at hand."""

SAMPLED = 16
"""Lines by which a block that is not learnt yet is known again."""


class Scraper(Protocol):
    """What learning needs of a scraper."""

    replay: Replay
    metric_transformer: Any
    raw_metric_prefix: str

    def families(self, lines: list[str], last: bool, recording: bool = False) -> Iterator[Metric]: ...

    def wanted(self, metrics: list[Metric]) -> Iterator[Metric]: ...


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


@dataclass(slots=True)
class Known:
    """A block that can be replayed.

    `notes` are comments and blank lines, `note_lines` where they are (None: before all samples), `heads` the
    sample lines up to their values. `contexts` gives for each sample what it is read together with (see
    `_contexts`), None where all are read alone; `apart` says that buckets are subtracted from each other.
    `entries` is what decided on the transformers. `rules` and `names` are of the OpenMetrics format. `regular`
    says that new lines can be learnt without the others, `over` that the payload ends with the block.
    """

    length: int
    notes: list[str]
    note_lines: list[int] | None
    heads: list[str]
    program: Program
    contexts: array[int] | None
    entries: list[tuple[str, Any]]
    rules: Rules | None
    names: set[str]
    apart: bool
    regular: bool
    over: bool
    sample_lines: list[int] = field(default_factory=list)
    declared: str | None = None
    replayed: bool = False
    seen: int = 0
    failures: int = 0

    def given_up(self, now: int) -> Seen:
        """The block as one that is to be learnt anew. If it was never replayed, not at once."""
        block = Seen(tuple(self.heads[:: max(1, len(self.heads) // SAMPLED)]), failures=self.failures)
        if self.replayed:
            return block
        block.failed(now)
        return block

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
        return self._ends(window), values

    def _ends(self, window: Window) -> bool:
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

    def fits(self, values: Sequence[float], finite: bool) -> bool:
        """Whether the program can be run on values."""
        if self.rules is not None and not self.rules.hold(values):
            return False
        return not self.apart or (finite and max(values) < EXACT and min(values) > -EXACT)


def learn(scraper: Scraper, lines: list[str], strict: bool, last: bool) -> tuple[Known, list[str]] | None:
    """A block from its lines, and the texts of its values. None where it can't be replayed."""
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
    texts = [lines[number][len(start) :] for number, start in zip(sample_lines, heads, strict=True)]
    try:
        metrics = list(scraper.families(lines, last, recording=True))
        asked = rules(metrics) if strict else None
        taken = set().union(*map(names, metrics)) if strict else set()
        if (strict and asked is None) or not _same_values(metrics, numbers(texts, asked.exemplars if asked else None)):
            return None
        apart = scraper.metric_transformer.non_cumulative_histogram_buckets and any(
            sample.name.endswith("_bucket") for metric in metrics for sample in metric.samples
        )
        contexts = _contexts(metrics, strict, apart)
        program, entries = _record(scraper, metrics)
    except Exception:
        # The stock code fails in its own way, and where it must.
        return None
    together = len(note_lines) == 0 or note_lines[-1] == len(note_lines) - 1
    program.settle(len(heads))
    known = Known(
        len(lines),
        [lines[number] for number in note_lines],
        None if together else note_lines,
        heads,
        program,
        contexts,
        entries,
        asked,
        taken,
        apart=apart,
        regular=together and len(metrics) == 1 and program.follows_samples(once=apart),
        over=last,
        sample_lines=[] if together else sample_lines,
    )
    return known, texts


def _same_values(metrics: Sequence[Metric], values: Sequence[float] | None) -> bool:
    """Whether the parser reads the same numbers, one for each sample."""
    parsed = [sample.value for metric in metrics for sample in metric.samples]
    if values is None or len(parsed) != len(values):
        return False
    return all(a == b or (a != a and b != b) for a, b in zip(parsed, values, strict=True))


def _contexts(metrics: Sequence[Metric], strict: bool, apart: bool) -> array[int] | None:
    """Per sample what it is read together with, 0 for nothing: the buckets of a histogram, where they are taken
    apart, and in OpenMetrics the group.
    """
    if not strict and not apart:
        return None
    contexts = array("q")
    for metric in metrics:
        for sample in metric.samples:
            if strict:
                contexts.append(hash(frozenset(group_of(metric, sample).items())))
            elif sample.name.endswith("_bucket"):
                contexts.append(hash(frozenset((name, value) for name, value in sample.labels.items() if name != "le")))
            else:
                contexts.append(0)
    return contexts if any(contexts) else None


def _record(scraper: Scraper, metrics: Sequence[Metric]) -> tuple[Program, list[tuple[str, Any]]]:
    prefix = scraper.raw_metric_prefix
    first: dict[int, int] = {}
    number = 0
    for metric in metrics:
        first[id(metric)] = number
        number += len(metric.samples)
        if prefix and metric.name.startswith(prefix):
            metric.name = metric.name[len(prefix) :]
    program = scraper.replay.recorder.program = Program()
    entries = []
    for metric in scraper.wanted(list(metrics)):
        scraper.replay.record(metric, first[id(metric)])
        entries.append((metric.name, scraper.replay.entry(metric.name)))
    return program, entries
