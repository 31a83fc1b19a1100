"""The one writer: who fails fails alone, a full disk passes, a broken one stops everything."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from rollbackd.clock import SystemClock
from rollbackd.errors import PermanentError, RollbackdError, TemporaryError, UncertainError
from rollbackd.failpoints import ENVIRONMENT_VARIABLE, FailpointError
from rollbackd.model.attempt import AttemptStatus
from rollbackd.store import database, sqlite
from rollbackd.store.database import Database
from rollbackd.store.sqlite import Query, Sqlite, UnusableStoreError
from rollbackd.store.store import Store
from rollbackd.store.tables import audit
from rollbackd.store.timeline import NewEntry
from tests.contract import samples
from tests.contract.conftest import NOW
from tests.unit.store.conftest import StateDirectory


def executed(sql: str) -> Query[None]:
    def query(connection: Connection) -> None:
        connection.exec_driver_sql(sql)

    return query


def limit_pages(pages: int) -> Query[None]:
    """What a full disk does to the writer: the file may not grow. It holds for the connection."""
    return executed(f"PRAGMA max_page_count = {pages}")


class TestFullDisk:
    async def test_no_alert_is_acknowledged_and_it_goes_on_when_there_is_space(self, state: StateDirectory) -> None:
        async with state.open() as store:
            await store._database.write(limit_pages(1))
            big = samples.alert(annotations={"summary": "x" * 200_000})
            with pytest.raises(TemporaryError, match="full") as caught:
                await store.alerts.append([big])
            assert caught.value.retry_after == timedelta(seconds=5)
            assert await store.alerts.unhandled() == ()
            await store._database.write(limit_pages(1_000_000))
            assert (await store.alerts.append([big])).stored == 1

    async def test_other_writes_fail_whole_and_recover(self, state: StateDirectory) -> None:
        async with state.open() as store:
            await store._database.write(limit_pages(1))
            with pytest.raises(TemporaryError, match="full"):
                await store.incidents.open(samples.incident(), None, [NewEntry("alert", "x" * 200_000)])
            assert await store.incidents.open_ones() == ()
            await store._database.write(limit_pages(1_000_000))
            assert await store.incidents.open(samples.incident(), None, [])
            assert await store.check() == ()

    async def test_what_still_fits_is_written_beside_what_does_not(self, state: StateDirectory) -> None:
        async with state.open() as store:
            await store.incidents.open(samples.incident(), None, [])
            await store._database.write(limit_pages(1))
            too_big, small = await asyncio.gather(
                store.snapshots.put(b"x" * 500_000), store.audit.append(NOW, "oncall", "pause", "api", ""), return_exceptions=True
            )
            assert isinstance(too_big, TemporaryError)
            assert small is None
            assert len(await store.audit.newest()) == 1


FILE_SIZE_LIMIT = """
import asyncio, resource, sys
from rollbackd.clock import SystemClock
from rollbackd.errors import TemporaryError
from rollbackd.store.store import Store
from tests.contract import samples

async def main():
    async with Store.opened(sys.argv[1], clock=SystemClock()) as store:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        acknowledged = []
        try:
            for number in range(10_000):
                await store.alerts.append([samples.alert(fingerprint=str(number))])
                acknowledged.append(str(number))
        except TemporaryError as error:
            assert "disk I/O error" in str(error), error
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (await store.alerts.append([samples.alert(fingerprint="after")])).stored == 1
        kept = [stored.event.fingerprint for stored in await store.alerts.unhandled(limit=20_000)]
        assert kept == [*acknowledged, "after"], (acknowledged, kept)
        assert await store.check() == ()

asyncio.run(main())
"""


def test_a_write_that_the_disk_refuses_midway_is_not_acknowledged(state: StateDirectory) -> None:
    """Another way to fail than a full disk: SQLITE_IOERR_WRITE."""
    run = [sys.executable, "-c", FILE_SIZE_LIMIT, f"sqlite:///{state.file}"]
    done = subprocess.run(run, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr


async def test_a_locked_file_is_temporary(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    async with state.open() as store:
        await store._database.write(executed("PRAGMA busy_timeout = 1"))
        with closing(sqlite3.connect(state.file, isolation_level=None)) as intruder:
            intruder.execute("BEGIN IMMEDIATE")
            with pytest.raises(TemporaryError, match="locked"):
                await store.audit.append(NOW, "oncall", "pause", "api", "")
            with pytest.raises(TemporaryError, match="locked"):
                await store.alerts.append([samples.alert()])
        await store.audit.append(NOW, "oncall", "pause", "api", "")
        assert (await store.alerts.append([samples.alert()])).stored == 1


async def test_however_many_wait_for_a_locked_file_none_waits_longer(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that failed is tried again one by one, and each try waits for the lock."""
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.25)
    async with state.open() as store:
        await store._database.write(executed("PRAGMA busy_timeout = 200"))
        loop = asyncio.get_running_loop()
        with closing(sqlite3.connect(state.file, isolation_level=None)) as intruder:
            intruder.execute("BEGIN IMMEDIATE")
            started = loop.time()
            many = [store.audit.append(NOW, "oncall", "pause", "api", str(number)) for number in range(20)]
            refused = await asyncio.gather(*many, store.alerts.append([samples.alert()]), return_exceptions=True)
            waited = loop.time() - started
        assert all(isinstance(error, TemporaryError | UncertainError) for error in refused)
        assert waited < 2
        await store.audit.append(NOW, "oncall", "pause", "api", "after")
        assert (await store.audit.newest())[0].reason == "after"


