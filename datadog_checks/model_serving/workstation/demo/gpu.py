"""Simulated GPUs: load makes power, power makes heat, heat throttles the clock, and an XID error takes the GPU away."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from .scenario import Gpu, GpuHost, Scenario, Timeline

# Seconds in which the temperature covers about two thirds of the way to where it is going.
THERMAL_LAG = 45.0
# Degrees Celsius above ambient per watt.
THERMAL_RESISTANCE = 0.062
JOULE = 1000
# Share of the time in which the memory interface works while a kernel runs.
DRAM = 0.4
# Bytes per second that a busy GPU receives over PCIe; it sends a fifth of that.
PCIE_RECEIVED = 2.4e9


@dataclass(eq=False)
class SimulatedGpu:
    """One GPU's state. MiB, watt, MHz, degree Celsius, percent; energy in millijoule, as NVIDIA counts it."""

    gpu: Gpu
    host: GpuHost
    temperature: float
    power: float
    utilization: float = 0.0
    sm_clock: int = 0
    memory_used: int = 0
    energy: int = 0
    xid: int = 0
    xids: list[int] = field(default_factory=list)
    """Every XID error that happened, in order."""

    @property
    def lost(self) -> bool:
        """Tell whether the GPU has fallen off the bus: the driver knows its last error and nothing else."""
        return self.xid == 79

    @property
    def memory_free(self) -> int:
        """MiB that are neither used nor reserved."""
        return self.host.memory_mib - self.host.reserved_mib - self.memory_used

    @property
    def memory_temperature(self) -> float:
        """Degrees Celsius."""
        return self.temperature + 6

    @property
    def copy_utilization(self) -> float:
        """Percent of the time in which the memory interface works."""
        return self.utilization * DRAM

    @property
    def pcie_received(self) -> float:
        """Bytes per second."""
        return self.utilization / 100 * PCIE_RECEIVED

    @property
    def pcie_sent(self) -> float:
        """Bytes per second."""
        return self.pcie_received * 0.2


class GpuNode:
    """The GPUs of one machine."""

    def __init__(self, scenario: Scenario, timeline: Timeline, seed: int) -> None:
        self.host = host = scenario.gpu_host
        self.now = 0.0
        self.devices = [
            SimulatedGpu(
                gpu, host, temperature=host.ambient + host.power_idle * THERMAL_RESISTANCE, power=host.power_idle
            )
            for gpu in scenario.gpus
        ]
        self._scenario = scenario
        self._timeline = timeline
        self._random = random.Random(f"{seed}/gpu")

    def advance(self, now: float, busy: dict[str, float]) -> None:
        """Move to the time `now` (simulated seconds); `busy` is the share (0..1) of the time each GPU index worked."""
        span = now - self.now
        self.now = now
        # The middle of the step stands for all of it.
        percent = self._timeline.percent(now - span / 2)
        for device in self.devices:
            code = self._scenario.xid(device.gpu.index, self._timeline.span(now - span, now))
            if code and code != device.xid:
                device.xids.append(code)
            device.xid = code
            load = 0.0 if device.lost else busy.get(device.gpu.index, 0.0)
            heat = sum(self._scenario.effects("heat", f"gpu:{device.gpu.index}", percent))
            self._step(device, span, load, heat)

    def _step(self, device: SimulatedGpu, span: float, load: float, heat: float) -> None:
        host = device.host
        low, high = host.sm_clock
        throttled = device.temperature >= host.throttle_at
        device.utilization = 100 * min(1.0, load * self._random.uniform(0.95, 1.05))
        device.sm_clock = low if not load else int(high * (0.55 if throttled else self._random.uniform(0.985, 1.0)))
        device.power = host.power_idle + (host.power_full - host.power_idle) * load * (0.7 if throttled else 1.0)
        target = host.ambient + device.power * THERMAL_RESISTANCE + heat
        device.temperature += (target - device.temperature) * min(1.0, span / THERMAL_LAG)
        usable = host.memory_mib - host.reserved_mib
        device.memory_used = 0 if device.lost else int(usable * (0.46 + 0.3 * load))
        # Nobody can read the counter of a GPU that is off the bus, so nothing is counted.
        device.energy += 0 if device.lost else round(device.power * span * JOULE)
