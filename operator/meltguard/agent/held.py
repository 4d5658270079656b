"""Which request holds which slot: a slot whose request is gone is found, whatever went wrong on its way."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Final

from meltguard.agent.gate import Gate, Slot
from meltguard.core.units import Seconds

log = logging.getLogger(__name__)

# Between its turn and the waiting task's next step a slot is nobody's. That takes a step of the loop, not seconds.
NOBODYS_FOR: Final = Seconds(5.0)


class HeldSlots:
    """Slots in use, each with the task that serves its request."""

    def __init__(self) -> None:
        self._tasks: dict[Slot, asyncio.Task[object] | None] = {}
        self.mended = 0  # slots that their requests did not give back

    def hold(self, slot: Slot) -> None:
        """The current task has a slot."""
        self._tasks[slot] = asyncio.current_task()

    def let_go(self, slot: Slot) -> bool:
        """A slot is given back; False where it was before."""
        return self._tasks.pop(slot, self) is not self

    def mend(self, gate: Gate, at: Seconds) -> None:
        """Take back slots whose requests are gone. There are none, unless something of ours failed."""
        for slot in list(self._lost(gate, at)):
            self._tasks.pop(slot, None)
            gate.finish(slot, at)
            self.mended += 1
            log.error(
                "a slot outlived its request and is taken back", extra={"tier": slot.tier, "held": at - slot.since}
            )

    def _lost(self, gate: Gate, at: Seconds) -> Iterator[Slot]:
        for slot in gate.slots:
            if slot in self._tasks:
                task = self._tasks[slot]
                gone = task is not None and task.done()
            else:
                gone = at - slot.since > NOBODYS_FOR
            if gone:
                yield slot
