"""Collects one scrape: every sample of the payload finds its series, and nothing is submitted yet.

Only when the payload has been read to its end do the readings count, so an answer that breaks off
leaves the memory as it was.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import isfinite, isnan
from typing import Any

from prometheus_client import Metric

from ..catalog.labels import PLACEHOLDER
from ..catalog.model import RawMetric, Things
from ..catalog.recognise import Match, Recogniser
from ..submit.series import Layouts, Output, Part, Reading, Series, tag_value
from ..submit.validate import sound
from .exposition.cache import Declared, LineCache
from .pushes import PUSH_TIME, PUSHED_FOR, Pushes
from .tags import TagRules

logger = logging.getLogger(__name__)

KEEP_UNSEEN = 240
"""Scrapes for which a vanished series is remembered, an hour at the Agent's default interval."""

SWEEP_EVERY = 16
MAX_NAMES = 20_000
GROUPED = ("histogram", "summary")
"""Declared types whose samples add up to one reading."""

OWN_LABELS = {"le": "histogram", "quantile": "summary"}
"""Labels that are of no thing measured: they tell apart the samples of one reading."""

NO_SHAPE = ("gaugehistogram", "info", "stateset")
"""Declared types that nothing of the catalog has."""

Item = tuple[int, Any, Mapping[str, str], str]
Labelled = Iterable[Item]
"""Samples of one family: number, sample, labels, and the host name that a label gives, if any."""


