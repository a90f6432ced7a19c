"""The metrics of a run by what they are about: an endpoint, a version of a model, a GPU."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...catalog.loader import builtin_catalog
from ...catalog.model import NAMESPACE
from ..stored import stored
from .aggregation import Commit, Distribution, SeriesPoint
from .sinks import Units
from .sketch import Sketch

Point = SeriesPoint | Distribution

FIRST = (
    *("request.count", "request.error.count", "request.latency", "request.inference.latency", "request.queue.time"),
    *("request.in_flight", "request.queue.size", "token.time_to_first", "token.inter_token.latency"),
    *("token.generation.count", "kv_cache.utilization", "concurrency.provisioned", "cpu.utilization"),
    *("memory.utilization", "gpu.utilization", "gpu.engine.active", "gpu.memory.utilization", "gpu.temperature"),
    *("gpu.power.usage", "gpu.xid.count", "model.accuracy", "model.feature_drift", "model.age"),
)
"""What a person asks first of anything that serves a model, in this order: traffic, errors, latency, saturation."""

FEW = 3
"""Metrics that the short form has of an entity of which there is none of those."""

OWN = f"{NAMESPACE}.scrape."
"""What the names begin with of all that the check says about itself."""

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class MetricLine:
    """One metric: its numbers as text, its unit or nothing, and the tags that its entity does not have."""

    name: str
    numbers: str
    unit: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entity:
    """What metrics are about. `tags` are those that all of them have, besides the `shared` ones of the whole run;
    `points` are ordered."""

    title: str
    tags: tuple[str, ...]
    shared: tuple[str, ...]
    points: tuple[Point, ...]
    is_own: bool = False

    def lines(self, units: Units) -> list[MetricLine]:
        """A line for every metric with its tags."""
        return [
            MetricLine(
                point.context.name,
                numbers([point]),
                units(point.context.name) or "",
                (*self._besides(point), *([f"(host {host})"] if (host := point.context.host) else [])),
            )
            for point in self.points
        ]

    def short(self, units: Units) -> tuple[list[MetricLine], int]:
        """A line for each of the few names that tell most, all series together, and how many names are left out."""
        by_name: dict[str, list[Point]] = {}
        for point in self.points:
            by_name.setdefault(point.context.name, []).append(point)
        chosen = [name for name, points in by_name.items() if _tells(name, points, by_name)]
        chosen = [name for name in chosen if _bare(name) in FIRST] or chosen[:FEW]
        lines = []
        for name in chosen:
            points = by_name[name]
            several = (f"in {len(points)} series",) if len(points) > 1 else ()
            own = self._besides(points[0]) if len(points) == 1 else several
            lines.append(MetricLine(name, numbers(points), units(name) or "", own))
        return lines, len(by_name) - len(chosen)

    def _besides(self, point: Point) -> tuple[str, ...]:
        """The tags that the entity does not tell."""
        known = {*self.tags, *self.shared}
        return tuple(tag for tag in tags_of(point) if tag not in known)


def entities(commit: Commit, shared: Iterable[str]) -> list[Entity]:
    """The entities of a run, of whose metrics all have the `shared` tags, as stored."""
    shared = tuple(shared)
    groups: dict[tuple[int, tuple[str, ...]], list[Point]] = {}
    everything: list[Point] = [*commit.series, *commit.distributions]
    for point in everything:
        groups.setdefault(_about(point), []).append(point)
    several = len({names[0] for (rank, names) in groups if rank != _OWN}) > 1
    found = []
    for key in sorted(groups, key=_place):
        rank, names = key
        points = sorted(groups[key], key=_order)
        common = set.intersection(*(set(tags_of(point)) for point in points)).difference(shared)
        tags = tuple(tag for tag in tags_of(points[0]) if tag in common)
        found.append(Entity(_title(rank, names, several), tags, shared, tuple(points), rank == _OWN))
    return found


def tags_of(point: Point) -> tuple[str, ...]:
    """The tags of a metric as Datadog stores them."""
    return tuple(dict.fromkeys(map(stored, point.context.tags)))


def numbers(points: Sequence[Point]) -> str:
    """The value of a metric, or of several of one name: counts add up, sketches merge, gauges are from the least to the
    largest."""
    sketches = [point.sketch for point in points if isinstance(point, Distribution)]
    if sketches:
        whole = Sketch()
        for sketch in sketches:
            whole.merge(sketch)
        shown = [f"p{percentile} {_rounded(whole.quantile(percentile / 100))}" for percentile in PERCENTILES]
        return "  ".join((f"count {number(whole.count)}", *shown))
    series = [point for point in points if isinstance(point, SeriesPoint)]
    values = [point.value for point in series]
    if all(point.type == "count" for point in series):
        return number(sum(values))
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def number(value: float) -> str:
    """A value as people read it: whole numbers in full, others with six digits."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _rounded(value: float) -> str:
    """A quantile of a sketch, which tells apart what differs by 1.6 %."""
    return number(float(f"{value:.3g}"))


