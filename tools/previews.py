"""Write a picture of each dashboard, as `model-serving provision preview` draws it: `python tools/previews.py`.

Pages show the SVG. The PNG is for manifest.json, which takes no other form; since its bytes depend on the fonts of the
machine, it is only written where the SVG has changed.
"""

from __future__ import annotations

from pathlib import Path

import vl_convert

from datadog_checks.model_serving.workstation.preview.account import SimulatedAccount
from datadog_checks.model_serving.workstation.preview.drawing import draw_dashboard
from datadog_checks.model_serving.workstation.preview.recorded import Recorded
from datadog_checks.model_serving.workstation.preview.story import record_story
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.values import Values

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "images"
MINUTES, SEED = 60, 1
GENERATIVE = "model_name:llama-70b"
"""The language model of the story, of which the SLO of latency is not meant."""
SCALE = 0.67
"""Of the PNG, of which Datadog takes at most a megabyte."""


def path_of(key: str) -> str:
    """Where the picture of a dashboard is."""
    return f"docs/images/dashboard_{key}.svg"


def pictures(recorded: Recorded) -> dict[str, str]:
    """The picture of each dashboard over what was recorded, by its path."""
    resources = desired(None, Values(prefix="", generative=GENERATIVE))
    account = SimulatedAccount(resources, recorded)
    return {path_of(one.key): draw_dashboard(one.body, account) for one in resources if one.kind == "dashboard"}


def write(found: dict[str, str]) -> None:
    """Write the pictures that have changed, and remove those of dashboards that are gone."""
    for path in FOLDER.glob("dashboard_*"):
        if path.with_suffix(".svg").relative_to(ROOT).as_posix() not in found:
            path.unlink()
    for name, text in found.items():
        path = ROOT / name
        small = path.with_suffix(".png")
        if small.exists() and path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        path.write_text(text, encoding="utf-8")
        small.write_bytes(vl_convert.svg_to_png(text, scale=SCALE))
        print(f"wrote {name}")


if __name__ == "__main__":
    write(pictures(record_story(MINUTES, SEED)))
