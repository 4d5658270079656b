"""The seeded bugs: each a slip that somebody could make, and the case that must show it."""

from dataclasses import dataclass
from typing import Final

from faults.bug_cases import CONFLICTED, DRAINED, EDITED, IDLE, KILLED, ONE_TO_SPARE, TWO_WANTED, named, short
from faults.scenario import Case

Edit = tuple[str, str, str]
"""File, text, what stands there instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One bug."""

    name: str
    like: str  # the trap of reliability.md section 2 that it is like; "" for our own
    what: str
    edits: tuple[Edit, ...]
    case: Case


BUGS: Final[tuple[Bug, ...]] = (
    Bug(
        name="loop-dies-of-one-error",
        like="K1",
        what="a pass that fails once is never run again, while the process stays up",
        edits=(
            (
                "controller/supervisor.py",
                '            log.warning("pass not finished", extra={"loop": name, "why": str(exc)})',
                "            await asyncio.Event().wait()",
            ),
            (
                "controller/mover.py",
                """        except (Conflict, Unavailable) as exc:
            log.info("node step not taken", extra={"node": node.name, "why": str(exc)})""",
                "        except (Conflict, Unavailable):\n            raise Unavailable('x') from None",
            ),
        ),
        case=CONFLICTED,
    ),
    Bug(
        name="trusts-its-cache",
        like="K2",
        what="a step is decided on the mirrored node, not on one read afresh",
        edits=(("controller/mover.py", "node = await self.fleet.fresh(seen.name)", "node = seen"),),
        case=short(named("pod-lands-unseen")),
    ),
    Bug(
        name="old-term-goes-on",
        like="K4",
        what="writes carry the epoch before the Lease's",
        edits=(
            (
                "api/node_patch.py",
                """        _set_annotation(CLAIM_ANNOTATION, write_claim(claim)),
        _set_annotation(EPOCH_ANNOTATION, str(epoch)),""",
                """        _set_annotation(CLAIM_ANNOTATION, write_claim(claim)),
        _set_annotation(EPOCH_ANNOTATION, str(epoch - 1)),""",
            ),
        ),
        case=IDLE,
    ),
    Bug(
        name="finalizer-on-nodes",
        like="K5",
        what="a claim puts a finalizer on its node",
        edits=(
            (
                "api/node_patch.py",
                "        *_shape_ops(node, shape_at(node, claim)),",
                """        *_shape_ops(node, shape_at(node, claim)),
        {"op": "add", "path": "/metadata/finalizers", "value": ["meltguard.io/loan"]},""",
            ),
        ),
        case=IDLE,
    ),
    Bug(
        name="status-written-once",
        like="K6",
        what="the status stays that of the first pass",
        edits=(
            (
                "controller/service.py",
                "        if not changed and self._written is not None and",
                "        if self._written is not None or not changed and self._written is not None and",
            ),
        ),
        case=EDITED,
    ),
    Bug(
        name="notice-again-and-again",
        like="K10",
        what="a step that is taken again tells the pods anew, so that their time never runs out",
        edits=(
            (
                "core/draining.py",
                "return tuple(pod for pod in _staying(node) if pod.notice != claim.move_id)",
                "return _staying(node)",
            ),
        ),
        case=DRAINED,
    ),
    Bug(
        name="forgets-over-a-restart",
        like="K10",
        what="only nodes that this process claimed are carried on",
        edits=(
            (
                "controller/mover.py",
                "        if seen.claim is None:\n",
                "        if seen.claim is None or seen.claim.since < _BORN:\n",
            ),
            (
                "controller/mover.py",
                'DELETION_COST = "controller',
                '_BORN = __import__("time").time()\nDELETION_COST = "controller',
            ),
        ),
        case=KILLED,
    ),
    Bug(
        name="floor-not-kept",
        like="",
        what="a lender's floor is not asked for",
        edits=(
            ("core/loan_rules.py", "        holds=left >= floor,", "        holds=True,"),
            (
                "core/loan_rules.py",
                "min(lending.max_loans - len(lender.lent), len(lender.sound) - lender.floor)",
                "(lending.max_loans - len(lender.lent))",
            ),
            ("controller/claimer.py", "if len(lender.at_home) - 1 < lender.floor:", "if not lender:"),
        ),
        case=ONE_TO_SPARE,
    ),
    Bug(
        name="too-many-loans",
        like="",
        what="neither the policy's nor the lender's bound on loans holds",
        edits=(
            ("core/loan_rules.py", "holds=out < short.capacity.max_loans, text", "holds=True, text"),
            (
                "core/loan_rules.py",
                'rule="lender has room", holds=out < most, text',
                'rule="lender has room", holds=True, text',
            ),
            ("core/loans.py", "room=short.capacity.max_loans - len(short.seen.loans),", "room=9,"),
            (
                "core/loan_rules.py",
                "min(lending.max_loans - len(lender.lent), len(lender.sound) - lender.floor)",
                "len(lender.sound) - lender.floor",
            ),
            ("controller/claimer.py", "len(lender.lent) >= home.lending.max_loans", "home.lending.max_loans < 0"),
            (
                "controller/claimer.py",
                "len(loans_of(policy.uid, others)) >= policy.capacity.max_loans",
                "policy.capacity.max_loans < 0",
            ),
        ),
        case=TWO_WANTED,
    ),
    Bug(
        name="deletes-instead-of-evicting",
        like="",
        what="pods are deleted, past their budgets",
        edits=(
            (
                "adapters/kubernetes_objects.py",
                'await self._api.post(f"{_pod_path(pod)}/eviction", msgspec.json.encode(body))',
                "await self._api.delete(_pod_path(pod))",
            ),
        ),
        case=DRAINED,
    ),
    Bug(
        name="evicts-without-uid",
        like="",
        what="an eviction names its pod by name only",
        edits=(
            (
                "adapters/kubernetes_objects.py",
                '{"preconditions": {"uid": pod.uid, "resourceVersion": pod.resource_version}}',
                "{}",
            ),
        ),
        case=DRAINED,
    ),
    Bug(
        name="evicts-before-its-time",
        like="",
        what="who was told is evicted at once",
        edits=(
            (
                "core/draining.py",
                "return answered or skipped or now >= pod.evict_after",
                "return answered or skipped or now >= pod.asked_at",
            ),
        ),
        case=DRAINED,
    ),
    Bug(
        name="relabels-a-busy-node",
        like="",
        what="labels change while pods are still ending",
        edits=(
            (
                "core/moves.py",
                "return empty(node, claim, scene) or _enter(claim, MoveStep.RELABELLED, scene.now)",
                "return _enter(claim, MoveStep.RELABELLED, scene.now)",
            ),
        ),
        case=DRAINED,
    ),
    Bug(
        name="label-without-taint",
        like="",
        what="a node that changes hands keeps its old taint",
        edits=(
            (
                "core/node_shape.py",
                "            taints = swap_taints(node.taints, claim.change)\n",
                "            taints = node.taints\n",
            ),
        ),
        case=IDLE,
    ),
    Bug(
        name="marks-left-behind",
        like="",
        what="other node owners' marks stay after the loan",
        edits=(("core/node_shape.py", "annotations=dict(claim.prior.annotations)", "annotations={}"),),
        case=IDLE,
    ),
    Bug(
        name="foreign-cordon-taken-off",
        like="",
        what="a cordon that somebody set while the node was lent is taken off with ours",
        edits=(("core/moves.py", "if claim.step is MoveStep.LENT and node.unschedulable:", "if claim.home == '':"),),
        case=short(named("admin-cordons-while-lent")),
    ),
    Bug(
        name="drain-without-end",
        like="",
        what="a drain that is blocked is waited for without end",
        edits=(("core/draining.py", "    if now <= drain.deadline:\n", "    if drain.deadline:\n"),),
        case=named("pdb-appears-mid-drain"),
    ),
    Bug(
        name="policy-never-released",
        like="",
        what="a deleted policy's finalizer stays",
        edits=(
            (
                "controller/loops.py",
                "claimed = any(node.claim and node.claim.policy_uid == uid for node in self.fleet.view().nodes)",
                "claimed = bool(uid)",
            ),
        ),
        case=IDLE,
    ),
    Bug(
        name="claim-without-way-back",
        like="",
        what="the labels that a node had are not written into its claim",
        edits=(("core/moves.py", "labels={key: node.labels.get(key) for key in keys},", "labels={},"),),
        case=IDLE,
    ),
)
