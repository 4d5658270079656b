"""How often the trial of an update is wrong, and how many samples it takes, over seeded trials of a known truth.

Run as `python tests/bench/bench_trial.py`. Writes build/bench/trial.json; exit code 1 where more trials than the stated
share promote what is not cheaper, or take back what is not dearer.
"""

import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from meltguard.core.comparison import Comparison, Spent, verdict_at
from meltguard.core.trial import ALPHA, Verdict

TRIALS: Final = 1000
BY: Final = 0.05
Truth = tuple[float, float, float]
"""Cost against before: on one pod, on a tenth of the pods, on half of them."""

TRUTHS: Final[tuple[Truth, ...]] = (
    *((cost, cost, cost) for cost in (0.8, 0.9, 0.95, 1.0, 1.05, 1.2)),
    (0.8, 1.2, 1.2),
    (0.8, 0.8, 1.2),
)
REPORT: Final = Path("build/bench/trial.json")
SPREAD: Final = 0.25
"""Standard deviation of the log of one sample's cost; a pair strays by the root of two times it."""

Noise = Callable[[random.Random], Iterator[float]]


def independent(dice: random.Random) -> Iterator[float]:
    """Samples that know nothing of one another."""
    while True:
        yield dice.gauss(0.0, SPREAD) - dice.gauss(0.0, SPREAD)


def heavy(dice: random.Random) -> Iterator[float]:
    """Student's t with three degrees of freedom, of the same variance: now and then a sample is far off."""
    scale = SPREAD * math.sqrt(2.0 / 3.0)
    while True:
        chi = sum(dice.gauss(0.0, 1.0) ** 2 for _ in range(3))
        yield scale * dice.gauss(0.0, 1.0) / math.sqrt(chi / 3.0)


def skewed(dice: random.Random) -> Iterator[float]:
    """Some samples hold a request that is far more work than its image units say."""
    while True:
        yield math.log(0.8 + dice.expovariate(5.0)) - math.log(0.8 + dice.expovariate(5.0))


def drifting(dice: random.Random) -> Iterator[float]:
    """Each pair keeps a third of how far the one before strayed: pods warm up, requests come in runs."""
    last = dice.gauss(0.0, SPREAD * math.sqrt(2.0))
    while True:
        yield last
        last = last / 3.0 + math.sqrt(8.0 / 9.0) * dice.gauss(0.0, SPREAD * math.sqrt(2.0))


NOISES: Final[dict[str, Noise]] = {
    "independent": independent,
    "heavy tails": heavy,
    "skewed": skewed,
    "a third carried over": drifting,
}

ALLOWED: Final = {"a third carried over": 3 * ALPHA}
"""Where the pairs are not independent, that they are not has to be learned from them too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of the trials of one truth."""

    noise: str
    truth: Truth
    started: float  # shares of the trials: went on from one pod
    cheaper: float  # went on to all pods
    dearer: float  # was taken back, at any share
    equal: float  # waited, at any share
    median: int  # pairs, over all shares
    slowest: int  # pairs, 95 of 100 need fewer

    @property
    def wrong(self) -> float:
        """Share of trials that promoted what is not cheaper by more than asked, or refused what is not dearer."""
        promoted = self.cheaper if max(self.truth) >= 1.0 - BY else 0.0
        return promoted + (self.dearer if max(self.truth) <= 1.0 + BY else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One trial: what was said last, at which share, after how many pairs."""

    said: Verdict
    share: int
    pairs: int


def one(truth: Truth, strays: Iterator[float]) -> Ended:
    """A trial that is looked at after every pair, share by share until it is on all pods."""
    so_far, share = Comparison(), 0
    for share, cost in enumerate(truth):  # noqa: B007 - the last one is told
        so_far = so_far.at_new_share()
        while (said := verdict_at(so_far.found, BY)) is Verdict.OPEN:
            pair = so_far.found.with_pair(
                Spent(busy=cost * math.exp(next(strays)), done=1.0), Spent(busy=1.0, done=1.0)
            )
            so_far = replace(so_far, found=pair)
        if said is not Verdict.CHEAPER:
            break
    return Ended(said=said, share=share, pairs=so_far.found.whole.count)


def trials(name: str, truth: Truth) -> Found:
    """All of one truth; the same seeds for each."""
    made = [one(truth, NOISES[name](random.Random(seed))) for seed in range(TRIALS)]  # noqa: S311 - a rehearsal
    said, pairs = Counter(ended.said for ended in made), sorted(ended.pairs for ended in made)
    went_on = sum(ended.share > 0 or ended.said is Verdict.CHEAPER for ended in made)
    return Found(
        noise=name,
        truth=truth,
        started=went_on / TRIALS,
        cheaper=said[Verdict.CHEAPER] / TRIALS,
        dearer=said[Verdict.DEARER] / TRIALS,
        equal=said[Verdict.EQUAL] / TRIALS,
        median=pairs[TRIALS // 2],
        slowest=pairs[TRIALS * 95 // 100],
    )


def _in_words(truth: Truth) -> str:
    return f"{truth[0]:.2f}" if len(set(truth)) == 1 else ", ".join(f"{cost:.2f}" for cost in truth)


def show(found: Sequence[Found], console: Console) -> None:
    """As a table."""
    title = f"{TRIALS} trials each, cheaperBy {BY:.0%}, alpha {ALPHA:.0%}"
    heads = ("noise", "true cost", "past one pod", "on all pods", "taken back", "waits", "wrong", "pairs", "pairs p95")
    table = Table(*heads, title=title)
    for one_found in found:
        shares = (one_found.started, one_found.cheaper, one_found.dearer, one_found.equal, one_found.wrong)
        counts = (str(one_found.median), str(one_found.slowest))
        table.add_row(one_found.noise, _in_words(one_found.truth), *(f"{share:.1%}" for share in shares), *counts)
    console.print(table)


def main() -> int:
    """Every truth under every noise."""
    console = Console()
    cases = [(name, truth) for name in NOISES for truth in TRUTHS]
    found = [trials(*case) for case in track(cases, "trials", console=console)]
    show(found, console)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_bytes(msgspec.json.format(msgspec.json.encode([asdict(one_found) for one_found in found])))
    bad = [one_found for one_found in found if one_found.wrong > ALLOWED.get(one_found.noise, ALPHA)]
    for one_found in bad:
        console.print(
            f"error: {one_found.noise}, true cost {_in_words(one_found.truth)}: {one_found.wrong:.1%} are wrong"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
