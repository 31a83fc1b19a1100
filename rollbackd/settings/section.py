"""What every section of a config or runbook file is: strict, frozen, and without keys of its own invention."""

from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, ValidationInfo, model_validator

from rollbackd.settings.scalars import Line, VarText

T = TypeVar("T")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _remember(cls, value: Any, info: ValidationInfo) -> Any:
        """Note in the context which class read which map: an unknown key is answered with the keys of that class."""
        if info.context is not None:
            info.context[id(value)] = cls
        return value

    def with_overrides(self, other: "Section") -> Self:
        """A copy with everything that is written in `other`."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


def _list_or_map(value: object) -> str:
    return "(map)" if isinstance(value, dict) else "(list)"


Choice = Annotated[Annotated[tuple[Line, ...], Tag("(list)")] | Annotated[dict[Line, T], Tag("(map)")], Discriminator(_list_or_map)]
"""Names out of those that the config defines: a list, or a map of name to what is different here."""


def _text_or_list(value: object) -> str:
    return "(list)" if isinstance(value, list) else "(text)"


Variable = Annotated[Annotated[VarText, Tag("(text)")] | Annotated[tuple[VarText, ...], Tag("(list)")], Discriminator(_text_or_list)]
