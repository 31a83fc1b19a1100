import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from rollbackd.cli import follow, output
from rollbackd.model.incident import EXIT_CODES, Incident, Outcome, Phase
from rollbackd.settings.effective import Role
from rollbackd.store.timeline import NewEntry
from tests.unit.cli.conftest import Run
from tests.unit.web.samples import NOW, incident, recovered
from tests.unit.web.world import World, keep, keep_recovered

ID = "20260131-120000-7f3a"


async def close(world: World, one: Incident, outcome: Outcome) -> None:
    closed = replace(one, phase=Phase.CLOSED, outcome=outcome, closed_at=NOW)
    await world.store.incidents.save(one, closed, entries=[NewEntry("phase", f"checkout: {outcome}")])


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_it_ends_with_the_exit_code_of_the_outcome(world: World, rollbackd: Run, outcome: Outcome) -> None:
    await keep(world.store, recovered(outcome=outcome))
    assert (await rollbackd("watch", ID, "--timeout", "30s")).exit_code == EXIT_CODES[outcome]


async def test_it_prints_a_line_for_each_thing_that_happens_until_the_end(world: World, rollbackd: Run) -> None:
    one = await keep(world.store, incident())
    watching = asyncio.ensure_future(rollbackd("watch", ID, "--timeout", "30s"))  # noqa: TID251 - a test has no supervisor
    await close(world, one, Outcome.STOOD_DOWN)
    result: Result = await watching
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == "2026-01-31T12:00:00.000Z HighErrorRate firing"
    assert lines[-1].endswith("checkout: stood_down")
    assert len(lines) == len(set(lines))


async def test_as_json_it_is_a_line_a_thing_and_the_incident_at_the_end(world: World, rollbackd: Run) -> None:
    await keep_recovered(world.store)
    lines = [json.loads(line) for line in (await rollbackd("watch", ID, "--json")).stdout.splitlines()]
    assert (lines[0]["at"], lines[0]["kind"], lines[0]["text"]) == ("2026-01-31T12:00:00.000Z", "alert", "HighErrorRate firing")
    assert lines[-1]["outcome"] == "recovered"


async def test_on_a_terminal_it_is_the_tree(world: World, rollbackd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (output, follow):
        monkeypatch.setattr(module, "on_terminal", lambda: True)
    await keep_recovered(world.store)
    assert "└── ✔ outcome    recovered" in (await rollbackd("watch", ID)).stdout


async def test_without_an_id_it_takes_the_newest_that_is_open(world: World, rollbackd: Run) -> None:
    await keep(world.store, incident(id="older", service="other"))
    newer = await keep(world.store, incident(opened_at=NOW.replace(minute=5)))
    watching = asyncio.ensure_future(rollbackd("watch", "--json", "--timeout", "30s"))  # noqa: TID251 - a test has no supervisor
    async with asyncio.timeout(20):
        while await world.asked.get() != f"/api/v1/incidents/{ID}":
            pass
    await close(world, newer, Outcome.REJECTED)
    result = await watching
    assert (result.exit_code, json.loads(result.stdout.splitlines()[-1])["id"]) == (3, ID)


async def test_without_an_open_incident_it_waits_for_one_and_6_says_that_none_came(world: World, rollbackd: Run) -> None:
    result = await rollbackd("watch", "--timeout", "100ms")
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr.startswith("no incident is open: waiting for one\nrollbackd: it has not ended in the time that was given")


async def test_an_incident_that_does_not_end_in_time_is_6(world: World, rollbackd: Run) -> None:
    await keep(world.store, incident())
    assert (await rollbackd("watch", ID, "--timeout", "100ms")).exit_code == 6


async def test_a_daemon_that_does_not_come_back_is_7(world: World, rollbackd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "PATIENCE", follow.EVERY)
    await keep(world.store, incident())
    watching = asyncio.ensure_future(rollbackd("watch", ID))  # noqa: TID251 - a test has no supervisor
    async with asyncio.timeout(20):
        await world.asked.get()
    await world.runner.cleanup()
    assert (await watching).exit_code == 7


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Whoever is started in the background of a script is started with SIGINT ignored, and so is whatever it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
async def test_ctrl_c_is_130(world: World, tmp_path: Path) -> None:
    environment = os.environ | {"ROLLBACKD_URL": world.url, "ROLLBACKD_TOKEN_FILE": str(tmp_path / f"{Role.VIEWER}.token")}
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rollbackd", "watch", env=environment, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert command.stderr is not None
    assert await command.stderr.readline() == b"no incident is open: waiting for one\n"
    command.send_signal(signal.SIGINT)
    out, err = await command.communicate()
    assert (command.returncode, out, err) == (130, b"", b"rollbackd: interrupted\n")
