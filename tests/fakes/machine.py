"""A machine whose wall clock anybody may set, in the place of the one that a `SystemClock` reads."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from rollbackd import clock

BOOTED: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Machine:
    """`passed` goes on through a suspend; `ahead` is how far the wall clock was set ahead of the true time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = timedelta(hours=1)
        self.ahead = timedelta(0)
        monkeypatch.setattr(clock, "wall_clock", lambda: self.true + self.ahead)
        monkeypatch.setattr(clock, "_since_boot", lambda: self.passed)

    @property
    def true(self) -> datetime:
        return BOOTED + self.passed


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)
