"""`meltguard rehearse` as people run it: a process, its output, its exit code, its picture."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from meltguard.localcluster.plane import Plane
from meltguard.sim.recorded import FLASH_CROWD, traces_beside_checkout
from support.objects import edited
from support.rehearsals import FLEET, INFERENCE, NAMESPACE, POLICY, RESEARCH, written

ROOT = Path(__file__).parents[2]
EXAMPLES, REHEARSAL = ROOT / "deploy" / "examples", ROOT / "deploy" / "rehearsal"
LIMIT = 240.0
TRACES = traces_beside_checkout()


class Ended(NamedTuple):
    """A process that has ended."""

    code: int
    out: str
    err: str


def rehearsed(*arguments: str | Path) -> Ended:
    command = [str(Path(sys.executable).with_name("meltguard")), "rehearse", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False, cwd=ROOT)
    return Ended(done.returncode, done.stdout, done.stderr)


def small(folder: Path) -> list[str | Path]:
    """The small policy with its pools, a fleet and a surge of five minutes, as arguments."""
    fleet, surge = folder / "fleet.yaml", folder / "surge.csv"
    fleet.write_text(yaml.safe_dump(dict(FLEET)))
    surge.write_text("time,free,pro\n0,0.4,0.1\n60,3.6,0.4\n240,0.4,0.1\n300,0.4,0.1\n")
    return [written(folder, POLICY, INFERENCE, RESEARCH, NAMESPACE), "--fleet", fleet, "--surge", surge]


def json_of(ended: Ended) -> Any:
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_a_policy_is_rehearsed_told_and_drawn(tmp_path: Path) -> None:
    ended = rehearsed(*small(tmp_path), "--png", tmp_path / "r.png")
    assert ended.code == 0, ended.err
    assert "research-01 is lent by research to inference for serving/image-gen" in ended.out
    assert "requests by tier" in ended.out
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    arguments = [*small(tmp_path), "-o", "json"]
    first, again, other = (rehearsed(*arguments, "--seed", seed) for seed in ("3", "3", "4"))
    assert first == again
    assert json_of(first)["policies"] != json_of(other)["policies"]


def test_what_fail_if_names_decides_the_exit_code(tmp_path: Path) -> None:
    ended = rehearsed(*small(tmp_path), "--fail-if", "free.shed>0", "--fail-if", "paid.p99>60")
    assert ended.code == 3
    assert "failed  all.yaml: free.shed>0: it is" in ended.out
    assert "paid.p99" not in ended.out
    assert rehearsed(*small(tmp_path), "--fail-if", "paid.p99>60").code == 0


def test_policies_are_compared_on_one_surge(tmp_path: Path) -> None:
    arguments = small(tmp_path)
    stingy = written(tmp_path, edited(POLICY, {"spec.capacity.maxLoans": 0}), name="stingy.yaml")
    generous, other = json_of(rehearsed(*arguments, "--compare", stingy, "-o", "json"))["policies"]
    assert (generous["file"], other["file"]) == ("all.yaml", "stingy.yaml")
    assert generous["figures"]["loans"] > 0 == other["figures"]["loans"]
    asked = [[tier["asked"] for tier in one["figures"]["tiers"]] for one in (generous, other)]
    assert asked[0] == asked[1]
    free = [one["figures"]["tiers"][0]["served"] for one in (generous, other)]
    assert free[0] > free[1]


def test_what_is_wrong_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    ended = rehearsed(written(tmp_path, edited(POLICY, {"spec.tiers.0.floor": "lots"}), INFERENCE, RESEARCH))
    assert ended.code == 2
    assert ended.out == ""
    [line] = ended.err.splitlines()
    assert line.startswith(
        f"error: {tmp_path}/all.yaml: ImageServicePolicy image-gen: spec.tiers.0.floor: floor must be"
    )


def test_a_wrong_limit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    ended = rehearsed(*small(tmp_path), "--fail-if", "pro.p98>1", "--png", tmp_path / "r.png")
    assert ended.code == 2
    assert not (tmp_path / "r.png").exists()


def test_the_examples_are_rehearsed_as_the_docs_say(tmp_path: Path) -> None:
    pools = [EXAMPLES / "pool-inference.yaml", EXAMPLES / "pool-research.yaml"]
    surge = tmp_path / "surge.csv"
    surge.write_text("time,rate\n0,2\n300,10\n600,10\n")
    given = [EXAMPLES / "policy.yaml", *pools, "--fleet", REHEARSAL / "fleet.yaml", "--surge", surge]
    whole = json_of(rehearsed(*given, "--compare", REHEARSAL / "without-max.yaml", "-o", "json"))
    capped, free = [one["figures"]["tiers"][0]["shedShare"] for one in whole["policies"]]
    assert capped > 0.8 > free
    assert any("its own max of 40/m" in note for note in whole["policies"][0]["notes"])


@pytest.mark.skipif(TRACES is None, reason="the recorded traces do not lie beside this checkout")
def test_a_recorded_flash_crowd_is_rehearsed(tmp_path: Path) -> None:
    """Half an hour around a match of 1998, scaled to three times what the service's GPUs do."""
    assert TRACES is not None
    arguments = small(tmp_path)[:3]
    cut = ("--from", "1998-06-29T16:05:00Z", "--to", "1998-06-29T16:35:00Z")
    given = ("--surge", TRACES / FLASH_CROWD, *cut, "--per", "1m", "--peak", "3x", "-o", "json")
    whole = json_of(rehearsed(*arguments, *given))
    assert whole["begins"] == "1998-06-29T16:05:00Z"
    assert whole["seconds"] == 1800.0
    assert whole["peak"] == pytest.approx(4.0)
    free, pro = whole["policies"][0]["figures"]["tiers"]
    assert free["shedShare"] > pro["shedShare"]


@pytest.mark.plane
def test_a_range_of_a_real_prometheus_is_rehearsed(plane: Plane, tmp_path: Path) -> None:
    arguments = small(tmp_path)[:3]
    query = (
        'label_replace(vector(0.2), "tier", "pro", "", "") or '
        'label_replace(vector(3) * (vector(time()) > bool 1772442060), "tier", "free", "", "")'
    )
    span = ("--from", "2026-03-02T09:00:00Z", "--to", "2026-03-02T09:03:00Z")
    given = ("--prometheus", plane.prometheus_url, "--query", query, *span, "-o", "json")
    whole = json_of(rehearsed(*arguments, *given))
    assert whole["peak"] == pytest.approx(3.2)
    free, pro = whole["policies"][0]["figures"]["tiers"]
    assert free["asked"] == pytest.approx(3 * 120, rel=0.2)
    assert pro["asked"] == pytest.approx(0.2 * 180, rel=0.5)
    wrong = rehearsed(*arguments, "--prometheus", plane.prometheus_url, "--query", "sum(", *span)
    assert (wrong.code, wrong.out) == (2, "")
    assert "refuses --query 'sum('" in wrong.err
