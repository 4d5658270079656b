"""What is said before the surge."""

from meltguard.demo import research, scene
from meltguard.demo.introduction import WIDE, introduction

TEXT = introduction(12.0, "made-up figures")


def test_it_says_who_is_who_what_will_happen_and_what_is_real() -> None:
    for said in (
        "Who is who",
        "What will happen",
        "Real: etcd",
        "Simulated: nodes",
        "12 times as fast as recorded: made-up figures.",
        "After 10 s of quiet",
        "ann@example.com",
    ):
        assert said in " ".join(TEXT.split())


def test_its_numbers_are_the_scenes() -> None:
    told = " ".join(TEXT.split())

    assert f"{scene.INFERENCE_NODES * scene.GPUS_A_NODE} pods of one GPU each on {scene.INFERENCE_NODES} nodes" in told
    assert f"{scene.RESEARCH_NODES} nodes, {research.BUSY_NODES} of them at work" in told
    assert f"lend {scene.MOST_LOANS} at most to image-gen and keeps {scene.RESEARCH_FLOOR}" in told
    assert "GPU 3 of gpu-02 is badly cooled; GPU 5 of gpu-03 is slow" in told


def test_it_fits_a_terminal() -> None:
    assert max(map(len, TEXT.splitlines())) <= WIDE
