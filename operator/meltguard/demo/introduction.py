"""What a stranger must know before the surge: who is who, what will happen, what is real and what is simulated."""

from textwrap import fill
from typing import Any, Final

from meltguard.core.units import Seconds
from meltguard.demo import research, scene
from meltguard.demo.gpu import Flaw
from meltguard.demo.people import PERSON
from meltguard.demo.plan import FEATURE, FREE_IMAGES_A_DAY

QUIET: Final = Seconds(120.0)
"""Before the flash crowd, in the recorded service's time."""

WIDE: Final = 118
"""Letters a line."""

BEFORE: Final = (
    "When an image service goes viral, its GPUs melt: queues grow, users see errors, and people lower limits and move "
    "nodes by hand. Meltguard is a Kubernetes operator that does both by a policy. This is a surge, and what it does "
    "about it."
)
WHO: Final = {
    "image-gen": "an image service: {pods} pods of one GPU each on {own} nodes. Before each stands Meltguard's agent, "
    "which lets a request in, has it wait, or refuses it. GPU {hot_gpu} of {hot} is badly cooled; GPU {slow_gpu} of "
    "{slow} is slow, and no sensor shows it.",
    "the users": "of three tiers: free ({quota} images a day each), plus, and pro. A fifth of them use a new feature, "
    "{feature}.",
    "research": "the lender: {nodes} nodes, {busy} of them at work. It agreed to lend {loans} at most to image-gen and "
    "keeps {floor} in any case. Of its work only what saves itself when told (finetune) may be moved.",
    "Meltguard": "the operator. It measures pressure, 1.0 where waits or heat are at the policy's target, or demand as "
    "large as what the GPUs can do, and sets a level: Normal, Elevated from 1.0 on, Overloaded 1.2, Critical 1.5.",
    "people": "a developer, who ships a new version in the middle of it, and {person}, who is on call.",
}
WILL: Final = (
    "After {quiet:.0f} s of quiet a flash crowd asks for about twice what the GPUs can do. By the policy the new "
    "feature gives way first and updates wait; then the free tier is limited, and nodes are borrowed from research: "
    "idle ones, then one at work. The developer ships all the same; Ann suspends the free tier for a while; the "
    "operator is killed. As the crowd leaves, everything is undone."
)
REAL: Final = (
    "Real: etcd, API server, scheduler, controllers, Prometheus, Valkey; the operator, installed by its chart, with "
    "its own rights; an agent before every pod; every HTTP request. Simulated: nodes, GPUs, their heat and speed, "
    "and how long an image takes. Time runs {speed:g} times as fast as recorded: {source}."
)


def introduction(speed: float, source: str) -> str:
    """The text before the surge."""
    (hot, hot_gpu), (slow, slow_gpu) = scene.card_with(Flaw.HOT), scene.card_with(Flaw.SLOW)
    known: dict[str, Any] = {
        "pods": scene.INFERENCE_NODES * scene.GPUS_A_NODE,
        "own": scene.INFERENCE_NODES,
        "hot": hot,
        "hot_gpu": hot_gpu,
        "slow": slow,
        "slow_gpu": slow_gpu,
        "quota": FREE_IMAGES_A_DAY,
        "feature": FEATURE,
        "nodes": scene.RESEARCH_NODES,
        "busy": research.BUSY_NODES,
        "loans": scene.MOST_LOANS,
        "floor": scene.RESEARCH_FLOOR,
        "person": PERSON,
        "quiet": QUIET / speed,
        "speed": speed,
        "source": source,
    }
    who = [_item(name, text.format(**known)) for name, text in WHO.items()]
    parts = (
        fill(BEFORE, WIDE),
        "\n".join(("Who is who", *who)),
        "\n".join(("What will happen, in about five minutes", fill(WILL.format(**known), WIDE))),
        "\n".join(("What is real, and what is simulated", fill(REAL.format(**known), WIDE))),
    )
    return "\n\n".join(parts)


def _item(name: str, text: str) -> str:
    return fill(text, WIDE, initial_indent=f"  {name:<11}", subsequent_indent=" " * 13)
