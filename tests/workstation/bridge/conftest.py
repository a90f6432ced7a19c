"""A host for bridges, and an intake for what they send."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datadog_checks.model_serving.submit import submitter
from datadog_checks.model_serving.submit.agent_cache import forget_claims
from datadog_checks.model_serving.workstation.bridge.engine import SpoolingStandIn
from datadog_checks.model_serving.workstation.demo.intake import SimulatedIntake
from datadog_checks.model_serving.workstation.standin.install import standing_in

from .bridges import BridgeHost


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BridgeHost]:
    """A host without a bridge yet, whose time stands still until the test lets it pass."""
    stand_in = SpoolingStandIn(hostname="")
    with SimulatedIntake() as intake, standing_in(stand_in):
        host = BridgeHost(tmp_path, intake, stand_in)
        intake.clock = stand_in.recorder.clock = host.time
        monkeypatch.setattr(submitter, "time", host)
        yield host
        host.stop()
    forget_claims()
