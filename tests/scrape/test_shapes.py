"""A known name in each shape that a payload can give it: read in that shape or refused, never a wrong number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from datadog_checks.base.stubs import aggregator as aggregator_stub

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.catalog.model import MOMENTS, RawMetric

from ..conftest import Endpoint, make_check

Shape = Callable[[str, int], str]


def plain(kind: str) -> Shape:
    def lines(name: str, scrape: int) -> str:
        declared = f"# TYPE {name} {kind}\n" if kind else ""
        return f'{declared}{name}{{one="1"}} {PLAIN[scrape]}\n'

    return lines


def histogram(declared: bool) -> Shape:
    def lines(name: str, scrape: int) -> str:
        count, total = GROUPED[scrape]
        return (
            (f"# TYPE {name} histogram\n" if declared else "")
            + f'{name}_bucket{{one="1",le="0.25"}} {count // 2}\n{name}_bucket{{one="1",le="+Inf"}} {count}\n'
            f'{name}_sum{{one="1"}} {total}\n{name}_count{{one="1"}} {count}\n'
        )

    return lines


def summary(declared: bool) -> Shape:
    def lines(name: str, scrape: int) -> str:
        count, total = GROUPED[scrape]
        return (
            f"# TYPE {name} summary\n" if declared else ""
        ) + f'{name}{{one="1",quantile="0.5"}} 0.125\n{name}_sum{{one="1"}} {total}\n{name}_count{{one="1"}} {count}\n'

    return lines


PLAIN = (0.25, 0.75)
GROUPED = ((2, 1.0), (10, 5.0))
"""Count and sum of two scrapes: 8 have come, 4 in all, of 0.5 in the mean."""

SHAPES: dict[str, Shape] = {
    "gauge": plain("gauge"),
    "counter": plain("counter"),
    "untyped": plain(""),
    "histogram": histogram(True),
    "untyped histogram": histogram(False),
    "summary": summary(True),
    "untyped summary": summary(False),
}


def metrics(system: str) -> list[RawMetric]:
    return list(builtin_catalog().systems[system].metrics)


def values_of(raw: RawMetric, grouped: bool) -> set[float]:
    """What may be submitted of a metric in the second scrape, before its scale."""
    if raw.pair:
        return set() if grouped else {0.5}
    if raw.states:
        return set() if grouped else {1.0}
    if not grouped:
        return set() if raw.grouped else {PLAIN[1] - PLAIN[0], PLAIN[1]} if raw.type != "counter" else {0.5}
    window = raw.type == "window_histogram"
    if raw.grouped:
        return {10, 5.0, 0.5} if window else {8, 4.0, 0.5}
    return {0.5} if raw.type == "gauge" else set()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("system", sorted(builtin_catalog().systems))
def test_each_metric_in_each_shape(system: str, shape: str, endpoint: Endpoint) -> None:
    """Each raw metric of a catalog in a shape: its numbers are those of the shape, and what can't be is refused."""
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system=system, readiness=False, tag_by_endpoint=False)
    grouped = "histogram" in shape or "summary" in shape
    raws = [raw for raw in metrics(system) if raw.type != "last_code"]
    for scrape in (0, 1):
        aggregator_stub.reset()
        for raw in raws:
            endpoint.serve("".join(SHAPES[shape](raw.names[0], scrape) for raw in raws))
        assert check.run() == ""
    names: dict[str, set[float]] = {}
    for raw in raws:
        for target in raw.targets:
            allowed = names.setdefault(target.metric.full_name, set())
            values = {0.0} if target.value == "zero" else values_of(raw, grouped)
            allowed |= {round(value * raw.scale, 12) for value in values} | values
            for part, moment in MOMENTS.items() if target.metric.moments else ():
                # Each series gives one value.
                names.setdefault(f"{target.metric.full_name}.{part}", set()).update(map(moment, set(allowed)))
    submitted = [metric for each in aggregator_stub._metrics.values() for metric in each]
    assert submitted
    for metric in submitted:
        assert not [tag for tag in metric.tags if tag.startswith(("le:", "quantile:"))], metric
        name = metric.name.removesuffix(".sum").removesuffix(".count") if metric.name not in names else metric.name
        if name in names and not any(derived(system, metric.name)):
            assert round(metric.value, 12) in names[name], metric
    refused = {
        tag.partition(":")[2]
        for metric in aggregator_stub.metrics("model_serving.scrape.samples.rejected")
        for tag in metric.tags
        if tag.startswith("raw_metric:") and "reason:wrong_type" in metric.tags
    }
    assert refused == {raw.names[0] for raw in raws if is_refused(raw, shape)}


def derived(system: str, name: str) -> list[bool]:
    """Whether a metric is also computed from others."""
    return [True for entry in builtin_catalog().systems[system].derived if entry.metric.full_name == name]


def is_refused(raw: RawMetric, shape: str) -> bool:
    """Whether a metric can't be what it is in a shape. Pieces of what is no family are of names that nobody knows."""
    if raw.pair:
        # Its halves are counters.
        return is_refused(replace(raw, type="counter", pair=False), shape)
    if raw.ignore_plain and shape in ("gauge", "counter", "untyped"):
        return False
    if shape == "counter" and raw.grouped and raw.names[0].endswith("_total"):
        # The counter of that name is of the family without the suffix, which nobody knows.
        return False
    if shape in ("gauge", "counter", "untyped"):
        return raw.grouped
    if shape in ("histogram", "summary", "untyped summary"):
        # Without a declaration sum and count are no part of it, and the quantile alone says nothing.
        return not raw.grouped and (raw.type != "gauge" or bool(raw.states) or shape == "untyped summary")
    return False


@pytest.mark.parametrize("kind", ["info", "stateset", "gaugehistogram"])
def test_types_that_nothing_has(kind: str, endpoint: Endpoint) -> None:
    """What OpenMetrics knows besides is refused, once in the log, and counted each time."""
    samples: dict[str, Any] = {
        "info": 'model_accuracy_info{model="m"} 1',
        "stateset": 'model_accuracy{model_accuracy="good"} 1',
        "gaugehistogram": 'model_accuracy_bucket{le="+Inf"} 3\nmodel_accuracy_gcount 3\nmodel_accuracy_gsum 6',
    }
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="custom_ml", readiness=False)
    endpoint.serve(
        f"# TYPE model_accuracy {kind}\n{samples[kind]}\n# EOF\n",
        content_type="application/openmetrics-text; version=1.0.0",
    )
    for _ in range(2):
        aggregator_stub.reset()
        assert check.run() == ""
        assert not aggregator_stub.metrics("model_serving.model.accuracy")
        (rejected,) = aggregator_stub.metrics("model_serving.scrape.samples.rejected")
        assert {"reason:wrong_type", "raw_metric:model_accuracy"} <= set(rejected.tags)


def test_said_once(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """One line says which metric came as what, and what it is."""
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system="custom_ml", readiness=False)
    endpoint.serve('# TYPE prediction_latency_seconds gauge\nprediction_latency_seconds{model="m"} 0.2\n')
    for _ in range(3):
        assert check.run() == ""
    said = [record.getMessage() for record in caplog.records if "prediction_latency_seconds" in record.getMessage()]
    assert len(said) == 1
    assert "comes as a plain value, but is a histogram of custom_ml" in said[0]
