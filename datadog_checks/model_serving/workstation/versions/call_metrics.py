"""Which metrics show that a model was called: names of the vocabulary, whose raw names the catalog has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...catalog.model import Condition, RawMetric, System, Target

CALLS, REQUESTS, RUNS, EXAMPLES = "calls", "requests", "runs", "examples"


@dataclass(frozen=True, slots=True)
class CallMetric:
    """A metric that rises with calls. What has the same `measure` adds up, another measure counts the same calls.

    Where a server has one of the metrics in `unless`, that one tells more of the same calls.
    """

    name: str
    measure: str = REQUESTS
    unless: tuple[str, ...] = ()


BY_VERSION = "tensorflow_serving.model.call.count"
SHOWING: dict[str, tuple[CallMetric, ...]] = {
    # Its `request.count` has questions for the status of a model as well, which its latency hasn't. Old servers have
    # neither, and MultiInference is in none of them but the examples.
    "tensorflow_serving": (
        CallMetric(BY_VERSION, CALLS),
        CallMetric("request.latency", REQUESTS, (BY_VERSION,)),
        CallMetric("request.error.count", REQUESTS, (BY_VERSION,)),
        CallMetric("request.count", REQUESTS, (BY_VERSION, "request.latency")),
        CallMetric("request.inference.latency", RUNS, (BY_VERSION,)),
        CallMetric("tensorflow_serving.example.count", EXAMPLES, (BY_VERSION,)),
    ),
}
"""By the system, in the order in which a rate is believed."""

OTHERWISE = (CallMetric("request.count"),)
"""Of a system that isn't named."""


@dataclass(frozen=True, slots=True)
class RawCallMetric:
    """A raw metric that shows calls, and which of its series do: those for which the conditions hold."""

    raw: RawMetric
    when: Condition | None
    unless: Condition | None


def call_metrics_of(system: System) -> tuple[CallMetric, ...]:
    """The metrics that show calls of a system."""
    return SHOWING.get(system.name, OTHERWISE)


def raw_call_metrics(system: System, metric: str) -> Iterator[RawCallMetric]:
    """The raw metrics of a system that become a metric of the vocabulary, whatever else the payload holds."""
    for raw in system.metrics:
        for target in raw.targets:
            if target.metric.name == metric and _counts(target) and not target.absent:
                yield RawCallMetric(raw, target.when, target.unless)


def _counts(target: Target) -> bool:
    return target.value in ("", "count") and target.metric.type in ("count", "distribution")
