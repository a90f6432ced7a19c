"""A real prometheus_client exporter with the metrics of a team's own ML services, in both formats that it speaks."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from datadog_checks.base import AgentCheck

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.catalog.model import MOMENTS

from .servers import start
from .servers.exporter import LATENCY_BUCKETS
from .submissions import GENERIC, Run, Series, bucketed, filled, run, succeed, without

pytestmark = pytest.mark.real

COMMON = {"endpoint", "endpoint_name", "serving_system"}
# A tag cannot hold a control character: it becomes an underscore.
HARD_FEATURES = ('quo"te', "back\\slash", "new\nline", "braces {a=b}", "unicodé", "comma, and space")


def check_of(exporter: start.Exporter, **options: Any) -> ModelServingCheck:
    instance = {"openmetrics_endpoint": exporter.metrics, "serving_system": "custom_ml", **options}
    return ModelServingCheck("model_serving", {}, [instance])


def series(name: str, **tags: str) -> Series:
    return f"model_serving.{name}", frozenset(f"{key}:{value}" for key, value in tags.items())


@dataclass(frozen=True, repr=False)
class Formats:
    """What the check submitted for the same change, scraped as text and as OpenMetrics."""

    text: tuple[Run, Run]
    openmetrics: tuple[Run, Run]
    served: list[str]
    optional: bool


def first_values(exporter: start.Exporter, optional: bool) -> None:
    """What has happened before the check came: none of it may be counted."""
    exporter.observe("prediction_latency_seconds", 0.02, 0.2, 3.0, model_name="fraud", batch_size="1")
    exporter.observe("prediction_latency_seconds", 0.3, model_name="fraud", batch_size="64")
    exporter.observe("prediction_values", 0.5, -0.25, model_name="fraud", class_label="legit")
    exporter.set("model_accuracy", 0.5, model_name="fraud", model_version="v2")
    if optional:
        exporter.inc("inference_requests", 41, model="fraud", status="ok")
        exporter.observe("inference_latency_seconds", 0.004, 7.0, model="fraud")


def changes(exporter: start.Exporter, optional: bool) -> None:
    """The change that is measured; `expected_*` say what has to come of it."""
    exporter.observe("prediction_latency_seconds", 0.0005, 0.02, 0.02, 0.3, 11.0, model_name="fraud", batch_size="1")
    exporter.observe("prediction_latency_seconds", 0.05, 0.06, model_name="ranker", batch_size="8")
    exporter.observe("prediction_values", -2.0, -1.5, 0.5, model_name="fraud", class_label="legit")
    exporter.observe("prediction_values", 0.25, 0.75, model_name="fraud", class_label="fraud")
    exporter.set("model_accuracy", 0.956, model_name="fraud", model_version="v2")
    exporter.set("model_accuracy", 0.71, model_name="ranker", model_version="v1")
    exporter.set("model_cache_hit_ratio", 0.82, model_name="fraud")
    exporter.set("model_cache_hit_ratio", 0, model_name="ranker")
    for number, feature in enumerate(HARD_FEATURES):
        exporter.set("feature_drift_score", number / 8, model_name="fraud", feature_name=feature)
    exporter.set("feature_drift_score", math.nan, model_name="fraud", feature_name="never computed")
    exporter.set("feature_drift_score", math.inf, model_name="fraud", feature_name="constant")
    if optional:
        exporter.inc("inference_requests", 7, model="fraud", status="ok")
        exporter.inc("inference_requests", 3, model="fraud", status="error")
        exporter.observe("inference_latency_seconds", 0.004, 0.4, 0.4, model="fraud")
        exporter.set("prediction_mean", 0.375)


def expected_histograms(optional: bool) -> dict[Series, list[float]]:
    """The observations behind every distribution."""
    model_latency = "request.inference.latency" if optional else "request.latency"
    observed = {
        series(model_latency, model_name="fraud", batch_size="1"): [0.0005, 0.02, 0.02, 0.3, 11.0],
        series(model_latency, model_name="fraud", batch_size="64"): [],
        series(model_latency, model_name="ranker", batch_size="8"): [0.05, 0.06],
    }
    if optional:
        observed[series("request.latency", model_name="fraud")] = [0.004, 0.4, 0.4]
    return observed


def expected_counts(optional: bool) -> dict[Series, float]:
    counts = {
        series("model.prediction.count", model_name="fraud", class_label="legit"): 3.0,
        series("model.prediction.sum", model_name="fraud", class_label="legit"): -3.0,
        series("model.prediction.count", model_name="fraud", class_label="fraud"): 2.0,
        series("model.prediction.sum", model_name="fraud", class_label="fraud"): 1.0,
    }
    for (name, tags), values in expected_histograms(optional).items():
        counts[f"{name}.count", tags] = len(values)
        counts[f"{name}.sum", tags] = math.fsum(values)
    if optional:
        counts[series("request.count", model_name="fraud", status_code="ok", status_class="2xx")] = 7.0
        counts[series("request.count", model_name="fraud", status_code="error")] = 3.0
        counts[series("request.error.count", model_name="fraud", status_code="error", error_type="error")] = 3.0
        counts[series("request.error.count", model_name="fraud")] = 0.0
    else:
        # Without a counter of requests, the predictions that were timed are the traffic.
        counts[series("request.count", model_name="fraud")] = 5.0
        counts[series("request.count", model_name="ranker")] = 2.0
    for gauge, value in expected_gauges(optional).items():
        if gauge[0].endswith("model.prediction.mean"):
            for part, moment in MOMENTS.items():
                counts[f"{gauge[0]}.{part}", gauge[1]] = moment(value)
    return counts


def expected_gauges(optional: bool) -> dict[Series, float]:
    gauges = {
        series("model.accuracy", model_name="fraud", model_version="v2"): 95.6,
        series("model.accuracy", model_name="ranker", model_version="v1"): 71.0,
        series("cache.hit_ratio", model_name="fraud"): 82.0,
        series("cache.hit_ratio", model_name="ranker"): 0.0,
        series("model.prediction.mean", model_name="fraud", class_label="legit"): -1.0,
        series("model.prediction.mean", model_name="fraud", class_label="fraud"): 0.5,
    }
    for number, feature in enumerate(HARD_FEATURES):
        gauges[series("model.feature_drift", model_name="fraud", feature_name=feature.replace("\n", "_"))] = number / 8
    if optional:
        gauges[series("model.prediction.mean")] = 0.375
    return gauges


def mapped(values: dict[Series, Any]) -> dict[Series, Any]:
    """What the catalog maps: without the check's own telemetry and the tags that every series has."""
    ours = {key: value for key, value in values.items() if not key[0].startswith("model_serving.scrape.")}
    assert all("serving_system:custom_ml" in tags for _, tags in ours)
    return without(ours, COMMON)


