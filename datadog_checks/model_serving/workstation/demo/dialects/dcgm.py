"""NVIDIA's DCGM exporter with its default counters (etc/default-counters.csv of 4.8.2)."""

from __future__ import annotations

from collections.abc import Callable

from ..exposition import sample
from ..gpu import GpuNode, SimulatedGpu

CONTENT_TYPE = "text/plain; charset=utf-8"
XID_TEXT = {0: "No Error", 79: "GPU has fallen off the bus"}
_XID = "DCGM_FI_DEV_XID_ERRORS"
# Share of the time the tensor pipes work while a kernel runs.
_TENSOR = 0.55
# Declared a counter by the file, yet DCGM delivers what flows now.
_NVLINK = 95

# name, type, help, value; the exporter prints what the driver tells, mixed units and all.
COUNTERS: tuple[tuple[str, str, str, Callable[[SimulatedGpu], float]], ...] = (
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "Clock of the multiprocessors in MHz", lambda d: d.sm_clock),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Clock of the memory in MHz", lambda d: d.host.memory_clock),
    (
        "DCGM_FI_DEV_MEMORY_TEMP",
        "gauge",
        "Temperature of the memory in degrees Celsius",
        lambda d: round(d.memory_temperature),
    ),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "Temperature of the GPU in degrees Celsius", lambda d: round(d.temperature)),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power in watt", lambda d: round(d.power, 3)),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Energy in millijoule", lambda d: d.energy),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter", "PCIe retries", lambda d: 0),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "Time with a kernel running, in percent", lambda d: round(d.utilization)),
    (
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "gauge",
        "Activity of the memory controller in percent",
        lambda d: round(d.copy_utilization),
    ),
    ("DCGM_FI_DEV_ENC_UTIL", "gauge", "Video encoder in percent", lambda d: 0),
    ("DCGM_FI_DEV_DEC_UTIL", "gauge", "Video decoder in percent", lambda d: 0),
    (_XID, "gauge", "Code of the last XID error", lambda d: d.xid),
    (
        "DCGM_FI_DEV_FB_FREE",
        "gauge",
        "Free memory in MiB",
        lambda d: d.memory_free,
    ),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Used memory in MiB", lambda d: d.memory_used),
    ("DCGM_FI_DEV_FB_RESERVED", "gauge", "Reserved memory in MiB", lambda d: d.host.reserved_mib),
    (
        "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
        "counter",
        "NVLink traffic over all lanes.",
        lambda d: round(d.utilization * _NVLINK),
    ),
    ("DCGM_FI_DEV_VGPU_LICENSE_STATUS", "gauge", "Licence of the virtual GPU", lambda d: 0),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "counter", "Rows remapped for uncorrectable errors", lambda d: 0),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "counter", "Rows remapped for correctable errors", lambda d: 0),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows failed", lambda d: 0),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge", "Share of time the engine works", lambda d: d.utilization / 100),
    (
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "gauge",
        "Share of time the tensor pipes work",
        lambda d: d.utilization / 100 * _TENSOR,
    ),
    (
        "DCGM_FI_PROF_DRAM_ACTIVE",
        "gauge",
        "Share of time the memory interface works",
        lambda d: d.copy_utilization / 100,
    ),
    (
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        "gauge",
        "Bytes per second sent over PCIe",
        lambda d: round(d.pcie_sent),
    ),
    (
        "DCGM_FI_PROF_PCIE_RX_BYTES",
        "gauge",
        "Bytes per second received over PCIe",
        lambda d: round(d.pcie_received),
    ),
)


class Dcgm:
    """The exporter of one node. A GPU that has fallen off the bus keeps its last XID and loses every other series."""

    def __init__(self, node: GpuNode) -> None:
        self._node = node

    def render(self) -> str:
        """Return the payload of `/metrics`."""
        lines = []
        for name, kind, text, value in COUNTERS:
            lines.append(f"# HELP {name} {text}")
            lines.append(f"# TYPE {name} {kind}")
            for device in self._node.devices:
                if device.lost and name != _XID:
                    continue
                labels = self._labels(device)
                if name == _XID:
                    labels |= {"err_code": str(device.xid), "err_msg": XID_TEXT.get(device.xid, "Unknown Error")}
                lines.append(sample(name, labels, f"{value(device):.6f}" if "_PROF_" in name else str(value(device))))
        return "\n".join(lines) + "\n"

    @staticmethod
    def _labels(device: SimulatedGpu) -> dict[str, str]:
        return {
            "gpu": device.gpu.index,
            "UUID": device.gpu.uuid,
            "pci_bus_id": device.gpu.bus,
            "device": f"nvidia{device.gpu.index}",
            "modelName": device.host.model,
            "Hostname": device.host.hostname,
            "DCGM_FI_DRIVER_VERSION": device.host.driver,
        }
