"""What `serving_system: auto` makes of payloads: nothing of other programs, and of each system what it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.catalog.loader import builtin_catalog

from ..conftest import Endpoint, make_check, submissions
from ..scrape.tables import PAYLOADS, TABLES

FOREIGN = sorted((PAYLOADS / "foreign").glob("*.prom"))
SYSTEMS = {
    "mlserver": [PAYLOADS / "real" / "mlserver.txt"],
    "dcgm": sorted((PAYLOADS / "dcgm").glob("*.txt")),
    "amd_gpu": [PAYLOADS / "amd_gpu" / "prefixed.txt"],
    "intel_xpu": sorted((PAYLOADS / "intel_xpu").glob("*.txt")),
    "aws_neuron": sorted((PAYLOADS / "aws_neuron").glob("*.txt")),
    "vllm": sorted((PAYLOADS / "vllm").glob("*.txt")),
    "sglang": sorted((PAYLOADS / "sglang").glob("*.txt")),
    "tensorflow_serving": sorted((PAYLOADS / "tensorflow_serving").glob("*.txt")),
    "bentoml": sorted((PAYLOADS / "bentoml").glob("*.txt")),
    "litellm": sorted((PAYLOADS / "litellm").glob("*[0-9].txt")),
    "ray_serve": sorted((PAYLOADS / "ray_serve").glob("*.txt")),
    "dynamo": sorted((PAYLOADS / "dynamo").glob("*.txt")),
    "smg": sorted((PAYLOADS / "smg").glob("*.txt")),
    "torchserve": [PAYLOADS / "real" / "torchserve.txt"],
    "vllm_router": sorted((PAYLOADS / "vllm_router").glob("*.txt")),
    "triton": [PAYLOADS / "real" / "triton.txt", *sorted((PAYLOADS / "triton").glob("*.txt"))],
    **{system: [PAYLOADS / system / "documented.txt"] for system in ("llamacpp", "ovms", "tei", "tensorrt_llm")},
    "seldon": [PAYLOADS / "seldon" / "documented.txt", PAYLOADS / "seldon" / "1.18.txt"],
}
DATABRICKS = """\
# TYPE request_count_total gauge
request_count_total{endpoint_name="e",served_entity_name="a"} 7 1788718020000
# TYPE request_latency_ms histogram
request_latency_ms_bucket{endpoint_name="e",served_entity_name="a",le="+Inf"} 7 1788718020000
request_latency_ms_sum{endpoint_name="e",served_entity_name="a"} 70 1788718020000
request_latency_ms_count{endpoint_name="e",served_entity_name="a"} 7 1788718020000
"""


def as_served(text: str) -> str:
    return text


def federated(text: str) -> str:
    """The payload as a Prometheus that has scraped it passes it on: each name a family of its own, without a type."""
    families: dict[str, list[str]] = {}
    for line in text.splitlines():
        sample = re.match(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)", line)
        if sample is not None:
            name, labels, value = sample.groups()
            # As Prometheus does with labels that clash with those of the target.
            labels = re.sub(r"\b(job|instance)=", r"exported_\1=", labels or "")
            labels = f"{labels.rstrip(',')}," if labels else ""
            line = f'{name}{{{labels}instance="a:1",job="j"}} {value} 1795219268150'
            families.setdefault(name, []).append(line)
    return "".join(f"# TYPE {name} untyped\n" + "\n".join(lines) + "\n" for name, lines in sorted(families.items()))


SHAPES = pytest.mark.parametrize("shape", [as_served, federated])


def scraped(endpoint: Endpoint, aggregator: Any, text: str, path: str = "/metrics") -> Any:
    """A check with the default of `serving_system`, after two scrapes of a payload."""
    check = make_check(
        openmetrics_endpoint=endpoint.url.removesuffix("/metrics") + path, tag_by_endpoint=False, readiness=False
    )
    endpoint.serve(text, path)
    for _ in range(2):
        aggregator.reset()
        check.warnings.clear()
        assert check.run() == ""
    return check


def active(check: Any) -> list[str]:
    [scraper] = check.scrapers.values()
    return list(scraper.recogniser.active)


@SHAPES
@pytest.mark.parametrize("path", FOREIGN, ids=[path.stem for path in FOREIGN])
def test_foreign(
    path: Any, shape: Callable[[str], str], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """Another program is taken for no system, and nobody is advised to take it for one."""
    check = scraped(endpoint, aggregator, shape(path.read_text(encoding="utf-8")))
    assert active(check) == []
    assert submissions(aggregator) == []
    assert [warning for warning in check.warnings if "may be of" in warning] == []


@SHAPES
@pytest.mark.parametrize(
    ("system", "path"),
    [pytest.param(name, path, id=f"{name}: {path.stem}") for name, paths in SYSTEMS.items() for path in paths],
)
def test_own(
    system: str, path: Any, shape: Callable[[str], str], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """What a system exposes is recognised as that system's, directly and behind a federation."""
    check = scraped(endpoint, aggregator, shape(path.read_text(encoding="utf-8")))
    assert active(check) == [system]
    assert submissions(aggregator) != []