class Collector:
    """The series of one source, and the readings of the scrape that is going on.

    `lines` and `samples` are how many the payload holds, `taken` how many of the parsed ones the catalog knows,
    `rejected` how many were refused by (reason, raw metric), and `wrong_types` what those came as that have the wrong
    shape; `quantiles` are raw metrics whose quantiles were left out; `labels` are the labels that metrics of users'
    files have come with, where targets ask for some, and `templates` the tags that such files make of others, with
    whether a series has got them; `rest` are families that nobody knows and a system passes on, by name and type;
    `unclaimed` are names that nobody knows, `present` the raw metrics of a system that the payload has, as (federated
    target, name without `_total`). `cache` is what is known of its lines. `fresh` are series that have begun since
    somebody took them; those last seen in the scrape `forgotten`, or before, are kept no more. After `stale_after`
    seconds a value isn't taken; None means that of pushed values alone, after `PUSHED_FOR`. No more series are
    remembered than `sample_limit`, those that were seen last.
    """

    def __init__(
        self, recogniser: Recogniser, rules: TagRules, stale_after: float | None = None, sample_limit: int = 200_000
    ) -> None:
        self.recogniser = recogniser
        self.rules = rules
        self.stale_after = stale_after
        self.sample_limit = sample_limit
        self.pushes = Pushes()
        self.cache = LineCache()
        self.series: dict[tuple[int, frozenset[tuple[str, str]]], Series] = {}
        self.things: dict[tuple[int, Things], Series] = {}
        self.fresh: list[Series] = []
        self.forgotten = -1
        self.frame: list[Series] = []
        self.refused: list[Series] = []
        self.rejected: Counter[tuple[str, str]] = Counter()
        self.present: set[tuple[str, str]] = set()
        self.unclaimed: set[str] = set()
        self.wrong_types: dict[str, str] = {}
        self.rest: dict[tuple[str, str], RawMetric] = {}
        self.quantiles: set[str] = set()
        self.labels: dict[str, tuple[RawMetric, set[str]]] = {}
        self.templates: dict[str, dict[tuple[str, str], bool]] = {}
        self.process_start: dict[str, float] = {}
        self.lines = self.samples = self.taken = 0
        self.scrape = 0
        self._complete = True
        self._layouts = Layouts()
        self._renew = False
        self._read = 0
        self._doubts: set[int] | None = set()
        self._doubted: set[int] | None = None
        self._held: list[tuple[Metric, Labelled]] = []
        self._means: dict[int, RawMetric] = {}
        self._unread: set[str] = set()
        self._systems: dict[str, str] = {}
        self._shared: list[tuple[Metric, Labelled]] = []
        self._strangers: set[str] = set()
        self._without_numbers: list[Series] = []
        self._begun: list[tuple[int, frozenset[tuple[str, str]]]] = []
        self._begun_things: list[tuple[int, Things]] = []
        self._spellings: list[tuple[Series, list[tuple[int, frozenset[tuple[str, str]]]]]] = []
        self._pairs: dict[tuple[int, frozenset[tuple[str, str]]], tuple[Series, dict[str, Series]]] = {}

    def begin(self) -> None:
        self.scrape += 1
        # Broken lines have names as well.
        self._bound_names()
        self._doubts = set()
        self.refused = []
        self.frame = []
        self.pushes.begin()
        self._held = []
        self._shared = []
        self._without_numbers = []
        self.rejected.clear()
        self.present = set()
        self.unclaimed = set()
        self.wrong_types = {}
        self.process_start = {}
        self.lines = self.samples = self.taken = 0
        if not self._complete:
            # What an answer that broke off has said of some series must not meet what the next one says.
            for series in self.series.values():
                series.clear()
        self._complete = False
        self._begun, self._begun_things = [], []

    def give_up(self) -> None:
        """Forget what began in this scrape, which came to nothing: an answer that is refused costs no memory."""
        self.frame, self._held, self._shared = [], [], []
        if not self._begun:
            return
        gone = [self.series.pop(key) for key in self._begun] + [self.things.pop(key) for key in self._begun_things]
        for series in gone:
            series.numbers = []
        begun = set(map(id, gone))
        self.fresh = [series for series in self.fresh if id(series) not in begun]
        self._spellings = [each for each in self._spellings if id(each[0]) not in begun]
        pairs = self._pairs.items()
        self._pairs = {key: (pair, of) for key, (pair, of) in pairs if begun.isdisjoint(map(id, of.values()))}
        self._begun, self._begun_things = [], []
        self.cache.drop()

    @property
    def complete(self) -> bool:
        """Whether the last payload was read to its end: what it doesn't hold, the target doesn't have."""
        return self._complete and self.scrape > 0

    def context(self) -> object:
        """What decides how a line is read, besides the line: with another system its name may mean something else."""
        return len(self.recogniser.active)

    def reject(self, reason: str, raw_metric: str) -> None:
        self.rejected[reason, raw_metric] += 1

    def again(self, series: Series) -> None:
        """A line said what another one has said already. The first counts."""
        self.reject("duplicate", series.raw.names[0])

    def failed(self, family: str, samples: int = 1, undo: bool = False) -> None:
        """An exception, which is being handled, came of a family: it costs its samples, and nothing else.

        `undo` takes back what the family has said in this scrape.
        """
        logger.debug("%s could not be handled", family, exc_info=True)
        self.rejected["error", family] += max(samples, 1)
        self.cache.forgo()
        raws = [match.raw for match in self.recogniser.candidates(family)]
        for raw in raws:
            self.doubt(raw)
        if undo:
            own = {id(each) for raw in raws for each in (raw, self._means.get(id(raw)))}
            for series in self.series.values():
                if id(series.raw) in own:
                    series.clear()

    def doubt(self, raw: RawMetric | None) -> None:
        """Remember that this payload has lost a line of `raw`, or of who knows what."""
        if raw is None:
            self._doubts = None
        elif self._doubts is not None:
            pairs = self.recogniser.halves(raw)
            self._doubts.update((id(raw), id(self._means.get(id(raw))), *(id(pair) for pair, _ in pairs)))

    def surely_new(self, series: Series) -> bool:
        """Whether a series without a past would have been seen, had it been in an earlier payload."""
        return self._doubted is not None and id(series.raw) not in self._doubted

    def declare(self, declared: Declared) -> None:
        """Take note of what the payload declares and has no samples of: the target has it, used or not."""
        self.present.update(declared.present)
        if declared.unclaimed:
            self.unclaim(declared.unclaimed)

    def add(self, metric: Metric, samples: Callable[[Metric], Labelled]) -> None:
        """Take one family. `samples` yields what the instance's options let through."""
        name, cache = metric.name, self.cache
        self.samples += len(metric.samples)
        self._bound_names()
        match = self.recogniser.match(name, metric.type)
        if match is not None:
            cache.ignore()
            if not metric.samples:
                declared = Declared(tuple(("", spelling.removesuffix("_total")) for spelling in match.raw.names))
                self.declare(declared)
                cache.declares(declared)
            self._take(match, metric, samples(metric))
        elif self.recogniser.undecided(name):
            cache.forgo()
            self._held.append((metric, list(samples(metric))))
        elif self.recogniser.ignores(name):
            cache.ignore()
            if not metric.samples:
                cache.declares(Declared())
        elif (raw := self._passed_on(name, metric.type)) is not None:
            cache.ignore()
            if not metric.samples:
                cache.declares(Declared())
            self._take_rest(raw, metric, samples(metric))
        else:
            cache.ignore(name)
            self.unclaim(name)
            if not metric.samples:
                cache.declares(Declared(unclaimed=name))
        if name == "process_start_time_seconds":
            cache.forgo()
            self._started(samples(metric))
        elif name == PUSH_TIME:
            cache.forgo()
            self.pushes.note((labels, sample.value) for _, sample, labels, _ in samples(metric))

    def _bound_names(self) -> None:
        if len(self.recogniser) > MAX_NAMES:
            self.recogniser.forget()

    def unclaim(self, family: str) -> None:
        """Take note of the name of a family that nobody knows."""
        if len(self.unclaimed) < MAX_NAMES:
            self.unclaimed.add(family)

    def _started(self, samples: Labelled) -> None:
        """Take note of when processes started. Of several behind one target the oldest speaks for it."""
        for _, sample, labels, _ in samples:
            if isfinite(start := sample.value):
                group = federated_target(labels)
                self.process_start[group] = min(start, self.process_start.get(group, start))

    def finish(self) -> None:
        """Decide what had to wait for the end of the payload, make readings of the numbers, and drop what is wrong."""
        unread = set()
        for metric, samples in self._held:
            match = self.recogniser.match(metric.name, metric.type)
            if match is not None:
                try:
                    self._take(match, metric, samples)
                except Exception:
                    self.failed(metric.name, undo=True)
                continue
            unread.add(metric.name)
            raw = self._passed_on(metric.name, metric.type)
            if raw is None:
                self.unclaim(metric.name)
            else:
                self._take_rest(raw, metric, samples)
        self._held = []
        self._unread = unread
        strangers = set()
        for metric, samples in self._shared:
            strangers |= {federated_target(labels) for _, _, labels, _ in self._take_shared(metric, samples)}
        self._shared = []
        self._strangers = strangers
        ages = self.pushes.complete() or self.stale_after is not None
        now = time.time()
        self._read = 0
        several: dict[int, tuple[Series, list[Series]]] = {}
        for (_, identity), series in self.series.items():
            try:
                if series.read(self._layouts):
                    self._meet(series)
                    self._read += 1
                    self._renew = self._renew or not series.numbers
                    stale = ages and self._stale(series, identity, now)
                    if stale:
                        self.reject("stale", series.raw.names[0])
                    taken = not stale and sound(series, self.reject)
                    if series.whole is None:
                        (self.frame if taken else self.refused).append(series)
                    else:
                        parts = several.setdefault(id(series.whole), (series.whole, []))[1]
                        if taken:
                            parts.append(series)
            except Exception:
                series.clear()
                self.failed(series.raw.names[0])
        for series in self._without_numbers:
            if series.seen != self.scrape:
                self._meet(series)
                self.refused.append(series if series.whole is None else series.whole)
        for series, keys in self._spellings:
            better = (self.series.get(key) for key in keys)
            series.outdone = any(each is not None and each.seen == self.scrape for each in better)
        for series, parts in several.values():
            series.seen = self.scrape
            try:
                if parts:
                    self._gather(series, parts)
                (self.frame if parts else self.refused).append(series)
            except Exception:
                self.failed(series.raw.names[0])
        if self._pairs:
            self._pair_up()
        self._complete = True

    def _half(self, series: Series, identity: frozenset[tuple[str, str]]) -> None:
        """Remember of which pairs a new series is a half."""
        for raw, part in self.recogniser.halves(series.raw):
            pair = self._pairs.get((id(raw), identity))
            if pair is None:
                made = self._made(raw, dict(sorted(identity)), series.hostname, identity)
                pair = self._pairs[id(raw), identity] = (made, {})
            pair[0].past.older |= series.past.older
            pair[1][part] = series

    def _pair_up(self) -> None:
        """Make a reading of each pair whose sum and count have come and are sound."""
        taken = set(map(id, self.frame))
        for series, halves in self._pairs.values():
            total, count = halves.get("sum"), halves.get("count")
            if total is None or count is None or id(total) not in taken or id(count) not in taken:
                continue
            series.seen, series.timestamp = self.scrape, total.timestamp
            series.outdone = total.outdone or count.outdone
            series.current = Reading(0.0, count.current.value, total.current.value)
            (self.frame if sound(series, self.reject) else self.refused).append(series)

    def _gather(self, series: Series, parts: list[Series]) -> None:
        """The one reading of a thing of which several series tell the same, with the tags that they share."""
        numbers = tuple(map(id, parts))
        if numbers != series.parts:
            series.parts = numbers
            series.outputs = shared_outputs([part.outputs for part in parts])
        highest = max(parts, key=lambda part: part.current.size)
        series.outdone = all(part.outdone for part in parts)
        series.current, series.hostname, series.group = highest.current, highest.hostname, highest.group
        series.timestamp = max((part.timestamp for part in parts if part.timestamp is not None), default=None)

    def _stale(self, series: Series, labels: frozenset[tuple[str, str]], now: float) -> bool:
        """Whether a reading is too old to be sent, by the time of its push, or its own where the instance asks."""
        moment, limit = self.pushes.time_of(labels), self.stale_after
        if moment is None:
            return limit is not None and series.timestamp is not None and now - series.timestamp > limit
        return now - moment > (PUSHED_FOR if limit is None else limit)

    def _meet(self, series: Series) -> None:
        series.seen = self.scrape
        if not series.raw.shared:
            self.present.update(series.names)
        if series.stamped != self.scrape:
            series.timestamp = None

    def _take(self, match: Match, family: Metric, samples: Labelled) -> None:
        if match.raw.shared:
            if waiting := self._take_shared(family, samples):
                self._shared.append((family, waiting))
        elif match.part != "created":
            self.take(match.raw, family, samples, match.part, match.required_label)

    def _take_shared(self, family: Metric, samples: Labelled) -> list[Item]:
        """Read a metric that all systems have, each sample as its target's system has it. Returns what has none yet."""
        found: dict[RawMetric, list[Item]] = {}
        waiting = []
        active = self.recogniser.active
        for item in samples:
            number, _, labels, _ = item
            group = federated_target(labels)
            # What is scraped directly is of the one system there is, also before any other metric of it has come.
            system = self._systems.get(group) or (active[0] if len(active) == 1 and not group else None)
            if system is None:
                self.cache.into(number, None)
                waiting.append(item)
            elif (raw := self.recogniser.shared(family.name, system)) is not None:
                found.setdefault(raw, []).append(item)
        for raw, items in found.items():
            self.take(raw, family, items)
        return waiting

    def take(
        self,
        raw: RawMetric,
        family: Metric,
        samples: Labelled,
        piece: str = "",
        required_label: str = "",
    ) -> None:
        """Read the samples of one family as `raw`, or as the `piece` of it that the family holds.

        They are read in the shape that they have. What `raw` can't be in that shape is refused.
        """
        grouped = bool(piece) or family.type in GROUPED
        shaped = raw if raw.grouped or not grouped else self._mean_of(raw)
        for number, sample, labels, hostname in samples:
            if required_label and required_label not in labels:
                continue
            self.taken += 1
            part: Part | None = piece or self._part(family, sample.name, labels, grouped or raw.grouped)
            if part is None:
                if "quantile" in labels:
                    self.quantiles.add(raw.names[0])
                continue
            plain = part == "value" and (grouped or raw.grouped)
            piece_of = next((kind for label, kind in OWN_LABELS.items() if label in labels), "")
            stray = part == "value" and any(label in labels and not raw.has_label(label) for label in OWN_LABELS)
            if shaped is None or plain or family.type in NO_SHAPE or stray:
                if not raw.ignore_plain:
                    self._refuse_type(raw, "plain value" if plain else piece_of or family.type)
                continue
            if part == "bucket" and "le" in labels:
                identity = frozenset(item for item in labels.items() if item[0] != "le")
            else:
                identity = frozenset(labels.items())
            series = self.series.get((id(shaped), identity))
            if series is None:
                series = self._new(shaped, dict(sorted(identity)), hostname)
                # What the scrape before had as well, when nobody knew whose it is, has not begun since.
                older = family.name in self._unread or (raw.shared and series.group in self._strangers)
                (series.whole or series).past.older |= older
                self.series[id(shaped), identity] = series
                self._begun.append((id(shaped), identity))
                self._half(series, identity)
                if shaped.better:
                    self._spellings.append((series, [(id(better), identity) for better in shaped.better]))
            if part == "bucket":
                part = _bound(labels)
                if part is None:
                    self.reject("malformed", raw.names[0])
                    self._without_numbers.append(series)
                    self.cache.into(number, None)
                    continue
            index, numbers = series.index_of(part), series.numbers
            if numbers[index] is None:
                numbers[index] = sample.value
            else:
                self.again(series)
            self.cache.into(number, (numbers, index, series))
            if sample.timestamp is not None:
                self.stamp(series, sample.timestamp)

    def _passed_on(self, family: str, kind: str) -> RawMetric | None:
        """A family that nobody knows as a metric of an active system that passes on the rest, None where none does."""
        systems = (self.recogniser.systems[name] for name in self.recogniser.active)
        system = next((system for system in systems if system.rest), None)
        if system is None or self.recogniser.claims(family):
            return None
        raw = self.rest.get((family, kind))
        if raw is None and len(self.rest) < MAX_NAMES and (raw := system.passed_on(family, kind)) is not None:
            self.rest[family, kind] = raw
        return raw

    def _take_rest(self, raw: RawMetric, family: Metric, samples: Labelled) -> None:
        """Read what is passed on, behind a federation that of the targets which are of the system."""
        items = []
        for item in samples:
            group = federated_target(item[2])
            if not group or self._systems.get(group) == raw.system:
                items.append(item)
            else:
                self.cache.into(item[0], None)
        self.take(raw, family, items)

    def _mean_of(self, raw: RawMetric) -> RawMetric | None:
        """What tells a gauge when it comes as a histogram or a summary: the mean of what has come. None for others."""
        if raw.type != "gauge" or raw.states:
            return None
        mean = self._means.get(id(raw))
        if mean is None:
            targets = tuple(replace(target, value="mean") for target in raw.targets)
            better = tuple(filter(None, map(self._mean_of, raw.better)))
            mean = self._means[id(raw)] = replace(raw, type="summary", targets=targets, better=better)
        return mean

    def _refuse_type(self, raw: RawMetric, found: str) -> None:
        self.reject("wrong_type", raw.names[0])
        self.wrong_types[raw.names[0]] = f"{found}, but is a {raw.type} of {raw.system}"
        # It is counted each time.
        self.cache.forgo()

    def stamp(self, series: Series, timestamp: float) -> None:
        """Take a timestamp of a series' sample, in seconds. The newest one counts."""
        if isfinite(timestamp):
            newest = series.timestamp if series.stamped == self.scrape else None
            series.timestamp = max(_seconds(timestamp), newest or 0.0)
            series.stamped = self.scrape

    @staticmethod
    def _part(family: Metric, sample_name: str, labels: Mapping[str, str], grouped: bool) -> str | None:
        if sample_name.endswith("_created") and not family.name.endswith("_created"):
            return None
        if not grouped:
            return "value"
        suffix = sample_name.removeprefix(family.name)
        if suffix in ("_bucket", "_sum", "_count"):
            return suffix[1:]
        # A quantile of a summary is precomputed, and meaningless once aggregated.
        return None if "quantile" in labels else "value"

    def _new(self, raw: RawMetric, labels: dict[str, str], hostname: str) -> Series:
        group, identity = federated_target(labels), raw.identity
        thing = () if identity is None else identity.thing(labels, group)
        if identity is None or not thing:
            return self._made(raw, labels, hostname, labels.items())
        besides = tuple((label, labels[label]) for label in identity.besides if labels.get(label))
        about = {label: value for label, value in labels.items() if label not in identity.inside}
        part = self._made(raw, about, hostname, labels.items())
        part.whole = self.things.get((id(raw), (*thing, *besides)))
        if part.whole is None:
            part.whole = self.things[id(raw), (*thing, *besides)] = self._made(raw, about, hostname, (*thing, *besides))
            part.whole.thing = thing
            self._begun_things.append((id(raw), (*thing, *besides)))
        return part

    def _made(
        self, raw: RawMetric, labels: dict[str, str], hostname: str, identity: Iterable[tuple[str, str]]
    ) -> Series:
        group = federated_target(labels)
        system = self.recogniser.systems[raw.system]
        if not raw.shared:
            self._systems.setdefault(group, raw.system)
        outputs = self._outputs(raw, labels)
        # What the user names besides the catalog has the same raw name.
        key = f"{raw.names[0]}>{raw.targets[0].metric.full_name if raw.targets else ''}{sorted(identity)}"
        starts = system.series_start_at_zero if raw.starts_at_zero is None else raw.starts_at_zero
        names = tuple((group, name.removesuffix("_total")) for name in raw.names)
        series = Series(raw, outputs, hostname, group, key, starts, names)
        self.fresh.append(series)
        series.rising = all(
            output.target.metric.low is not None and output.target.metric.low >= 0 for output in outputs
        )
        return series

    def _outputs(self, raw: RawMetric, labels: dict[str, str]) -> tuple[Output, ...]:
        system = self.recogniser.systems[raw.system]
        said = self.rules.workload(system.labels, labels)
        if raw.own and raw.conditions:
            self.labels.setdefault(raw.names[0], (raw, set()))[1].update(said)
        outputs = tuple(
            Output(
                name=target.metric.full_name,
                target=target,
                tags=self.rules.tags(system.name, system.labels, target, said),
                scale=raw.scale,
            )
            for target in raw.targets
            if target.applies_to(said)
        )
        if raw.own:
            for tag, text, tags in ((*pair, output.tags) for output in outputs for pair in output.target.tags):
                if PLACEHOLDER.search(text):
                    filled = self.templates.setdefault(raw.names[0], {})
                    filled[tag, text] = filled.get((tag, text), False) or bool(tag_value(tags, tag))
        return outputs

    def learn(self, system: str, tags: Mapping[str, str]) -> None:
        """From the next scrape on give the metrics of a system tags that its API has told. What counts goes on."""
        if self.rules.told.get(system) == tags:
            return
        self.rules = replace(self.rules, told={**self.rules.told, system: dict(tags)})
        pairs = ((key, pair) for key, (pair, _) in self._pairs.items())
        for (_, identity), series in chain(self.series.items(), pairs):
            if series.raw.system == system:
                series.outputs = self._outputs(series.raw, dict(sorted(identity)))

    def sweep(self) -> None:
        """Forget series unseen for long, or sooner when most of the memory is of series long gone."""
        if self._doubted is None or self._doubts is None:
            self._doubted = self._doubts if self._doubted is None else self._doubted
        else:
            self._doubted &= self._doubts
        self.cache.end(self.lines)
        if self._renew:
            self._renew = False
            self.cache.renew()
        crowded = len(self.series) > min(4 * self._read + 1000, self.sample_limit)
        if not crowded and self.scrape % SWEEP_EVERY:
            return
        self.forgotten = oldest = self.scrape - (SWEEP_EVERY if crowded else KEEP_UNSEEN)
        gone = [key for key, series in self.series.items() if series.seen <= oldest]
        if len(self.series) - len(gone) > self.sample_limit:
            seen = sorted((series.seen for series in self.series.values()), reverse=True)
            oldest = min(self.scrape - 1, seen[self.sample_limit])
            gone = [key for key, series in self.series.items() if series.seen <= oldest]
        left = {series.group for series in self.series.values() if series.seen > oldest and not series.raw.shared}
        self._systems = {group: system for group, system in self._systems.items() if group in left}
        for key in gone:
            # No line leads to a series that nobody reads any more.
            self.series.pop(key).numbers = []
        self._spellings = [each for each in self._spellings if each[0].seen > oldest]
        pairs = self._pairs.items()
        self._pairs = {key: (pair, of) for key, (pair, of) in pairs if any(each.seen > oldest for each in of.values())}
        for thing in [thing for thing, series in self.things.items() if series.seen <= oldest]:
            del self.things[thing]
        if gone:
            self.cache.renew()


