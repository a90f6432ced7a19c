"""Which system a name belongs to, where several have it, or names like it: one of the user's and ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ..conftest import Endpoint, make_check

OWN = {
    "system": "own",
    "recognise": {"any": ["own_*"]},
    "metrics": [
        {"raw": "own_load", "type": "gauge", "to": "cpu.utilization"},
        {"raw": "own_requests_in_progress", "type": "gauge", "to": "request.in_flight"},
        # Databricks has this name, too.
        {"raw": "cpu_usage_percentage", "type": "gauge", "to": "memory.utilization"},
    ],
}
COUNT = "mlserver.rest.request.count"
# What `serving_system` is, the payload, and what is submitted, as `metric value system`.
CASES: dict[str, tuple[Any, str, set[str]]] = {
    "each system has its names": (
        "auto",
        "own_load 1\nDCGM_FI_DEV_GPU_UTIL 2\nDCGM_FI_DEV_GPU_TEMP 3\n",
        {"cpu.utilization 1 own", "gpu.temperature 3 dcgm"},
    ),
    "a name of two systems is that of the one which is there": (
        "auto",
        "cpu_usage_percentage 3\n",
        {"memory.utilization 3 own"},
    ),
    "where both are there it is nobody's": (
        "auto",
        "own_load 1\nprovisioned_concurrent_requests 2\ncpu_usage_percentage 3\n",
        {"cpu.utilization 1 own"},
    ),
    "but the user's own where ours is named": (
        "databricks",
        "own_load 1\nprovisioned_concurrent_requests 2\ncpu_usage_percentage 3\n",
        {"cpu.utilization 1 own", "memory.utilization 3 own"},
    ),
    "a name goes before a pattern that only a label confirms": (
        "auto",
        "model_infer_request_duration_count 1\nown_requests_in_progress 4\n"
        'x_requests_in_progress{app_name="mlserver"} 5\n',
        {"request.in_flight 4 own", "request.in_flight 5 mlserver"},
    ),
    "a counter is like a pattern with and without the ending of counters": (
        "mlserver",
        'x_requests_total{app_name="mlserver"} 5\n',
        {f"{COUNT} 0 mlserver"},
    ),
    "two names behind AMD's prefix may be another program's": (
        "auto",
        "amd_gpu_gfx_activity 1\namd_gpu_power_usage 90\nown_load 1\n",
        {"cpu.utilization 1 own"},
    ),
    "three are AMD's": (
        "auto",
        "amd_gpu_gfx_activity 1\namd_gpu_power_usage 90\namd_gpu_junction_temperature 40\nown_load 1\n",
        {"cpu.utilization 1 own", "gpu.temperature 40 amd_gpu"},
    ),
    "a part of a histogram is none of a gauge": (
        "auto",
        "own_load 1\nown_load_count 7\nown_load_sum 7\nown_load_bucket 7\n",
        {"cpu.utilization 1 own"},
    ),
    "a program with the same middleware as MLServer is not MLServer": (
        "auto",
        'shop_requests_in_progress{app_name="shop"} 5\nx_requests_in_progress{app_name="mlserver"} 6\nown_load 1\n',
        {"cpu.utilization 1 own"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_recognised(name: str, endpoint: Endpoint, aggregator: Any, datadog_agent: Any, tmp_path: Path) -> None:
    """In the second scrape, when all that the first one had to tell is known."""
    system, payload, expected = CASES[name]
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(OWN), encoding="utf-8")
    check = make_check(openmetrics_endpoint=endpoint.url, catalog=str(path), serving_system=system, readiness=False)
    endpoint.serve(payload)
    for _ in range(2):
        aggregator.reset()
        assert check.run() == ""
    found = set()
    for metric in ("cpu.utilization", "memory.utilization", "request.in_flight", "gpu.temperature", COUNT):
        for each in aggregator.metrics(f"model_serving.{metric}"):
            systems = [tag.partition(":")[2] for tag in each.tags if tag.startswith("serving_system:")]
            found.add(f"{metric} {each.value:g} {' '.join(systems)}")
    assert found == expected
