"""The real store, and a clock that stands still until it is told to go on."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollbackd.releases.register import Register
from rollbackd.store.store import Store

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class SetClock:
    def __init__(self) -> None:
        self.instant = NOW

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    async def sleep(self, duration: timedelta) -> None:
        self.instant += duration


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def store(tmp_path: Path, clock: SetClock) -> AsyncIterator[Store]:
    async with Store.opened(f"sqlite:///{tmp_path}/state/rollbackd.db", clock=clock) as opened:
        yield opened


@pytest.fixture
def register(store: Store, clock: SetClock) -> Register:
    return Register(store.releases, clock)
