"""What the metrics of a process become: of every system, and behind a federation of targets of a known one only."""

from __future__ import annotations

from typing import Any

import pytest

from datadog_checks.model_serving.catalog.loader import builtin_catalog

from ..conftest import Endpoint, make_check, submissions

PROCESS = """\
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total{0} {1}
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes{0} {2}
# TYPE process_open_fds gauge
process_open_fds{0} {3}
# TYPE process_virtual_memory_bytes gauge
process_virtual_memory_bytes{0} 5e+09
"""


def process(labels: str, cpu: float, memory: float, files: int) -> str:
    text = PROCESS.replace("{0}", f"{{{labels}}}" if labels else "")
    return text.replace("{1}", str(cpu)).replace("{2}", str(memory)).replace("{3}", str(files))


def submitted(check: Any, aggregator: Any, endpoint: Endpoint, payload: str, *hidden: str) -> list[str]:
    """The lines of processes that one scrape submits."""
    aggregator.reset()
    endpoint.serve(payload)
    assert check.run() == ""
    return [line for line in submissions(aggregator, (*hidden, "endpoint_name")) if " process." in line]


@pytest.fixture
def options(endpoint: Endpoint) -> dict[str, Any]:
    return {"openmetrics_endpoint": endpoint.url, "tag_by_endpoint": False, "readiness": False}


@pytest.mark.parametrize("system", builtin_catalog().systems)
def test_every_system(
    system: str, options: dict[str, Any], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    check = make_check(**options, serving_system=system)
    assert submitted(check, aggregator, endpoint, process("", 10, 1e8, 30)) == [
        f"gauge process.memory.resident 100000000 serving_system:{system}",
        f"gauge process.open_fds 30 serving_system:{system}",
    ]
    assert submitted(check, aggregator, endpoint, process("", 12.5, 2e8, 31)) == [
        f"count process.cpu.time 2.5 serving_system:{system}",
        f"gauge process.memory.resident 200000000 serving_system:{system}",
        f"gauge process.open_fds 31 serving_system:{system}",
    ]


def test_a_restart_counts_what_came_since(
    options: dict[str, Any], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    check = make_check(**options, serving_system="custom_ml")
    submitted(check, aggregator, endpoint, process("", 100, 1, 1))
    assert "count process.cpu.time 3" in submitted(check, aggregator, endpoint, process("", 3, 1, 1), "serving_system")


def test_several_processes_add_up(
    options: dict[str, Any], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    check = make_check(**options, serving_system="mlserver", exclude_labels=["pid"])
    payload = "".join(process(f'pid="{pid}"', 10, 1e8, 30) for pid in (1, 2))
    assert submitted(check, aggregator, endpoint, payload, "serving_system") == [
        "gauge process.memory.resident 200000000",
        "gauge process.open_fds 60",
    ]


def test_before_the_system_is_recognised(
    options: dict[str, Any], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """Client libraries write the process first. It is held until the system shows, in this scrape or a later one."""
    known = "# TYPE model_infer_request_success_total counter\n"
    check = make_check(**options)
    assert submitted(check, aggregator, endpoint, process("", 10, 1e8, 30)) == []
    assert submitted(check, aggregator, endpoint, process("", 11, 1e8, 30) + known, "serving_system") == [
        "gauge process.memory.resident 100000000",
        "gauge process.open_fds 30",
    ]
    # The second of CPU time before it was recognised is of unknown age.
    assert "count process.cpu.time 2" in submitted(
        check, aggregator, endpoint, process("", 13, 1e8, 30) + known, "serving_system"
    )


FEDERATED = (
    'model_infer_request_success_total{job="a",instance="a:1"} 5\n'
    'DCGM_FI_DEV_GPU_UTIL{job="b",instance="b:1",gpu="0"} 5\n'
)
TARGETS = [f'job="{job}",instance="{job}:1"' for job in "abc"]


@pytest.mark.parametrize("systems", ["auto", ["mlserver", "dcgm"], ["dcgm", "custom_ml", "mlserver"]])
@pytest.mark.parametrize("first", [True, False])
def test_federated(
    systems: Any, first: bool, options: dict[str, Any], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """Each target's process is of the target's system, wherever it stands in the payload; others are left alone."""
    check = make_check(**options, serving_system=systems)
    due = []
    for cpu in (10, 12, 15):
        processes = "".join(process(labels, cpu, 1e8, 30) for labels in TARGETS)
        found = submitted(check, aggregator, endpoint, processes + FEDERATED if first else FEDERATED + processes)
        counts = [] if not due else [f"count process.cpu.time {cpu - due[-1]} "]
        due.append(cpu)
        kinds = [*counts, "gauge process.memory.resident 100000000 ", "gauge process.open_fds 30 "]
        assert found == [
            f"{kind}instance:{job}:1 job:{job} serving_system:{system}"
            for kind in kinds
            for job, system in (("a", "mlserver"), ("b", "dcgm"))
        ]


def test_a_target_whose_system_shows_late(
    options: dict[str, Any], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """What its process had used before is not new."""
    check = make_check(**options, serving_system=["mlserver", "dcgm"])
    one = process(TARGETS[0], 100, 1e8, 30)
    assert submitted(check, aggregator, endpoint, FEDERATED.splitlines(True)[1] + one) == []
    found = submitted(check, aggregator, endpoint, FEDERATED + one)
    assert [line.split(" ")[1] for line in found] == ["process.memory.resident", "process.open_fds"]


def test_a_process_is_no_sign_of_a_system(
    options: dict[str, Any], endpoint: Endpoint, aggregator: Any, datadog_agent: Any
) -> None:
    """A target of which nothing else is known is still told to be unknown."""
    check = make_check(**options, serving_system="mlserver")
    endpoint.serve(process("", 1, 1, 1) + "other_total 3\n")
    assert check.run() == ""
    assert any("none of the 1 metrics is of MLServer" in warning for warning in check.warnings)
