"""A driver that is not there, goes away, comes back as another one, or knows less than the check would like to."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datadog_checks.model_serving.sources.gpu import driver

from ...conftest import submissions
from .conftest import Host, until, watching
from .scenario import named
from .test_scenarios import HEALTH, happened, health

INSTALL = "sudo -u dd-agent /opt/datadog-agent/embedded/bin/pip install nvidia-ml-py"
TWO = named("dying")["host"]
GPU0 = (
    "driver_version:550.54.15 endpoint_name:box gpu:0 gpu_model:NVIDIA L4 gpu_uuid:GPU-0 serving_system:nvml "
    "vendor:nvidia"
)
GPU1 = GPU0.replace("gpu:0", "gpu:1").replace("GPU-0", "GPU-1")
NO_PROGRAM = """
import json
from tests.conftest import make_check
print(json.loads(make_check(gpu="nvml").run())[0]["message"])
"""


def error_of(check: Any) -> str:
    """What a run says that went wrong, empty if nothing did."""
    report = check.run()
    return str(json.loads(report)[0]["message"]) if report else ""


def assert_silent(check: Any, aggregator: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert error_of(check) == ""
    assert submissions(aggregator) == []
    assert health(aggregator) == []
    assert [record.message for record in caplog.records if record.levelno > logging.DEBUG] == []


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        pytest.param(["driver none"], "the NVIDIA kernel driver is not loaded: `modprobe nvidia`", id="not loaded"),
        pytest.param(["fail - nvmlInitWithFlags 12"], "libnvidia-ml.so.1 is not on this host", id="no library"),
        pytest.param(["gpus 0"], "the NVIDIA driver is loaded but shows no GPU: see `nvidia-smi`", id="no GPU"),
    ],
)
def test_nothing_there(
    commands: list[str], message: str, host: Host, aggregator: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """`gpu: nvml` says what is missing and what to do, on every run; `gpu: auto` says nothing."""
    host.boot(TWO)
    host.control(*commands)
    asked = host.check()
    assert message in error_of(asked)
    assert message in error_of(asked)
    assert "instance `gpu: nvml`" in error_of(asked)
    aggregator.reset()
    caplog.clear()
    found = host.check(gpu="auto")
    assert_silent(found, aggregator, caplog)
    assert_silent(found, aggregator, caplog)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        pytest.param("driver mismatch", "was upgraded while the old one is still loaded: reboot", id="upgraded"),
        pytest.param("fail - nvmlInitWithFlags 4", "the Agent's user may not open /dev/nvidia*", id="no permission"),
        pytest.param("fail - nvmlInitWithFlags 999", "NVML can't be initialised", id="unknown"),
        pytest.param("fail - nvmlDeviceGetCount_v2 999", "the GPUs can't be listed", id="no list"),
    ],
)
@pytest.mark.parametrize("gpu", ["nvml", "auto"])
def test_trouble(command: str, message: str, gpu: str, host: Host) -> None:
    """A driver that is there but in trouble is an error for `gpu: auto` too."""
    host.boot(TWO)
    host.control(command)
    assert message in error_of(host.check(gpu=gpu))


def test_no_pynvml(
    host: Host, aggregator: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Without pynvml the exact command is told; `gpu: auto` tells it only where a driver is loaded."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert f"not installed for this Python: run `{sys.executable} -m pip install nvidia-ml-py`" in error_of(
        host.check()
    )
    monkeypatch.setattr(sys, "prefix", "/opt/datadog-agent/embedded")
    message = error_of(host.check())
    assert f"`{INSTALL}`" in message
    assert "restart the Agent" in message
    assert_silent(host.check(gpu="auto"), aggregator, caplog)
    monkeypatch.setattr(driver, "DRIVER_FILES", (str(tmp_path),))
    assert f"`{INSTALL}`" in error_of(host.check(gpu="auto"))


def test_no_library(tmp_path: Path) -> None:
    """The real pynvml, in a process of its own, where the library can't be loaded."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"not a library")
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", NO_PROGRAM],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "libnvidia-ml.so.1 is not on this host: install the NVIDIA driver" in done.stdout


