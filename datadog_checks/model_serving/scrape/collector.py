"""Collects one scrape: every sample of the payload finds its series, and nothing is submitted yet.

Only when the payload has been read to its end do the readings count, so an answer that breaks off
leaves the memory as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import isfinite, isnan, nan
from typing import Any

from prometheus_client import Metric

from ..catalog.model import RawMetric
from ..catalog.recognise import Match, Recogniser
from ..submit.series import Output, Reading, Series
from ..submit.validate import sound
from .exposition.trace import Trace
from .tags import TagRules

KEEP_UNSEEN = 240
"""Scrapes for which a vanished series is remembered, an hour at the Agent's default interval."""

SWEEP_EVERY = 16
MAX_NAMES = 20_000
OWN_LABELS = {"histogram": "le", "window_histogram": "le", "summary": "quantile"}
Labelled = Iterable[tuple[int, Any, Mapping[str, str], str]]
"""Samples of one family: number in the block of lines, sample, labels, and the host name that a label gives, if any."""


class Collector:
    """The series of one source, and the readings of the scrape that is going on.

    `samples` is how many the payload holds, `taken` how many of them the catalog knows, `rejected` how
    many were refused by (reason, raw metric); `families` are the names of the payload, `present` the raw metrics
    with series in it, as (federated target, name without `_total`).
    """

    def __init__(self, recogniser: Recogniser, rules: TagRules) -> None:
        self.recogniser = recogniser
        self.rules = rules
        self.series: dict[tuple[int, frozenset[tuple[str, str]]], Series] = {}
        self.frame: list[Series] = []
        self.rejected: Counter[tuple[str, str]] = Counter()
        self.families: set[str] = set()
        self.present: set[tuple[str, str]] = set()
        self.unclaimed: set[str] = set()
        self.process_start: dict[str, float] = {}
        self.samples = self.taken = 0
        self.scrape = 0
        self.refused: list[Series] = []
        self._doubts: set[int] | None = set()
        self._doubted: set[int] | None = None
        self._held: list[tuple[str, Labelled]] = []
        self.trace: Trace | None = None

    def begin(self) -> None:
        self.scrape += 1
        self._doubts = set()
        self.refused = []
        self.frame = []
        self._held = []
        self.rejected.clear()
        self.families = set()
        self.present = set()
        self.unclaimed = set()
        self.process_start = {}
        self.samples = self.taken = 0
        self.trace = None

    def reject(self, reason: str, raw_metric: str) -> None:
        self.rejected[reason, raw_metric] += 1
        if self.trace is not None:
            self.trace.spoilt = True

    def doubt(self, raw: RawMetric | None) -> None:
        """Remember that this payload has lost a line of `raw`, or of who knows what."""
        if raw is None:
            self._doubts = None
        elif self._doubts is not None:
            self._doubts.add(id(raw))

    def surely_new(self, series: Series) -> bool:
        """Whether a series without a past would have been seen, had it been in an earlier payload."""
        return self._doubted is not None and id(series.raw) not in self._doubted

    def add(self, metric: Metric, samples: Callable[[Metric], Labelled]) -> None:
        """Take one family. `samples` yields what the instance's options let through."""
        name = metric.name
        trace = self.trace
        self.samples += len(metric.samples)
        self.name(name)
        if trace is not None:
            trace.families.append(name)
        if name == "process_start_time_seconds":
            for number, sample, labels, _ in samples(metric):
                group = federated_target(labels)
                self.started(group, sample.value)
                if trace is not None:
                    trace.starts.append((group, number))
        match = self.recogniser.match(name)
        if match is not None:
            if not metric.samples:
                # Declared and never used yet: the target has it all the same.
                declared = [("", spelling.removesuffix("_total")) for spelling in match.raw.names]
                self.present.update(declared)
                if trace is not None:
                    trace.present.update(declared)
            self._take(match, metric.name, samples(metric))
        elif self.recogniser.undecided(name):
            self._held.append((name, list(samples(metric))))
            if trace is not None:
                trace.spoilt = True
        elif not self.recogniser.ignores(name):
            self.unclaim(name)
            if trace is not None:
                trace.unclaimed.append(name)

    def name(self, family: str) -> None:
        """Take note of a family's name."""
        if len(self.recogniser) > MAX_NAMES:
            self.recogniser.forget()
        if len(self.families) < MAX_NAMES or self.recogniser.candidates(family):
            self.families.add(family)

    def unclaim(self, family: str) -> None:
        """Take note of the name of a family that nobody knows."""
        if len(self.unclaimed) < MAX_NAMES:
            self.unclaimed.add(family)

    def started(self, group: str, start: float) -> None:
        """Take note of when a process of a target started. Of several processes behind one the oldest speaks for it."""
        if isfinite(start):
            self.process_start[group] = min(start, self.process_start.get(group, start))

    def finish(self) -> None:
        """Decide what had to wait for the end of the payload, check readings, and drop what is wrong."""
        for name, samples in self._held:
            match = self.recogniser.match(name)
            if match is not None:
                self._take(match, name, samples)
            else:
                self.unclaim(name)
        self._held = []
        frame, self.frame = self.frame, []
        for series in frame:
            (self.frame if sound(series, self.reject) else self.refused).append(series)

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
        trace = self.trace
        for number, sample, labels, hostname in samples:
            if required_label and required_label not in labels:
                continue
            self.taken += 1
            part = piece or self._part(raw, family, sample.name)
            if part is None:
                continue
            value = sample.value
            if own_label is not None and own_label in labels:
                identity = frozenset(item for item in labels.items() if item[0] != own_label)
            else:
                identity = frozenset(labels.items())
            series = self.series.get((id(raw), identity))
            if series is None:
                series = self._new(raw, dict(sorted(identity)), hostname)
                self.series[id(raw), identity] = series
            if series.seen != self.scrape:
                self.meet(series, Reading(nan))
                self.present.update(series.names)
            if part != "bucket" and not isfinite(value):
                self.reject("non_finite", raw.names[0])
                continue
            bound = 0.0
            if part == "bucket":
                found = _bound(labels)
                if found is None:
                    self.reject("malformed", raw.names[0])
                else:
                    bound = found
                    self.read(series, part, bound, value)
            else:
                self.read(series, part, bound, value)
            if sample.timestamp is not None:
                self.stamp(series, float(sample.timestamp))
            if trace is not None:
                trace.rows.append((number, series, part, bound))

    def meet(self, series: Series, reading: Reading) -> None:
        """Begin the reading of a series in this scrape."""
        series.seen = self.scrape
        series.current = reading
        series.timestamp = None
        self.frame.append(series)

    def read(self, series: Series, part: str, bound: float, value: float) -> None:
        """Take one number of a series: its `value`, `count`, `sum`, or the bucket up to `bound`."""
        reading = series.current
        if part == "bucket":
            new = reading.add_bucket(bound, value)
        elif part == "value":
            new = isnan(reading.value)
        else:
            new = getattr(reading, part) is None
        if not new:
            self.reject("duplicate", series.raw.names[0])
        elif part != "bucket":
            setattr(reading, part, value)

    @staticmethod
    def stamp(series: Series, timestamp: float) -> None:
        """Take a timestamp of a series' sample, in seconds. The newest one counts."""
        if isfinite(timestamp):
            series.timestamp = max(_seconds(timestamp), series.timestamp or 0.0)

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
        crowded = len(self.series) > 4 * len(self.frame) + 1000
        if not crowded and self.scrape % SWEEP_EVERY:
            return
        oldest = self.scrape - (SWEEP_EVERY if crowded else KEEP_UNSEEN)
        self.series = {key: series for key, series in self.series.items() if series.seen > oldest}


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
