"""Counters of every width, and values of every type, in the terms of the structure that NVML fills."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from datadog_checks.model_serving.sources.gpu.driver import Driver
from datadog_checks.model_serving.sources.gpu.fields import field_value, increment

from .conftest import Host

MAX32, MAX64 = 2**32 - 1, 2**64 - 1


@pytest.mark.parametrize(
    ("last", "now", "bits", "rose"),
    [
        pytest.param(5, 5, 32, 0, id="still"),
        pytest.param(5, 8, 32, 3, id="up"),
        pytest.param(MAX32, 0, 32, 1, id="wraps to zero"),
        pytest.param(MAX32 - 1, 3, 32, 5, id="wraps"),
        pytest.param(65535, 4, 16, 5, id="wraps at 16 bits"),
        pytest.param(2**31 + 1, 0, 32, 2**31 - 1, id="wraps by just less than half"),
        pytest.param(2**31, 0, 32, None, id="by half: reset"),
        pytest.param(1000, 0, 32, None, id="reset"),
        pytest.param(1000, 7, 64, None, id="a wide one is reset"),
        pytest.param(MAX64 - 1, 7, 64, None, id="a wide one never wraps"),
        pytest.param(2.5, 1.0, 0, None, id="a real one is reset"),
        pytest.param(1.0, 2.5, 0, 1.5, id="a real one rises"),
        # Where floating point would lose it.
        pytest.param(2**63, 2**63 + 1, 64, 1, id="up by one far above"),
    ],
)
def test_increment(last: float, now: float, bits: int, rose: float | None) -> None:
    """A counter's rise, over its wrap; None for a reset."""
    assert increment(last, now, bits) == rose


@pytest.mark.parametrize(
    ("kind", "text", "number", "bits"),
    [
        ("f64", "1.5", 1.5, 0),
        ("u32", "4294967295", MAX32, 32),
        ("2", "7", 7, 64),
        ("u64", "18446744073709551615", MAX64, 64),
        ("i64", "18446744073709551615", -1, 64),
        ("i32", "4294967295", -1, 32),
        ("u16", "65535", 65535, 16),
    ],
)
def test_value_types(kind: str, text: str, number: float, bits: int, host: Host) -> None:
    """The member of the union that the type of the value names."""
    host.boot({"gpus": [{"uuid": "GPU-0", "name": "NVIDIA L4"}]})
    host.control(f"field 0 NVML_FI_DEV_MEMORY_TEMP {kind} {text}")
    driver = Driver()
    driver.open()
    try:
        handle = driver.call("nvmlDeviceGetHandleByIndex", 0)
        (value,) = driver.call("nvmlDeviceGetFieldValues", handle, [driver.constant("NVML_FI_DEV_MEMORY_TEMP")])
        assert field_value(driver, value) == (number, bits)
    finally:
        driver.close()


def test_fake_keeps_nvmls_rules(library: Any) -> None:
    """The library is as strict as NVML: sizes of buffers, versions of structures, handles, initialisation."""
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    library.control("reset\ngpus 1\nuuid 0 GPU-0\nname 0 NVIDIA L4\nset 0 nvmlDeviceGetMemoryInfo_v2 10 4 6 0")
    pynvml.nvmlInit()
    pynvml.nvmlShutdown()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()
    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        function = pynvml._nvmlGetFunctionPointer
        buffer = ctypes.create_string_buffer(4)
        assert function("nvmlDeviceGetUUID")(handle, buffer, ctypes.c_uint(4)) == pynvml.NVML_ERROR_INSUFFICIENT_SIZE
        with pytest.raises(pynvml.NVMLError_ArgumentVersionMismatch):
            pynvml.nvmlDeviceGetMemoryInfo(handle, 0x03000028)
        assert pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2).used == 6
        with pytest.raises(pynvml.NVMLError_InvalidArgument):
            pynvml.nvmlDeviceGetName(ctypes.cast(ctypes.pointer(ctypes.c_int()), pynvml.c_nvmlDevice_t))
        with pytest.raises(pynvml.NVMLError_InvalidArgument):
            pynvml.nvmlDeviceGetHandleByIndex(1)
        with pytest.raises(pynvml.NVMLError_NotSupported):
            pynvml.nvmlDeviceGetPowerUsage(handle)
        library.control("idle 0")
        assert pynvml.nvmlDeviceGetComputeRunningProcesses(handle) == []
        with pytest.raises(pynvml.NVMLError_NotFound):
            pynvml.nvmlDeviceGetProcessUtilization(handle, 0)
        library.control("process 0 5 77")
        (process,) = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        assert (process.pid, process.usedGpuMemory, process.gpuInstanceId) == (5, 77, 0xFFFFFFFF)
        events = pynvml.nvmlEventSetCreate()
        with pytest.raises(pynvml.NVMLError_Timeout):
            pynvml.nvmlEventSetWait_v2(events, 1)
        pynvml.nvmlEventSetFree(events)
        with pytest.raises(pynvml.NVMLError_InvalidArgument):
            pynvml.nvmlEventSetWait_v2(events, 1)
        with pytest.raises(ValueError, match="not a command"):
            library.control("gpus 1\nno such thing")
    finally:
        pynvml.nvmlShutdown()
