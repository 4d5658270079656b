"""Slots whose requests are gone: they are found and taken back, whatever went wrong on their way."""

import logging
from typing import Final

from meltguard.agent.gate import Gate
from meltguard.agent.lane import Holder, Slot
from meltguard.core.units import Seconds

log = logging.getLogger(__name__)

# Between its turn and the waiting task's next step a slot is nobody's. That takes a step of the loop, not seconds.
NOBODYS_FOR: Final = Seconds(5.0)


class LostSlots:
    """Compares the slots in use with the requests that are there."""

    def __init__(self) -> None:
        self.mended = 0
        self.untold = 0  # slots of a proxy's requests, free at the bound: too early or too late

    def take_back(self, gate: Gate, at: Seconds) -> None:
        """Free the slots of requests that are gone. There are none, unless something of ours failed."""
        for slot in [slot for slot, holder in gate.slots.items() if _is_lost(slot, holder, at)]:
            gate.finish(slot, at)
            self.mended += 1
            log.error(
                "a slot outlived its request and is taken back", extra={"tier": slot.tier, "held": at - slot.since}
            )


def _is_lost(slot: Slot, holder: Holder | None, at: Seconds) -> bool:
    return at - slot.since > NOBODYS_FOR if holder is None else holder.done()
