"""What is remembered of a block of lines: enough to know it again, and what it submits."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import Metric

from .blocks import EXACT, numbers
from .program import Program
from .replay import Replay
from .shape import Seen, Shape, same
from .strict import group_of, names, rules


class Scraper(Protocol):
    """What learning needs of a scraper."""

    replay: Replay
    metric_transformer: Any
    raw_metric_prefix: str

    def families(self, lines: list[str], last: bool, recording: bool = False) -> Iterator[Metric]: ...

    def wanted(self, metrics: list[Metric]) -> Iterator[Metric]: ...


@dataclass(slots=True, kw_only=True)
class Known(Shape):
    """A block that can be replayed.

    `contexts` gives for each sample what it is read together with (see
    `_contexts`), None where all are read alone; `apart` says that buckets are subtracted from each other.
    `entries` is what decided on the transformers. `names` are of the OpenMetrics format. `regular`
    says that new lines can be learnt without the others.
    """

    program: Program
    contexts: array[int] | None
    entries: list[tuple[str, Any]]
    names: set[str]
    apart: bool
    regular: bool
    replayed: bool = False
    seen: int = 0
    failures: int = 0

    def given_up(self, now: int) -> Seen:
        """The block as one that is to be learnt anew. If it was never replayed, not at once."""
        block = self.as_seen(self.failures)
        if not self.replayed:
            block.failed(now)
        return block

    def fits(self, values: Sequence[float], finite: bool) -> bool:
        """Whether the program can be run on values."""
        if self.rules is not None and not self.rules.hold(values):
            return False
        return not self.apart or (finite and max(values) < EXACT and min(values) > -EXACT)


def learn(scraper: Scraper, lines: list[str], strict: bool, last: bool) -> tuple[Known, list[str]] | None:
    """A block from its lines, and the texts of its values. None where it can't be replayed."""
    shape = Shape.of(lines, strict)
    if shape is None:
        return None
    texts = shape.texts(lines)
    try:
        metrics = list(scraper.families(lines, last, recording=True))
        asked = rules(metrics) if strict else None
        taken = set().union(*map(names, metrics)) if strict else set()
        parsed = [sample.value for metric in metrics for sample in metric.samples]
        values = numbers(texts, asked.exemplars if asked else None)
        if (strict and asked is None) or values is None or not same(parsed, values):
            return None
        apart = scraper.metric_transformer.non_cumulative_histogram_buckets and any(
            sample.name.endswith("_bucket") for metric in metrics for sample in metric.samples
        )
        contexts = _contexts(metrics, strict, apart)
        program, entries = _record(scraper, metrics)
    except Exception:
        # The stock code fails in its own way, and where it must.
        return None
    program.settle(len(shape.heads))
    known = Known(
        length=shape.length,
        notes=shape.notes,
        note_lines=shape.note_lines,
        heads=shape.heads,
        sample_lines=shape.sample_lines,
        rules=asked,
        over=last,
        program=program,
        contexts=contexts,
        entries=entries,
        names=taken,
        apart=apart,
        regular=shape.note_lines is None and len(metrics) == 1 and program.follows_samples(once=apart),
    )
    return known, texts


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
