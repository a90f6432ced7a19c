"""A simulated NVIDIA driver for hosts without one: what `gpu: nvml` calls, told from the simulated GPUs.

Names and units of functions, fields and errors are those of nvml.h as the module pynvml passes them on. What is not
here is what such a GPU lacks.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

from ...errors import DriverError
from ...sources.gpu.driver import DeviceLost, Driver, DriverLost, Unreadable, Unsupported
from .gpu import GpuNode, SimulatedGpu

PYNVML = "pynvml"
MIB = 1 << 20
NO_INSTANCE = 0xFFFFFFFF
TICK = 0.1
"""Seconds after which a wait for events ends at the latest, so that whoever waits soon sees that it shall end."""

PATIENCE = 5.0
"""Seconds for which an XID error waits to be taken."""

_UNSIGNED, _LONG = 1, 3
_SM, _MEMORY = 1, 2
_SLOWDOWN = 1
_XID_EVENT = 8

CONSTANTS: Mapping[str, int] = {
    "NVML_TEMPERATURE_GPU": 0,
    "NVML_TEMPERATURE_THRESHOLD_SLOWDOWN": _SLOWDOWN,
    "NVML_CLOCK_SM": _SM,
    "NVML_CLOCK_MEM": _MEMORY,
    "NVML_PCIE_UTIL_TX_BYTES": 0,
    "NVML_PCIE_UTIL_RX_BYTES": 1,
    "NVML_VALUE_TYPE_UNSIGNED_INT": _UNSIGNED,
    "NVML_VALUE_TYPE_UNSIGNED_LONG_LONG": _LONG,
    "NVML_FI_DEV_MEMORY_TEMP": 82,
    "NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION": 83,
    "NVML_FI_DEV_PCIE_REPLAY_COUNTER": 94,
    "nvmlMemory_v2": 0x02000028,
    "nvmlEventTypeXidCriticalError": _XID_EVENT,
}

FIELDS: Mapping[int, tuple[int, Callable[[SimulatedGpu], int]]] = {
    82: (_UNSIGNED, lambda gpu: round(gpu.memory_temperature)),
    83: (_LONG, lambda gpu: gpu.energy),
    94: (_UNSIGNED, lambda gpu: 0),
}
"""Type and value of each field by its number."""

FIXED: Mapping[str, Callable[..., Any]] = {
    "nvmlDeviceGetUUID": lambda gpu: gpu.gpu.uuid,
    "nvmlDeviceGetName": lambda gpu: gpu.host.model,
    "nvmlDeviceGetPersistenceMode": lambda gpu: 1,
    "nvmlDeviceGetComputeMode": lambda gpu: 0,
    "nvmlDeviceGetPowerManagementLimit": lambda gpu: round(gpu.host.power_limit * 1000),
    "nvmlDeviceGetMaxClockInfo": lambda gpu, clock: {_SM: gpu.host.sm_clock[1], _MEMORY: gpu.host.memory_clock}[clock],
    "nvmlDeviceGetTemperatureThreshold": lambda gpu, threshold: {_SLOWDOWN: round(gpu.host.throttle_at)}[threshold],
}
"""What the driver remembers of a GPU that fell off the bus: such a one of the demo comes back without a reset."""

LIVE: Mapping[str, Callable[..., Any]] = {
    "nvmlDeviceGetUtilizationRates": lambda gpu: SimpleNamespace(
        gpu=round(gpu.utilization), memory=round(gpu.copy_utilization)
    ),
    "nvmlDeviceGetTemperature": lambda gpu, sensor: round(gpu.temperature),
    "nvmlDeviceGetPowerUsage": lambda gpu: round(gpu.power * 1000),
    "nvmlDeviceGetClockInfo": lambda gpu, clock: {_SM: gpu.sm_clock, _MEMORY: gpu.host.memory_clock}[clock],
    "nvmlDeviceGetEncoderUtilization": lambda gpu: [0, 0],
    "nvmlDeviceGetDecoderUtilization": lambda gpu: [0, 0],
    "nvmlDeviceGetPerformanceState": lambda gpu: 0,
    "nvmlDeviceGetPcieThroughput": lambda gpu, way: round((gpu.pcie_received if way else gpu.pcie_sent) / 1000),
    "nvmlDeviceGetMemoryInfo": lambda gpu, version=None: SimpleNamespace(
        total=gpu.host.memory_mib * MIB,
        reserved=gpu.host.reserved_mib * MIB,
        free=gpu.memory_free * MIB,
        used=gpu.memory_used * MIB,
    ),
    "nvmlDeviceGetFieldValues": lambda gpu, fields: [_field(gpu, number) for number in fields],
    # The program that holds the memory is the one in which the models are simulated.
    "nvmlDeviceGetComputeRunningProcesses": lambda gpu: [
        SimpleNamespace(pid=os.getpid(), usedGpuMemory=gpu.memory_used * MIB, gpuInstanceId=NO_INSTANCE)
    ],
}


class NVMLError(Exception):
    """Base of the errors, as in pynvml one class for each."""


_TEXTS = {
    "Uninitialized": "Uninitialized",
    "InvalidArgument": "Invalid Argument",
    "NotFound": "Not Found",
    "Timeout": "Timeout",
    "GpuIsLost": "GPU is lost",
}
ERRORS: Mapping[str, type[Exception]] = {name: type(f"NVMLError_{name}", (NVMLError,), {}) for name in _TEXTS}


class _EventSet:
    def __init__(self) -> None:
        self.told: dict[SimulatedGpu, int] = {}
        """How many of a GPU's XID errors need no event any more."""
        self.queue: list[SimpleNamespace] = []
        self.taken = False
        """Whether an event was handed out and the one who waits is not back."""


