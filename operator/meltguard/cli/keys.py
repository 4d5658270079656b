"""`meltguard keys`: the keys that sign what agents obey."""

import base64
import re
import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

from meltguard.api.signed import KEY_BYTES
from meltguard.controller.settings import load_keys
from meltguard.errors import InvalidInput

KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""What a Secret's entry may be called, and what can stand before `=` in a list of keys."""

ACTIVE: Final = "active"
"""The Secret's entry that names the signing key; no key's id."""

app = typer.Typer(no_args_is_help=True, help="Signing keys: make one, print the public ones.")


@app.command()
def new(key_id: Annotated[str, typer.Option("--id", help="Id of the key, such as k2.")]) -> None:
    """Print a new private key as a patch that adds it to the operator's Secret.

    It signs once the Secret's entry `active` names it; until then agents can learn its public half:

    kubectl -n meltguard-system patch secret meltguard-signing-keys --type=merge -p "$(meltguard keys new --id k2)"
    """
    if key_id == ACTIVE or not KEY_ID.fullmatch(key_id):
        raise InvalidInput(
            f"--id {key_id!r} cannot name a key; use up to 63 letters, digits, dots, dashes or underscores, "
            f"such as k2, and not {ACTIVE!r}, the entry that names the signing key"
        )
    seed = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    typer.echo(f'stringData:\n  "{key_id}": "{seed}"')


@app.command()
def public(
    signing_keys: Annotated[Path, typer.Option(help="Directory with the Secret's entries, as the operator mounts it.")],
) -> None:
    """Print the public keys, one keyid=base64 a line, the signing one first: what agents take as --keys."""
    for key in load_keys(signing_keys):
        typer.echo(key.public_text())
