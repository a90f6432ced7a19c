"""Reads payloads with a memory: lines that came before, with other numbers, need no parser.

Everything else is parsed, block by block, and learnt when it comes for the second time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace

from prometheus_client import Metric

from ..collector import Collector
from .blocks import Window, guess
from .change import Change
from .plan import Feed, Plan, padded, run
from .reader import NO_FAMILY, Block, Family, Reader
from .shape import Seen, Shape, plain, same
from .strict import rules
from .trace import Trace

KEEP = 3
"""Scrapes for which a block that doesn't come any more is remembered: less than those for which a series is."""


@dataclass(slots=True, kw_only=True)
class Planned(Shape):
    """A block that can be replayed.

    `before` and `after` are as in Block, `begins` is its first line, which may be one that `declares` the family.
    `systems` is how many were active when it was learnt: with another one its names may mean something else. `used`
    is the scrape in which it was replayed last. `times` are the timestamps of the lines that were read last, where
    they matter. `regular` says that new lines can be learnt without the others.
    """

    before: Family
    after: Family
    begins: str
    declares: bool
    plan: Plan
    systems: int
    used: int
    regular: bool
    times: list[float | None] = field(default_factory=list)

    def values(self, texts: Sequence[str], first: int = 0) -> list[float] | None:
        exemplars = None if self.rules is None else self.rules.exemplars[first : first + len(texts)]
        values, times = plain(texts, exemplars)
        if first == 0:
            self.times = []
        if self.plan.timed:
            self.times += times
        return values

    def ends(self, window: Window) -> bool:
        """Anywhere: what comes behind may be of the same family, but not tell that it has no samples at all."""
        return bool(self.heads) or window.begins_another(self.length, self.after[0])

    def follows(self, family: Family) -> bool:
        """Whether the lines would be a block, where those before may be of a family."""
        if self.declares:
            return self.after[0] != family[0]
        if self.before == NO_FAMILY and family[0]:
            return not self.begins.startswith((family[0], "{"))
        return self.before == family

    def fits(self, values: Sequence[float]) -> bool:
        """Whether the parser would take these numbers, and the plan."""
        return self.plan.can_read(values) and (self.rules is None or self.rules.hold(values))


