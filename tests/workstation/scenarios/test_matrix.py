"""Every shipped monitor on every scenario: what the check submits there, and who is notified, is what the file says."""

from __future__ import annotations

from functools import lru_cache

import pytest

from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.plan import checked
from datadog_checks.model_serving.workstation.provision.routing import load_routing
from datadog_checks.model_serving.workstation.provision.simulate.cases import MonitorCase, load_cases
from datadog_checks.model_serving.workstation.provision.simulate.judge import judge
from datadog_checks.model_serving.workstation.provision.simulate.simulation import Simulator
from datadog_checks.model_serving.workstation.scenarios import MATRIX
from datadog_checks.model_serving.workstation.scenarios.record import record
from datadog_checks.model_serving.workstation.scenarios.script import scripts
from tools import scenarios

CASES = load_cases(MATRIX, tuple(scripts()))


@lru_cache(maxsize=1)
def resources() -> list[Resource]:
    assert CASES.routing is not None
    return checked(desired(None, None, load_routing(CASES.routing)))


@pytest.mark.parametrize("case", CASES.cases, ids=[case.name for case in CASES.cases])
def test_monitors_do_what_the_file_says(case: MonitorCase) -> None:
    simulator = Simulator(resources(), record(scripts()[case.scenario]))
    assert [f"{one.monitor} {dict(one.group)}: {one.text}" for one in judge(case, simulator)] == []


def test_every_scenario_is_tried() -> None:
    assert [case.scenario for case in CASES.cases] == list(scripts())


def test_the_page_is_up_to_date() -> None:
    """`tools/scenarios.py` would not change docs/scenarios.md."""
    text = scenarios.PAGE.read_text(encoding="utf-8")
    assert scenarios.page(text) == text
