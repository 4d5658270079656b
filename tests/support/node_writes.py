"""Writes to a node that the admission policies refuse, and such as they let pass."""

from support.admission import EPOCH, EPOCH_KEY, LOAN, Ops, no_label, no_note, note, now, put, set_label, under

MANAGED = "meltguard.io/managed"
OURS = {"key": "workload", "value": "serving", "effect": "NoSchedule"}
CLAIM = note(LOAN, '{"version":1}')

NODE_DENIED: dict[str, tuple[str, str, Ops, Ops]] = {
    "an older epoch": ("meltguard-fence", "operator", [], under(EPOCH - 1, CLAIM)),
    "an epoch that has not begun": ("meltguard-fence", "operator", [], under(EPOCH + 1, CLAIM)),
    "no epoch": ("meltguard-fence", "operator", [], [CLAIM]),
    "an epoch that only looks like it": ("meltguard-fence", "operator", [], [CLAIM, note(EPOCH_KEY, f"0{EPOCH}")]),
    "the epoch taken off": ("meltguard-fence", "operator", now(), [no_note(EPOCH_KEY)]),
    "an older epoch, uncordoning": (
        "meltguard-fence",
        "operator",
        now(),
        under(EPOCH - 1, put("/spec/unschedulable", True)),
    ),
    "a node that a later leader wrote": ("meltguard-fence", "operator", under(EPOCH + 2), now(CLAIM)),
    "the uninstall Job under an older epoch": ("meltguard-fence", "release", [], under(EPOCH - 1, CLAIM)),
    "a node that is not managed": ("meltguard-node-scope", "operator", [no_label(MANAGED)], now(CLAIM)),
    "a node managed in name only": ("meltguard-node-scope", "operator", [set_label(MANAGED, "yes")], now(CLAIM)),
    "a claimed node that lost its label": (
        "meltguard-node-scope",
        "operator",
        [no_label(MANAGED), CLAIM],
        now(no_note(LOAN)),
    ),
    "the uninstall Job on a node that never was managed": (
        "meltguard-node-scope",
        "release",
        [no_label(MANAGED)],
        now(CLAIM),
    ),
    "taking a node into its own hands": (
        "meltguard-node-scope",
        "operator",
        [no_label(MANAGED)],
        now(set_label(MANAGED, "true")),
    ),
    "letting a node go": ("meltguard-node-scope", "operator", [], now(no_label(MANAGED))),
    "a label of somebody else": ("meltguard-node-scope", "operator", [], now(set_label("team", "serving"))),
    "removing a label of somebody else": ("meltguard-node-scope", "operator", [], now(no_label("team"))),
    "a role label": (
        "meltguard-node-scope",
        "operator",
        [],
        now(set_label("node-role.kubernetes.io/control-plane", "")),
    ),
    "an annotation of somebody else": ("meltguard-node-scope", "operator", [], now(note("example.com/rack", "r8"))),
    "removing an annotation of somebody else": (
        "meltguard-node-scope",
        "operator",
        [],
        now(no_note("example.com/rack")),
    ),
    "an annotation that only begins like ours": (
        "meltguard-node-scope",
        "operator",
        [],
        now(note("meltguard.io.evil/a", "1")),
    ),
    "a NoExecute taint": (
        "meltguard-node-scope",
        "operator",
        [],
        now(put("/spec/taints/-", {**OURS, "effect": "NoExecute"})),
    ),
    "a taint of another key": (
        "meltguard-node-scope",
        "operator",
        [],
        now(put("/spec/taints/-", {**OURS, "key": "gpu"})),
    ),
    "removing a taint of another key": (
        "meltguard-node-scope",
        "operator",
        [],
        now({"op": "remove", "path": "/spec/taints/1"}),
    ),
    "a foreign taint with another effect": (
        "meltguard-node-scope",
        "operator",
        [],
        now({"op": "replace", "path": "/spec/taints/1/effect", "value": "PreferNoSchedule"}),
    ),
    "a provider id": ("meltguard-node-scope", "operator", [], now(put("/spec/providerID", "x://evil"))),
    "a pod range": (
        "meltguard-node-scope",
        "operator",
        [no_label("team")],
        now(put("/spec/podCIDR", "10.250.0.0/24"), put("/spec/podCIDRs", ["10.250.0.0/24"])),
    ),
    "a finalizer": ("meltguard-node-scope", "operator", [], now(put("/metadata/finalizers", ["meltguard.io/x"]))),
    "an owner": (
        "meltguard-node-scope",
        "operator",
        [],
        now(put("/metadata/ownerReferences", [{"apiVersion": "v1", "kind": "Node", "name": "x", "uid": "u"}])),
    ),
    "a claim by its own kubelet": ("meltguard-claims", "kubelet", [], [CLAIM]),
    "its own kubelet changing the claim": ("meltguard-claims", "kubelet", [CLAIM], [note(LOAN, "{}")]),
    "its own kubelet removing the claim": ("meltguard-claims", "kubelet", [CLAIM], [no_note(LOAN)]),
    "its own kubelet raising the epoch": ("meltguard-claims", "kubelet", now(), under(EPOCH + 100)),
    "its own kubelet changing its pool": ("meltguard-claims", "kubelet", [], [set_label("workload", "serving")]),
    "its own kubelet becoming managed": (
        "meltguard-claims",
        "kubelet",
        [no_label(MANAGED)],
        [set_label(MANAGED, "true")],
    ),
    "a person's claim": ("meltguard-claims", "people", [], [CLAIM]),
    "a person removing a claim": ("meltguard-claims", "people", [CLAIM], [no_note(LOAN)]),
    "a person removing the epoch": ("meltguard-claims", "people", now(), [no_note(EPOCH_KEY)]),
}
"""Which policy refuses, who writes, what an administrator did to the node before, what is written."""

