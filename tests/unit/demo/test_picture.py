"""The picture of a made-up run: what is on it, that nothing covers anything, and the file."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.transforms import Bbox

from meltguard.core.units import Instant
from meltguard.demo.checker import check
from meltguard.demo.picture import WIDTH, Story, draw, figure_of, taken_by_pod
from support.demo_albums import an_album
from support.demo_evidence import an_entry, refused
from support.demo_runs import START, TOLD_SO, a_good_run, facts

PANELS = {
    "Requests": ("requests a second", {"pro admitted", "plus admitted", "free admitted", "all sent"}),
    "Waits": ("seconds", {"pro, p99 of 10 s", "plus, p99 of 10 s", "free, p99 of 10 s"}),
    "Heat": ("degrees Celsius", {"gpu-02: a fan has failed", "other serving nodes", "gpu-02 counts for (right)"}),
    "A slow card": ("requests", {"pod on the slow card", "others, median", "others, least to most"}),
    "Demand": ("image units\na minute", {"free: limit", "demand of all", "what GPUs can do"}),
    "Who has": ("nodes", {"service's own", "borrowed", "on the move", "research's"}),
}
"""Each panel's title begins so; its unit; what its legend names at least."""


@pytest.fixture(scope="module")
def story() -> Story:
    run = a_good_run()
    return Story(surge_at=run.surge_at, album=an_album(), journals=run.journals, found=check(run), facts=facts(run))


@pytest.fixture(scope="module")
def figure(story: Story) -> Figure:
    made = figure_of(story)
    FigureCanvasAgg(made).draw()
    return made


def axes_of(figure: Figure, title: str) -> Axes:
    return next(axis for axis in figure.axes if axis.get_title(loc="left").startswith(title))


def named(axis: Axes) -> set[str]:
    legend = axis.get_legend()
    assert legend is not None
    return {text.get_text() for text in legend.get_texts()}


@pytest.mark.parametrize(("title", "unit", "names"), [(t, *rest) for t, rest in PANELS.items()], ids=PANELS)
def test_each_panel_has_a_unit_and_a_legend(figure: Figure, title: str, unit: str, names: set[str]) -> None:
    axis = axes_of(figure, title)

    assert axis.get_ylabel() == unit
    assert names <= named(axis)


def test_all_panels_are_on_the_same_time_axis_in_seconds(figure: Figure, story: Story) -> None:
    for title in ("What was decided", *PANELS):
        axis = axes_of(figure, title)
        assert axis.get_xlim() == story.span
        assert all(label.get_text().endswith(" s") for label in axis.get_xticklabels())


def test_every_decision_is_marked_and_in_the_key(figure: Figure) -> None:
    lanes, words = axes_of(figure, "What was decided"), axes_of(figure, "Key")
    count = len(TOLD_SO) + 2
    marks = [text.get_text().split()[0] for text in lanes.texts if text.get_text()[:1].isdigit()]
    told = "\n".join(text.get_text() for text in words.texts)

    assert [number for number in map(str, range(1, count + 1)) if number not in marks] == []
    assert [line.split()[0] for line in told.splitlines()] == list(map(str, range(1, count + 1)))
    assert "c goes home to research: the service stayed calm for 10 s" in told
    assert {f"level {name}" for name in ("Normal", "Elevated", "Overloaded", "Critical")} <= named(lanes)


def test_no_number_covers_another(figure: Figure) -> None:
    lanes = axes_of(figure, "What was decided")
    boxes = [text.get_window_extent() for text in lanes.texts if text.get_text()[:1].isdigit()]

    assert [pair for pair in combinations(boxes, 2) if Bbox.intersection(*pair) is not None] == []


def test_no_legend_covers_a_panel(figure: Figure) -> None:
    for title in PANELS:
        axis = axes_of(figure, title)
        legend = axis.get_legend()
        assert legend is not None
        assert Bbox.intersection(legend.get_window_extent(), axis.get_window_extent()) is None


def test_all_words_are_on_the_picture(figure: Figure) -> None:
    page = figure.bbox
    for axis in figure.axes:
        for text in axis.texts:
            box = text.get_window_extent()
            assert box.x0 >= page.x0
            assert box.x1 <= page.x1


def test_the_file_is_a_png_as_wide_as_a_screen(story: Story, tmp_path: Path) -> None:
    path = tmp_path / "build" / "report.png"
    draw(story, path)

    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    height, width, _ = imread(path).shape
    assert width == WIDTH == 1600
    assert 1200 < height < 2400


def test_a_run_that_came_to_nothing_is_drawn_too(story: Story, tmp_path: Path) -> None:
    found = check(replace(a_good_run(), writes=(), journals={}, glimpses=()))
    draw(Story(surge_at=story.surge_at, album=[], journals={}, found=found, facts=story.facts), tmp_path / "x.png")

    assert (tmp_path / "x.png").stat().st_size > 0


def test_what_a_pod_took_is_counted_from_the_start_and_only_of_pods_that_were_there() -> None:
    entries = [
        an_entry(START - 1, pod="a"),
        an_entry(START + 2, pod="a"),
        refused(START + 3, "over-rate", pod="a"),
        an_entry(START + 60, pod="a"),
        an_entry(START + 40, pod="came-later"),
    ]

    assert taken_by_pod(entries, (Instant(START), Instant(START + 50))) == {"a": [2.0]}