def test_library_by_path(library_path: Path, tmp_path: Path) -> None:
    """The real pynvml, in a process of its own, finds the library as it finds the driver's, and a scenario by name."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    scenario = tmp_path / "scenario"
    scenario.write_text("gpus 1\nuuid 0 GPU-x\nname 0 Tesla\nset 0 nvmlDeviceGetTemperature 33\n", encoding="utf-8")
    program = """
from datadog_checks.base.stubs import aggregator
from tests.conftest import make_check, submissions
check = make_check(gpu="nvml", endpoint_name="box")
assert check.run() == "", check.run()
check.cancel()
print(submissions(aggregator))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LD_LIBRARY_PATH": str(library_path.parent), "FAKE_NVML_SCENARIO": str(scenario)},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "gauge gpu.temperature 33" in done.stdout


def test_initialised_once(host: Host) -> None:
    """Runs share one initialisation, one event set and one thread, over looking the GPUs up again too."""
    host.boot(TWO)
    check = host.check()
    for _ in range(6):
        assert error_of(check) == ""
        host.clock.now += 15
    assert host.nvml.calls("nvmlInitWithFlags") == 1
    assert host.nvml.calls("nvmlEventSetCreate") == 1
    assert host.nvml.calls("nvmlDeviceGetHandleByIndex_v2") == 4
    assert watching() == ["model_serving-xid"]
    check.cancel()
    assert watching() == []
    assert host.nvml.calls("nvmlShutdown") == 1
    assert host.nvml.calls("nvmlEventSetFree") == 1


def test_unsupported_is_asked_once(host: Host) -> None:
    """Calls that a card lacks are made once, and a field that it lacks is not asked for again."""
    host.boot(named("plain")["host"])
    check = host.check()
    error_of(check)
    before = {name: host.nvml.calls(name, "1") for name in ALL_CALLS}
    assert before["nvmlDeviceGetFanSpeed"] == before["nvmlDeviceGetClockInfo"] / 2 == 1
    for _ in range(3):
        host.clock.now += 15
        error_of(check)
    after = {name: host.nvml.calls(name, "1") for name in ALL_CALLS}
    assert {name: after[name] - before[name] for name in ALL_CALLS if after[name] != before[name]} == {
        "nvmlDeviceGetMemoryInfo": 3,
        "nvmlDeviceGetUtilizationRates": 3,
        "nvmlDeviceGetTemperature": 3,
        "nvmlDeviceGetPowerUsage": 3,
        "nvmlDeviceGetPerformanceState": 3,
        "nvmlDeviceGetFieldValues": 3,
    }
    # A card without a single field is not asked for fields any more.
    assert host.nvml.calls("nvmlDeviceGetFieldValues", "0") == 1
    # Nor is anything asked again when the GPUs are looked up again.
    host.clock.now += 60
    error_of(check)
    again = {name: host.nvml.calls(name, "1") for name in ALL_CALLS}
    assert {name for name in ALL_CALLS if again[name] != after[name]} == {
        name for name in ALL_CALLS if after[name] != before[name]
    }


ALL_CALLS = (
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetFanSpeed",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetEncoderUtilization",
    "nvmlDeviceGetDecoderUtilization",
    "nvmlDeviceGetPerformanceState",
    "nvmlDeviceGetPcieThroughput",
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetTemperatureThreshold",
    "nvmlDeviceGetMaxClockInfo",
)


