"""What GPU exporters call heat, power and work, and how their series become one number a GPU.

NVIDIA's names changed with DCGM 4.6 and the old ones stay as aliases, so both may be there at once; so may a series
of a restarted exporter. Per GPU the best spelling counts, and of it the newest sample.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meltguard.core.metrics import MetricSample
from meltguard.core.policy import SignalKind
from meltguard.core.units import NodeName, Seconds

SPELLING, TAKEN = "meltguard_spelling", "meltguard_taken"
"""Labels that our query puts on values and on their times."""

SAME_SCRAPE: Final = 30.0
"""Seconds by which a sample must be older to lose against a worse spelling."""

NODE_LABELS: Final = ("node", "Hostname", "hostname", "instance")
GPU_LABELS: Final = ("UUID", "gpu_uuid", "serial_number", "pci_bdf", "pci_bus_id", "gpu", "gpu_id")
MODEL_LABELS: Final = ("modelName", "card_model")
PART_LABELS: Final = ("GPU_I_ID", "gpu_partition_id")

Locate = Callable[[str], NodeName | None]
"""The node that a label's text means: a node's name, an exporter pod's name or address."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """One exporter's name for a signal. `factor` brings it to our unit; None: a ratio or per cent, its values tell."""

    selector: str
    factor: float | None = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A signal's spellings, the best first, and what may be true of it."""

    spellings: tuple[Spelling, ...]
    least: float
    most: float


