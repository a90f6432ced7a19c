"""Calls into NVML per run and GPU: few, and no more for a card that tells more."""

from __future__ import annotations

from typing import Any

import pytest

from datadog_checks.model_serving.sources.gpu import device

from .conftest import Host
from .scenario import named
from .test_driver import error_of

MOST = 16
"""Calls into the library per run and GPU, processes included: 4 of them are for processes, 3 for the PCIe fall-back."""


def calls_of_a_run(host: Host, check: Any, gpu: str = "0") -> int:
    """Calls for a GPU in a run that doesn't look the GPUs up again. A first one finds out what they lack."""
    assert error_of(check) == ""
    before = host.nvml.calls(device=gpu)
    host.clock.now += 15
    assert error_of(check) == ""
    return int(host.nvml.calls(device=gpu) - before)


def test_bounded(host: Host) -> None:
    """A card on which everything is there, with processes."""
    host.boot(named("nvlink")["host"])
    host.control("set 0 nvmlDeviceGetFanSpeed 30", "process 0 100 4000", "sample 0 100 10 20")
    assert calls_of_a_run(host, host.check(gpu_processes=True)) <= MOST


def test_independent_of_the_fields(host: Host) -> None:
    """One field or all of them: as many calls."""
    host.boot(named("nvlink")["host"])
    check = host.check()
    many = calls_of_a_run(host, check)
    assert many == calls_of_a_run(host, check, "5")
    check.cancel()
    # But for the PCIe bytes, which calls stand in for.
    names = [entry["field"] for entry in device.table()["fields"] if "PCIE_COUNT" not in entry["field"]]
    host.boot(named("nvlink")["host"])
    host.control(*(f"field 0 {name} error 3" for name in names[1:]))
    assert calls_of_a_run(host, host.check()) == many
    assert len(names) > 20


@pytest.mark.parametrize("name", ["plain", "mig", "unified", "bare"])
def test_every_host(name: str, host: Host) -> None:
    """Other cards need no more; nothing is called for the host as a whole but to wait for XIDs."""
    host.boot(named(name)["host"])
    assert 0 < calls_of_a_run(host, host.check(gpu_processes=True)) <= MOST


def test_looking_up_is_seldom(host: Host) -> None:
    """Names, limits and handles are asked for once a minute, not on every run."""
    host.boot(named("nvlink")["host"])
    check = host.check()
    for _ in range(4):
        assert error_of(check) == ""
        host.clock.now += 15
    seldom = ("nvmlDeviceGetCount_v2", "nvmlDeviceGetName", "nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetMigMode")
    assert [host.nvml.calls(name) for name in seldom] == [1, 8, 8, 8]
    assert error_of(check) == ""
    assert [host.nvml.calls(name) for name in seldom] == [2, 16, 16, 16]
