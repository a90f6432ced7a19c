"""What a trial run is said to cost, against what the stand-in committed and what the check says itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.workstation.examine import Cost, Examination, MetricCost
from datadog_checks.model_serving.workstation.examine.cost import OWN_CONTEXTS, queryable, with_percentiles
from datadog_checks.model_serving.workstation.examine.facts import is_own
from datadog_checks.model_serving.workstation.standin.runner import Round

from ...conftest import Endpoint
from .trial import trial

DISTRIBUTION = 5
"""Custom metrics of one, as Datadog bills it."""

names = st.sampled_from(["a", "b", "c d", 'e"f'])
statuses = st.sampled_from(["200", "404", "500"])
models = st.lists(st.tuples(names, statuses), min_size=1, max_size=4, unique=True)
flags = st.fixed_dictionaries({name: st.booleans() for name in ("histogram", "summary", "gauge", "process")})
modes = st.sampled_from(
    [
        {},
        {"histogram_buckets_as_distributions": False},
        {"collect_counters_with_distributions": False},
        {"metric_patterns": {"exclude": ["error", "latency.sum"]}},
        {"exclude_metrics": ["prediction_values"]},
    ]
)


def payload(series: Sequence[tuple[str, str]], has: dict[str, bool], step: int) -> str:
    """The n-th answer of an exporter in which everything moves."""
    lines = ["# TYPE inference_requests_total counter"]
    for model, status in series:
        labels = f'model_name="{_escaped(model)}",status="{status}"'
        lines.append(f"inference_requests_total{{{labels}}} {10 * step}")
        if has["histogram"]:
            lines += [
                f'inference_latency_seconds_bucket{{{labels},le="0.1"}} {step}',
                f'inference_latency_seconds_bucket{{{labels},le="+Inf"}} {2 * step}',
                f"inference_latency_seconds_sum{{{labels}}} {step}",
                f"inference_latency_seconds_count{{{labels}}} {2 * step}",
            ]
        if has["summary"]:
            lines += [f"prediction_values_sum{{{labels}}} {step}", f"prediction_values_count{{{labels}}} {step}"]
        if has["gauge"]:
            lines.append(f"model_accuracy{{{labels}}} 0.{step}")
    if has["process"]:
        lines.append(f"process_cpu_seconds_total {step}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace('"', '\\"')


def committed(round_: Round) -> dict[str, int]:
    """Custom metrics that a round sent, by metric, but for those of the check about itself."""
    found: dict[str, int] = {}
    commit = round_.runs[0].commit
    for point in commit.series:
        if not is_own(point.context.name):
            found[point.context.name] = found.get(point.context.name, 0) + 1
    for distribution in commit.distributions:
        found[distribution.context.name] = found.get(distribution.context.name, 0) + DISTRIBUTION
    return found


def own(round_: Round, name: str) -> float:
    """What the check says about the last scrape."""
    [value] = [point.value for point in round_.runs[0].commit.series if point.context.name.endswith(f".scrape.{name}")]
    return value


@given(series=models, has=flags, mode=modes)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_what_was_committed(
    endpoint: Endpoint, series: list[tuple[str, str]], has: dict[str, bool], mode: dict[str, object]
) -> None:
    """One answer tells what the next run will send; after that run it is what was sent, and what the check says."""
    options = {"openmetrics_endpoint": endpoint.url, "serving_system": "custom_ml", **mode}

    def of(times: int) -> tuple[Examination, Round]:
        return trial(options, times, lambda number: endpoint.serve(payload(series, has, number)))

    (ahead, _), (after, round_) = of(1), of(2)
    sent = committed(round_)
    for examination in (ahead, after):
        assert {metric.name: metric.custom_metrics for metric in examination.cost.metrics} == sent
        assert examination.cost.custom_metrics == sum(sent.values()) == own(round_, "custom_metrics")
        assert examination.cost.contexts == own(round_, "contexts")


def test_what_has_not_moved_counts_as_well(endpoint: Endpoint) -> None:
    """A histogram without a new request has no sketch in a short trial, and is paid for all the same."""
    has = {"histogram": True, "summary": False, "gauge": False, "process": False}
    endpoint.serve(payload([("a", "200")], has, 1))
    options = {"openmetrics_endpoint": endpoint.url, "serving_system": "custom_ml"}
    examination, round_ = trial(options, 2)
    assert not round_.runs[0].commit.distributions
    [metric] = [metric for metric in examination.cost.metrics if metric.type == "distribution"]
    assert (metric.contexts, metric.custom_metrics) == (1, DISTRIBUTION)


def test_what_is_committed_about_the_check_itself(endpoint: Endpoint) -> None:
    endpoint.serve("inference_requests_total 1\n")
    _, round_ = trial({"openmetrics_endpoint": endpoint.url, "serving_system": "custom_ml"}, 2)
    assert sum(is_own(point.context.name) for point in round_.runs[0].commit.series) == OWN_CONTEXTS


@given(st.lists(st.sets(st.sampled_from(["a:1", "a:2", "b:1", "b:2", "c:1"])), min_size=1, max_size=6))
def test_queryable_combinations(sets: list[set[str]]) -> None:
    """Every subset of every set of tags, once."""
    every = {frozenset(some) for tags in sets for size in range(len(tags) + 1) for some in combinations(tags, size)}
    assert queryable([tuple(sorted(tags)) for tags in sets]) == len(every)


def test_queryable_combinations_of_the_documentation() -> None:
    """docs/how-it-counts.md: two tags of two values each, of which three pairs occur."""
    assert queryable([("a:1", "b:1"), ("a:1", "b:2"), ("a:2", "b:1")]) == 8


def test_many_tags_are_bounded() -> None:
    """Whatever a label costs, the forecast ends: of many tags it says an upper bound."""
    tags = [tuple(f"t{number}:{row}" for number in range(40)) for row in range(2)]
    assert queryable(tags) == 2 * 2**40


@pytest.mark.parametrize(
    ("endpoints", "percentiles", "expected"),
    [(1, False, 10 + 4), (10, False, 140), (10, True, 10 * (10 + 45 + 4))],
)
def test_forecast(endpoints: int, percentiles: bool, expected: int) -> None:
    """Half of what two endpoints cost, and what the check says of each, times their number."""
    metrics = (
        MetricCost("m", "distribution", 3, 15, percentiles=90, wanted=True),
        MetricCost("n", "distribution", 1, 5, percentiles=70),
    )
    assert Cost(metrics, sources=2).forecast(endpoints, percentiles) == expected


def test_percentiles_are_wanted_for_what_provision_asks_for() -> None:
    assert "model_serving.request.latency" in with_percentiles()
    assert "model_serving.request.queue.depth" not in with_percentiles()
