"""What runs have given, as Prometheus wants it: counters that go on, gauges of now, histograms with fixed buckets."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from ....catalog.model import MOMENTS, NAMESPACE, Catalog
from ...standin.aggregation import Commit, Context
from ...standin.recorder import ServiceCheck
from ...standin.sketch import Sketch, key_of
from .names import bounds_of, family_name, labels_of, unit_suffix

FROM_ZERO = 70.0
"""Seconds for which a new counter shows 0, so that whoever scrapes once a minute sees it begin: `increase()` counts
only what has come since a first sample."""

FORGOTTEN = 86400.0
"""Seconds after which a counter that no run has given is forgotten where room is needed."""

SWEEP_SECONDS = 60.0

MOST = 100_000
"""Contexts that are kept at most."""

LEFT_OUT = (
    f"{NAMESPACE}_bridge_exposition_left_out",
    f"Counts that were not taken since {MOST} contexts are exposed already.",
)
STATES = "0 is OK, 1 warning, 2 critical, 3 unknown."
SERVICE_CHECK_SUFFIX = ".status"

SUFFIXES = {"counter": ("", "_total"), "gauge": ("",), "histogram": ("", "_bucket", "_count", "_sum")}
"""What a family of some type adds to its name."""

SeriesLabels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Total:
    """A counter of one context. `born` and `touched` are when it was first and last given, in seconds."""

    born: float
    touched: float
    value: float = 0.0

    def samples(self, metric: Metric, labels: dict[str, str], zero: bool) -> None:
        """Add its samples to a family, at zero as long as it is new."""
        metric.add_sample(f"{metric.name}_total", labels, 0.0 if zero else self.value)


@dataclass(slots=True)
class BucketTotal(Total):
    """A histogram of one context: observations by bucket, not cumulative. Its value is how many there were."""

    sum: float = 0.0
    bounds: tuple[float, ...] = ()
    counts: list[int] = field(default_factory=list)

    def add(self, sketch: Sketch) -> None:
        """Take the observations of a sketch, each with the precision that the sketch has.

        A value and a bound that share a key are taken as equal: so what was placed at the bound counts below it.
        """
        self.counts = self.counts or [0] * len(self.bounds)
        keys = _keys(self.bounds)
        for key, count in sketch.bins.items():
            at = bisect_left(keys, key)
            if at < len(keys):
                self.counts[at] += count

    def samples(self, metric: Metric, labels: dict[str, str], zero: bool) -> None:
        below = 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            below += 0 if zero else count
            metric.add_sample(f"{metric.name}_bucket", {**labels, "le": floatToGoString(bound)}, below)
        total = 0.0 if zero else max(self.value, below)
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": "+Inf"}, total)
        if self.bounds[0] >= 0:
            # A sum of values below zero is no counter, and OpenMetrics has both or none.
            metric.add_sample(f"{metric.name}_count", labels, total)
            metric.add_sample(f"{metric.name}_sum", labels, 0.0 if zero else self.sum)


@lru_cache(maxsize=64)
def _keys(bounds: tuple[float, ...]) -> list[int]:
    """The keys of a sketch up to which its observations are in the buckets."""
    return [key_of(bound) for bound in bounds]


@dataclass(frozen=True, slots=True)
class FamilyKey:
    """A family of the exposition: its name without what its type adds, its type, the unit that the name says."""

    name: str
    kind: str
    unit: str
    help: str


class MetricsExposition:
    """The exposition of all instances together. May be used by several threads. `clock` gives seconds.

    Counts add up over all runs of all instances, from the start of the process. Gauges and states of services are
    those of the last run of each instance: what a run doesn't give any more is not exposed.
    """

    def __init__(self, catalog: Catalog, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._left_out = Total(-math.inf, 0.0)
        self._swept = -math.inf
        self._catalog = catalog
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._families: dict[tuple[str, str], FamilyKey | None] = {}
        self._names: dict[str, FamilyKey] = {}
        self._labels: dict[tuple[tuple[str, ...], str], SeriesLabels] = {}
        self._totals: dict[FamilyKey, dict[SeriesLabels, Total]] = {}
        self._gauges: dict[str, dict[FamilyKey, dict[SeriesLabels, float]]] = {}
        self._distributions = {metric.full_name for metric in catalog.metrics.values() if metric.type == "distribution"}
        # PromQL has these of the gauge itself, and their sum may fall, which no counter does.
        self._moments = {
            f"{metric.full_name}.{part}" for metric in catalog.metrics.values() if metric.moments for part in MOMENTS
        }

    def record(self, source: str, commit: Commit, checks: Iterable[ServiceCheck] = ()) -> None:
        """Take what a run of `source` has given, in the place of the gauges that its run before gave."""
        now = self._clock()
        gauges: dict[FamilyKey, dict[SeriesLabels, float]] = {}
        with self._lock:
            self._gauges[source] = gauges
            self._distributions.update(each.context.name for each in commit.distributions)
            for point in commit.series:
                base, _, part = point.context.name.rpartition(".")
                if point.context.name in self._moments:
                    continue
                if point.type != "count":
                    self._gauge(gauges, point.context, point.value)
                elif part in ("sum", "count") and base in self._distributions:
                    histogram = self._histogram(base, point.context, now)
                    if histogram is not None and part == "sum":
                        histogram.sum += point.value
                    elif histogram is not None:
                        histogram.value += point.value
                else:
                    counter = self._total(self._family(point.context.name, "counter"), point.context, now, Total)
                    if counter is not None:
                        counter.value += point.value
            totals = {point.context for point in commit.series if point.type == "count"}
            for each in commit.distributions:
                context = each.context
                histogram = self._histogram(context.name, context, now)
                if histogram is None:
                    continue
                histogram.add(each.sketch)
                # Without totals of their own, which are exact, the sketch's must do.
                if context._replace(name=f"{context.name}.count") not in totals:
                    histogram.value += each.sketch.count
                if context._replace(name=f"{context.name}.sum") not in totals:
                    histogram.sum += each.sketch.sum
            for check in checks:
                context = Context(f"{check.name}{SERVICE_CHECK_SUFFIX}", check.tags, check.host)
                self._gauge(gauges, context, float(check.status))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type: OpenMetrics where `accept` asks for it, else the text of Prometheus."""
        encode, content_type = choose_encoder(accept)
        with self._lock:
            families = list(self.collect())
        return encode(_Collected(families)), content_type

    def collect(self) -> Iterator[Metric]:
        """All families, in the order of their names."""
        now = self._clock()
        found: dict[FamilyKey, dict[SeriesLabels, float]] = {}
        for gauges in self._gauges.values():
            for family, series in gauges.items():
                found.setdefault(family, {}).update(series)
        for family in sorted((*found, *self._totals), key=lambda family: family.name):
            metric = Metric(family.name, family.help, family.kind, family.unit)
            for labels, value in sorted(found.get(family, {}).items()):
                metric.add_sample(metric.name, dict(labels), value)
            for labels, total in sorted(self._totals.get(family, {}).items(), key=lambda item: item[0]):
                total.samples(metric, dict(labels), now - total.born < FROM_ZERO)
            yield metric
        metric = Metric(*LEFT_OUT, "counter")
        self._left_out.samples(metric, {}, False)
        yield metric

    def _gauge(self, gauges: dict[FamilyKey, dict[SeriesLabels, float]], context: Context, value: float) -> None:
        family = self._family(context.name, "gauge")
        if family is not None:
            gauges.setdefault(family, {})[self._labels_of(context)] = value

    def _histogram(self, base: str, context: Context, now: float) -> BucketTotal | None:
        total = self._total(self._family(base, "histogram"), context, now, BucketTotal)
        if not isinstance(total, BucketTotal):
            return None
        if not total.bounds:
            total.bounds = bounds_of(self._catalog.metrics.get(base.removeprefix(f"{NAMESPACE}.")))
        return total

    def _total(self, family: FamilyKey | None, context: Context, now: float, make: type[Total]) -> Total | None:
        if family is None:
            return None
        labels = self._labels_of(context)
        totals = self._totals.setdefault(family, {})
        total = totals.get(labels)
        if total is None:
            if sum(map(len, self._totals.values())) >= self._most and not self._sweep(now):
                self._left_out.value += 1
                return None
            total = totals[labels] = make(now, now)
        total.touched = now
        return total

    def _sweep(self, now: float) -> bool:
        """Forget what nobody has given for long. Returns whether there was any."""
        if now - self._swept < SWEEP_SECONDS:
            return False
        self._swept = now
        old = [
            (family, labels)
            for family, totals in self._totals.items()
            for labels, total in totals.items()
            if now - total.touched > FORGOTTEN
        ]
        for family, labels in old:
            del self._totals[family][labels]
        return bool(old)

    def _labels_of(self, context: Context) -> SeriesLabels:
        key = context.tags, context.host
        labels = self._labels.get(key)
        if labels is None:
            if len(self._labels) > 2 * self._most:
                self._labels.clear()
            labels = self._labels[key] = labels_of(context.tags, context.host)
        return labels

    def _family(self, name: str, kind: str) -> FamilyKey | None:
        """The family of a metric. None for one of whose names another family has one already."""
        if (name, kind) not in self._families:
            unit, text = self._described(name, kind)
            said = family_name(name, unit)
            if kind == "counter":
                said = said.removesuffix("_total")
            family = FamilyKey(said, kind, unit_suffix(unit), text)
            names = [f"{said}{suffix}" for suffix in SUFFIXES[kind]]
            free = all(self._names.setdefault(one, family) == family for one in names)
            self._families[name, kind] = family if free else None
        return self._families[name, kind]

    def _described(self, name: str, kind: str) -> tuple[str, str]:
        own = name.removeprefix(f"{NAMESPACE}.")
        if kind == "gauge" and name.endswith(SERVICE_CHECK_SUFFIX) and own not in self._catalog.metrics:
            return "", f"Service check {name.removesuffix(SERVICE_CHECK_SUFFIX)}: {STATES}"
        metric = self._catalog.metrics.get(own)
        if metric is None:
            return "", f"{name} in Datadog."
        unit = f"{metric.unit}/{metric.per_unit}" if metric.per_unit else metric.unit
        return unit, metric.description


class _Collected:
    """What the encoders of prometheus_client ask for families."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
