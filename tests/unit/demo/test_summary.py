"""What is printed after the surge, as somebody reads it who has seen nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from meltguard.demo.checker import check
from meltguard.demo.files import RunFiles
from meltguard.demo.judge import Judged
from meltguard.demo.report import Verdict
from meltguard.demo.summary import print_introduction, print_summary
from support.demo_runs import a_good_run, facts

RUN = a_good_run()
FILES = RunFiles(report=Path("/runs/report.json"), root=Path("/runs/report.files"))


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> str:
    print_summary(Judged(found=check(RUN), facts=facts(RUN), journals=RUN.journals), Verdict.WHOLE_STORY, FILES)
    return capsys.readouterr().out


def test_the_story_is_told_with_times_levels_and_reasons(printed: str) -> None:
    line = next(line for line in printed.splitlines() if "the new feature is slowed" in line)

    assert "9.0" in line
    assert "Elevated" in line
    assert "level Elevated leaves feature edit" in line


def test_it_ends_with_the_outcome_the_verdict_and_where_to_look_further(printed: str) -> None:
    places = [
        printed.index(said)
        for said in (
            "the story (seconds",
            "requests, from the agents' journals",
            "judged",
            "the outcome",
            "2.0 times the 120",
            "the whole story happened and every promise was kept",
            "/runs/report.png",
            "docs/law.md",
        )
    ]

    assert places == sorted(places)


def test_what_the_operator_says_is_not_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    found = check(RUN)
    marked = replace(found, decisions=tuple(replace(one, text="[red]so[/red]") for one in found.decisions))
    print_summary(Judged(found=marked, facts=facts(RUN), journals={}), Verdict.WHOLE_STORY, FILES)

    assert "[red]so[/red]" in capsys.readouterr().out


def test_the_introduction_is_printed_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    print_introduction(12.0, "figures [made up]")

    assert "Who is who\n  image-gen  an image service" in capsys.readouterr().out