@pytest.fixture(scope="module", params=[False, True], ids=["seed", "with_optional"])
def formats(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Formats]:
    optional: bool = request.param
    with start.exporter(tmp_path_factory.mktemp("exporter"), optional=optional) as exporter:
        text, openmetrics = check_of(exporter), check_of(exporter, use_latest_spec=True)
        first_values(exporter, optional)
        before = succeed(text), succeed(openmetrics)
        changes(exporter, optional)
        exporter.served()
        after = succeed(text), succeed(openmetrics)
        yield Formats((before[0], after[0]), (before[1], after[1]), exporter.served(), optional)


@pytest.fixture(params=["text", "openmetrics"])
def runs(request: pytest.FixtureRequest, formats: Formats) -> tuple[Run, Run]:
    chosen: tuple[Run, Run] = getattr(formats, request.param)
    return chosen


def test_each_check_was_served_the_format_it_should_read(formats: Formats) -> None:
    assert [each.partition(";")[0] for each in formats.served] == ["text/plain", "application/openmetrics-text"]


def test_runs_are_without_complaint(runs: tuple[Run, Run]) -> None:
    for each in runs:
        assert each.warnings == []
        assert each.status("model_serving.openmetrics.health") == [AgentCheck.OK]


def test_what_happened_before_the_first_run_is_not_counted(runs: tuple[Run, Run]) -> None:
    values = {key: value for key, value in mapped(runs[0].counts).items() if ".prediction.mean." not in key[0]}
    assert {key: value for key, value in values.items() if value} == {}
    assert not [value for own in runs[0].buckets.values() for value in own.values() if value]


