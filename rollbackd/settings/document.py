"""A file's plain values, together with where each of them is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Mark:
    """Where a value is written, as (line, column) from 1: itself, and its key if it has one. `text` is a scalar as it is written."""

    value_at: tuple[int, int]
    key_at: tuple[int, int]
    text: str | None = None
    entries: dict[str, "Mark"] = field(default_factory=dict)
    items: list["Mark"] = field(default_factory=list)

    def child(self, key: str | int) -> "Mark | None":
        if isinstance(key, str):
            return self.entries.get(key)
        return self.items[key] if key < len(self.items) else None


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """`data` holds what can be used, `mark` everything that is written: an entry that is only in `mark` was refused."""

    file: Path
    data: Any
    mark: Mark


@dataclass(frozen=True, slots=True)
class Place:
    """A value in a document, by its path."""

    document: Document
    path: tuple[str | int, ...] = ()

    def __truediv__(self, key: str | int) -> "Place":
        return Place(self.document, (*self.path, key))

    @property
    def value(self) -> Any:
        value = self.document.data
        for key in self.path:
            value = value[key]
        return value

    @property
    def mark(self) -> Mark:
        """Of the value, or of the nearest one around it that is written."""
        return self._walk()[0]

    @property
    def written(self) -> bool:
        """Whether it is in the file, also when what is there was refused."""
        return self._walk()[1]

    @property
    def entries(self) -> Mapping[str, Mark]:
        """What is written in the map at this place."""
        mark, written = self._walk()
        return mark.entries if written else {}

    def position(self, *, at_key: bool = False) -> tuple[int, int]:
        """A scalar is where its value stands, everything else where its key does."""
        mark = self.mark
        return mark.key_at if at_key or mark.text is None else mark.value_at

    def __str__(self) -> str:
        line, col = self.position()
        return f"{self.document.file}:{line}:{col}"

    def _walk(self) -> tuple[Mark, bool]:
        mark = self.document.mark
        for key in self.path:
            child = mark.child(key)
            if child is None:
                return mark, False
            mark = child
        return mark, True
