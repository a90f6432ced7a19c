"""What the simulated systems print is what the real ones do: names, types, labels, buckets and their quirks."""

from __future__ import annotations

import itertools
import re

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from datadog_checks.model_serving.workstation.demo.dialects.databricks import LATENCY_MS
from datadog_checks.model_serving.workstation.demo.exposition import Buckets, sample
from datadog_checks.model_serving.workstation.demo.scenario import Scenario
from datadog_checks.model_serving.workstation.demo.world import World

from .conftest import endpoint, parse, render, total

GPU = "gpu UUID pci_bus_id device modelName Hostname DCGM_FI_DRIVER_VERSION"
ENGINE = "model_name engine"
REST = "app_name method path status_code"
RPC = "grpc_type grpc_service grpc_method"
DEVICE_GAUGES = """SM_CLOCK MEM_CLOCK MEMORY_TEMP GPU_TEMP POWER_USAGE GPU_UTIL MEM_COPY_UTIL ENC_UTIL DEC_UTIL
    FB_FREE FB_USED FB_RESERVED VGPU_LICENSE_STATUS ROW_REMAP_FAILURE"""
DEVICE_COUNTERS = """TOTAL_ENERGY_CONSUMPTION PCIE_REPLAY_COUNTER NVLINK_BANDWIDTH_TOTAL
    UNCORRECTABLE_REMAPPED_ROWS CORRECTABLE_REMAPPED_ROWS"""
PROFILING_GAUGES = "GR_ENGINE_ACTIVE PIPE_TENSOR_ACTIVE DRAM_ACTIVE PCIE_TX_BYTES PCIE_RX_BYTES"
SERVING = ":tensorflow:serving:"
SESSION = f"{SERVING}batching_session:"

