"""A request that a gateway passes on to an engine is one in the totals of every dashboard, where both are scraped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.workstation.provision.query import parse_metric_expression
from datadog_checks.model_serving.workstation.provision.query.rules import metrics_of
from datadog_checks.model_serving.workstation.provision.query.tree import Metric
from datadog_checks.model_serving.workstation.provision.simulate.matching import matches

from ...conftest import Endpoint, make_check
from ...scrape.tables import PAYLOADS

DASHBOARDS = Path(__file__).parents[3] / "assets" / "dashboards"
VARIABLE = re.compile(r"(?:,| AND )?\$\w+")
GATEWAY = ("hop", "gateway")

# Per gateway: an answer before any request, one after, and how many requests clients had then sent. Those that the
# gateway itself refuses without counting them are left out.
TRAFFIC = {
    "smg": (None, "smg/0.3.2.txt", 16),
    "vllm_router": ("vllm_router/0.1.17_cold.txt", "vllm_router/0.1.17.txt", 15),
    "dynamo": (None, "dynamo/1.6.1_frontend.txt", 15),
    "litellm": ("litellm/1.106_cold.txt", "litellm/1.106.txt", 173),
}


def tells_of_gateways(metric: str) -> bool:
    """Whether gateways submit it, and servers too."""
    hops = {
        GATEWAY in target.tags
        for system in builtin_catalog().systems.values()
        for raw in system.metrics
        for target in raw.targets
        if metric.removeprefix("model_serving.") in (target.metric.name, f"{target.metric.name}.count")
        or metric.removeprefix("model_serving.") == f"{target.metric.name}.sum"
    }
    return hops == {True, False}


def totals() -> Iterator[Any]:
    """The queries of dashboards that put several endpoints together, of what gateways and servers both count."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for query in re.findall(
            r'"(?:q|query)": ("[^"]*model_serving\.(?:request|token)[^"]*")', path.read_text(encoding="utf-8")
        ):
            text = VARIABLE.sub("", json.loads(query)).replace("{,", "{").replace("{}", "{*}")
            for metric in metrics_of(parse_metric_expression(text)):
                grouped = {each.tag for each in metric.by}
                if tells_of_gateways(metric.name) and "endpoint_name" not in grouped:
                    yield pytest.param(metric, id=f"{path.stem}: {text}")


@pytest.mark.parametrize("metric", totals())
def test_total(metric: Metric) -> None:
    """Every total is of gateways alone, or leaves them out."""
    assert metric.scope is not None
    hops = {
        name: {"hop:gateway"} if any(GATEWAY in each.tags for raw in system.metrics for each in raw.targets) else set()
        for name, system in builtin_catalog().systems.items()
    }
    taken = {
        bool(hop)
        for system, hop in hops.items()
        if matches(metric.scope, ("model_version:1", f"serving_system:{system}", *hop))
    }
    assert len(taken) == 1


@pytest.mark.parametrize("gateway", TRAFFIC)
def test_requests(gateway: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A gateway and an engine, both with what clients sent: once in the overview's totals, and once at the gateway."""
    cold, warm, sent = TRAFFIC[gateway]
    counter = 'vllm:request_success_total{{model_name="m",engine="0",finished_reason="stop"}} {}\n'
    before, after = ((PAYLOADS / file).read_text(encoding="utf-8") if file else "up 1\n" for file in (cold, warm))
    found = []
    for system, payloads in ((gateway, (before, after)), ("vllm", (counter.format(0), counter.format(sent)))):
        check = make_check(
            openmetrics_endpoint=endpoint.url, endpoint_name=system, serving_system=system, readiness=False
        )
        for payload in payloads:
            endpoint.serve(payload)
            aggregator.reset()
            assert check.run() == ""
        found += [(sample.value, tuple(sample.tags)) for sample in aggregator.metrics("model_serving.request.count")]
    requests = [case.values[0] for case in totals()]
    requests = [metric for metric in requests if metric.name == "model_serving.request.count" and not metric.by]
    assert requests
    for metric in requests:
        assert sum(value for value, tags in found if matches(metric.scope, tags)) == sent
    assert sum(value for value, tags in found if "hop:gateway" in tags) == sent
