"""Figures that take longer to measure than a test may: kept in `docs/measured/`, one file for each command that makes them.

{"title": …, "command": …, "at": …, "machine": {"cores": 2, "python": "3.11.2"}, "figures": [["kill -9", "1,000"], …]}
"""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from rollbackd.clock import SystemClock, rfc3339

DIRECTORY: Final = Path(__file__).parents[2] / "docs" / "measured"


def machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "python": platform.python_version()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """`figures` are pairs of what was measured and what came out, both for a person."""

    title: str
    command: str
    at: str
    machine: dict[str, Any]
    figures: Sequence[Sequence[str]]

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def keep(name: str, *, title: str, command: str, figures: Sequence[Sequence[str]]) -> Path:
    document = {"title": title, "command": command, "at": rfc3339(SystemClock().now()), "machine": machine(), "figures": figures}
    DIRECTORY.mkdir(exist_ok=True)
    path = DIRECTORY / f"{name}.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
