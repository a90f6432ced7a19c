"""What the documentation shows is executed, and its tables are what the catalog gives."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.catalog.loader import builtin_catalog, load_catalog
from datadog_checks.model_serving.sources.databricks.workspace import DatabricksWorkspace

from .conftest import Endpoint, make_check, submissions

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^#### (.+?)\n.*?```yaml\n(.*?)```", README, re.MULTILINE | re.DOTALL)
DATABRICKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "databricks.md").read_text("utf-8"), re.DOTALL)
GATEWAY = next(text for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if text.startswith("system: "))


@pytest.mark.parametrize(("title", "text"), BLOCKS, ids=[title for title, _ in BLOCKS])
def test_configuration_is_accepted(title: str, text: str, tmp_path: Path) -> None:
    """Every configuration of the README passes the check of options, as the Agent would see it."""
    catalog = tmp_path / "gateway.yaml"
    catalog.write_text(GATEWAY, encoding="utf-8")
    for instance in _instances(text):
        if "catalog" in instance:
            instance["catalog"] = str(catalog)
        make_check(**instance).run_check_initializations()


@pytest.mark.parametrize("text", DATABRICKS, ids=range(len(DATABRICKS)))
def test_databricks_configuration_is_accepted(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every configuration of the page on Databricks is, also within the values and annotations of a cluster."""
    monkeypatch.setenv("DATABRICKS_HOST", "h.example")
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-1")
    if "confd" in text:
        text = yaml.safe_load(text)["clusterAgent"]["confd"]["model_serving.yaml"]
        assert yaml.safe_load(text)["cluster_check"] is True
    if "annotations" in text:
        text = yaml.safe_load(text)["metadata"]["annotations"]["ad.datadoghq.com/service.checks"]
        text = json.dumps(json.loads(text)["model_serving"])
    for instance in _instances(text):
        check = make_check(**instance)
        check.run_check_initializations()
        assert isinstance(check.source, DatabricksWorkspace)
        check.cancel()


def _instances(text: str) -> list[dict[str, Any]]:
    """The instances of a configuration, with the handles of the secrets backend resolved, as the Agent does."""
    instances: list[dict[str, Any]] = yaml.safe_load(re.sub(r"ENC\[[^\]]*\]", "resolved-secret", text))["instances"]
    return instances


def test_every_system_has_a_short_configuration() -> None:
    """A system of the catalog is shown in at most five lines of instance."""
    shown = dict(BLOCKS)
    assert len(shown) >= len(builtin_catalog().systems)
    assert all(len(text.splitlines()) <= 6 for text in shown.values())


def test_catalog_file_of_the_readme_works(endpoint: Endpoint, aggregator: Any, tmp_path: Path) -> None:
    """The README's own system is mapped as the text around it says."""
    path = tmp_path / "gateway.yaml"
    path.write_text(GATEWAY, encoding="utf-8")
    assert "gateway" in load_catalog([path]).systems
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=str(path), serving_system="gateway")
    for total in (10, 14):
        aggregator.reset()
        endpoint.serve(f'gateway_requests_total{{model="m",code="500"}} {total}\ngateway_spend_total {total / 2}\n')
        assert check.run() == ""
    assert submissions(aggregator, ("serving_system", "endpoint_name", "endpoint")) == [
        "count gateway.spend.count 2",
        "count request.count 4 code:500 model_name:m",
        "count request.error.count 4 code:500 error_type:http model_name:m",
    ]


def test_metric_tables_are_up_to_date() -> None:
    """`make generate` would not change docs/metrics.md."""
    script = "import sys; from metric_tables import render; sys.stdout.write(render())"
    command = [sys.executable, "-c", script]
    rendered = subprocess.run(command, cwd=ROOT / "tools", check=True, capture_output=True, text=True).stdout
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == rendered


def test_readme_is_ascii() -> None:
    """Datadog's validation of integrations takes nothing else."""
    assert README.isascii()
