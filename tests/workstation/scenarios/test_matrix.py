"""Every shipped monitor on every scenario: what the check submits there, and who is notified, is what the file says."""

from __future__ import annotations

from functools import cache, lru_cache

import pytest

from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.routing import load_routing
from datadog_checks.model_serving.workstation.provision.simulate.cases import MonitorCase, load_cases
from datadog_checks.model_serving.workstation.provision.simulate.judge import judge
from datadog_checks.model_serving.workstation.provision.simulate.observations import Observations, values_of
from datadog_checks.model_serving.workstation.provision.simulate.simulation import Simulator
from datadog_checks.model_serving.workstation.provision.simulate.states import NO_DATA
from datadog_checks.model_serving.workstation.provision.values import MonitorValues, Values
from datadog_checks.model_serving.workstation.scenarios import MATRIX
from datadog_checks.model_serving.workstation.scenarios.record import record
from datadog_checks.model_serving.workstation.scenarios.script import scripts, series_tags
from tools import scenarios

CASES = load_cases(MATRIX, tuple(scripts()))


@lru_cache(maxsize=1)
def resources() -> list[Resource]:
    assert CASES.routing is not None
    return checked(desired(None, None, load_routing(CASES.routing)))


@cache
def seen(scenario: str) -> Observations:
    return record(scripts()[scenario])


def differences(case: MonitorCase) -> list[str]:
    """Where monitors do otherwise than the file says."""
    simulator = Simulator(resources(), seen(case.scenario))
    return [f"{one.monitor} {dict(one.group)}: {one.text}" for one in judge(case, simulator)]


# Those that other tests here ask for are among these; test_matrix_rest.py has the others.
@pytest.mark.parametrize("case", CASES.cases[1::2], ids=[case.name for case in CASES.cases[1::2]])
def test_monitors_do_what_the_file_says(case: MonitorCase) -> None:
    assert differences(case) == []


def total(found: Observations, metric: str, **tags: str) -> float:
    wanted = {f"{key}:{value}" for key, value in tags.items()}
    series = [one for own, one in found.metrics[f"model_serving.{metric}"].items() if wanted <= set(own)]
    return sum(value for one in series for value in one.values if isinstance(value, float))


@pytest.mark.parametrize("endpoint", ["fraud-platform", "rank-gateway"])
def test_one_of_thirty_is_one_of_thirty(endpoint: str) -> None:
    """Traffic is not drawn by lot: what the check submits of it is what the scenario says."""
    found = seen("one of thirty fails")
    assert total(found, "request.error.count", endpoint_name=endpoint) == 1
    # Six a minute, but for the six seconds in which one came for all of them.
    assert abs(total(found, "request.count", endpoint_name=endpoint) - 6 * 40) <= 6


def test_hosts_are_those_of_the_agents() -> None:
    """A workspace is read by a cluster check, whose series bear no host."""
    found = seen("first hour after installation")
    hosts: dict[str, set[str]] = {"churn-scorer": set(), "fraud-platform": set(), "vision": set()}
    for tags in found.checks["model_serving.openmetrics.health"]:
        for name in values_of(tags, "endpoint_name"):
            if name in hosts:
                hosts[name].update(values_of(tags, "host"))
    assert hosts == {"churn-scorer": set(), "fraud-platform": {"agent-1"}, "vision": {"gpu-node-1"}}


def test_names_of_tags_are_those_of_the_series() -> None:
    """By tags.yaml it is told what of a user's scope can hold for a scenario at all."""
    assert seen("first hour after installation").tag_names() == series_tags()


@pytest.mark.parametrize(
    ("scenario", "silent"),
    [
        ("node scaled down", {("nvml", "gpu-node-1")}),
        ("Agent stopped", {("nvml", "gpu-node-1"), ("tensorflow_serving", "vision")}),
        ("GPU falls off", set()),
    ],
)
def test_who_names_what_must_never_go_quiet_is_told(scenario: str, silent: set[tuple[str, str]]) -> None:
    """Also of GPUs alone, and of one of several Agents; once, and not where a GPU fails while it is read."""
    values = Values(monitors={"endpoint.silent": MonitorValues(enabled=True)})
    history = Simulator(desired(["endpoints"], values), seen(scenario)).history("endpoint.silent")
    for run in history.runs.values():
        groups = [dict(change.group) for change in run.changes if change.after == NO_DATA]
        assert {(group["serving_system"], group["endpoint_name"]) for group in groups} == silent


def test_every_scenario_is_tried() -> None:
    assert [case.scenario for case in CASES.cases] == list(scripts())


def test_the_page_is_up_to_date() -> None:
    """`tools/scenarios.py` would not change docs/scenarios.md."""
    text = scenarios.PAGE.read_text(encoding="utf-8")
    assert scenarios.page(text) == text
