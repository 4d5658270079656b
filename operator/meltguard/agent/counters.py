"""What an agent counts, as its report defines it. Times are arguments."""

from bisect import bisect_left
from collections import OrderedDict, deque
from typing import Final

from meltguard.agent.refusal import NO_DEMAND, Reason
from meltguard.core.units import Gpus, Seconds, TierName, Units, UnitsPerSecond

WAIT_SPAN: Final = Seconds(60.0)
WAIT_BOUNDS: Final = (0.001, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0)  # of the histogram, seconds
NO_WAIT: Final = Seconds(0.0)
NOTICEABLE: Final = Seconds(0.001)  # a shorter wait is the loop's own time
MOST_WAITS: Final = 2_048  # of the last minute; more would only cost time to sort
KEY_SPAN: Final = Seconds(600.0)
MOST_KEYS: Final = 10_000
LEARNING: Final = 0.95  # weight that the past keeps at each finished request
UNKNOWN_IMAGE: Final = Seconds(1.0)  # that one image takes, before the first


class RecentWaits:
    """How long the admitted of the last minute waited."""

    def __init__(self) -> None:
        self.latest: deque[tuple[Seconds, Seconds]] = deque(maxlen=MOST_WAITS)

    def add(self, wait: Seconds, at: Seconds) -> None:
        """Count one admission."""
        self.latest.append((at, wait))

    def quantiles(self, shares: tuple[float, ...], at: Seconds) -> tuple[float, ...]:
        """The waits that the given shares of requests did not exceed; 0 where none was admitted."""
        while self.latest and self.latest[0][0] < at - WAIT_SPAN:
            self.latest.popleft()
        waits = sorted(wait for _, wait in self.latest)
        if not waits:
            return tuple(0.0 for _ in shares)
        return tuple(waits[min(len(waits) - 1, int(share * len(waits)))] for share in shares)


class SeenKeys:
    """Idempotency keys of the last minutes, so that a retry is no new demand. Bounded."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Seconds] = OrderedDict()

    def first_time(self, key: str, at: Seconds) -> bool:
        """Whether the key has not been seen lately; from now on it has."""
        while self._seen and (len(self._seen) >= MOST_KEYS or next(iter(self._seen.values())) < at - KEY_SPAN):
            self._seen.popitem(last=False)
        if key in self._seen:
            return False
        self._seen[key] = at
        return True


class TierCounts:
    """One tier's sums since the start, and how many are in the GPU now.

    Nearly all requests come and enter in the same moment: that is one sum, which counts for all three it stands for.
    """

    __slots__ = (
        "_admitted",
        "_admitted_units",
        "_at_once",
        "_at_once_squares",
        "_at_once_units",
        "_offered",
        "_offered_squares",
        "_offered_units",
        "_wait_counts",
        "barred_units",
        "inside",
        "refused",
        "tier",
        "wait_sum",
        "waited",
        "waits",
        "would_refuse",
    )

    def __init__(self, tier: TierName) -> None:
        self.tier = tier
        self.inside = self.waited = 0
        self.refused, self.would_refuse = dict.fromkeys(Reason, 0), dict.fromkeys(Reason, 0)
        self.waits, self.wait_sum = RecentWaits(), 0.0
        self._wait_counts = [0] * (len(WAIT_BOUNDS) + 1)
        self._at_once = self._offered = self._admitted = 0
        self._at_once_units = self._offered_units = self._admitted_units = self.barred_units = 0.0
        self._at_once_squares = self._offered_squares = 0.0

    @property
    def offered(self) -> int:
        """How many came."""
        return self._offered + self._at_once

    @property
    def offered_units(self) -> float:
        """How much came."""
        return self._offered_units + self._at_once_units

    @property
    def offered_squares(self) -> float:
        """How unevenly it came: the sum of the squares of what each asked for."""
        return self._offered_squares + self._at_once_squares

    @property
    def admitted(self) -> int:
        """How many went to the GPU."""
        return self._admitted + self._at_once

    @property
    def admitted_units(self) -> float:
        """How much went to the GPU."""
        return self._admitted_units + self._at_once_units

    @property
    def wait_counts(self) -> list[int]:
        """How many waited as long as each of WAIT_BOUNDS at most, and more than the one before; then the others."""
        return [self._wait_counts[0] + self._at_once, *self._wait_counts[1:]]

    def offer(self, units: Units) -> None:
        """A request came."""
        self._offered += 1
        self._offered_units += units
        self._offered_squares += units * units

    def refuse(self, reason: Reason, offered: Units) -> None:
        """A request was turned away, which had been counted for so much when it came."""
        self.refused[reason] += 1
        if reason in NO_DEMAND:
            self.barred_units += offered

    def came_before(self, units: Units) -> None:
        """What entered at once is a retry: it was counted when it came first."""
        self._offered -= 1
        self._offered_units -= units
        self._offered_squares -= units * units

    def enter_at_once(self, units: Units, at: Seconds) -> None:
        """A request came and went to the GPU."""
        self._at_once += 1
        self._at_once_units += units
        self._at_once_squares += units * units
        self.waits.latest.append((at, NO_WAIT))

    def admit(self, units: Units, wait: Seconds, at: Seconds) -> None:
        """A request went to the GPU after this wait."""
        self._admitted += 1
        self._admitted_units += units
        self.waited += wait >= NOTICEABLE
        self.waits.add(wait, at)
        self._wait_counts[bisect_left(WAIT_BOUNDS, wait)] += 1
        self.wait_sum += wait


class Tally:
    """All tiers' sums. Its tiers are those of documents and the default one, so they are few."""

    def __init__(self) -> None:
        self.tiers: dict[TierName, TierCounts] = {}
        self._keys = SeenKeys()

    def tier(self, name: TierName) -> TierCounts:
        """The sums of one tier; it begins at zero."""
        counts = self.tiers.get(name)
        if counts is None:
            counts = self.tiers[name] = TierCounts(name)
        return counts

    def is_new(self, key: str, at: Seconds) -> bool:
        """Whether a request with this key has not come lately: a retry counts only once."""
        return self._keys.first_time(key, at)


