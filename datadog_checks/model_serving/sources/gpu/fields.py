"""Field values: many readings of one GPU in one call, most of them counters."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

from .driver import DeviceLost, Driver, DriverLost, Unreadable, Unsupported
from .model import Device, GpuReading

ALL_LINKS = 0xFFFFFFFF
"""Scope of an NVLink field that asks for all links together."""

NARROW = 1 << 32
"""What a counter of 32 bits never reaches."""


def read_fields(driver: Driver, device: Device, entries: Iterable[dict[str, Any]]) -> Iterator[GpuReading]:
    """The fields of readings.yaml that the device has, in one call. Raises DeviceLost or DriverLost."""
    asked = []
    for entry in entries:
        if entry["field"] in device.lacks:
            continue
        identifier = driver.constant(entry["field"])
        if identifier is None:
            device.lacks.add(entry["field"])
            continue
        asked.append((entry, (identifier, ALL_LINKS) if entry.get("all_links") else identifier))
    if not asked:
        return
    try:
        values = driver.call("nvmlDeviceGetFieldValues", device.handle, [identifier for _, identifier in asked])
    except Unsupported:
        device.lacks.update(entry["field"] for entry, _ in asked)
        return
    except Unreadable:
        return
    now = time.monotonic()
    for (entry, _), value in zip(asked, values, strict=True):
        if value.nvmlReturn != 0:
            _field_failed(driver, device, entry["field"], value.nvmlReturn)
            continue
        number, bits = field_value(driver, value)
        if entry.get("wide_only") and bits < 64:
            device.lacks.add(entry["field"])
            continue
        yield from _taken(device, entry, number, bits, now)


def _field_failed(driver: Driver, device: Device, name: str, code: int) -> None:
    error = driver.translated(driver.library.NVMLError(code), name)
    if isinstance(error, Unsupported):
        device.lacks.add(name)
    elif isinstance(error, DeviceLost | DriverLost):
        raise error


def field_value(driver: Driver, value: Any) -> tuple[int | float, int]:
    """The number in an nvmlFieldValue_t, and the bits of its type (0 for a floating-point one)."""
    for constant, member, bits in (
        ("NVML_VALUE_TYPE_DOUBLE", "dVal", 0),
        ("NVML_VALUE_TYPE_UNSIGNED_INT", "uiVal", 32),
        ("NVML_VALUE_TYPE_UNSIGNED_LONG", "ulVal", 64),
        ("NVML_VALUE_TYPE_UNSIGNED_LONG_LONG", "ullVal", 64),
        ("NVML_VALUE_TYPE_SIGNED_LONG_LONG", "sllVal", 64),
        ("NVML_VALUE_TYPE_SIGNED_INT", "siVal", 32),
        ("NVML_VALUE_TYPE_UNSIGNED_SHORT", "usVal", 16),
    ):
        if value.valueType == driver.constant(constant):
            return getattr(value.value, member), bits
    return value.value.ullVal, 64


def _taken(device: Device, entry: dict[str, Any], number: int | float, bits: int, now: float) -> Iterator[GpuReading]:
    tags = tuple(f"{name}:{value}" for name, value in entry.get("tags", {}).items())
    kind, scale, metric = entry.get("kind", "gauge"), entry.get("scale", 1), entry["metric"]
    if bits and number == (1 << bits) - 1:
        # All ones stand for "not available". A counter goes on from where it was.
        yield GpuReading(metric, math.inf, tags)
        return
    if kind == "gauge":
        yield GpuReading(metric, number * scale, tags)
        return
    last = device.counters.get((metric, tags))
    device.counters[metric, tags] = (number, now)
    if last is None:
        return
    increase, seconds = increment(last[0], number, int(entry.get("bits", bits))), now - last[1]
    if kind == "counter":
        # A counter that was reset with its GPU, or by hand, counts from zero.
        yield GpuReading(metric, (number if increase is None else increase) * scale, tags, count=True)
    elif increase is None:
        # When the reset was, nobody knows: no rate. One that never left 32 bits wraps unseen as often as seen.
        if entry.get("wide_only") and last[0] < NARROW:
            device.lacks.add(entry["field"])
    elif seconds > 0:
        yield GpuReading(metric, increase * scale / seconds, tags)


def increment(last: int | float, number: int | float, bits: int) -> int | float | None:
    """By how much a counter of so many bits (0: a floating-point one) rose; None if it was reset.

    A fall is a wrap only where that makes less than half the range: errors reset to zero are not 4 billion errors.
    """
    difference = number - last
    if difference >= 0:
        return difference
    wrapped = difference + (1 << bits)
    return wrapped if 0 < bits < 64 and wrapped < 1 << (bits - 1) else None