class SimulatedDriver:
    """NVML for the GPUs of a node. Nothing uses it outside of `in_place`.

    Readings are as safe as the node: take them in the thread that advances it. Events may be waited for in any thread.
    """

    def __init__(self, node: GpuNode) -> None:
        self.used = False
        self.initialised = 0
        self._node = node
        self._sets: list[_EventSet] = []
        self._changed = threading.Condition()
        self.module = ModuleType(PYNVML, "The demo's simulated driver in place of nvidia-ml-py.")
        own = {name: getattr(self, name) for name in dir(self) if name.startswith("nvml")}
        answers = {name: partial(self._answer, call, name in FIXED) for name, call in {**FIXED, **LIVE}.items()}
        errors = {f"NVMLError_{name}": kind for name, kind in ERRORS.items()}
        vars(self.module).update({**CONSTANTS, "NVMLError": NVMLError, **errors, **answers, **own})

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Be what `import pynvml` gives, as long as the context lasts."""
        before = {PYNVML: sys.modules[PYNVML]} if PYNVML in sys.modules else {}
        sys.modules[PYNVML] = self.module
        self.used = True
        try:
            yield
        finally:
            del sys.modules[PYNVML]
            sys.modules.update(before)

    def deliver(self) -> None:
        """Hand new XID errors to those who wait for them, and return when they have been taken."""
        with self._changed:
            for events in self._sets:
                for gpu, told in events.told.items():
                    events.queue += [_event(gpu, code) for code in gpu.xids[told:]]
                    events.told[gpu] = len(gpu.xids)
            self._changed.notify_all()
            self._changed.wait_for(self._settled, PATIENCE)

    def _settled(self) -> bool:
        return not any(events.queue or events.taken for events in self._sets)

    def _answer(self, call: Callable[..., Any], fixed: bool, gpu: SimulatedGpu, *arguments: Any) -> Any:
        self._ready()
        if gpu.lost and not fixed:
            raise _error("GpuIsLost")
        try:
            return call(gpu, *arguments)
        except LookupError:
            raise _error("InvalidArgument") from None

    def _ready(self) -> None:
        if not self.initialised:
            raise _error("Uninitialized")

    # Functions of pynvml.

    def nvmlInit(self) -> None:
        self.initialised += 1

    def nvmlShutdown(self) -> None:
        self._ready()
        self.initialised -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        self._ready()
        return self._node.host.driver

    def nvmlDeviceGetCount(self) -> int:
        self._ready()
        return len(self._node.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimulatedGpu:
        self._ready()
        if not 0 <= index < len(self._node.devices):
            raise _error("InvalidArgument")
        return self._node.devices[index]

    def nvmlDeviceGetProcessUtilization(self, gpu: SimulatedGpu, since: int) -> list[SimpleNamespace]:
        self._ready()
        now = round(self._node.now * 1_000_000)
        if gpu.lost:
            raise _error("GpuIsLost")
        if now <= since:
            raise _error("NotFound")
        return [SimpleNamespace(pid=os.getpid(), timeStamp=now, smUtil=round(gpu.utilization))]

    def nvmlEventSetCreate(self) -> _EventSet:
        self._ready()
        with self._changed:
            self._sets.append(_EventSet())
            return self._sets[-1]

    def nvmlDeviceRegisterEvents(self, gpu: SimulatedGpu, kinds: int, events: _EventSet) -> None:
        self._ready()
        with self._changed:
            if events not in self._sets or not kinds & _XID_EVENT:
                raise _error("InvalidArgument")
            # Errors from before the registration are not told.
            events.told.setdefault(gpu, len(gpu.xids))

    def nvmlEventSetWait_v2(self, events: _EventSet, milliseconds: int) -> SimpleNamespace:
        self._ready()
        with self._changed:
            events.taken = False
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: events.queue, min(milliseconds / 1000, TICK)):
                raise _error("Timeout")
            events.taken = True
            return events.queue.pop(0)

    def nvmlEventSetFree(self, events: _EventSet) -> None:
        with self._changed:
            if events not in self._sets:
                raise _error("InvalidArgument")
            self._sets.remove(events)
            self._changed.notify_all()


def usable() -> bool:
    """Tell whether NVML works on this host and shows a GPU."""
    driver = Driver()
    try:
        driver.open()
        return bool(driver.call("nvmlDeviceGetCount"))
    except (DriverError, DriverLost, DeviceLost, Unreadable, Unsupported):
        return False
    finally:
        driver.close()


def _error(name: str) -> Exception:
    return ERRORS[name](_TEXTS[name])


def _field(gpu: SimulatedGpu, number: int) -> SimpleNamespace:
    kind, value = FIELDS[number]
    member = "ullVal" if kind == _LONG else "uiVal"
    return SimpleNamespace(nvmlReturn=0, valueType=kind, value=SimpleNamespace(**{member: value(gpu)}))


def _event(gpu: SimulatedGpu, code: int) -> SimpleNamespace:
    return SimpleNamespace(device=gpu, eventData=code, eventType=_XID_EVENT, gpuInstanceId=NO_INSTANCE)
