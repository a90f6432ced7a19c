"""Catalog files: ours are sound, a user's own works, and what is wrong with one is told with file, place and mend."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.catalog.loader import HERE, builtin_catalog, load_catalog
from datadog_checks.model_serving.catalog.model import MOMENTS
from datadog_checks.model_serving.catalog.recognise import Recogniser
from datadog_checks.model_serving.errors import CatalogError

from ..conftest import Endpoint, in_buckets, make_check, submissions

ROOT = Path(__file__).parents[2]
UNITS = {
    "attempt",
    "byte",
    "degree celsius",
    "device",
    "dollar",
    "error",
    "event",
    "execution",
    "hertz",
    "instance",
    "item",
    "joule",
    "message",
    "page",
    "percent",
    "process",
    "record",
    "request",
    "row",
    "run",
    "second",
    "token",
    "watt",
}
"""The units of Datadog's own list that this vocabulary needs, each in its base form."""

UNITLESS = ("status", "state", "mode", "generation", "width", "code", "reasons", "pending", "failure", "exceeded")
"""What has no unit ends in one of these, or is one of the few below."""

UNITLESS_NAMES = {
    "model.feature_drift",
    "model.prediction",
    "model.prediction.mean",
    "amd_gpu.afid.last",
    "amd_gpu.pcie.speed",
    "amd_gpu.pcie.speed.max",
    "dcgm.recovery_action",
    "dcgm.nvswitch.sxid.last",
    "dcgm.profiling.cycles.count",
    "scale_to_zero",
    "endpoint.stopped",
    "model.loaded",
    "throughput.model_units",
    "dynamo.model.ready",
    "tensorrt_llm.perplexity",
}


@pytest.mark.parametrize("metric", builtin_catalog().metrics.values(), ids=lambda metric: metric.name)
def test_canonical_metrics(metric: Any) -> None:
    """Every metric says what it is: type, unit where it has one, range, description, short name."""
    assert metric.type in ("gauge", "count", "distribution")
    assert len(metric.description) > 10
    assert metric.description.endswith(".")
    assert metric.short_name
    assert len(metric.short_name) <= 25
    assert metric.unit in UNITS | {""}
    assert metric.per_unit in ("", "second")
    gauge, _, part = metric.name.rpartition(".")
    found = builtin_catalog().metrics.get(gauge)
    if part in MOMENTS and found is not None and found.moments:
        # They come of the gauge, whose values may be negative.
        return
    if not metric.unit:
        stem = metric.name.removesuffix(".max")
        assert metric.name in UNITLESS_NAMES or stem.endswith(UNITLESS), "what has no unit is told in the test"
    if metric.unit == "percent" and metric.name != "gpu.fan.speed":
        assert (metric.low, metric.high) == (0, 100)
    if metric.type == "count":
        assert metric.low == 0
        parts = (".count", ".time", ".window", ".rejected", ".sent", ".resent", ".dropped", ".thinned")
        assert metric.name.endswith(parts), "a count is named as one"


def test_systems() -> None:
    """Each system is in a file of its name, with names that tell it, and no raw name twice."""
    systems = builtin_catalog().systems
    assert list(systems) == sorted(path.stem for path in (HERE / "systems").glob("*.yaml"))
    for system in systems.values():
        assert system.any_of is not None or system.hints, system.name
        names = [name for raw in system.metrics if not raw.pair for name in raw.names]
        assert len(names) == len(set(names)), system.name


def test_systems_say_what_they_rest_on() -> None:
    """Each says so, names files that there are, and begins with what nobody else does where it is only documented."""
    systems = builtin_catalog().systems
    for system in systems.values():
        assert system.verified is not None, f"{system.name}: key `verified` is missing"
        files = re.findall(r"(?<!/)tests/[\w./]+", system.verified.source)
        assert all((ROOT / file).exists() for file in files), system.name
        assert bool(files) is (system.verified.how != "documentation"), f"{system.name}: what tests it is named"
        if system.verified.how != "documentation" or system.any_of is None:
            continue
        others = {name for other in systems.values() if other is not system for name in other.by_name()}
        assert not [name for name in others if system.any_of.match(name)], system.name


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        (raw, target)
        for system in builtin_catalog().systems.values()
        for raw in system.metrics
        for target in raw.targets
    ],
    ids=lambda item: getattr(item, "names", [getattr(getattr(item, "metric", None), "name", "")])[0],
)
def test_targets(raw: Any, target: Any) -> None:
    """Every `to` leads to a metric of the vocabulary, either the common one or that of its own system."""
    assert builtin_catalog().metrics[target.metric.name] is target.metric
    own = {metric.name for metric in builtin_catalog().systems[raw.system].own_metrics}
    others = {metric.name for system in builtin_catalog().systems.values() for metric in system.own_metrics} - own
    assert target.metric.name not in others


# -- a user's own system