# Family as the parser names it, its type, and the labels of its series (without le).
EXPECTED = {
    "churn-scorer": [
        ("request_count_total", "gauge", "endpoint_name"),
        ("request_4xx_count_total", "gauge", "endpoint_name"),
        ("request_5xx_count_total", "gauge", "endpoint_name"),
        ("request_latency_ms", "histogram", "endpoint_name"),
        ("model_queue_time_ms", "histogram", "endpoint_name"),
        ("cpu_usage_percentage", "gauge", "endpoint_name"),
        ("mem_usage_percentage", "gauge", "endpoint_name"),
        ("provisioned_concurrent_requests_total", "gauge", "endpoint_name"),
    ],
    "product-embedder": [
        ("request_count_total", "gauge", "endpoint_name"),
        ("request_4xx_count_total", "gauge", "endpoint_name"),
        ("request_5xx_count_total", "gauge", "endpoint_name"),
        ("request_latency_ms", "histogram", "endpoint_name"),
        ("model_queue_time_ms", "histogram", "endpoint_name"),
        ("cpu_usage_percentage", "gauge", "endpoint_name"),
        ("mem_usage_percentage", "gauge", "endpoint_name"),
        ("provisioned_concurrent_requests_total", "gauge", "endpoint_name"),
        ("gpu_usage_percentage", "gauge", "endpoint_name gpu"),
        ("gpu_memory_usage_percentage", "gauge", "endpoint_name gpu"),
    ],
    "fraud-platform": [
        ("model_infer_request_success", "counter", "model version"),
        ("model_infer_request_failure", "counter", "model version"),
        ("model_infer_request_duration", "summary", "model version"),
        ("rest_server_requests", "counter", REST),
        ("rest_server_request_duration_seconds", "histogram", REST),
        ("rest_server_requests_in_progress", "gauge", "app_name method"),
        ("grpc_server_started", "counter", RPC),
        ("grpc_server_handled", "counter", f"{RPC} grpc_code"),
        ("grpc_server_handling_seconds", "histogram", RPC),
        ("parallel_request_queue", "histogram", ""),
        ("batch_request_queue", "histogram", "model_name model_version"),
    ],
    "vision-and-search": [
        (f"{SERVING}request_count", "counter", "model_name status"),
        (f"{SERVING}request_latency", "histogram", "model_name API entrypoint"),
        (f"{SERVING}runtime_latency", "histogram", "model_name API runtime"),
        (f"{SERVING}request_example_counts", "histogram", "model"),
        (f"{SERVING}request_example_count", "counter", "model"),
        (f"{SERVING}mlmd_map", "gauge", "model_name version"),
        (f"{SESSION}queuing_latency", "histogram", "thread_pool_name"),
        (f"{SESSION}wrapped_run_count", "counter", ""),
        (f"{SESSION}input_batch_size", "histogram", ""),
        (f"{SESSION}processed_batch_size", "histogram", ""),
        (f"{SESSION}padding_size", "histogram", "execution_batch_size"),
        (":tensorflow:cc:saved_model:load_attempt_count", "counter", "model_path status"),
        (":tensorflow:cc:saved_model:load_latency", "counter", "model_path"),
    ],
    "pricing-worker": [
        ("model_accuracy", "gauge", "model_name model_version"),
        ("prediction_latency_seconds", "histogram", "model_name batch_size"),
        ("prediction_latency_seconds_created", "gauge", "model_name batch_size"),
        ("inference_requests", "counter", "model status"),
        ("inference_requests_created", "gauge", "model status"),
        ("feature_drift_score", "gauge", "model_name feature_name"),
        ("prediction_values", "summary", "model_name class_label"),
        ("prediction_values_created", "gauge", "model_name class_label"),
        ("model_cache_hit_ratio", "gauge", "model_name"),
    ],
    "llm-engine": [
        ("vllm:num_requests_running", "gauge", ENGINE),
        ("vllm:num_requests_waiting", "gauge", ENGINE),
        ("vllm:num_requests_waiting_by_reason", "gauge", f"{ENGINE} reason"),
        ("vllm:kv_cache_usage_perc", "gauge", ENGINE),
        ("vllm:prefix_cache_queries", "counter", ENGINE),
        ("vllm:prefix_cache_hits", "counter", ENGINE),
        ("vllm:num_preemptions", "counter", ENGINE),
        ("vllm:prompt_tokens", "counter", ENGINE),
        ("vllm:prompt_tokens_cached", "counter", ENGINE),
        ("vllm:generation_tokens", "counter", ENGINE),
        ("vllm:request_success", "counter", f"{ENGINE} finished_reason"),
        ("vllm:admission_rejections", "counter", "model_name reason"),
        ("vllm:iteration_tokens_total", "histogram", ENGINE),
        ("vllm:request_prompt_tokens", "histogram", ENGINE),
        ("vllm:request_generation_tokens", "histogram", ENGINE),
        ("vllm:time_to_first_token_seconds", "histogram", ENGINE),
        ("vllm:inter_token_latency_seconds", "histogram", ENGINE),
        ("vllm:request_time_per_output_token_seconds", "histogram", ENGINE),
        ("vllm:e2e_request_latency_seconds", "histogram", ENGINE),
        ("vllm:request_queue_time_seconds", "histogram", ENGINE),
        ("vllm:request_inference_time_seconds", "histogram", ENGINE),
        ("vllm:request_prefill_time_seconds", "histogram", ENGINE),
        ("vllm:request_decode_time_seconds", "histogram", ENGINE),
    ],
    "dcgm": [
        *((f"DCGM_FI_DEV_{name}", "gauge", GPU) for name in DEVICE_GAUGES.split()),
        *((f"DCGM_FI_DEV_{name}", "counter", GPU) for name in DEVICE_COUNTERS.split()),
        *((f"DCGM_FI_PROF_{name}", "gauge", GPU) for name in PROFILING_GAUGES.split()),
        ("DCGM_FI_DEV_XID_ERRORS", "gauge", f"{GPU} err_code err_msg"),
    ],
}


@pytest.fixture(scope="module")
def world(scenario: Scenario) -> World:
    """Three minutes in which every phase of the story comes, less its end: all GPUs are still there."""
    world = World(scenario, length=300, seed=3)
    world.advance(180)
    return world


def payload(world: World, name: str) -> str:
    """What an endpoint of the world, its language model among them, or the exporter of its GPUs prints."""
    assert world.llm is not None
    others = {"dcgm": world.dcgm.render, "llm-engine": world.llm.vllm.render, "llm-gateway": world.llm.litellm.render}
    return others[name]() if name in others else render(endpoint(world, name).dialect)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_payload_has_exactly_the_documented_families_with_their_types_and_labels(world: World, name: str) -> None:
    families = parse(payload(world, name))
    assert {family: found.type for family, found in families.items()} == {row[0]: row[1] for row in EXPECTED[name]}
    for family, _, labels in EXPECTED[name]:
        shapes = {frozenset(found.labels) - {"le"} for found in families[family].samples}
        assert shapes == {frozenset(labels.split())}, family