def shared_outputs(each: Sequence[tuple[Output, ...]]) -> tuple[Output, ...]:
    """The outputs that all of several series have, with the tags that they share."""
    if len(each) == 1:
        return each[0]
    others = [{id(output.target): set(output.tags) for output in outputs} for outputs in each[1:]]
    return tuple(
        replace(
            output, tags=tuple(tag for tag in output.tags if all(tag in tags[id(output.target)] for tags in others))
        )
        for output in each[0]
        if all(id(output.target) in tags for tags in others)
    )


def _bound(labels: Mapping[str, str]) -> float | None:
    """The upper bound of a bucket, None where there is none."""
    try:
        bound = float(labels["le"])
    except (KeyError, ValueError):
        return None
    return None if isnan(bound) else bound


def _seconds(timestamp: float) -> float:
    """A time of this century in epoch seconds, also where a wrong content type had it parsed in another unit."""
    if timestamp > 1e11:
        return timestamp / 1000
    return timestamp * 1000 if 1e6 <= timestamp < 1e7 else timestamp


def federated_target(labels: Mapping[str, str]) -> str:
    """Which scrape target a federated series came from; empty for one that was scraped directly."""
    job, instance = labels.get("job"), labels.get("instance")
    return f"{job}\n{instance}" if job and instance else ""
