"""The catalog in memory: canonical metrics, and per system what its raw metrics truly are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import translate
from typing import Any

from .codes import Codes
from .probes import ReadinessRules

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
    "recent_count",
)
"""What a raw metric truly is. A payload can't make a gauge of a counter, or the reverse, by declaring it as such.

`timestamp` holds when something happened, in epoch seconds, and stands for its age; `window_*` hold the total of one
minute; `last_code` holds the code of the last error, 0 for none; `recent_count` holds how many there were of late, in a
window that slides.
"""

VERIFICATIONS = ("live", "recorded", "documentation")
"""How a catalog file was verified: against a server that the tests start, against an answer of a real server that they
hold, or against documents and source code alone.
"""

ROUNDING_UP = 1.01
"""A share may overshoot 100 % by rounding; up to 1 % over is taken as 100 %, more is refused."""

GROUPED_TYPES = frozenset(("histogram", "summary", "window_histogram"))
"""Types whose value is spread over `_bucket`, `_sum` and `_count` samples."""

PASSED_ON = {
    "counter": ("count", ".count"),
    "gauge": ("gauge", ""),
    "histogram": ("distribution", ""),
    "summary": ("distribution", ""),
}
"""What a family is sent as that no entry names, by its declared type, and how its name ends then."""

BILLED_PER_DISTRIBUTION = 5
"""Custom metrics that Datadog bills for a distribution without percentiles: count, sum, min, max and avg. Every other
metric with its tags is one. docs/how-it-counts.md names the source.
"""


def compile_globs(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    """One case-sensitive regular expression for all globs, or None where there are none."""
    if not patterns:
        return None
    return re.compile("|".join(translate(pattern) for pattern in patterns))


MOMENTS: Mapping[str, Callable[[float], float]] = {
    "count": lambda value: 1.0,
    "sum": lambda value: value,
    "sum_of_squares": lambda value: value * value,
}
"""What a gauge with `moments` is also sent as, each a count. Added up over any time, they tell mean and variance."""


@dataclass(frozen=True, slots=True)
class CanonicalMetric:
    """A metric as Datadog sees it; `name` lacks the `model_serving.` prefix.

    `low` and `high` bound valid values, in the metric's unit; `combine` says how gauges that fall
    together on one tag set become one value. One with `moments` also comes as MOMENTS.
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
    moments: bool = False

    def excludes(self, value: float) -> bool:
        """Whether a value, in the metric's unit, is outside of the valid range."""
        return (self.low is not None and value < self.low) or (self.high is not None and value > self.high)

    @property
    def full_name(self) -> str:
        return f"{self.namespace}.{self.name}"


Things = tuple[tuple[str, str], ...]
"""What a series is about, as pairs of a level and the name at that level. Empty where nothing tells."""

TARGET = "target"
"""The level of a thing that is known within its target alone."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which labels say what a series of a system is about. All others only make tags.

    `levels` go from the outermost to the innermost, each with the labels that may name it: the first of these that a
    series has does. Names by the labels in `worldwide` mean the same thing wherever they are read; without one of
    these, a thing is known only within its target. `besides` are labels that tell series of one thing apart, `inside`
    those that say something of levels further inside, and so nothing of this thing.
    """

    levels: tuple[tuple[str, tuple[str, ...]], ...]
    worldwide: frozenset[str]
    besides: tuple[str, ...] = ()
    inside: frozenset[str] = frozenset()

    def thing(self, labels: Mapping[str, str], target: str) -> Things:
        """What a series with these labels, of a target, is about."""
        names: list[tuple[str, str]] = []
        local = bool(target)
        for level, spellings in self.levels:
            label = next((label for label in spellings if labels.get(label)), None)
            if label is not None:
                names.append((level, labels[label]))
                local = local and label not in self.worldwide
        if names and local:
            names.append((TARGET, target))
        return tuple(names)