@pytest.mark.parametrize("code", [1, 9, 18])
def test_driver_upgraded(code: int, host: Host, aggregator: Any) -> None:
    """Another driver under a running check: one failed run, its XIDs told, then all as before, newly tagged."""
    host.boot(TWO)
    check = host.check()
    assert error_of(check) == ""
    host.control("xid 0 45")
    host.control(f"driver 570.00 {code}", "field 0 NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION u64 8000")
    # What the old driver could not read, the new one can.
    host.control("set 0 nvmlDeviceGetPowerUsage 72000")
    aggregator.reset()
    host.clock.now += 15
    assert "the NVIDIA driver went away" in error_of(check)
    assert health(aggregator) == [f"critical {GPU0}", f"critical {GPU1}"]
    assert [event.partition(" |")[0] for event in happened(aggregator)] == ["GPU 0: XID 45"]
    assert watching() == []
    aggregator.reset()
    host.clock.now += 15
    assert error_of(check) == ""
    new = [line.replace("550.54.15", "570.00") for line in (GPU0, GPU1)]
    assert health(aggregator) == [f"ok {line}" for line in new]
    assert f"count gpu.energy.count 7 {new[0]}" in submissions(aggregator)
    assert f"gauge gpu.power.usage 72 {new[0]}" in submissions(aggregator)
    assert host.nvml.calls("nvmlInitWithFlags") == 2
    assert watching() == ["model_serving-xid"]
    host.control("xid 1 31")
    aggregator.reset()
    assert error_of(check) == ""
    assert [event.partition(" |")[0] for event in happened(aggregator)] == ["GPU 1: XID 31"]


def test_driver_unloaded_and_back(host: Host, aggregator: Any) -> None:
    """An unloaded driver is looked for on every run until it is back."""
    host.boot(TWO)
    check = host.check()
    assert error_of(check) == ""
    host.control("driver none 1")
    assert "the NVIDIA driver went away" in error_of(check)
    assert "is not loaded" in error_of(check)
    host.control("driver mismatch")
    assert "restart it" in error_of(check)
    host.control("driver 550.54.15")
    aggregator.reset()
    assert error_of(check) == ""
    assert health(aggregator) == [f"ok {GPU0}", f"ok {GPU1}"]


def test_a_field_tells_that_the_driver_is_gone(host: Host, aggregator: Any) -> None:
    """A code that only one field answers with means what it means everywhere: the GPU is lost."""
    host.boot(TWO)
    check = host.check()
    host.control("field 0 NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION error 15")
    assert error_of(check) == ""
    assert health(aggregator) == [f"critical {GPU0}", f"ok {GPU1}"]


