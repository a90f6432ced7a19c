"""XID errors as NVML's event set reports them, in a thread that waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from .driver import DeviceLost, Driver, DriverLost, Unreadable, Unsupported
from .model import Device, address

WAIT = 1000
"""Milliseconds for which the driver is asked to wait for an event: the longest that stopping takes."""

NO_INSTANCE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Xid:
    """One XID error: the code, the GPU by its UUID, the GPU instance if it is of one, the time in epoch seconds."""

    code: int
    uuid: str
    instance: int | None
    time: float


class XidWatcher:
    """Waits for XID errors of some GPUs. What it saw is taken with `drain`, once.

    One event set serves as long as NVML does: between two sets, or with two at once, errors would be lost or doubled.
    """

    def __init__(self, driver: Driver, devices: Iterable[Device]) -> None:
        self._driver = driver
        self._devices = [device for device in devices if not device.is_mig]
        self._watched: set[str] = set()
        self._refused: set[str] = set()
        self._by_address: dict[Any, str] = {}
        self._seen: SimpleQueue[Xid] = SimpleQueue()
        self._stop = threading.Event()
        self._set: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Register the GPUs and start to wait. GPUs without such events are passed over.

        Raises DriverLost, Unreadable, or Unsupported where no GPU has them.
        """
        while True:
            self._set = self._driver.call("nvmlEventSetCreate")
            self._watched = set()
            if self._register(self._devices):
                break
            self._free()
        if not self._watched:
            self._free()
            raise Unsupported("no GPU reports XID events")
        self._thread = threading.Thread(target=self._wait, name="model_serving-xid", daemon=True)
        self._thread.start()

    def follow(self, devices: Iterable[Device]) -> None:
        """Watch these GPUs from now on, those that were watched already without a gap."""
        gpus = [device for device in devices if not device.is_mig]
        self._watched &= {device.uuid for device in gpus}
        if not self._register(gpus):
            self.stop()

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> bool:
        """End the thread, which gives the event set back; whether it did end.

        What was seen until then can still be drained.
        """
        self._stop.set()
        if self._thread is not None:
            self._thread.join(WAIT / 1000 + 5)
        return not self.alive

    def drain(self) -> list[Xid]:
        """XIDs seen since the last call, oldest first."""
        found = []
        while True:
            try:
                found.append(self._seen.get_nowait())
            except Empty:
                return found

    def _register(self, gpus: Iterable[Device]) -> bool:
        """Add GPUs to the event set. False where an error left it in an undefined state, as nvml.h says."""
        kind = self._driver.constant("nvmlEventTypeXidCriticalError")
        for gpu in gpus:
            if gpu.uuid in self._watched | self._refused:
                continue
            self._by_address[address(gpu.handle)] = gpu.uuid
            try:
                self._driver.call("nvmlDeviceRegisterEvents", gpu.handle, kind, self._set)
            except (Unsupported, DeviceLost):
                continue
            except Unreadable:
                self._refused.add(gpu.uuid)
                return False
            self._watched.add(gpu.uuid)
        return True

    def _wait(self) -> None:
        library = self._driver.library
        try:
            while not self._stop.is_set():
                try:
                    data = library.nvmlEventSetWait_v2(self._set, WAIT)
                except library.NVMLError as error:
                    name = type(error).__name__
                    if name == "NVMLError_Timeout":
                        continue
                    if isinstance(self._driver.translated(error, "nvmlEventSetWait"), DriverLost):
                        return
                    # A lost GPU makes every wait return at once; the others are still watched.
                    self._stop.wait(WAIT / 1000)
                    continue
                instance = None if data.gpuInstanceId in (NO_INSTANCE, None) else int(data.gpuInstanceId)
                self._seen.put(Xid(int(data.eventData), self._uuid_of(data.device), instance, time.time()))
        finally:
            self._free()

    def _uuid_of(self, handle: Any) -> str:
        # The handle names even a GPU that fell off the bus and can't say who it is.
        known = self._by_address.get(address(handle))
        if known is not None:
            return known
        library = self._driver.library
        try:
            uuid = library.nvmlDeviceGetUUID(handle)
        except library.NVMLError:
            return ""
        return uuid.decode("utf-8", "replace") if isinstance(uuid, bytes) else str(uuid)

    def _free(self) -> None:
        events, self._set = self._set, None
        library = self._driver.library
        if events is not None and library is not None:
            with suppress(library.NVMLError):
                library.nvmlEventSetFree(events)
