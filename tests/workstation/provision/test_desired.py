"""What is provisioned: every alert of the sources, in queries that name only what the check sends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.errors import OptionError
from datadog_checks.model_serving.strict_yaml import read_yaml
from datadog_checks.model_serving.workstation.provision.api import Client
from datadog_checks.model_serving.workstation.provision.apply import Result, apply
from datadog_checks.model_serving.workstation.provision.desired import desired
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import KINDS, Resource
from datadog_checks.model_serving.workstation.provision.packs import HERE as PACKS
from datadog_checks.model_serving.workstation.provision.packs import builtin_packs, monitor_entries
from datadog_checks.model_serving.workstation.provision.packs.messages import NAMES
from datadog_checks.model_serving.workstation.provision.packs.queries import groups_of, window_of
from datadog_checks.model_serving.workstation.provision.plan import make_plan
from datadog_checks.model_serving.workstation.provision.query import (
    Known,
    check_dashboard,
    check_monitor,
    check_slo,
    parse_monitor,
)
from datadog_checks.model_serving.workstation.provision.query.rules import metrics_of
from datadog_checks.model_serving.workstation.provision.query.tree import (
    And,
    Condition,
    Everything,
    In,
    Metric,
    MetricMonitor,
    Not,
    Tag,
)
from datadog_checks.model_serving.workstation.provision.routing import load_routing
from datadog_checks.model_serving.workstation.provision.state import read_account
from datadog_checks.model_serving.workstation.provision.values import MonitorValues, Values
from datadog_checks.model_serving.workstation.provision.vocabulary import builtin_vocabulary, kind_of

from .standin import Standin

ALL = desired(None, optional=True)
MONITORS = {one.key: one.body for one in ALL if one.kind == "monitor"}
DASHBOARDS = {one.key: one.body for one in ALL if one.kind == "dashboard"}
SLOS = {one.key: one.body for one in ALL if one.kind == "slo"}
CHECKED = {"monitor": check_monitor, "dashboard": check_dashboard, "slo": check_slo}


def metrics(body: Mapping[str, Any]) -> set[str]:
    return set(re.findall(r"\b(?:avg|sum|min|max|p\d+):(model_serving\.[\w.]+)\{", json.dumps(body)))


@pytest.mark.parametrize("resource", [one for one in ALL if one.kind in CHECKED], ids=lambda one: one.address)
def test_names_only_what_the_check_sends(resource: Resource) -> None:
    """Every query is one that Datadog takes, of metrics, tags and percentiles that there are: a system that ships with
    the check sends each of them."""
    known = Known(percentiles=frozenset(one.key for one in ALL if one.kind == "percentiles"))
    problems = CHECKED[resource.kind](resource.body, known)
    assert [one.message for one in problems] == []


def test_everything_named_exists() -> None:
    """The check above would find nothing in a query that it did not see: these are all there are."""
    found = set().union(*(metrics(one.body) for one in ALL))
    assert len(found) > 40
    assert {name for name in found if kind_of(name) is None} == set()


SOURCES = """
latency.p99           percentile last_5m  > 2       warning  ml-platform    request.latency
latency.mean          sum        last_5m  > 10      warning  ml-platform    request.inference.latency.sum
errors.share          sum        last_5m  > 1       critical ml-platform    request.error.count request.count
errors.client         sum        last_15m > 25      warning  ml-platform    request.error.count request.count
requests.rejected     sum        last_5m  > 5       warning  ml-platform    request.error.count request.count
requests.in_flight    min        last_5m  > 5       warning  ml-platform    request.in_flight
queue.depth           sum        last_5m  > 50      warning  ml-platform    request.queue.depth.sum
queue.wait            percentile last_5m  > 2       warning  ml-platform    request.queue.time
queue.long            percentile last_5m  > 2       warning  ml-platform    request.queue.depth
llm.first_token       percentile last_5m  > 6       critical ml-platform    token.time_to_first
llm.gateway.first_token percentile last_5m > 6      warning  ml-platform    token.time_to_first
llm.inter_token       percentile last_5m  > 0.2     warning  ml-platform    token.inter_token.latency
llm.queue.wait        percentile last_5m  > 3       warning  ml-platform    request.queue.time
llm.queue.waiting     min        last_10m > 20      warning  ml-platform    request.queue.size
llm.kv_cache          avg        last_10m > 90      warning  ml-platform    kv_cache.utilization
llm.preemptions       sum        last_10m > 10      warning  ml-platform    request.preempted.count request.count
llm.prefix_cache      sum        last_30m < 50      warning  ml-platform    prefix_cache.hit.count token.prompt.count
llm.stuck             sum        last_10m < 1       critical ml-platform    token.generation.count token.prompt.count
llm.aborts            sum        last_15m > 25      warning  ml-platform    request.aborted.count request.count
llm.gateway.fallbacks sum        last_15m > 10      warning  ml-platform    litellm.fallback.count request.count
llm.provider.requests min        last_5m  < 10      warning  ml-platform    provider.requests.remaining
llm.provider.tokens   min        last_5m  < 10000   warning  ml-platform    provider.tokens.remaining
traffic.none          sum        last_15m < 1       warning  ml-platform    request.count
agent.silent          max        last_15m < 0       critical ml-platform    scrape.duration
endpoint.silent       max        last_15m < 0       warning  ml-platform    scrape.duration
readiness.http        sum        last_5m  > 0       warning  ml-platform    mlserver.rest.request.count
cpu.high              min        last_10m > 90      warning  ml-platform    cpu.utilization
memory.high           min        last_10m > 90      warning  ml-platform    memory.utilization
concurrency.high      avg        last_10m > 90      warning  ml-platform    request.latency.sum concurrency.provisioned
gpu.memory            min        last_5m  > 95      warning  -              gpu.memory.utilization
gpu.temperature       min        last_10m > 85      warning  -              gpu.temperature
gpu.temperature.amd   min        last_10m > 95      warning  -              gpu.temperature
gpu.xid               sum        last_1h  > 0       critical -              gpu.xid.count
gpu.throttling        sum        last_15m > 20      warning  -              gpu.throttle.time
gpu.ecc               sum        last_1h  > 0       critical -              gpu.ecc.count
accuracy.drop         avg        last_1h  < -5      warning  ml-engineering model.accuracy
prediction.shift      sum        last_1w  > 9       warning  -              model.prediction.mean.sum
feature.drift         min        last_30m > 0.25    warning  ml-engineering model.feature_drift
model.stale           min        last_1h  > 2592000 warning  ml-engineering model.age
values.non_finite     sum        last_15m > 0       warning  ml-engineering scrape.samples.rejected
latency.week          avg        last_1h  > 50      warning  ml-platform    request.latency
throughput.week       sum        last_60m < 50      warning  ml-platform    request.count request.count
memory.week           avg        last_4h  > 25      warning  ml-platform    memory.utilization
gpu_memory.week       avg        last_4h  > 25      warning  ml-platform    gpu.memory.used
version.idle          sum        last_1d  < 1       warning  ml-platform    request.count
gpu.idle              avg        last_6h  < 5       warning  -              gpu.utilization
"""
"""Alerts on metrics: how the time is aggregated, what alerts, who hears of it, and the metrics it starts with."""


@pytest.mark.parametrize("row", [line.split() for line in SOURCES.strip().splitlines()], ids=lambda row: row[0])
def test_alert_of_the_sources(row: list[str]) -> None:
    """Each alert of the source material is there, with its threshold, duration, severity and team."""
    key, aggregator, window, operator, threshold, severity, team, *names = row
    body = MONITORS[monitor_entries()[key].part]
    query = parse_monitor(body["query"])
    assert isinstance(query, MetricMonitor)
    tags = dict(tag.split(":", 1) for tag in MONITORS[key]["tags"])
    assert (query.aggregator, window_of(query)) == (aggregator, window)
    assert (query.comparison.operator, query.comparison.threshold) == (operator, threshold)
    assert body["options"]["thresholds"]["critical"] == float(threshold)
    assert (tags["severity"], tags.get("team", "-")) == (severity, team)
    assert [metric.name for metric in metrics_of(query.expression)][: len(names)] == [
        f"model_serving.{name}" for name in names
    ]


def test_table_of_alerts_is_complete() -> None:
    """Every monitor of metrics is in the table above."""
    rows = {line.split()[0] for line in SOURCES.strip().splitlines()}
    assert rows == {key for key, entry in monitor_entries().items() if entry.form == "metric" and not entry.base}


OTHERS = {
    "latency.p99.endpoint": ("latency.p99", "model_name"),
    "latency.mean.endpoint": ("latency.mean", "model_name"),
    "errors.share.endpoint": ("errors.share", "model_name"),
    "errors.client.endpoint": ("errors.client", "model_name"),
    "requests.rejected.endpoint": ("requests.rejected", "model_name"),
    "traffic.none.endpoint": ("traffic.none", "model_name"),
    "llm.stuck.endpoint": ("llm.stuck", "model_name"),
    "gpu.memory.index": ("gpu.memory", "gpu_uuid"),
    "gpu.memory.uuid": ("gpu.memory", "gpu"),
    "accuracy.drop.model": ("accuracy.drop", "model_version"),
    "prediction.shift.model": ("prediction.shift", "class_label"),
    "latency.week.endpoint": ("latency.week", "model_name"),
    "throughput.week.endpoint": ("throughput.week", "model_name"),
    "gpu_memory.week.index": ("gpu_memory.week", "gpu_uuid"),
    "gpu_memory.week.uuid": ("gpu_memory.week", "gpu"),
    "gpu.idle.index": ("gpu.idle", "gpu_uuid"),
    "gpu.idle.uuid": ("gpu.idle", "gpu"),
}


def test_series_without_a_tag_have_a_monitor_of_their_own() -> None:
    """The same threshold, for what a monitor that is grouped by the tag would not see."""
    found = {key: (entry.base, entry.lacking) for key, entry in monitor_entries().items() if entry.base}
    # MLServer tells a model's failures without a status code, so it has the same monitor with another guard.
    assert [found.pop(f"errors.share.{protocol}") for protocol in ("rest", "grpc")] == [("errors.share", "")] * 2
    assert found == OTHERS
    for key, (base, tag) in OTHERS.items():
        entry, first = monitor_entries()[key], monitor_entries()[base]
        for part in [entry.part, *(f"{entry.part}.{name}" for name in entry.guards)]:
            assert re.search(rf"(!|NOT ){tag}:\*", MONITORS[part]["query"])
        assert tag not in entry.groups
        assert tag in first.groups
        assert MONITORS[entry.part]["options"]["thresholds"] == MONITORS[first.part]["options"]["thresholds"]


def submitted() -> list[tuple[str, str, dict[str, str]]]:
    """Everything that the tables of payloads expect of the check: system, metric, tags."""
    found = []
    for path in sorted((Path(__file__).parents[2] / "tables").glob("*.yaml")):
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
        for case in table["cases"]:
            lines = [line for scrape in case.get("scrapes", ()) for line in scrape.get("expect", ())]
            lines += [
                {"with": case["with"], "lines": [row.partition("->")[2].strip()]}
                for row in case.get("rows", ())
                if row.partition("->")[2].strip()
            ]
            for line in lines:
                group = line if isinstance(line, dict) else {"with": [], "lines": [line]}
                for text in group["lines"]:
                    kind, name, _, *tags = [*text.split(), *group["with"], *table.get("constant", ())]
                    if kind in ("count", "gauge", "distribution"):
                        # The rest of a value with spaces is no tag.
                        pairs = dict(tag.split(":", 1) for tag in tags if ":" in tag)
                        found.append((path.stem, f"model_serving.{name}", pairs))
    return found


def sees(metric: Metric, system: str, tags: Mapping[str, str]) -> bool:
    """Whether a series passes the scope of a query and has every tag that it is grouped by."""
    has = {"serving_system": system, "endpoint_name": "x", **tags}

    def holds(condition: Condition) -> bool:
        match condition:
            case Everything():
                return True
            case Tag(key=key, value=value):
                if value is not None and value.startswith("*"):
                    return has.get(key, "") != "" and has[key].endswith(value[1:])
                return has.get(key) == value
            case In(key=key, values=values, negated=negated):
                return (has.get(key) in values) != negated
            case Not(operand=operand):
                return not holds(operand)
            case And(operands=operands):
                return all(map(holds, operands))
            case _:
                raise AssertionError(condition)

    return holds(metric.scope or Everything()) and {group.tag for group in metric.by} <= set(has)


SERIES = submitted()


@pytest.mark.parametrize("key", [row.split()[0] for row in SOURCES.strip().splitlines()])
def test_no_series_goes_unwatched(key: str) -> None:
    """Datadog leaves out a series that lacks a tag of `by`. Of all that the check sends, whatever the system tells,
    each series of a metric is seen by the monitor or by one that complements it, unless its scope leaves it out."""
    base = monitor_entries()[key]
    family = [base, *(entry for entry in monitor_entries().values() if entry.base == key and entry.lacking)]
    queries = [parse_monitor(entry.query) if not entry.base else entry.tree for entry in family]
    metrics_by = [metrics_of(query.expression) for query in queries if isinstance(query, MetricMonitor)]
    watched = 0
    for system, name, tags in SERIES:
        for index, wanted in enumerate(metrics_by[0]):
            if wanted.name != name or not sees(replace(wanted, by=()), system, tags):
                continue
            if system == "dcgm" and "gpu_uuid" not in tags:
                # dcgm-exporter gives every series of a GPU its UUID; some tables leave it out for brevity.
                continue
            if base.except_for and system == "mlserver" and "model_name" not in tags:
                # Input that MLServer refuses, see the note of errors.share; and federated samples cut short.
                assert tags.get("status_code") == "422" or "job" in tags
                continue
            seen = [one for one in metrics_by if sees(one[index], system, tags)]
            assert len(seen) == 1, (system, name, tags)
            watched += 1
    no_table = {"model.stale", "values.non_finite", "agent.silent", "endpoint.silent", "version.idle"}
    assert watched or key in no_table, "no table of payloads has this metric"


@pytest.mark.parametrize(
    ("key", "shift", "name"),
    [
        ("accuracy.drop", "last_1d", "pct_change"),
        ("latency.week", "last_1w", "pct_change"),
        ("memory.week", "last_1w", "pct_change"),
        ("gpu_memory.week", "last_1w", "pct_change"),
    ],
)
def test_what_is_compared_with_the_past(key: str, shift: str, name: str) -> None:
    """Relative to the same time a day or a week before."""
    query = parse_monitor(MONITORS[key]["query"])
    assert isinstance(query, MetricMonitor)
    assert query.shift is not None
    assert (query.change, query.shift.text) == (name, shift)


def test_recovery_is_apart_from_the_threshold() -> None:
    """Values that hover around a threshold should not send a message each minute. Counts of single events have none."""
    without = {
        key
        for key, entry in monitor_entries().items()
        if entry.form == "metric"
        and "critical_recovery" not in MONITORS[entry.part]["options"]["thresholds"]
        and not entry.base
    }
    assert without == {
        "traffic.none",
        "llm.stuck",
        "readiness.http",
        "gpu.xid",
        "gpu.ecc",
        "model.stale",
        "values.non_finite",
        "version.idle",
        "agent.silent",
        "endpoint.silent",
    }


@pytest.mark.parametrize(
    ("key", "check", "critical"),
    [
        ("endpoint.metrics", "openmetrics.health", 3),
        ("endpoint.ready", "endpoint.ready", 4),
        ("model.ready", "model.ready", 5),
        ("workspace.health", "workspace.health", 3),
        ("model.version_ready", "model.ready", 3),
        ("gpu.health", "gpu.health", 2),
    ],
)
def test_service_check_is_watched(key: str, check: str, critical: int) -> None:
    """Down, not ready, refused: each after some runs in a row, of which Datadog has to look at more."""
    body = MONITORS[monitor_entries()[key].part]
    assert body["type"] == "service check"
    assert body["query"].startswith(f'"model_serving.{check}".over("*").by(')
    assert body["options"]["thresholds"]["critical"] == critical
    last = re.search(r"\.last\((\d+)\)", body["query"])
    assert last is not None
    assert int(last[1]) == max(body["options"]["thresholds"].values()) + 1


def test_output_is_the_same_every_time() -> None:
    """Plans compare it with an account, so it must not depend on the run."""
    again = desired(None, optional=True)
    assert json.dumps([one.body for one in again]) == json.dumps([one.body for one in ALL])
    assert [one.address for one in again] == [one.address for one in ALL]


def test_addresses_are_unique_and_in_the_order_of_creation() -> None:
    """Keys carry the ownership, so no two may be the same."""
    addresses = [one.address for one in ALL]
    assert len(set(addresses)) == len(addresses)
    assert [one.kind for one in ALL] == sorted((one.kind for one in ALL), key=KINDS.index)


def test_servers_of_language_models_are_known() -> None:
    """Every system that tells of tokens is an engine or serves any model, unless it is a gateway; so what needs these
    lists is complete, and names nothing that does not ship. Gateways are those that say so."""
    lists = read_yaml(PACKS / "systems.yaml")
    known = [name for names in lists.values() for name in names]
    assert len(known) == len(set(known))
    tokens = {"token.generation.count", "token.time_to_first"}
    telling = {
        system.name
        for system in builtin_catalog().systems.values()
        if tokens & {target.metric.name for raw in system.metrics for target in raw.targets}
    }
    gateways = {
        system.name
        for system in builtin_catalog().systems.values()
        if any(("hop", "gateway") in target.tags for raw in system.metrics for target in raw.targets)
    }
    assert set(lists["llm_gateways"]) == gateways
    assert set(known) == telling | gateways, "name each system of the left or right set in packs/systems.yaml"


UNUSUAL = {
    "endpoint.metrics": ("endpoint_name",),
    "workspace.health": ("databricks_host",),
    "agent.silent": ("serving_system",),
    "version.changed": ("endpoint_name", "change"),
    "values.non_finite": ("endpoint_name", "raw_metric"),
}
"""Groups that don't begin with system and endpoint. A system isn't known before something of it was read."""


def test_every_monitor_alerts_by_group() -> None:
    """By system and endpoint at least, and never by what recommended configurations leave out: a cluster check has no
    `host`, and `tag_by_endpoint: false` no `endpoint`."""
    for key, entry in monitor_entries().items():
        if key in UNUSUAL:
            assert entry.groups == UNUSUAL[key]
        elif entry.form != "slo":
            assert entry.groups[:2] == ("serving_system", "endpoint_name")
        assert set(entry.groups) <= set(NAMES)
        assert not {"host", "endpoint"} & set(entry.groups)


PARTS = {key for key in MONITORS if ".part" in key}


def test_parts_of_composites_notify_nobody() -> None:
    """No handle, and no tag by which a rule routes: their conditions alone are nothing to hear of."""
    for key in PARTS:
        assert MONITORS[key]["tags"] == []
        assert "@" not in MONITORS[key]["message"]
        assert not MONITORS[key]["options"]["notify_no_data"]
    assert all("integration:model-serving" in MONITORS[key]["tags"] for key in set(MONITORS) - PARTS)


def test_composites_combine_what_is_there() -> None:
    """Every part is used, monitors of a composite are none themselves, and each has the groups of all the others or
    fewer: Datadog evaluates the groups that all have."""
    used = set()
    for key, entry in monitor_entries().items():
        if not entry.is_composite:
            continue
        found = re.findall(r"\$\{monitor:([\w.]+)\}", MONITORS[key]["query"])
        used |= set(found)
        assert found[0] == entry.part
        for part in found:
            query = parse_monitor(MONITORS[part]["query"])
            assert set(groups_of(query)) <= set(entry.groups), part
        for name in entry.guards:
            guard = groups_of(parse_monitor(MONITORS[f"{entry.part}.{name}"]["query"]))
            assert guard == entry.groups or key.startswith(("errors.share.", "llm.provider."))
    assert used >= PARTS


@pytest.mark.parametrize("key", sorted(set(MONITORS) - PARTS))
def test_message_says_what_is_needed(key: str) -> None:
    """What, for whom, since when, value and limit, what to look at, and a section for each state."""
    body, entry = MONITORS[key], monitor_entries()[key]
    message, options = body["message"], body["options"]
    thresholds = MONITORS[entry.part]["options"]["thresholds"]
    sections = dict(re.findall(r"\{\{#(is_\w+)\}\}\n(.+?)\n\{\{/is_\w+\}\}", message, re.DOTALL))
    assert set(sections) == {
        "is_alert",
        "is_recovery",
        *(["is_warning"] if "warning" in thresholds else []),
        *(["is_no_data"] if options.get("notify_no_data") else []),
    }
    if entry.form == "service check":
        assert "{{check_message}}" in sections["is_alert"] or entry.is_composite
    elif entry.is_composite:
        # Such a monitor has no threshold, and the values of its parts by their letters.
        assert re.search(r"\{\{[ab]\.value\}\}", sections["is_alert"])
    else:
        assert re.search(r"\{\{(?:eval \"round\()?(?:value|long_window_burn_rate)\b", sections["is_alert"])
        assert re.search(r"\{\{(?:eval \"round\()?threshold\b", sections["is_alert"])
    for tag in entry.groups:
        assert f"{{{{{tag}.name}}}}" in message
    assert "Since: {{first_triggered_at}}" in message
    assert "\nLook first at:\n1. " in message
    assert "Runbook" not in message, "there is none before somebody says where"
    assert "example.com" not in message
    assert message == message.strip()
    assert "@" not in message
    assert not re.search(r"(?<!\{)\{\w+\}(?!\})", message), "a placeholder was not filled in"


def test_missing_data_is_noticed_late_enough() -> None:
    """A shorter time than twice the window would notify about a single gap. One monitor looks for it, and one for what
    somebody names: whatever else goes quiet may be a node that was scaled down."""
    watched = {key: body["options"] for key, body in MONITORS.items() if body["options"].get("notify_no_data")}
    assert set(watched) == {"agent.silent", "endpoint.silent"}
    assert {options["no_data_timeframe"] for options in watched.values()} == {30}


def test_an_empty_window_is_no_error() -> None:
    """Of counts that stop where nothing happens, and of nothing else: below a limit, no data would alert."""
    empty = {key: body["options"]["on_missing_data"] for key, body in MONITORS.items() if "on_missing" in str(body)}
    assert empty == dict.fromkeys(("readiness.http", "gpu.xid", "values.non_finite"), "resolve")
    for key in empty:
        assert "notify_no_data" not in MONITORS[key]["options"]
        query = parse_monitor(MONITORS[key]["query"])
        assert isinstance(query, MetricMonitor)
        assert query.comparison.operator == ">"


def test_counts_are_added_up_over_the_window() -> None:
    """Checks send no interval with a count, so a rate over a short window is doubtful; and a default turns a ratio
    whose parts are missing into a number."""
    rated = {key for key, body in MONITORS.items() if "as_rate" in body["query"]}
    assert rated == {"concurrency.high"}
    for one in (*MONITORS.values(), *SLOS.values()):
        assert not re.search(r"\bdefault(_zero)?\(", json.dumps(one.get("query", one)))


def test_only_what_must_be_acted_on_pages() -> None:
    """One cause, one page: what repeats it, or is nobody's fault here, is a warning."""
    critical = {key for key, body in MONITORS.items() if "severity:critical" in body["tags"]}
    assert critical == {
        "errors.share",
        "errors.share.endpoint",
        "errors.share.rest",
        "errors.share.grpc",
        "llm.first_token",
        "llm.stuck",
        "llm.stuck.endpoint",
        "endpoint.metrics",
        "endpoint.ready",
        "model.ready",
        "workspace.health",
        "agent.silent",
        "gpu.xid",
        "gpu.health",
        "gpu.ecc",
    }
    # From a warning to an alert is a transition of its own, so a page would come twice. A model that loads for long is
    # something else than one that failed to.
    warned = {key for key in critical if "warning" in MONITORS[monitor_entries()[key].part]["options"]["thresholds"]}
    assert warned == {"model.ready"}
    guards = {"errors": ">= 5", "requests": ">= 10", "running": "> 0"}
    for entry in monitor_entries().values():
        for name in entry.guards if entry.key in critical else ():
            assert MONITORS[f"{entry.part}.{name}"]["query"].endswith(guards[name])


