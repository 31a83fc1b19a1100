"""Frozen records as plain data, written the way the config writes them: `2m`, `> 0.01`, `service="api"`. Pure."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from rollbackd.model.condition import Condition
from rollbackd.model.matchers import Matcher
from rollbackd.settings.durations import format_duration


def plain(value: object, *, effective: bool = True) -> object:
    """`effective` writes every field; without it a field that has its default is left out."""
    match value:
        case timedelta():
            return format_duration(value)
        case StrEnum() | Condition() | Matcher() | Path():
            return str(value)
        case Mapping():
            return {str(key): plain(each, effective=effective) for key, each in value.items()}
        case list() | tuple():
            return [plain(each, effective=effective) for each in value]
        case _ if is_dataclass(value):
            return {
                field.name: plain(getattr(value, field.name), effective=effective)
                for field in fields(value)
                if effective or getattr(value, field.name) != _default(field)
            }
        case _:
            return value


def _default(field: Field[Any]) -> object:
    return field.default_factory() if field.default_factory is not MISSING else field.default
