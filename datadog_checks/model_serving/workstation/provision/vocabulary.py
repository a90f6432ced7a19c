"""Which metrics and service checks the check can submit, and which tags each can carry.

Derived from the catalog: renamed labels, the tags of targets, the labels of conditions. What a catalog
can't tell, the labels that pass through under their own names, is in vocabulary.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...catalog.loader import builtin_catalog
from ...catalog.model import MOMENTS, NAMESPACE, CanonicalMetric, Catalog, RawMetric, System, Target
from ...strict_yaml import read_shipped

PREFIX = f"{NAMESPACE}."
PARTS = {"sum": frozenset[str](), "count": frozenset[str](), "bucket": frozenset(("lower_bound", "upper_bound"))}
"""What a distribution is also sent as, each a count, with the tags that come on top."""
STATUS_CLASSES = frozenset(f"{digit}xx" for digit in range(1, 6))


@lru_cache(maxsize=1)
def documented() -> dict[str, Any]:
    """What vocabulary.yaml says."""
    data: dict[str, Any] = read_shipped(Path(__file__).with_name("vocabulary.yaml"))
    return data


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Kinds and tags by full name. Names are those that Datadog shows, `model_serving.` included.

    `unfed` are the metrics that no system of the catalog has, `measures` their units, lowest and highest values,
    `values` all that some tags can have.
    """

    kinds: Mapping[str, str]
    tags: Mapping[str, frozenset[str]]
    service_checks: Mapping[str, frozenset[str]]
    unfed: frozenset[str]
    measures: Mapping[str, tuple[str, float | None, float | None]] = field(default_factory=dict)
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def kind_of(self, metric: str) -> str | None:
        """`gauge`, `count` or `distribution`; None for a metric that the check never sends."""
        base, _, part = metric.rpartition(".")
        return "count" if part in PARTS and self.kinds.get(base) == "distribution" else self.kinds.get(metric)

    def tags_of(self, metric: str) -> frozenset[str]:
        """Names of the tags that the metric can carry, beside `host` and what users add; empty for an unknown one."""
        base, _, part = metric.rpartition(".")
        if part in PARTS and self.kinds.get(base) == "distribution":
            return self.tags[base] | PARTS[part]
        return self.tags.get(metric, frozenset())

    def is_fed(self, metric: str) -> bool:
        """Whether a system of the catalog, the GPUs or the check itself send this metric."""
        base, _, part = metric.rpartition(".")
        return metric not in self.unfed and not (part in PARTS and base in self.unfed)

    def all_tags(self) -> frozenset[str]:
        """Names of the tags that anything can carry."""
        return frozenset[str]().union(*self.tags.values(), *self.service_checks.values())


@lru_cache(maxsize=1)
def builtin_vocabulary() -> Vocabulary:
    """That of the catalog that ships with the check."""
    return vocabulary(builtin_catalog())


def kind_of(metric: str) -> str | None:
    """`gauge`, `count` or `distribution`; None for what a check without catalog files of the user never sends."""
    return builtin_vocabulary().kind_of(metric)


def vocabulary(catalog: Catalog) -> Vocabulary:
    """What a check with this catalog can send."""
    tags: dict[str, set[str]] = {name: set() for name in catalog.metrics}
    unfed = set(catalog.metrics)
    for name, found in (*_scraped(catalog), *_nvml(catalog), *documented()["own"].items()):
        tags[name].update(found)
        unfed.discard(name)
    for name in unfed:
        tags[name].update(documented()["unfed"])
    common = {*documented()["common"], *documented()["scraped"]}
    return Vocabulary(
        {f"{PREFIX}{name}": metric.type for name, metric in catalog.metrics.items()},
        {f"{PREFIX}{name}": frozenset(found | common) for name, found in tags.items()},
        {f"{PREFIX}{name}": frozenset(found) for name, found in documented()["service_checks"].items()},
        frozenset(f"{PREFIX}{name}" for name in unfed),
        {f"{PREFIX}{name}": (metric.unit, metric.low, metric.high) for name, metric in catalog.metrics.items()},
        {"serving_system": frozenset((*catalog.systems, "nvml")), "status_class": STATUS_CLASSES},
    )


def _scraped(catalog: Catalog) -> Iterator[tuple[str, Iterable[str]]]:
    for system in catalog.systems.values():
        own: dict[str, set[str]] = {}
        for raw in (*system.metrics, *system.shared):
            labels = _labels(system, raw)
            for target in raw.targets:
                for name in _names(target.metric):
                    own.setdefault(name, set()).update(_tags(system, raw, target, labels))
        for derived in system.derived:
            inputs = (*derived.required, *derived.optional)
            for name in _names(derived.metric):
                own.setdefault(name, set()).update(*(own.get(one, ()) for one in inputs))
        if (asked := system.readiness) is not None:
            for found in own.values():
                found.update(tag for tag, _ in asked.tags)
            for metric in asked.gauges():
                own.setdefault(metric.name, set()).update(("model_name", "model_version"))
        yield from own.items()


def _names(metric: CanonicalMetric) -> list[str]:
    return [metric.name, *(f"{metric.name}.{part}" for part in (MOMENTS if metric.moments else ()))]


def _labels(system: System, raw: RawMetric) -> set[str]:
    """Labels that a raw metric may have: those documented, else all that the catalog has a word for."""
    patterns = documented()["systems"].get(system.name)
    labels = {
        label
        for target in raw.targets
        for condition in (target.when, target.unless)
        if condition is not None
        for label, _ in condition.patterns
    }
    if patterns is None:
        return labels | set(system.labels.rename)
    found = (patterns[pattern] for pattern in patterns if any(fnmatchcase(name, pattern) for name in raw.names))
    return labels.union(*found)


def _tags(system: System, raw: RawMetric, target: Target, labels: set[str]) -> Iterator[str]:
    for label in labels | target.keep:
        if label in target.drop or (label in system.labels.drop and label not in target.keep):
            continue
        tag = system.labels.rename.get(label, label)
        yield f"{NAMESPACE}_{tag}" if tag in documented()["reserved"] else tag
        if tag == "status_code":
            yield "status_class"
    yield from (tag for tag, _ in target.tags)
    if raw.type == "last_code":
        yield "xid"
    if raw.states:
        yield "state"


def _nvml(catalog: Catalog) -> Iterator[tuple[str, Iterable[str]]]:
    nvml = documented()["nvml"]
    for pattern, extra in nvml["metrics"].items():
        for name in catalog.metrics:
            if fnmatchcase(name, pattern):
                yield name, (*nvml["device"], *extra)
    path = Path(__file__).parents[2] / "sources" / "gpu" / "readings.yaml"
    for entries in read_shipped(path).values():
        for entry in entries:
            for name in (entry["metric"],) if "metric" in entry else entry["values"].values():
                yield name, (*nvml["device"], *entry.get("tags", ()))