OWN: dict[str, Any] = {
    "system": "translator",
    "title": "Our translator",
    "recognise": {"any": ["translator_*"]},
    "labels": {
        "rename": {"engine": "model_name"},
        "drop": ["request_id"],
        "lower": ["LANG"],
        "absent": {"engine": ["none"]},
    },
    "ignore": ["translator_debug_*"],
    "ports": {"metrics": 9000},
    "metrics": [
        {"raw": "translator_requests_total", "type": "counter", "to": "request.count"},
        {
            "raw": ["translator_duration_ms", "translator_time_ms"],
            "type": "histogram",
            "scale": 0.001,
            "to": [{"metric": "request.latency", "when": {"kind": "full"}, "drop": ["kind"]}],
        },
        {"raw": "translator_words", "type": "summary", "to": "translator.words"},
        {"raw": "translator_busy_ratio", "type": "gauge", "scale": 100, "to": "cpu.utilization"},
        {"raw": "translator_used", "type": "gauge", "to": "gpu.memory.used"},
        {"raw": "translator_free", "type": "gauge", "to": "gpu.memory.free"},
    ],
    "own_metrics": {
        "translator.words": {
            "type": "distribution",
            "unit": "item",
            "description": "Words per text.",
            "range": [0, None],
            "orientation": 1,
            "short_name": "words",
        }
    },
    "derived": [{"metric": "gpu.memory.total", "sum": {"in": ["gpu.memory.used", "gpu.memory.free"]}}],
}

PAYLOAD = """\
# TYPE translator_requests_total counter
translator_requests_total{{engine="Deep",LANG="DE",request_id="x"}} {number}
translator_requests_total{{engine="none",LANG="EN"}} {number}
# TYPE translator_time_ms histogram
translator_time_ms_bucket{{engine="Deep",kind="full",le="100"}} {number}
translator_time_ms_bucket{{engine="Deep",kind="full",le="+Inf"}} {number}
translator_time_ms_sum{{engine="Deep",kind="full"}} {number}
translator_time_ms_count{{engine="Deep",kind="full"}} {number}
translator_time_ms_count{{engine="Deep",kind="part"}} {number}
# TYPE translator_words summary
translator_words_sum {number}
translator_words_count {number}
# TYPE translator_busy_ratio gauge
translator_busy_ratio 0.25
translator_used 10
translator_free 30
translator_debug_x 1
"""

SUBMITTED = [
    "count request.count 20 LANG:de model_name:Deep",
    "count request.count 20 LANG:en",
    "count request.latency.count 20 model_name:Deep",
    "count request.latency.sum 0.02 model_name:Deep",
    "count translator.words.count 20",
    "count translator.words.sum 20",
    "distribution request.latency 0..0.1:20 model_name:Deep",
    "gauge cpu.utilization 25",
    "gauge gpu.memory.free 30",
    "gauge gpu.memory.total 40",
    "gauge gpu.memory.used 10",
]


def written(folder: Path, content: Any, name: str = "own.yaml") -> str:
    path = folder / name
    path.write_text(yaml.safe_dump(content) if isinstance(content, dict) else content, encoding="utf-8")
    return str(path)


SWITCHES = [(system, switch) for system in builtin_catalog().systems.values() for switch in system.switches]


@pytest.mark.parametrize(("system", "switch"), SWITCHES, ids=lambda item: getattr(item, "name", "") or str(item)[:40])
def test_switches(system: Any, switch: Any) -> None:
    """Each reads well where it is told: a sentence that says why, and what to do in an imperative."""
    assert switch.system == system.name
    assert switch.because[0].isupper()
    assert switch.because.endswith(".")
    assert switch.do[0].islower()
    assert not switch.do.endswith(".")


@pytest.mark.parametrize("system", ["auto", "translator", ["mlserver", "translator"]])
@pytest.mark.parametrize("form", ["path", "list"])
def test_own_system(
    system: Any, form: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path
) -> None:
    """A system described by a file of the user's is read like ours, in every part."""
    path = written(tmp_path, OWN)
    check = make_check(
        openmetrics_endpoint=endpoint.url,
        catalog=path if form == "path" else [path],
        serving_system=system,
        tag_by_endpoint=False,
        readiness=False,
    )
    for number in (10, 30):
        aggregator.reset()
        endpoint.serve(PAYLOAD.format(number=number))
        assert check.run() == ""
    assert in_buckets(submissions(aggregator, ("endpoint_name", "serving_system")), SUBMITTED) == SUBMITTED
    for metric in aggregator.metrics("model_serving.request.count"):
        assert "serving_system:translator" in metric.tags


def test_gauges_that_fall_together(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """Series that differ in a dropped label alone are one gauge, as the metric's `combine` says."""
    hows = {"sum": "9", "mean": "3", "max": "5", "last": "1"}
    about = {"type": "gauge", "unit": "item", "description": "Texts at work on.", "short_name": "texts"}
    content = changed(
        ("metrics", [{"raw": f"translator_{how}", "type": "gauge", "to": f"translator.{how}"} for how in hows]),
        ("own_metrics", {f"translator.{how}": {**about, "combine": how} for how in hows}),
        ("derived", []),
    )
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=written(tmp_path, content), readiness=False)
    endpoint.serve(
        "".join(f'translator_{how}{{request_id="{number}"}} {number}\n' for how in hows for number in (3, 5, 1))
    )
    assert check.run() == ""
    found = submissions(aggregator, ("endpoint_name", "endpoint", "serving_system"))
    assert found == sorted(f"gauge translator.{how} {value}" for how, value in hows.items())


