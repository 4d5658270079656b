"""The whole demo: a plane, a scene, the operator, users, a surge, a verdict; nothing is left running."""

import asyncio
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.clock import SystemClock
from meltguard.core.units import Instant, Seconds
from meltguard.demo import scene
from meltguard.demo.endpoints import EndpointKeeper
from meltguard.demo.facts import Mark
from meltguard.demo.files import RunFiles, keep, own_files
from meltguard.demo.introduction import QUIET
from meltguard.demo.judge import Seen, judge, snapshot
from meltguard.demo.monitoring import ScrapeKeeper
from meltguard.demo.picture import Story, draw
from meltguard.demo.processes import Child, child
from meltguard.demo.records import ENCODER, Started, UsersSetup, first_line
from meltguard.demo.report import Verdict, verdict
from meltguard.demo.script import Script
from meltguard.demo.shell import shell_of
from meltguard.demo.stage import (
    Options,
    Stage,
    apply_policy,
    build_nodes,
    install_operator,
    start_work,
    write_host_setup,
)
from meltguard.demo.summary import print_commands, print_introduction, print_stop, print_summary
from meltguard.demo.surge import Cast, play
from meltguard.demo.view import view_on
from meltguard.demo.watch import Picture, Watch
from meltguard.errors import Unavailable
from meltguard.localcluster.binaries import binary
from meltguard.localcluster.plane import Plane, running_plane
from meltguard.localcluster.progress import progress_on
from meltguard.sim.recorded import recording, traces_beside_checkout

PEAK: Final = 2.3
"""Offered GPU time at the peak, as a multiple of what the service's own nodes give; at 2 loans alone may suffice."""

LEAD_IN, LENGTH, TAIL = QUIET, Seconds(1440.0), Seconds(600.0)
"""Of the load, in the recorded service's time: quiet, the flash crowd, quiet again."""

PATIENCE: Final = Seconds(900.0)
"""After which a user leaves, in the recorded service's time."""

SENDS_WITHIN: Final = Seconds(30.0)
LOOK_EVERY: Final = Seconds(0.1)


def run(options: Options) -> Verdict:
    """Run the demo and report.

    Raises:
        InvalidInput: something that a person must put right; the text says what.
        Unavailable: a part of the plane or the operator did not answer.
        KeyboardInterrupt: it was interrupted; everything has ended.
    """
    with _ended_alike(), own_files(options.report.absolute()) as files:
        helm = binary("helm", progress_on())  # before the plane: where it must be built, that takes minutes
        with running_plane() as plane:
            try:
                return asyncio.run(_perform(options, (plane, helm), files))
            finally:
                keep(files, plane.audit_log, (plane.logs, plane.pod_logs))  # the plane's directory goes with it


async def _perform(options: Options, programs: tuple[Plane, Path], files: RunFiles) -> Verdict:
    plane, helm = programs
    async with await KubernetesApi.connect(str(plane.kubeconfig)) as api:
        fleet = KubernetesFleet(api, SystemClock())
        mirroring = asyncio.create_task(fleet.run())
        stage = Stage(
            options=options,
            plane=plane,
            helm=helm,
            files=files,
            api=api,
            fleet=fleet,
            drawn=recording(traces_beside_checkout()),
            progress=progress_on(),
        )
        try:
            with ExitStack() as children:
                return await _story(stage, children)
        finally:
            mirroring.cancel()


async def _story(stage: Stage, children: ExitStack) -> Verdict:
    print_introduction(stage.options.speed, stage.drawn.source)
    print_commands(stage.plane)
    watch = Watch(stage.api, stage.fleet, stage.plane.prometheus_url, stage.files.journals)
    await build_nodes(stage)
    setup = write_host_setup(stage)
    hosts = children.enter_context(child("meltguard.demo.servinghost", [str(setup)], stage.files.log("hosts")))
    await install_operator(stage)
    await start_work(stage)
    await apply_policy(stage, watch)
    keeping = asyncio.create_task(EndpointKeeper(stage.fleet, stage.files.endpoints).run())
    scraped = asyncio.create_task(ScrapeKeeper(stage.fleet, stage.plane.prometheus_targets).run())
    try:
        before = await snapshot(stage)
        surge_at, album, marks = await _surge(stage, watch, hosts, children)
        judged = await judge(stage, Seen(before=before, surge_at=surge_at, album=album, marks=tuple(marks)))
    finally:
        keeping.cancel()
        scraped.cancel()
    outcome = verdict(judged.found, judged.facts)
    drawn = Story(surge_at=surge_at, album=album, journals=judged.journals, found=judged.found, facts=judged.facts)
    await asyncio.to_thread(draw, drawn, stage.files.picture)
    print_summary(judged, outcome, stage.files)
    if stage.options.keep:
        await _stay(stage)
    return outcome


async def _surge(
    stage: Stage, watch: Watch, hosts: Child, children: ExitStack
) -> tuple[Instant, Sequence[tuple[Seconds, Picture]], Sequence[Mark]]:
    """Send the users, show what happens; when the surge began, how it looked, what people did."""
    speed = stage.options.speed
    setup = _users_setup(stage)
    stage.files.setup("users").write_bytes(ENCODER.encode(setup))
    arguments = [str(stage.files.setup("users"))]
    users = children.enter_context(child("meltguard.demo.users", arguments, stage.files.log("users")))
    surge_at = Instant(await _started(stage.files.users, users) + LEAD_IN / speed)
    view = view_on(sys.stdout, surge_at, headless=stage.options.headless)
    cast = Cast(watch=watch, view=view, users=users, hosts=hosts)
    plane = stage.plane
    script = Script(stage=stage, watch=watch, shell=shell_of(plane.binaries["kubectl"], plane.kubeconfig, view.say))
    acting = asyncio.create_task(script.perform())
    try:
        await play(cast, surge_at, Seconds((LENGTH + TAIL) / speed))
        if acting.done():
            acting.result()  # raises what stopped it
    finally:
        acting.cancel()
        view.close()
    return surge_at, cast.album, script.marks


def _users_setup(stage: Stage) -> UsersSetup:
    speed = stage.options.speed
    traces = traces_beside_checkout()
    return UsersSetup(
        seed=stage.options.seed,
        speed=speed,
        base_gpus=scene.INFERENCE_NODES * scene.GPUS_A_NODE,
        peak=PEAK,
        lead_in=LEAD_IN / speed,
        length=LENGTH / speed,
        tail=TAIL / speed,
        patience=PATIENCE / speed,
        traces=str(traces) if traces else None,
        endpoints=str(stage.files.endpoints),
        results=str(stage.files.users),
    )


async def _started(results: Path, users: Child) -> Instant:
    """When the users' process began to send. Raises Unavailable where it does not."""
    try:
        async with asyncio.timeout(SENDS_WITHIN):
            while (first := first_line(results)) is None:
                users.check()
                await asyncio.sleep(LOOK_EVERY)  # a file's first line cannot be awaited
    except TimeoutError as exc:
        raise Unavailable(
            f"the load generator wrote nothing within {SENDS_WITHIN:.0f} s; see its log beside it"
        ) from exc
    return Instant(msgspec.json.decode(first, type=Started).at)


async def _stay(stage: Stage) -> None:
    print_stop(stage.plane)
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


@contextmanager
def _ended_alike() -> Iterator[None]:
    """A termination ends the demo as Ctrl-C does: in order. A shell's background jobs come with Ctrl-C ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        signal.raise_signal(signal.SIGINT)

    former = signal.signal(signal.SIGTERM, interrupt), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former[0])
        signal.signal(signal.SIGINT, former[1])