@pytest.mark.parametrize("name", [name for name in EXPECTED if name != "dcgm"])
def test_buckets_ascend_and_end_with_the_count(world: World, name: str) -> None:
    families = parse(payload(world, name))
    histograms = [family for family in families.values() if family.type == "histogram"]
    assert histograms
    for family in histograms:
        series: dict[frozenset[tuple[str, str]], dict[str, list[float]]] = {}
        for found in family.samples:
            key = frozenset((label, value) for label, value in found.labels.items() if label != "le")
            series.setdefault(key, {}).setdefault(found.name.removeprefix(family.name), []).append(found.value)
        for parts in series.values():
            assert parts["_bucket"] == sorted(parts["_bucket"])
            assert parts["_bucket"][-1] == parts["_count"][0]


BOUNDS = [
    ("churn-scorer", "request_latency_ms", ["5", "10"], ["600000", "+Inf"], len(LATENCY_MS) + 1),
    ("fraud-platform", "rest_server_request_duration_seconds", ["0.005", "0.01"], ["10.0", "+Inf"], 15),
    ("fraud-platform", "parallel_request_queue", ["0.005", "0.01"], ["10.0", "+Inf"], 15),
    ("vision-and-search", f"{SERVING}request_latency", ["10", "18"], ["1.47476e+09", "+Inf"], 34),
    ("vision-and-search", f"{SESSION}queuing_latency", ["100", "120"], ["1.09205e+06", "+Inf"], 53),
    ("pricing-worker", "prediction_latency_seconds", ["0.001", "0.005"], ["10.0", "+Inf"], 13),
    ("llm-engine", "vllm:time_to_first_token_seconds", ["0.001", "0.005"], ["2560.0", "+Inf"], 23),
    ("llm-engine", "vllm:inter_token_latency_seconds", ["0.01", "0.025"], ["80.0", "+Inf"], 20),
    ("llm-engine", "vllm:e2e_request_latency_seconds", ["0.3", "0.5"], ["7680.0", "+Inf"], 22),
    ("llm-engine", "vllm:iteration_tokens_total", ["1.0", "8.0"], ["16384.0", "+Inf"], 14),
    # Of a model that takes 32,768 tokens.
    ("llm-engine", "vllm:request_prompt_tokens", ["1.0", "2.0"], ["20000.0", "+Inf"], 15),
    ("llm-gateway", "litellm_llm_api_latency_metric", ["0.005", "0.01"], ["600.0", "+Inf"], 18),
]


@pytest.mark.parametrize(("name", "family", "first", "last", "number"), BOUNDS, ids=[row[1] for row in BOUNDS])
def test_bucket_bounds_are_printed_as_the_system_prints_them(
    world: World, name: str, family: str, first: list[str], last: list[str], number: int
) -> None:
    text = payload(world, name)
    bounds = list(dict.fromkeys(re.findall(rf'^{re.escape(family)}_bucket{{.*le="([^"]+)"', text, re.MULTILINE)))
    assert (bounds[:2], bounds[-2:], len(bounds)) == (first, last, number)


def test_databricks_publishes_a_minute_once_it_is_over_with_its_own_timestamp(scenario: Scenario) -> None:
    world = World(scenario, length=600, seed=5)
    one = endpoint(world, "churn-scorer")
    seen = []
    for _ in range(6):
        world.advance(30)
        found = parse(render(one.dialect))["request_count_total"].samples[0]
        seen.append((found.timestamp, found.value))
    start = world.epoch.timestamp()
    # In the first half of a minute the one before is shown, at first the idle one before the start.
    assert [stamp for stamp, _ in seen] == [start + 60 * number for number in (-1, 0, 0, 1, 1, 2)]
    assert seen[0][1] == 0
    assert seen[1] == seen[2]
    assert seen[3] == seen[4]
    assert sum(value for _, value in {*seen}) == one.ledger.requests


def test_an_idle_databricks_endpoint_shows_no_replicas(scenario: Scenario) -> None:
    world = World(scenario, length=600, seed=5)
    families = parse(render(endpoint(world, "product-embedder").dialect))
    assert set(families) == {
        "request_count_total",
        "request_4xx_count_total",
        "request_5xx_count_total",
        "request_latency_ms",
    }
    assert {found.value for family in families.values() for found in family.samples} == {0.0}


