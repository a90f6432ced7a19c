from __future__ import annotations

import pytest

from datadog_checks.model_serving.workstation.preview.recorded import Recorded
from datadog_checks.model_serving.workstation.preview.story import record_story


@pytest.fixture(scope="package")
def story() -> Recorded:
    """The first minutes of the demo, as the real check submits them. They fail, heat up and drift, in short."""
    return record_story(5, 1)