def test_percentiles_are_switched_on_where_they_are_asked_for() -> None:
    """No more than what is chosen needs: percentiles cost."""
    on = {one.key: one.body for one in ALL if one.kind == "percentiles"}
    names = (
        "request.latency",
        "request.queue.depth",
        "request.queue.time",
        "token.inter_token.latency",
        "token.time_to_first",
    )
    body = {"metric_type": "distribution", "include_percentiles": True}
    assert on == {f"model_serving.{name}": body for name in names}
    assert [one for one in desired(["quality", "gpu", "cost"]) if one.kind == "percentiles"] == []
    assert [one.key for one in desired(["slo"]) if one.kind == "percentiles"] == ["model_serving.request.latency"]


def test_packs_can_be_chosen() -> None:
    """Whatever the order of asking, the result is in the order of the packs."""
    chosen = desired(["gpu", "cost"])
    assert {one.address for one in chosen} == {
        *(f"monitor:{entry.key}" for name in ("gpu", "cost") for entry in builtin_packs()[name].monitors),
        "dashboard:gpu",
        "dashboard:cost",
    }
    assert [one.address for one in desired(["cost", "gpu"])] == [one.address for one in chosen]
    assert desired([]) == []
    with pytest.raises(OptionError, match="no pack `gpus`; did you mean `gpu`"):
        desired(["gpus"])


