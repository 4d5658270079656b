from pathlib import Path

import pytest
import yaml

from meltguard.errors import InvalidInput
from meltguard.rehearse.fleet_file import read_fleet
from meltguard.rehearse.fleet_plan import WorkPlan
from support.objects import edited
from support.rehearsals import FLEET

ROOT = Path(__file__).parents[3]


def fleet_file(folder: Path, body: object) -> Path:
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(body))
    return path


def test_counts_alone_make_a_fleet_of_idle_nodes() -> None:
    fleet = read_fleet(None, ["inference=4", "research=8x4"])
    assert (fleet.pools["inference"].nodes, fleet.pools["inference"].gpus) == (4, 8)
    assert (fleet.pools["research"].nodes, fleet.pools["research"].gpus) == (8, 4)
    assert fleet.pools["research"].work == ()


def test_a_count_stands_above_the_file_and_leaves_the_work(tmp_path: Path) -> None:
    fleet = read_fleet(fleet_file(tmp_path, FLEET), ["research=5"])
    assert fleet.pools["research"].nodes == 5
    assert fleet.service.model_load == 30.0
    assert fleet.pools["research"].work == (
        WorkPlan(name="train", nodes=2, checkpoint_every="20m", saves_within="10s"),  # type: ignore[arg-type] # as written
    )


def test_the_fleet_that_the_docs_show_is_one() -> None:
    fleet = read_fleet(ROOT / "deploy" / "rehearsal" / "fleet.yaml", [])
    assert [one.name for one in fleet.pools["research"].work] == ["pretrain", "finetune", "sweep", "notebook"]


CASES = {
    "a field that nobody knows": (
        edited(FLEET, {"pools.research.wrok": 1}),
        "pools.research.wrok: there is no such field",
    ),
    "no number": (edited(FLEET, {"pools.research.nodes": "many"}), "pools.research.nodes: .*got 'many'"),
    "no duration": (edited(FLEET, {"service.modelLoad": "soon"}), "service.modelLoad: 'soon' is not a duration"),
    "a bare number as a duration": (
        edited(FLEET, {"service.modelLoad": 5}),
        "modelLoad: 5 is no duration; write it as 30s",
    ),
    "more work than nodes": (edited(FLEET, {"pools.research.work.0.nodes": 4}), "its work takes 4 nodes, and it has 3"),
    "two works of one name": (
        edited(FLEET, {"pools.research.work": [{"name": "a"}, {"name": "a"}]}),
        "two works have one name .a, a.",
    ),
    "no pools": ({"pools": {}}, "pools: "),
    "pools that are none": ({"pools": 3}, "pools: is no mapping"),
    "no fleet": ([1], "is no fleet; it begins with pools:"),
}


@pytest.mark.parametrize(("body", "said"), CASES.values(), ids=CASES)
def test_a_wrong_file_is_refused_by_field_and_value(tmp_path: Path, body: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_fleet(fleet_file(tmp_path, body), [])


@pytest.mark.parametrize("text", ["inference", "=4", "inference=", "inference=4x", "inference=-1", "inference=4x8x2"])
def test_a_wrong_count_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no count; write POOL=NODES"):
        read_fleet(None, [text])


def test_neither_file_nor_count_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="say --nodes inference=4"):
        read_fleet(None, [])
    with pytest.raises(InvalidInput, match=r"gone.yaml: cannot be read"):
        read_fleet(tmp_path / "gone.yaml", [])
    torn = tmp_path / "torn.yaml"
    torn.write_text("a: [")
    with pytest.raises(InvalidInput, match=r"torn.yaml: is no YAML"):
        read_fleet(torn, [])
