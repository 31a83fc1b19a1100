"""The catalogue of faults, and which of its rows a test is about: its name says so."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NAMED: Final = re.compile(r"(?:test_rows?_|TestRows?)(\d+)(?:_?(?:to|To|and|And)_?(\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`every_commit`: it must not be left to the nightly tests alone. `not_here`: why it has no test."""

    number: int
    fault: str
    promises: tuple[str, ...]
    injected: str = ""
    holds: str = ""
    every_commit: bool = False
    not_here: str = ""


@dataclass(frozen=True, slots=True)
class Catalogue:
    promises: Mapping[str, str]
    rows: Mapping[int, Row]

    @classmethod
    def read(cls) -> "Catalogue":
        written = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
        rows = [Row(number=int(number), **{**row, "promises": tuple(row["promises"])}) for number, row in written["rows"].items()]
        return cls(written["promises"], {row.number: row for row in rows})


def rows_of(test: str) -> frozenset[int]:
    """Of a test's id, `path::TestRow37::test_…` or `path::test_rows_1_to_7_…[…]`."""
    _, *names = test.partition("[")[0].split("::")
    found = [named for name in names if (named := _NAMED.match(name))]
    return frozenset(number for named in found for number in range(int(named[1]), int(named[2] or named[1]) + 1))
