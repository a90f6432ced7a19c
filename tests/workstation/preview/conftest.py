from __future__ import annotations

import pytest

from datadog_checks.model_serving.workstation.preview.story import record_story
from datadog_checks.model_serving.workstation.provision.simulate.observations import Observations


@pytest.fixture(scope="package")
def story() -> Observations:
    """The first minutes of the demo, as the real check submits them. They fail, heat up and drift, in short."""
    return record_story(5, 1)