@SHAPES
@pytest.mark.parametrize("path", sorted((PAYLOADS / "kserve").glob("*[0-9].txt")), ids=["kserve"])
def test_kserve(
    path: Any, shape: Callable[[str], str], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """Names of steps that any server may time are not mapped. Several together bring the advice to set the option."""
    check = scraped(endpoint, aggregator, shape(path.read_text(encoding="utf-8")))
    assert active(check) == []
    assert any("set `serving_system: kserve`" in warning for warning in check.warnings)


@SHAPES
def test_gen_ai(shape: Callable[[str], str], endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Names of OpenTelemetry are not mapped. Those of a server and of a client together bring the advice."""
    table = yaml.safe_load((TABLES / "envoy_ai_gateway.yaml").read_text(encoding="utf-8"))
    text = table["cases"][0]["scrapes"][-1]["payload"]
    check = scraped(endpoint, aggregator, shape(text))
    assert active(check) == []
    assert submissions(aggregator) == []
    assert any("set `serving_system: envoy_ai_gateway`" in warning for warning in check.warnings)
    check = scraped(endpoint, aggregator, shape("".join(re.findall(r"(?m)^.*gen_ai_server_.*\n", text))))
    assert active(check) == []
    assert [warning for warning in check.warnings if "may be of" in warning] == []


@SHAPES
def test_amd(shape: Callable[[str], str], endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Any program may call its metrics `gpu_*`. Several of AMD's bring the advice to set the option."""
    text = (PAYLOADS / "amd_gpu" / "default_labels.txt").read_text(encoding="utf-8")
    check = scraped(endpoint, aggregator, shape(text))
    assert active(check) == []
    assert any("set `serving_system: amd_gpu`" in warning for warning in check.warnings)


@SHAPES
def test_custom(shape: Callable[[str], str], endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Names that any program may have are not mapped. Several together bring the advice to set the option."""
    text = (PAYLOADS / "real" / "exporter.txt").read_text(encoding="utf-8")
    check = scraped(endpoint, aggregator, shape(text))
    assert active(check) == []
    assert any("set `serving_system: custom_ml`" in warning for warning in check.warnings)


def test_databricks_by_its_url(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Window types are believed at the URL of a serving endpoint, whatever names are there."""
    path = "/api/2.0/serving-endpoints/e/metrics"
    assert active(scraped(endpoint, aggregator, DATABRICKS, path)) == ["databricks"]


def test_databricks_by_its_url_among_others(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """So it is with each of several endpoints."""
    paths = ("/api/2.0/serving-endpoints/e/metrics", "/metrics")
    urls = [f"http://127.0.0.1:{endpoint.port}{path}" for path in paths]
    check = make_check(openmetrics_endpoints=urls, readiness=False)
    for path in paths:
        endpoint.serve(DATABRICKS, path)
    assert check.run() == ""
    assert {url: list(check.scrapers[url].recogniser.active) for url in urls} == {urls[0]: ["databricks"], urls[1]: []}
    check.cancel()


@SHAPES
def test_databricks_by_its_names(
    shape: Callable[[str], str], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """Elsewhere only with a name that nobody else has beside others."""
    check = scraped(endpoint, aggregator, shape(DATABRICKS))
    assert active(check) == []
    assert any("set `serving_system: databricks`" in warning for warning in check.warnings)
    more = DATABRICKS + "# TYPE provisioned_concurrent_requests_total gauge\nprovisioned_concurrent_requests_total 4\n"
    assert active(scraped(endpoint, aggregator, shape(more))) == ["databricks"]


# Each is recognised or not: (payload, whether it is MLServer)
PREFIXED = {
    "one name": ("# TYPE a_parallel_request_queue histogram\na_parallel_request_queue_count 1\n", False),
    "one name, in pieces": ("a_parallel_request_queue_count 1\na_parallel_request_queue_sum 1\n", False),
    "two names": ("a_parallel_request_queue_count 1\na_model_infer_request_success_total 1\n", True),
    "two names, two prefixes": ("a_parallel_request_queue_count 1\nb_model_infer_request_success_total 1\n", False),
    "a prefix that names the system": ("run:mlserver:model_infer_request_success_total 1\n", True),
    "a gauge": ("# TYPE a_mlserver_batch_request_queue gauge\na_mlserver_batch_request_queue 1\n", False),
    "two gauges": (
        "# TYPE a_batch_request_queue gauge\na_batch_request_queue 1\n"
        "# TYPE a_parallel_request_queue gauge\na_parallel_request_queue 1\n",
        False,
    ),
    "a gauge without a prefix": ("# TYPE batch_request_queue gauge\nbatch_request_queue 1\n", False),
    "two counters that are none": (
        "# TYPE a_model_infer_request_success gauge\na_model_infer_request_success 1\n"
        "# TYPE a_rest_server_requests_in_progress counter\na_rest_server_requests_in_progress_total 1\n",
        False,
    ),
}


@pytest.mark.parametrize("name", PREFIXED)
def test_prefix(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """Behind a prefix names prove their system in company, and never with another type."""
    payload, mlserver = PREFIXED[name]
    assert active(scraped(endpoint, aggregator, payload)) == (["mlserver"] if mlserver else [])


@pytest.mark.parametrize("system", builtin_catalog().systems)
def test_no_name_is_evidence_with_another_type(
    system: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """All names of a system together, each declared as what it is not, are somebody else's."""
    lines = []
    for raw in builtin_catalog().systems[system].metrics:
        kind = "gauge" if raw.grouped or raw.type == "counter" else "counter"
        # Exporters declare it as either.
        kind = "summary" if raw.type == "recent_count" else kind
        lines += [f"# TYPE {name} {kind}\n{name} 1\n" for name in raw.names]
    check = scraped(endpoint, aggregator, "".join(lines))
    assert active(check) == []
    assert [warning for warning in check.warnings if "may be of" in warning] == []


def test_nothing_is_new_that_was_there_unread(endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """A counter that was met before its system was recognised doesn't count its whole life once it is."""
    check = make_check(openmetrics_endpoint=endpoint.url, tag_by_endpoint=False, readiness=False)
    first = 'a_model_infer_request_success_total{model="m"} 1000\n'
    endpoint.serve(first)
    assert check.run() == ""
    endpoint.serve(first + "a_parallel_request_queue_count 7\n")
    aggregator.reset()
    assert check.run() == ""
    assert [line for line in submissions(aggregator) if "request.count" in line] == []
    endpoint.serve(first.replace("1000", "1003") + "a_parallel_request_queue_count 7\n")
    aggregator.reset()
    assert check.run() == ""
    hidden = ("endpoint_name", "serving_system")
    assert [line for line in submissions(aggregator, hidden) if "request.count" in line] == [
        "count request.count 3 model_name:m"
    ]
