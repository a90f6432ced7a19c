"""docs/bridge-prometheus.md: its files are read, its tables are what the code has, its example is run."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.workstation.bridge import listening
from datadog_checks.model_serving.workstation.bridge.process import opened
from datadog_checks.model_serving.workstation.bridge.prometheus import exposition, query, receiver, wire
from datadog_checks.model_serving.workstation.bridge.prometheus.entries import read_instance
from datadog_checks.model_serving.workstation.bridge.prometheus.names import BOUNDS, COUNTED, SIGNED, family_name
from datadog_checks.model_serving.workstation.bridge.settings import BridgeSettings, load_settings

from ....examples import SCRAPE
from ....pages import Page
from ....ports import free_port

PAGE = Page("docs/bridge-prometheus.md")
YAML = [block.text for block in PAGE.blocks() if block.language == "yaml"]
OURS = [text for text in YAML if "instances" in yaml.safe_load(text)]
THEIRS = [text for text in YAML if "instances" not in yaml.safe_load(text)]
TOKENS = {"MIMIR_TOKEN": "a", "SCRAPE_TOKEN": "b"}


def settings_of(folder: Path, text: str) -> BridgeSettings:
    path = folder / "bridge.yaml"
    path.write_text(f"{text}\nspool: {{path: bridge.db}}\n", encoding="utf-8")
    return load_settings(path, TOKENS, sends=False)


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the tables under a heading, by their first cell."""
    lines = [line for line in PAGE.section(heading).splitlines() if line.startswith("| ")]
    cells = [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in lines]
    return {first: rest for first, *rest in cells}


@pytest.mark.parametrize("text", OURS)
def test_files_of_the_bridge_are_read(text: str, tmp_path: Path) -> None:
    assert settings_of(tmp_path, text).configuration.instances


@pytest.mark.parametrize("text", THEIRS)
def test_files_of_prometheus_are_read(text: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    (tmp_path / "prometheus.yml").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [promtool, "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", ["prometheus", "remote_write"])
def test_defaults_are_those_of_the_code(key: str, tmp_path: Path) -> None:
    heading = {"prometheus": "From the HTTP API", "remote_write": "By remote write"}[key]
    told = {name: row[-1] for name, row in rows(heading).items() if len(row) == 2}
    needed = {"url": "http://prom", "match": ["up"]} if key == "prometheus" else {}
    given = {name: value for name, value in told.items() if name in ("window", "delay", "max_age", "listen")}
    given |= {"max_series": int(told["max_series"])} if "max_series" in told else {}

    def entry(said: dict[str, Any]) -> Any:
        ((_, instance),) = settings_of(tmp_path, yaml.safe_dump({"instances": [{key: said}]})).configuration.instances
        return read_instance(instance, {}).entry

    assert given
    assert entry({**needed, **given}) == entry(needed)


def test_names_are_those_of_the_code() -> None:
    told = {name: row for name, row in rows("Names").items() if name not in ("in Datadog", "---")}
    assert len(told) >= 8
    for name, (unit, kind, name_in_prometheus) in told.items():
        metric = builtin_catalog().metrics[name]
        assert (metric.unit, metric.type) == (unit, kind), name
        suffix = "_total" if kind == "count" else ""
        assert family_name(metric.full_name, metric.unit) + suffix == name_in_prometheus


def test_buckets_are_those_of_the_code() -> None:
    told = {
        unit: tuple(float(bound) for bound in row[0].split(", "))
        for unit, row in rows("Counters, gauges, histograms").items()
        if unit not in ("unit", "---")
    }
    assert told == {
        **{unit: bounds for unit, bounds in BOUNDS.items() if unit},
        "whatever is counted": COUNTED,
        "values that may be below zero": SIGNED,
        "metrics that no catalog knows": BOUNDS[""],
    }


def test_numbers_are_those_of_the_code() -> None:
    for number in (
        f"shows 0 for {exposition.FROM_ZERO:.0f} s",
        f"{exposition.MOST:,} contexts are kept",
        f"{query.MAX_PAGE >> 20} MiB for one answer",
        f"{wire.LARGEST >> 20} MiB decompressed, {wire.MOST_SERIES:,} series or {wire.MOST_SAMPLES:,} samples",
        f"413 above {receiver.MAX_BODY >> 20} MiB",
        f"A body has {receiver.BODY_SECONDS:.0f} seconds",
        f"Beyond {listening.MOST_CONNECTIONS} connections",
    ):
        assert number in PAGE.text.replace("\n  ", " "), number
    assert receiver.AT_ONCE == 4
    names = re.findall(r"model_serving_[a-z_]+_(?:total|bucket)\b", PAGE.text)
    known = {
        family_name(metric.full_name, metric.unit) + {"count": "_total", "distribution": "_bucket"}.get(metric.type, "")
        for metric in builtin_catalog().metrics.values()
    }
    assert set(names) - known == {"model_serving_bridge_exposition_left_out_total"}


def test_the_example_is_exposed(tmp_path: Path, endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served, exposed = (block.text for block in PAGE.blocks() if block.language == "text")
    port = free_port()
    instance = {"openmetrics_endpoint": endpoint.url, "serving_system": "databricks"}
    settings = {"instances": [instance], "expose": {"listen": f"127.0.0.1:{port}"}, "health": False}
    monkeypatch.setattr(exposition, "FROM_ZERO", 0.0)
    with opened(settings_of(tmp_path, yaml.safe_dump(settings))) as bridge:
        for payload in SCRAPE.split(served)[1:]:
            endpoint.serve(payload)
            assert bridge.run_once()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
    found = [
        re.sub(r'(?:endpoint|endpoint_name|serving_system)="[^"]*",?', "", line).replace(",}", "}")
        for line in lines
        if line.startswith("model_serving_request_count_total")
    ]
    assert [f"{line.rpartition(' ')[0]} {float(line.rpartition(' ')[2]):g}" for line in found] == exposed.splitlines()
