"""The monitor `prediction.shift` against the rule that it comes from:
|mean of an hour - mean of the hour one week before| / standard deviation of the week > 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.catalog.model import MOMENTS
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.packs import monitor_entries
from datadog_checks.model_serving.workstation.provision.query.tree import MetricMonitor
from datadog_checks.model_serving.workstation.provision.simulate.buckets import Leaves
from datadog_checks.model_serving.workstation.provision.simulate.metric import MetricEvaluation
from datadog_checks.model_serving.workstation.provision.simulate.observations import COUNT, Observations
from datadog_checks.model_serving.workstation.provision.simulate.simulation import Simulator
from datadog_checks.model_serving.workstation.provision.simulate.variants import Variant

HOUR, WEEK = 3600, 168
NOW = 497_000 * HOUR
TAGS = ("serving_system:custom_ml", "endpoint_name:fraud", "model_name:m", "class_label:legit")
SHIFT = [one for one in desired(["quality"]) if one.key == "prediction.shift"]


def observed(values: Sequence[float | None], tags: Sequence[str] = TAGS) -> Observations:
    """Two points in each hour up to now, None for an hour without any. What monitors do is of the last two hours."""
    found = Observations(NOW - 2 * HOUR, NOW)
    for hour, value in enumerate(values, NOW // HOUR - len(values)):
        for minute in (15, 45):
            for part, moment in MOMENTS.items():
                if value is not None:
                    name = f"model_serving.model.prediction.mean.{part}"
                    found.point(name, COUNT, tags, hour * HOUR + minute * 60, moment(value))
    return found


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-1000, 1000).map(lambda value: value / 100), min_size=WEEK + 1, max_size=WEEK + 1))
def test_it_is_the_square_of_what_the_rule_asks(values: list[float]) -> None:
    tree = monitor_entries()["prediction.shift"].tree
    assert isinstance(tree, MetricMonitor)
    evaluation = MetricEvaluation(tree, {}, Leaves(observed(values)), set())
    found = next(iter(evaluation.values(NOW, Variant()).values()))
    deviation = pstdev(values[1:])
    if deviation:
        assert found == pytest.approx(((values[-1] - values[0]) / deviation) ** 2, rel=1e-6, abs=1e-6)


def noise(hour: int) -> float:
    """Around 10, with a standard deviation of 0.1."""
    return 10.1 if (hour + 6) % 24 < 12 else 9.9


def peak(hour: int) -> float:
    """The same, but for one evening in the week, the last one too, with 8 deviations more."""
    return noise(hour) + (0.8 if hour % WEEK in range(9 * 24 % WEEK - 3, 9 * 24 % WEEK + 3) else 0.0)


def shifted(by: float, hours: int = 9 * 24, usual: Callable[[int], float] = noise) -> list[float | None]:
    """As usual, but for the last two hours, which are higher."""
    return [usual(hour) + (by if hour >= hours - 2 else 0.0) for hour in range(hours)]


def without(values: list[float | None], first: int, last: int) -> list[float | None]:
    """The values, but none in the hours from `first` to `last`, counted back from now."""
    return [None if first >= len(values) - hour >= last else value for hour, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "alerts"),
    [
        pytest.param(shifted(0.4), True, id="four deviations"),
        pytest.param(shifted(-0.4), True, id="four deviations downwards"),
        pytest.param(shifted(0.2), False, id="two deviations"),
        pytest.param(shifted(0.0, usual=peak), False, id="the same in this hour of the week"),
        pytest.param(shifted(0.4, 6 * 24), False, id="less than a week of history"),
        pytest.param(shifted(0.0, WEEK), False, id="the first hour with a week of history"),
        pytest.param(without(shifted(0.0), WEEK + 4, WEEK - 2), False, id="no data a week before"),
        pytest.param(without(shifted(0.0), 40, 38), False, id="a gap of three hours"),
        pytest.param(without(shifted(0.4), 60, 38), False, id="a gap of a day"),
    ],
)
def test_what_it_alerts_about(values: list[float | None], alerts: bool) -> None:
    """In any way that a window may be cut into buckets, and whatever the model's label."""
    history = Simulator(SHIFT, observed(values)).history("prediction.shift")
    assert not history.not_simulated
    assert not history.depends
    states = {change.after for run in history.runs.values() for change in run.changes}
    assert ("Alert" in states) is alerts, states
