"""The text that NVIDIA's DCGM exporter answers with: its metric names, help texts, labels and number forms."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from meltguard.demo.gpu import MEMORY_MIB, GpuReading

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MODEL: Final = "NVIDIA H100 80GB HBM3"
DRIVER: Final = "550.127.08"
MEMORY_CLOCK: Final = 2619
FIRST_BUS: Final = 0x18
"""PCI bus of GPU 0; the next ones follow at steps of 0x11, as in an eight-way board."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the exporter's counter file, and how we fill it."""

    name: str
    kind: str
    text: str
    value: Callable[[GpuReading], float]
    digits: int = 0  # after the point; the profiling fields come with six


METRICS: Final[tuple[Metric, ...]] = (
    Metric("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz).", lambda r: r.sm_clock),
    Metric("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz).", lambda _: MEMORY_CLOCK),
    Metric("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Memory temperature (in C).", lambda r: r.memory_temperature),
    Metric("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C).", lambda r: r.temperature),
    Metric("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W).", lambda r: r.power, 6),
    Metric(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "counter",
        "Total energy consumption since boot (in mJ).",
        lambda r: r.energy * 1000.0,
    ),
    Metric("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %).", lambda r: r.utilization * 100.0),
    Metric("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %).", lambda r: r.utilization * 61.0),
    Metric("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered.", lambda _: 0),
    Metric("DCGM_FI_DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB).", lambda r: MEMORY_MIB - r.memory_used),
    Metric("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB).", lambda r: r.memory_used),
    Metric(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "gauge",
        "Ratio of time the graphics engine is active.",
        lambda r: r.utilization,
        6,
    ),
)
"""The part of the exporter's default counters that people alert on."""


def exposition(node: str, readings: Sequence[GpuReading]) -> str:
    """All GPUs of one node."""
    labels = [_labels(node, reading) for reading in readings]
    lines: list[str] = []
    for metric in METRICS:
        lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}"]
        lines += [
            f"{metric.name}{{{label}}} {metric.value(reading):.{metric.digits}f}"
            for label, reading in zip(labels, readings, strict=True)
        ]
    return "\n".join(lines) + "\n"


def gpu_uuid(node: str, index: int) -> str:
    """The same for one card at all times, different for any two."""
    return f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{node}.{index}.gpu.meltguard.io')}"


def _labels(node: str, reading: GpuReading) -> str:
    index = reading.index
    pairs = [
        ("gpu", str(index)),
        ("UUID", gpu_uuid(node, index)),
        ("pci_bus_id", f"00000000:{FIRST_BUS + 0x11 * index:02X}:00.0"),
        ("device", f"nvidia{index}"),
        ("modelName", MODEL),
        ("Hostname", node),
        ("DCGM_FI_DRIVER_VERSION", DRIVER),
    ]
    if reading.pod is not None:
        pairs += [
            ("container", reading.pod.container),
            ("namespace", reading.pod.namespace),
            ("pod", reading.pod.pod),
        ]
    return ",".join(f'{name}="{value}"' for name, value in pairs)
