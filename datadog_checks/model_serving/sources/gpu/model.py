"""A GPU as the check remembers it, and one value that it tells."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One value for one canonical metric, in the metric's unit. `tags` are beyond those of the device."""

    metric: str
    value: float
    tags: tuple[str, ...] = ()
    count: bool = False


@dataclass(slots=True)
class Device:
    """A GPU or MIG instance. `lacks` holds what it could not be asked, so that nothing is asked twice.

    `parent` is the GPU of a MIG instance. A GPU that can't be opened has no handle, but a `problem`.
    """

    handle: Any
    index: int
    uuid: str
    tags: tuple[str, ...]
    parent: Device | None = None
    has_mig: bool = False
    lacks: set[str] = field(default_factory=set)
    settings: list[GpuReading] = field(default_factory=list)
    counters: dict[tuple[str, tuple[str, ...]], tuple[float, float]] = field(default_factory=dict)
    healthy: bool = True
    problem: str = ""

    @property
    def is_mig(self) -> bool:
        return self.parent is not None

    def inherit(self, old: Device | None) -> Device:
        """Take over what is remembered of the same device, found earlier.

        What it lacked is asked again once it was lost, or was given another handle or MIG mode.
        """
        if old is not None and not self.is_mig:
            self.counters, self.healthy = old.counters, old.healthy
            if old.healthy and old.has_mig == self.has_mig and address(old.handle) == address(self.handle):
                self.lacks = old.lacks
        return self


def address(handle: Any) -> Any:
    """What identifies a handle: the address a ctypes pointer holds, or the handle itself."""
    try:
        return ctypes.cast(handle, ctypes.c_void_p).value
    except (ctypes.ArgumentError, TypeError):
        return handle
