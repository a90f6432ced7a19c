"""Variants of a monitor: other settings for some of its series, which the monitor itself leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import DocumentError
from datadog_checks.model_serving.workstation.provision.desired import desired, load_values
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.packs import monitor_entries
from datadog_checks.model_serving.workstation.provision.query import parse_monitor
from datadog_checks.model_serving.workstation.provision.query.rules import metrics_of
from datadog_checks.model_serving.workstation.provision.query.tree import MetricMonitor, ServiceCheckMonitor
from datadog_checks.model_serving.workstation.provision.simulate.matching import matches
from datadog_checks.model_serving.workstation.provision.simulate.observations import tags_of
from datadog_checks.model_serving.workstation.provision.values import MonitorValues, Values

from .test_values import DOCUMENT, Load, bodies, load

__all__ = ["load"]

WEEK = "pct_change(avg(last_1h),last_1w):p95:model_serving.request.latency"
BY = "by {serving_system,endpoint_name,model_name}"

CHANGED = [
    # (monitors of the values file, key, field, value)
    ("latency.week: {variants: {slow: {scope: 'model_name:sdxl', thresholds: {critical: 80}}}}",
     {"latency.week": f"{WEEK}{{!model_name:sdxl}} {BY} > 50",
      "latency.week.slow": f"{WEEK}{{model_name:sdxl}} {BY} > 80",
      # The tag that its series lack takes nothing out of it, and leaves nothing for a variant.
      "latency.week.endpoint": f"{WEEK}{{!model_name:*}} by {{serving_system,endpoint_name}} > 50",
      "latency.week.endpoint.slow": None}),
    ("latency.week: {priority: 1, thresholds: {critical: 60}, variants: {slow: {scope: 'endpoint_name:chat'}}}",
     {"latency.week.slow": f"{WEEK}{{endpoint_name:chat}} {BY} > 60",
      "latency.week.endpoint": f"{WEEK}{{!endpoint_name:chat,"
                              f"!model_name:*}} by {{serving_system,endpoint_name}} > 60",
      "latency.week.endpoint.slow": f"{WEEK}{{endpoint_name:chat,"
                                   f"!model_name:*}} by {{serving_system,endpoint_name}} > 60"}),
    ("latency.week: {scope: env:prod, variants: {slow: {scope: 'model_name IN (a,b)'}}}",
     {"latency.week": f"{WEEK}{{env:prod AND model_name NOT IN (a,b)}} {BY} > 50",
      "latency.week.slow": f"{WEEK}{{env:prod AND model_name IN (a,b)}} {BY} > 50"}),
    ("latency.week: {variants: {a: {scope: 'env:prod,model_name:a'}, fast: {scope: 'model_name:a OR model_name:b'}}}",
     {"latency.week": f"{WEEK}{{NOT (env:prod AND model_name:a) AND NOT (model_name:a OR model_name:b)}} {BY} > 50",
      "latency.week.a": f"{WEEK}{{env:prod,model_name:a}} {BY} > 50",
      "latency.week.fast": f"{WEEK}{{(model_name:a OR model_name:b) AND NOT (env:prod AND model_name:a)}} {BY} > 50"}),
    # Different values of a tag of the check meet in no series; those of a host may.
    ("latency.week: {variants: {a: {scope: 'model_name:a'}, b: {scope: 'model_name:b'}}}",
     {"latency.week": f"{WEEK}{{!model_name:a,!model_name:b}} {BY} > 50",
      "latency.week.b": f"{WEEK}{{model_name:b}} {BY} > 50"}),
    ("latency.week: {variants: {a: {scope: 'env:a'}, b: {scope: 'env:b'}}}",
     {"latency.week.b": f"{WEEK}{{env:b,!env:a}} {BY} > 50"}),
    ("latency.week: {variants: {rest: {scope: '!env:prod'}}}",
     {"latency.week": f"{WEEK}{{env:prod}} {BY} > 50", "latency.week.rest": f"{WEEK}{{!env:prod}} {BY} > 50"}),
    ("latency.week: {variants: {none: {scope: 'env:dev', enabled: false}}}",
     {"latency.week": f"{WEEK}{{!env:dev}} {BY} > 50", "latency.week.none": None}),
    ("latency.week: {enabled: false, variants: {only: {scope: 'env:prod', enabled: true}}}",
     {"latency.week": None, "latency.week.only": f"{WEEK}{{env:prod}} {BY} > 50"}),
    ("version.idle: {variants: {dev: {scope: 'env:dev'}}}",
     {"version.idle.dev": "sum(last_1d):sum:model_serving.request.count{env:dev,model_version:*} by {serving_system,"
                          "endpoint_name,model_name,model_version}.as_count() < 1"}),
    ("gpu.health: {variants: {dev: {scope: 'env:dev', thresholds: {critical: 9}}}}",
     {"gpu.health": '"model_serving.gpu.health".over("*").exclude("env:dev").by("serving_system","endpoint_name","gpu",'
                    '"gpu_uuid").last(3).count_by_status()',
      "gpu.health.dev": '"model_serving.gpu.health".over("env:dev").by("serving_system","endpoint_name","gpu",'
                        '"gpu_uuid").last(10).count_by_status()'}),
    ("model.ready: {variants: {dev: {scope: 'env:dev'}}}",
     {"model.ready.dev": "${monitor:model.ready.dev.part} && !${monitor:endpoint.metrics} && "
                         "!${monitor:endpoint.ready.part}"}),
    # Answers by status code are known without a model, so a scope by models narrows the share alone.
    ("errors.share: {min_errors: 9, variants: {x: {scope: 'model_name:x'}}}",
     {"errors.share.x.part.errors": "sum(last_5m):sum:model_serving.request.error.count{model_name:x,!status_class:4xx,"
                                    f"!serving_system:mlserver}} {BY}.as_count() >= 9",
      "errors.share.rest.x.part.errors": "sum(last_5m):sum:model_serving.mlserver.rest.request.count{status_class:5xx} "
                                         "by {serving_system,endpoint_name}.as_count() >= 9"}),
]  # fmt: skip


@pytest.mark.parametrize(("monitors", "expected"), CHANGED, ids=[text for text, _ in CHANGED])
def test_queries(load: Load, monitors: str, expected: dict[str, str | None]) -> None:
    """Of a variant, and of what it is taken out of. Nothing of it is refused by the checks of queries."""
    values = load(f"monitors: {{{monitors}}}")
    found = bodies(values)
    assert {key: found[key]["query"] if key in found else None for key in expected} == expected
    checked(desired(None, values))


def test_everything_else_is_inherited(load: Load) -> None:
    """From the monitor as the values file has it; a variant may say otherwise of anything."""
    values = load(
        "runbooks: https://w.example.com\ngenerative: 'endpoint_name:sdxl'\nmonitors: {latency.p99: {team: a, "
        "priority: 2, variants: {sdxl: {scope: 'endpoint_name:sdxl', team: b, thresholds: {critical: 30}}}}}"
    )
    first, body = (bodies(values)[key] for key in ("latency.p99", "latency.p99.sdxl"))
    assert body["name"] == f"{first['name']}: sdxl"
    assert (body["priority"], body["options"]["thresholds"]) == (2, {"critical": 30, "critical_recovery": 24})
    assert set(first["tags"]) ^ set(body["tags"]) == {"team:a", "team:b"}
    assert "Runbook: https://w.example.com/latency.p99\n" in body["message"]
    # What the file calls generative is left out of the monitor, and is not of a variant that is about it.
    assert re.search(r"latency\{endpoint_name:sdxl\b", body["query"])
    assert len(re.findall(r"(!|NOT )endpoint_name:sdxl\b", first["query"])) == 1, "for both reasons, but once"
    assert "NOT endpoint_name:sdxl" not in body["query"]


REFUSED = {
    "latency.p99: {variants: [a]}": "variants: must be a mapping, not a list",
    "latency.p99: {variants: {a: {priority: 1}}}": "variants.a: needs a `scope`, which says of which series it is",
    "latency.p99: {variants: {A b: {scope: 'x:y'}}}": "variants: `A b` is no name of a variant: write small letters",
    "latency.p99: {variants: {a: {scope: 'x:y', variants: {}}}}": "variants.a: unknown key `variants`",
    "latency.p99: {variants: {a: {scope: '*'}}}": "variants.a.scope: leaves nothing for latency.p99: say this of the",
    "latency.p99: {variants: {endpoint: {scope: 'x:y'}}}": (
        "variants.endpoint: `latency.p99.endpoint` is another monitor: choose another name for the variant"
    ),
    "errors.share: {variants: {part: {scope: 'x:y'}}}": "variants.part: `errors.share.part` is another monitor",
    "latency.p99: {variants: {a: {scope: 'x:y', thresholds: {warning: 3}}}}": (
        "monitors.latency.p99.variants.a.thresholds.warning: 3 is not below critical, which is 2"
    ),
    "latency.p99: {variants: {a: {scope: 'x:y'}, b: {scope: 'x:y'}}}": (
        "variants.b.scope: the variant `a` before it takes all of this with `x:y`: a series is that of the first"
    ),
    "latency.p99: {variants: {a: {scope: 'model_name:sd*'}, b: {scope: 'env:a,model_name:sdxl'}}}": "takes all of this",
    "latency.p99: {variants: {a: {scope: 'env IN (a,b)'}, b: {scope: 'env:a'}}}": "takes all of this",
    "gpu.temperature: {variants: {a: {scope: 'model_name:x'}}}": (
        "variants.a.scope: `model_name:x` takes nothing: the series of gpu.temperature lack such a tag; they have servi"
    ),
    "gpu.health: {variants: {a: {scope: 'model_name:x'}}}": "variants.a.scope: `model_name:x` takes nothing",
    "model.ready: {variants: {a: {scope: 'env IN (a,b)'}}}": (
        "variants.a.scope: the service check of model.ready takes a single tag, such as `env:dev` or `!env:dev`"
    ),
    "model.ready: {variants: {a: {scope: 'env:a,region:b'}}}": "the service check of model.ready takes a single tag",
    "endpoint.metrics: {variants: {a: {scope: 'env:dev'}}}": (
        "monitors.endpoint.metrics.variants: endpoint.ready keeps still while endpoint.metrics alerts, and would no lon"
    ),
    "version.changed: {variants: {a: {scope: 'env:dev'}}}": "variants: is not for monitors of events",
    "slo.availability.fast: {variants: {a: {scope: 'env:dev'}}}": (
        "variants: is not for burn rates: write variants, or `endpoints`, under `slos`, `availability`"
    ),
}


@pytest.mark.parametrize(("monitors", "said"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_is_refused(tmp_path: Path, monitors: str, said: str) -> None:
    """With the file, the key and what to write."""
    path = tmp_path / "values.yaml"
    path.write_text(f"monitors: {{{monitors}}}", encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        load_values(path)
    assert str(caught.value).startswith(f"{path}: monitors.")
    assert said in str(caught.value)


NAMES = ("a", "b", "ab")
KEYS = ("env", "model_name", "endpoint_name")
TAG = st.builds(
    "{}:{}".format, st.sampled_from(("env", "model_name", "endpoint_name")), st.sampled_from((*NAMES, "a*"))
)
SINGLE = st.one_of(TAG, TAG.map("!{}".format))
EXACT = SINGLE.filter(lambda one: "*" not in one)
CONDITION = st.recursive(
    st.one_of(
        TAG,
        st.builds("NOT {}".format, TAG),
        st.sampled_from(("env IN (a,b)", "model_name NOT IN (a,ab)", "model_name IN (b,ab)")),
    ),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(("AND", "OR")), inner),
    max_leaves=3,
)
SERIES = st.fixed_dictionaries(
    {"endpoint_name": st.sampled_from(NAMES)},
    optional={"env": st.sampled_from(NAMES), "model_name": st.sampled_from(NAMES)},
)


def times_watched(queries: Iterable[str], tags: dict[str, str]) -> int:
    """How many of the queries see a series with these tags."""
    found = 0
    has = tags_of([f"{key}:{value}" for key, value in {"serving_system": "mlserver", **tags}.items()])
    for text in queries:
        query = parse_monitor(text)
        if isinstance(query, ServiceCheckMonitor):
            over, exclude = ([tag.value for tag in some] for some in (query.over, query.exclude))
            found += (over == ["*"] or set(over) <= set(has)) and not set(exclude) & set(has)
        else:
            assert isinstance(query, MetricMonitor)
            (metric,) = metrics_of(query.expression)
            found += matches(metric.scope, has) and all(
                one.tag in tags or one.tag == "serving_system" for one in metric.by
            )
    return found


@given(
    scopes=st.one_of(
        st.tuples(st.just("latency.p99"), st.lists(st.one_of(SINGLE, CONDITION), min_size=1, max_size=4)),
        st.tuples(st.just("endpoint.ready"), st.lists(EXACT, min_size=1, max_size=3)),
    ),
    generative=st.one_of(st.just(""), CONDITION),
    series=st.lists(SERIES, min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_each_series_is_watched_once(
    scopes: tuple[str, list[str]], generative: str, series: list[dict[str, str]]
) -> None:
    """By the monitor, by the one of series that lack a tag, or by a variant of either; by none of them only where the
    values file leaves it out: what is generative and of no variant."""
    key, texts = scopes
    pack = [monitor_entries()[key].pack]
    variants = {f"v{number}": MonitorValues(scope=text) for number, text in enumerate(texts)}
    off = {"model.ready": MonitorValues(enabled=False)}
    values = Values(generative=generative, monitors={key: MonitorValues(variants=variants), **off})
    try:
        found = {one.key: one.body for one in desired(pack, values) if one.kind == "monitor"}
    except DocumentError as error:
        assert "takes all of this" in str(error) or "takes nothing" in str(error)  # noqa: PT017
        return
    known = {
        one.key: one.body["query"] for one in desired(pack, Values(generative=generative)) if one.kind == "monitor"
    }
    mine = [body["query"] for name, body in found.items() if name.startswith(key) and body["type"] != "composite"]
    plain = [query for name, query in known.items() if name.startswith(key) and "${" not in query]
    for tags in series:
        taken = any(times_watched([f"{WEEK}{{{text}}} by {{endpoint_name}} > 50"], tags) for text in texts)
        assert times_watched(mine, tags) == (1 if taken else times_watched(plain, tags))


@pytest.mark.parametrize(
    ("monitors", "dead"),
    [
        ("queue.depth: {scope: env:prod, variants: {x: {scope: env:dev}}}", ["monitor:queue.depth.x"]),
        ("queue.depth: {scope: env:prod, variants: {x: {scope: env:prod}}}", ["monitor:queue.depth"]),
        ("queue.depth: {scope: env:prod, variants: {x: {scope: zone:a}}}", []),
    ],
)
def test_a_scope_at_odds_with_that_of_the_monitor_is_told(load: Load, monitors: str, dead: list[str]) -> None:
    told: list[str] = []
    checked(desired(None, load(f"monitors:\n  {monitors}\n")), warn=told.append)
    assert [text.partition(": tags in the scope")[0] for text in told] == dead


def test_documented_example(load: Load) -> None:
    """docs/provisioning.md says what becomes of its example."""
    text = next(one for one in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL) if "variants:" in one)
    values = load(text)
    found = bodies(values)
    for key in ("latency.week", "latency.week.sdxl"):
        scope = found[key]["query"].partition("latency{")[2].partition("}")[0]
        assert f"`{{{scope}}}`" in DOCUMENT
    assert "latency.week.batch" not in found
    assert "latency.week.endpoint.sdxl" not in found
    checked(desired(None, values))