def test_slos_are_by_endpoint_and_burn_in_two_windows() -> None:
    """Availability by requests, latency by time slices, three alerts on the one that makes sense over all."""
    assert SLOS["availability"]["type"] == "metric"
    assert SLOS["latency"]["type"] == "time_slice"
    for body in SLOS.values():
        assert "by {serving_system,endpoint_name}" in json.dumps(body)
    assert not any(key.startswith("slo.latency") for key in MONITORS)
    for slo in ("availability",):
        queries = [MONITORS[f"slo.{slo}.{speed}.part"]["query"] for speed in ("fast", "steady", "slow")]
        assert queries == [
            f'burn_rate("${{slo:{slo}}}").over("30d").long_window("{long}").short_window("{short}") > {rate}'
            for long, short, rate in (("1h", "5m", "14.4"), ("6h", "30m", "6"), ("24h", "120m", "3"))
        ]


def widgets(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for group in body["widgets"]:
        yield from group["definition"]["widgets"]


def test_overview_has_the_golden_signals_and_the_widgets_of_the_source() -> None:
    """Latency, traffic, errors, saturation; end-to-end latency and throughput of one minute."""
    body = DASHBOARDS["overview"]
    titles = [group["definition"]["title"] for group in body["widgets"]]
    assert [title for title in titles if title in ("Latency", "Traffic", "Errors", "Saturation")] == [
        "Latency",
        "Traffic",
        "Errors",
        "Saturation",
    ]
    assert [one["prefix"] for one in body["template_variables"]] == [
        "serving_system",
        "endpoint_name",
        "model_name",
        "model_version",
    ]
    by_title = {
        widget["definition"]["title"]: widget["definition"]["requests"][0]
        for widget in widgets(body)
        if "requests" in widget["definition"]
    }
    for title, formula in (
        ("E2E Request Latency (1m)", "a / b"),
        ("Inference Throughput (1m)", "(a - default_zero(b)) / 60"),
    ):
        assert by_title[title]["formulas"][0]["formula"] == formula
        assert all(query["query"].endswith(".as_count().rollup(sum, 60)") for query in by_title[title]["queries"])


@pytest.mark.parametrize("key", DASHBOARDS)
def test_variables_narrow_what_has_their_tag(key: str) -> None:
    """A variable over a tag that a metric lacks would empty its widget as soon as a value is chosen."""
    variables = {one["name"]: one["prefix"] for one in DASHBOARDS[key]["template_variables"]}
    used = set()
    for name, scope in re.findall(r":(model_serving\.[\w.]+)\{([^}]*)\}", json.dumps(DASHBOARDS[key]["widgets"])):
        found = set(re.findall(r"\$(\w+)", scope))
        used |= found
        assert found == {
            one for one, tag in variables.items() if tag in builtin_vocabulary().tags_of(name) | {"env", "host"}
        }, name
    assert used == set(variables)


@pytest.mark.parametrize("key", DASHBOARDS)
def test_widgets_do_not_overlap(key: str) -> None:
    """Within twelve columns, each group as high as what it holds."""
    top = 0
    for group in DASHBOARDS[key]["widgets"]:
        assert group["layout"]["y"] == top
        top += group["layout"]["height"]
        taken: set[tuple[int, int]] = set()
        for widget in group["definition"]["widgets"]:
            layout = widget["layout"]
            cells = {
                (x, y)
                for x in range(layout["x"], layout["x"] + layout["width"])
                for y in range(layout["y"], layout["y"] + layout["height"])
            }
            assert not cells & taken
            assert max(x for x, _ in cells) < 12
            assert max(y for _, y in cells) < group["layout"]["height"] - 1
            taken |= cells


def test_widgets_of_slos_go_with_the_pack() -> None:
    """A dashboard never refers to what is not provisioned."""
    alone = next(one for one in desired(["golden_signals"]) if one.kind == "dashboard")
    assert alone.references() == set()
    assert next(one for one in ALL if one.address == "dashboard:overview").references() == {
        "slo:availability",
        "slo:latency",
    }


def test_an_account_takes_everything_and_then_has_nothing_to_do(
    dd: Standin, connect: Callable[..., Client], tmp_path: Path
) -> None:
    """Every body passes the API's models and rules as the stand-in knows them, and comes back without a difference."""
    path = tmp_path / "routing.yaml"
    path.write_text("receiver: all\nreceivers: {all: {to: [slack-ml]}}\n", encoding="utf-8")
    resources = checked(desired(None, None, load_routing(path)))
    client = connect()
    outcomes = apply(client, make_plan(resources, read_account(client, resources)))
    assert [(one.step.address, one.text) for one in outcomes if one.result is not Result.DONE] == []
    assert not make_plan(resources, read_account(client, resources)).differs


def test_what_is_off_is_for_those_who_ask() -> None:
    """Neither planned nor routed to anybody before, and never half a day after a version was loaded."""
    off = {key for key, entry in monitor_entries().items() if not entry.enabled}
    assert off == {"version.idle", "concurrency.high", "endpoint.silent"}
    generating = {"queue.long", "requests.in_flight"}
    assert {one.key for one in ALL} - {one.key for one in desired(None)} == {
        *off,
        *generating,
        "model_serving.request.queue.depth",
    }
    assert generating <= {one.key for one in desired(None, Values(generative="endpoint_name:sdxl,env:prod"))}
    # Some systems tell of which model a request in progress is, and none which feature it is about.
    assert generating <= {one.key for one in desired(None, Values(generative="model_name:sdxl"))}
    assert not generating & {one.key for one in desired(None, Values(generative="feature_name:age"))}
    for said in (MonitorValues(enabled=True), MonitorValues(priority=3)):
        assert off <= {one.key for one in desired(None, Values(monitors=dict.fromkeys(off, said)))}
    unwanted = desired(None, Values(monitors=dict.fromkeys(off, MonitorValues(enabled=False))), optional=True)
    assert off & {one.key for one in unwanted} == set()


def test_throughout_means_the_whole_window() -> None:
    """What alerts on every point of a window waits for all of it, as `for:` does."""
    full = {key for key, body in MONITORS.items() if body["options"].get("require_full_window")}
    throughout = {key for key, body in MONITORS.items() if re.match(r"min\(last_.* > ", body["query"])}
    # Requests that stop arriving because nobody reads the endpoint any more are not fewer requests.
    weekly = {key for key in PARTS if key.startswith("throughput.week")}
    stuck = {key for key in PARTS if key.startswith("llm.stuck")}
    # Nor does a week that is shorter than one have a mean that moves by a 168th in an hour.
    assert full == {*throughout, *weekly, *stuck, "version.idle", "prediction.shift", "prediction.shift.model"}


def test_zeros_of_what_was_never_called_are_no_end_of_traffic() -> None:
    """A model that was loaded and never called has lost no callers."""
    assert "{!called:never}" in MONITORS["traffic.none.part"]["query"]
    assert "!called:never" in MONITORS["traffic.none.endpoint.part"]["query"]
    assert "called" not in MONITORS["version.idle"]["query"]


def test_the_table_of_versions_shows_all_of_them_idle_ones_first() -> None:
    """Over one day, whatever the dashboard shows, and no row is cut off."""
    tables = [
        widget["definition"]
        for group in DASHBOARDS["overview"]["widgets"]
        for widget in group["definition"]["widgets"]
        if widget["definition"]["type"] == "query_table" and "time" in widget["definition"]
    ]
    assert len(tables) == 2
    for table in tables:
        (request,) = table["requests"]
        assert table["time"] == {"live_span": "1d"}
        assert request["formulas"][0]["limit"] == {"count": 500, "order": "asc"}
        assert "model_version}.as_count().rollup(sum, 3600)" in request["queries"][0]["query"]
