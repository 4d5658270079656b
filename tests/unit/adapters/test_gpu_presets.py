from typing import Any

import pytest

from meltguard.adapters.gpu_presets import PRESETS, Preset, RawSample, node_names, query_for, samples_of
from meltguard.core.metrics import MetricSample
from meltguard.core.policy import SignalKind
from meltguard.core.units import NodeName, Seconds

HEAT = PRESETS[SignalKind.GPU_TEMPERATURE]
WORK = PRESETS[SignalKind.GPU_UTILIZATION]


def rank(preset: Preset, start: str) -> int:
    return next(place for place, spelling in enumerate(preset.spellings) if spelling.selector.startswith(start))


GR_ACTIVE = rank(WORK, "DCGM_FI_PROF_GR_ENGINE_ACTIVE")
UTIL = next(place for place, spelling in enumerate(WORK.spellings) if spelling.selector == "DCGM_FI_DEV_GPU_UTIL")
UNSURE = rank(WORK, "DCGM_FI_DEV_GPU_UTIL_RATIO")
AMD, INTEL = rank(WORK, "gpu_gfx_activity"), rank(WORK, "hw_gpu_utilization_ratio")
NEW_HEAT, OLD_HEAT = rank(HEAT, "DCGM_FI_DEV_GPU_TEMP_CELSIUS"), 1


def series(value: float, spelling: int, age: float = 5.0, **labels: str) -> RawSample:
    return RawSample(labels={"Hostname": "n1", "UUID": "GPU-1", **labels}, value=value, age=Seconds(age), rank=spelling)


def values(preset: Preset, *raw: RawSample) -> list[float]:
    return sorted(sample.value for sample in samples_of(preset, raw, NodeName)[0])


def test_one_gpu_under_two_names_is_one_gpu() -> None:
    assert values(HEAT, series(71.0, NEW_HEAT), series(71.0, OLD_HEAT)) == [71.0]


@pytest.mark.parametrize("name", ["DCGM_FI_DEV_POWER_USAGE", "gpu_package_power", "hw_power_watts"])
def test_power_is_in_watts_whoever_exports_it_and_a_blank_is_none(name: str) -> None:
    power = PRESETS[SignalKind.GPU_POWER]
    told = rank(power, name)
    assert values(power, series(412.5, told), series(9.2e18, told, UUID="GPU-2")) == [412.5]


def test_the_profiling_counter_is_believed_before_the_coarse_one_and_scaled_to_percent() -> None:
    assert values(WORK, series(0.5, GR_ACTIVE), series(0.0, UTIL)) == [50.0]


def test_a_better_spelling_that_has_stopped_loses_to_one_that_goes_on() -> None:
    assert values(WORK, series(0.5, GR_ACTIVE, age=200.0), series(90.0, UTIL, age=5.0)) == [90.0]


def test_the_series_of_a_restarted_exporter_does_not_count_twice() -> None:
    old, new = series(60.0, OLD_HEAT, age=250.0, pod="a"), series(75.0, OLD_HEAT, age=10.0, pod="b")
    assert values(HEAT, old, new) == [75.0]


def test_mig_instances_count_apart_and_the_whole_gpus_zero_is_left_out() -> None:
    instances = [series(0.8, GR_ACTIVE, GPU_I_ID="1"), series(0.2, GR_ACTIVE, GPU_I_ID="2")]
    assert values(WORK, *instances, series(0.0, UTIL)) == [20.0, 80.0]


def test_of_intels_engines_the_busiest_counts() -> None:
    labels = {"UUID": "", "pci_bdf": "0000:83:00.0"}
    tasks = {"all": 0.3, "compute-all": 0.9, "render-all": 0.1}
    raw = [series(value, INTEL, hw_gpu_task=task, **labels) for task, value in tasks.items()]
    assert values(WORK, *raw) == [90.0]


def test_amd_is_percent_already() -> None:
    assert values(WORK, series(37.0, AMD, UUID="", serial_number="SN0", gpu_id="0")) == [37.0]


