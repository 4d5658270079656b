"""The life of one pod on the local runner, from its binding to its last status."""

import asyncio
import json
import logging
import shutil
from contextlib import suppress
from dataclasses import replace
from typing import Final

from meltguard.core.units import Seconds
from meltguard.errors import Conflict, MeltguardError
from meltguard.localcluster.cache import private_directory
from meltguard.localcluster.kubelet.preparation import Preparation
from meltguard.localcluster.kubelet.probes import Verdicts, watch_probes
from meltguard.localcluster.kubelet.process import ContainerProcess, Run
from meltguard.localcluster.kubelet.refusal import CONFIG, NotNow, refusal_of
from meltguard.localcluster.kubelet.reporter import Reporter
from meltguard.localcluster.kubelet.shapes import Pod
from meltguard.localcluster.kubelet.site import Site
from meltguard.localcluster.kubelet.status import Ended, Phase, PodNow, Running, Waiting

PREPARE_AGAIN: Final = Seconds(1.0)
REFRESH_EVERY: Final = Seconds(1.0)
FIRST_BACKOFF: Final = Seconds(1.0)
LONGEST_BACKOFF: Final = Seconds(10.0)
SHUTDOWN_GRACE: Final = Seconds(2.0)  # when the whole plane ends
STEADY: Final = Seconds(60.0)  # a run that held this long begins the back-off anew
log = logging.getLogger(__name__)


class PodWorker:
    """Runs one pod. `observe` and `vanish` tell it what the watch saw."""

    def __init__(self, site: Site, pod: Pod, ip: str) -> None:
        self._site = site
        self._pod = pod
        self.ip = ip
        self._preparation = Preparation(site, pod, ip)
        self._reporter = Reporter(site.api, site.clock, pod)
        self._leave = asyncio.Event()
        self._vanished = False
        before = pod.status.container_statuses
        self._now = PodNow(
            phase=Phase.PENDING,
            state=Waiting("ContainerCreating"),
            ip=ip,
            node_ip=site.node_ip,
            began=site.clock.now(),
            restarts=before[0].restart_count + 1 if before and pod.status.phase == Phase.RUNNING else 0,
            message=f"output: {self._preparation.log}",
        )

    def observe(self, pod: Pod) -> None:
        """The pod as it is now."""
        self._pod = pod
        if pod.metadata.deletion_timestamp is not None:
            self._leave.set()

    def vanish(self) -> None:
        """The pod is no more: no grace, nobody to report to."""
        self._vanished = True
        self._leave.set()

    async def run(self) -> None:
        """Live the pod's life; returns when it may be forgotten. Cancelled: its process is ended with a short grace."""
        reporting = asyncio.create_task(self._reporter.run())
        try:
            await self._live()
            await self._leave.wait()
            if not self._vanished:
                await self._reporter.flush()
                await self._delete()
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
            shutil.rmtree(self._preparation.home, ignore_errors=True)

    async def _live(self) -> None:
        refusal = refusal_of(self._pod)
        if refusal is not None:
            await self._say(state=Waiting(refusal.reason, refusal.message), message=refusal.message)
            return
        private_directory(self._preparation.home)
        backoff = FIRST_BACKOFF
        while (run := await self._prepared()) is not None:
            ended = await self._run_once(run)
            if self._leave.is_set() or not self._starts_again(ended):
                phase = Phase.SUCCEEDED if ended.code == 0 else Phase.FAILED
                await self._say(phase=phase, state=ended, ready=False)
                return
            backoff = FIRST_BACKOFF if ended.at - ended.began > STEADY else backoff
            message = f"ended with {ended.code}; starts again in {backoff:.0f} s"
            await self._say(state=Waiting("CrashLoopBackOff", message), last=ended, ready=False)
            await self._pause(backoff)
            backoff = Seconds(min(LONGEST_BACKOFF, 2 * backoff))
            self._now = replace(self._now, restarts=self._now.restarts + 1)

    def _starts_again(self, ended: Ended) -> bool:
        policy = self._pod.spec.restart_policy
        return policy == "Always" or (policy == "OnFailure" and ended.code != 0)

    async def _prepared(self) -> Run | None:
        """What to run, once everything is there; None when the pod is to leave before that."""
        while not self._leave.is_set():
            try:
                return await self._preparation.run()
            except (NotNow, MeltguardError) as exc:
                await self._say(state=Waiting(CONFIG, str(exc)))
                await self._pause(PREPARE_AGAIN)
        return None

    async def _run_once(self, run: Run) -> Ended:
        process = await ContainerProcess.start(run)
        self._site.written.add(run.log)
        began = self._site.clock.now()
        await self._say(phase=Phase.RUNNING, state=Running(began))
        ended = asyncio.create_task(process.wait())
        beside = [
            asyncio.create_task(self._probe(process)),
            asyncio.create_task(self._leave_with(process)),
            asyncio.create_task(self._keep_fresh()),
        ]
        try:
            code = await ended
        except asyncio.CancelledError:
            await process.end(SHUTDOWN_GRACE)
            raise
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            self._site.written.discard(run.log)
            process.kill()  # what the process may have left behind in its session
        return Ended(code, began, self._site.clock.now())

    async def _probe(self, process: ContainerProcess) -> None:
        async def ready(turned: bool) -> None:  # noqa: FBT001 - the value itself
            await self._say(ready=turned)

        async def dead() -> None:
            log.warning("a probe says that the process is dead", extra={"pod": self._pod.metadata.name})
            await process.end(Seconds(self._pod.spec.termination_grace_period_seconds))

        await watch_probes(self._pod.spec.containers[0], self.ip, Verdicts(ready=ready, dead=dead))

    async def _leave_with(self, process: ContainerProcess) -> None:
        await self._leave.wait()
        granted = 0 if self._vanished else self._pod.metadata.deletion_grace_period_seconds
        await process.end(Seconds(granted or 0))

    async def _keep_fresh(self) -> None:
        while self._preparation.has_files():
            await asyncio.sleep(REFRESH_EVERY)
            with suppress(NotNow, MeltguardError):  # what was mounted stays, as on a real node
                await self._preparation.refresh()

    async def _say(self, **changes: object) -> None:
        self._now = replace(self._now, **changes)  # type: ignore[arg-type] # the names are PodNow's own
        await self._reporter.say(self._now)

    async def _pause(self, pause: Seconds) -> None:
        """Wait, but not if the pod is to leave."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._leave.wait()

    async def _delete(self) -> None:
        """Tell the API server that nothing of this pod runs any more."""
        meta = self._pod.metadata
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta.uid}}
        path = f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}"
        while not self._vanished:
            try:
                await self._site.api.delete(path, json.dumps(options).encode())
            except Conflict:
                return  # another pod has its name
            except MeltguardError as exc:
                log.warning("pod not deleted yet", extra={"pod": meta.name, "why": str(exc)})
                await asyncio.sleep(PREPARE_AGAIN)
            else:
                return