def test_lost_from_the_start(host: Host, aggregator: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A GPU that could never be opened is critical under its index, in every run, and warned of once."""
    host.boot(TWO)
    host.control("lose 0")
    check = host.check()
    for _ in range(3):
        aggregator.reset()
        assert error_of(check) == ""
        assert health(aggregator) == [
            "critical endpoint_name:box gpu:0 serving_system:nvml vendor:nvidia",
            f"ok {GPU1}",
        ]
        host.clock.now += 60
    (message,) = {one.message for one in aggregator.service_checks(HEALTH) if one.status == 2}
    assert message.startswith("it can't be opened: nvmlDeviceGetHandleByIndex: ")
    assert message.endswith("Drain the node and reset the GPU, or reboot")
    assert len([one for one in caplog.records if one.levelno == logging.WARNING]) == 1
    host.control("find 0")
    aggregator.reset()
    assert error_of(check) == ""
    assert health(aggregator) == [f"ok {GPU0}", f"ok {GPU1}"]


def test_lost_again(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """A GPU that is lost, comes back and is lost again is warned of each time, and only then."""
    host.boot(TWO)
    check = host.check()
    for command in ("find 0", "lose 0", "find 0", "lose 0"):
        host.control(command)
        host.clock.now += 60
        assert error_of(check) == ""
        assert error_of(check) == ""
    warned = [one.message for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warned) == 2
    assert all(message.startswith("GPU 0 (GPU-0): ") for message in warned)


def test_all_are_lost(host: Host, aggregator: Any) -> None:
    """A host whose GPUs are all lost is not one without GPUs."""
    host.boot(TWO)
    host.control("lose 0", "lose 1")
    assert error_of(host.check()) == ""
    assert [line.partition(" ")[0] for line in health(aggregator)] == ["critical", "critical"]


def test_not_ours_to_open(host: Host, aggregator: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A GPU that this container or user may not open is left out, warned of once, and no failure."""
    host.boot(TWO)
    host.control("fail 0 nvmlDeviceGetHandleByIndex_v2 4")
    check = host.check()
    for _ in range(2):
        aggregator.reset()
        assert error_of(check) == ""
        assert health(aggregator) == [f"ok {GPU1}"]
        host.clock.now += 60
    assert [one.message for one in caplog.records if "GPU 0 can't be opened" in one.message]
    assert len([one for one in caplog.records if one.levelno == logging.WARNING]) == 1


def test_taken_away(host: Host, aggregator: Any) -> None:
    """A GPU that is not listed any more stays critical, under the tags that it had."""
    host.boot(TWO)
    check = host.check()
    assert error_of(check) == ""
    host.control("gpus 1")
    host.clock.now += 60
    for _ in range(2):
        aggregator.reset()
        assert error_of(check) == ""
        assert health(aggregator) == [f"critical {GPU1}", f"ok {GPU0}"]
        assert not [line for line in submissions(aggregator) if "gpu:1" in line]
        host.clock.now += 60


def test_stale_handle(host: Host, aggregator: Any) -> None:
    """A GPU that knows no call for a while is asked for everything again, not taken for one that lacks everything."""
    host.boot(named("nvlink")["host"])
    check = host.check()
    assert error_of(check) == ""
    host.control(*(f"fail 0 {name} 2 2" for name in ALL_CALLS))
    host.clock.now += 15
    assert error_of(check) == ""
    host.control(*(f"fail 0 {name} 2 0" for name in ALL_CALLS))
    aggregator.reset()
    host.clock.now += 15
    assert error_of(check) == ""
    found = [line for line in submissions(aggregator) if "gpu:0" in line]
    other = [line for line in submissions(aggregator) if "gpu:1" in line]
    assert len(found) == len(other) > 40


def test_older_nvidia_ml_py(host: Host, monkeypatch: pytest.MonkeyPatch, aggregator: Any) -> None:
    """A version of nvidia-ml-py without some names lacks those readings and no others."""
    host.boot(named("nvlink")["host"])
    pynvml = sys.modules["pynvml"]
    for name in ("NVML_FI_DEV_POWER_INSTANT", "nvmlMemory_v2", "nvmlDeviceGetFanSpeed", "NVML_CLOCK_MEM"):
        monkeypatch.delattr(pynvml, name)
    host.control("set 0 nvmlDeviceGetMemoryInfo 10 4 6")
    check = host.check()
    assert error_of(check) == ""
    names = {line.split()[1] for line in submissions(aggregator) if "gpu:0" in line}
    assert names.isdisjoint({"gpu.power.usage.instant", "gpu.memory.reserved", "gpu.fan.speed", "gpu.clock.memory"})
    assert {"gpu.memory.used", "gpu.power.usage", "gpu.clock.sm", "gpu.memory.temperature"} <= names


def test_closed_before_the_first_run(host: Host) -> None:
    """A check that is cancelled does not begin anew."""
    host.boot(TWO)
    check = host.check()
    check.cancel()
    assert error_of(check) == ""
    check.cancel()
    assert error_of(check) == ""
    assert host.nvml.initialised() == 0
    until(lambda: watching() == [])


def test_another_driver_is_told_once(host: Host, aggregator: Any) -> None:
    """A driver that was updated is an event, also where the Agent was restarted with it, and the first one is none."""
    titles = []
    for version in ("550.54.15", "550.54.15", "560.35.03", "560.35.03"):
        host.boot({**TWO, "driver": version})
        aggregator.reset()
        check = host.check()
        assert error_of(check) == ""
        check.cancel()
        titles.append([event["msg_title"] for event in aggregator.events if "serving_driver" in event["event_type"]])
    assert titles == [[], [], ["box has driver version 560.35.03"], []]
