"""Readiness as catalog files describe it, at real servers that answer well, badly, or not at all."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from datadog_checks.model_serving.catalog.loader import builtin_catalog
from datadog_checks.model_serving.sources.probes.readiness import PROBES, probe_of

from ..conftest import Endpoint, make_check, submissions
from .readiness import readiness

FILE = """\
system: gateway
readiness:
  server: {path: /health, state: status, states: {UP: ok, LOADING: warning}}
  models: {path: /v1/models, each: "data[]", name: id, gauges: {model.context.length: max_model_len}}
metrics:
  - {raw: gateway_active, type: gauge, to: request.in_flight}
  - {raw: gateway_requests, type: counter, to: request.count}
"""
UP = (200, {"status": "UP"})
WELL = {"/health": UP, "/v1/models": (200, {"data": [{"id": "m", "max_model_len": 4096}]})}


def check_of(endpoint: Endpoint, folder: Path, text: str = FILE, **options: Any) -> Any:
    path = folder / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    endpoint.serve("gateway_active 1\n")
    url = endpoint.url
    return make_check(
        **{
            "openmetrics_endpoint": url,
            "catalog": str(path),
            "tag_by_endpoint": False,
            "readiness": True,
            **options,
        }
    )


def answer(endpoint: Endpoint, answers: dict[str, tuple[int, Any]]) -> None:
    """Texts as they are, anything else as JSON."""
    for path, (status, value) in answers.items():
        text = value if isinstance(value, str) else json.dumps(value)
        endpoint.serve(text, path, status=status, content_type="application/json")


def said(endpoint: Endpoint, aggregator: Any) -> list[str]:
    """Service checks and context lengths, with a host in place of the endpoint's."""
    lines = readiness(aggregator)
    lines += [
        line for line in submissions(aggregator, ("serving_system", "endpoint_name")) if "model.context.length" in line
    ]
    return [line.replace(f"http://127.0.0.1:{endpoint.port}", "HOST") for line in lines]