PRESETS: Final[Mapping[SignalKind, Preset]] = {
    SignalKind.GPU_TEMPERATURE: Preset(
        spellings=(
            Spelling("DCGM_FI_DEV_GPU_TEMP_CELSIUS"),
            Spelling("DCGM_FI_DEV_GPU_TEMP"),
            Spelling("gpu_junction_temperature"),  # AMD MI3xx
            Spelling("amd_gpu_junction_temperature"),
            Spelling("gpu_edge_temperature"),  # AMD MI2xx
            Spelling("amd_gpu_edge_temperature"),
            Spelling('hw_temperature_celsius{pci_bdf!="",hw_sensor_location!~".*mem.*"}'),  # Intel
        ),
        least=-50.0,
        most=200.0,
    ),
    SignalKind.GPU_UTILIZATION: Preset(
        spellings=(
            Spelling("DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO", 100.0),  # the only one that is right under MIG
            Spelling("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 100.0),
            Spelling("DCGM_FI_DEV_GPU_UTIL"),
            Spelling("DCGM_FI_DEV_GPU_UTIL_RATIO", None),  # per cent in DCGM 4.6, a ratio from 4.7
            Spelling("gpu_gfx_activity"),  # AMD
            Spelling("amd_gpu_gfx_activity"),
            Spelling('hw_gpu_utilization_ratio{hw_gpu_task=~"all|compute-all|render-all"}', 100.0),  # Intel
            Spelling("xpum_engine_ratio", 100.0),
        ),
        least=0.0,
        most=100.5,
    ),
    SignalKind.GPU_POWER: Preset(
        spellings=(
            Spelling("DCGM_FI_DEV_BOARD_POWER_WATTS"),
            Spelling("DCGM_FI_DEV_POWER_USAGE"),
            Spelling("gpu_package_power"),  # AMD
            Spelling("amd_gpu_package_power"),
            Spelling("gpu_power_usage"),
            Spelling("amd_gpu_power_usage"),
            Spelling('hw_power_watts{pci_bdf!=""}'),  # Intel
        ),
        least=0.0,
        most=10_000.0,
    ),
    SignalKind.GPU_CLOCK: Preset(  # only ever compared between GPUs of one model, so its unit does not matter
        spellings=(
            Spelling("DCGM_FI_DEV_SM_CLOCK_HERTZ"),
            Spelling("DCGM_FI_DEV_SM_CLOCK"),
            Spelling('gpu_clock{clock_type="GPU_CLOCK_TYPE_SYSTEM"}'),  # AMD
            Spelling('amd_gpu_clock{clock_type="GPU_CLOCK_TYPE_SYSTEM"}'),
        ),
        least=0.0,
        most=1e11,
    ),
    SignalKind.GPU_XID: Preset(  # a gauge: the last one since the exporter started, 0 while there was none
        spellings=(Spelling("DCGM_FI_DEV_XID_ERROR"), Spelling("DCGM_FI_DEV_XID_ERRORS")),
        least=0.0,
        most=1000.0,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSample:
    """One series with the time that its sample was taken."""

    labels: Mapping[str, str]
    value: float
    age: Seconds
    rank: int  # of its spelling; 0 is the best

    @property
    def gpu(self) -> str:
        """Its GPU: a world-wide unique id where the exporter gives one, else one that is unique on its node."""
        found = next((self.labels[name] for name in GPU_LABELS if self.labels.get(name)), "")
        unique = self.labels.get("UUID") or self.labels.get("gpu_uuid") or self.labels.get("serial_number")
        return found if unique else f"{self.where}/{found}"

    @property
    def part(self) -> str:
        """The MIG instance or partition; "" is the whole GPU."""
        return next((self.labels[name] for name in PART_LABELS if self.labels.get(name)), "")

    @property
    def where(self) -> str:
        """What its labels call its node, as it stands."""
        return next(iter(node_names(self.labels)), "")


def query_for(preset: Preset) -> str:
    """PromQL for all spellings' values and the times they were taken, evaluated at one instant.

    `timestamp()` drops the metric's name, so each spelling gets a label of its own; else aliases would collide.
    """
    terms = [
        f'label_replace({inner}, "{label}", "{rank}", "", "")'
        for rank, spelling in enumerate(preset.spellings)
        for label, inner in ((SPELLING, spelling.selector), (TAKEN, f"timestamp({spelling.selector})"))
    ]
    return " or ".join(terms)


def samples_of(preset: Preset, raw: Sequence[RawSample], locate: Locate) -> tuple[tuple[MetricSample, ...], int]:
    """One sample a GPU (or MIG instance) in our unit, and how many series were dropped as impossible."""
    scaled = list(_scaled(preset, raw))
    kept = [one for one in scaled if preset.least <= one.value <= preset.most]
    by_gpu: defaultdict[str, list[RawSample]] = defaultdict(list)
    for one in kept:
        by_gpu[one.gpu].append(one)
    best = [sample for group in by_gpu.values() for sample in _best(group)]
    return tuple(_sample(one, locate) for one in best), len(raw) - len(kept)


def _sample(one: RawSample, locate: Locate) -> MetricSample:
    model = next((one.labels[name] for name in MODEL_LABELS if one.labels.get(name)), "")
    return MetricSample(node=node_of(one.labels, locate), value=one.value, age=one.age, model=model)


def node_names(labels: Mapping[str, str]) -> Iterable[str]:
    """What may name the node, the likeliest first; an address comes without its port."""
    for name in NODE_LABELS:
        text = labels.get(name, "")
        if name == "instance":
            text = text.rpartition(":")[0].strip("[]") or text
        if text:
            yield text


def node_of(labels: Mapping[str, str], locate: Locate) -> NodeName | None:
    """The node of a series; None where no label leads to one."""
    return next((node for text in node_names(labels) if (node := locate(text)) is not None), None)


def _best(group: Sequence[RawSample]) -> Iterable[RawSample]:
    """Of one GPU: the best spelling among the newest, and of each part its highest value.

    Highest: where an exporter gives several engines or sensors of a part, the busiest or hottest counts.
    """
    scrape, rank = min((one.age // SAME_SCRAPE, one.rank) for one in group)
    chosen = [one for one in group if one.rank == rank and one.age // SAME_SCRAPE == scrape]
    parts: dict[str, RawSample] = {}
    for one in chosen:
        if one.part not in parts or one.value > parts[one.part].value:
            parts[one.part] = one
    return parts.values()


def _scaled(preset: Preset, raw: Sequence[RawSample]) -> Iterable[RawSample]:
    """The values in our unit; those whose unit cannot be told are left out."""
    factors = _told_factors(preset, raw)
    for one in raw:
        factor = preset.spellings[one.rank].factor
        if factor is None:
            factor = 1.0 if one.value == 0 else factors.get((one.rank, one.where))
        if factor is not None:
            yield RawSample(labels=one.labels, value=one.value * factor, age=one.age, rank=one.rank)


def _told_factors(preset: Preset, raw: Sequence[RawSample]) -> dict[tuple[int, str], float]:
    """By spelling of unsure unit and node: above 1 it is per cent, a fraction is a ratio, a bare 1 tells nothing."""
    factors: dict[tuple[int, str], float] = {}
    for one in raw:
        if preset.spellings[one.rank].factor is None:
            if one.value > 1:
                factors[one.rank, one.where] = 1.0
            elif 0 < one.value < 1:
                factors.setdefault((one.rank, one.where), 100.0)
    return factors
