"""What scenarios send to a language model is what its server and the gateway before it tell."""

from __future__ import annotations

import pytest

from datadog_checks.model_serving.workstation.demo.llm import Generation
from datadog_checks.model_serving.workstation.scenarios.llm import (
    LlmChapter,
    LlmProxy,
    LlmServer,
    Provider,
    ProviderPage,
    ScriptedLlm,
)
from tests.workstation.demo.conftest import parse, total

FIRST = "litellm_llm_api_time_to_first_token_metric_count"


def run(traffic: ScriptedLlm, minutes: int, step: int = 30) -> None:
    for now in range(step, minutes * 60 + 1, step):
        traffic.advance(now)


@pytest.mark.parametrize("step", [15, 30, 60])
def test_an_engine_counts_those_who_gave_up(step: int) -> None:
    server = LlmServer()
    chapters = [LlmChapter(30), LlmChapter(30, start=2, until=4, patience=2, impatient=0.5), LlmChapter(0, start=4)]
    run(ScriptedLlm(chapters, server, 0), 5, step)
    # Half of sixty gave up.
    assert server.dialect.engine.totals.finished == {"stop": 90, "abort": 30}


def test_a_gateway_counts_what_the_engine_answered() -> None:
    proxy = LlmProxy()
    run(ScriptedLlm([LlmChapter(30), LlmChapter(0, start=2)], proxy, 0), 4)
    page = parse(proxy.page.render())
    assert proxy.dialect.engine.totals.finished == {"stop": 60}
    assert total(page, "litellm_proxy_total_requests_metric_total") == total(page, FIRST) == 60
    assert total(page, "litellm_output_tokens_metric_total") == 60 * 200


def test_a_hung_engine_is_restarted_and_counts_from_nothing() -> None:
    server = LlmServer()
    traffic = ScriptedLlm([LlmChapter(30), LlmChapter(30, start=2, until=4, hung=True)], server, 0)
    run(traffic, 4)
    hung = server.dialect.engine
    assert hung.running + hung.waiting >= 60
    run(ScriptedLlm([LlmChapter(30)], server, 0), 1)
    assert server.dialect.engine is not hung
    assert server.dialect.engine.waiting == 0


def test_a_provider_refuses_what_is_beyond_its_limit_in_any_minute() -> None:
    gateway = ProviderPage()
    provider = Provider(gateway, 40)
    run(ScriptedLlm([LlmChapter(30), LlmChapter(60, start=2)], provider, 0), 2)
    assert gateway.left == (10, 80_000 - 30 * 1200)
    run(ScriptedLlm([LlmChapter(0)], provider, 0), 1)
    traffic = ScriptedLlm([LlmChapter(60)], Provider(gateway, 40), 0)
    run(traffic, 3)
    page = parse(gateway.render())
    assert total(page, "litellm_deployment_successful_fallbacks_total") == 3 * 20
    assert total(page, "litellm_proxy_total_requests_metric_total") == 60 + 3 * 60
    assert gateway.left == (0, 80_000 - 40 * 1200)


def test_requests_of_one_shape_arrive_at_even_distances() -> None:
    class Book:
        def __init__(self) -> None:
            self.seen: list[Generation] = []

        def submit(self, generation: Generation) -> None:
            self.seen.append(generation)

        def advance(self, now: float, chapter: LlmChapter) -> None:
            pass

    book = Book()
    run(ScriptedLlm([LlmChapter(7, prompt=9, shared=0, output=3)], book, 0), 4)
    assert len(book.seen) == 28
    assert {(one.prompt, one.output, one.patience) for one in book.seen} == {(9, 3, None)}
    assert [one.arrival for one in book.seen] == sorted(one.arrival for one in book.seen)
