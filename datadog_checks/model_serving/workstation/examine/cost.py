"""What the metrics of a trial run cost as Datadog bills them. docs/how-it-counts.md names the sources of the rules."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

from ...catalog.model import BILLED_PER_DISTRIBUTION
from ..provision.desired import desired
from .facts import Fact, Facts
from .model import Cost, MetricCost

PERCENTILES = 5
"""Custom metrics for each combination of tags of a distribution with percentiles: p50, p75, p90, p95 and p99."""

MOST_SUBSETS = 200_000
"""Subsets of the tags of one metric that are looked at. Beyond that, what they come to is an upper bound."""

OWN_CONTEXTS = 4
"""What the check says about each endpoint: duration, samples, contexts and custom metrics of its scrapes."""


def cost(facts: Facts, endpoints: int, host: bool = False) -> Cost:
    """What the contexts of a source with so many endpoints cost, or those of a host's GPUs."""
    by_name: dict[str, list[Fact]] = {}
    for fact in facts.contexts:
        by_name.setdefault(fact.context.name, []).append(fact)
    metrics = [_metric(name, found) for name, found in by_name.items()]
    metrics.sort(key=lambda metric: (-metric.custom_metrics, metric.name))
    if host:
        # The check says nothing about scrapes where there are none.
        return Cost(tuple(metrics), 1, 0, "host")
    return Cost(tuple(metrics), max(1, endpoints), OWN_CONTEXTS)


def queryable(tag_sets: Sequence[tuple[str, ...]]) -> int:
    """Combinations of tags that can be queried: each subset of each set of tags, once."""
    shared = frozenset(tag_sets[0]).intersection(*tag_sets) if tag_sets else frozenset()
    found: set[tuple[str, ...]] = set()
    bound = 0
    for tags in tag_sets:
        own = sorted(set(tags) - shared)
        if len(found) + 2 ** len(own) > MOST_SUBSETS:
            bound += 2 ** len(own)
            continue
        for size in range(len(own) + 1):
            found.update(combinations(own, size))
    return (len(found) + bound) * int(2 ** len(shared))


@lru_cache(maxsize=1)
def with_percentiles() -> frozenset[str]:
    """The distributions for which `model-serving provision` switches percentiles on, by full name."""
    return frozenset(resource.key for resource in desired(None) if resource.kind == "percentiles")


def _metric(name: str, facts: Sequence[Fact]) -> MetricCost:
    kind, number = facts[0].type, len(facts)
    if kind != "distribution":
        return MetricCost(name, kind, number, number)
    percentiles = PERCENTILES * queryable([fact.context.tags for fact in facts])
    return MetricCost(name, kind, number, BILLED_PER_DISTRIBUTION * number, percentiles, name in with_percentiles())
