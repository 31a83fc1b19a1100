"""Every store that there is, behind one factory: PostgreSQL joins by one more entry in `FACTORIES`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollbackd.store.store import Store

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]
"""Opens the same store each time: again after it was closed is a restart."""


class SetClock:
    """Stands at `NOW` until a test moves it."""

    def __init__(self) -> None:
        self.instant = NOW

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError("the store does not sleep")


def sqlite(directory: Path, clock: SetClock) -> OpenStore:
    return lambda: Store.opened(f"sqlite:///{directory}/state/rollbackd.db", clock=clock)


FACTORIES = {"sqlite": sqlite}


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=FACTORIES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock) -> OpenStore:
    return FACTORIES[request.param](tmp_path, clock)


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[Store]:
    async with open_store() as opened:
        yield opened
