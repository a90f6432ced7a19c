"""The files in assets/ and the tables of the documentation are what the packs give."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from datadog_checks.model_serving.strict_yaml import read_yaml
from datadog_checks.model_serving.workstation.provision.packs import (
    HERE as PACKS,
)
from datadog_checks.model_serving.workstation.provision.packs import (
    builtin_packs,
    monitor_entries,
)
from datadog_checks.model_serving.workstation.provision.query import check_dashboard, check_monitor

ROOT = Path(__file__).parents[3]


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("assets_tool", ROOT / "tools" / "assets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = tool()
FILES: dict[str, str] = TOOL.files()
MONITORS = sorted(path for path in FILES if path.startswith("assets/monitors/"))
DASHBOARDS = sorted(path for path in FILES if path.startswith("assets/dashboards/"))


@pytest.mark.parametrize("path", FILES)
def test_file_is_fresh(path: str) -> None:
    """`python tools/assets.py` would change nothing."""
    assert (ROOT / path).read_text(encoding="utf-8") == FILES[path]


def test_no_file_is_left_over() -> None:
    """What no pack gives any more is gone."""
    assert TOOL.stale() == []


def test_everything_but_burn_rates_and_composites_is_an_asset() -> None:
    """These need the id of an SLO or of a monitor, which only an account has."""
    names = {Path(path).stem for path in MONITORS}
    assert names == {
        key.replace(".", "_") for key, entry in monitor_entries().items() if entry.form != "slo" and not entry.guards
    }
    assert {Path(path).stem for path in DASHBOARDS} == {
        entry.key for pack in builtin_packs().values() for entry in pack.dashboards
    }


@pytest.mark.parametrize("path", MONITORS)
def test_monitor_has_the_form_of_an_integration(path: str) -> None:
    """Fields and lengths that Datadog's integrations have, and a definition that the API takes."""
    asset = json.loads(FILES[path])
    assert list(asset) == ["version", "created_at", "last_updated_at", "title", "description", "tags", "definition"]
    assert asset["version"] == 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", asset["created_at"])
    assert len(asset["title"]) <= 60
    assert len(asset["description"]) <= 300
    assert asset["tags"] == ["integration:model-serving"]
    definition = asset["definition"]
    assert definition["name"] == asset["title"]
    assert asset["tags"][0] in definition["tags"]
    assert "${" not in json.dumps(asset)
    assert [one.message for one in check_monitor(definition) if one.severity == "error"] == []


@pytest.mark.parametrize("path", DASHBOARDS)
def test_dashboard_has_the_form_of_an_integration(path: str) -> None:
    """The payload of the API, as ddev wants it, without anything that only one account knows."""
    asset = json.loads(FILES[path])
    assert {"title", "description", "layout_type", "template_variables", "widgets", "author_name"} <= set(asset)
    assert "${" not in FILES[path]
    assert "managed by" not in FILES[path]
    assert [one.message for one in check_dashboard(asset) if one.severity == "error"] == []


def test_every_monitor_has_a_runbook() -> None:
    """What it means, what to look at, how to tell a false alarm; and no monitor that is none has one."""
    pages = {path: text for path, text in FILES.items() if path.startswith("docs/runbooks/")}
    keys = {key for key, entry in monitor_entries().items() if not entry.base}
    assert set(pages) == {"docs/runbooks/README.md", *(f"docs/runbooks/{key}.md" for key in keys)}
    assert set(read_yaml(PACKS / "runbooks.yaml")) == keys
    for key in keys:
        entry, text = monitor_entries()[key], pages[f"docs/runbooks/{key}.md"]
        headings = [line for line in text.splitlines() if line.startswith("## ")]
        assert headings == [
            "## What it means",
            "## What to look at",
            "## How to tell a false alarm",
            "## How it is measured",
        ]
        assert entry.means
        assert entry.false_alarm


def test_documentation_lists_everything() -> None:
    """Every pack, monitor, SLO and dashboard is in a table, with where it differs from its source."""
    text = (ROOT / "docs" / "provisioning.md").read_text(encoding="utf-8")
    for pack in builtin_packs().values():
        assert f"\n| `{pack.name}` |" in text
        for entry in pack.monitors:
            row = next(line for line in text.splitlines() if line.startswith(f"| `{entry.key}` ("))
            assert len(re.split(r"(?<!\\)\|", row)) == 8
            assert entry.note.replace("|", "\\|") in row
        for slo in pack.slos:
            assert f"\n| `{slo.key}` |" in text
