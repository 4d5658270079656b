from meltguard.cli.chart_rights import rights_of, rights_table

ROLE = {
    "kind": "Role",
    "metadata": {"name": "r"},
    "rules": [
        {"apiGroups": ["", "apps"], "resources": ["pods", "deployments"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["leases"], "resourceNames": ["one"], "verbs": ["patch"]},
    ],
}


def test_every_rule_of_every_role_is_a_row() -> None:
    table = rights_table(rights_of([{"kind": "Service", "metadata": {"name": "s"}}, ROLE]))
    assert table.splitlines()[2:] == [
        "| Role `r` | `pods`, `deployments` | core, apps | get, list |",
        "| Role `r` | `leases` named `one` | core | patch |",
    ]