def test_stock_buckets_in_the_unit_of_the_metric(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path
) -> None:
    """Bounds are scaled without what binary fractions add, and the first bucket starts at 0 or at a negative bound."""
    check = make_check(
        openmetrics_endpoint=endpoint.url,
        catalog=written(tmp_path, changed(("metrics.1.to", "request.latency"))),
        histogram_buckets_as_distributions=False,
        non_cumulative_histogram_buckets=True,
        readiness=False,
    )
    for number in (0, 10):
        aggregator.reset()
        lines = [
            f'translator_time_ms_bucket{{engine="{engine}",le="{bound}"}} {number * (place + 1)}\n'
            for engine, bounds in (("a", ("-100", "4.1", "9", "+Inf")), ("b", ("4.1", "+Inf")))
            for place, bound in enumerate(bounds)
        ]
        endpoint.serve("# TYPE translator_time_ms histogram\n" + "".join(lines))
        assert check.run() == ""
    bounds = {
        tuple(sorted(tag for tag in metric.tags if "_bound:" in tag or "model" in tag)): metric.value
        for metric in aggregator.metrics("model_serving.request.latency.bucket")
    }
    assert bounds == {
        ("lower_bound:-0.1", "model_name:a", "upper_bound:-0.1"): 10,
        ("lower_bound:-0.1", "model_name:a", "upper_bound:0.0041"): 10,
        ("lower_bound:0.0041", "model_name:a", "upper_bound:0.009"): 10,
        ("lower_bound:0", "model_name:b", "upper_bound:0.0041"): 10,
    }


def test_own_system_beside_ours(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """With a file of the user's our systems are recognised as ever."""
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=written(tmp_path, OWN), readiness=False)
    endpoint.serve("translator_busy_ratio 0.5\ncpu_usage_percentage 7\nprovisioned_concurrent_requests 4\n")
    assert check.run() == ""
    found = {m.value: m.tags for m in aggregator.metrics("model_serving.cpu.utilization")}
    assert "serving_system:translator" in found[50]
    assert "serving_system:databricks" in found[7]


def test_replaced_system(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """A file that extends one of our systems replaces its entries, and no other system."""
    replaced = {
        "system": "databricks",
        "extends": "databricks",
        "recognise": {"any": ["request_latency_ms"]},
        "metrics": [{"raw": "cpu_usage_percentage", "type": "gauge", "to": "memory.utilization"}],
    }
    path = written(tmp_path, replaced)
    catalog = load_catalog([path])
    assert len(catalog.systems) == len(builtin_catalog().systems)
    shipped = builtin_catalog().systems["databricks"]
    assert len(catalog.systems["databricks"].metrics) == len(shipped.metrics)
    assert {raw.names for raw in catalog.systems["databricks"].metrics} >= {("cpu_usage_percentage",)}
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=path, tag_by_endpoint=False, readiness=False)
    endpoint.serve("cpu_usage_percentage 7\nmodel_infer_request_success_total 3\n")
    for _ in range(2):
        aggregator.reset()
        assert check.run() == ""
    assert submissions(aggregator, ("endpoint_name", "serving_system")) == [
        "count request.count 0",
        "gauge memory.utilization 7",
    ]


def test_share_of_what_is_not_among_its_whole(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path
) -> None:
    """A share may be of a metric that is no part of the sum; where that is missing there is none."""
    share = {"metric": "gpu.memory.utilization", "share": {"of": "gpu.memory.used", "in": ["gpu.memory.total"]}}
    metrics = [
        {"raw": "translator_used", "type": "gauge", "to": "gpu.memory.used"},
        {"raw": "translator_total", "type": "gauge", "to": "gpu.memory.total"},
    ]
    path = written(tmp_path, {"system": "translator", "metrics": metrics, "derived": [share]})
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=path, tag_by_endpoint=False, readiness=False)
    endpoint.serve('translator_total{gpu="0"} 40\ntranslator_used{gpu="0"} 10\ntranslator_total{gpu="1"} 40\n')
    assert check.run() == ""
    assert submissions(aggregator, ("endpoint_name", "serving_system")) == [
        "gauge gpu.memory.total 40 gpu:0",
        "gauge gpu.memory.total 40 gpu:1",
        "gauge gpu.memory.used 10 gpu:0",
        "gauge gpu.memory.utilization 25 gpu:0",
    ]


def test_several_files(tmp_path: Path) -> None:
    """Later files know the metrics of earlier ones, and win."""
    second = copy.deepcopy(OWN)
    second["system"] = "echo"
    second["own_metrics"] = {}
    paths = [written(tmp_path, OWN), written(tmp_path, second, "second.yaml")]
    catalog = load_catalog(paths)
    assert list(catalog.systems)[-2:] == ["translator", "echo"]
    assert catalog.metrics["translator.words"].type == "distribution"


# -- mistakes

