"""Write a picture of each dashboard, as `model-serving provision preview` draws it: `python tools/previews.py`."""

from __future__ import annotations

from pathlib import Path

from datadog_checks.model_serving.workstation.preview.account import SimulatedAccount
from datadog_checks.model_serving.workstation.preview.drawing import draw_dashboard
from datadog_checks.model_serving.workstation.preview.story import record_story
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.simulate.observations import Observations
from datadog_checks.model_serving.workstation.provision.values import Values

ROOT = Path(__file__).resolve().parent.parent
MINUTES, SEED = 60, 1


def path_of(key: str) -> str:
    """Where the picture of a dashboard is."""
    return f"docs/images/dashboard_{key}.svg"


def pictures(seen: Observations) -> dict[str, str]:
    """The picture of each dashboard over some observations, by its path."""
    resources = desired(None, Values(prefix=""))
    account = SimulatedAccount(resources, seen)
    return {path_of(one.key): draw_dashboard(one.body, account) for one in resources if one.kind == "dashboard"}


if __name__ == "__main__":
    for path, text in pictures(record_story(MINUTES, SEED)).items():
        (ROOT / path).write_text(text, encoding="utf-8")
        print(f"wrote {path}")
