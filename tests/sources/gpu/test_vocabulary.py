"""One vocabulary: what NVML tells has the name, tags and unit that the same thing has when dcgm-exporter tells it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.catalog.model import RawMetric
from datadog_checks.model_serving.sources.gpu import device, source

from .fake_nvml.constants import CONSTANTS

DCGM = yaml.safe_load(Path(__file__).with_name("dcgm.yaml").read_text(encoding="utf-8"))
KEYS = {
    "fields": {"field", "metric", "kind", "scale", "tags", "bits", "wide_only", "all_links"},
    "calls": {"call", "with", "metric", "values", "item", "scale", "instead_of"},
    "settings": {"call", "with", "metric", "scale"},
}
CODE = Path(device.__file__).parent


def readings() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Everything in readings.yaml, as name in NVML, metric, entry."""
    for entries in device.table().values():
        for entry in entries:
            name = " ".join((entry.get("field") or entry["call"], *entry.get("with", ())))
            if "values" in entry:
                for part, metric in entry["values"].items():
                    yield f"{name} {part}", metric, entry
            else:
                yield name, entry["metric"], entry


def dcgm_name(name: str) -> str:
    return str(DCGM["names"].get(name, name.replace("NVML_FI_DEV_", "DCGM_FI_DEV_")))


ALL = [pytest.param(*each, id=each[0]) for each in readings()]


@pytest.mark.parametrize(("name", "metric", "entry"), ALL)
def test_is_canonical(name: str, metric: str, entry: dict[str, Any]) -> None:
    """Every metric that is read is in the vocabulary, under a type that fits how it is read."""
    defined = builtin_catalog().metrics[metric]
    assert defined.type == ("count" if entry.get("kind") == "counter" else "gauge")
    assert defined.high is not None
    per_second = entry.get("kind") == "rate" or metric in ("gpu.pcie.tx", "gpu.pcie.rx")
    assert not per_second or (defined.unit, defined.per_unit) == ("byte", "second")


@pytest.mark.parametrize(("name", "metric", "entry"), ALL)
def test_is_what_dcgm_calls_it(name: str, metric: str, entry: dict[str, Any]) -> None:
    """The field of DCGM that tells the same goes to the same metric, with the same tags, in the same unit."""
    raw: RawMetric = builtin_catalog().systems["dcgm"].by_name()[dcgm_name(name)]
    (target,) = [target for target in raw.targets if target.metric.name == metric]
    assert dict(target.tags) == {"vendor": "nvidia", **entry.get("tags", {})}
    assert entry.get("scale", 1) == pytest.approx(raw.scale * DCGM["units"].get(name, 1))
    kinds = {"counter": "counter", "rate": "gauge", "gauge": "gauge"}
    assert raw.type == kinds[entry.get("kind", "gauge")]


@pytest.mark.parametrize(("metric", "field"), DCGM["memory"].items())
def test_memory_and_errors(metric: str, field: str) -> None:
    """What the code names itself is what DCGM's fields go to."""
    raw = builtin_catalog().systems["dcgm"].by_name()[field]
    assert metric in {target.metric.name for target in raw.targets}
    assert any(f"{metric}" in path.read_text(encoding="utf-8") for path in CODE.glob("*.py"))


def test_metrics_in_the_code() -> None:
    """Every metric that the code names is in the vocabulary."""
    named = {
        name
        for path in CODE.glob("*.py")
        for name in re.findall(r'["./}](gpu\.[a-z_.]+)"', path.read_text(encoding="utf-8"))
    }
    assert {"gpu.memory.used", "gpu.process.memory.used", "gpu.xid.count"} <= named
    assert named - {source.HEALTH} <= set(builtin_catalog().metrics)


def test_table_is_well_formed() -> None:
    """Keys, and what refers to another entry; no reading twice under the same metric and tags."""
    table = device.table()
    assert set(table) == set(KEYS)
    known = {entry["field"] for entry in table["fields"]}
    known |= {" ".join((entry["call"], *entry.get("with", ()))) for entry in table["calls"]}
    seen = []
    for part, entries in table.items():
        for entry in entries:
            assert set(entry) <= KEYS[part], entry
            assert entry.get("instead_of") is None or entry["instead_of"] in known, entry
            if "instead_of" not in entry:
                names = entry["values"].values() if "values" in entry else [entry["metric"]]
                seen += [(name, tuple(sorted(entry.get("tags", {}).items()))) for name in names]
    assert len(seen) == len(set(seen))


def test_constants_are_pynvmls() -> None:
    """The constants of the fake are those of nvml.h, as pynvml has them, and cover everything that is read."""
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    assert {name: getattr(pynvml, name) for name in CONSTANTS} == CONSTANTS
    asked = {entry["field"] for entry in device.table()["fields"]}
    for entry in (*device.table()["calls"], *device.table()["settings"]):
        asked |= set(entry.get("with", ()))
    assert asked <= set(CONSTANTS)
