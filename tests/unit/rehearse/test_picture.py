from dataclasses import replace
from pathlib import Path

from meltguard.core.units import Seconds
from meltguard.rehearse.picture import draw, figure_of
from meltguard.rehearse.rehearsal import Rehearsal


def labels(rehearsal: Rehearsal) -> set[str]:
    axes = figure_of(rehearsal).axes
    return {text.get_text() for axis in axes for text in (axis.get_legend() or axis.legend([])).get_texts()}


def test_demand_limits_waits_and_nodes_are_all_drawn(surged: Rehearsal) -> None:
    assert labels(surged) >= {
        "free served",
        "asked for by all",
        "level Overloaded",
        "pro, p99",
        "free: limit",
        "what the GPUs can do",
        "inference: the service's own",
        "borrowed",
        "research: at home",
        "a node is claimed",
    }


def test_a_long_surge_is_drawn_in_hours(surged: Rehearsal) -> None:
    surge = replace(surged.plan.surge, until=Seconds(86_400.0))
    long = replace(surged, plan=replace(surged.plan, surge=surge))
    assert figure_of(surged).axes[-1].get_xlabel() == "minutes from the start of the surge"
    assert figure_of(long).axes[-1].get_xlabel() == "hours from the start of the surge"


def test_the_picture_is_a_png_in_a_folder_that_is_made(surged: Rehearsal, tmp_path: Path) -> None:
    path = tmp_path / "made" / "r.png"
    draw(surged, path)
    assert path.read_bytes().startswith(b"\x89PNG")
