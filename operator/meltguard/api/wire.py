"""What all wire shapes share: camelCase outside, frozen values inside, docstrings as the field's description."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class SpecModel(BaseModel):
    """A shape that people write: an unknown key is a mistake and is refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )


class MessageModel(BaseModel):
    """A shape that programs exchange: a newer sender's extra keys are ignored, so versions can be mixed."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )
