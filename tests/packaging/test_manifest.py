"""manifest.json and assets/service_checks.json: what they name exists, and they agree with each other."""

import csv
import json
import uuid
from pathlib import Path

import pytest

from .conftest import ROOT

MANIFEST = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))
INTEGRATION = MANIFEST["assets"]["integration"]
SERVICE_CHECKS = json.loads((ROOT / INTEGRATION["service_checks"]["metadata_path"]).read_text(encoding="utf-8"))


def test_manifest_is_a_second_generation_manifest():
    """The fields that identify the integration have their form."""
    assert MANIFEST["manifest_version"] == "2.0.0"
    assert str(uuid.UUID(MANIFEST["app_uuid"])) == MANIFEST["app_uuid"]
    assert MANIFEST["app_id"] == "model-serving"
    assert isinstance(INTEGRATION["source_type_id"], int)


@pytest.mark.parametrize(
    "path",
    [
        INTEGRATION["configuration"]["spec"],
        INTEGRATION["metrics"]["metadata_path"],
        INTEGRATION["service_checks"]["metadata_path"],
        MANIFEST["tile"]["changelog"],
        *MANIFEST["assets"]["dashboards"].values(),
        *MANIFEST["assets"]["monitors"].values(),
    ],
)
def test_files_named_by_the_manifest_exist(path):
    """Every path is relative to the repository and leads to a file."""
    assert not Path(path).is_absolute()
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("kind", ["dashboards", "monitors"])
def test_every_asset_is_named_by_the_manifest(kind):
    """A monitor or dashboard that is there is one that users are offered."""
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "assets" / kind).glob("*.json")}
    assert set(MANIFEST["assets"][kind].values()) == there


@pytest.mark.parametrize("section", ["overview", "configuration", "support"])
def test_sections_of_the_readme_named_by_the_manifest_exist(section):
    """Every `README.md#Heading` leads to a heading."""
    file, _, heading = MANIFEST["tile"][section].partition("#")
    assert f"## {heading}" in (ROOT / file).read_text(encoding="utf-8").splitlines()


def test_metrics_have_the_prefix_and_the_one_that_proves_life_exists():
    """Datadog takes the integration for alive when `check` arrives, so the check must send it at every run."""
    with (ROOT / INTEGRATION["metrics"]["metadata_path"]).open(encoding="utf-8", newline="") as file:
        names = {row["metric_name"] for row in csv.DictReader(file)}
    assert {name for name in names if not name.startswith(INTEGRATION["metrics"]["prefix"])} == set()
    assert INTEGRATION["metrics"]["check"] in names


def test_service_checks_are_those_of_the_check():
    """Every service check is described, under the name that Datadog shows for the integration."""
    assert {entry["check"] for entry in SERVICE_CHECKS} == {
        "model_serving.openmetrics.health",
        "model_serving.endpoint.ready",
        "model_serving.model.ready",
        "model_serving.gpu.health",
        "model_serving.workspace.health",
    }
    assert {entry["integration"] for entry in SERVICE_CHECKS} == {INTEGRATION["source_type_name"]}