_ENDPOINT, _MODEL, _GPU, _OWN = range(4)


def _about(point: Point) -> tuple[int, tuple[str, ...]]:
    """What kind of thing a metric is about, and its names, that of its endpoint first."""
    tags = dict(tag.partition(":")[::2] for tag in tags_of(point))
    endpoint = tags.get("endpoint_name", "")
    if point.context.name.startswith(OWN):
        return _OWN, ("",)
    if "gpu_uuid" in tags or "gpu" in tags:
        # By its number first, which orders them; of several hosts by that of the host.
        return _GPU, (endpoint, *(tags.get(name, "") for name in ("gpu_host", "gpu", "gpu_uuid", "mig_instance")))
    if "model_name" in tags:
        return _MODEL, (endpoint, tags["model_name"], tags.get("model_version", ""))
    return _ENDPOINT, (endpoint,)


def _place(key: tuple[int, tuple[str, ...]]) -> tuple[bool, list[Any], int, list[Any]]:
    """Each endpoint with what it serves below it, and the check itself at the end."""
    rank, (endpoint, *own) = key
    return rank == _OWN, _natural(endpoint), rank, [_natural(name) for name in own]


def _title(rank: int, names: tuple[str, ...], several: bool) -> str:
    if rank == _OWN:
        return "The check itself"
    endpoint, *own = names
    if rank == _ENDPOINT:
        return f"Endpoint {endpoint}".rstrip()
    if rank == _MODEL:
        name, version = own
        title = f"Model {name}" + (f", version {version}" if version else "")
    else:
        _, index, uuid, mig = own
        title = f"GPU {index or uuid}" + (f", MIG instance {mig}" if mig else "")
    return f"{title} of endpoint {endpoint}" if several and endpoint else title


def _tells(name: str, points: Sequence[Point], there: Iterable[str]) -> bool:
    """Whether the short form needs a name: not what a distribution tells as well, nor that nothing was timed."""
    base = _base(name)
    if base == name:
        return True
    return base not in there and any(isinstance(point, SeriesPoint) and point.value for point in points)


def _order(point: Point) -> tuple[int, int, str, tuple[str, ...]]:
    """What is asked first comes first, then what all systems share, what is one system's own, and what nobody knows."""
    name = point.context.name
    bare = _bare(name)
    first = FIRST.index(bare) if bare in FIRST else len(FIRST)
    return first, _places().get(bare, len(_places())), name, point.context.tags


@lru_cache(maxsize=1)
def _places() -> dict[str, int]:
    return {name: place for place, name in enumerate(builtin_catalog().metrics)}


def _bare(name: str) -> str:
    """The name in the catalog: without the namespace, and that of the distribution of which this is a part."""
    return _base(name).removeprefix(f"{NAMESPACE}.")


def _base(name: str) -> str:
    """Of the sum or count that comes with a distribution the name of that, else the name itself."""
    base, _, suffix = name.rpartition(".")
    metric = builtin_catalog().metrics.get(base.removeprefix(f"{NAMESPACE}."))
    return base if suffix in ("sum", "count") and metric is not None and metric.type == "distribution" else name


def _natural(name: str) -> list[tuple[int, str]]:
    """For GPU 10 to come after GPU 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
