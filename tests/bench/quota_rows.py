"""What a campaign on quotas and limits must show: each value against its goal."""

from typing import Final

from bench.judging import least, none, told
from bench.quota_campaign import Fault, Sums
from bench.quota_processes import Course, Shown
from bench.windows import BEARABLE, Limited
from meltguard.agent.refusal import Reason
from meltguard.core.units import Seconds
from meltguard.demo.report import Row

FAULTS: Final = (Fault.KILL, Fault.RESTART, Fault.KILL, Fault.FLUSH, Fault.KILL) * 4
MOST_BYTES: Final = 1_000
CHANGES: Final = 10


def rows(sums: Sums, bytes_a_user: float, took: Seconds) -> list[Row]:
    """Of the million requests."""
    faults = sum(sums.faults.values())
    return [
        none("usersOverQuota", sums.users_over, "users"),
        _over_quota("imagesOverQuota", sums.over, sums.in_flight_at_flush),
        none("grantsAfterAFlush", sums.granted_after_flush, "requests"),
        least("requests", sums.asked, "requests", 1_000_000),
        least("faults", faults, "kills, restarts and flushes", len(FAULTS)),
        *limit_rows(sums.limited, ""),
        least("leasesPushed", sums.pushes, "revisions", CHANGES),
        told("usersWithAllTheyMayHave", sums.users_full, "users and books"),
        told("refusedUnasked", sums.known, "requests"),
        told("answeredByTheStore", sums.asked_store, "requests"),
        told("answeredTooLate", sums.too_late, "answers of the store"),
        told("refusedWhileAway", sums.refused[Reason.QUOTA_STORE], "requests"),
        told("seconds", round(took, 1), "s"),
        Row(
            name="bytesAUser",
            value=round(bytes_a_user),
            unit="bytes in Valkey, 3 images delivered",
            goal=f"<= {MOST_BYTES}: a million users in 1 GB",
            met=bytes_a_user <= MOST_BYTES,
        ),
    ]


def process_rows(shown: Shown, course: Course) -> list[Row]:
    """Of the agents that were processes."""
    return [
        _over_quota("processImagesOverQuota", shown.over, shown.in_flight_at_flush),
        none("processGrantsAfterAFlush", shown.granted_after_flush, "requests"),
        least("processKills", shown.kills, "agents", course.kills),
        least("processImagesInTheMakingAtKills", shown.made_at_kills, "images", 1),
        least("processFaults", sum(shown.faults.values()), "kills, restarts and flushes", len(course.faults)),
        *limit_rows(shown.limited, "process"),
        told("processRequests", shown.asked, "requests"),
        told("processUnanswered", shown.answers["none: the agent was killed"], "requests"),
        told("processImagesMadeAgain", shown.made_over, "images beyond the quota that GPUs made and nobody got"),
        told("processImagesHadButHeld", shown.untold, "images that may be had again when their holds end"),
    ]


def limit_rows(limited: Limited, part: str) -> list[Row]:
    """Of the tier with a limit. A limit that nobody met shows nothing."""
    share = limited.share
    return [
        Row(
            name=_named(part, "overLimitShareMax"),
            value=share,
            unit="of the limit, in the worst window, less one burst an agent",
            goal=f"<= {BEARABLE:g}",
            met=share <= BEARABLE,
        ),
        least(_named(part, "limitHeldBack"), limited.held_back, "requests", 1),
        least(_named(part, "limitedRequests"), len(limited.entered), "requests", 1),
        told(_named(part, "limitUsed"), round(limited.used, 3), "of the limit"),
    ]


def _named(part: str, name: str) -> str:
    return part + name[0].upper() + name[1:] if part else name


def _over_quota(name: str, over: int, in_flight: int) -> Row:
    goal = f"<= {in_flight}, the images in flight at flushes"
    return Row(name=name, value=over, unit="images", goal=goal, met=over <= in_flight)
