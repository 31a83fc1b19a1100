"""Rows 63 to 65: the file is not what was written there, or not for us. It opens whole, or is refused with what to do."""

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from rollbackd.clock import SystemClock
from rollbackd.errors import RollbackdError
from rollbackd.store import schema
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry
from tests.contract import samples
from tests.faults.process_world import ProcessWorld
from tests.faults.test_store_disk import is_alive, post
from tests.needs import not_here
from tests.unit.store.conftest import StateDirectory
from tests.unit.store.test_opening import made_by

ROOT = Path(__file__).parents[2]


def sql(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def damage(file: Path) -> None:
    with file.open("r+b") as store:
        store.seek(100)
        store.write(b"\xff" * 100)


def newer(file: Path) -> None:
    sql(file, "UPDATE alembic_version SET version_num = '9999'")


def foreign(file: Path) -> None:
    sql(file, "PRAGMA application_id = 1")


def open_to_others(file: Path) -> None:
    file.chmod(0o666)


def of_somebody_else(file: Path) -> None:
    if os.geteuid():
        not_here("only root can give a file away")
    os.chown(file, 12345, 12345)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (damage, "is damaged"),
        (newer, "has schema 9999"),
        (foreign, "is a database of another program"),
        (open_to_others, "can be written by others: chmod go-w"),
        (of_somebody_else, "belongs to uid 12345"),
    ],
)
async def test_row_64_nothing_is_armed_until_the_store_is_mended(tmp_path: Path, spoil: Callable[[Path], None], why: str) -> None:
    """It answers, so that people can read why; an alert is refused, so that Alertmanager brings it again."""
    async with ProcessWorld(tmp_path, mode="observe") as world:
        await world.stop()
        file = tmp_path / "state" / "rollbackd.db"
        good = tmp_path / "good.db"
        shutil.copy2(file, good)
        spoil(file)
        spoilt = file.read_bytes()
        await world.launch()
        await world.becomes_unready(why)
        assert await post(world, fingerprint="1" * 16) == 503
        async with world.http.get(f"{world.url}/-/healthy") as healthy, world.http.get(f"{world.url}/metrics") as metrics:
            assert (healthy.status, "rollbackd_ready 0.0" in await metrics.text()) == (200, True)
        status = await world.cli("status")
        assert (status.exit_code, why in status.stderr) == (1, True)
        assert world.log.count("not armed") == 1
        assert file.read_bytes() == spoilt, "nothing is written to what is refused"

        good.replace(file)
        await world.ready()
        assert await post(world, fingerprint="1" * 16) == 200


async def test_row_64_damage_that_is_found_beside_the_start_disarms(tmp_path: Path) -> None:
    """The pages that a start needs are whole. It does not wait for the others to be read, and arms itself again once they are."""
    async with ProcessWorld(tmp_path, mode="observe") as world:
        await world.stop()
        file, good = tmp_path / "state" / "rollbackd.db", tmp_path / "good.db"
        shutil.copy2(file, good)
        with closing(sqlite3.connect(file)) as connection:
            ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'looks'")
            ((size,),) = connection.execute("PRAGMA page_size")
        with file.open("r+b") as store:
            store.seek((page - 1) * size)
            store.write(b"\xff" * size)
        await world.launch()
        await world.becomes_unready("not armed: ")
        assert "is damaged" in await world.readiness()
        assert await post(world, fingerprint="1" * 16) == 503
        assert is_alive(world)

        good.replace(file)
        await world.ready()
        assert await post(world, fingerprint="1" * 16) == 200


async def opened(directory: Path) -> tuple[list[str], list[str]] | str:
    """The alerts and the incidents in the order in which they were written; else why it is refused."""
    try:
        async with Store.opened(f"sqlite:///{directory}/rollbackd.db", clock=SystemClock()) as store:
            if found := await store.check():
                return "; ".join(found)
            alerts = [stored.event.fingerprint for stored in await store.alerts.unhandled()]
            incidents = [incident.id for incident in reversed((await store.incidents.page()).items)]
            for incident in incidents:
                assert len(await store.timeline.of_incident(incident)) == 2, "an incident comes with its entries, or not at all"
            return alerts, incidents
    except RollbackdError as error:
        return str(error)


async def written(state: StateDirectory) -> tuple[bytes, bytes]:
    """A store as a power cut left it: the file, and its log with everything that was written since."""
    async with state.open() as store:
        await store._database.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
    async with state.open() as store:
        for number in range(4):
            await store.alerts.append([samples.alert(fingerprint=f"a{number}")])
            entries = [NewEntry("alert", "firing"), NewEntry("decision", "hold")]
            await store.incidents.open(samples.incident(f"i{number}", service=f"s{number}"), None, entries)
        return state.file.read_bytes(), state.file.with_name("rollbackd.db-wal").read_bytes()


WRITTEN = [f"a{number}" for number in range(4)], [f"i{number}" for number in range(4)]


def lay(directory: Path, file: bytes, log: bytes) -> None:
    directory.mkdir()
    (directory / "rollbackd.db").write_bytes(file)
    (directory / "rollbackd.db").chmod(0o600)
    (directory / "rollbackd.db-wal").write_bytes(log)


async def left_with(directory: Path, file: bytes, log: bytes) -> tuple[list[str], list[str]] | str:
    lay(directory, file, log)
    found = await opened(directory)
    shutil.rmtree(directory)
    return found


def is_prefix(found: tuple[list[str], list[str]]) -> bool:
    """Nothing is there without all that was written before it."""
    alerts, incidents = found
    return alerts == WRITTEN[0][: len(alerts)] and incidents == WRITTEN[1][: len(incidents)] and len(alerts) - len(incidents) in {0, 1}