MODEL = ["model OK model_name:m", "gauge model.context.length 4096 model_name:m"]
LIST = "model UNKNOWN model_name:m: no list of models: HOST/v1/models"
NO_LENGTHS = ("-1", "NaN", "Infinity", "true", '"8"', "null", "1" + "0" * 400)
CASES: dict[str, tuple[dict[str, tuple[int, Any]], dict[str, Any], list[str]]] = {
    "ready": (WELL, {}, ["endpoint OK", *MODEL]),
    "loading": (WELL | {"/health": (503, "")}, {}, ["endpoint CRITICAL: the server is not ready: HTTP 503"]),
    "a word for loading": (
        WELL | {"/health": (200, {"status": "LOADING"})},
        {},
        ["endpoint WARNING: the server is not ready: LOADING", *MODEL],
    ),
    "a word that nobody knows": (
        WELL | {"/health": (200, {"status": "DRAINING"})},
        {},
        ["endpoint CRITICAL: the server is not ready: DRAINING"],
    ),
    "garbage": (
        WELL | {"/health": (200, "{")},
        {},
        ["endpoint UNKNOWN: HOST/health: no JSON with a `status`: check `readiness_url`", *MODEL],
    ),
    "a key that is missing": (
        WELL | {"/health": (200, {"state": "UP"})},
        {},
        ["endpoint UNKNOWN: HOST/health: no JSON with a `status`: check `readiness_url`", *MODEL],
    ),
    "no such path": (
        {},
        {},
        ["endpoint UNKNOWN: HOST/health: there is nothing at this path (HTTP 404): check `readiness_url`"],
    ),
    "refused": (
        WELL | {"/health": (401, "")},
        {},
        [
            "endpoint UNKNOWN: HOST/health: the credentials are refused (HTTP 401): check `headers`, `username` or "
            "`auth_token`",
            *MODEL,
        ],
    ),
    "a list that is refused": (
        {"/health": UP, "/v1/models": (403, "")},
        {"models": ["m"]},
        [
            "endpoint OK",
            f"{LIST}: the credentials lack permission (HTTP 403): grant read access, or use others: check "
            "`readiness_url`, or name them in `models`",
        ],
    ),
    "a list that fails": (
        {"/health": UP, "/v1/models": (500, "")},
        {"models": ["m"]},
        ["endpoint OK", f"{LIST}: HTTP 500: check `readiness_url`, or name them in `models`"],
    ),
    "a list that is garbage": (
        {"/health": UP, "/v1/models": (200, "[")},
        {"models": ["m"]},
        [
            "endpoint OK",
            f"{LIST}: not the JSON that it should be: check `readiness_url`, or name them in `models`",
        ],
    ),
    "a list of another form": (
        {"/health": UP, "/v1/models": (200, {"data": {"id": "m"}})},
        {},
        ["endpoint OK"],
    ),
    "entries of another form": (
        {"/health": UP, "/v1/models": (200, {"data": [1, None, "m", {}, {"id": ""}, {"id": ["m"]}, {"id": "m"}]})},
        {},
        ["endpoint OK", "model OK model_name:m"],
    ),
    "an entry twice": (
        {"/health": UP, "/v1/models": (200, {"data": [{"id": "m"}, {"id": "m"}]})},
        {},
        ["endpoint OK", "model OK model_name:m"],
    ),
    "values that are no lengths": (
        {
            "/health": UP,
            "/v1/models": (
                200,
                '{"data": ['
                + ", ".join(f'{{"id": "m{i}", "max_model_len": {value}}}' for i, value in enumerate(NO_LENGTHS))
                + "]}",
            ),
        },
        {},
        ["endpoint OK", *(f"model OK model_name:m{number}" for number in range(len(NO_LENGTHS)))],
    ),
    "models that were named": (
        {"/health": UP, "/v1/models": (200, {"data": [{"id": "m"}, {"id": "other"}]})},
        {"models": ["gone", "m"]},
        [
            "endpoint OK",
            "model OK model_name:m",
            "model CRITICAL model_name:gone: HOST/v1/models doesn't list this model",
        ],
    ),
    "a name with line breaks": (
        {"/health": UP, "/v1/models": (200, {"data": [{"id": "a\nb"}]})},
        {},
        ["endpoint OK", "model OK model_name:a_b"],
    ),
    "100 models": (
        {"/health": UP, "/v1/models": (200, {"data": [{"id": f"m{number:02}"} for number in range(100)]})},
        {},
        ["endpoint OK", *(f"model OK model_name:m{number:02}" for number in range(100))],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """What is told is reported, what can't be told is unknown and says what to do, and the scrape goes on."""
    answers, options, expected = CASES[name]
    check = check_of(endpoint, tmp_path, **options)
    answer(endpoint, answers)
    assert check.run() == ""
    assert said(endpoint, aggregator) == expected
    assert aggregator.metrics("model_serving.request.in_flight")
    paths = [path for _, path, _ in endpoint.requests]
    assert len(paths) == len(set(paths))


def test_metrics_whatever_the_path(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """An exporter that answers every path with its metrics is not taken for a server that is ready."""
    check = check_of(endpoint, tmp_path)
    endpoint.serve("gateway_active 1\n", "/health")
    endpoint.serve("gateway_active 1\n", "/v1/models")
    assert check.run() == ""
    assert said(endpoint, aggregator) == [
        "endpoint UNKNOWN: HOST/health answers with metrics: set `readiness_url` to where the API is"
    ]


def test_no_connection(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """Where the API can't be reached, the endpoint is not ready, without its secrets, and one thing is told once."""
    check = check_of(endpoint, tmp_path, readiness_url="http://me:hush@127.0.0.1:9/?key=hush")
    assert check.run() == ""
    [line] = said(endpoint, aggregator)
    assert line.startswith("endpoint CRITICAL: http://127.0.0.1:9/: no connection: check that")
    assert "hush" not in line


def test_secrets_of_the_url(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """Advice names the path that was asked, and never what is secret in the URL."""
    check = check_of(endpoint, tmp_path, readiness_url=f"http://me:hush@127.0.0.1:{endpoint.port}", models=["m"])
    answer(endpoint, {"/health": (404, ""), "/v1/models": (500, "")})
    assert check.run() == ""
    lines = said(endpoint, aggregator)
    assert [line.partition(":")[0] for line in lines] == ["endpoint UNKNOWN", "model UNKNOWN model_name"]
    assert not any("hush" in line for line in lines)


def test_a_list_that_fails_is_told_once(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without names in `models` no service check could say it."""
    check = check_of(endpoint, tmp_path)
    answer(endpoint, {"/health": UP, "/v1/models": (401, "")})
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert check.run() == ""
    told = [record.getMessage() for record in caplog.records if "no list of models" in record.getMessage()]
    assert told == [
        f"{endpoint.url}: no list of models: http://127.0.0.1:{endpoint.port}/v1/models: the credentials are refused "
        "(HTTP 401): check `headers`, `username` or `auth_token`"
    ]


def test_deadline(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """An API that hangs is cut off at the deadline of the endpoint, and the metrics are submitted all the same."""

    over = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        over.wait(60)

    check = check_of(endpoint, tmp_path, endpoint_deadline=0.5)
    answer(endpoint, WELL)
    endpoint.answers["/health"] = hang
    assert check.run() == ""
    assert not over.is_set()
    over.set()
    [line] = said(endpoint, aggregator)
    assert line.startswith("endpoint CRITICAL: HOST/health: ")
    assert [path for _, path, _ in endpoint.requests] == ["/metrics", "/health"]
    assert aggregator.metrics("model_serving.request.in_flight")


def test_two_systems_of_one_endpoint(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """Each is told apart by its own name, also where the payload as a whole is of neither."""
    check = check_of(endpoint, tmp_path, serving_system=["gateway", "bentoml"])
    answer(endpoint, WELL | {"/readyz": (503, "")})
    assert check.run() == ""
    found = aggregator.service_checks("model_serving.endpoint.ready")
    told = {tag: one.status for one in found for tag in one.tags if tag.startswith("serving_system:")}
    assert told == {"serving_system:gateway": 0, "serving_system:bentoml": 2}


# -- tags

INFO = """\
system: gateway
readiness:
  server: /info
  tags:
    model_name: {path: /info, key: model.id}
    env: {path: /info, key: model.env}
metrics:
  - {raw: gateway_requests, type: counter, to: request.count}
  - raw: gateway_wait_seconds
    type: histogram
    to: request.queue.time
"""
PAYLOAD = """\
gateway_requests_total {0}
gateway_wait_seconds_bucket{{le="+Inf"}} {0}
gateway_wait_seconds_sum {0}
gateway_wait_seconds_count {0}
"""


def counted(endpoint: Endpoint, check: Any, aggregator: Any, total: int) -> list[str]:
    aggregator.reset()
    endpoint.serve(PAYLOAD.format(total))
    assert check.run() == ""
    lines = submissions(aggregator, ("serving_system", "endpoint_name"))
    return [line for line in lines if line.startswith("count") and "scrape." not in line]


def test_tags(endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """A tag that the API tells comes to what is counted already, and nothing is counted twice. So does another one."""
    check = check_of(endpoint, tmp_path, INFO)
    answer(endpoint, {"/info": (200, {"model": {"id": "a", "env": "x"}})})
    assert counted(endpoint, check, aggregator, 100) == []
    answer(endpoint, {"/info": (200, {"model": {"id": "b"}})})
    assert counted(endpoint, check, aggregator, 103) == [
        "count request.count 3 model_name:a model_serving_env:x",
        "count request.queue.time.count 3 model_name:a model_serving_env:x",
        "count request.queue.time.sum 3 model_name:a model_serving_env:x",
    ]
    # What is not told any more is what it was.
    answer(endpoint, {"/info": (503, "")})
    for total in (104, 105):
        assert counted(endpoint, check, aggregator, total) == [
            "count request.count 1 model_name:b",
            "count request.queue.time.count 1 model_name:b",
            "count request.queue.time.sum 1 model_name:b",
        ]
    assert [line for line in readiness(aggregator) if line.startswith("endpoint")] == [
        "endpoint CRITICAL: the server is not ready: HTTP 503"
    ]


def test_a_tag_of_the_instance_comes_first(
    endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path
) -> None:
    check = check_of(endpoint, tmp_path, INFO, tags=["model_name:mine"])
    answer(endpoint, {"/info": (200, {"model": {"id": "a"}})})
    counted(endpoint, check, aggregator, 100)
    assert counted(endpoint, check, aggregator, 101)[0] == "count request.count 1 model_name:mine"


# -- the systems that ship with the check

DESCRIBED = {name: system for name, system in builtin_catalog().systems.items() if system.readiness is not None}


def test_which_systems_have_readiness() -> None:
    """Every one that serves, apart from what is code, and from exporters."""
    rest = builtin_catalog().systems.keys() - DESCRIBED.keys()
    assert rest >= PROBES.keys()
    assert not {"vllm", "sglang", "tgi", "triton", "torchserve", "litellm", "ray_serve", "kserve", "nim"} & rest
    assert all(probe_of(builtin_catalog().systems[name]) is None for name in rest - PROBES.keys())
    # Nothing is asked of a server that nobody wants to be asked.
    assert [name for name, system in DESCRIBED.items() if system.readiness.by_default] == ["mlserver"]


SHIPPED = yaml.safe_load((Path(__file__).parent / "readiness.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any) -> None:
    """What an API of the system answers, and what comes of it. Only what the table has is asked."""
    case = SHIPPED[name]
    endpoint.serve("something_else 1\n")
    for request, (status, value) in case["answers"].items():
        answer(endpoint, {request.partition(" ")[2]: (status, value)})
    root = f"http://127.0.0.1:{endpoint.port}"
    check = make_check(
        openmetrics_endpoint=endpoint.url,
        serving_system=case["system"],
        readiness=True,
        readiness_url=root,
        tag_by_endpoint=False,
        **case.get("options", {}),
    )
    check.run()
    assert said(endpoint, aggregator) == case["said"]
    asked = [f"{method} {path}" for method, path, _ in endpoint.requests if path != "/metrics"]
    assert sorted(asked) == sorted(case["answers"])


def test_every_shipped_system_has_a_row() -> None:
    assert {case["system"] for case in SHIPPED.values()} >= DESCRIBED.keys() - {"mlserver", "tensorflow_serving"}
