"""What is opened, what is refused, and that nothing is left behind."""

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine

from rollbackd.clock import SystemClock
from rollbackd.errors import MisconfiguredError, RefusedError, TemporaryError
from rollbackd.store import migrations, schema, sqlite
from rollbackd.store.sqlite import Query, UnusableStoreError, path_of
from rollbackd.store.store import Store
from rollbackd.store.tables import metadata
from tests.contract import samples
from tests.contract.conftest import NOW
from tests.unit.store.conftest import StateDirectory


def test_urls() -> None:
    assert path_of("sqlite:////var/lib/rollbackd/rollbackd.db") == Path("/var/lib/rollbackd/rollbackd.db")
    assert path_of("sqlite:///state/rollbackd.db") == Path.cwd() / "state/rollbackd.db"


@pytest.mark.parametrize("url", ["", "rollbackd.db", "sqlite://", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "mysql://localhost/x"])
def test_other_urls_are_config_errors(url: str) -> None:
    with pytest.raises(MisconfiguredError, match=r"store\.url: .*sqlite:////"):
        path_of(url)


async def test_a_new_store_is_private(state: StateDirectory) -> None:
    async with state.open() as store:
        await store.alerts.append([samples.alert()])
        assert stat.S_IMODE(state.path.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in state.path.iterdir()} == {0o600}


def asked(question: str) -> Query[object]:
    return lambda connection: connection.exec_driver_sql(question).scalar()


async def test_settings_are_read_back(state: StateDirectory) -> None:
    async with sqlite.opened(f"sqlite:///{state.file}") as file:
        assert await file.read(asked("PRAGMA journal_mode")) == "wal"
        assert await file.transact([asked("PRAGMA synchronous"), asked("PRAGMA foreign_keys")]) == [2, 1]


