"""The catalog in memory: canonical metrics, and per system what its raw metrics truly are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate

from .codes import Codes

NAMESPACE = "model_serving"
"""First part of every metric name in the canonical vocabulary."""

RAW_TYPES = (
    "counter",
    "gauge",
    "timestamp",
    "histogram",
    "summary",
    "window_gauge",
    "window_histogram",
    "last_code",
)
"""What a raw metric truly is, whatever its payload declares.

`timestamp` holds when something happened, in epoch seconds, and stands for its age; `window_*` hold the total of one
minute; `last_code` holds the code of the last error, 0 for none.
"""

GROUPED_TYPES = frozenset(("histogram", "summary", "window_histogram"))
"""Types whose value is spread over `_bucket`, `_sum` and `_count` samples."""


def compile_globs(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    """One case-sensitive regular expression for all globs, or None where there are none."""
    if not patterns:
        return None
    return re.compile("|".join(translate(pattern) for pattern in patterns))


@dataclass(frozen=True, slots=True)
class CanonicalMetric:
    """A metric as Datadog sees it; `name` lacks the `model_serving.` prefix.

    `low` and `high` bound valid values, in the metric's unit; `combine` says how gauges that fall
    together on one tag set become one value.
    """

    name: str
    type: str
    unit: str
    per_unit: str
    description: str
    low: float | None
    high: float | None
    combine: str
    orientation: int
    short_name: str
    namespace: str = NAMESPACE

    def excludes(self, value: float) -> bool:
        """Whether a value, in the metric's unit, is outside of the valid range."""
        return (self.low is not None and value < self.low) or (self.high is not None and value > self.high)

    @property
    def full_name(self) -> str:
        return f"{self.namespace}.{self.name}"


@dataclass(frozen=True, slots=True)
class Condition:
    """Raw labels that must all match a glob; a label that is missing counts as empty."""

    patterns: tuple[tuple[str, re.Pattern[str]], ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(pattern.match(labels.get(label, "")) for label, pattern in self.patterns)

    def matches_any(self, labels: Mapping[str, str]) -> bool:
        return any(pattern.match(labels.get(label, "")) for label, pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Target:
    """One canonical metric that a raw metric feeds, and for which of its series.

    `value` is what is taken of a histogram or summary: everything (empty), its `count`, or the
    `mean` of what came since the previous scrape. With `zero` nothing is, and 0 is sent.
    """

    metric: CanonicalMetric
    when: Condition | None = None
    unless: Condition | None = None
    tags: tuple[tuple[str, str], ...] = ()
    keep: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    value: str = ""

    def applies_to(self, labels: Mapping[str, str]) -> bool:
        if self.when is not None and not self.when.matches(labels):
            return False
        return self.unless is None or not self.unless.matches_any(labels)


@dataclass(frozen=True, slots=True)
class RawMetric:
    """A metric as a system exposes it: spellings, true type, factor to the canonical unit, targets.

    `starts_at_zero` overrides the system's `series_start_at_zero`. `codes` are those of a `last_code`. With `shared` it
    is one that every system has, and no name of the system's own.

    Where users can change a part of the name, `like` matches what it may become, for series that
    carry the label `like_label`.
    """

    system: str
    names: tuple[str, ...]
    type: str
    scale: float
    targets: tuple[Target, ...]
    starts_at_zero: bool | None = None
    like: re.Pattern[str] | None = None
    like_label: str = ""
    codes: Codes | None = None
    shared: bool = False

    @property
    def grouped(self) -> bool:
        return self.type in GROUPED_TYPES


@dataclass(frozen=True, slots=True)
class Derived:
    """A gauge computed from others of the same tag set: a share in percent, or a sum."""

    metric: CanonicalMetric
    numerator: str | None
    required: tuple[str, ...]
    optional: tuple[str, ...]

    def follows_from(self, known: Collection[str]) -> bool:
        """Whether it is to be computed: it is not known itself, and all that it needs is."""
        needed = self.required if self.numerator is None else (*self.required, self.numerator)
        return self.metric.name not in known and all(name in known for name in needed)


@dataclass(frozen=True, slots=True)
class Labels:
    """What becomes of a system's labels on their way to tags."""

    rename: Mapping[str, str] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    lower: frozenset[str] = frozenset()
    absent: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class System:
    """A serving system: how to recognise it, how to read its labels, what its metrics mean.

    A name that matches `any_of` proves the system, with others of its names up to `any_needed`.
    `series_start_at_zero` is false where counters are older than the series that show them, such as
    those of a GPU whose labels name the pod that holds it now. `shared` are the metrics that all systems have.
    """

    name: str
    title: str
    any_of: re.Pattern[str] | None
    any_needed: int
    hints: frozenset[str]
    hints_needed: int | None
    any_prefix: bool
    series_start_at_zero: bool
    labels: Labels
    ignore: re.Pattern[str] | None
    ports: Mapping[str, int]
    metrics: tuple[RawMetric, ...]
    derived: tuple[Derived, ...]
    own_metrics: tuple[CanonicalMetric, ...]
    shared: tuple[RawMetric, ...] = ()

    def by_name(self) -> dict[str, RawMetric]:
        """Every spelling of every raw metric, counters with and without `_total`."""
        index: dict[str, RawMetric] = {}
        for metric in (*self.metrics, *self.shared):
            for name in metric.names:
                index.setdefault(name, metric)
                for variant in _spellings(name, metric.type):
                    index.setdefault(variant, metric)
        return index


@dataclass(frozen=True, slots=True)
class Catalog:
    """All systems, and all metrics that the check can submit by their name without namespace."""

    systems: Mapping[str, System]
    metrics: Mapping[str, CanonicalMetric]

    def unit(self, full_name: str) -> str | None:
        """Unit of a submitted metric name, `model_serving.` prefix and `.sum` / `.count` included."""
        name = full_name.removeprefix(f"{NAMESPACE}.")
        metric = self.metrics.get(name)
        if metric is None:
            base, _, part = name.rpartition(".")
            metric = self.metrics.get(base)
            if metric is None or metric.type != "distribution" or part not in ("sum", "count", "bucket"):
                return None
            if part != "sum":
                return "item"
        return f"{metric.unit}/{metric.per_unit}" if metric.per_unit else metric.unit or None


def _spellings(name: str, kind: str) -> Iterator[str]:
    if kind not in ("counter", "window_gauge"):
        return
    yield name.removesuffix("_total") if name.endswith("_total") else f"{name}_total"