def test_counts_are_the_increments(runs: tuple[Run, Run], formats: Formats) -> None:
    assert mapped(runs[1].counts) == pytest.approx(expected_counts(formats.optional))


def test_buckets_are_the_increments(runs: tuple[Run, Run], formats: Formats) -> None:
    submitted = {key: filled(own, LATENCY_BUCKETS) for key, own in mapped(runs[1].buckets).items()}
    expected = {key: bucketed(LATENCY_BUCKETS, values) for key, values in expected_histograms(formats.optional).items()}
    assert {key: own for key, own in submitted.items() if own} == {key: own for key, own in expected.items() if own}


def test_gauges_are_the_values(runs: tuple[Run, Run], formats: Formats) -> None:
    assert mapped(runs[1].gauges) == pytest.approx(expected_gauges(formats.optional))


def test_values_that_are_no_number_are_refused_and_counted(runs: tuple[Run, Run]) -> None:
    refused = "reason:non_finite", "raw_metric:feature_drift_score"
    assert runs[1].count("model_serving.scrape.samples.rejected", *refused) == 2


def test_what_the_process_uses(runs: tuple[Run, Run]) -> None:
    names = ["cpu.time", "memory.resident", "open_fds"]
    assert sorted(name for name, _ in runs[1].process) == [f"model_serving.process.{name}" for name in names]
    (memory,) = (value for (name, _), value in runs[1].process.items() if name.endswith("memory.resident"))
    assert 1 << 20 < memory < 1 << 30


def test_both_formats_submit_the_same(formats: Formats) -> None:
    for text, openmetrics in zip(formats.text, formats.openmetrics, strict=True):
        assert mapped(text.counts) == mapped(openmetrics.counts)
        assert mapped(text.gauges) == mapped(openmetrics.gauges)
        assert mapped(text.buckets) == mapped(openmetrics.buckets)


def test_creation_times_never_become_numbers(runs: tuple[Run, Run]) -> None:
    for each in runs:
        assert not [value for value in (*each.counts.values(), *each.gauges.values()) if value > 1e8]
        assert not [name for name in each.names() if "created" in name]


def test_no_generic_tag(runs: tuple[Run, Run]) -> None:
    assert not GENERIC & runs[1].keys()


def test_an_exporter_that_restarts_is_counted_from_zero(tmp_path: Path) -> None:
    """Between the runs the process goes away and comes back on the same port with smaller values."""
    labels = {"model_name": "fraud", "batch_size": "1"}
    with start.exporter(tmp_path, optional=True) as exporter:
        check = check_of(exporter)
        exporter.observe("prediction_latency_seconds", *[0.02] * 9, **labels)
        exporter.inc("inference_requests", 50, model="fraud", status="ok")
        succeed(check)
        port = exporter.port
    away = run(check)
    assert "127.0.0.1" in away.error
    assert away.status("model_serving.openmetrics.health") == [AgentCheck.CRITICAL]
    assert mapped(away.counts) == {}
    with start.exporter(tmp_path, optional=True, port=port) as exporter:
        exporter.observe("prediction_latency_seconds", *[0.02] * 4, **labels)
        exporter.inc("inference_requests", 6, model="fraud", status="ok")
        exporter.inc("inference_requests", 2, model="fraud", status="error")
        back = succeed(check)
        assert back.count("model_serving.request.inference.latency.count") == 4
        latency = back.histogram("model_serving.request.inference.latency")
        assert filled(latency, LATENCY_BUCKETS) == {(0.01, 0.025): 4}
        assert back.count("model_serving.request.count") == 8
        assert back.count("model_serving.request.error.count") == 2
