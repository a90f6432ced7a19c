"""The simulated engine of a language model: what becomes of requests, and that its metrics say so."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadog_checks.model_serving.workstation.demo.dialects.vllm import VLLM
from datadog_checks.model_serving.workstation.demo.llm import Generation, LlmEngine
from datadog_checks.model_serving.workstation.demo.scenario import LlmModel
from datadog_checks.model_serving.workstation.demo.servers import serve, vllm_routes

from .conftest import parse, total

# A cache of 1,024 tokens, a step of 10 ms, and a millisecond for each token that is read or written.
SMALL = LlmModel(name="m", blocks=64, longest=1024, batch_tokens=256, sequences=8, step_ms=10, read_ms=1, write_ms=1)
HISTOGRAMS = {
    "vllm:time_to_first_token_seconds": "first_token",
    "vllm:inter_token_latency_seconds": "inter_token",
    "vllm:e2e_request_latency_seconds": "latency",
    "vllm:request_queue_time_seconds": "queue",
}


def engine_of(model: LlmModel = SMALL) -> tuple[LlmEngine, list[Generation]]:
    """An engine, and the list of those that have ended there."""
    ended: list[Generation] = []
    return LlmEngine(model, ended.append), ended


def test_a_request_alone_takes_a_step_for_its_prompt_and_one_for_each_token_after_the_first() -> None:
    engine, ended = engine_of()
    engine.submit(Generation(arrival=1.0, prompt=100, output=11))
    engine.advance(5)
    (one,) = ended
    # The step that reads the prompt writes the first token.
    assert one.time_to_first == pytest.approx(0.110)
    assert one.latency == pytest.approx(0.110 + 10 * 0.011)
    assert (one.reason, one.generated, one.preemptions) == ("stop", 11, 0)
    assert (engine.totals.prompt, engine.totals.generated, engine.cache_used) == (100, 11, 0)
    assert engine.times.inter_token.count == 10
    assert engine.idle


def test_a_full_cache_preempts_the_request_that_came_last_and_reads_it_again() -> None:
    engine, ended = engine_of()
    for number in range(3):
        engine.submit(Generation(arrival=number * 0.001, prompt=300, output=100))
    engine.advance(60)
    first, *later = sorted(ended, key=lambda one: one.arrival)
    assert first.preemptions == 0
    assert engine.totals.preemptions == sum(one.preemptions for one in later) > 0
    # What is read again is neither a prompt more nor a token more.
    assert (engine.totals.prompt, engine.totals.generated) == (900, 300)
    assert Counter(one.reason for one in ended) == {"stop": 3}


def test_long_prompts_fill_the_cache_and_break_the_time_to_the_first_token() -> None:
    engine, _ = engine_of()
    for number in range(60):
        engine.submit(Generation(arrival=number * 0.5, prompt=400 if 20 <= number < 40 else 60, output=20))
    used = []
    for second in range(1, 31):
        engine.advance(second)
        used.append(engine.cache_used)
    early = max(engine.totals.times_to_first[:20])
    assert max(used[:9]) < 0.2 < 0.9 < max(used[10:20])
    assert max(engine.totals.times_to_first[20:40]) > 5 * early
    assert engine.totals.preemptions > 0


def test_a_hung_engine_runs_requests_and_gives_no_token_until_it_goes_on() -> None:
    engine, ended = engine_of()
    engine.submit(Generation(arrival=0, prompt=50, output=1000 - 50))
    engine.advance(1)
    engine.hung = True
    before = engine.totals.generated
    engine.submit(Generation(arrival=2, prompt=50, output=5, patience=1))
    engine.advance(100)
    assert (engine.totals.generated, engine.running, engine.waiting, ended) == (before, 1, 1, [])
    engine.hung = False
    engine.advance(120)
    assert [one.reason for one in ended] == ["abort", "stop"]
    assert engine.totals.generated == 950


def test_a_client_that_goes_away_frees_its_blocks_and_is_no_failure() -> None:
    engine, ended = engine_of()
    engine.submit(Generation(arrival=0, prompt=500, output=400, patience=1))
    engine.submit(Generation(arrival=0, prompt=500, output=2, patience=0.1))
    engine.advance(10)
    assert Counter(one.reason for one in ended) == engine.totals.finished == {"abort": 2}
    assert engine.cache_used == 0
    # The second one had not been taken up: there was no room for it.
    assert (engine.times.latency.count, engine.times.queue.count, engine.times.first_token.count) == (2, 1, 1)


def test_a_request_that_finds_the_queue_full_is_refused_and_can_be_sent_again() -> None:
    attempts: Counter[str] = Counter()

    def ended(generation: Generation) -> None:
        attempts[generation.reason] += 1
        if generation.reason == "refused":
            again = generation.ended / 1e6 + 1
            engine.submit(Generation(arrival=again, prompt=generation.prompt, output=generation.output))

    engine = LlmEngine(SMALL.model_copy(update={"sequences": 1, "queue_limit": 1}), ended)
    for number in range(4):
        engine.submit(Generation(arrival=number * 0.01, prompt=10, output=50))
    engine.advance(60)
    assert attempts["stop"] == 4
    assert attempts["refused"] == engine.totals.refused >= 2
    assert total(parse(VLLM(engine).render()), "vllm:admission_rejections_total") == engine.totals.refused


def test_a_prefix_is_found_once_it_was_read_and_not_while_the_cache_is_cold() -> None:
    engine, _ = engine_of()
    hits = []
    for number, cold in enumerate((False, False, True, False)):
        engine.cold = cold
        engine.submit(Generation(arrival=number, prompt=100, output=2, shared=70))
        engine.advance(number + 1)
        hits.append(engine.totals.prefix_hits)
    # Whole blocks of 16 tokens.
    assert hits == [0, 64, 64, 128]
    assert (engine.totals.prefix_queries, engine.totals.cached) == (400, 128)


@pytest.mark.parametrize(
    ("prompt", "output", "shared", "message"),
    [
        (1000, 25, 0, "of 1025 tokens is too long: the model takes 1024"),
        (0, 1, 0, "needs a prompt"),
        (5, 1, 5, "shared"),
    ],
)
def test_a_request_that_can_never_be_served_is_an_error(prompt: int, output: int, shared: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        engine_of()[0].submit(Generation(arrival=0, prompt=prompt, output=output, shared=shared))


REQUESTS = st.lists(
    st.builds(
        Generation,
        arrival=st.floats(min_value=0, max_value=5),
        prompt=st.integers(min_value=50, max_value=700),
        output=st.integers(min_value=1, max_value=80),
        shared=st.integers(min_value=0, max_value=49),
        ends=st.sampled_from(["stop", "length", "error"]),
        patience=st.none() | st.floats(min_value=0.01, max_value=5),
    ),
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(requests=REQUESTS, steps=st.lists(st.floats(min_value=0.001, max_value=9), min_size=1, max_size=15))
def test_what_happens_does_not_depend_on_the_steps_in_which_time_advances(
    requests: list[Generation], steps: list[float]
) -> None:
    told = []
    for whole in (True, False):
        engine, ended = engine_of(SMALL.model_copy(update={"queue_limit": 6}))
        for one in requests:
            engine.submit(Generation(one.arrival, one.prompt, one.output, one.shared, one.ends, one.patience))
        for before, after in pairwise([0.0, *steps] if not whole else []):
            engine.advance(before + after)
        engine.advance(600)
        counts = {name: buckets.counts for name, buckets in vars(engine.times).items()}
        told.append(([(one.arrival, one.reason, one.ended, one.first, one.generated) for one in ended], counts))
        assert engine.idle
        assert (engine.running, engine.waiting, engine.cache_used) == (0, 0, 0)
        assert len(ended) == len(requests)
        assert all(one.generated == one.output for one in ended if one.reason == one.ends)
    assert told[0] == told[1]


@settings(max_examples=30, deadline=None)
@given(requests=REQUESTS)
def test_the_metrics_say_what_the_engine_knows(requests: list[Generation]) -> None:
    engine, ended = engine_of()
    for one in requests:
        engine.submit(Generation(one.arrival, one.prompt, one.output, one.shared, one.ends, one.patience))
    engine.advance(4)
    families = parse(VLLM(engine).render())
    totals = engine.totals
    assert len(ended) + engine.running + engine.waiting == sum(one.arrival <= 4 for one in requests)
    for sample, value in {
        "vllm:num_requests_running": engine.running,
        "vllm:num_requests_waiting": engine.waiting,
        "vllm:kv_cache_usage_perc": engine.cache_used,
        "vllm:prompt_tokens_total": totals.prompt,
        "vllm:generation_tokens_total": totals.generated,
        "vllm:num_preemptions_total": totals.preemptions,
        "vllm:prefix_cache_queries_total": totals.prefix_queries,
        "vllm:prefix_cache_hits_total": totals.prefix_hits,
        "vllm:request_success_total": len(ended),
        "vllm:time_to_first_token_seconds_count": len(totals.times_to_first),
        "vllm:inter_token_latency_seconds_count": totals.generated - len(totals.times_to_first),
        "vllm:e2e_request_latency_seconds_count": len(ended),
    }.items():
        assert total(families, sample) == value, sample
    for reason, number in Counter(one.reason for one in ended).items():
        assert total(families, "vllm:request_success_total", finished_reason=reason) == number
    for family, name in HISTOGRAMS.items():
        buckets = getattr(engine.times, name)
        found = [sample.value for sample in families[family].samples if sample.name.endswith("_bucket")]
        assert found == [count for _, count in buckets.cumulative()]


def test_a_server_tells_its_metrics_its_model_and_whether_it_is_ready() -> None:
    dialect = VLLM(LlmEngine(SMALL))
    with serve(vllm_routes(dialect, threading.Lock())) as url:

        def get(path: str) -> tuple[int, str]:
            try:
                with urllib.request.urlopen(url + path) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, ""

        assert get("/metrics") == (200, dialect.render())
        assert get("/health") == (200, "")
        assert '"id": "m"' in get("/v1/models")[1]
        assert "version" in get("/version")[1]
        assert get("/v2")[0] == 404
        dialect.ready = False
        assert get("/health")[0] == 503
