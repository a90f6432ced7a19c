"""The tables leave nothing of a shipped system out: no raw metric, no metric submitted, no name that is ignored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving import catalog
from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.catalog.model import RawMetric, System

from ..scrape.tables import TABLES, payload_of, spelt_out, submissions_of

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_FILES = Path(catalog.__file__).parent / "systems"
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)[ {]")
DECLARED = re.compile(r"# TYPE (\S+)")
PARTS = ("_bucket", "_sum", "_count")


def systems() -> list[Any]:
    return [pytest.param(system, id=name) for name, system in builtin_catalog().systems.items()]


@cache
def scrapes(system: str) -> list[dict[str, Any]]:
    """Every scrape of a system's own table."""
    path = TABLES / f"{system}.yaml"
    assert path.exists(), f"{path.name} is missing: write one, as for the other systems"
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [scrape for case in table["cases"] for scrape in spelt_out(case)]


@cache
def names(system: str, pattern: re.Pattern[str] = SAMPLE) -> set[str]:
    """The names in the payloads of a system's table, of samples or whatever else `pattern` finds."""
    lines = (line for scrape in scrapes(system) for line in payload_of(scrape).splitlines())
    return {match.group(1) for match in map(pattern.match, lines) if match is not None}


def sample_names(raw: RawMetric) -> Iterator[str]:
    """What samples of a raw metric can be called, in the catalog's spellings."""
    for name in raw.names:
        if raw.grouped and not raw.pair:
            yield from (name + part for part in PARTS)
        else:
            yield name
        if raw.type == "counter" or raw.pair:
            yield f"{name}_total"


@pytest.mark.parametrize("system", systems())
def test_every_raw_metric_has_a_sample(system: System) -> None:
    seen = names(system.name)
    missing = [raw.names[0] for raw in system.metrics if seen.isdisjoint(sample_names(raw))]
    assert missing == []


@pytest.mark.parametrize("system", systems())
def test_every_metric_is_expected(system: System) -> None:
    expected = {line.split(" ")[1] for scrape in scrapes(system.name) for line in submissions_of(scrape.get("expect"))}
    targets = {target.metric.name for raw in system.metrics for target in raw.targets}
    targets |= {derived.metric.name for derived in system.derived}
    assert {name for name in targets if expected.isdisjoint((name, f"{name}.count"))} == set()


@pytest.mark.parametrize("system", systems())
def test_every_ignored_name_has_a_sample(system: System) -> None:
    """Or at least a declaration: some families are declared and never filled."""
    entry = yaml.safe_load((SYSTEM_FILES / f"{system.name}.yaml").read_text(encoding="utf-8"))
    seen = names(system.name) | names(system.name, DECLARED)
    listed = [item["names"] if isinstance(item, dict) else item for item in entry.get("ignore", [])]
    globs = [glob for item in listed for glob in ([item] if isinstance(item, str) else item)]
    # They stand without the prefixes of the system.
    prefixes = ("", *entry.get("prefixes", []))
    seen |= {name.removeprefix(prefix) for name in seen for prefix in prefixes}
    assert [glob for glob in globs if not any(fnmatchcase(name, glob) for name in seen)] == []


ACCELERATORS = {"dcgm": "nvidia", "amd_gpu": "amd", "intel_xpu": "intel", "aws_neuron": "aws"}


@pytest.mark.parametrize(("system", "vendor"), ACCELERATORS.items())
def test_gpus_of_all_vendors_are_told_apart_by_the_same_tags(system: str, vendor: str) -> None:
    """So one monitor and one dashboard watch them all. Another test holds that NVML says what DCGM does."""
    constant = yaml.safe_load((TABLES / f"{system}.yaml").read_text(encoding="utf-8"))["constant"]
    assert constant == [f"vendor:{vendor}"]
    lines = [line for scrape in scrapes(system) for line in submissions_of(scrape.get("expect"), constant)]
    names = [set(re.findall(r" (\w+):", line)) for line in lines if line.startswith("gauge gpu.utilization ")]
    assert any({"vendor", "gpu", "gpu_uuid", "gpu_model"} <= each for each in names)


@pytest.mark.parametrize("name", sorted(builtin_catalog().systems))
def test_what_a_file_rests_on_is_there(name: str) -> None:
    """Of a live system a test starts the server; of a recorded one the answer is kept."""
    verified = builtin_catalog().systems[name].verified
    assert verified is not None
    named = re.findall(r"(?<![\w/])tests/[\w./-]+", verified.source)
    if verified.how == "documentation":
        assert named == []
        return
    assert named
    assert all((ROOT / path).exists() for path in named)
    assert all(path.startswith("tests/real/") == (verified.how == "live") for path in named)
