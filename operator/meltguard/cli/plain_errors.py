"""Command groups whose errors are for people: one text, no traceback, and an exit code that programs may rely on."""

from typing import Any, Final

import typer
from typer.core import TyperGroup
from typing_extensions import override

from meltguard.errors import InvalidInput, MeltguardError

WRONG_INPUT: Final = 2
DID_NOT_WORK: Final = 1


class PlainErrors(TyperGroup):
    """Ends on our errors in one line."""

    @override
    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except MeltguardError as exc:
            typer.echo(f"error: {exc}", err=True)
            raise typer.Exit(WRONG_INPUT if isinstance(exc, InvalidInput) else DID_NOT_WORK) from exc