REMOVE = object()
VERIFIED = {"how": "documentation", "source": "the manual, chapter 4"}


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """OWN with values put at paths such as `metrics.0.raw`."""
    content: Any = copy.deepcopy(OWN)
    for path, value in changes:
        place = content
        *steps, last = [int(step) if step.isdigit() else step for step in path.replace("..", "\0").split(".")]
        steps = [step.replace("\0", ".") if isinstance(step, str) else step for step in steps]
        last = last.replace("\0", ".") if isinstance(last, str) else last
        for step in steps:
            place = place[step]
        if value is REMOVE:
            del place[last]
        else:
            place[last] = value
    result: dict[str, Any] = content
    return result


RAW = OWN["metrics"][0]["raw"]
SWITCH = {"gives": "request.count", "absent": RAW, "because": "It counts nothing.", "do": "switch it on"}

MISTAKES: list[tuple[str, Any, str, str]] = [
    # path, value, place in the message, mend in the message
    ("system", REMOVE, "key `system`", "lower-case letters"),
    ("system", "My System", "key `system`", "not 'My System'"),
    ("system", "auto", "key `system`", "choose another name"),
    ("metrcs", [], "top level", "did you mean `metrics`?"),
    ("colour", "red", "top level", "known keys: system, title"),
    ("metrics", REMOVE, "key `metrics`", "list with at least one entry"),
    ("metrics", {}, "key `metrics`", "list with at least one entry"),
    ("metrics.0", "translator_requests", "metrics entry 1", "must be a mapping"),
    ("metrics.1.raw", REMOVE, "metrics entry 2, key `raw`", "text or a list of texts"),
    ("metrics.1.raw", [], "metrics entry 2, key `raw`", "names no metric"),
    ("metrics.1.raw", 5, "metrics entry 2, key `raw`", "quote numbers"),
    ("metrics.0.raw", "translator_time_ms", "metrics entry 2", "`translator_time_ms` has an entry already"),
    ("metrics.0.raw", "translator_*_total", "`translator_*_total`", "every spelling in full, without globs"),
    ("metrics.0.type", REMOVE, "metric `translator_requests_total`, key `type`", "must be one of counter, gauge"),
    ("metrics.0.type", "count", "metric `translator_requests_total`, key `type`", "not 'count'"),
    (
        "metrics.0.type",
        "gauge",
        "metric `translator_requests_total`",
        "a gauge cannot feed `request.count`, which is a count",
    ),
    ("metrics.0.type", "last_code", "metric `translator_requests_total`", "name codes that ship with the check (xid)"),
    (
        "metrics.0",
        {"raw": "t", "type": "gauge", "codes": "xid", "to": "request.in_flight"},
        "metric `t`",
        "`codes` goes with types last_code, recent_count, counter: remove it",
    ),
    ("metrics.0.level", "gpu", "metric `translator_requests_total`", "need an `identity` of the system"),
    ("metrics.0.besides", ["a"], "metric `translator_requests_total`", "need an `identity` of the system"),
    ("metrics.0.overshoot", 0.5, "metric `translator_requests_total`", "must be a factor of 1 or more"),
    ("metrics.0.ignore_plain", "yes", "metric `translator_requests_total`, `ignore_plain`", "must be true or false"),
    ("blanks", ["none"], "blanks", "must be a list of numbers"),
    ("identity", {"levels": {}}, "identity.levels", "needs at least one level"),
    ("identity", {"levels": {"rack": []}}, "identity.levels", "each with the labels that name it"),
    ("identity", {"levels": {"rack": ["rack"]}, "default": "slot"}, "identity.default", "must be one of rack"),
    ("identity", {"levels": {"rack": ["rack"]}, "about": {"slot": ["s"]}}, "identity.about", "must be one of rack"),
    ("identity", {"levels": {"rack": ["rack"]}, "worldwide": ["uuid"]}, "identity.worldwide", "`uuid` names no level"),
    *(
        (
            "metrics.0",
            {"raw": "t", "type": "last_code", "codes": codes, "to": "request.count"},
            f"metric `t`{key}",
            mend,
        )
        for codes, key, mend in (
            ("sxid", "", "no codes `sxid` ship with the check, only: xid"),
            (5, ", key `codes`", "must be a mapping"),
            ({}, ", key `codes`", "needs a `tag`"),
            ({"tag": "t", "code": {}}, ", key `codes`", "did you mean `codes`?"),
            ({"tag": "t", "codes": {"7": {}}}, ", key `codes`, key `codes`", "a mapping from whole numbers"),
            ({"tag": "t", "codes": {7: {"meaning": 5}}}, ", key `codes`, code 7", "must be texts by name"),
            ({"tag": "t", "unknown": "?"}, ", key `codes`, key `unknown`", "must be a mapping"),
            ({"tag": "t", "event": {"title": "x", "text": "y"}}, ", key `codes`, key `event`", "lacks `type` and"),
        )
    ),
    ("metrics.0.to", REMOVE, "metric `translator_requests_total`", "has no `to`"),
    ("metrics.0.to", [], "metric `translator_requests_total`", "`ignore`"),
    ("metrics.0.to", "request.counts", "metric `translator_requests_total`", "did you mean `request.count`?"),
    ("metrics.0.to", "qwertz", "metric `translator_requests_total`", "define it under `own_metrics`"),
    ("metrics.0.to", 5, "metric `translator_requests_total`, key `to`", "must be a mapping"),
    ("metrics.0.to", {"metrik": "request.count"}, "key `to`", "did you mean `metric`?"),
    ("metrics.0.to", {"tags": {"a": "b"}}, "metric `translator_requests_total`", "`None` is no metric"),
    ("metrics.0.to", {"metric": "request.count", "tags": ["a"]}, "key `tags`", "must be a mapping"),
    ("metrics.0.to", {"metric": "request.count", "when": "a"}, "key `when`", "must be a mapping"),
    ("metrics.0.to", {"metric": "request.count", "when": {"a": 200}}, "key `when`, label `a`", "quote numbers"),
    ("metrics.0.to", {"metric": "request.count", "keep": 5}, "key `keep`", "list of texts"),
    ("metrics.0.to", {"metric": "request.count", "present": 5}, "key `present`", "a list of texts"),
    (
        "metrics.0.to",
        {"metric": "request.count", "value": "mean"},
        "requests_total`",
        "the mean of a counter cannot feed",
    ),
    (
        "metrics.2.to",
        {"metric": "request.count", "value": "max"},
        "`translator_words`",
        "can only be `mean`, `sum` or `count`",
    ),
    ("metrics.0.scale", "1e-3", "metric `translator_requests_total`", "write 1.0e-3"),
    ("metrics.0.scale", 0, "metric `translator_requests_total`", "positive number"),
    ("metrics.0.scale", True, "metric `translator_requests_total`", "positive number"),
    ("metrics.0.scal", 1, "metrics entry 1", "did you mean `scale`?"),
    ("metrics.0.like", {"name": "*_x"}, "key `like`", "needs a `name` (a glob) and a `label`"),
    ("system", "mlserver", "key `system`", "write `extends: mlserver` to add to it"),
    ("extends", "mlservr", "key `extends`", "did you mean `mlserver`?"),
    ("extends", 5, "key `extends`", "known systems: "),
    ("prefixes", ["a"], "key `prefixes`", "up to _ or :"),
    ("prefixes", "a_*", "key `prefixes`", "`a_*` must be the beginning of a metric name"),
    ("tags", {"vendor": 5}, "key `tags`", "must be texts by name"),
    ("tags", {"serving_system": "x"}, "key `tags`, tag `serving_system`", "choose another name"),
    ("tags", {"a": "{b"}, "key `tags`, tag `a`", "'{b' has a brace that begins or ends no `{name}`"),
    ("tags", {"a": "b}"}, "key `tags`, tag `a`", "mend it"),
    ("tags", {"a": "{}"}, "key `tags`, tag `a`", "mend it"),
    ("tags", {"a": "{b c}"}, "key `tags`, tag `a`", "mend it"),
    ("tags", {"a": "{{b}}"}, "key `tags`, tag `a`", "mend it"),
    ("tags", {"a": "{b|c}"}, "key `tags`, tag `a`", "mend it"),
    ("tags", {"a": "{Host}"}, "key `tags`, tag `a`", "write `{model_serving_host}`"),
    ("tags", {"a": "{serving_system}"}, "key `tags`, tag `a`", "write the name of the system itself"),
    ("tags", {"a": "{b}-{c}"}, "", ""),
    (
        "metrics.0.to",
        {"metric": "request.count", "tags": {"a": "{b"}},
        "metric `translator_requests_total`, key `to`, tag `a`",
        "mend it",
    ),
    ("labels.values", {"a": {"b": 5}}, "labels.values.a", "must be texts by name"),
    ("labels.values", {"a": "b"}, "labels.values.a", "must be a mapping"),
    ("labels.parts", {"a": "("}, "labels.parts.a", "is no regular expression"),
    ("labels.parts", {"a": "b"}, "labels.parts.a", "names no part"),
    ("labels.parts", {"a": 5}, "labels.parts.a", "a regular expression"),
    ("metrics.0.prefixed", "no", "`prefixed`", "true or false"),
    ("metrics.1.unit", "millisecond", "metric `translator_duration_ms`", "has `unit` and `scale`"),
    ("metrics.4.unit", "second", "`translator_used`, key `unit`", "`gpu.memory.used`, which has byte"),
    ("metrics.4.unit", "mebibytes", "`translator_used`, key `unit`", "did you mean `mebibyte`?"),
    ("metrics.2.raw", {"sum": "a"}, "key `raw`", "needs both `sum` and `count`"),
    ("metrics.2.raw", {"sum": "a", "count": 5}, "key `raw`", "each the name of a counter"),
    ("metrics.2.raw", {"sum": "a", "cuont": "b"}, "key `raw`", "did you mean `count`?"),
    ("metrics.0.raw", {"sum": "a", "count": "b"}, "metric `a`", "is a summary, not a counter"),
    ("recognise.any", 5, "recognise.any", "list of texts"),
    ("recognise.all", ["a"], "recognise", "known keys: prefix, any, hint"),
    ("recognise.hints_needed", "3", "recognise.hints_needed", "whole number"),
    ("any_prefix", "no", "key `any_prefix`", "true or false"),
    ("series_start_at_zero", 0, "key `series_start_at_zero`", "true or false"),
    ("labels.renames", {}, "labels", "did you mean `rename`?"),
    ("labels.rename", ["a"], "labels.rename", "must be a mapping"),
    ("labels.rename", {"a": 5}, "labels.rename.a", "the name of a tag"),
    ("labels.drop", {"a": "b"}, "labels.drop", "list of texts"),
    ("labels.absent", {"version": [0]}, "labels.absent.version", "quote numbers"),
    ("ignore", 5, "ignore", "list of texts"),
    ("ignore", "translator_debug_*", "", ""),
    ("ignore", ["translator_debug_*", {"names": "translator_x", "because": "a twin"}], "", ""),
    ("ignore", [{"names": "translator_x"}], "ignore, entry 1", "needs `names`, globs of families, and `because`"),
    ("ignore", ["a", {"because": "a twin"}], "ignore, entry 2", "needs `names`"),
    ("ignore", [{"names": [5], "because": "a twin"}], "ignore, entry 1, key `names`", "a text or a list of texts"),
    ("ignore", [{"name": "a", "because": "a twin"}], "ignore, entry 1", "did you mean `names`?"),
    ("ports", {"metrics": "8082"}, "ports.metrics", "a number, such as 8082"),
    ("ports", [8082], "ports", "must be a mapping"),
    ("ports", {"metric": 8082}, "ports", "did you mean `metrics`?"),
    ("own_metrics", ["a"], "own_metrics", "must be a mapping"),
    (
        "own_metrics.words",
        {"type": "gauge", "description": "Words."},
        "metric definition `words`",
        "`translator.words`",
    ),
    (
        "own_metrics.request..count",
        {"type": "gauge", "description": "x"},
        "`request.count`",
        "`translator.request.count`",
    ),
    ("own_metrics.translator..A b", {"type": "gauge", "description": "x"}, "`translator.A b`", "lower-case letters"),
    ("own_metrics.translator..words.description", REMOVE, "`translator.words`", "needs a `description`"),
    ("own_metrics.translator..words.type", "counter", "`translator.words`, key `type`", "gauge, count, distribution"),
    ("own_metrics.translator..words.range", 5, "`translator.words`", "[lowest, highest], null where open"),
    ("own_metrics.translator..words.range", ["a", 5], "`translator.words`", "numbers or null"),
    ("own_metrics.translator..words.range", [5, 1], "`translator.words`", "[lowest, highest]"),
    ("own_metrics.translator..words.combine", "avg", "`translator.words`, key `combine`", "sum, mean, max, last"),
    ("own_metrics.translator..words.moments", "yes", "`translator.words`, key `moments`", "true or false"),
    ("own_metrics.translator..words.moments", True, "`translator.words`, key `moments`", "is for gauges, not for a"),
    ("own_metrics.translator..words.orientation", "up", "key `orientation`", "-1, 0 or 1"),
    ("own_metrics.translator..words.units", "x", "`translator.words`", "did you mean `unit`?"),
    ("derived", {}, "", ""),
    ("derived", {"a": "b"}, "key `derived`", "must be a list"),
    ("derived", [{"metric": "gpu.memory.total"}], "derived entry 1", "either `share` or `sum`"),
    ("derived.0.share", {"in": ["gpu.memory.used"]}, "derived entry 1", "either `share` or `sum`"),
    ("derived.0.sum.in", ["gpu.memory.usd"], "derived entry 1", "did you mean `gpu.memory.used`?"),
    ("derived.0.sum.in", ["request.count"], "derived entry 1", "only gauges can be derived"),
    ("derived.0.sum.of", "gpu.memory.used", "derived entry 1", "a `sum` has none"),
    (
        "derived",
        [{"metric": "cpu.utilization", "share": {"of": "request.count", "in": ["gpu.memory.used"]}}],
        "derived entry 1",
        "`request.count` is a count: only gauges can be derived",
    ),
    ("derived.0.sum.inn", ["gpu.memory.used"], "derived entry 1", "did you mean `in`?"),
    ("switches", {}, "", ""),
    ("switches", [SWITCH], "", ""),
    ("switches", [{key: SWITCH[key] for key in ("because", "do")}], "", ""),
    ("switches", {"a": "b"}, "key `switches`", "must be a list"),
    ("switches", ["restart it"], "switches entry 1", "must be a mapping"),
    ("switches", [{**SWITCH, "why": "x"}], "switches entry 1", "unknown key `why`"),
    ("switches", [{**SWITCH, "becuase": "x"}], "switches entry 1", "did you mean `because`?"),
    ("switches", [{**SWITCH, "because": 5}], "switches entry 1", "needs a text `because`"),
    ("metrics.0.states", {0: "closed"}, "metric `translator_requests_total`", "`states` goes with type gauge"),
    ("metrics.4.states", {0: "closed"}, "", ""),
    ("metrics.4.states", {}, "key `states`", "from whole numbers to words"),
    ("metrics.4.states", {"0": "closed"}, "key `states`", "from whole numbers to words"),
    ("metrics.4.states", {0: 1}, "key `states`", "quote them"),
    ("metrics.4.states", {-1: "none"}, "metric `", "the state -1 is outside of the range of"),
    ("rest", "own", "", ""),
    ("rest", True, "key `rest`", "must be one of own, not True"),
    ("verified", VERIFIED, "recognise", "write `prefix` in place of `any` and `hints_needed`"),
    ("verified", {**VERIFIED, "how": "live"}, "", ""),
    ("verified", {**VERIFIED, "how": "seen"}, "key `verified`, key `how`", "one of live, recorded, documentation"),
    ("verified", {"how": "live"}, "key `verified`", "needs a text `source`"),
    ("verified", {**VERIFIED, "source": 5}, "key `verified`", "must be texts by name"),
    ("verified", {**VERIFIED, "sources": "x"}, "key `verified`", "did you mean `source`?"),
    ("verified", "live", "key `verified`", "must be a mapping"),
    ("recognise.prefix", "translator", "recognise.prefix", "up to _ or :"),
    ("recognise.prefix", ["translator_"], "", ""),
    ("switches", [SWITCH, {**SWITCH, "do": " "}], "switches entry 2", "needs a text `do`"),
    ("switches", [{**SWITCH, "gives": "request.cuont"}], "switches entry 1", "did you mean `request.count`?"),
    ("switches", [{**SWITCH, "gives": "model.age"}], "switches entry 1", "no metric of the file becomes `model.age`"),
    ("switches", [{**SWITCH, "gives": 5}], "switches entry 1, key `gives`", "a text or a list of texts"),
    ("switches", [{**SWITCH, "absent": "translator_word"}], "switches entry 1, key `absent`", "did you mean `"),
    ("switches", [{**SWITCH, "present": "other"}], "switches entry 1, key `present`", "name one that has an entry"),
    ("switches", [{**SWITCH, "gives": [], "absent": RAW}], "switches entry 1", "go with `gives`"),
]


@pytest.mark.parametrize(
    ("path", "value", "place", "mend"),
    MISTAKES,
    ids=[f"{path}: {'removed' if value is REMOVE else value}" for path, value, _, _ in MISTAKES],
)
def test_mistakes(path: str, value: Any, place: str, mend: str, tmp_path: Path, datadog_agent: Any) -> None:
    """A mistake is told with the file, the place in it and the mend, as an error of the option `catalog`."""
    file = written(tmp_path, changed((path, value)))
    if not mend:
        assert load_catalog([file]).systems["translator"]
        return
    with pytest.raises(CatalogError) as raised:
        load_catalog([file])
    message = str(raised.value)
    assert message.startswith(f"Catalog file {file}, ")
    assert place in message
    assert mend in message
    check = make_check(openmetrics_endpoint="http://127.0.0.1:9/metrics", catalog=file)
    told = json.loads(check.run())[0]["message"]
    assert told == f"instance `http://127.0.0.1:9/metrics`: option `catalog`: {message}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("the file", "must be a mapping")),
        ("- a\n- b\n", ("the file", "must be a mapping", "not list")),
        ("1: 2\n", ("the file", "text keys")),
        ("system: [\n", ("is not valid YAML", "line 2")),
        ("system: 'x\n", ("is not valid YAML",)),
        ("system: !!python/object/apply:os.getcwd []\n", ("is not valid YAML",)),
    ],
)
def test_no_catalog(content: str, words: tuple[str, ...], tmp_path: Path) -> None:
    """A file that isn't a mapping in YAML is refused as such."""
    file = written(tmp_path, content)
    with pytest.raises(CatalogError) as raised:
        load_catalog([file])
    message = str(raised.value)
    assert file in message
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_unreadable(tmp_path: Path) -> None:
    """A path that leads nowhere, to a folder, or to no text."""
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"system: \xff\xfe\n")
    for path, words in (
        (tmp_path / "none.yaml", "cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
        (binary, "is not UTF-8 text"),
    ):
        with pytest.raises(CatalogError, match=words) as raised:
            load_catalog([path])
        assert str(path) in str(raised.value)


# -- files that extend


def test_extended(tmp_path: Path) -> None:
    """A system of another name has what it extends; what the file says of a metric, label or tag takes its place."""
    said = {
        "system": "edge",
        "extends": "mlserver",
        "labels": {"rename": {"model": "endpoint_name", "zone": "region"}, "drop": ["hop"]},
        "ignore": "edge_debug_*",
        "metrics": [{"raw": "batch_request_queue", "type": "gauge", "to": "edge.queue"}],
        "own_metrics": {"edge.queue": {"type": "gauge", "description": "Requests at the edge."}},
    }
    catalog = load_catalog([written(tmp_path, said)])
    base, edge = builtin_catalog().systems["mlserver"], catalog.systems["edge"]
    assert catalog.systems["mlserver"] is base
    assert (edge.title, edge.verified, edge.base) == ("edge", None, "mlserver")
    assert {name for raw in base.metrics for name in raw.names} <= {name for raw in edge.metrics for name in raw.names}
    assert edge.by_name()["batch_request_queue"].type == "gauge"
    assert {raw.system for raw in edge.by_name().values()} == {"edge"}
    assert edge.labels.rename == {**base.labels.rename, "model": "endpoint_name", "zone": "region"}
    assert edge.labels.drop == base.labels.drop | {"hop"}
    assert {ignored.because for ignored in base.ignore} <= {ignored.because for ignored in edge.ignore}
    assert [metric.name for metric in edge.own_metrics] == ["edge.queue"]


@pytest.mark.parametrize("base", builtin_catalog().systems)
def test_a_system_that_extends_is_recognised_in_place_of_the_other(base: str, tmp_path: Path) -> None:
    """Under a name of its own; were both there, every metric would be of two systems, and so of none."""
    same = {"system": base, "extends": base, "metrics": []}
    other = {"system": "edge", "extends": base, "metrics": []}
    for content in (same, other):
        catalog, system = load_catalog([written(tmp_path, content)]), content["system"]
        recogniser = Recogniser(catalog, always=(str(system),))
        for raw in catalog.systems[base].metrics:
            match = None if raw.pair or raw.like is not None else recogniser.match(raw.names[0])
            assert match is None or match.raw.system == system
    verified = load_catalog([written(tmp_path, same)]).systems[base].verified
    assert verified == builtin_catalog().systems[base].verified is not None


@pytest.mark.parametrize("base", [one.name for one in builtin_catalog().systems.values() if one.prefixes])
@pytest.mark.parametrize("system", ["edge", ""])
def test_a_name_that_lacks_the_prefix_is_told(base: str, system: str, tmp_path: Path) -> None:
    """One that the file itself has, in whichever part of it; what says `prefixed: false` is found."""
    entries = [
        {"raw": "edge_active", "type": "gauge", "to": "request.in_flight"},
        {"raw": "edge_seconds", "type": "histogram", "to": "request.latency"},
        {"raw": "edge_whole", "type": "gauge", "to": "request.queue.size", "prefixed": False},
    ]
    name = system or base
    catalog = load_catalog([written(tmp_path, {"system": name, "extends": base, "metrics": entries})])
    recogniser = Recogniser(catalog, always=(name,))
    told = {}
    for family in ("edge_active", "edge_seconds", "edge_seconds_bucket", "edge_whole", "num_requests_running"):
        assert (recogniser.match(family) is not None) == (family == "edge_whole")
        match = recogniser.unprefixed(family)
        told[family] = match is not None and match.prefix in catalog.systems[base].prefixes
    assert told == {
        "edge_active": True,
        "edge_seconds": True,
        "edge_seconds_bucket": True,
        "edge_whole": False,
        "num_requests_running": False,
    }


def test_a_tag_by_the_name_of_a_label_that_has_another(tmp_path: Path) -> None:
    """It names the tag, as it is after `rename`. What the file has from another system is not its fault."""
    labels = {"rename": {"code": "status_code", "model": "name", "kind": "model"}, "parts": {"path": "(?P<kind>.+)"}}
    written_so = changed(("labels", labels), ("metrics", [*OWN["metrics"]]))
    for text, message in (
        ("{code}", "there is no tag `code`, the label becomes `status_code`: write `{status_code}`."),
        ("{version}", "there is no tag `version`, the label becomes `model_serving_version`"),
        ("{status_code} {model} {kind} {name} {path} {endpoint_name}", ""),
    ):
        path = written(tmp_path, {**written_so, "tags": {"a": text}})
        if message:
            with pytest.raises(CatalogError, match=re.escape(message)):
                load_catalog([path])
        else:
            load_catalog([path])
    extending = {"system": "amd_gpu", "extends": "amd_gpu", "labels": {"rename": {"card_series": "series"}}}
    assert load_catalog([written(tmp_path, extending)]).systems["amd_gpu"].tags


def test_places_in_a_file_that_extends(tmp_path: Path) -> None:
    """A complaint counts the entries of the file, not those of what it extends."""
    said = {
        "system": "edge",
        "extends": "mlserver",
        "metrics": [{"raw": "", "type": "gauge", "to": "request.in_flight"}],
    }
    with pytest.raises(CatalogError, match="metrics entry 1, key `raw`: names no metric"):
        load_catalog([written(tmp_path, said)])


def test_pair_that_loses_a_line(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """A pair of which one half could not be read has not begun with the scrape in which it can."""
    pair = {"raw": {"sum": "translator_busy", "count": "translator_texts"}, "type": "summary", "to": "request.latency"}
    content = changed(("metrics", [pair, *OWN["metrics"][2:]]))
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=written(tmp_path, content), readiness=False)
    told = []
    for busy, texts in (("5", "10 10 10"), ("7", "12"), ("8", "15")):
        aggregator.reset()
        endpoint.serve(f"translator_busy_total {busy}\ntranslator_texts_total {texts}\n")
        assert check.run() == ""
        told.append(
            [
                line
                for line in submissions(aggregator, ("endpoint_name", "endpoint", "serving_system"))
                if "latency" in line
            ]
        )
    assert told == [[], [], ["count request.latency.count 3", "count request.latency.sum 1"]]
