"""The monitor `throughput.week`: fewer requests, and none because nobody reads them, are not the same."""

from __future__ import annotations

import pytest

from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.simulate.observations import COUNT, Observations
from datadog_checks.model_serving.workstation.provision.simulate.simulation import Simulator

START, MINUTE = 1_767_225_600, 60
TAGS = ("serving_system:triton", "endpoint_name:e", "model_name:m")
RESOURCES = desired(["regressions"])


@pytest.mark.parametrize(
    ("a_minute", "alerts"),
    [
        pytest.param([10.0] * 90, False, id="as a week before"),
        pytest.param([10.0] * 20 + [2.0] * 70, True, id="a fifth of it"),
        pytest.param([10.0] * 20 + [0.0] * 70, True, id="nobody calls"),
        pytest.param([10.0] * 20 + [None] * 70, False, id="deleted, or not read"),
        pytest.param([10.0] * 20 + [2.0, None] * 35, False, id="read every other minute"),
    ],
)
def test_fewer_requests_are_those_of_an_endpoint_that_is_read(a_minute: list[float | None], alerts: bool) -> None:
    found = Observations(START, START + len(a_minute) * MINUTE, 10 * MINUTE)
    for minute, number in enumerate(a_minute):
        if number is not None:
            found.point("model_serving.request.count", COUNT, TAGS, START + minute * MINUTE + 20, number)
    history = Simulator(RESOURCES, found).history("throughput.week")
    assert not history.not_simulated
    states = {change.after for run in history.runs.values() for change in run.changes}
    assert ("Alert" in states) is alerts
