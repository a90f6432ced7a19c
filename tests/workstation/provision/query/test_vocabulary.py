"""The vocabulary knows every tag that the check submits: it is held against what the check's own tests see."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.catalog.labels import GENERIC_TAGS
from datadog_checks.model_serving.catalog.loader import builtin_catalog, load_catalog
from datadog_checks.model_serving.sources.gpu.device import table
from datadog_checks.model_serving.workstation.provision.vocabulary import (
    builtin_vocabulary,
    documented,
    kind_of,
    vocabulary,
)

from ....conftest import Endpoint, make_check
from ....scrape.tables import PAYLOADS, payload_of, spelt_out, submissions_of

TABLES = Path(__file__).parents[3] / "tables"
OPTIONS_OF_USERS = {"rename_labels", "tags", "keep_labels", "catalog", "extra_metrics", "metrics", "namespace"}
OF_OTHERS = "model_serving_"
"""Start of tags made of generic labels, which a Prometheus in between adds, or a table to see what becomes of them."""
OTHER_TAGS = {"lower_bound", "upper_bound"}


def expected_submissions() -> Iterator[Any]:
    """Every submission that the tables of raw payloads expect, as (metric, names of its tags), by table."""
    for path in sorted(TABLES.glob("*.yaml")):
        table_ = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = set()
        for case in table_["cases"]:
            options = {**table_.get("instance", {}), **case.get("instance", {})}
            # What a user renames, adds or keeps is the user's.
            if options.keys() & {
                "rename_labels",
                "tags",
                "keep_labels",
                "catalog",
                "extra_metrics",
                "metrics",
                "namespace",
            }:
                continue
            for scrape in spelt_out(case):
                for line in submissions_of(scrape.get("expect"), table_.get("constant", ())):
                    _, name, _, *tags = line.split(" ")
                    # What has no colon is the rest of a value with a space in it.
                    names = {tag.partition(":")[0] for tag in tags if ":" in tag}
                    found.add((f"model_serving.{name}", frozenset(names)))
        yield pytest.param(found, id=path.stem)


@pytest.mark.parametrize("found", list(expected_submissions()))
def test_tags_of_the_tables_are_known(found: set[tuple[str, frozenset[str]]]) -> None:
    """No table expects a tag that the vocabulary denies its metric."""
    assert found
    unknown = {
        (name, tag)
        for name, tags in found
        if kind_of(name) is not None
        for tag in tags - builtin_vocabulary().tags_of(name) - OTHER_TAGS
        if not tag.startswith(OF_OTHERS)
    }
    assert unknown == set()


@pytest.mark.parametrize("path", sorted(PAYLOADS.rglob("*.txt")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_tags_of_real_payloads_are_known(path: Path, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Nothing that the check makes of a payload carries a tag that the vocabulary denies it, or has another kind."""
    systems = [*builtin_catalog().systems]
    system = path.parent.name if path.parent.name in systems else systems
    check = make_check(openmetrics_endpoint=endpoint.url, serving_system=system, readiness=False)
    text = payload_of({"file": path.relative_to(PAYLOADS)})
    for _ in range(2):
        endpoint.serve(text)
        assert check.run() == ""
    submitted = [metric for name in aggregator.metric_names for metric in aggregator.metrics(name)]
    submitted += [bucket for buckets in aggregator._histogram_buckets.values() for bucket in buckets]
    assert submitted
    unknown = set()
    for metric in submitted:
        assert kind_of(metric.name) is not None, metric.name
        names = {tag.partition(":")[0] for tag in metric.tags}
        unknown |= {
            (metric.name, tag)
            for tag in names - builtin_vocabulary().tags_of(metric.name)
            if not tag.startswith(OF_OTHERS)
        }
    assert unknown == set()
    for status in aggregator.service_checks("model_serving.openmetrics.health"):
        names = {tag.partition(":")[0] for tag in status.tags}
        assert names <= builtin_vocabulary().service_checks["model_serving.openmetrics.health"]


