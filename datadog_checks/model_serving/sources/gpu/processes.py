"""Which processes hold a GPU's memory, and whose they are: pid to container, container to the Agent's tags."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .driver import Driver, Unreadable, Unsupported
from .model import Device

CONTAINER = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
"""A container's id in a cgroup path, as Docker, containerd and CRI-O write it; the innermost one is the process's."""

RUNNING = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetComputeRunningProcesses_v2")
"""Calls that list processes: what nvidia-ml-py has for new drivers, and for those older than 510."""

NO_INSTANCE = 0xFFFFFFFF


@dataclass(slots=True)
class Usage:
    """What one owner (a container, or a program outside of one) has on one GPU: bytes of memory, percent of time.

    None is what the driver doesn't report.
    """

    tags: tuple[str, ...]
    memory: float | None = None
    utilization: float | None = None
    processes: int = 0


class Owners:
    """Finds out whose a process is. `proc` is the host's /proc, `tagger` gives the tags of a container."""

    def __init__(self, proc: Path, tagger: Callable[[str], list[str]]) -> None:
        self.proc = proc
        self.tagger = tagger
        self._known: dict[int, tuple[str, str, str]] = {}
        self._asked: set[int] = set()

    def tags(self, pid: int) -> tuple[str, ...]:
        """Tags of the owner: the program's name, and what the Agent's tagger knows of its container."""
        self._asked.add(pid)
        started = self._start_time(pid)
        known = self._known.get(pid)
        if known is None or known[0] != started:
            known = (started, self._name(pid), self._container(pid))
            self._known[pid] = known
        _, name, container = known
        tags = [f"process_name:{name}"] if name else ["process_name:unknown"]
        if container:
            tags += self.tagger(f"container_id://{container}") or [f"container_id:{container[:12]}"]
        return tuple(tags)

    def forget_others(self) -> None:
        """Drop the processes that nobody asked for since the last call."""
        self._known = {pid: known for pid, known in self._known.items() if pid in self._asked}
        self._asked = set()

    def _read(self, pid: int, name: str) -> str:
        try:
            return (self.proc / str(pid) / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            # The process ended, or belongs to a PID namespace that is not the host's.
            return ""

    def _start_time(self, pid: int) -> str:
        fields = self._read(pid, "stat").rpartition(")")[2].split()
        return fields[19] if len(fields) > 19 else ""

    def _name(self, pid: int) -> str:
        return self._read(pid, "comm").strip()

    def _container(self, pid: int) -> str:
        for line in self._read(pid, "cgroup").splitlines():
            found = CONTAINER.findall(line)
            if found:
                return str(found[-1])
        return ""


def usages(driver: Driver, device: Device, owners: Owners, limit: int) -> list[Usage]:
    """The `limit` owners that hold the most memory of a GPU, and one more that sums up the others.

    MIG instances: ask for the parent, whose processes name the instance they are on, and for an instance where the
    user may not ask for the parent. Raises DeviceLost or DriverLost.
    """
    processes = _running(driver, device)
    shares = _utilization(driver, device, {process.pid for process in processes}) if processes else {}
    found: dict[tuple[str, ...], Usage] = {}
    for process in processes:
        tags = owners.tags(process.pid)
        instance = getattr(process, "gpuInstanceId", None)
        if device.has_mig and instance not in (None, NO_INSTANCE):
            tags = (*tags, f"mig_instance:{instance}")
        usage = found.setdefault(tags, Usage(tags))
        usage.processes += 1
        if process.usedGpuMemory is not None:
            usage.memory = (usage.memory or 0.0) + float(process.usedGpuMemory)
        if process.pid in shares:
            usage.utilization = (usage.utilization or 0.0) + shares[process.pid]
    ranked = sorted(found.values(), key=lambda usage: usage.memory or 0.0, reverse=True)
    if len(ranked) <= limit:
        return ranked
    return [*ranked[:limit], _together(ranked[limit:])]


def _running(driver: Driver, device: Device) -> list[Any]:
    for name in RUNNING:
        if name in device.lacks:
            continue
        try:
            return list(driver.call(name, device.handle))
        except Unsupported:
            device.lacks.add(name)
        except Unreadable:
            break
    return []


def lacks_processes(device: Device) -> bool:
    """Whether the device can't be asked for its processes."""
    return device.lacks.issuperset(RUNNING)


def _utilization(driver: Driver, device: Device, pids: set[int]) -> dict[int, float]:
    """Mean SM utilization in percent by pid, over the samples since the previous run. Not defined with MIG.

    Drivers are known to add samples of processes long gone, with impossible values: they are passed over.
    """
    if "process_utilization" in device.lacks or device.has_mig or device.is_mig:
        return {}
    since = int(device.counters.get(("process_utilization", ()), (0.0, 0.0))[0])
    try:
        samples = [
            sample
            for sample in driver.call("nvmlDeviceGetProcessUtilization", device.handle, since)
            if sample.pid in pids and sample.timeStamp > since and sample.smUtil <= 100
        ]
    except Unsupported:
        device.lacks.add("process_utilization")
        return {}
    except Unreadable:
        # "Not found" is the answer where no process did anything since.
        return {}
    newest = max((sample.timeStamp for sample in samples), default=since)
    device.counters["process_utilization", ()] = (float(newest), 0.0)
    by_pid: dict[int, list[float]] = {}
    for sample in samples:
        by_pid.setdefault(sample.pid, []).append(float(sample.smUtil))
    return {pid: sum(values) / len(values) for pid, values in by_pid.items()}


def _together(rest: list[Usage]) -> Usage:
    memory = [usage.memory for usage in rest if usage.memory is not None]
    shares = [usage.utilization for usage in rest if usage.utilization is not None]
    return Usage(
        tags=("process_name:others",),
        memory=sum(memory) if memory else None,
        utilization=sum(shares) if shares else None,
        processes=sum(usage.processes for usage in rest),
    )
