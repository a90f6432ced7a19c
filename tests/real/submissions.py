"""One run of the check and everything that it submitted, in a form that is easy to compare."""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from datadog_checks.base.stubs import aggregator

Series = tuple[str, frozenset[str]]

# Of the tags that Datadog keeps for itself, those that real payloads and targets of these tests carry.
GENERIC = {"cluster", "env", "host", "hostname", "service", "version"}


@dataclass(frozen=True, repr=False)
class Run:
    """Values by metric name and tags. Counts and buckets that were submitted several times under one name and tag set
    are added up, as the Agent does; buckets are {(lower, upper): increment}. `process` is what the server's process
    uses, which differs from run to run."""

    error: str
    counts: dict[Series, float]
    gauges: dict[Series, float]
    buckets: dict[Series, dict[tuple[float, float], float]]
    service_checks: list[Any]
    warnings: list[str]
    process: dict[Series, float]

    def count(self, name: str, *tags: str) -> float:
        """The sum of the counts `name` over every series that has all `tags`."""
        return math.fsum(value for series, value in self.counts.items() if matches(series, name, tags))

    def histogram(self, name: str, *tags: str) -> dict[tuple[float, float], float]:
        """The buckets of `name`, added up over every series that has all `tags`."""
        total: dict[tuple[float, float], float] = defaultdict(float)
        for series, buckets in self.buckets.items():
            if matches(series, name, tags):
                for bounds, value in buckets.items():
                    total[bounds] += value
        return dict(total)

    def status(self, name: str, *tags: str) -> list[int]:
        """The statuses of the service checks `name` that have all `tags`."""
        return [each.status for each in self.service_checks if each.name == name and set(tags) <= set(each.tags or [])]

    def names(self) -> set[str]:
        """Every metric name that was submitted."""
        return {name for name, _ in (*self.counts, *self.gauges, *self.buckets)}

    def tags(self) -> set[str]:
        """Every tag on any metric or service check."""
        return {tag for _, tags in (*self.counts, *self.gauges, *self.buckets) for tag in tags} | {
            tag for each in self.service_checks for tag in each.tags or []
        }

    def keys(self) -> set[str]:
        """The keys of `tags`."""
        return {tag.partition(":")[0] for tag in self.tags()}


def matches(series: Series, name: str, tags: Iterable[str]) -> bool:
    return series[0] == name and set(tags) <= series[1]


def run(check: Any) -> Run:
    """Runs `check` once and takes what it submitted out of the aggregator."""
    aggregator.reset()
    error = check.run()
    counts: dict[Series, float] = defaultdict(float)
    gauges: dict[Series, float] = {}
    buckets: dict[Series, dict[tuple[float, float], float]] = {}
    process: dict[Series, float] = {}
    for name in aggregator.metric_names:
        for metric in aggregator.metrics(name):
            series = name, frozenset(metric.tags or [])
            assert len(series[1]) == len(metric.tags or []), f"a tag twice on {name}: {metric.tags}"
            if name.startswith("model_serving.process."):
                process[series] = metric.value
            elif metric.type == aggregator.COUNT:
                counts[series] += metric.value
            else:
                assert metric.type == aggregator.GAUGE, f"{name} is of type {metric.type}"
                assert series not in gauges, f"{name} was set twice with {metric.tags}"
                gauges[series] = metric.value
    for name in list(aggregator._histogram_buckets):
        for bucket in aggregator.histogram_bucket(name):
            assert not bucket.monotonic, f"{name} leaves its increments to the Agent"
            bounds = bucket.lower_bound, bucket.upper_bound
            own = buckets.setdefault((name, frozenset(bucket.tags or [])), defaultdict(float))
            own[bounds] += bucket.value
    service_checks = [each for name in list(aggregator._service_checks) for each in aggregator.service_checks(name)]
    # Checks that are compared read one server, which each but the first says.
    warnings = [text for text in check.get_warnings() if "is also read by another instance" not in text]
    return Run(error, dict(counts), gauges, buckets, service_checks, warnings, process)


def succeed(check: Any) -> Run:
    """`run`, which must be without error."""
    done = run(check)
    assert done.error == ""
    return done


def bucketed(bounds: Iterable[float], values: Iterable[float]) -> dict[tuple[float, float], float]:
    """What a histogram with the upper `bounds` counts for `values`, without empty buckets; the first starts at 0."""
    upper = [*bounds, math.inf]
    lower = [0.0, *upper[:-1]]
    total: dict[tuple[float, float], float] = defaultdict(float)
    for value in values:
        index = bisect_left(upper, value)
        total[lower[index], upper[index]] += 1
    return dict(total)


def filled(spans: dict[tuple[float, float], float], bounds: Iterable[float] = ()) -> dict[tuple[float, float], float]:
    """What spans hold, without empty ones; with the upper `bounds` of a histogram, in its buckets."""
    upper = [*bounds, math.inf]
    lower = [0.0, *upper[:-1]]
    total: dict[tuple[float, float], float] = defaultdict(float)
    for (low, high), value in spans.items():
        if value:
            index = bisect_left(upper, high)
            assert len(upper) == 1 or lower[index] <= low, f"{low} to {high} is in no bucket"
            total[(low, high) if len(upper) == 1 else (lower[index], upper[index])] += value
    return dict(total)


def quantile_bucket(buckets: dict[tuple[float, float], float], share: float) -> float:
    """The upper bound of the bucket that holds the `share` quantile (nearest rank)."""
    rank = math.ceil(share * sum(buckets.values()))
    seen = 0.0
    for (_, upper), value in sorted(buckets.items()):
        seen += value
        if seen >= rank:
            return upper
    raise ValueError("an empty histogram has no quantile")


def quantile(values: list[float], share: float) -> float:
    """The `share` quantile of `values` (nearest rank)."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def without(series: dict[Series, Any], keys: set[str]) -> dict[Series, Any]:
    """`series` with the tags of `keys` taken off; two that become one by that are an error."""
    stripped = [
        ((name, frozenset(tag for tag in tags if tag.partition(":")[0] not in keys)), value)
        for (name, tags), value in series.items()
    ]
    assert len(dict(stripped)) == len(stripped), f"taking off {sorted(keys)} makes two series one"
    return dict(stripped)
