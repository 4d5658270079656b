"""What a campaign on quotas and limits must show: each value against its goal."""

from typing import Final

from bench.quota_campaign import Fault, Sums
from bench.quota_processes import Course, Shown
from bench.windows import BEARABLE, Limited
from meltguard.agent.refusal import Reason
from meltguard.core.units import Seconds
from meltguard.demo.report import Row

FAULTS: Final = (Fault.KILL, Fault.RESTART, Fault.KILL, Fault.FLUSH, Fault.KILL) * 4
MOST_BYTES: Final = 1_000
CHANGES: Final = 10
TOLD: Final = "shown, not judged"


def rows(sums: Sums, bytes_a_user: float, took: Seconds) -> list[Row]:
    """Of the million requests."""
    faults = sum(sums.faults.values())
    return [
        _none("usersOverQuota", sums.users_over, "users"),
        _over_quota("imagesOverQuota", sums.over, sums.in_flight_at_flush),
        _none("grantsAfterAFlush", sums.granted_after_flush, "requests"),
        _least("requests", sums.asked, "requests", 1_000_000),
        _least("faults", faults, "kills, restarts and flushes", len(FAULTS)),
        *limit_rows(sums.limited, ""),
        _least("leasesPushed", sums.pushes, "revisions", CHANGES),
        _told("usersWithAllTheyMayHave", sums.users_full, "users and books"),
        _told("refusedUnasked", sums.known, "requests"),
        _told("answeredByTheStore", sums.asked_store, "requests"),
        _told("answeredTooLate", sums.too_late, "answers of the store"),
        _told("refusedWhileAway", sums.refused[Reason.QUOTA_STORE], "requests"),
        _told("seconds", round(took, 1), "s"),
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
        _none("processGrantsAfterAFlush", shown.granted_after_flush, "requests"),
        _least("processKills", shown.kills, "agents", course.kills),
        _least("processImagesInTheMakingAtKills", shown.made_at_kills, "images", 1),
        _least("processFaults", sum(shown.faults.values()), "kills, restarts and flushes", len(course.faults)),
        *limit_rows(shown.limited, "process"),
        _told("processRequests", shown.asked, "requests"),
        _told("processUnanswered", shown.answers["none: the agent was killed"], "requests"),
        _told("processImagesMadeAgain", shown.made_over, "images beyond the quota that GPUs made and nobody got"),
        _told("processImagesHadButHeld", shown.untold, "images that may be had again when their holds end"),
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
        _least(_named(part, "limitHeldBack"), limited.held_back, "requests", 1),
        _least(_named(part, "limitedRequests"), len(limited.entered), "requests", 1),
        _told(_named(part, "limitUsed"), round(limited.used, 3), "of the limit"),
    ]


def _named(part: str, name: str) -> str:
    return part + name[0].upper() + name[1:] if part else name


def _over_quota(name: str, over: int, in_flight: int) -> Row:
    goal = f"<= {in_flight}, the images in flight at flushes"
    return Row(name=name, value=over, unit="images", goal=goal, met=over <= in_flight)


def _none(name: str, value: int, unit: str) -> Row:
    return Row(name=name, value=value, unit=unit, goal="0", met=value == 0)


def _least(name: str, value: int, unit: str, least: int) -> Row:
    return Row(name=name, value=value, unit=unit, goal=f">= {least}", met=value >= least)


def _told(name: str, value: float, unit: str) -> Row:
    return Row(name=name, value=value, unit=unit, goal=TOLD, met=True)
