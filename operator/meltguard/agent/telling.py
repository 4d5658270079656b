"""What clients, and those who divide requests over pods, are told of this pod."""

import random

from meltguard.agent.asgi import Answer, Header
from meltguard.agent.fields import Allotment, allotments, of_allowance, openai_fields, rate_limit_fields, spent_for
from meltguard.agent.gate import Gate
from meltguard.agent.load import LoadMeter
from meltguard.agent.quota_allowance import Allowance
from meltguard.agent.refusal import Refusal, answer
from meltguard.agent.refusing import Told
from meltguard.agent.settings import AgentSettings
from meltguard.agent.visit import Visit
from meltguard.api.limit_document import TierLimit
from meltguard.core.units import Share, TierName
from meltguard.ports import Clock


class Telling:
    """One pod's words. It changes nothing."""

    def __init__(self, settings: AgentSettings, clock: Clock, gate: Gate) -> None:
        self._clock, self._gate = clock, gate
        self._openai = settings.callers.openai_fields
        self.load = LoadMeter(gate.meter, clock.elapsed())
        self._luck = random.Random()  # noqa: S311 - spreads retries, keeps no secret

    def answer(self, refusal: Refusal) -> Answer:
        """What to tell a refused client."""
        return answer(refusal, self._clock.now(), Share(self._luck.random()))

    def headers(self, visit: Visit, allowance: Allowance | None) -> list[Header]:
        """What the answer to an admitted request says of the pod's load, and of what its tier and user have left."""
        at, standing = self._clock.elapsed(), self._gate.standing
        lane = self._gate.lanes.get(visit.tier, visit.lane)  # the limits in force now
        load = self.load.headers(standing.heat, at)
        if lane.told is not None and allowance is None and not self._openai:
            return [*load, *lane.told.headers(at)]
        told = self.fields(lane.rule, allowance)
        return [*load, *((name.encode(), value.encode()) for name, value in told.items())]

    def fields(self, rule: TierLimit, allowance: Allowance | None) -> dict[str, str]:
        """The header fields that tell a client what its tier and its user may still have."""
        return self._fields(self._allotments(rule), allowance)

    def of_refusal(self, rule: TierLimit, allowance: Allowance | None) -> Told:
        """The same for a refused one, and when to come again at the earliest."""
        found = self._allotments(rule)
        spent = spent_for(found)
        return Told(self._fields(found, allowance), spent, self._gate.standing.rule(TierName(rule.name)))

    def load_headers(self) -> list[Header]:
        """What every answer says of this pod's load."""
        return self.load.headers(self._gate.standing.heat, self._clock.elapsed())

    def load_json(self) -> bytes:
        """The same for a reader of the control port."""
        return self.load.as_json(self._gate.standing.heat, self._clock.elapsed())

    def _allotments(self, rule: TierLimit) -> list[Allotment]:
        return [] if self._gate.standing.observing else allotments(self._gate.rates, rule, self._clock.elapsed())

    def _fields(self, found: list[Allotment], allowance: Allowance | None) -> dict[str, str]:
        if allowance is not None:
            found = [*found, of_allowance(allowance)]
        if not found:
            return {}
        also = openai_fields(found) if self._openai else {}
        return {**rate_limit_fields(found), **also}
