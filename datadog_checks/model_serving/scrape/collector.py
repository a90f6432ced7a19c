"""Collects one scrape: every sample of the payload finds its series, and nothing is submitted yet.

Only when the payload has been read to its end do the readings count, so an answer that breaks off
leaves the memory as it was.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import inf, isfinite, isnan
from typing import Any

from prometheus_client import Metric

from ..catalog.model import RawMetric
from ..catalog.recognise import Match, Recogniser
from ..submit.series import Layouts, Output, Part, Series
from ..submit.validate import sound
from .exposition.cache import Declared, LineCache
from .tags import TagRules

logger = logging.getLogger(__name__)

KEEP_UNSEEN = 240
"""Scrapes for which a vanished series is remembered, an hour at the Agent's default interval."""

SWEEP_EVERY = 16
MAX_NAMES = 20_000
OWN_LABELS = {"histogram": "le", "window_histogram": "le", "summary": "quantile"}
Labelled = Iterable[tuple[int, Any, Mapping[str, str], str]]
"""Samples of one family: number, sample, labels, and the host name that a label gives, if any."""


class Collector:
    """The series of one source, and the readings of the scrape that is going on.

    `lines` and `samples` are how many the payload holds, `taken` how many of the parsed ones the catalog knows,
    `rejected` how many were refused by (reason, raw metric); `unclaimed` are names that nobody knows, `present` the raw
    metrics that the payload has, as (federated target, name without `_total`). `cache` is what is known of its lines.
    """

    def __init__(self, recogniser: Recogniser, rules: TagRules) -> None:
        self.recogniser = recogniser
        self.rules = rules
        self.cache = LineCache()
        self.series: dict[tuple[int, frozenset[tuple[str, str]]], Series] = {}
        self.frame: list[Series] = []
        self.refused: list[Series] = []
        self.rejected: Counter[tuple[str, str]] = Counter()
        self.present: set[tuple[str, str]] = set()
        self.unclaimed: set[str] = set()
        self.process_start: dict[str, float] = {}
        self.lines = self.samples = self.taken = 0
        self.scrape = 0
        self._complete = True
        self._layouts = Layouts()
        self._renew = False
        self._doubts: set[int] | None = set()
        self._doubted: set[int] | None = None
        self._held: list[tuple[str, Labelled]] = []
        self._without_numbers: list[Series] = []

    def begin(self) -> None:
        self.scrape += 1
        # Broken lines have names as well.
        self._bound_names()
        self._doubts = set()
        self.refused = []
        self.frame = []
        self._held = []
        self._without_numbers = []
        self.rejected.clear()
        self.present = set()
        self.unclaimed = set()
        self.process_start = {}
        self.lines = self.samples = self.taken = 0
        if not self._complete:
            # What an answer that broke off has said of some series must not meet what the next one says.
            for series in self.series.values():
                series.clear()
        self._complete = False

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
            for series in self.series.values():
                if any(series.raw is raw for raw in raws):
                    series.clear()

    def doubt(self, raw: RawMetric | None) -> None:
        """Remember that this payload has lost a line of `raw`, or of who knows what."""
        if raw is None:
            self._doubts = None
        elif self._doubts is not None:
            self._doubts.add(id(raw))

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
        match = self.recogniser.match(name)
        if match is not None:
            cache.ignore()
            if not metric.samples:
                declared = Declared(tuple(("", spelling.removesuffix("_total")) for spelling in match.raw.names))
                self.declare(declared)
                cache.declares(declared)
            self._take(match, name, samples(metric))
        elif self.recogniser.undecided(name):
            cache.forgo()
            self._held.append((name, list(samples(metric))))
        elif self.recogniser.ignores(name):
            cache.ignore()
            if not metric.samples:
                cache.declares(Declared())
        else:
            cache.ignore(name)
            self.unclaim(name)
            if not metric.samples:
                cache.declares(Declared(unclaimed=name))
        if name == "process_start_time_seconds":
            cache.forgo()
            self._started(samples(metric))

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
            if isfinite(start := _float(sample.value)):
                group = federated_target(labels)
                self.process_start[group] = min(start, self.process_start.get(group, start))

    def finish(self) -> None:
        """Decide what had to wait for the end of the payload, make readings of the numbers, and drop what is wrong."""
        for name, samples in self._held:
            match = self.recogniser.match(name)
            if match is not None:
                try:
                    self._take(match, name, samples)
                except Exception:
                    self.failed(name, undo=True)
            else:
                self.unclaim(name)
        self._held = []
        for series in self.series.values():
            try:
                if series.read(self._layouts):
                    self._meet(series)
                    self._renew = self._renew or not series.numbers
                    (self.frame if sound(series, self.reject) else self.refused).append(series)
            except Exception:
                series.clear()
                self.failed(series.raw.names[0])
        for series in self._without_numbers:
            if series.seen != self.scrape:
                self._meet(series)
                self.refused.append(series)
        self._complete = True

    def _meet(self, series: Series) -> None:
        series.seen = self.scrape
        self.present.update(series.names)
        if series.stamped != self.scrape:
            series.timestamp = None

    def _take(self, match: Match, family: str, samples: Labelled) -> None:
        if match.part != "created":
            self.take(match.raw, family, samples, match.part, match.required_label)

    def take(
        self,
        raw: RawMetric,
        family: str,
        samples: Labelled,
        piece: str = "",
        required_label: str = "",
    ) -> None:
        """Read the samples of one family as `raw`, or as the `piece` of it that the family holds."""
        own_label = OWN_LABELS.get(raw.type)
        for number, sample, labels, hostname in samples:
            if required_label and required_label not in labels:
                continue
            self.taken += 1
            part: Part | None = piece or self._part(raw, family, sample.name)
            if part is None:
                continue
            if own_label is not None and own_label in labels:
                identity = frozenset(item for item in labels.items() if item[0] != own_label)
            else:
                identity = frozenset(labels.items())
            series = self.series.get((id(raw), identity))
            if series is None:
                series = self._new(raw, dict(sorted(identity)), hostname)
                self.series[id(raw), identity] = series
            if part == "bucket":
                part = _bound(labels)
                if part is None:
                    self.reject("malformed", raw.names[0])
                    self._without_numbers.append(series)
                    self.cache.into(number, None)
                    continue
            index, numbers = series.index_of(part), series.numbers
            if numbers[index] is None:
                numbers[index] = _float(sample.value)
            else:
                self.again(series)
            self.cache.into(number, (numbers, index, series))
            if sample.timestamp is not None:
                self.stamp(series, float(sample.timestamp))

    def stamp(self, series: Series, timestamp: float) -> None:
        """Take a timestamp of a series' sample, in seconds. The newest one counts."""
        if isfinite(timestamp):
            newest = series.timestamp if series.stamped == self.scrape else None
            series.timestamp = max(_seconds(timestamp), newest or 0.0)
            series.stamped = self.scrape

    @staticmethod
    def _part(raw: RawMetric, family: str, sample_name: str) -> str | None:
        if sample_name.endswith("_created") and not family.endswith("_created"):
            return None
        if not raw.grouped:
            return "value"
        suffix = sample_name.removeprefix(family)
        # Without a suffix it is a quantile of a summary: precomputed, and meaningless once aggregated.
        return suffix[1:] if suffix in ("_bucket", "_sum", "_count") else None

    def _new(self, raw: RawMetric, labels: dict[str, str], hostname: str) -> Series:
        system = self.recogniser.systems[raw.system]
        outputs = tuple(
            Output(
                name=target.metric.full_name,
                target=target,
                tags=self.rules.tags(system.name, system.labels, target, labels),
                scale=raw.scale,
            )
            for target in raw.targets
            if target.applies_to(labels)
        )
        # What the user names besides the catalog has the same raw name.
        key = f"{raw.names[0]}>{raw.targets[0].metric.full_name}{sorted(labels.items())}"
        group = federated_target(labels)
        starts = system.series_start_at_zero if raw.starts_at_zero is None else raw.starts_at_zero
        names = tuple((group, name.removesuffix("_total")) for name in raw.names)
        series = Series(raw, outputs, hostname, group, key, starts, names)
        series.rising = all(
            output.target.metric.low is not None and output.target.metric.low >= 0 for output in outputs
        )
        return series

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
        crowded = len(self.series) > 4 * len(self.frame) + 1000
        if not crowded and self.scrape % SWEEP_EVERY:
            return
        oldest = self.scrape - (SWEEP_EVERY if crowded else KEEP_UNSEEN)
        gone = [key for key, series in self.series.items() if series.seen <= oldest]
        for key in gone:
            # No line leads to a series that nobody reads any more.
            self.series.pop(key).numbers = []
        if gone:
            self.cache.renew()


def _float(value: float) -> float:
    """A sample's value as a float without a negative zero. Whole numbers of any size come from the parsers."""
    try:
        return float(value) + 0.0
    except OverflowError:
        return inf


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