def device_of(thing: Things) -> Things:
    """The device that a thing is, or is a part of."""
    return tuple(pair for number, pair in enumerate(thing) if not number or pair[0] == TARGET)


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

    `value` is what is taken of a histogram or summary: everything (empty), its `sum` or `count`, or the
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

    `starts_at_zero` overrides the system's `series_start_at_zero`. `codes` are those of a `last_code`, or of what is
    counted by a label that holds one. `states` are the words for the numbers that a gauge may have. Without an
    `identity` all labels tell its series apart. `blanks` are values that say that there is none. What exceeds the
    highest valid value up to `overshoot` times is taken for that. A histogram or summary that comes as a plain value is
    refused, unless it is known to carry nothing (`ignore_plain`). With `shared` it is one that every system has, and no
    name of the system's own.

    `own` are the entries of a user's file, as opposed to those that it has from a system that ships with the check.

    Of several names each is a spelling, read by itself: `names` then begins with that one, and `better` are the
    same metric by the spellings that count before it, the best first. Where a payload has a series by one of these, the
    series by this one is not sent.

    A `pair` is a summary whose sum and count are counters of their own, with the same labels: `names` are the first
    half those of the sum, the second half those of the count.

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
    states: Mapping[float, str] = field(default_factory=dict, hash=False)
    identity: Identity | None = None
    blanks: frozenset[float] = frozenset()
    overshoot: float = ROUNDING_UP
    ignore_plain: bool = False
    shared: bool = False
    better: tuple[RawMetric, ...] = ()
    pair: bool = False
    own: bool = False

    @property
    def conditions(self) -> frozenset[str]:
        """The labels that its targets ask for, and that a series is of no use to them without."""
        found = (each for target in self.targets for each in (target.when, target.unless) if each is not None)
        return frozenset(label for each in found for label, pattern in each.patterns if not pattern.match(""))

    @property
    def first(self) -> RawMetric:
        """The metric by its best spelling."""
        return self.better[0] if self.better else self

    def spelt_otherwise(self) -> tuple[RawMetric, ...]:
        """The metric by each of its other spellings."""
        if self.pair:
            return ()
        found = [self]
        for number in range(1, len(self.names)):
            names = (self.names[number], *self.names[:number], *self.names[number + 1 :])
            found.append(replace(self, names=names, better=tuple(found)))
        return tuple(found[1:])

    def pairs(self) -> tuple[RawMetric, ...]:
        """A pair by each of its spellings, with the name of the sum and that of the count."""
        half = len(self.names) // 2
        return tuple(replace(self, names=names) for names in zip(self.names[:half], self.names[half:], strict=True))

    def has_label(self, label: str) -> bool:
        """Whether the file knows that series have the label, for every target leaves it out."""
        return bool(self.targets) and all(label in target.drop for target in self.targets)

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

    @property
    def all_names(self) -> tuple[str, ...]:
        """The gauges that it depends on, itself included."""
        return (self.metric.name, *self.required, *self.optional, *((self.numerator,) if self.numerator else ()))

    def follows_from(self, known: Collection[str]) -> bool:
        """Whether it is to be computed: it is not known itself, and all that it needs is."""
        needed = self.required if self.numerator is None else (*self.required, self.numerator)
        return self.metric.name not in known and all(name in known for name in needed)


