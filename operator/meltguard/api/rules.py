"""A rule is written once, in two languages: CEL for the API server, Python for whoever reads a file without one.

Both refuse with the same sentence, which names the field, the problem and the fix.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import override

from meltguard.api.wire import MessageModel, SpecModel
from meltguard.errors import InvalidInput

VALIDATIONS: Final = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One condition on a value. Neither form may fail on a value that another rule refuses."""

    cel: str  # over `self`
    holds: Callable[[Any], bool]  # an InvalidInput counts as no
    message: str

    def check(self, value: Any) -> None:
        """Refuse the value where the rule does not hold, in pydantic's way."""
        try:
            holds = self.holds(value)
        except InvalidInput:
            holds = False
        if not holds:
            raise PydanticCustomError("rule", "{message}", {"message": self.message})


def _with_rules(schema: JsonSchemaValue, rules: tuple[Rule, ...]) -> JsonSchemaValue:
    written = [{"rule": rule.cel, "message": rule.message} for rule in rules]
    return {**schema, VALIDATIONS: [*schema.get(VALIDATIONS, []), *written]}


@dataclass(frozen=True, slots=True)
class Checked:
    """Puts rules on a field: `Annotated[str, Checked(rule)]`."""

    rules: tuple[Rule, ...]
    longest: int | None = None  # bound on a text's length, for the schema; the rules' patterns hold it too

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        bound = {} if self.longest is None else {"maxLength": self.longest}
        return _with_rules({**handler(schema), **bound}, self.rules)

    def _check(self, value: Any) -> Any:
        for rule in self.rules:
            rule.check(value)
        return value


class Ruled(BaseModel):
    """A shape with rules over several of its fields."""

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        for rule in self.RULES:
            rule.check(self)
        return self

    @classmethod
    @override
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        named = handler(schema)
        shape = handler.resolve_ref_schema(named)
        if cls.RULES and VALIDATIONS not in shape:
            shape.update(_with_rules(shape, cls.RULES))
        return named


class RuledModel(Ruled, SpecModel):
    """A part of a spec."""


class ResourceModel(Ruled, MessageModel):
    """A whole object, as the API server has it: its metadata hold more than we read."""
