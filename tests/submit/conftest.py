"""Agents that are restarted, for the tests of what they remember."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datadog_checks.model_serving.submit import submitter
from datadog_checks.model_serving.submit.agent_cache import forget_claims
from datadog_checks.model_serving.workstation.standin.install import standing_in
from datadog_checks.model_serving.workstation.standin.standin import StandIn

from .agents import Agents


@pytest.fixture
def agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agents]:
    """A host without an Agent yet."""
    agents = Agents(tmp_path)
    monkeypatch.setattr(submitter, "time", agents)
    with standing_in(StandIn(cache_dir=tmp_path, config={"run_path": "/var/run/agent"})) as agents.stand_in:
        agents.stand_in.recorder.clock = agents.time
        yield agents
        for check in agents.checks:
            check.cancel()
    forget_claims()