@dataclass(frozen=True, slots=True)
class Labels:
    """What becomes of a system's labels on their way to tags.

    `values` are the words for values of a label, `parts` patterns whose named groups become tags of their own.
    `spellings` are how the file spells the labels that it names, by that and by the same in small letters.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    lower: frozenset[str] = frozenset()
    absent: Mapping[str, frozenset[str]] = field(default_factory=dict)
    values: Mapping[str, tuple[tuple[re.Pattern[str], str], ...]] = field(default_factory=dict)
    parts: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    spellings: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = (*self.rename, *sorted(self.drop | self.lower), *self.absent, *self.values, *self.parts)
        spellings = {name.lower(): name for name in reversed(names)} | {name: name for name in names}
        object.__setattr__(self, "spellings", spellings)


@dataclass(frozen=True, slots=True)
class Signal:
    """A golden signal: `metrics` tell it, the best of them first, and `form` says how.

    A `rate` is a count by the second, a `share` one of the count `of`, in percent; `latency` is percentiles of a
    distribution; a `level` is a gauge, or the mean of a distribution, and all of its metrics show it. `by` are the
    tags of the subjects that it is told apart by, `group` is what these are. An `essential` one is missed wherever a
    system has another one of its group.
    """

    name: str
    title: str
    group: str
    form: str
    metrics: tuple[str, ...]
    by: tuple[str, ...]
    of: str = ""
    essential: bool = False


@dataclass(frozen=True, slots=True)
class Switch:
    """What the server has to be told for it to show metrics that it does not show by itself.

    `gives` are the canonical metrics that come then; empty for all that the system has. `present` and `absent` are raw
    metrics, as those of a target. `because` says why they are missing, `do` what to do about that.
    """

    system: str
    gives: tuple[str, ...]
    because: str
    do: str
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    def speaks(self, sent: Collection[str], raws: Collection[str]) -> bool:
        """Whether it is of use where these canonical metrics are sent, of these raw metrics of the system."""
        there = {name.removesuffix("_total") for name in raws}
        if not self.gives:
            return not there
        if not there.isdisjoint(name.removesuffix("_total") for name in self.absent):
            return False
        if self.present and there.isdisjoint(name.removesuffix("_total") for name in self.present):
            return False
        return set(self.gives).isdisjoint(sent)


@dataclass(frozen=True, slots=True)
class Ignored:
    """Families that are known to be of no use: a pattern of their names, and why, empty where nobody says."""

    pattern: re.Pattern[str]
    because: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """What a catalog file rests on: one of `VERIFICATIONS`, and the server, payload or document.

    `documentation` says which parts of the file rest on documents alone where the rest does not; empty for none.
    """

    how: str
    source: str
    documentation: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """A serving system: how to recognise it, how to read its labels, what its metrics mean.

    A name that matches `any_of` proves the system, with others of its names up to `any_needed`.
    `series_start_at_zero` is false where counters are older than the series that show them, such as
    those of a GPU whose labels name the pod that holds it now. `shared` are the metrics that all systems have,
    `others` the metrics of both by their other spellings. `halves` are the pairs that a counter is a half of, by its
    name without `_total`, and which half. With `rest` families that nobody knows are passed on, with
    the `tags` that all its metrics have. `verified` is None where the file does not say. `definition` is what the file
    says, for those that extend it. `base` is the system of another name that it goes on from, empty for none.
    """

    name: str
    title: str
    any_of: re.Pattern[str] | None
    any_needed: int
    hints: frozenset[str]
    hints_needed: int | None
    any_prefix: bool
    prefixes: tuple[str, ...]
    series_start_at_zero: bool
    labels: Labels
    ignore: tuple[Ignored, ...]
    ports: Mapping[str, int]
    metrics: tuple[RawMetric, ...]
    derived: tuple[Derived, ...]
    own_metrics: tuple[CanonicalMetric, ...]
    shared: tuple[RawMetric, ...] = ()
    others: tuple[RawMetric, ...] = ()
    switches: tuple[Switch, ...] = ()
    verified: Verification | None = None
    rest: bool = False
    tags: tuple[tuple[str, str], ...] = ()
    readiness: ReadinessRules | None = None
    base: str = ""
    halves: Mapping[str, tuple[tuple[RawMetric, str], ...]] = field(default_factory=dict, repr=False, compare=False)
    definition: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def by_documentation_only(self) -> bool:
        """Whether the file says that it rests on documents alone."""
        return self.verified is not None and self.verified.how == "documentation"

    def passed_on(self, family: str, kind: str) -> RawMetric | None:
        """A family that nobody knows, as a metric of the system's own. None where its declared type is of no use."""
        if kind not in PASSED_ON:
            return None
        known, ending = PASSED_ON[kind]
        name = family.removesuffix("_total") if kind == "counter" else family
        name = next((name.removeprefix(prefix) for prefix in self.prefixes if name.startswith(prefix)), name)
        name = f"{self.name}.{re.sub('[^a-zA-Z0-9_]', '_', name)}{ending}"
        metric = CanonicalMetric(name, known, "", "", "", 0.0 if kind == "counter" else None, None, "last", 0, "")
        return RawMetric(self.name, (family,), kind, 1.0, (Target(metric, tags=self.tags),))

    def by_name(self) -> dict[str, RawMetric]:
        """Every spelling of every raw metric, counters with and without `_total`."""
        index: dict[str, RawMetric] = {}
        metrics = [metric for metric in (*self.metrics, *self.shared, *self.others) if not metric.pair]
        # What a file spells out comes before what is found with or without `_total`.
        for metric in metrics:
            index.setdefault(metric.names[0], metric)
        for metric in metrics:
            for variant in _spellings(metric.names[0], metric.type):
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