def test_names_of_tags_that_are_reserved() -> None:
    """The list of the vocabulary is that of the check."""
    assert set(documented()["reserved"]) == GENERIC_TAGS


def test_patterns_fit_the_catalog() -> None:
    """Every system and every pattern of raw names in vocabulary.yaml is one of the catalog."""
    catalog = builtin_catalog()
    for name, patterns in documented()["systems"].items():
        raw = [spelling for metric in catalog.systems[name].metrics for spelling in metric.names]
        assert [pattern for pattern in patterns if not any(fnmatchcase(each, pattern) for each in raw)] == []


@pytest.mark.parametrize(
    ("metric", "kind", "has", "lacks"),
    [
        ("request.count", "count", {"status_class", "model_name", "endpoint_name"}, {"gpu", "host", "path"}),
        ("request.latency", "distribution", {"model_name", "method"}, {"lower_bound", "gpu_uuid"}),
        ("request.latency.sum", "count", {"model_name"}, {"lower_bound"}),
        ("request.latency.bucket", "count", {"lower_bound"}, set()),
        ("request.error.count", "count", {"error_type"}, {"queue"}),
        ("request.queue.depth", "distribution", {"queue", "model_name"}, {"error_type"}),
        ("mlserver.rest.request.count", "count", {"path", "method"}, {"model_name"}),
        ("gpu.memory.utilization", "gauge", {"gpu", "gpu_uuid", "mig_instance", "mig_uuid"}, {"xid"}),
        ("gpu.temperature", "gauge", {"gpu_model", "gpu_host", "persistence_mode"}, {"model_name"}),
        ("gpu.xid.count", "count", {"xid", "gpu_uuid"}, {"process_name"}),
        ("gpu.process.memory.used", "gauge", {"process_name", "pod_name"}, {"xid"}),
        ("model.age", "gauge", {"model_name"}, {"gpu"}),
        ("scrape.samples.rejected", "count", {"reason", "raw_metric"}, {"model_name"}),
        ("cpu.utilization.sum", None, set(), {"endpoint_name"}),
        ("request.latency.avg", None, set(), {"endpoint_name"}),
    ],
)  # fmt: skip
def test_metric(metric: str, kind: str | None, has: set[str], lacks: set[str]) -> None:
    """Kind and tags of metrics that monitors are built upon."""
    name = f"model_serving.{metric}"
    assert kind_of(name) == kind
    assert has <= builtin_vocabulary().tags_of(name)
    assert not lacks & builtin_vocabulary().tags_of(name)


def test_every_reading_of_a_gpu_has_the_tags_of_a_device() -> None:
    """readings.yaml and vocabulary.yaml tell of the same metrics."""
    for entries in table().values():
        for entry in entries:
            for metric in [entry["metric"]] if "metric" in entry else entry["values"].values():
                assert {"gpu_uuid", *entry.get("tags", {})} <= builtin_vocabulary().tags_of(f"model_serving.{metric}")


def test_a_system_of_ones_own(tmp_path: Path) -> None:
    """A user's catalog file brings its metrics and labels; a canonical metric that it feeds is fed."""
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "system: gateway\nlabels: {rename: {model: model_name, service: service}}\nmetrics:\n"
        "  - {raw: gw_cache, type: gauge, to: lora.max}\n"
        "  - {raw: gw_spend, type: counter, to: [{metric: gateway.spend.count, tags: {plan: free}, when: {tier: x}}]}\n"
        "own_metrics:\n  gateway.spend.count: {type: count, description: Money.}\n",
        encoding="utf-8",
    )
    words = vocabulary(load_catalog([path]))
    assert not builtin_vocabulary().is_fed("model_serving.lora.max")
    assert words.is_fed("model_serving.lora.max")
    assert words.kind_of("model_serving.gateway.spend.count") == "count"
    assert {"plan", "tier", "model_name", "model_serving_service"} <= words.tags_of("model_serving.gateway.spend.count")