NODE_ALLOWED: dict[str, tuple[str, Ops, Ops]] = {
    "a claim": ("operator", [], now(CLAIM)),
    "a claim on a node last written by an earlier leader": ("operator", under(EPOCH - 3), now(CLAIM)),
    "cordoning with other owners' marks": (
        "operator",
        [CLAIM],
        now(
            put("/spec/unschedulable", True),
            note("cluster-autoscaler.kubernetes.io/scale-down-disabled", "true"),
            note("karpenter.sh/do-not-disrupt", "true"),
        ),
    ),
    "label and taint in one write": (
        "operator",
        [CLAIM, put("/spec/unschedulable", True)],
        now(set_label("workload", "serving"), {"op": "replace", "path": "/spec/taints/0", "value": OURS}),
    ),
    "removing the pool's label and taint": (
        "operator",
        [CLAIM],
        now(no_label("workload"), {"op": "remove", "path": "/spec/taints/0"}),
    ),
    "putting taints back in their old order": (
        "operator",
        [CLAIM],
        now({"op": "move", "from": "/spec/taints/1", "path": "/spec/taints/0"}),
    ),
    "uncordoning and taking the claim off": (
        "operator",
        [CLAIM, put("/spec/unschedulable", True)],
        now({"op": "remove", "path": "/spec/unschedulable"}, no_note(LOAN)),
    ),
    "the uninstall Job bringing a node home": (
        "release",
        [CLAIM],
        now(no_note(LOAN), set_label("workload", "research")),
    ),
    "the uninstall Job on a claimed node that lost its label": (
        "release",
        [CLAIM, no_label(MANAGED)],
        now(no_note(LOAN)),
    ),
    "a kubelet annotating its own claimed node": ("kubelet", now(CLAIM), [note("volumes.kubernetes.io/x", "true")]),
    "a person with the break-glass role": ("rescuer", now(CLAIM), [no_note(LOAN)]),
    "an administrator": ("admin", now(CLAIM), [no_note(LOAN), no_note(EPOCH_KEY)]),
    "a person making a node managed": ("people", [no_label(MANAGED)], [set_label(MANAGED, "true")]),
    "a person relabelling a claimed node": ("people", now(CLAIM), [set_label("team", "audio")]),
    "a controller tainting a claimed node": (
        "people",
        now(CLAIM),
        [put("/spec/taints/-", {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"})],
    ),
}
"""Who writes, what an administrator did to the node before, what is written."""
