"""Variants of an SLO: one of their own for some of its series, whose budget the SLO then does not share."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.errors import DocumentError
from datadog_checks.model_serving.workstation.preview.account import SimulatedAccount
from datadog_checks.model_serving.workstation.preview.recorded import Recorded
from datadog_checks.model_serving.workstation.provision.desired import desired, load_values
from datadog_checks.model_serving.workstation.provision.mistakes import checked
from datadog_checks.model_serving.workstation.provision.model import Resource
from datadog_checks.model_serving.workstation.provision.packs import slo_entries
from datadog_checks.model_serving.workstation.provision.packs.bodies import slo_body
from datadog_checks.model_serving.workstation.provision.packs.slos import slos_of
from datadog_checks.model_serving.workstation.provision.query import parse_metric_expression
from datadog_checks.model_serving.workstation.provision.query.rules import metrics_of
from datadog_checks.model_serving.workstation.provision.simulate.matching import matches
from datadog_checks.model_serving.workstation.provision.simulate.observations import COUNT, Observations, tags_of
from datadog_checks.model_serving.workstation.provision.simulate.simulation import Simulator
from datadog_checks.model_serving.workstation.provision.values import SloValues, Values

from .test_values import DOCUMENT, Load, load
from .test_variants import CONDITION, SERIES, SINGLE

__all__ = ["load"]

LLM = "serving_system NOT IN ("


def of_slo(resources: list[Resource]) -> dict[str, Any]:
    return {one.key: one.body for one in resources if one.kind == "slo"}


def queries(body: dict[str, Any]) -> list[str]:
    """Those of an SLO: of time slices the one, else the good events and all of them."""
    if body["type"] == "metric":
        return [body["query"]["numerator"], body["query"]["denominator"]]
    return [one["query"] for one in body["sli_specification"]["time_slice"]["query"]["queries"]]


def test_time_slices(load: Load) -> None:
    """The variant is one thing, with its settings and alerts; the SLO leaves it out as it does language models."""
    values = load(
        "scope: env:prod\nteam: a\nslos: {latency: {slice: 60, target: 98, variants: {batch: {scope: "
        "'endpoint_name:batch*', threshold: 30, target: 95, timeframe: 7d, team: b}}}}\n"
        "monitors: {slo.latency.fast: {priority: 1}}"
    )
    resources = desired(None, values)
    found = of_slo(resources)
    assert set(found) == {*slo_entries(), "latency.batch"}
    (whole,), (batch,) = queries(found["latency"]), queries(found["latency.batch"])
    assert batch == "p99:model_serving.request.latency{env:prod,endpoint_name:batch*}"
    assert whole.startswith(f"p99:model_serving.request.latency{{env:prod AND {LLM}")
    assert whole.endswith(") AND NOT endpoint_name:batch*} by {serving_system,endpoint_name}")
    slices = found["latency.batch"]["sli_specification"]["time_slice"]
    assert (slices["threshold"], slices["query_interval_seconds"]) == (30, 60)
    assert found["latency.batch"]["thresholds"] == [{"timeframe": "7d", "target": 95, "warning": 97.5}]
    assert found["latency"]["thresholds"][0]["target"] == 98
    assert found["latency.batch"]["name"] == f"{found['latency']['name']}: batch"
    assert "team:b" in found["latency.batch"]["tags"]
    alerts = {one.key: one.body for one in resources if one.kind == "monitor" and one.key.startswith("slo.latency")}
    assert set(alerts) == {f"slo.latency.{pace}.batch" for pace in ("fast", "steady", "slow")}
    fast = alerts["slo.latency.fast.batch"]
    assert fast["query"] == ('burn_rate("${slo:latency.batch}").over("7d").long_window("1h").short_window("5m") > 16.8')
    assert (fast["priority"], fast["name"][-7:]) == (1, ": batch")
    assert "For: all of `endpoint_name:batch*`\n" in fast["message"]
    checked(resources)


def test_counted_requests(load: Load) -> None:
    """Both sides of the ratio leave out, and take, the same, and so does the least number of failures."""
    values = load("slos: {availability: {variants: {batch: {scope: 'endpoint_name:b', target: 99}}}}")
    resources = desired(None, values)
    found = of_slo(resources)
    for key, scope in (("availability", "!endpoint_name:b"), ("availability.batch", "endpoint_name:b")):
        for query in queries(found[key]):
            assert query.count("{" + scope) == query.count("model_serving.")
            # A count is the same in all: who asks which endpoint of a variant fails sees it.
            assert "by {serving_system,endpoint_name}" in query
    monitors = {one.key: one.body for one in resources if one.kind == "monitor"}
    for key, scope in (("fast", "!endpoint_name:b"), ("fast.batch", "endpoint_name:b")):
        query = monitors[f"slo.availability.{key}.part.errors"]["query"]
        assert query.count("{" + scope) == query.count("model_serving.") == 3
    assert monitors["slo.availability.fast.batch"]["query"] == (
        "${monitor:slo.availability.fast.batch.part} && ${monitor:slo.availability.fast.batch.part.errors}"
    )
    checked(resources)


def test_variants_beside_endpoints(load: Load) -> None:
    """What a variant takes is its alone: an endpoint leaves out what it may share with one, and only that."""
    values = load(
        "slos: {latency: {endpoints: [chat, rank], variants: {sdxl: {scope: 'model_name:sdxl'}, dev: {scope: 'env:dev',"
        " enabled: false}, batch: {scope: 'endpoint_name:batch*'}, b1: {scope: 'endpoint_name:rank2,model_name:x'}}}}"
    )
    resources = desired(None, values)
    found = of_slo(resources)
    scopes = {key: queries(body)[0].partition("{")[2].partition("}")[0] for key, body in found.items()}
    assert {key.removeprefix("latency."): text for key, text in scopes.items() if key.startswith("latency.")} == {
        "chat": "endpoint_name:chat,!model_name:sdxl,!env:dev",
        "rank": "endpoint_name:rank,!model_name:sdxl,!env:dev",
        "sdxl": "model_name:sdxl",
        "batch": "endpoint_name:batch*,!model_name:sdxl,!env:dev",
        "b1": "endpoint_name:rank2,model_name:x,!env:dev",
    }
    assert scopes["latency"].endswith(
        "NOT model_name:sdxl AND NOT env:dev AND NOT endpoint_name:batch* AND "
        "NOT (endpoint_name:rank2 AND model_name:x)"
    )
    alerts = {one.key.rpartition(".")[2] for one in resources if one.key.startswith("slo.latency.fast")}
    assert alerts == {"chat", "rank", "sdxl", "batch", "b1"}
    checked(resources)


@given(
    scopes=st.lists(st.one_of(SINGLE, CONDITION), min_size=1, max_size=4),
    endpoints=st.lists(st.sampled_from(("a", "b")), unique=True),
    key=st.sampled_from(("latency", "availability")),
    series=st.lists(SERIES, min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_each_series_is_in_one_budget(
    scopes: list[str], endpoints: list[str], key: str, series: list[dict[str, str]]
) -> None:
    """Of the first variant that takes it, else of the SLO itself and of its endpoint."""
    if key == "availability":
        # Not all that it counts has the tag of a model.
        scopes = [text.replace("model_name", "squad") for text in scopes]
        series = [{name.replace("model_name", "squad"): value for name, value in tags.items()} for tags in series]
    said = SloValues(
        endpoints={name: SloValues() for name in endpoints},
        variants={f"v{number}": SloValues(scope=text) for number, text in enumerate(scopes)},
    )
    values, entry = Values(slos={key: said}), slo_entries()[key]
    try:
        found = {one.key: queries(slo_body(one, values))[-1] for one in slos_of(entry, values)}
    except DocumentError as error:
        assert "takes all of this" in str(error)  # noqa: PT017
        return
    for tags in series:
        has = tags_of(f"{name}:{value}" for name, value in {"serving_system": "mlserver", **tags}.items())
        taking = [
            name
            for name, text in found.items()
            for metric in metrics_of(parse_metric_expression(text))
            if matches(metric.scope, has)
        ]
        first = next(
            (
                f"{key}.{name}"
                for name, one in said.variants.items()
                for metric in metrics_of(parse_metric_expression(f"avg:x{{{one.scope}}}"))
                if matches(metric.scope, has)
            ),
            None,
        )
        endpoint = [f"{key}.{tags['endpoint_name']}"] if tags["endpoint_name"] in endpoints else []
        assert taking == ([first] if first else [key, *endpoint])


REFUSED = {
    "latency: {variants: {a: {target: 95}}}": "latency.variants.a: needs a `scope`, which says of which series it is",
    "latency: {variants: {A b: {scope: 'x:y'}}}": "latency.variants: `A b` is no name of a variant: write small",
    "latency: {variants: {a: {scope: 'x:y', endpoints: [b]}}}": "latency.variants.a: unknown key `endpoints`",
    "latency: {variants: {a: {scope: '*'}}}": "variants.a.scope: leaves nothing for latency: say this of the SLO",
    "latency: {variants: {part: {scope: 'x:y'}}}": "variants.part: `latency.part` is another SLO: choose another name",
    "latency: {endpoints: [b], variants: {b: {scope: 'x:y'}}}": "variants.b: `latency.b` is another SLO: choose",
    "latency: {variants: {a: {scope: 'x:y'}, b: {scope: 'x:y,z:a'}}}": (
        "variants.b.scope: the variant `a` before it takes all of this with `x:y`: a series is that of the first"
    ),
    "latency: {endpoints: [chat, batch-1], variants: {batch: {scope: 'endpoint_name:batch*'}}}": (
        "latency.endpoints.batch-1: the variant `batch` takes all of this endpoint with `endpoint_name:batch*`: leave"
    ),
    "latency: {variants: {a: {scope: 'gpu_uuid:x'}}}": (
        "variants.a.scope: latency can't be told apart by `gpu_uuid`, which the series of model_serving.request.latency"
    ),
    "availability: {variants: {a: {scope: 'env:a OR !model_name:x'}}}": (
        "variants.a.scope: availability can't be told apart by `model_name`, which the series of "
        "model_serving.mlserver.grpc.request.count, model_serving.mlserver.rest.request.count lack: write a scope by"
    ),
    "availability: {variants: {a: {scope: 'x:y', threshold: 3}}}": (
        "availability.variants.a.threshold: is for an SLO by time slices; this one counts requests"
    ),
    "latency: {variants: {a: {scope: 'x:y', target: 90}}}": (
        "latency.variants.a.target: a target of 90 % can burn at most 10 times as fast as allowed"
    ),
}


@pytest.mark.parametrize(("slos", "said"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_is_refused(tmp_path: Path, slos: str, said: str) -> None:
    """With the file, the key and what to write, also where nothing of the pack is chosen."""
    path = tmp_path / "values.yaml"
    path.write_text(f"packs: [gpu]\nslos: {{{slos}}}", encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        load_values(path)
    assert str(caught.value).startswith(f"{path}: slos.")
    assert said in str(caught.value)


def test_failures_of_one_spend_no_budget_of_others(load: Load) -> None:
    """As the simulated account sees it, which `provision test` and `preview` share."""
    values = load("slos: {availability: {variants: {batch: {scope: 'endpoint_name:batch*', target: 95}}}}")
    resources = desired(["slo"], values)
    start = 1_700_000_400
    seen = Observations(start, start + 7200)
    for at in range(start, start + 7200, 60):
        for endpoint in ("batch-1", "chat"):
            tags = ["serving_system:triton", f"endpoint_name:{endpoint}"]
            seen.point("model_serving.request.count", COUNT, tags, at, 10)
            seen.point("model_serving.request.error.count", COUNT, tags, at, 9 if endpoint == "batch-1" else 0)
    account, simulator = SimulatedAccount(resources, Recorded(seen)), Simulator(resources, seen)
    reached = {key: account.reached(f"${{slo:{key}}}").percent for key in of_slo(resources) if "avail" in key}
    assert reached == pytest.approx({"availability": 100, "availability.batch": 10})
    for key, states in (("fast", {"OK"}), ("fast.batch", {"Alert"})):
        history = simulator.history(f"slo.availability.{key}")
        assert set(history.states_at((), seen.end).values()) == states


def test_documented_example(load: Load) -> None:
    """docs/provisioning.md says what becomes of its example."""
    text = next(one for one in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL) if "nobody's budget" in one)
    resources = desired(None, load(text))
    found = of_slo(resources)
    documented = DOCUMENT.partition(text)[2].partition("\n##")[0]
    for key in ("latency.batch", "latency.ranking"):
        scope = queries(found[key])[0].partition("{")[2].partition("}")[0]
        assert f"`{key}` of `{{{scope}}}`" in documented
    assert "latency.test" not in found
    assert "NOT env:test" in json.dumps(found["latency"])
    checked(resources)