async def test_a_setting_that_does_not_hold_is_refused(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_SETTINGS", (("journal_mode", "WAL", "something else"),))
    with pytest.raises(MisconfiguredError, match="keeps journal_mode at wal"):
        async with state.open():
            pass


async def test_readers_cannot_write(state: StateDirectory) -> None:
    async with sqlite.opened(f"sqlite:///{state.file}") as file:
        with pytest.raises(UnusableStoreError, match="cannot be written"):
            await file.read(asked("DELETE FROM audit"))


async def test_who_finds_no_reader_free_is_told_to_come_again(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    async with state.open() as store, AsyncExitStack() as stack:
        stack.callback(free.set)
        monkeypatch.setattr(sqlite, "READER_SECONDS", 0.01)
        held = asyncio.gather(*(store._database.read(lambda _: free.wait()) for _ in range(sqlite.READERS)), return_exceptions=True)
        await asyncio.sleep(0)
        with pytest.raises(TemporaryError, match="busy"):
            await store.alerts.unhandled()
        assert {type(error) for error in await held} == {TemporaryError}, "nor does anybody wait longer for one that hangs"
        free.set()
        monkeypatch.undo()
        assert await store.alerts.unhandled() == ()


async def test_a_reader_that_was_interrupted_is_not_lost(state: StateDirectory) -> None:
    async with state.open() as store:
        for turns in range(40):
            async with asyncio.TaskGroup() as tasks:
                reading = [tasks.create_task(store.alerts.unhandled()) for _ in range(6)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for task in reading:
                    task.cancel()
        assert await asyncio.gather(*(store.alerts.unhandled() for _ in range(10))) == [()] * 10


def open_files(directory: Path) -> set[Path]:
    files = (Path("/proc/self/fd", number) for number in os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir() would hold one open itself
    return {file.readlink() for file in files if file.is_symlink() and file.readlink().is_relative_to(directory)}


async def test_nothing_is_left_behind(state: StateDirectory) -> None:
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    async with state.open() as store:
        await store.alerts.append([samples.alert()])
        await asyncio.gather(*(store.alerts.unhandled() for _ in range(10)))
        assert await store.check() == ()
        assert state.file in open_files(state.path)
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
    assert set(threading.enumerate()) == threads
    assert open_files(state.path) == set()
    assert asyncio.all_tasks() == tasks
    assert {file.name for file in state.path.iterdir()} == {"rollbackd.db", "lock"}, "the writer closed last and checkpointed"


async def test_the_blocks_own_error_comes_out_as_it_is(state: StateDirectory) -> None:
    with pytest.raises(ZeroDivisionError):
        async with state.open():
            raise ZeroDivisionError


async def test_what_was_accepted_is_written_before_it_closes(state: StateDirectory) -> None:
    async with asyncio.TaskGroup() as tasks:
        async with state.open() as store:
            writing = [tasks.create_task(store.alerts.append([samples.alert(fingerprint=str(number))])) for number in range(5)]
            await asyncio.sleep(0)
        assert [task.result().stored for task in writing] == [1] * 5
    with pytest.raises(TemporaryError, match="closed"):
        await store.alerts.append([samples.alert()])


class TestLock:
    async def test_a_second_one_is_told_who_holds_it(self, state: StateDirectory) -> None:
        async with state.open():
            program = (
                "import asyncio, sys\n"
                "from rollbackd.clock import SystemClock\n"
                "from rollbackd.store.store import Store\n"
                "async def main():\n"
                "    async with Store.opened(sys.argv[1], clock=SystemClock()): pass\n"
                "asyncio.run(main())\n"
            )
            second = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, f"sqlite:///{state.file}", stderr=subprocess.PIPE, cwd=Path(__file__).parents[3]
            )
            _, errors = await second.communicate()
            assert second.returncode == 1
            assert f"is in use by rollbackd with pid {os.getpid()}".encode() in errors

    async def test_it_is_let_go(self, state: StateDirectory) -> None:
        for _ in range(2):
            async with state.open():
                pass

    async def test_also_after_a_failure(self, state: StateDirectory) -> None:
        state.path.mkdir()
        state.file.write_bytes(b"not a database, and long enough to be read as a header of one" * 100)
        for _ in range(2):
            with pytest.raises(UnusableStoreError):
                async with state.open():
                    pass

    async def test_two_stores_in_one_directory_are_refused(self, state: StateDirectory) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(state.open())
            with pytest.raises(RefusedError) as caught:
                await stack.enter_async_context(Store.opened(f"sqlite:///{state.path}/other.db", clock=SystemClock()))
            assert caught.value.reason == "store_in_use"


class TestRefused:
    async def refused(self, state: StateDirectory) -> str:
        content = state.file.read_bytes()
        with pytest.raises((MisconfiguredError, UnusableStoreError)) as caught:
            async with state.open():
                pass
        assert state.file.read_bytes() == content, "nothing is written to what is refused"
        message = str(caught.value)
        assert "\n" not in message
        return message

    async def test_no_database(self, state: StateDirectory) -> None:
        state.path.mkdir()
        state.file.write_bytes(b"#!/bin/sh\n" * 500)
        assert "is not an SQLite database" in await self.refused(state)

    async def test_another_programs_database(self, state: StateDirectory) -> None:
        state.path.mkdir()
        state.sql("CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES ('0001')")
        assert "another program" in await self.refused(state)

    async def test_a_newer_schema(self, state: StateDirectory) -> None:
        async with state.open():
            pass
        state.sql("UPDATE alembic_version SET version_num = '9999'")
        assert "has schema 9999" in await self.refused(state)

    async def test_a_damaged_file(self, state: StateDirectory) -> None:
        async with state.open():
            pass
        content = bytearray(state.file.read_bytes())
        content[100:200] = b"\xff" * 100
        state.file.write_bytes(content)
        assert "is damaged" in await self.refused(state)

    async def test_a_truncated_file(self, state: StateDirectory) -> None:
        async with state.open():
            pass
        state.file.write_bytes(state.file.read_bytes()[:5000])
        assert "is damaged" in await self.refused(state)

    async def test_a_directory_in_its_place(self, state: StateDirectory) -> None:
        state.file.mkdir(parents=True)
        with pytest.raises(MisconfiguredError, match="cannot open"):
            async with state.open():
                pass

    async def test_a_library_that_is_too_old(self, state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
        with pytest.raises(MisconfiguredError, match="too old"):
            async with state.open():
                pass


def lines_of_schema(state: StateDirectory) -> dict[object, list[str]]:
    """By table and index, in no order: a constraint may be declared before or after another, a column added behind all of them."""
    rows = state.sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: sorted(filter(None, map(str.strip, re.split(r"\n|,(?![^(]*\))", str(sql))))) for name, sql in rows}


def made_by(state: StateDirectory, revision: str) -> None:
    """A store as the version left it whose schema that was: a migration is never edited once released."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "rollbackd.store:migrations")
    state.path.mkdir()
    engine = create_engine(f"sqlite:///{state.file}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    state.sql(f"PRAGMA application_id = {sqlite.APPLICATION_ID}")


class TestMigrations:
    async def test_they_lead_to_the_schema_of_the_tables(self, state: StateDirectory) -> None:
        async with state.open():
            pass
        declared = StateDirectory(state.path)
        declared.file = state.path / "declared.db"
        engine = create_engine(f"sqlite:///{declared.file}")
        metadata.create_all(engine)
        engine.dispose()
        migrated = lines_of_schema(state)
        for only_in_migrations in ("alembic_version", "audit_refuses_update", "audit_refuses_delete", "audit_refuses_replace"):
            del migrated[only_in_migrations]
        assert migrated == lines_of_schema(declared)

    def test_every_revision_is_named_in_order(self) -> None:
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", "rollbackd.store:migrations")
        found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
        assert tuple(reversed(found)) == migrations.REVISIONS

    async def test_an_older_store_is_backed_up_first_and_keeps_what_it_has(self, state: StateDirectory) -> None:
        made_by(state, "0001")
        state.sql(
            "INSERT INTO alerts (starts_at, fingerprint, status, received_at, rest) VALUES (1, 'f', 'firing', 2, "
            """'{"labels":{"alertname":"HighErrorRate"},"annotations":{},"ends_at":null,"generator_url":"","service":"api","trigger":"t"}')""",
            "INSERT INTO pauses VALUES ('api', 4102444800000000, 'maintenance', 'oncall', 1)",
        )
        async with state.open() as store:
            assert (await store.pauses.facts("api", NOW)).why == "maintenance (oncall)"
            assert state.sql("SELECT fingerprint FROM alerts") == [("f",)]
            assert (await store.changes.record(samples.change())).created
            assert await store.check() == ()
        assert state.sql("SELECT version_num FROM alembic_version") == [(schema.HEAD,)]
        backup = StateDirectory(state.path)
        backup.file = state.path / f"rollbackd.db.before-{schema.HEAD}"
        assert stat.S_IMODE(backup.file.stat().st_mode) == 0o600
        assert backup.sql("SELECT version_num FROM alembic_version") == [("0001",)]
        assert backup.sql("SELECT fingerprint FROM alerts") == [("f",)]
        assert backup.sql("SELECT count(*) FROM sqlite_master WHERE name = 'changes'") == [(0,)]

    async def test_without_a_backup_nothing_is_changed(self, state: StateDirectory) -> None:
        made_by(state, "0001")
        (state.path / f"rollbackd.db.before-{schema.HEAD}").mkdir()
        with pytest.raises(MisconfiguredError, match="a copy of the store cannot be written to"):
            async with state.open():
                pass
        assert state.sql("SELECT version_num FROM alembic_version") == [("0001",)]

    async def test_from_each_older_schema_it_becomes_the_same(self, state: StateDirectory) -> None:
        async with state.open():
            pass
        new = lines_of_schema(state)
        for revision in migrations.REVISIONS[:-1]:
            older = StateDirectory(state.path / revision)
            made_by(older, revision)
            assert lines_of_schema(older) != new
            async with older.open():
                pass
            assert lines_of_schema(older) == new

    async def test_what_is_up_to_date_is_not_backed_up(self, state: StateDirectory) -> None:
        made_by(state, "0001")
        for _ in range(2):
            async with state.open() as store:
                await store.changes.record(samples.change())
        backup = StateDirectory(state.path)
        backup.file = state.path / f"rollbackd.db.before-{schema.HEAD}"
        assert backup.sql("SELECT version_num FROM alembic_version") == [("0001",)], "the second start did not overwrite it"

    async def test_a_migration_that_fails_leaves_the_old_schema(self, state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        made_by(state, "0001")
        upgrade = schema.upgrade

        def fail_at_the_end(connection: Connection) -> None:
            upgrade(connection)
            raise ZeroDivisionError

        monkeypatch.setattr(schema, "upgrade", fail_at_the_end)
        with pytest.raises(ZeroDivisionError):
            async with state.open():
                pass
        assert state.sql("SELECT version_num FROM alembic_version") == [("0001",)]
        assert state.sql("SELECT count(*) FROM sqlite_master WHERE name LIKE 'change%'") == [(0,)]
        monkeypatch.undo()
        async with state.open() as store:
            assert await store.changes.of_service("api") == ()

    def test_alembic_is_not_imported_without_need(self, state: StateDirectory) -> None:
        program = (
            "import asyncio, sys\n"
            "from rollbackd.clock import SystemClock\n"
            "from rollbackd.store.store import Store\n"
            "async def main():\n"
            "    async with Store.opened(sys.argv[1], clock=SystemClock()): print('alembic' in sys.modules)\n"
            "asyncio.run(main())\n"
        )
        run = [sys.executable, "-c", program, f"sqlite:///{state.file}"]
        printed = [subprocess.run(run, check=True, capture_output=True, cwd=Path(__file__).parents[3]).stdout for _ in range(2)]
        assert printed == [b"True\n", b"False\n"]