class TestBugs:
    async def test_whoever_brings_one_hears_of_it_and_nobody_else(self, state: StateDirectory) -> None:
        def broken(connection: Connection) -> None:
            connection.execute(insert(audit).values(at=NOW, person="nobody", action="", subject="", reason=""))
            raise ZeroDivisionError

        async with state.open() as store:
            results = await asyncio.gather(
                store.audit.append(NOW, "first", "", "", ""),
                store._database.write(broken),
                store.audit.append(NOW, "last", "", "", ""),
                return_exceptions=True,
            )
            assert [type(result) for result in results] == [type(None), ZeroDivisionError, type(None)]
            assert [entry.person for entry in await store.audit.newest()] == ["last", "first"]

    async def test_alone_too(self, state: StateDirectory) -> None:
        async with state.open() as store:
            with pytest.raises(ZeroDivisionError):
                await store._database.write(lambda _: 1 / 0)
            await store.ping()


async def test_a_caller_who_goes_leaves_the_others(state: StateDirectory) -> None:
    async with state.open() as store, asyncio.TaskGroup() as tasks:
        going = [
            tasks.create_task(store.alerts.append([samples.alert()])),
            tasks.create_task(store.audit.append(NOW, "gone", "", "", "")),
        ]
        staying = [
            tasks.create_task(store.alerts.append([samples.alert(fingerprint="x")])),
            tasks.create_task(store.audit.append(NOW, "here", "", "", "")),
        ]
        await asyncio.sleep(0)
        for task in going:
            task.cancel()
        await asyncio.gather(*staying)
        assert all(task.cancelled() for task in going)


class TestBrokenDisk:
    """SQLite says that the disk did not keep what it was told to: nothing is tried again, the store goes down with its block."""

    @pytest.fixture
    def broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC

        def insert(*_: object) -> sqlite3.Cursor:
            raise error

        monkeypatch.setattr(sqlite, "_insert", insert)

    async def test_the_block_ends_and_who_waits_is_told(self, state: StateDirectory, broken: None) -> None:
        """The callers are outside the block, as requests are."""
        opened: asyncio.Future[Store] = asyncio.get_running_loop().create_future()

        async def serve() -> None:
            async with state.open() as store:
                opened.set_result(store)
                await asyncio.Event().wait()

        serving = asyncio.gather(serve(), return_exceptions=True)
        store = await opened
        heard = await asyncio.gather(
            store.alerts.append([samples.alert()]), store.audit.append(NOW, "oncall", "", "", ""), return_exceptions=True
        )
        assert [type(error) for error in heard] == [UnusableStoreError, TemporaryError]
        (ended,) = await serving
        assert isinstance(ended, UnusableStoreError)
        assert "was not kept by the disk" in str(ended)
        with pytest.raises(TemporaryError, match="closed"):
            await store.alerts.append([samples.alert()])


