"""A state directory, and a plain connection into its file for what only an intruder or a broken disk does."""

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import pytest

from rollbackd.clock import SystemClock
from rollbackd.store.store import Store


class StateDirectory:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "rollbackd.db"

    def open(self) -> AbstractAsyncContextManager[Store]:
        return Store.opened(f"sqlite:///{self.file}", clock=SystemClock())

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        """The rows of the last one."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            rows: Sequence[tuple[object, ...]] = ()
            for statement in statements:
                rows = connection.execute(statement).fetchall()
            return list(rows)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "state")
