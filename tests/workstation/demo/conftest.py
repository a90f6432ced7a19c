"""A simulated world whose story is over, and reading what its systems print."""

from __future__ import annotations

import pytest
from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from datadog_checks.model_serving.workstation.demo.dialects.custom_ml import CustomML
from datadog_checks.model_serving.workstation.demo.scenario import Scenario, load
from datadog_checks.model_serving.workstation.demo.world import Dialect, Simulated, World


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return load()


def render(dialect: Dialect) -> str:
    """The payload of one system."""
    if isinstance(dialect, CustomML):
        return generate_latest(dialect.registry).decode()
    return dialect.render()


def parse(text: str) -> dict[str, Metric]:
    """The families of a payload by name, each of which must be there once."""
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def total(families: dict[str, Metric], sample: str, **labels: str) -> float:
    """The sum of all samples of that name with these labels."""
    return sum(
        found.value
        for family in families.values()
        for found in family.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


def endpoint(world: World, name: str) -> Simulated:
    return next(one for one in world.endpoints if one.service.endpoint == name)
