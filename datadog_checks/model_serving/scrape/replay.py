"""What the stock transformers submit for a family, recorded once and repeated with other values.

The stock code is run on symbolic values, which know the sample they stand for. What it then submits is a
program: submissions whose value is a sample's, or the difference of two samples'. The stock code stays the
only description of what is submitted, in every version of the base package.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import repeat
from math import isfinite
from operator import length_hint
from typing import Any

from prometheus_client import Metric
from prometheus_client.samples import Sample

from datadog_checks.base import AgentCheck
from datadog_checks.base.checks.openmetrics.v2.transform import MetricTransformer
from datadog_checks.base.utils.limiter import Limiter

from .program import BUCKET, Program
from .record import FLUSH, NotReplayable, Recorder, Symbol, aggregator_of

REPLAYABLE = frozenset(
    ("native", "native_dynamic", "gauge", "counter", "histogram", "summary", "rate", "counter_gauge")
)
"""Transformers whose submissions depend on the values only as values."""

STOCK_METHODS = (
    "gauge",
    "rate",
    "monotonic_count",
    "submit_histogram_bucket",
    "_submit_metric",
    "_format_namespace",
    "_normalize_tags_type",
    "degeneralise_tag",
    "should_send_metric",
)
_STOCK_TRANSFORMERS = MetricTransformer.__module__.rpartition(".")[0] + "."


class Replay:
    """Records and repeats what the stock scraper `scraper` submits for families.

    The families that the stock code meets must be told (`met`): it keeps the type that a family had first.
    """

    def __init__(self, scraper: Any, config: Any) -> None:
        self.scraper = scraper
        self.check = scraper.check
        self.recorder = Recorder(self.check)
        self.transformer = MetricTransformer(self.recorder, config)
        self._first_types: dict[str, str] = {}
        self._fed: set[str] = set()

    def direct(self) -> bool:
        """Whether the check submits as the base class does, so that its methods can be left out."""
        own, kind = vars(self.check), type(self.check)
        return type(self.scraper.metric_transformer) is MetricTransformer and all(
            name not in own and getattr(kind, name) is getattr(AgentCheck, name) for name in STOCK_METHODS
        )

    def met(self, metric: Metric) -> None:
        """The stock transformer is about to see a family."""
        self._first_types.setdefault(metric.name, metric.type)

    def entry(self, name: str) -> Any:
        """What decides how the family of that name is submitted, to be compared by identity."""
        return self.scraper.metric_transformer.transformer_data.get(name)

    def record(self, metric: Metric, first: int) -> None:
        """Add what a family submits to the recorder's program. Its samples are numbers `first`, ... of its block.

        The labels of the family are used up. Raises NotReplayable, or whatever the stock code raises.
        """
        transform = self.scraper.metric_transformer.get(metric)
        if transform is None:
            return
        entry = self.entry(metric.name)
        if entry is None or entry[0] not in REPLAYABLE or not entry[1].__module__.startswith(_STOCK_TRANSFORMERS):
            raise NotReplayable
        runtime_data = {"flush_first_value": FLUSH, "static_tags": self.scraper.static_tags}
        if metric.name not in self._first_types:
            self.met(metric)
            transform(metric, iter(()), runtime_data)
        self._feed(metric.name)
        symbolic = Metric(metric.name, metric.documentation, "gauge")
        symbolic.type = metric.type
        symbolic.samples = [
            Sample(sample.name, sample.labels, Symbol.of(number)) for number, sample in enumerate(metric.samples, first)
        ]
        transform = self.transformer.get(symbolic)
        transform(symbolic, self.scraper.generate_sample_data(symbolic), runtime_data)

    def _feed(self, name: str) -> None:
        """Let the recording transformer see first what the real one saw first."""
        if name not in self._fed:
            self._fed.add(name)
            first = Metric(name, "", "gauge")
            first.type = self._first_types[name]
            transform = self.transformer.get(first)
            if transform is not None:
                transform(first, iter(()), {"flush_first_value": False, "static_tags": ()})

    def submit(self, program: Program, values: Sequence[float], finite: bool, flush: bool) -> None:
        """Submit a program with the values of its block. Not all are `finite`: those are left out."""
        picked = program.pick(values)
        if not finite:
            keep = [number for number, value in enumerate(picked) if isfinite(value)]
            picked = [picked[number] for number in keep]
            program = program.gather(keep)
        flushes = program.flushes if flush else repeat(False)
        check = self.check
        aggregator, limiter, check_id = aggregator_of(check), check.metric_limiter, check.check_id
        if not program.has_buckets and _pass(limiter, len(picked)):
            rest = iter(picked)
            columns = (program.kinds, program.names, rest, program.tags, program.hosts, flushes)
            try:
                deque(map(aggregator.submit_metric, repeat(check), repeat(check_id), *columns), maxlen=0)
            finally:
                if limiter:
                    limiter.count -= length_hint(rest)
            return
        for kind, name, value, tags, host, flushed, bound in zip(
            program.kinds, program.names, picked, program.tags, program.hosts, flushes, program.bounds, strict=False
        ):
            if bound is None:
                if not limiter or not limiter.is_reached():
                    aggregator.submit_metric(check, check_id, kind, name, value, tags, host, flushed)
                continue
            put = aggregator.submit_histogram_bucket if kind == BUCKET else aggregator.submit_histogram_bucket_multi
            put(check, check_id, name, int(value), *bound, host, tags, flushed)


def _pass(limiter: Any, count: int) -> bool:
    """Count `count` contexts at once, where the limit is not reached by them."""
    if not limiter:
        return True
    if type(limiter) is not Limiter or limiter.reached_limit or limiter.count + count > limiter.limit:
        return False
    limiter.count += count
    return True
