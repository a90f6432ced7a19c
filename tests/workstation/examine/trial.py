"""Trial runs of the check in this process, and what they tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import datadog_checks.base.checks.openmetrics.v2.base  # noqa: F401  (with its stubs, as other tests expect it)

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.workstation.examine import Examination, examine
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.runner import Round, Runner
from datadog_checks.model_serving.workstation.standin.sinks import combined
from datadog_checks.model_serving.workstation.standin.standin import StandIn

SECONDS = 10.0
"""Between two runs, as the examination is told."""


def trial(
    options: Mapping[str, Any], times: int = 1, before: Callable[[int], None] = lambda number: None
) -> tuple[Examination, Round]:
    """What so many runs of an instance tell, and the runs made one. `before` is called with the number of each."""
    with standing_in(StandIn()) as stand_in:
        runner = Runner(ModelServingCheck, "model_serving", {}, [(1, dict(options))], stand_in)
        rounds = []
        for number in range(1, times + 1):
            before(number)
            rounds.append(runner.run())
        whole = combined(rounds)
        runner.close()
        seconds = SECONDS * (times - 1) or None
        return examine(runner.checks.get(1), whole.runs[0], whole, options, seconds=seconds), whole


def examined(options: Mapping[str, Any], times: int = 1) -> Examination:
    """What so many runs of an instance tell."""
    return trial(options, times)[0]