async def test_a_disk_that_breaks_while_a_batch_is_tried_one_by_one_leaves_nobody_waiting(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def transact(_: Sqlite, queries: Sequence[Query[object]], *, last_resort: bool = False) -> list[object]:
        if len(queries) > 1:
            raise TemporaryError("one of them is refused")
        raise UnusableStoreError("the disk did not keep it")

    opened: asyncio.Future[Store] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with state.open() as store:
            opened.set_result(store)
            await asyncio.Event().wait()

    async with asyncio.timeout(5):
        serving = asyncio.gather(serve(), return_exceptions=True)
        store = await opened
        monkeypatch.setattr(Sqlite, "transact", transact)
        three = [store.audit.append(NOW, str(number), "", "", "") for number in range(3)]
        heard = await asyncio.gather(*three, return_exceptions=True)
        (ended,) = await serving
    assert isinstance(ended, UnusableStoreError)
    assert [type(error) for error in heard] == [UnusableStoreError, UncertainError, UncertainError]


class TestHangingDisk:
    """Nobody waits for ever: whose write was begun hears that it is uncertain, the others that it is not written."""

    async def test_everybody_is_told_and_it_goes_on_afterwards(self, state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        begun, goes_on = asyncio.Event(), asyncio.Event()
        original = Sqlite.append

        async def append(self: Sqlite, rows: Sequence[sqlite.AlertRow]) -> AbstractSet[sqlite.AlertKey] | None:
            begun.set()
            await goes_on.wait()
            return await original(self, rows)

        monkeypatch.setattr(Sqlite, "append", append)
        monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.02)
        async with state.open() as store, asyncio.TaskGroup() as tasks:
            first = tasks.create_task(caught(store.alerts.append([samples.alert()])))
            await begun.wait()
            behind = [caught(store.alerts.append([samples.alert(fingerprint="x")])), caught(store.audit.append(NOW, "oncall", "", "", ""))]
            refused = await asyncio.gather(*behind)
            assert [type(error) for error in refused] == [TemporaryError, TemporaryError]
            assert all("not written" in str(error) for error in refused)
            assert isinstance(await first, UncertainError)
            later = await caught(store.alerts.append([samples.alert(fingerprint="y")]))
            assert isinstance(later, TemporaryError), "the alarm rings again"
            goes_on.set()
            await store.audit.append(NOW, "afterwards", "", "", "")
            assert [stored.event.fingerprint for stored in await store.alerts.unhandled()] == [samples.alert().fingerprint]
            assert [entry.person for entry in await store.audit.newest()] == ["afterwards"]


async def caught(attempt: Awaitable[object]) -> Exception | None:
    try:
        await attempt
    except RollbackdError as error:
        return error
    return None


async def test_the_audit_refuses_to_be_changed(state: StateDirectory) -> None:
    async with state.open() as store:
        await store.audit.append(NOW, "oncall", "pause", "api", "")
        for change in ("UPDATE audit SET person = 'someone else'", "DELETE FROM audit"):
            with pytest.raises(PermanentError, match="append-only"):
                await store._database.write(executed(change))
        assert [entry.person for entry in await store.audit.newest()] == ["oncall"]


class TestDamagedPause:
    async def test_a_row_that_cannot_be_read_means_paused_until_a_person_resumes(self, state: StateDirectory) -> None:
        async with state.open() as store:
            await store.pauses.set("web", NOW + timedelta(hours=1), "fine", "oncall", NOW)
            for damage in ("'soon'", "''", "9e99", "x'00ff'"):
                row = f"INSERT OR REPLACE INTO pauses (scope, until, reason, by, at) VALUES ('api', {damage}, '', '', 0)"
                await store._database.write(executed(row))
                facts = await store.pauses.facts("api", NOW)
                assert facts.paused, damage
                assert "cannot be read" in facts.why
                assert (await store.pauses.facts("web", NOW)).why == "fine (oncall)"
            assert await store.pauses.clear("api")
            assert not (await store.pauses.facts("api", NOW)).paused

    async def test_a_table_that_cannot_be_read_means_paused(self, state: StateDirectory) -> None:
        async with state.open() as store:
            await store._database.write(executed("DROP TABLE pauses"))
            facts = await store.pauses.facts("api", NOW)
            assert (facts.paused, facts.scope) == (True, "global")
            assert "cannot be read" in facts.why


async def test_commits_are_measured(state: StateDirectory) -> None:
    seconds: list[float] = []
    async with Store.opened(f"sqlite:///{state.file}", clock=SystemClock(), observe_commit=seconds.append) as store:
        await store.alerts.append([samples.alert()])
        await store.ping()
    assert len(seconds) == 2
    assert all(second > 0 for second in seconds)


class TestFailpoints:
    """Each is passed on its side of the commit: what was written before it is there, what comes after it is not."""

    @pytest.mark.parametrize(
        ("name", "table", "rows"),
        [
            ("intake.before_commit", "alerts", 0),
            ("intake.after_commit", "alerts", 1),
            ("incident.after_open", "incidents", 1),
            ("decision.after_record", "decisions", 1),
            ("attempt.before_intent", "attempts", 0),
            ("attempt.after_intent", "attempts WHERE status = 'intended'", 1),
            ("attempt.after_start", "attempts WHERE status = 'started'", 1),
            ("attempt.after_outcome", "attempts WHERE status = 'succeeded'", 1),
        ],
    )
    async def test_it_is_on_its_side(
        self, state: StateDirectory, monkeypatch: pytest.MonkeyPatch, name: str, table: str, rows: int
    ) -> None:
        async with state.open() as store:
            monkeypatch.setenv(ENVIRONMENT_VARIABLE, f"{name}:raise")
            with pytest.raises(FailpointError, match=name):
                await everything(store)
        assert state.sql(f"SELECT count(*) FROM {table}") == [(rows,)]


async def everything(store: Store) -> None:
    """One write of each kind, in the order of an incident."""
    await store.alerts.append([samples.alert()])
    incident = samples.incident()
    await store.incidents.open(incident, None, [])
    await store.incidents.save(incident, incident, decision=samples.decision())
    attempt = samples.attempt()
    await store.attempts.intend(attempt)
    await store.attempts.started(replace(attempt, status=AttemptStatus.STARTED))
    await store.attempts.ended(replace(attempt, status=AttemptStatus.SUCCEEDED))


async def test_nothing_is_written_unless_it_runs(state: StateDirectory) -> None:
    async with sqlite.opened(f"sqlite:///{state.file}") as file:
        writer = Database(file, SystemClock(), lambda _: None)
        writer.close()
        with pytest.raises(TemporaryError):
            await writer.append([], [])
        await writer.run()