def test_tensorflow_serving_prints_neither_help_nor_names_without_braces(world: World) -> None:
    lines = render(endpoint(world, "vision-and-search").dialect).splitlines()
    assert not [line for line in lines if line.startswith("# HELP")]
    assert [line for line in lines if not re.match(r"# TYPE :|:[\w:]+\{.*\} [\d.e+]+$", line)] == []
    assert any(line.startswith(f"{SESSION}wrapped_run_count{{}} ") for line in lines)


def test_tensorflow_serving_spells_the_api_by_entry_point_and_times_successes_only(world: World) -> None:
    families = parse(render(endpoint(world, "vision-and-search").dialect))
    apis = {
        (found.labels["entrypoint"], found.labels["API"]) for found in families[f"{SERVING}request_latency"].samples
    }
    assert apis == {("GRPC", "Predict"), ("REST", "predict"), ("REST", "classify")}
    succeeded = total(families, f"{SERVING}request_count_total", status="OK")
    assert total(families, f"{SERVING}request_latency_count") == succeeded
    assert 0 < succeeded < total(families, f"{SERVING}request_count_total")


def test_mlserver_counts_an_invalid_request_at_its_rest_server_only(scenario: Scenario) -> None:
    world = World(scenario, length=1200, seed=2)
    world.advance(300)
    one = endpoint(world, "fraud-platform")
    families = parse(render(one.dialect))
    invalid = total(families, "rest_server_requests_total", status_code="422")
    inferred = total(families, "model_infer_request_duration_count")
    assert invalid == one.ledger.errors["invalid"] > 0
    assert inferred == one.ledger.requests - invalid
    assert {found.labels["version"] for found in families["model_infer_request_success"].samples} == {"None", ""}
    assert total(families, "grpc_server_handled_total") < total(families, "grpc_server_started_total")


def test_a_gpu_off_the_bus_keeps_its_xid_and_nothing_else(scenario: Scenario) -> None:
    world = World(scenario, length=600, seed=1)
    codes = []
    for _ in range(20):
        world.advance(30)
        families = parse(world.dcgm.render())
        gpus = {
            name: {found.labels["gpu"] for found in family.samples if found.labels["gpu"] == "1"}
            for name, family in families.items()
        }
        code = total(families, "DCGM_FI_DEV_XID_ERRORS", gpu="1")
        codes.append(code)
        assert {name for name, found in gpus.items() if found} == (
            {"DCGM_FI_DEV_XID_ERRORS"} if code else set(families)
        )
    assert [code for code, _ in itertools.groupby(codes)] == [0, 79, 0]
    assert world.node.devices[1].xids == [79]
    assert world.node.devices[0].xids == []


def test_the_custom_exporter_also_speaks_openmetrics(scenario: Scenario) -> None:
    # Before any traffic: strict parsers refuse the sum of a summary once it is negative.
    dialect = endpoint(World(scenario, length=300, seed=3), "pricing-worker").dialect
    registry: CollectorRegistry = dialect.registry  # type: ignore[union-attr]
    families = {family.name: family.type for family in parse_openmetrics(generate_openmetrics(registry).decode())}
    assert families == {name: kind for name, kind, _ in EXPECTED["pricing-worker"] if not name.endswith("_created")}


def test_the_sum_of_predictions_can_fall(scenario: Scenario) -> None:
    world = World(scenario, length=600, seed=1)
    sums = []
    for _ in range(10):
        world.advance(60)
        families = parse(render(endpoint(world, "pricing-worker").dialect))
        sums.append(total(families, "prediction_values_sum", class_label="uplift"))
    assert sums != sorted(sums)


@pytest.mark.parametrize("text", ['quo"te', "back\\slash", "new\nline", "}{,=", "unicodé", ""])
def test_a_label_value_survives_printing_and_parsing(text: str) -> None:
    (family,) = parse(sample("up", {"name": text}, "1") + "\n").values()
    assert family.samples[0].labels == {"name": text}


def test_a_bound_belongs_to_its_own_bucket() -> None:
    buckets = Buckets((1, 2))
    for value in (0.5, 1, 1.5, 2, 2.5):
        buckets.observe(value)
    assert buckets.cumulative() == [("1", 2), ("2", 4), ("+Inf", 5)]
    assert (buckets.count, buckets.sum) == (5, 7.5)
