"""A real MLServer: what its clients sent and measured is what the check submits."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from datadog_checks.base import AgentCheck

from datadog_checks.model_serving import ModelServingCheck

from .available import or_skip
from .servers import start
from .servers.processes import fetch
from .submissions import GENERIC, Run, quantile, quantile_bucket, succeed
from .traffic import WEIRD_MODEL, Reply, Traffic, calls, failed, send

pytestmark = pytest.mark.real

REQUESTS = "model_serving.request.count"
ERRORS = "model_serving.request.error.count"
LATENCY = "model_serving.request.latency"
INFERENCE_LATENCY = "model_serving.request.inference.latency"
QUEUE_DEPTH = "model_serving.request.queue.depth"
IN_FLIGHT = "model_serving.request.in_flight"
REST = "model_serving.mlserver.rest.request.count"
ENDPOINT_READY = "model_serving.endpoint.ready"
MODEL_READY = "model_serving.model.ready"
HEALTH = "model_serving.openmetrics.health"

# As MLServer's REST middleware declares them.
LATENCY_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, math.inf]


@dataclass(frozen=True, repr=False)
class Exchange:
    """The traffic between two runs of a check, and what the runs submitted."""

    server: start.MLServer
    traffic: Traffic
    before: Run
    after: Run


def check_of(server: start.MLServer, **options: Any) -> ModelServingCheck:
    instance = {"openmetrics_endpoint": server.metrics, "readiness_url": server.api, **options}
    return ModelServingCheck("model_serving", {}, [instance])


@pytest.fixture(scope="module", params=[2, 0], ids=["two_workers", "one_process"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[start.MLServer]:
    """A fresh MLServer that has answered nothing but readiness probes."""
    with or_skip(start.mlserver(tmp_path_factory.mktemp("mlserver"), workers=request.param)) as mlserver:
        yield mlserver


@pytest.fixture(scope="module")
def exchanges(server: start.MLServer) -> dict[str, Exchange]:
    """The same traffic between the runs of two checks, one that is told the system and one that recognises it.

    Their own readiness probes would join the requests that are counted here, so they send none.
    """
    checks = {
        "named": check_of(server, serving_system="mlserver", readiness=False),
        "recognised": check_of(server, readiness=False),
    }
    server.settle()
    before = {name: succeed(check) for name, check in checks.items()}
    traffic = send(server.api, calls())
    server.settle()
    return {name: Exchange(server, traffic, before[name], succeed(check)) for name, check in checks.items()}


@pytest.fixture(params=["named", "recognised"])
def exchange(request: pytest.FixtureRequest, exchanges: dict[str, Exchange]) -> Exchange:
    return exchanges[request.param]


def test_the_traffic_is_answered_as_planned(exchange: Exchange) -> None:
    unplanned = [reply for reply in exchange.traffic.replies if reply.status != reply.call.expected]
    assert unplanned == []
    assert {reply.status for reply in exchange.traffic.inference()} == {200, 400, 404, 422, 500}


def test_both_runs_are_without_complaint(exchange: Exchange) -> None:
    for each in (exchange.before, exchange.after):
        assert each.warnings == []
        assert each.status(HEALTH) == [AgentCheck.OK]


def test_what_happened_before_the_first_run_is_not_counted(exchange: Exchange) -> None:
    assert {series: value for series, value in exchange.before.counts.items() if value} == {}
    assert {series: filled for series, filled in exchange.before.buckets.items() if any(filled.values())} == {}


def test_every_inference_request_is_counted(exchange: Exchange) -> None:
    assert exchange.after.count(REQUESTS) == len(exchange.traffic.inference())


def test_every_failed_inference_request_is_an_error(exchange: Exchange) -> None:
    assert exchange.after.count(ERRORS) == len(failed(exchange.traffic.inference()))


@pytest.mark.parametrize("model", [*start.MODELS, "no-such-model", WEIRD_MODEL])
def test_requests_and_errors_of_each_model(exchange: Exchange, model: str) -> None:
    sent = exchange.traffic.inference(model=model, reaches=True)
    assert sent, f"no request was sent to {model}"
    assert exchange.after.count(REQUESTS, f"model_name:{model}") == len(sent)
    assert exchange.after.count(ERRORS, f"model_name:{model}") == len(failed(sent))
    assert exchange.after.count(f"{INFERENCE_LATENCY}.count", f"model_name:{model}") == len(sent)


@pytest.mark.parametrize("version", ["2024-06", "1999-12"])
def test_requests_and_errors_of_each_version_asked_for(exchange: Exchange, version: str) -> None:
    sent = exchange.traffic.inference(version=version, reaches=True)
    assert sent, f"no request was sent to version {version}"
    assert exchange.after.count(REQUESTS, f"model_version:{version}") == len(sent)
    assert exchange.after.count(ERRORS, f"model_version:{version}") == len(failed(sent))


def test_refused_payloads_are_errors_of_no_model(exchange: Exchange) -> None:
    refused = len(exchange.traffic.inference(reaches=False))
    assert refused
    assert exchange.after.count(ERRORS, "status_code:422", "status_class:4xx", "error_type:4xx") == refused
    assert exchange.after.count(REQUESTS, "status_code:422", "status_class:4xx") == refused


def test_other_http_requests_are_counted_apart(exchange: Exchange) -> None:
    # MLServer's middleware leaves out paths that it does not serve.
    known = [each for each in exchange.traffic.replies if not each.call.path.startswith("/no/")]
    sent = Counter((each.call.method, each.status) for each in known)
    counted = {
        (method, status): exchange.after.count(REST, f"method:{method}", f"status_code:{status}")
        for method, status in sent
    }
    assert counted == sent
    assert exchange.after.count(REST) == len(known)
    ready = [each for each in known if each.call.path.endswith("/ready")]
    assert exchange.after.count(REST, "path:/v2/models/{model_name}/ready") == len(ready)


def bucket_index(upper: float) -> int:
    return bisect_left(LATENCY_BOUNDS, upper)


@pytest.mark.parametrize("status", [None, 200])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_latency_quantiles_agree_with_the_client(exchange: Exchange, share: float, status: int | None) -> None:
    sent = [reply for reply in exchange.traffic.inference() if status in (None, reply.status)]
    buckets = exchange.after.histogram(LATENCY, *([f"status_code:{status}"] if status else []))
    submitted = bucket_index(quantile_bucket(buckets, share))
    measured = bisect_left(LATENCY_BOUNDS, quantile([reply.seconds for reply in sent], share))
    assert abs(submitted - measured) <= 1, (LATENCY_BOUNDS[submitted], LATENCY_BOUNDS[measured])


def seconds_asked_for(replies: list[Reply]) -> float:
    return math.fsum(reply.call.delay for reply in replies if reply.status == 200)


def test_latency_adds_up(exchange: Exchange) -> None:
    """The server saw each request for at least as long as the model took and at most as long as the client waited."""
    sent = exchange.traffic.inference()
    assert exchange.after.count(f"{LATENCY}.count") == len(sent)
    assert sum(exchange.after.histogram(LATENCY).values()) == len(sent)
    waited = math.fsum(reply.seconds for reply in sent)
    assert seconds_asked_for(sent) <= exchange.after.count(f"{LATENCY}.sum") <= waited


@pytest.mark.parametrize("model", start.MODELS)
def test_inference_latency_adds_up_for_each_model(exchange: Exchange, model: str) -> None:
    sent = exchange.traffic.inference(model=model, reaches=True)
    waited = math.fsum(reply.seconds for reply in sent)
    assert seconds_asked_for(sent) <= exchange.after.count(f"{INFERENCE_LATENCY}.sum", f"model_name:{model}") <= waited


def test_queue_depth_is_observed_for_each_batched_request(exchange: Exchange) -> None:
    batching = "queue:batching", "model_name:ranking"
    # In a single process MLServer keeps its queues out of what it exposes.
    expected = len(exchange.traffic.inference(model="ranking", reaches=True)) if exchange.server.workers else 0
    assert exchange.after.count(f"{QUEUE_DEPTH}.count", *batching) == expected
    assert sum(exchange.after.histogram(QUEUE_DEPTH, *batching).values()) == expected
    assert exchange.after.count(f"{QUEUE_DEPTH}.count", "queue:batching") == expected


def test_queue_depth_is_observed_for_each_dispatch_to_a_worker(exchange: Exchange) -> None:
    at_least = len([reply for reply in exchange.traffic.inference(model="credit") if reply.status == 200])
    dispatched = exchange.after.count(f"{QUEUE_DEPTH}.count", "queue:workers")
    # Batches and questions for metadata are dispatched too.
    assert at_least <= dispatched <= len(exchange.traffic.replies) if exchange.server.workers else dispatched == 0


def test_nothing_is_in_flight_afterwards(exchange: Exchange) -> None:
    in_flight = {series[1]: value for series, value in exchange.after.gauges.items() if series[0] == IN_FLIGHT}
    assert in_flight
    assert set(in_flight.values()) == {0}


def test_tags(exchange: Exchange) -> None:
    tags = exchange.after.tags()
    assert not {tag for tag in tags if tag.endswith((":None", ":"))}
    assert not GENERIC & exchange.after.keys()
    ours = [series for series in (*exchange.after.counts, *exchange.after.buckets) if ".scrape." not in series[0]]
    assert all("serving_system:mlserver" in tags for _, tags in ours)


def test_creation_times_never_become_numbers(exchange: Exchange) -> None:
    values = [*exchange.after.counts.values(), *exchange.after.gauges.values()]
    assert values
    assert not [value for value in values if value > 1e8]


def test_a_run_without_traffic_counts_nothing(server: start.MLServer) -> None:
    check = check_of(server, serving_system="mlserver", readiness=False)
    server.settle()
    succeed(check)
    idle = succeed(check)
    assert {series: value for series, value in idle.counts.items() if value} == {}


def test_readiness_of_the_server_and_of_named_models(exchange: Exchange) -> None:
    check = check_of(exchange.server, serving_system="mlserver", models=[*start.MODELS, "no-such-model"])
    probed = succeed(check)
    assert probed.status(ENDPOINT_READY) == [AgentCheck.OK]
    statuses = {model: probed.status(MODEL_READY, f"model_name:{model}") for model in (*start.MODELS, "no-such-model")}
    assert statuses == {"credit": [AgentCheck.OK], "ranking": [AgentCheck.OK], "no-such-model": [AgentCheck.CRITICAL]}


def test_models_are_found_without_being_named(exchange: Exchange) -> None:
    """Names that clients made up are in the metrics too; they are no models, so they must not look like broken ones."""
    probed = succeed(check_of(exchange.server, serving_system="mlserver"))
    for model in start.MODELS:
        assert probed.status(MODEL_READY, f"model_name:{model}") == [AgentCheck.OK]
    assert AgentCheck.CRITICAL not in probed.status(MODEL_READY)


def test_an_unloaded_model_is_not_ready(exchange: Exchange) -> None:
    repository = f"{exchange.server.api}/v2/repository/models/ranking"
    check = check_of(exchange.server, serving_system="mlserver", models=list(start.MODELS), readiness_interval=0)
    try:
        assert fetch(f"{repository}/unload", b"")[0] == 200
        probed = succeed(check)
        assert probed.status(MODEL_READY, "model_name:ranking") == [AgentCheck.CRITICAL]
        assert probed.status(MODEL_READY, "model_name:credit") == [AgentCheck.OK]
        assert probed.status(HEALTH) == [AgentCheck.OK]
    finally:
        assert fetch(f"{repository}/load", b"")[0] == 200
    assert succeed(check).status(MODEL_READY, "model_name:ranking") == [AgentCheck.OK]
