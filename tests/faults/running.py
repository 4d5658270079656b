"""A round trip: a service is overloaded, borrows, is calm again, gives back; then the run is judged."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from faults import world
from faults.check_nodes import differences
from faults.checker import check
from faults.evidence import Node, pod_of, read_deeds
from faults.ground import Ground
from faults.promises import ASKED, Evidence, Finding, Promises
from faults.rest import path_of
from faults.scenario import CALM, Case, Meddling, Outcome, Stage
from faults.setting import Setting, until
from meltguard.clock import SystemClock

NOT_READY: Final = "node.kubernetes.io/not-ready"
QUIET: Final = 2.0
"""Seconds for which the end state is watched."""


@dataclass(slots=True)
class Runner:
    """Runs cases on one ground, one after the other."""

    ground: Ground
    count: int = 0
    _findings: list[Finding] = field(default_factory=list)

    @property
    def _setting(self) -> Setting:
        return Setting(self.ground)

    async def clear(self) -> None:
        """After a run that could not be ended."""
        await self._setting.clear(broken=True)

    async def run(self, case: Case) -> Outcome:
        """Run a case and judge it. Whatever it leaves is cleared away."""
        self.count += 1
        self._findings = []
        began = time.monotonic()
        names = world.research_names(f"{self.count}")
        stage = Stage(ground=self.ground, run=f"{self.count}", names=names, shape=case.shape)
        starts = self._starts()
        problem = await self._setting.set(case, stage)
        if problem:
            self._find("L1", problem)
        offset = self.ground.plane.audit_log.stat().st_size
        before = await self._setting.nodes()
        pods = [pod_of(body) for body in await self.ground.admin.items("/api/v1/pods")]
        converged = await self._story(case, stage, before)
        self._probes()
        writes, strikes = tuple(self.ground.proxy.writes), self.ground.proxy.strikes
        if case.rules(stage) and not strikes:
            self._find("HARNESS", "the fault never struck: this run proves nothing")
        self.ground.proxy.disarm()
        await self._delete_policy(stage)
        deeds = await asyncio.to_thread(read_deeds, self.ground.plane.audit_log, offset)
        evidence = Evidence(nodes=before, pods=pods, deeds=deeds)
        promises = case.adjust(self._promises(case))
        found = tuple(await asyncio.to_thread(check, evidence, promises)) + tuple(self._findings)
        await self._setting.clear(broken=bool(found))
        return Outcome(
            case=case.name,
            row=case.row,
            findings=found,
            writes=writes,
            strikes=strikes,
            restarts=self._starts() - starts,
            seconds=time.monotonic() - began,
            converged=converged,
            points=case.points if strikes >= len(case.points) else (),
        )

    async def _story(self, case: Case, stage: Stage, before: dict[str, Node]) -> float:
        """Overload, loan, calm, return; seconds from calm to the end state."""
        ground = self.ground
        ground.agents.ask(case.demand)
        await ground.admin.apply(world.a_policy(case.shape))
        lent = await until(self._is_lent, case.lends_within if case.lends else 12.0)
        if case.lends and not lent:
            why = await self._why(stage)
            self._find("L1", f"no node was lent within {case.lends_within:.0f} s; the policy says: {why}")
        await self._meddle(case.at_peak, stage)
        ground.agents.ask(CALM)
        calm = time.monotonic()
        await self._meddle(case.at_end, stage)
        home = await until(self._is_home, case.converges) if case.returns else True
        converged = time.monotonic() - calm
        if not home:
            claimed = {name: claim.get("step", "") for name, claim in (await self._setting.claims()).items()}
            self._find("L1", f"not at rest {case.converges:.0f} s after the surge: {claimed or 'replicas'}")
        await self._ending(case, stage, before)
        return converged

    async def _meddle(self, meddling: Meddling | None, stage: Stage) -> None:
        problem = await meddling(stage) if meddling is not None else ""
        if problem:
            self._find("L1", problem)

    async def _ending(self, case: Case, stage: Stage, before: dict[str, Node]) -> None:
        """L1 and L4: the end state is the fault-free run's, stays so, and the status says what is."""
        await until(self._is_told_ready, 10.0)
        first = await self._setting.nodes()
        if not await until(lambda: self._is_observed(stage), 10.0):
            self._find("L4", "status.observedGeneration is not the policy's generation")
        await asyncio.sleep(QUIET)
        await self._told_to_stay()
        nodes = await self._setting.nodes()
        exempt = case.exempt(stage)
        for name in sorted(before.keys() - exempt):
            if name not in nodes:
                self._find("L1", f"{name} is gone")
                continue
            for part, was, now in differences(before[name], nodes[name]):
                self._find("L1", f"{name}: {part} was {was} and is {now} at the end")
            if name in first and list(differences(first[name], nodes[name])):
                self._find("L1", f"{name} went on changing after the end")

    async def _is_told_ready(self) -> bool:
        """Kubernetes takes its own taint off a node that was made anew a moment after that node is Ready."""
        nodes = await self._setting.nodes()
        return not any(key == NOT_READY for node in nodes.values() if node.ready for key, _, _ in node.taints)

    async def _told_to_stay(self) -> None:
        """Who still runs on a node that is home must not go on believing that it has to leave."""
        nodes = await self._setting.nodes()
        for body in await self.ground.admin.items(f"/api/v1/namespaces/{world.RESEARCH}/pods"):
            pod = pod_of(body)
            home = pod.node in nodes and nodes[pod.node].claim is None
            if home and ASKED in pod.annotations and not (pod.terminating or pod.finished):
                self._find("L1", f"pod {pod.name} stays on {pod.node}, but is still told to leave")

    async def _is_lent(self) -> bool:
        nodes = await self._setting.nodes()
        return any(node.step == "Lent" for node in nodes.values()) and len(self.ground.agents) > world.SERVERS

    async def _why(self, stage: Stage) -> str:
        """What the policy's status says of the rule that did not hold."""
        decision = (await self.ground.admin.status(stage.policy)).get("decision") or {}
        refused = [f"{one['rule']}: {one['text']}" for one in decision.get("rules", []) if not one["holds"]]
        return "; ".join(refused) or "nothing"

    async def _is_home(self) -> bool:
        nodes = await self._setting.nodes()
        scale = await self.ground.admin.get(path_of(world.deployment()))
        replicas = scale["spec"]["replicas"] if scale else 0
        return all(node.claim is None for node in nodes.values()) and replicas == world.SERVERS

    async def _is_observed(self, stage: Stage) -> bool:
        policy = await self.ground.admin.get(stage.policy)
        if policy is None:
            return True  # a case that deletes it
        seen = policy.get("status", {}).get("observedGeneration")
        return bool(seen == policy["metadata"]["generation"])

    async def _delete_policy(self, stage: Stage) -> None:
        """L5: deletion ends. A run that is broken already is not waited for as long."""
        await self.ground.admin.delete(stage.policy)
        if not await until(lambda: self._gone(stage.policy), 5.0 if self._findings else 45.0) and not self._findings:
            self._find("L5", "the policy is still there 45 s after its deletion")

    async def _gone(self, path: str) -> bool:
        return await self.ground.admin.get(path) is None

    def _probes(self) -> None:
        """L3: a living operator's heartbeat goes on."""
        for name, operator in self.ground.operators.items():
            silent = [said for _, said in operator.failed_probes if "silent" in said]
            if silent:
                self._find("L3", f"operator {name}: {silent[0].strip()}")

    def _promises(self, case: Case) -> Promises:
        shape = case.shape
        return Promises(floor=shape.floor, max_loans=shape.max_loans, notice_due=shape.busy)

    def _find(self, invariant: str, what: str) -> None:
        self._findings.append(Finding(invariant=invariant, what=what, at=SystemClock().now()))

    def _starts(self) -> int:
        return sum(operator.starts for operator in self.ground.operators.values())
