"""The simulated gateway: a client's request is one request, whatever it takes to answer it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.workstation.demo.dialects.litellm import LiteLLM
from datadog_checks.model_serving.workstation.demo.llm_gateway import ChatRequest, LlmGateway
from datadog_checks.model_serving.workstation.demo.scenario import LlmFallback, LlmModel, LlmRoute

from .conftest import parse, total

MODEL = LlmModel(name="m", blocks=64, longest=1024, sequences=4, step_ms=10, read_ms=1, write_ms=1, queue_limit=2)
HOSTED = LlmFallback(
    name="hosted", provider="openai", first_ms=300, token_ms=10, tokens_per_minute=2000, prompt_price=1, output_price=2
)
ROUTE = LlmRoute(endpoint="gateway", timeout=5, retries=1, backoff=1, fallback=HOSTED)
PAYLOADS = Path(__file__).resolve().parents[2] / "fixtures" / "payloads"
TOTAL = "litellm_proxy_total_requests_metric_total"
FAILED = "litellm_proxy_failed_requests_metric_total"
TRIED = "litellm_deployment_total_requests_total"


def crowd(number: int, *, prompt: int = 200, output: int = 50) -> list[ChatRequest]:
    """Requests at nearly the same time."""
    return [ChatRequest(arrival=place * 0.01, prompt=prompt, output=output) for place in range(number)]


def gateway_of(requests: list[ChatRequest], route: LlmRoute = ROUTE) -> LlmGateway:
    gateway = LlmGateway(MODEL, route)
    for request in requests:
        gateway.submit(request)
    return gateway


def test_a_request_that_the_engine_answers_is_one_attempt() -> None:
    gateway = gateway_of(crowd(1))
    gateway.advance(10)
    families = parse(LiteLLM(gateway).render())
    assert total(families, TOTAL, status_code="200", api_provider="hosted_vllm", requested_model="m") == 1
    assert total(families, TRIED) == 1
    assert total(families, "litellm_output_tokens_metric_total") == 50
    assert total(families, "litellm_request_total_latency_metric_sum") == pytest.approx(0.2 + 0.01 + 49 * 0.011)
    assert total(families, "litellm_llm_api_time_to_first_token_metric_sum") == pytest.approx(0.21)
    assert gateway.idle


def test_what_is_refused_is_tried_again_and_then_goes_to_the_provider() -> None:
    gateway = gateway_of(crowd(12))
    gateway.advance(60)
    families = parse(LiteLLM(gateway).render())
    assert total(families, TOTAL, status_code="200") == gateway.ledger.requests == 12
    assert total(families, FAILED) == 0
    fell_back = total(families, "litellm_deployment_successful_fallbacks_total", exception_status="503")
    assert fell_back == total(families, TOTAL, api_provider="openai") > 0
    # Each of them was refused twice before.
    refused = total(families, "litellm_deployment_failure_responses_total", exception_status="503")
    assert refused == gateway.engine.totals.refused >= 2 * fell_back
    assert total(families, TRIED) == 12 + refused
    assert total(families, "litellm_spend_metric_total") == pytest.approx(fell_back * (200 + 2 * 50) / 1e6)


def test_a_hung_engine_costs_a_request_its_timeout_and_is_asked_no_second_time() -> None:
    gateway = gateway_of(crowd(2))
    gateway.engine.hung = True
    gateway.advance(4)
    assert gateway.in_flight == 2
    gateway.advance(8)
    families = parse(LiteLLM(gateway).render())
    assert total(families, "litellm_deployment_successful_fallbacks_total", exception_status="408") == 2
    assert total(families, TRIED, api_provider="hosted_vllm") == 2
    assert total(families, "litellm_deployment_state", api_provider="hosted_vllm") == 1
    assert min(gateway.ledger.latencies) > 5
    assert not gateway.idle
    gateway.engine.hung = False
    gateway.advance(20)
    # What the engine does in the end nobody waits for.
    assert gateway.idle
    assert gateway.ledger.requests == 2


def test_the_providers_limit_fails_what_is_beyond_it_and_lasts_a_minute() -> None:
    gateway = gateway_of(crowd(10, prompt=500))
    gateway.engine.hung = True
    gateway.advance(30)
    families = parse(LiteLLM(gateway).render())
    # 550 tokens each, of 2,000 in a minute.
    assert total(families, TOTAL, status_code="200") == 3
    assert total(families, FAILED, exception_status="429") == 7 == gateway.ledger.failed
    assert total(families, "litellm_deployment_failed_fallbacks_total") == 7
    assert total(families, "litellm_remaining_tokens_metric") == 350
    gateway.advance(61)
    assert total(parse(LiteLLM(gateway).render()), "litellm_remaining_tokens_metric") == 2000


def test_without_a_fallback_the_client_sees_what_went_wrong() -> None:
    requests = [*crowd(8), ChatRequest(arrival=30, prompt=10, output=5, ends="error")]
    gateway = gateway_of(requests, ROUTE.model_copy(update={"fallback": None}))
    gateway.advance(60)
    families = parse(LiteLLM(gateway).render())
    assert gateway.ledger.errors == {"503": total(families, FAILED, exception_status="503"), "500": 1}
    assert gateway.ledger.errors["503"] > 0
    assert total(families, TRIED) == _attempts(gateway).total() > total(families, TOTAL)
    assert "litellm_deployment_successful_fallbacks" not in families


def test_names_types_and_labels_are_those_of_a_recorded_payload() -> None:
    gateway = gateway_of(crowd(20, prompt=400))
    gateway.advance(60)
    real = parse((PAYLOADS / "litellm" / "1.106.txt").read_text(encoding="utf-8"))
    found = parse(LiteLLM(gateway).render())
    # Of those it had none.
    successful = found.pop("litellm_deployment_successful_fallbacks")
    assert successful.samples
    for name, family in found.items():
        assert family.type == real[name].type, name
        labels = [{frozenset(one.labels) for one in each.samples} for each in (family, real[name])]
        assert labels[0] == labels[1], name


@settings(max_examples=40, deadline=None)
@given(
    requests=st.lists(
        st.builds(
            ChatRequest,
            arrival=st.floats(min_value=0, max_value=8),
            prompt=st.integers(min_value=10, max_value=600),
            output=st.integers(min_value=1, max_value=200),
            ends=st.sampled_from(["stop", "stop", "length", "error"]),
        ),
        max_size=25,
    ),
    steps=st.lists(st.floats(min_value=0.01, max_value=7), min_size=1, max_size=12),
    retries=st.integers(min_value=0, max_value=2),
    timeout=st.floats(min_value=0.5, max_value=6),
)
def test_every_request_is_answered_once_whatever_the_steps_in_which_time_advances(
    requests: list[ChatRequest], steps: list[float], retries: int, timeout: float
) -> None:
    route = ROUTE.model_copy(update={"retries": retries, "timeout": timeout})
    told = []
    for path in ([], [0.0, *steps]):
        gateway = gateway_of([ChatRequest(one.arrival, one.prompt, one.output, 0, one.ends) for one in requests], route)
        for before, after in pairwise(path):
            gateway.advance(before + after)
        gateway.advance(600)
        assert gateway.idle
        assert gateway.in_flight == 0
        families = parse(LiteLLM(gateway).render())
        assert total(families, TOTAL) == gateway.ledger.requests == len(requests)
        assert total(families, FAILED) == gateway.ledger.failed
        answered = total(families, "litellm_deployment_success_responses_total")
        failures = total(families, "litellm_deployment_failure_responses_total")
        assert answered == len(requests) - gateway.ledger.failed
        assert total(families, TRIED) == answered + failures
        assert total(families, TRIED, api_provider="hosted_vllm") == _attempts(gateway).total()
        told.append((sorted(gateway.ledger.latencies), gateway.ledger.errors, gateway.fallbacks, _attempts(gateway)))
    assert told[0] == told[1]


def _attempts(gateway: LlmGateway) -> Counter[str]:
    """What the engine made of the attempts, by why they ended."""
    return gateway.engine.totals.finished + Counter(refused=gateway.engine.totals.refused)
