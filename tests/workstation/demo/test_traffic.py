"""The simulator: what it prints is what it did, whatever the seed and the steps in which time passes."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from pydantic import ValidationError

from datadog_checks.model_serving.workstation.demo.scenario import Model, Scenario, Timeline
from datadog_checks.model_serving.workstation.demo.traffic import InferenceRequest, Traffic
from datadog_checks.model_serving.workstation.demo.world import World

from .conftest import parse, render, total

SEEDS = [0, 1, 7, 20240229]


def steps_of(seed: int) -> list[float]:
    """Uneven steps, drawn from the seed: parts of a second up to more than a minute."""
    drawn = random.Random(seed)
    return [drawn.choice([0.3, 1, 7, 29.5, 30, 60, 95]) for _ in range(8)]


def rest(world: World) -> None:
    """Let every request be answered and the last minute be published."""
    world.close()
    while not world.quiet:
        world.advance(60 - world.now % 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_simulated_request_and_error_is_printed_once(scenario: Scenario, seed: int) -> None:
    world = World(scenario, length=sum(steps_of(seed)), seed=seed)
    minutes: dict[tuple[str, str], dict[str, float]] = {}

    def look() -> None:
        for one in world.endpoints:
            if one.service.system == "databricks":
                for family in parse(render(one.dialect)).values():
                    for found in family.samples:
                        if "le" not in found.labels:
                            key = (one.service.endpoint, found.name)
                            minutes.setdefault(key, {})[str(found.timestamp)] = found.value

    for step in steps_of(seed):
        # No minute may pass unseen: what Databricks prints about it is gone after the next one.
        while step > 0:
            part = min(step, 60 - world.now % 60)
            world.advance(part)
            look()
            step -= part
    world.close()
    while not world.quiet:
        world.advance(60 - world.now % 60)
        look()
    for one in world.endpoints:
        name, ledger = one.service.endpoint, one.ledger
        assert ledger.requests > 0
        families = parse(render(one.dialect))
        printed: tuple[float, float, float]
        match one.service.system:
            case "databricks":
                errors = ("request_4xx_count_total", "request_5xx_count_total")
                printed = (
                    sum(minutes[name, "request_count_total"].values()),
                    sum(sum(minutes[name, error].values()) for error in errors),
                    sum(minutes[name, "request_latency_ms_sum"].values()) / 1000,
                )
            case "mlserver":
                invalid = total(families, "rest_server_requests_total", status_code="422")
                failed = total(families, "model_infer_request_failure_total")
                printed = (
                    total(families, "model_infer_request_success_total") + failed + invalid,
                    failed + invalid,
                    total(families, "rest_server_request_duration_seconds_sum")
                    + total(families, "grpc_server_handling_seconds_sum"),
                )
            case "tensorflow_serving":
                requests = total(families, ":tensorflow:serving:request_count_total")
                printed = (
                    requests,
                    requests - total(families, ":tensorflow:serving:request_count_total", status="OK"),
                    total(families, ":tensorflow:serving:request_latency_sum") / 1e6,
                )
            case _:
                printed = (
                    total(families, "inference_requests_total"),
                    total(families, "inference_requests_total", status="error"),
                    total(families, "prediction_latency_seconds_sum"),
                )
        # TensorFlow Serving prints six significant digits.
        assert printed[:2] == (ledger.requests, ledger.failed)
        assert printed[2] == pytest.approx(sum(ledger.latencies), rel=1e-5)
    assert world.llm is not None
    gateway, engine = world.llm.gateway.ledger, world.llm.engine.ledger
    families = parse(world.llm.litellm.render())
    assert total(families, "litellm_proxy_total_requests_metric_total") == gateway.requests > 0
    assert total(families, "litellm_proxy_failed_requests_metric_total") == gateway.failed
    assert total(families, "litellm_request_total_latency_metric_sum") == pytest.approx(sum(gateway.latencies))
    families = parse(world.llm.vllm.render())
    refused = total(families, "vllm:admission_rejections_total")
    assert total(families, "vllm:request_success_total") + refused == engine.requests
    assert total(families, "vllm:request_success_total", finished_reason="error") + refused == engine.failed
    assert total(families, "vllm:e2e_request_latency_seconds_sum") == pytest.approx(sum(engine.latencies))
    families = parse(world.dcgm.render())
    for device in world.node.devices:
        if not device.lost:
            energy = total(families, "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION_total", gpu=device.gpu.index)
            assert energy == device.energy > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_steps_in_which_time_passes_change_nothing(scenario: Scenario, seed: int) -> None:
    uneven, whole = (World(scenario, length=300, seed=seed) for _ in range(2))
    for step in steps_of(seed):
        uneven.advance(step)
    whole.advance(uneven.now)
    for world in (uneven, whole):
        rest(world)
    for (*_, one), (*_, other) in zip(uneven.ledgers(), whole.ledgers(), strict=True):
        assert (one.requests, one.errors) == (other.requests, other.errors)
        assert sorted(one.latencies) == sorted(other.latencies)


def test_another_seed_is_another_day(scenario: Scenario) -> None:
    worlds = [World(scenario, length=300, seed=seed) for seed in (1, 1, 2)]
    for world in worlds:
        world.advance(120)
    first, again, other = ([list(ledger.latencies) for *_, ledger in world.ledgers()] for world in worlds)
    assert first == again
    assert all(mine != theirs for mine, theirs in zip(first, other, strict=True))


def run(model: Model, scenario: Scenario, seconds: float) -> list[InferenceRequest]:
    """All requests of one model outside of any phase."""
    quiet = scenario.model_copy(update={"phases": ()})
    traffic = Traffic(model, quiet, Timeline(seconds), seed=4)
    done = traffic.advance(seconds)
    traffic.close()
    return done + traffic.advance(seconds + 10_000)


def test_arrivals_are_poisson_and_service_times_log_normal(scenario: Scenario) -> None:
    model = Model(name="m", version="1", rate=20, service_ms=50, sigma=0.4, workers=50)
    done = run(model, scenario, 600)
    per_second = Counter(int(request.arrival) for request in done)
    counts = [per_second[second] for second in range(600)]
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    # Of 600 draws the mean strays by 0.18, and the quotient, 1 for a Poisson process, by 0.06.
    assert mean == pytest.approx(20, abs=0.8)
    assert variance / mean == pytest.approx(1, abs=0.25)
    times = sorted(request.latency for request in done)
    assert times[len(times) // 2] == pytest.approx(0.05, rel=0.03)
    assert times[int(len(times) * 0.841)] / times[len(times) // 2] == pytest.approx(1.49, rel=0.03)


def test_no_more_requests_are_served_at_once_than_there_are_workers(scenario: Scenario) -> None:
    model = Model(name="m", version="1", rate=20, service_ms=120, sigma=0.4, workers=3)
    done = [request for request in run(model, scenario, 300) if request.served]
    moments = sorted([(request.start, 1) for request in done] + [(request.end, -1) for request in done])
    busy = most = 0
    for _, change in moments:
        busy += change
        most = max(most, busy)
    assert most == 3
    assert max(request.start - request.arrival for request in done) > 0
    assert max(request.depth for request in done) > 0


def test_a_full_queue_refuses(scenario: Scenario) -> None:
    model = Model(name="m", version="1", rate=30, service_ms=200, sigma=0.2, workers=2, queue_limit=5)
    done = run(model, scenario, 120)
    refused = [request for request in done if request.outcome == "unavailable"]
    assert refused
    assert {request.depth for request in refused} == {5}
    assert max(request.depth for request in done) == 5


def test_the_story_scales_with_the_run_and_repeats_on_demand(scenario: Scenario) -> None:
    for length in (120, 900):
        part = Timeline(length).span(length * 0.75, length * 0.8)
        assert [scenario.xid(gpu, part) for gpu in "01"] == [0, 79]
        assert scenario.xid("1", Timeline(length).span(0, length * 0.72)) == 0
    assert Timeline(100).percent(250) > 99
    assert Timeline(100, repeat=True).percent(250) == 50


def test_a_world_tells_the_phases_of_the_last_step(scenario: Scenario) -> None:
    world = World(scenario, length=300, seed=1, repeat=True)
    told = []
    for _ in range(22):
        told.append({phase.title for phase in world.phases()})
        world.advance(30)
    # 72 % to 86 % of 300 s lie in the eighth and ninth step of 30 s.
    lost = [number for number, titles in enumerate(told) if "GPU 1 falls off the bus" in titles]
    assert lost == [8, 9, 18, 19]
    assert [number for number, titles in enumerate(told) if "morning ramp" in titles][:5] == [0, 1, 2, 3, 4]
    assert told[11] == told[1]


WRONG = [
    ({"clock": {"starts": "08:00", "step": 7, "every": 1}}, "clock.step must divide 60"),
    ({"phases": [{"title": "t", "from": 1, "until": 2, "of": ["nobody"]}]}, "unknown nobody"),
    ({"phases": [{"title": "t", "from": 3, "until": 2}]}, "until must be greater than from"),
    ({"phases": [{"title": "t", "from": 1, "until": 2, "speed": 3}]}, "Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[row[1] for row in WRONG])
def test_a_mistake_in_a_scenario_is_refused(scenario: Scenario, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Scenario.model_validate({**scenario.model_dump(by_alias=True), **change})
