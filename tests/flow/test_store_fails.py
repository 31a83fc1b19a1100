"""Row 61 from within: the store refuses one write or read, wherever that is. The way of the alert is the same, only later (I2 I5 I9).

The disk that is really full is the store's own test; here it is what everybody does about the error that comes of it.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.errors import TemporaryError
from rollbackd.flow import trouble
from tests.flow.world import World

DAY = timedelta(days=1)

TIMES = 4  # more often than what is taken for a bug is tried

CALLED = (
    "alerts.unhandled",
    "alerts.handled",
    "alerts.fired_after",
    "attempts.intend",
    "attempts.ended",
    "attempts.of_incident",
    "changes.of_service",
    "history",
    "incidents.get",
    "incidents.met_by",
    "incidents.open",
    "incidents.save",
    "looks.append",
    "looks.of_incident",
    "releases.mark",
    "releases.of_service",
    "releases.record",
    "releases.update",
    "timeline.append",
)


def refuse(world: World, monkeypatch: pytest.MonkeyPatch, name: str, *, times: int) -> Callable[[], int]:
    """How often it was refused is what comes back."""
    assert world.daemon is not None
    owner: Any = world.daemon.store
    *path, method = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    real, refused = getattr(owner, method), 0

    async def full(*arguments: Any, **named: Any) -> Any:
        nonlocal refused
        if refused < times:
            refused += 1
            raise TemporaryError("the store cannot be used now: database or disk is full")
        return await real(*arguments, **named)

    monkeypatch.setattr(owner, method, full)
    return lambda: refused


@pytest.mark.parametrize("name", CALLED)
async def test_row_61_refused_a_few_times_it_is_done_later_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(trouble, "_FIRST_PAUSE", timedelta(milliseconds=10))
    async with World(tmp_path, watch={"duration": "20s", "interval": "200ms", "stable_for": "600ms"}) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        refused = refuse(world, monkeypatch, name, times=TIMES)
        await world.post_alerts([world.alert_object(fingerprint=each * 16) for each in "12"])
        incident = await world.eventually_closed()

        assert refused() == TIMES
        assert incident["outcome"] == "recovered"
        assert world.versions() == ["v2", "v1"]
        assert len(await world.incidents()) == 1


async def test_row_61_a_watch_that_cannot_be_written_for_a_while_is_not_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "_FIRST_PAUSE", timedelta(milliseconds=10))
    async with World(tmp_path, watch={"duration": "20s", "interval": "200ms", "stable_for": "600ms"}) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        refused = refuse(world, monkeypatch, "looks.append", times=2 * TIMES)
        await world.alert()

        assert (await world.eventually_closed())["outcome"] == "recovered"
        assert refused() == 2 * TIMES
