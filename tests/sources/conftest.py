"""A workspace of Databricks that a test is served, with a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .databricks_workspace import Clock, World, make_world


@pytest.fixture
def world(aggregator: Any, datadog_agent: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    clock = Clock()
    clock.install(monkeypatch)
    for variable in ("HOST", "TOKEN", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"DATABRICKS_{variable}", raising=False)
    with make_world(aggregator, clock) as world:
        yield world
