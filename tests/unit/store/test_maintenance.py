"""Backup, check and retention."""

import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from rollbackd.errors import MisconfiguredError, NotFoundError, TemporaryError
from rollbackd.model.incident import Event, Outcome
from rollbackd.store import maintenance, retention
from rollbackd.store.store import Store
from rollbackd.store.tables import snapshots
from rollbackd.store.timeline import NewEntry
from tests.contract import samples
from tests.contract.conftest import NOW
from tests.unit.store.conftest import StateDirectory


async def test_a_backup_is_a_store_like_the_one_it_was_made_of(state: StateDirectory) -> None:
    target = StateDirectory(state.path.parent / "restored")
    target.path.mkdir()
    async with state.open() as store:
        await store.alerts.append([samples.alert()])
        await store.backup(target.file)
        await store.alerts.append([samples.alert(fingerprint="later")])
    async with target.open() as restored:
        assert [stored.event for stored in await restored.alerts.unhandled()] == [samples.alert()]
        assert await restored.check() == ()


async def test_a_backup_replaces_an_older_one_only_when_it_is_whole(state: StateDirectory, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    target.write_text("older")
    with pytest.raises(NotFoundError):
        await maintenance.backup(state.file, target)
    assert target.read_text() == "older"
    async with state.open():
        pass
    (tmp_path / "backup.db.unfinished").write_text("from a crash")
    await maintenance.backup(state.file, target)
    assert await maintenance.check(target) == ()
    assert not target.with_name("backup.db.unfinished").exists()


@pytest.mark.parametrize("name", ["rollbackd.db", "rollbackd.db-wal", "lock", "../state/rollbackd.db"])
async def test_a_backup_onto_the_store_itself_is_refused(state: StateDirectory, name: str) -> None:
    """The daemon would go on writing to a file that has no name any more, and all of that would be lost with it."""
    async with state.open() as store:
        before = state.file.stat().st_ino
        with pytest.raises(MisconfiguredError, match="is a file of the store itself: give the copy another name"):
            await maintenance.backup(state.file, state.path / name)
        assert state.file.stat().st_ino == before
        await store.ping()


async def test_a_backup_to_where_nothing_can_be_written_says_so_in_one_line(state: StateDirectory, tmp_path: Path) -> None:
    async with state.open():
        pass
    for target in (tmp_path / "nowhere" / "copy.db", tmp_path):
        with pytest.raises(MisconfiguredError, match=rf"^a copy of the store cannot be written to {target}: \w"):
            await maintenance.backup(state.file, target)


async def test_a_disk_that_is_full_passes(state: StateDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "copy.db"
    async with state.open():
        pass

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TemporaryError, match="No space left on device"):
        await maintenance.backup(state.file, target)
    assert not target.exists()
    assert not target.with_name("copy.db.unfinished").exists()


async def test_a_check_names_what_is_wrong(state: StateDirectory) -> None:
    async with state.open() as store:
        assert await store.check() == ()
    state.sql("INSERT INTO looks (incident_id, record) VALUES ('nothing', '{}')")
    assert await maintenance.check(state.file) == ("row 1 of looks refers to a missing row of incidents",)


async def test_a_check_needs_a_store(state: StateDirectory) -> None:
    with pytest.raises(NotFoundError, match=r"store\.url"):
        await maintenance.check(state.file)


class TestRetention:
    OLD = NOW - timedelta(days=100)
    BEFORE = NOW - timedelta(days=90)

    async def closed(self, store: Store, identifier: str, **changes: object) -> None:
        incident = samples.incident(identifier, **changes)
        assert await store.incidents.open(incident, None, [NewEntry("alert", "x")])
        await store.looks.append(identifier, samples.look())
        await store.attempts.intend(samples.attempt(f"attempt of {identifier}", incident_id=identifier))
        closed_at = incident.opened_at + timedelta(hours=1)
        closed = incident.after(Event.CLOSE, outcome=Outcome.RECOVERED, closed_at=closed_at)
        await store.incidents.save(incident, closed, decision=samples.decision())

    async def test_what_is_old_goes_with_all_that_belongs_to_it(self, state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retention, "INCIDENTS_AT_ONCE", 2)
        async with state.open() as store:
            for number in range(5):
                await self.closed(store, f"old-{number}", opened_at=self.OLD)
            await self.closed(store, "young")
            await store.incidents.open(samples.incident("open", opened_at=self.OLD), None, [])
            await store.audit.append(self.OLD, "oncall", "pause", "api", "")
            assert await store.purge(self.BEFORE) == 5
            assert [incident.id for incident in (await store.incidents.page()).items] == ["young", "open"]
            assert len(await store.audit.newest()) == 1
        for table in ("decisions", "looks", "attempts", "timeline"):
            assert state.sql(f"SELECT DISTINCT incident_id FROM {table}") == [("young",)], table

    async def test_numbers_of_entries_are_not_given_twice(self, state: StateDirectory) -> None:
        async with state.open() as store:
            await self.closed(store, "old", opened_at=self.OLD)
            newest = store.timeline.latest()
            await store.purge(self.BEFORE)
        async with state.open() as store:
            await store.incidents.open(samples.incident(), None, [NewEntry("alert", "x")])
            assert store.timeline.latest() > newest

    async def test_handled_alerts_go_and_unhandled_ones_stay(self, state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retention, "ROWS_AT_ONCE", 3)
        async with state.open() as store:
            await self.closed(store, "young")
            old = [samples.alert(fingerprint=f"old-{number}", received_at=self.OLD) for number in range(10)]
            young = [samples.alert(fingerprint=f"young-{number}") for number in range(5)]
            await store.alerts.append([*old, *young])
            stored = await store.alerts.unhandled()
            for one in stored:
                if one.event.fingerprint not in {"old-0", "old-7"}:
                    await store.alerts.handled(one.id, "young" if one.event.fingerprint == "old-3" else None)
            assert await store.purge(self.BEFORE) == 7
        kept = {row[0] for row in state.sql("SELECT fingerprint FROM alerts")}
        assert kept == {"old-0", "old-3", "old-7", *(alert.fingerprint for alert in young)}

    async def test_old_changes_go(self, state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retention, "ROWS_AT_ONCE", 2)
        async with state.open() as store:
            for number in range(5):
                await store.changes.record(samples.change(str(number), at=self.OLD))
            young = [samples.change("young"), samples.change("just young enough", at=self.BEFORE)]
            for change in young:
                await store.changes.record(change)
            assert await store.purge(self.BEFORE) == 5
            assert await store.changes.of_service("api") == tuple(young)

    async def test_a_snapshot_stays_while_it_is_used(self, state: StateDirectory) -> None:
        async with state.open() as store:
            used, unused, fresh = [await store.snapshots.put(content) for content in (b"used", b"unused", b"fresh")]
            await self.closed(store, "young", snapshot=used)
            await store._database.execute(update(snapshots).where(snapshots.c.content.in_([b"used", b"unused"])).values(used_at=self.OLD))
            await store.purge(self.BEFORE)
            assert await store.snapshots.get(used) == b"used"
            assert await store.snapshots.get(fresh) == b"fresh"
            with pytest.raises(NotFoundError):
                await store.snapshots.get(unused)

    async def test_nothing_to_do(self, state: StateDirectory) -> None:
        async with state.open() as store:
            assert await store.purge(self.BEFORE) == 0
