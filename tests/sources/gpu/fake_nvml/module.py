"""The fake NVML as a Python module in pynvml's place: the same commands, for where no C compiler is."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

from .constants import CONSTANTS, ERRORS

NONE = 0xFFFFFFFF
NOT_AVAILABLE = 0xFFFFFFFFFFFFFFFF
SIGNED = {"4": 64, "5": 32}
"""Value types with a sign, and their bits."""

MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")

C_NAMES = {
    "nvmlInit": "nvmlInitWithFlags",
    "nvmlDeviceGetCount": "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex": "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetComputeRunningProcesses": "nvmlDeviceGetComputeRunningProcesses_v3",
}
"""What pynvml calls in the library, where that has another name."""

ONE = (
    "nvmlDeviceGetPersistenceMode",
    "nvmlDeviceGetComputeMode",
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetFanSpeed",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetPowerManagementLimit",
    "nvmlDeviceGetPerformanceState",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetTemperatureThreshold",
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetMaxClockInfo",
    "nvmlDeviceGetPcieThroughput",
)
TWO = ("nvmlDeviceGetMigMode", "nvmlDeviceGetEncoderUtilization", "nvmlDeviceGetDecoderUtilization")


class NVMLError(Exception):
    """Base of all errors, one class per return code, as in pynvml."""

    classes: dict[int, type[NVMLError]] = {}  # noqa: RUF012

    def __new__(cls, code: int) -> NVMLError:
        made: NVMLError = Exception.__new__(cls.classes.get(code, cls))
        made.value = code
        return made

    value: int

    def __str__(self) -> str:
        return f"NVML error {self.value}"


NVMLError.classes = {code: type(f"NVMLError_{name}", (NVMLError,), {}) for code, name in ERRORS.items()}


@dataclass(eq=False)
class Device:
    parent: Device | None = None
    instance: int = 0
    lost: bool = False
    uuid: str = ""
    name: str = ""
    cells: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    failures: dict[str, list[int]] = field(default_factory=dict)
    fields: dict[int, Any] = field(default_factory=dict)
    instances: dict[int, Device] = field(default_factory=dict)
    processes: list[SimpleNamespace] | None = None
    samples: list[SimpleNamespace] | None = None


@dataclass(eq=False)
class EventSet:
    watches: list[Device] = field(default_factory=list)
    queue: list[SimpleNamespace] = field(default_factory=list)
    handed_out: bool = False


class FakeModule:
    """`module` is what goes into `sys.modules` as pynvml; the rest is as in library.Library."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._reset()
        self.module = ModuleType("pynvml")
        for name, value in CONSTANTS.items():
            setattr(self.module, name, value)
        self.module.NVMLError = NVMLError  # type: ignore[attr-defined]
        for made in NVMLError.classes.values():
            setattr(self.module, made.__name__, made)
        for name in (*ONE, *TWO):
            setattr(self.module, name, self._reader(name, name in TWO))
        for name in dir(self):
            if name.startswith("nvml"):
                setattr(self.module, name, getattr(self, name))

    # What the tests ask.

    def calls(self, function: str | None = None, device: str | None = None) -> int:
        return sum(
            count
            for (name, where), count in self._calls.items()
            if function in (None, name) and (where is None if device is None else where is self._device(device))
        )

    def settled(self) -> bool:
        with self._changed:
            return not any(events.queue or events.handed_out for events in self._sets)

    def event_sets(self) -> int:
        return len(self._sets) + self._leaked

    def initialised(self) -> int:
        return self._initialised

    def registered_twice(self) -> int:
        return self._registered_twice

    # Commands.

    def _reset(self) -> None:
        self._gpus: list[Device] = []
        self._spare: dict[int, Device] = {}
        self._failures: dict[str, list[int]] = {}
        self._calls: Counter[tuple[str, Device | None]] = Counter()
        self._sets: list[EventSet] = []
        self._hooks: list[tuple[str, str]] = []
        self._driver = "550.00"
        self._initialised = self._closed = self._stale = self._registered_twice = self._leaked = 0

    def control(self, text: str) -> None:
        """Carry out commands, one per line. Raises ValueError with the line that is wrong."""
        with self._changed:
            for line in text.splitlines():
                if line and not line.startswith("#"):
                    try:
                        self._command(line)
                    except (LookupError, ValueError, TypeError) as error:
                        raise ValueError(f"not a command of the fake NVML: {line!r}") from error
            self._changed.notify_all()

    def _command(self, line: str) -> None:
        verb, *rest = line.split()
        if verb == "reset":
            self._reset()
        elif verb == "driver":
            self._closed = {"none": 9, "mismatch": 18}.get(rest[0], 0)
            self._driver = self._driver if self._closed else rest[0]
            self._stale = (int(rest[1]) if len(rest) > 1 else 18) if self._initialised else self._stale
        elif verb == "gpus":
            for index in range(int(rest[0])):
                self._spare.setdefault(index, Device())
            self._gpus = [self._spare[index] for index in range(int(rest[0]))]
        elif verb == "fail":
            where = self._failures if rest[0] == "-" else self._device(rest[0]).failures
            where[rest[1]] = [int(rest[2]), int(rest[3]) if len(rest) > 3 else -1]
        elif verb == "during":
            self._hooks.append((rest[0], " ".join(rest[1:])))
        elif verb in ("uuid", "name"):
            setattr(self._device(rest[0]), verb, " ".join(rest[1:]))
        elif verb in ("mig", "unmig"):
            gpu, slot = self._device(rest[0].split("/")[0]), int(rest[0].split("/")[1])
            gpu.instances.pop(slot, None)
            if verb == "mig":
                gpu.instances[slot] = Device(parent=gpu, instance=int(rest[1]))
        else:
            self._on_device(verb, self._device(rest[0]), rest[1:])

    def _on_device(self, verb: str, device: Device, rest: list[str]) -> None:
        if verb in ("lose", "find"):
            device.lost = verb == "lose"
            for events in self._sets if verb == "find" else ():
                # It was reset in between: what was registered for it is gone.
                events.watches = [watched for watched in events.watches if watched is not device]
        elif verb in ("set", "unset"):
            function, _, argument = rest[0].partition(":")
            key = (function, int(argument or 0))
            device.cells.pop(key, None)
            if verb == "set":
                device.cells[key] = [_number(text) for text in rest[1:]]
        elif verb == "field":
            if rest[1] == "error":
                old = device.fields.get(int(rest[0]), (0, 0, 0, None))
                failure = [int(rest[2]), int(rest[3]) if len(rest) > 3 else -1]
                device.fields[int(rest[0])] = (*old[:3], failure)
            else:
                value: Any = float(rest[2]) if rest[1] == "0" else _number(rest[2])
                if rest[1] in SIGNED:
                    bits = SIGNED[rest[1]]
                    value -= (1 << bits) if value >> (bits - 1) else 0
                scope = int(rest[3], 0) if len(rest) > 3 else 0
                device.fields[int(rest[0])] = (int(rest[1]), value, scope, None)
        elif verb == "process":
            memory = None if rest[1] == "-" else int(rest[1])
            instance = int(rest[2]) if len(rest) > 2 else NONE
            process = SimpleNamespace(pid=int(rest[0]), usedGpuMemory=memory, gpuInstanceId=instance)
            device.processes = [*(device.processes or ()), process]
        elif verb == "sample":
            sample = SimpleNamespace(pid=int(rest[0]), timeStamp=int(rest[1]), smUtil=int(rest[2]))
            device.samples = [*(device.samples or ()), sample]
        elif verb == "idle":
            device.processes, device.samples = [], []
        elif verb == "xid":
            instance = int(rest[1]) if len(rest) > 1 else NONE
            event = SimpleNamespace(device=device, eventData=int(rest[0]), eventType=8, gpuInstanceId=instance)
            for events in self._sets:
                if device in events.watches:
                    events.queue.append(event)
        else:
            raise ValueError(verb)

    def _device(self, name: str) -> Device:
        gpu, _, slot = name.partition("/")
        device = self._spare.setdefault(int(gpu), Device())
        return device.instances[int(slot)] if slot else device

    # What every call goes through.

    def _enter(self, function: str, device: Device | None = None) -> None:
        for hook in [hook for hook in self._hooks if hook[0] == function]:
            self._hooks.remove(hook)
            self.control(hook[1])
        self._calls[function, None] += 1
        if not self._initialised:
            raise NVMLError(1)
        if self._stale:
            raise NVMLError(self._stale)
        _fail(self._failures.get(function))
        if device is None:
            return
        gpu = device.parent or device
        if gpu not in self._gpus or (device is not gpu and device not in gpu.instances.values()):
            raise NVMLError(2)
        self._calls[function, device] += 1
        if gpu.lost:
            raise NVMLError(15)
        _fail(device.failures.get(function))

    def _cell(self, function: str, device: Device, argument: int = 0) -> list[int]:
        with self._changed:
            self._enter(function, device)
            if (function, argument) not in device.cells:
                raise NVMLError(3)
            return device.cells[function, argument]

    def _reader(self, name: str, two: bool) -> Callable[..., Any]:
        def read(device: Device, argument: int = 0) -> Any:
            values = self._cell(name, device, argument)
            return values[:2] if two else values[0]

        return read

    # Functions of pynvml.

    def nvmlInit(self) -> None:
        with self._changed:
            self._calls["nvmlInitWithFlags", None] += 1
            if self._closed:
                raise NVMLError(self._closed)
            _fail(self._failures.get("nvmlInitWithFlags"))
            self._stale = self._stale if self._initialised else 0
            self._initialised += 1

    def nvmlShutdown(self) -> None:
        with self._changed:
            self._calls["nvmlShutdown", None] += 1
            if not self._initialised:
                raise NVMLError(1)
            self._initialised -= 1
            if not self._initialised:
                # With another driver, sets can't be given back.
                self._leaked += 0 if self._stale else len(self._sets)
                self._sets = []
            self._changed.notify_all()

    def nvmlSystemGetDriverVersion(self) -> str:
        self._enter("nvmlSystemGetDriverVersion")
        return self._driver

    def nvmlDeviceGetCount(self) -> int:
        self._enter("nvmlDeviceGetCount_v2")
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Device:
        self._enter("nvmlDeviceGetHandleByIndex_v2")
        device = self._gpus[index]
        if device.lost:
            raise NVMLError(15)
        _fail(device.failures.get("nvmlDeviceGetHandleByIndex_v2"))
        return device

    def nvmlDeviceGetUUID(self, device: Device) -> str:
        self._enter("nvmlDeviceGetUUID", device)
        return device.uuid

    def nvmlDeviceGetName(self, device: Device) -> str:
        self._enter("nvmlDeviceGetName", device)
        return device.name

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Device, index: int) -> Device:
        self._enter("nvmlDeviceGetMigDeviceHandleByIndex", device)
        if index not in device.instances:
            raise NVMLError(6)
        return device.instances[index]

    def nvmlDeviceGetGpuInstanceId(self, device: Device) -> int:
        self._enter("nvmlDeviceGetGpuInstanceId", device)
        return device.instance

    def nvmlDeviceGetMemoryInfo(self, device: Device, version: int | None = None) -> SimpleNamespace:
        values = self._cell("nvmlDeviceGetMemoryInfo_v2" if version else "nvmlDeviceGetMemoryInfo", device)
        return SimpleNamespace(**dict(zip(("total", "free", "used", "reserved"), values, strict=False)))

    def nvmlDeviceGetUtilizationRates(self, device: Device) -> SimpleNamespace:
        gpu, memory = self._cell("nvmlDeviceGetUtilizationRates", device)
        return SimpleNamespace(gpu=gpu, memory=memory)

    def nvmlDeviceGetFieldValues(self, device: Device, asked: list[Any]) -> list[SimpleNamespace]:
        self._enter("nvmlDeviceGetFieldValues", device)
        return [self._field(device, *(one if isinstance(one, tuple) else (one, 0))) for one in asked]

    def _field(self, device: Device, identifier: int, scope: int) -> SimpleNamespace:
        if identifier not in device.fields or device.parent is not None:
            return SimpleNamespace(nvmlReturn=3)
        kind, value, own_scope, failure = device.fields[identifier]
        if scope != own_scope:
            return SimpleNamespace(nvmlReturn=2)
        try:
            _fail(failure)
        except NVMLError as error:
            return SimpleNamespace(nvmlReturn=error.value)
        return SimpleNamespace(nvmlReturn=0, valueType=kind, value=SimpleNamespace(**{MEMBERS[kind]: value}))

    def nvmlDeviceGetComputeRunningProcesses(self, device: Device) -> list[SimpleNamespace]:
        return self._processes("nvmlDeviceGetComputeRunningProcesses_v3", device)

    def nvmlDeviceGetComputeRunningProcesses_v2(self, device: Device) -> list[SimpleNamespace]:
        return self._processes("nvmlDeviceGetComputeRunningProcesses_v2", device)

    def _processes(self, function: str, device: Device) -> list[SimpleNamespace]:
        self._enter(function, device)
        if device.processes is None:
            raise NVMLError(3)
        return device.processes

    def nvmlDeviceGetProcessUtilization(self, device: Device, since: int) -> list[SimpleNamespace]:
        self._enter("nvmlDeviceGetProcessUtilization", device)
        if device.samples is None:
            raise NVMLError(3)
        newer = [sample for sample in device.samples if sample.timeStamp > since]
        if not newer:
            raise NVMLError(6)
        return newer

    def nvmlEventSetCreate(self) -> EventSet:
        self._enter("nvmlEventSetCreate")
        self._sets.append(EventSet())
        return self._sets[-1]

    def nvmlDeviceRegisterEvents(self, device: Device, types: int, events: EventSet) -> None:
        with self._changed:
            self._enter("nvmlDeviceRegisterEvents", device)
            if events not in self._sets or types != 8:
                raise NVMLError(2)
            if device.parent is not None or ("nvmlDeviceRegisterEvents", 0) not in device.cells:
                raise NVMLError(3)
            self._registered_twice += device in events.watches
            events.watches.append(device)

    def nvmlEventSetWait_v2(self, events: EventSet, milliseconds: int) -> SimpleNamespace:
        with self._changed:
            self._enter("nvmlEventSetWait_v2")
            events.handed_out = False
            while not events.queue:
                if any(device.lost for device in events.watches):
                    raise NVMLError(15)
                if not self._changed.wait(milliseconds / 1000):
                    raise NVMLError(10)
                if self._stale or not self._initialised:
                    raise NVMLError(self._stale or 1)
            events.handed_out = True
            return events.queue.pop(0)

    def nvmlEventSetFree(self, events: EventSet) -> None:
        with self._changed:
            self._enter("nvmlEventSetFree")
            if events not in self._sets:
                raise NVMLError(2)
            self._sets.remove(events)


def _fail(failure: list[int] | None) -> None:
    if failure is not None and failure[1]:
        failure[1] -= failure[1] > 0
        raise NVMLError(failure[0])


def _number(text: str) -> int:
    return NOT_AVAILABLE if text == "-" else int(text, 0)