class GpuMeter:
    """GPU-seconds spent, units done, and the rate that full GPUs reach."""

    def __init__(self, gpus: Gpus, at: Seconds) -> None:
        self.gpus, self._at = gpus, at
        self._moved = at  # when a request last left, or came into idle GPUs
        self._busy = 0.0
        self._held = 0.0  # image units in the GPU times seconds
        self.in_flight = 0
        self.others = 0  # requests in the server that others sent it, as far as it says so
        self.room: int = gpus  # requests of ours that may be in the GPU at once
        self.units_in_flight = 0.0
        self.units_done = 0.0
        self._learned_units = 0.0
        self._learned_seconds = 0.0
        self._learned_requests = 0.0

    def busy(self, at: Seconds) -> Seconds:
        """GPU-seconds spent so far, requests in progress included."""
        self._pass(at)
        return Seconds(self._busy)

    def held(self, at: Seconds) -> float:
        """Image units in the GPU times the seconds that they were there, so far."""
        self._pass(at)
        return self._held

    def start(self, units: Units, at: Seconds) -> None:
        """A request enters the GPU."""
        if self.in_flight:
            self._pass(at)
        else:
            self._at = self._moved = at
        self.in_flight += 1
        self.units_in_flight += units

    def leave(self, units: Units, at: Seconds) -> None:
        """A request leaves the GPU, done or not."""
        self._pass(at)
        self._moved = at
        self.in_flight -= 1
        self.units_in_flight = self.units_in_flight - units if self.in_flight else 0.0

    def done(self, units: Units, since: Seconds, at: Seconds) -> None:
        """A request's images are finished; they took one GPU from then to now."""
        self.units_done += units
        self._learned_units = self._learned_units * LEARNING + units
        self._learned_seconds = self._learned_seconds * LEARNING + (at - since)
        self._learned_requests = self._learned_requests * LEARNING + 1.0

    def see_others(self, requests: int) -> None:
        """So many requests are not ours. One of ours always goes in, lest a wrong count lets nobody in."""
        self.others, self.room = requests, max(1, self.gpus - requests)

    @property
    def others_units(self) -> Units:
        """What others' requests cost, if they are like ours."""
        return Units(self.others * self.mean_units)

    @property
    def drain_rate(self) -> UnitsPerSecond | None:
        """Units a second that leave while all GPUs are busy; None before the first image."""
        if self._learned_seconds <= 0:
            return None
        return UnitsPerSecond(self.gpus * self._learned_units / self._learned_seconds)

    def drain_rate_at(self, at: Seconds) -> UnitsPerSecond | None:
        """The same, less the longer nothing leaves full GPUs that should have left.

        So a GPU that hangs or slows down is felt while it does, not only in what it finishes.
        """
        drain = self.drain_rate
        if drain is None or self.in_flight < self.gpus:
            return drain
        expected, silent = self.units_in_flight / drain, at - self._moved
        return UnitsPerSecond(drain * expected / silent) if silent > expected > 0 else drain

    def _pass(self, at: Seconds) -> None:
        span = at - self._at
        if span > 0:
            self._busy += span * self.in_flight  # the gate lets no more in than there are GPUs
            self._held += span * self.units_in_flight
            self._at = at

    @property
    def mean_seconds(self) -> Seconds:
        """What one of the last requests took on average, in seconds of one GPU."""
        known = self._learned_seconds > 0
        return Seconds(self._learned_seconds / self._learned_requests) if known else UNKNOWN_IMAGE

    @property
    def mean_units(self) -> Units:
        """What one of the last requests cost on average; 0 before the first image."""
        return Units(self._learned_units / self._learned_requests if self._learned_requests else 0.0)
