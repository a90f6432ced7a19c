"""What the OpenMetrics parser asks of the values of a block, so that a known block needs no parser.

Where a rule is broken the parser must see the block, to raise the error that is its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from operator import eq, le

from prometheus_client import Metric
from prometheus_client.samples import Sample

from .blocks import EXACT

_SUFFIXES = {
    "counter": ("_total", "_created"),
    "summary": ("_count", "_sum", "_created"),
    "histogram": ("_count", "_sum", "_bucket", "_created"),
    "gaugehistogram": ("_gcount", "_gsum", "_bucket"),
    "info": ("_info",),
}
_GROWING = ("_total", "_sum", "_count", "_bucket")
_PLAIN = ("unknown", "gauge", "counter", "summary", "histogram")


def names(metric: Metric) -> set[str]:
    """The names that a family takes: no other family of the payload may."""
    return {metric.name, *(metric.name + suffix for suffix in _SUFFIXES.get(metric.type, ()))}


def _numbers() -> array[int]:
    return array("i")


@dataclass(slots=True)
class Rules:
    """Rules for the values of a block, each a list of numbers of samples."""

    growing: array[int] = field(default_factory=_numbers)
    whole: array[int] = field(default_factory=_numbers)
    quantiles: array[int] = field(default_factory=_numbers)
    buckets: array[int] = field(default_factory=_numbers)
    next_buckets: array[int] = field(default_factory=_numbers)
    last_buckets: array[int] = field(default_factory=_numbers)
    counts: array[int] = field(default_factory=_numbers)
    exemplars: bytearray = field(default_factory=bytearray)

    def hold(self, values: Sequence[float]) -> bool:
        """Whether the parser would take these values."""
        at = values.__getitem__
        if not all(map((0.0).__le__, map(at, self.growing))) or any(values[each] < 0 for each in self.quantiles):
            return False
        if not self.whole:
            return True
        return (
            all(map(float.is_integer, map(at, self.whole)))
            and max(map(at, self.whole)) < EXACT
            and all(map(le, map(at, self.buckets), map(at, self.next_buckets)))
            and all(map(eq, map(at, self.last_buckets), map(at, self.counts)))
        )

    def merged(self, other: Rules, offset: int, place: Sequence[int], order: Sequence[int]) -> Rules:
        """The rules of samples of two blocks, the other's counted from `offset` on, where groups stay together.

        `order` is the samples that are left, `place` says where in it a sample is, -1 for none.
        """
        found = Rules()
        for column in fields(Rules):
            if column.name != "exemplars":
                both = chain(getattr(self, column.name), (offset + each for each in getattr(other, column.name)))
                setattr(found, column.name, array("i", [place[each] for each in both if place[each] >= 0]))
        exemplars = self.exemplars + other.exemplars
        found.exemplars = bytearray(exemplars[each] for each in order)
        return found


def rules(metrics: Sequence[Metric]) -> Rules | None:
    """The rules for a block that the parser took. None where they can't be told."""
    found = Rules()
    number = 0
    for metric in metrics:
        if metric.type not in _PLAIN:
            return None
        for sample in metric.samples:
            suffix = sample.name[len(metric.name) :]
            if sample.timestamp is not None or sample.value is None:
                return None
            if suffix in _GROWING:
                found.growing.append(number)
            if suffix in ("_bucket", "_count"):
                found.whole.append(number)
            if metric.type == "summary" and not suffix:
                found.quantiles.append(number)
            found.exemplars.append((metric.type, suffix) in (("histogram", "_bucket"), ("counter", "_total")))
            number += 1
        if metric.type == "histogram":
            _order(metric, number - len(metric.samples), found)
    return found


def group_of(metric: Metric, sample: Sample) -> dict[str, str]:
    """The labels by which the parser groups samples: those of one group must follow each other."""
    split = {"histogram": ("_bucket", "le"), "summary": ("", "quantile")}.get(metric.type)
    if split is None or sample.name != metric.name + split[0]:
        return dict(sample.labels)
    return {name: value for name, value in sample.labels.items() if name != split[1]}


def _order(metric: Metric, first: int, found: Rules) -> None:
    """Within a run of samples of the same labels buckets don't fall, and the last one is the count."""
    group: dict[str, str] | None = None
    bucket = count = -1
    for number, sample in enumerate(metric.samples, first):
        suffix = sample.name[len(metric.name) :]
        if not suffix:
            continue
        labels = group_of(metric, sample)
        if labels != group:
            _total(found, bucket, count)
            group, bucket, count = labels, -1, -1
        if suffix == "_bucket":
            if bucket >= 0:
                found.buckets.append(bucket)
                found.next_buckets.append(number)
            bucket = number
        elif suffix == "_count":
            count = number
    _total(found, bucket, count)


def _total(found: Rules, bucket: int, count: int) -> None:
    if bucket >= 0 and count >= 0:
        found.last_buckets.append(bucket)
        found.counts.append(count)
