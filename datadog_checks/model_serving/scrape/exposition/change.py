"""A known block of which some lines are new, gone or elsewhere: what of it is still known, and what is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import Metric

from .blocks import guess, head
from .plan import Feed, Plan
from .reader import parsed
from .shape import plain, same


@dataclass(slots=True)
class Change:
    """`kept` is the plan of the lines that are known, at their new places. `fresh` are the numbers of the other
    samples, which the one of `families` holds (none where there are none), `heads`, `values` and `times` those of all.
    """

    heads: list[str]
    values: list[float]
    times: list[float | None]
    kept: Plan
    fresh: list[int]
    families: list[Metric]

    @classmethod
    def of(
        cls, heads: Sequence[str], notes: list[str], before: Sequence[str], plan: Plan, lines: list[str]
    ) -> Change | None:
        """How lines of the text format differ from known ones. None where they must be learnt as a whole, or that
        would be as cheap.

        The known lines have `heads` behind their `notes`, are of one family, which `before` them declare, and each
        sample that the catalog knows is fed.
        """
        places = {known: place for place, known in enumerate(heads)}
        samples = lines[len(notes) :]
        if lines[: len(notes)] != notes or len(places) != len(heads):
            return None
        found = [places.get(guess(line), -1) for line in samples]
        new = found.count(-1)
        if not found or 2 * new > len(found) or len(set(found) - {-1}) != len(found) - new:
            return None
        place = [-1] * len(heads)
        for number, known in enumerate(found):
            if known >= 0:
                place[known] = number
        feeds = [feed.moved(place) for feed in _whole(plan.feeds, place, found)]
        fresh = [number for number, known in enumerate(found) if known < 0]
        now = []
        for known, line in zip(found, samples, strict=True):
            start = heads[known] if known >= 0 else head(line, False)
            if start is None:
                return None
            now.append(start)
        values, times = plain([line[len(start) :] for line, start in zip(samples, now, strict=True)])
        if values is None:
            return None
        new_lines = [*before, *notes, *(samples[number] for number in fresh)]
        families = _families(new_lines, [values[number] for number in fresh]) if fresh else []
        if families is None:
            return None
        feeds.sort(key=Feed.first)
        kept = Plan(feeds, plan.families, plan.unclaimed, set(), [], len(samples) - len(fresh), 0).settled()
        kept.taken = kept.fed
        if not kept.can_read(values):
            return None
        return cls(now, values, times if plan.timed else [], kept, fresh, families)

    def runs(self) -> Iterator[tuple[int, int]]:
        """The new samples that follow each other in the payload, from one of them up to another."""
        start = 0
        for stop in range(1, len(self.fresh) + 1):
            if stop == len(self.fresh) or self.fresh[stop] != self.fresh[stop - 1] + 1:
                yield start, stop
                start = stop


def _whole(feeds: Sequence[Feed], place: Sequence[int], found: list[int]) -> list[Feed]:
    """The feeds of which no line is gone, and that have no new line between their own. The lines of others count as
    new, in `found`: which of two samples of a series comes first must be told from the lines.
    """
    spans = []
    for feed in feeds:
        numbers = [place[number] for number in feed.numbers()]
        spans.append((feed, numbers, min(numbers), max(numbers)))
    while True:
        before = list(accumulate(known < 0 for known in found))
        torn = [span for span in spans if span[2] < 0 or before[span[2]] != before[span[3]] or found[span[2]] < 0]
        if not torn:
            return [feed for feed, *_ in spans]
        for _, numbers, _, _ in torn:
            for number in numbers:
                if number >= 0:
                    found[number] = -1
        gone = {id(feed) for feed, *_ in torn}
        spans = [span for span in spans if id(span[0]) not in gone]


def _families(lines: list[str], values: list[float]) -> list[Metric] | None:
    """The one family that lines hold, with a sample for each of the values. None where it isn't so."""
    try:
        families = parsed(lines)
    except (ValueError, IndexError):
        return None
    if len(families) != 1 or not same([sample.value for sample in families[0].samples], values):
        return None
    return families
