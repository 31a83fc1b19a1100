"""How the words of the model become columns: instants, codes and documents."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import BigInteger, Dialect, Row, String, Table, Text
from sqlalchemy.types import TypeDecorator

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

T = TypeVar("T")
CodeT = TypeVar("CodeT", bound=StrEnum)


def to_microseconds(instant: datetime) -> int:
    """Exact, unlike `timestamp() * 1e6`."""
    return (instant - EPOCH) // MICROSECOND


def from_microseconds(count: int) -> datetime:
    """Raises TypeError or OverflowError when a damaged row holds something else."""
    return EPOCH + timedelta(microseconds=count)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime as microseconds since the epoch: sorts as it reads, and no database's time zone has a say."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> int | None:
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: int | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else from_microseconds(value)


class Code(TypeDecorator[CodeT], Generic[CodeT]):
    """A member of a StrEnum as its value."""

    impl = String(32)
    cache_ok = True

    def __init__(self, codes: type[CodeT]) -> None:
        super().__init__()
        self.codes = codes

    def process_bind_param(self, value: CodeT | None, _dialect: Dialect) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: str | None, _dialect: Dialect) -> CodeT | None:
        return None if value is None else self.codes(value)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class Document(TypeDecorator[Any]):
    """A dataclass, tuple or map as JSON text, validated when it is read back."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, _dialect: Dialect) -> str | None:
        return None if value is None else _adapter(self.kind).dump_json(value).decode()

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Any:
        return None if value is None else _adapter(self.kind).validate_json(value)


def as_row(table: Table, record: Any) -> dict[str, Any]:
    """The columns of `table` that are fields of `record`, and the whole of it as its document."""
    return {"record": record} | {name: getattr(record, name) for name in table.c.keys() if hasattr(record, name)}  # noqa: SIM118 - not a mapping


def record_of(row: Row[Any]) -> Any:
    """The way back."""
    return row.record


def as_record(kind: Callable[..., T]) -> Callable[[Row[Any]], T]:
    """For a table without a document: its columns are the fields of `kind`."""
    return lambda row: kind(**row._mapping)  # noqa: SLF001 - the public name of SQLAlchemy's mapping view of a row