class Remembered:
    """The blocks that the payloads of one source are made of. What is known of them goes into `collector`."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self._blocks: dict[str, Planned | Seen] = {}
        self._strict = False

    def families(self, window: Window, reader: Reader) -> Iterator[Metric]:
        """The families of a payload that aren't known, each to be used up before the next one is asked for."""
        if window.strict != self._strict:
            self._strict = window.strict
            self._blocks.clear()
        times: dict[str, int] = {}
        while window.fill():
            first = guess(window.lines[window.at])
            times[first] = times.get(first, 0) + 1
            key = f"{first}\n{times[first]}"
            known = self._blocks.get(key)
            if isinstance(known, Planned) and self._replayed(known, window, reader):
                continue
            refused = reader.refused
            block = reader.block(window)
            if block is not None:
                yield from self._unknown(key, known, block, reader, refused)
        if window.error is not None:
            raise window.error

    def forget(self) -> None:
        """The scrape is over: forget what has not come for some. To be done before series are forgotten."""
        oldest = self.collector.scrape - KEEP
        self._blocks = {
            key: block
            for key, block in self._blocks.items()
            if (block.used if isinstance(block, Planned) else block.seen) > oldest
        }

    def _replayed(self, block: Planned, window: Window, reader: Reader) -> bool:
        collector = self.collector
        if block.systems != len(collector.recogniser.active) or not block.follows(reader.family):
            return False
        same_lines, values = block.read(window)
        if not same_lines or values is None or not block.fits(values):
            return False
        block.plan.announce(collector, values)
        run(block.plan.feeds, collector, padded(values), block.times)
        block.used = collector.scrape
        reader.family = block.after
        reader.sound = reader.sound or bool(values)
        window.at += block.length
        return True

    def _unknown(
        self, key: str, known: Planned | Seen | None, block: Block, reader: Reader, refused: int
    ) -> Iterator[Metric]:
        now = self.collector.scrape
        if isinstance(known, Planned):
            if known.regular and known.systems == len(self.collector.recogniser.active):
                change = Change.of(known.heads, known.notes, known.before[1], known.plan, block.raw)
                if change is not None and known.after == block.after and known.before == block.before:
                    yield from self._renew(key, known, change)
                    return
            known = known.as_seen()
        seen = self._blocks[key] = known or Seen()
        seen.seen = now
        if known is not None and seen.not_before <= now and seen.again_in(block.raw):
            learnt = yield from self._learn(block, reader, refused)
            if learnt is not None:
                self._blocks[key] = learnt
                return
            seen.failed(now)
        else:
            yield from reader.parse(block)
        seen.look(block.raw)

    def _learn(self, block: Block, reader: Reader, refused: int) -> Generator[Metric, None, Planned | None]:
        """Parse a block as any other, and make a plan of what comes of it. None where that can't be done.

        `refused` is what the reader had refused before it.
        """
        collector = self.collector
        systems, samples, taken = len(collector.recogniser.active), collector.samples, collector.taken
        families = reader.parse(block)
        shape = Shape.of(block.raw, self._strict)
        asked = rules(families) if self._strict else None
        values: list[float] = []
        kinds = set()
        trace = collector.trace = Trace()
        for metric in families:
            trace.first = len(values)
            values += [sample.value for sample in metric.samples]
            kinds.add((metric.name, metric.type))
            yield metric
        collector.trace = None
        if trace.spoilt or refused != reader.refused or systems != len(collector.recogniser.active):
            return None
        if shape is None or (self._strict and asked is None) or (block.after[0] and len(kinds) != 1):
            return None
        texts = shape.texts(block.raw)
        if len(texts) != len(values):
            return None
        read, _ = plain(texts, None if asked is None else asked.exemplars)
        if read is None or not same(values, read):
            return None
        shape.rules = asked
        plan = Plan.of(trace, collector.samples - samples, collector.taken - taken)
        alone = not self._strict and shape.note_lines is None and len(kinds) == 1 and not plan.starts
        begins = block.begins()
        return Planned(
            **{each.name: getattr(shape, each.name) for each in fields(Shape)},
            before=block.before,
            after=block.after,
            begins=begins,
            declares=begins.startswith("#"),
            plan=plan,
            systems=systems,
            used=collector.scrape,
            regular=alone and 0 < plan.samples == len(values) and plan.taken == plan.fed,
        )

    def _renew(self, key: str, block: Planned, change: Change) -> Iterator[Metric]:
        """Replay the lines of a block that are known, and parse and learn the others, all in their order."""
        collector, kept = self.collector, change.kept
        systems, numbers = len(collector.recogniser.active), padded(change.values)
        kept.announce(collector, change.values)
        taken, at = collector.taken, 0
        trace = Trace()
        for start, stop in change.runs():
            before = at
            while at < len(kept.feeds) and kept.feeds[at].first() < change.fresh[start]:
                at += 1
            run(kept.feeds[before:at], collector, numbers, change.times)
            metric = copy(change.families[0])
            metric.samples = metric.samples[start:stop]
            collector.trace, trace.first = trace, start
            yield metric
            collector.trace = None
        run(kept.feeds[at:], collector, numbers, change.times)
        trace.rows = [(change.fresh[number], series, part, bound) for number, series, part, bound in trace.rows]
        taken = collector.taken - taken
        if trace.spoilt or systems != len(collector.recogniser.active) or taken != len(trace.rows):
            again = block.as_seen()
            again.seen = collector.scrape
            self._blocks[key] = again
            return
        new = Plan.of(trace, len(change.fresh), taken)
        plan = Plan(
            sorted([*kept.feeds, *new.feeds], key=Feed.first),
            list(dict.fromkeys([*kept.families, *new.families])),
            list(dict.fromkeys([*kept.unclaimed, *new.unclaimed])),
            set(),
            [],
            len(change.values),
            kept.taken + taken,
        ).settled()
        length = len(block.notes) + len(change.heads)
        self._blocks[key] = replace(block, length=length, heads=change.heads, plan=plan, used=collector.scrape)