async def test_row_63_a_log_that_was_cut_off_anywhere_is_a_shorter_history(tmp_path: Path) -> None:
    await cut(tmp_path, closely=False)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_row_63_a_log_that_was_cut_off_at_every_byte_of_a_header_and_along_every_page_is_a_shorter_history(tmp_path: Path) -> None:
    await cut(tmp_path, closely=True)


async def cut(tmp_path: Path, *, closely: bool) -> None:
    file, log = await written(StateDirectory(tmp_path / "state"))
    chance = random.Random(63)
    frames = range(32, len(log), 24 + 4096)
    sampled = {0, 31, *frames, *(at - 1 for at in frames), *(chance.randrange(len(log)) for _ in range(30)), len(log)}
    if closely:  # within a page no byte is more than another
        sampled |= {*range(32), *(byte for at in frames for byte in range(at - 2, at + 26)), *range(0, len(log), 16)}
    longest = 0
    for length in sorted(sampled):
        found = await left_with(tmp_path / "cut", file, log[:length])
        assert not isinstance(found, str), (length, found)
        assert is_prefix(found), (length, found)
        assert len(found[0]) >= longest, "what was there is there when more is"
        longest = len(found[0])
    assert longest == len(WRITTEN[0])


async def test_row_63_a_torn_page_in_the_log_is_a_shorter_history(tmp_path: Path) -> None:
    file, log = await written(StateDirectory(tmp_path / "state"))
    lengths = set()
    for start in range(0, len(log), 4 * 512):
        found = await left_with(tmp_path / "torn", file, log[:start] + bytes(512) + log[start + 512 :])
        assert not isinstance(found, str), (start, found)
        assert is_prefix(found), (start, found)
        lengths.add(len(found[0]))
    assert len(lengths) > 2, "early and late"


async def test_row_63_a_torn_page_in_the_file_is_whole_or_refused_in_a_line(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    await written(state)
    file = state.file.read_bytes()
    refused = 0
    for start in range(0, len(file), 3 * 4096 + 512):
        found = await left_with(tmp_path / "torn", file[:start] + b"\xa5" * 512 + file[start + 512 :], b"")
        if isinstance(found, str):
            refused += 1
            assert found
            assert "Traceback" not in found
        else:
            assert is_prefix(found)
    assert refused


KILLED = """
import asyncio, os, signal, sys
from rollbackd.clock import SystemClock
from rollbackd.store import maintenance, schema
from rollbackd.store.store import Store
where = sys.argv[2]
owner, name = (maintenance, "copy") if where == "after the backup" else (schema, "upgrade")
real = getattr(owner, name)
def killed(*arguments):
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, killed)
async def main():
    async with Store.opened(sys.argv[1], clock=SystemClock()): pass
asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["after the backup", "before the commit"])
async def test_row_65_a_migration_that_is_killed_midway_is_as_if_it_had_not_begun(tmp_path: Path, where: str) -> None:
    state = StateDirectory(tmp_path / "state")
    made_by(state, "0001")
    state.sql("INSERT INTO pauses VALUES ('api', 4102444800000000, 'maintenance', 'oncall', 1)")
    program = [sys.executable, "-c", KILLED, f"sqlite:///{state.file}", where]
    killed = await asyncio.create_subprocess_exec(*program, cwd=ROOT)
    assert await killed.wait() == -signal.SIGKILL
    assert state.sql("SELECT version_num FROM alembic_version") == [("0001",)]
    assert state.sql("SELECT count(*) FROM sqlite_master WHERE name LIKE 'change%'") == [(0,)]
    async with state.open() as store:
        assert (await store.pauses.facts("api", SystemClock().now())).why == "maintenance (oncall)"
        assert await store.check() == ()
    assert state.sql("SELECT version_num FROM alembic_version") == [(schema.HEAD,)]


async def test_db_check_and_backup_beside_the_daemon_and_without_it(tmp_path: Path) -> None:
    """Whole: 0. Damaged: 1, and where. No store, or no place for the copy: 2."""
    config = str(tmp_path / "rollbackd.yaml")
    file, copy = tmp_path / "state" / "rollbackd.db", tmp_path / "copy.db"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rollbackd", "db", *arguments, "--config", config], check=False, capture_output=True, text=True, cwd=ROOT
        )

    async with ProcessWorld(tmp_path, mode="observe") as world:
        assert await post(world, fingerprint="1" * 16) == 200
        whole, copied = await asyncio.to_thread(run, "check"), await asyncio.to_thread(run, "backup", str(copy))
        assert (whole.returncode, whole.stdout) == (0, f"{file} is whole\n")
        assert (copied.returncode, copied.stdout) == (0, f"{copy} is a copy of {file}\n")
        assert (await asyncio.to_thread(run, "backup", str(file))).returncode == 2
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT fingerprint FROM alerts").fetchall() == [("1" * 16,)]
    damage(file)
    broken = run("check", "--json")
    assert (broken.returncode, broken.stderr) in {
        (1, ""),
        (1, f"rollbackd: {file} is damaged: `rollbackd db check` says where; restore a backup\n"),
    }
    assert not broken.stdout or json.loads(broken.stdout)["damage"]
    refused = run("backup", str(copy))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT fingerprint FROM alerts").fetchall() == [("1" * 16,)], "the good copy is gone"
    file.unlink()
    missing = run("check")
    assert (missing.returncode, "no store at" in missing.stderr) == (2, True)