def test_gpus_without_a_world_wide_name_are_told_apart_by_node() -> None:
    one, other = ({"UUID": "", "gpu": "0", "Hostname": node} for node in ("n1", "n2"))
    assert len(values(HEAT, series(60.0, OLD_HEAT, **one), series(61.0, OLD_HEAT, **other))) == 2


UNITS = {
    "above one: per cent": ([50.0, 1.0], [1.0, 50.0]),
    "a fraction: a ratio": ([0.5, 1.0], [50.0, 100.0]),
    "only zeros and ones: a one is not known": ([0.0, 1.0], [0.0]),
}


@pytest.mark.parametrize(("raw", "expected"), UNITS.values(), ids=UNITS)
def test_the_name_that_changed_its_unit_is_told_by_its_values(raw: list[float], expected: list[float]) -> None:
    assert values(WORK, *(series(value, UNSURE, UUID=f"GPU-{n}") for n, value in enumerate(raw))) == expected


def test_the_unit_is_told_for_each_node_apart() -> None:
    percent, ratio = series(60.0, UNSURE, UUID="GPU-1"), series(0.6, UNSURE, UUID="GPU-2", Hostname="n2")
    assert values(WORK, percent, ratio) == [60.0, 60.0]


IMPOSSIBLE = {
    "hotter than a furnace": (HEAT, series(1e308, OLD_HEAT)),
    "colder than space": (HEAT, series(-1e6, OLD_HEAT)),
    "busier than busy": (WORK, series(250.0, UTIL)),
    "less than idle": (WORK, series(-1.0, UTIL)),
    "a ratio of many": (WORK, series(40.0, GR_ACTIVE)),
}


@pytest.mark.parametrize(("preset", "raw"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_values_are_dropped_and_counted(preset: Preset, raw: RawSample) -> None:
    good = series(60.0, OLD_HEAT if preset is HEAT else UTIL, UUID="GPU-2")
    samples, dropped = samples_of(preset, [raw, good], NodeName)
    assert [sample.value for sample in samples] == [60.0]
    assert dropped == 1


def test_every_sample_carries_its_node_and_age() -> None:
    assert samples_of(HEAT, [series(60.0, OLD_HEAT, age=7.0)], NodeName)[0] == (
        MetricSample(node=NodeName("n1"), value=60.0, age=Seconds(7.0)),
    )


NAMES: dict[str, tuple[dict[str, str], list[str]]] = {
    "a target's node label comes first": ({"node": "a", "Hostname": "b"}, ["a", "b"]),
    "the old spelling before the new": ({"hostname": "c", "Hostname": "b"}, ["b", "c"]),
    "an address without its port": ({"instance": "10.0.0.5:9400"}, ["10.0.0.5"]),
    "an address of version 6": ({"instance": "[fd00::5]:9400"}, ["fd00::5"]),
    "a host without a port": ({"instance": "n1"}, ["n1"]),
    "an empty label names nothing": ({"node": ""}, []),
}


@pytest.mark.parametrize(("labels", "expected"), NAMES.values(), ids=NAMES)
def test_what_names_the_node(labels: dict[str, str], expected: list[str]) -> None:
    assert list(node_names(labels)) == expected


def test_a_label_that_leads_nowhere_gives_way_to_one_that_does() -> None:
    known = {"10.0.0.5": NodeName("n7")}
    raw = series(60.0, OLD_HEAT, Hostname="dcgm-exporter-x7k", instance="10.0.0.5:9400")
    (sample,) = samples_of(HEAT, [raw], known.get)[0]
    assert sample.node == "n7"


def test_no_node_is_none_and_not_an_error() -> None:
    (sample,) = samples_of(HEAT, [series(60.0, OLD_HEAT)], lambda _: None)[0]
    assert sample.node is None


@pytest.mark.parametrize("kind", PRESETS)
def test_a_query_asks_each_spelling_for_value_and_time(kind: Any) -> None:
    query = query_for(PRESETS[kind])
    for place, spelling in enumerate(PRESETS[kind].spellings):
        assert f'label_replace({spelling.selector}, "meltguard_spelling", "{place}", "", "")' in query
        assert f'label_replace(timestamp({spelling.selector}), "meltguard_taken", "{place}", "", "")' in query
