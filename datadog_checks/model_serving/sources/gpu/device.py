"""One GPU, or one MIG instance of it: what it is called, and what it reports on each run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...strict_yaml import read_shipped
from .driver import DeviceLost, Driver, Unreadable, Unsupported
from .fields import read_fields
from .model import Device, GpuReading

VENDOR = "vendor:nvidia"
"""A tag of everything about a GPU: NVML knows those of one vendor."""


@lru_cache(maxsize=1)
def table() -> dict[str, list[dict[str, Any]]]:
    """What NVML reports, from readings.yaml."""
    tables: dict[str, list[dict[str, Any]]] = read_shipped(Path(__file__).with_name("readings.yaml"))
    return tables


def discover(driver: Driver, note: Callable[[str], None]) -> Iterator[Device]:
    """Every GPU, each followed by its MIG instances.

    A GPU that fails comes without a handle; one that is not for this user to open is noted and left out.
    """
    for index in range(driver.call("nvmlDeviceGetCount")):
        try:
            handle = driver.call("nvmlDeviceGetHandleByIndex", index)
            device = _gpu(driver, handle, index)
        except (DeviceLost, Unreadable) as error:
            yield Device(None, index, "", (VENDOR, f"gpu:{index}"), problem=f"it can't be opened: {error}")
            continue
        except Unsupported as error:
            note(f"GPU {index} can't be opened: {error}")
            continue
        yield device
        if device.has_mig:
            try:
                yield from _mig_instances(driver, device, note)
            except (DeviceLost, Unreadable, Unsupported) as error:
                note(f"the MIG instances of GPU {index} can't be listed: {error}")


def _gpu(driver: Driver, handle: Any, index: int) -> Device:
    uuid = driver.text("nvmlDeviceGetUUID", handle)
    tags = [VENDOR, f"gpu:{index}", f"gpu_uuid:{uuid}"]
    for tag, name, texts in (
        ("gpu_model", "nvmlDeviceGetName", None),
        ("persistence_mode", "nvmlDeviceGetPersistenceMode", ("off", "on")),
        (
            "compute_mode",
            "nvmlDeviceGetComputeMode",
            ("default", "exclusive_thread", "prohibited", "exclusive_process"),
        ),
    ):
        try:
            value = driver.text(name, handle) if texts is None else texts[int(driver.call(name, handle))]
        except (Unsupported, Unreadable, IndexError):
            continue
        tags.append(f"{tag}:{value}")
    if driver.version:
        tags.append(f"driver_version:{driver.version}")
    return Device(handle, index, uuid, tuple(tags), has_mig=_mig_enabled(driver, handle))


def _mig_enabled(driver: Driver, handle: Any) -> bool:
    try:
        current, _ = driver.call("nvmlDeviceGetMigMode", handle)
    except (Unsupported, Unreadable):
        return False
    return bool(current)


def _mig_instances(driver: Driver, gpu: Device, note: Callable[[str], None]) -> Iterator[Device]:
    for slot in range(driver.call("nvmlDeviceGetMaxMigDeviceCount", gpu.handle)):
        try:
            handle = driver.call("nvmlDeviceGetMigDeviceHandleByIndex", gpu.handle, slot)
        except (Unreadable, Unsupported):
            continue  # An empty slot answers "not found".
        try:
            uuid = driver.text("nvmlDeviceGetUUID", handle)
            instance = driver.call("nvmlDeviceGetGpuInstanceId", handle)
            profile = re.search(r"MIG (\S+)", driver.text("nvmlDeviceGetName", handle))
        except (DeviceLost, Unreadable, Unsupported) as error:
            note(f"MIG instance {slot} of GPU {gpu.index} can't be opened: {error}")
            continue
        tags = [*gpu.tags, f"mig_instance:{instance}", f"mig_uuid:{uuid}"]
        if profile is not None:
            tags.append(f"mig_profile:{profile.group(1)}")
        yield Device(handle, gpu.index, uuid, tuple(tags), parent=gpu)


def read(driver: Driver, device: Device) -> list[GpuReading]:
    """Everything the device reports now.

    Raises DeviceLost or DriverLost; what else fails costs only its own reading.
    """
    readings = list(_memory(driver, device))
    if device.is_mig:
        # Utilization, temperature, power and errors are of the whole GPU; NVML gives an instance memory alone.
        return readings
    readings += read_fields(driver, device, table()["fields"])
    for entry in table()["calls"]:
        instead = entry.get("instead_of")
        if instead is None or instead in device.lacks:
            readings += _call(driver, device, entry)
    if not readings:
        # A card that lacks everything is a handle that went stale: NVML calls both an invalid argument.
        device.lacks.clear()
    return readings + device.settings


def read_settings(driver: Driver, device: Device) -> None:
    """Read the limits, which `read` then repeats until they are read again."""
    if not device.is_mig:
        device.settings = [reading for entry in table()["settings"] for reading in _call(driver, device, entry)]


def _call(driver: Driver, device: Device, entry: dict[str, Any]) -> Iterator[GpuReading]:
    name, arguments = entry["call"], entry.get("with", [])
    key = " ".join((name, *arguments))
    if key in device.lacks:
        return
    values = [driver.constant(argument) for argument in arguments]
    try:
        if None in values:
            raise Unsupported(f"{name}: {arguments} is not in this version of nvidia-ml-py")
        result = driver.call(name, device.handle, *values)
    except Unsupported:
        device.lacks.add(key)
        return
    except Unreadable:
        return
    scale = entry.get("scale", 1)
    if "values" in entry:
        for part, metric in entry["values"].items():
            yield GpuReading(metric, float(getattr(result, part)))
    else:
        number = result[entry["item"]] if "item" in entry else result
        yield GpuReading(entry["metric"], float(number) * scale)


def _memory(driver: Driver, device: Device) -> Iterator[GpuReading]:
    """Memory in bytes. With MIG the instances hold it, and the whole GPU's would count it twice."""
    if device.has_mig:
        return
    reserved: float | None = None
    try:
        if "memory_v2" in device.lacks or driver.constant("nvmlMemory_v2") is None:
            raise Unsupported("version 2 of the memory information")
        info = driver.call("nvmlDeviceGetMemoryInfo", device.handle, driver.constant("nvmlMemory_v2"))
        reserved = float(info.reserved)
    except Unsupported:
        device.lacks.add("memory_v2")
        if "memory" in device.lacks:
            return
        try:
            info = driver.call("nvmlDeviceGetMemoryInfo", device.handle)
        except Unsupported:
            # Unified-memory systems have no memory of their own to report.
            device.lacks.add("memory")
            return
        except Unreadable:
            return
    except Unreadable:
        return
    yield GpuReading("gpu.memory.used", float(info.used))
    yield GpuReading("gpu.memory.free", float(info.free))
    yield GpuReading("gpu.memory.total", float(info.total))
    if reserved is not None:
        yield GpuReading("gpu.memory.reserved", reserved)
    if info.total:
        yield GpuReading("gpu.memory.utilization", float(info.used) / float(info.total) * 100)
