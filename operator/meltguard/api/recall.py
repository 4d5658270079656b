"""A recall as it is written on a GPUPool: one annotation, by whoever may patch the pool."""

from typing import Annotated, Final

from pydantic import Field, ValidationError

from meltguard.api.quantities import parse_instant
from meltguard.api.wire import MessageModel
from meltguard.core.seen import RecallOrder
from meltguard.errors import InvalidInput

RECALL_ANNOTATION: Final = "meltguard.io/recall"
LONGEST_REASON: Final = 256
Name = Annotated[str, Field(max_length=253)]


class RecallText(MessageModel):
    """The annotation's JSON."""

    nodes: Annotated[tuple[Name, ...], Field(max_length=256)] = ()
    """Which nodes; none named means all that the pool has lent."""
    before: Annotated[str, Field(max_length=40)]
    """RFC 3339. Loans claimed later are not meant."""
    reason: Annotated[str, Field(max_length=LONGEST_REASON)] = ""
    """Why, for people."""
    by: Annotated[str, Field(max_length=128)] = ""
    """Who."""


def read_recall(text: str) -> RecallOrder:
    """The order in an annotation.

    Raises:
        InvalidInput: it cannot be read; the text names the field and the way to write it.
    """
    try:
        read = RecallText.model_validate_json(text)
        before = parse_instant(read.before)
    except (ValidationError, InvalidInput) as exc:
        first = exc.errors(include_input=False)[0] if isinstance(exc, ValidationError) else None
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(exc)
        text = f"annotation {RECALL_ANNOTATION} cannot be read ({said}); write it with `kubectl meltguard recall`"
        raise InvalidInput(text) from exc
    who = f" by {read.by}" if read.by else ""
    reason = f"recalled{who}: {read.reason or 'no reason given'}"
    return RecallOrder(nodes=frozenset(read.nodes), before=before, reason=reason)


def write_recall(order: RecallText) -> str:
    """The annotation's text."""
    return order.model_dump_json(by_alias=True, exclude_defaults=True)
