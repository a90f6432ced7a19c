"""An instance with `gpu: nvml`: the GPUs of this host as one source of the check."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datadog_checks.base.agent import datadog_agent

from ...catalog.codes import builtin_codes
from ...catalog.loader import builtin_catalog
from ...catalog.model import NAMESPACE
from ...errors import DriverError
from ...log_once import LogOnce
from ...scrape.scraper import ServingScraper
from ...scrape.versions import Version
from ...settings import GpuSettings
from ..loaded import LoadedVersion
from .device import VENDOR, discover, read, read_settings
from .driver import DeviceLost, Driver, DriverLost, Unreadable, Unsupported
from .events import Xid, XidWatcher
from .model import Device, GpuReading
from .processes import Owners, Usage, lacks_processes, usages

SYSTEM = "nvml"
DISCOVER_EVERY = 60.0
"""Seconds after which GPUs, MIG instances and limits are looked up again."""

PATIENCE = 5.0
"""Seconds for which closing waits for a run in progress, which otherwise closes at its own end."""

HEALTH = "gpu.health"
OK, CRITICAL = 0, 2


class GpuSource:
    """The GPUs of this host. `run` once per run of the check, `close` when the check ends.

    `instance` is what messages call the instance. Where the source is optional, a host without GPUs, driver or pynvml
    is no failure and no noise. Without a name the endpoint is called like the host.
    """

    def __init__(self, check: Any, instance: str, settings: GpuSettings) -> None:
        self.check = check
        self.instance = instance
        self.settings = settings
        name = settings.endpoint_name or check.hostname
        self.tags = (*settings.tags, f"endpoint_name:{name}", f"serving_system:{SYSTEM}")
        self.driver = Driver()
        self.devices: list[Device] = []
        self.broken: list[Device] = []
        self.watcher: XidWatcher | None = None
        self.owners = Owners(_proc(), _tagger())
        self.metrics = builtin_catalog().metrics
        self._discovered = float("-inf")
        self._known: dict[str, Device] = {}
        self._began = 0.0
        self._once = LogOnce(check.log)
        self._lock = threading.Lock()
        self._ended = False

    @property
    def scrapers(self) -> Mapping[str, ServingScraper]:
        """None: NVML is a library."""
        return {}

    @property
    def loaded(self) -> Mapping[str, Sequence[LoadedVersion]]:
        """None: a GPU knows no models."""
        return {}

    def run(self) -> list[str]:
        """Read every GPU and submit. One that fails costs only itself. Does nothing once it was closed.

        That NVML can't be used is a failure, unless the source is optional and nothing is there.
        """
        with self._lock:
            try:
                if not self._ended:
                    self._run()
            except DriverError as error:
                return [f"{self.instance}: {error}"]
            finally:
                if self._ended:
                    self._leave()
        return []

    def close(self) -> None:
        """Stop waiting for events and leave NVML, for good. Safe to call while `run` runs in another thread."""
        self._ended = True
        if self._lock.acquire(timeout=PATIENCE):
            try:
                self._leave()
            finally:
                self._lock.release()

    def _run(self) -> None:
        self._began = time.monotonic()
        try:
            self.driver.open()
            self._refresh()
        except DriverError as error:
            if self.settings.optional and error.absent:
                self._once.log(str(error), level=logging.DEBUG)
                return
            raise
        except DriverLost as error:
            raise self._lost(error) from None
        if not self.devices and not self.broken and not self.settings.optional:
            raise DriverError("the NVIDIA driver is loaded but shows no GPU: see `nvidia-smi`")
        if self.driver.version:
            self.check.versions.see(self.tags, [Version("driver_version", "", self.driver.version)], "NVIDIA GPUs")
        self._xids()
        for device in self.broken:
            self._failed(device, device.problem)
        for device in self.devices:
            if self._ended:
                return
            try:
                self._device(device)
            except DeviceLost as error:
                self._failed(device, str(error))
            except DriverLost as error:
                raise self._lost(error) from None
        self.owners.forget_others()
        self._took()

    def _took(self) -> None:
        seconds = time.monotonic() - self._began
        self.check.gauge(f"{NAMESPACE}.scrape.duration", seconds, tags=list(self.tags), raw=True)

    def _leave(self) -> None:
        watcher, self.watcher = self.watcher, None
        # NVML may not be left while a thread is inside of it; one that hangs there keeps it.
        if watcher is None or watcher.stop():
            self.driver.close()
        else:
            self.driver = Driver()
        for device in self._known.values():
            # Another driver may report more.
            device.lacks = set()
        self.devices = []
        self.broken = []
        self._discovered = float("-inf")

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._discovered < DISCOVER_EVERY and (self.watcher is None or self.watcher.alive):
            return
        try:
            found = list(discover(self.driver, self._once.log))
        except (DeviceLost, Unreadable, Unsupported) as error:
            if not self.devices:
                raise DriverError(f"the GPUs can't be listed: {error}; see `nvidia-smi`") from None
            self._once.log(f"the GPUs can't be listed: {error}; those known are read on")
            return
        # What is remembered of a GPU stays as long as the GPU is the same.
        self.devices = [device.inherit(self._known.get(device.uuid)) for device in found if device.handle is not None]
        self._known |= {device.uuid: device for device in self.devices}
        self.broken = self._missing(found)
        for device in self.devices:
            try:
                read_settings(self.driver, device)
            except DeviceLost as error:
                device.problem = str(error)
        self._watch()
        self._discovered = now

    def _missing(self, found: list[Device]) -> list[Device]:
        """GPUs that were there, as they were known then, and those that never could be opened."""
        listed = {device.uuid for device in self.devices}
        unopened = {device.index: device for device in found if device.handle is None}
        missing = []
        for device in self._known.values():
            if not device.is_mig and device.uuid not in listed:
                now = unopened.pop(device.index, None)
                device.problem = "it is not listed any more" if now is None else now.problem
                missing.append(device)
        reported = {device.index for device in self.broken}
        for device in unopened.values():
            device.healthy = device.index not in reported
        return missing + list(unopened.values())

    def _watch(self) -> None:
        if self.watcher is not None and self.watcher.alive:
            self.watcher.follow(self.devices)
            if self.watcher.alive:
                return
        self._xids()
        self.watcher = None
        watcher = XidWatcher(self.driver, self.devices)
        try:
            watcher.start()
            self.watcher = watcher
        except Unsupported as error:
            self._once.log(f"XID errors are not watched: {error}", level=logging.DEBUG)
        except Unreadable as error:
            self._once.log(f"XID errors are not watched: {error}")

    def _lost(self, error: Exception) -> DriverError:
        for device in (*self.devices, *self.broken):
            self._health(device, CRITICAL, str(error))
        # There is somebody who looks, which is no less true.
        self._took()
        watcher = self.watcher
        self._leave()
        for xid in watcher.drain() if watcher is not None else ():
            self._xid(xid)
        return DriverError(f"the NVIDIA driver went away ({error}); it is looked for again on the next run")

    def _xids(self) -> None:
        for xid in self.watcher.drain() if self.watcher is not None else ():
            self._xid(xid)

    def _xid(self, xid: Xid) -> None:
        device = self._known.get(xid.uuid)
        known = (VENDOR, f"gpu_uuid:{xid.uuid}") if device is None else device.tags
        tags = [*self.tags, *known, f"xid:{xid.code}"]
        if xid.instance is not None:
            tags.append(f"mig_instance:{xid.instance}")
        self.check.count(f"{NAMESPACE}.gpu.xid.count", 1, tags=tags, raw=True)
        self.check.event(builtin_codes("xid").event_of(xid.code, tags, self.check.hostname, xid.time))

    def _device(self, device: Device) -> None:
        for reading in read(self.driver, device):
            self._submit(device, reading)
        if self.settings.processes and (device.parent is None or lacks_processes(device.parent)):
            for usage in usages(self.driver, device, self.owners, self.settings.process_limit):
                self._usage(device, usage)
        device.healthy, device.problem = True, ""
        self._health(device, OK)

    def _submit(self, device: Device, reading: GpuReading) -> None:
        metric = self.metrics[reading.metric]
        if not math.isfinite(reading.value) or metric.excludes(reading.value):
            tags = [*self.tags, *device.tags, "reason:out_of_range", f"raw_metric:{reading.metric}"]
            self.check.count(f"{NAMESPACE}.scrape.samples.rejected", 1, tags=tags, raw=True)
            return
        submit = self.check.count if reading.count else self.check.gauge
        submit(metric.full_name, reading.value, tags=[*self.tags, *device.tags, *reading.tags], raw=True)

    def _usage(self, device: Device, usage: Usage) -> None:
        tags = [*self.tags, *device.tags, *usage.tags]
        if usage.memory is not None:
            self.check.gauge(f"{NAMESPACE}.gpu.process.memory.used", usage.memory, tags=tags, raw=True)
        self.check.gauge(f"{NAMESPACE}.gpu.process.running", usage.processes, tags=tags, raw=True)
        if usage.utilization is not None:
            self.check.gauge(f"{NAMESPACE}.gpu.process.utilization", min(usage.utilization, 100.0), tags=tags, raw=True)

    def _failed(self, device: Device, problem: str) -> None:
        if device.healthy:
            self.check.log.warning("GPU %s (%s): %s", device.index, device.uuid, problem)
        device.healthy, device.problem = False, problem
        self._health(device, CRITICAL, f"{problem}. Drain the node and reset the GPU, or reboot")

    def _health(self, device: Device, status: int, message: str = "") -> None:
        self.check.service_check(HEALTH, status, tags=[*self.tags, *device.tags], message=message or None)


def _proc() -> Path:
    return Path(datadog_agent.get_config("procfs_path") or "/proc")


def _tagger() -> Callable[[str], list[str]]:
    try:
        import tagger
    except ImportError:
        return lambda entity: []

    def tags(entity: str) -> list[str]:
        return list(tagger.tag(entity, tagger.ORCHESTRATOR) or [])

    return tags
