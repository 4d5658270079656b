"""The exposition, read back by Prometheus' own parser."""

import re

from prometheus_client.parser import text_string_to_metric_families

from meltguard.core.units import Seconds
from meltguard.demo.dcgm import METRICS, exposition, gpu_uuid
from meltguard.demo.gpu import Gpu, GpuUser, card
from meltguard.sim.spread import seeded

LABELS = ["gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname", "DCGM_FI_DRIVER_VERSION"]


def node_text() -> str:
    chance = seeded(3)
    gpus = [card(i, chance, speed=12.0) for i in range(8)]
    gpus[2].user = GpuUser(namespace="serving", pod="image-gen-1", container="server")
    for gpu in gpus[:4]:
        gpu.start(Seconds(0.0))
    return exposition("gpu-01", [gpu.read(Seconds(60.0)) for gpu in gpus])


def test_prometheus_reads_every_gpu_of_every_metric() -> None:
    families = {family.name: family for family in text_string_to_metric_families(node_text())}

    assert len(families) == len(METRICS)
    assert all(len(family.samples) == 8 for family in families.values())
    assert families["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"].type == "counter"


def test_labels_are_the_exporters_and_in_its_order() -> None:
    line = next(text for text in node_text().splitlines() if text.startswith('DCGM_FI_DEV_GPU_TEMP{gpu="0"'))

    assert re.findall(r'(\w+)="', line) == LABELS
    assert 'pci_bus_id="00000000:18:00.0"' in line
    assert re.search(r"} \d+$", line), "temperatures are whole degrees"


def test_a_gpu_in_use_names_its_pod() -> None:
    samples = [
        sample
        for family in text_string_to_metric_families(node_text())
        if family.name == "DCGM_FI_DEV_GPU_UTIL"
        for sample in family.samples
    ]

    assert [sample.value for sample in samples] == [100, 100, 100, 100, 0, 0, 0, 0]
    assert {key: samples[2].labels[key] for key in ("namespace", "pod", "container")} == {
        "namespace": "serving",
        "pod": "image-gen-1",
        "container": "server",
    }
    assert "pod" not in samples[0].labels


def test_a_card_keeps_its_uuid_and_shares_it_with_none() -> None:
    seen = {gpu_uuid(f"gpu-{node:02}", index) for node in range(8) for index in range(8)}

    assert len(seen) == 64
    assert gpu_uuid("gpu-01", 0) in seen


def test_a_cold_gpu_reads_idle() -> None:
    gpu = Gpu(0, card(0, seeded(1), speed=1.0)._thermal, seeded(2))

    assert 'DCGM_FI_DEV_GPU_UTIL{gpu="0"' in exposition("n", [gpu.read(Seconds(0.0))])
