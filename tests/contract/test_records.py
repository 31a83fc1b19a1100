"""Attempts, looks, releases, changes, pauses, timeline, audit and snapshots."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollbackd.errors import NotFoundError, PermanentError
from rollbackd.model.attempt import AttemptStatus, ProcessIdentity
from rollbackd.model.audit import AuditEntry
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import PauseFacts
from rollbackd.model.release import Mark, ReleaseStatus
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry
from tests.contract import samples
from tests.contract.conftest import NOW, OpenStore


@pytest.fixture
async def incident_id(store: Store) -> str:
    incident = samples.incident()
    await store.incidents.open(incident, None, [])
    return incident.id


class TestAttempts:
    async def test_intent_start_and_outcome(self, store: Store, incident_id: str) -> None:
        intended = samples.attempt()
        await store.attempts.intend(intended)
        assert await store.attempts.of_incident(incident_id) == (intended,)
        started = replace(
            intended,
            status=AttemptStatus.STARTED,
            started_at=NOW,
            process=ProcessIdentity(pid=17, started_ticks=123456, session_id=17),
        )
        await store.attempts.started(started)
        assert await store.attempts.of_incident(incident_id) == (started,)
        ended = replace(started, status=AttemptStatus.FAILED, ended_at=NOW, exit_code=1, output="no\n\ufffd", detail="exit code 1")
        await store.attempts.ended(ended)
        assert await store.attempts.of_incident(incident_id) == (ended,)

    async def test_an_attempt_is_intended_once(self, store: Store, incident_id: str) -> None:
        await store.attempts.intend(samples.attempt())
        with pytest.raises(PermanentError):
            await store.attempts.intend(samples.attempt(number=2))

    async def test_an_attempt_ends_once(self, store: Store, incident_id: str) -> None:
        uncertain = samples.attempt(status=AttemptStatus.UNCERTAIN)
        await store.attempts.intend(samples.attempt())
        await store.attempts.ended(uncertain)
        with pytest.raises(PermanentError, match="already ended"):
            await store.attempts.ended(samples.attempt(status=AttemptStatus.SUCCEEDED))
        with pytest.raises(PermanentError, match="already ended"):
            await store.attempts.started(samples.attempt(status=AttemptStatus.STARTED))
        assert await store.attempts.of_incident(incident_id) == (uncertain,)

    async def test_nothing_starts_without_an_intent(self, store: Store, incident_id: str) -> None:
        with pytest.raises(PermanentError, match="never intended"):
            await store.attempts.started(samples.attempt(status=AttemptStatus.STARTED))

    async def test_an_attempt_belongs_to_an_incident(self, store: Store) -> None:
        with pytest.raises(PermanentError):
            await store.attempts.intend(samples.attempt())

    async def test_they_come_in_the_order_of_their_intents(self, store: Store, incident_id: str) -> None:
        for identifier in ("z", "a", "m"):
            await store.attempts.intend(samples.attempt(identifier))
        assert [attempt.id for attempt in await store.attempts.of_incident(incident_id)] == ["z", "a", "m"]


async def test_looks_come_back_in_order(store: Store, incident_id: str) -> None:
    made = tuple(samples.look(at=NOW + timedelta(seconds=number)) for number in range(3))
    for look in made:
        await store.looks.append(incident_id, look)
    assert await store.looks.of_incident(incident_id) == made


class TestReleases:
    async def test_one_comes_back_as_it_went_in_and_is_known_the_second_time(self, store: Store) -> None:
        release = samples.release(irreversible=True)
        recorded = await store.releases.record(release)
        assert (recorded.release, recorded.created) == (release, True)
        again = await store.releases.record(replace(release, artifact="other"))
        assert (again.release, again.created) == (release, False)
        assert await store.releases.of_service("api") == (release,)

    async def test_newest_first_by_service(self, store: Store) -> None:
        for version, minutes in (("v1", 1), ("v3", 3), ("v2", 2)):
            await store.releases.record(samples.release(version, started_at=NOW + timedelta(minutes=minutes)))
        await store.releases.record(samples.release(service="web"))
        assert [release.version for release in await store.releases.of_service("api")] == ["v3", "v2", "v1"]
        assert [release.version for release in await store.releases.of_service("api", limit=1)] == ["v3"]

    async def test_of_two_that_started_at_once_the_later_recorded_came_later(self, store: Store) -> None:
        for version in ("v9", "v10", "v2"):
            await store.releases.record(samples.release(version, started_at=NOW))
        assert [release.version for release in await store.releases.of_service("api")] == ["v2", "v10", "v9"]
        await store.releases.update("api", "v9", status=ReleaseStatus.LIVE, live_at=NOW + timedelta(minutes=1))
        await store.releases.record(samples.release("v10", started_at=NOW))
        assert [release.version for release in await store.releases.of_service("api")] == ["v2", "v10", "v9"], "known is not recorded anew"

    async def test_the_newest_of_a_version_goes_on(self, store: Store) -> None:
        old = samples.release("v1", started_at=NOW - timedelta(days=2))
        rolling = samples.release("v1", started_at=NOW, live_at=None, status=ReleaseStatus.ROLLING)
        for release in (rolling, old):
            await store.releases.record(release)
        updated = await store.releases.update("api", "v1", status=ReleaseStatus.LIVE, live_at=NOW)
        assert updated == replace(rolling, status=ReleaseStatus.LIVE, live_at=NOW)
        assert await store.releases.of_service("api") == (updated, old)
        assert await store.releases.update("api", "v9", status=ReleaseStatus.LIVE, live_at=NOW) is None

    async def test_a_mark_is_the_versions_and_stays_when_it_comes_back(self, store: Store) -> None:
        await store.releases.record(samples.release("v2", started_at=NOW - timedelta(days=2)))
        await store.releases.record(samples.release("v2", started_at=NOW - timedelta(days=1)))
        assert await store.releases.mark("api", "v2", Mark.BAD, "its rollback helped")
        assert not await store.releases.mark("api", "v3", Mark.BAD, "")
        recorded = await store.releases.record(samples.release("v2", started_at=NOW))
        assert (recorded.release.mark, recorded.release.mark_reason) == (Mark.BAD, "its rollback helped")
        assert {release.mark for release in await store.releases.of_service("api")} == {Mark.BAD}
        assert await store.releases.mark("api", "v2", Mark.NONE, "a person says so")
        assert {release.mark for release in await store.releases.of_service("api")} == {Mark.NONE}


class TestChanges:
    async def test_one_comes_back_as_it_went_in_and_survives_a_restart(self, open_store: OpenStore) -> None:
        change = samples.change('quote " backslash \\ ünïcödé 🚨', at=NOW - timedelta(microseconds=1))
        async with open_store() as store:
            recorded = await store.changes.record(change)
            assert (recorded.change, recorded.created) == (change, True)
        async with open_store() as store:
            assert await store.changes.of_service("api") == (change,)

    async def test_said_again_it_is_one_and_stays_his_who_said_it_first(self, store: Store) -> None:
        change = samples.change()
        await store.changes.record(change)
        again = await store.changes.record(replace(change, by="oncall"))
        assert (again.change, again.created) == (change, False)
        assert await store.changes.of_service("api") == (change,)

    @pytest.mark.parametrize(
        "other", [{"service": "web"}, {"kind": ChangeKind.FLAG}, {"what": "something else"}, {"at": NOW - timedelta(minutes=4)}]
    )
    async def test_what_differs_in_anything_that_was_altered_is_another(self, store: Store, other: dict[str, Any]) -> None:
        await store.changes.record(samples.change())
        assert (await store.changes.record(samples.change(**other))).created

    async def test_said_twice_at_once_it_is_one(self, store: Store) -> None:
        recorded = await asyncio.gather(*(store.changes.record(samples.change()) for _ in range(5)))
        assert sorted(one.created for one in recorded) == [False] * 4 + [True]

    async def test_newest_first_by_service_within_a_span(self, store: Store) -> None:
        def at(minutes: int) -> Change:
            return samples.change(str(minutes), at=NOW + timedelta(minutes=minutes))

        for minutes in (1, 3, 2, 4):
            await store.changes.record(at(minutes))
        await store.changes.record(samples.change(service="web"))
        assert await store.changes.of_service("api") == (at(4), at(3), at(2), at(1))
        assert await store.changes.of_service("api", at(2).at) == (at(4), at(3), at(2)), "both ends belong to it"
        assert await store.changes.of_service("api", at(2).at, until=at(3).at) == (at(3), at(2))
        assert await store.changes.of_service("api", limit=2) == (at(4), at(3))
        assert await store.changes.of_service("api", at(5).at) == ()

    async def test_of_two_at_once_the_later_recorded_comes_first(self, store: Store) -> None:
        for what in ("first", "second"):
            await store.changes.record(samples.change(what))
        assert [change.what for change in await store.changes.of_service("api")] == ["second", "first"]


class TestPauses:
    LATER = NOW + timedelta(hours=2)

    async def test_none(self, store: Store) -> None:
        assert await store.pauses.facts("api", NOW) == PauseFacts()
        assert await store.pauses.all(NOW) == ()

    async def test_of_a_service(self, store: Store) -> None:
        await store.pauses.set("api", self.LATER, "maintenance", "oncall", NOW)
        assert await store.pauses.facts("api", NOW) == PauseFacts(paused=True, scope="api", until=self.LATER, why="maintenance (oncall)")
        assert not (await store.pauses.facts("web", NOW)).paused

    async def test_the_global_one_holds_everywhere_and_comes_first(self, store: Store) -> None:
        await store.pauses.set("api", self.LATER, "maintenance", "oncall", NOW)
        await store.pauses.set("global", self.LATER, "stop", "lead", NOW)
        assert (await store.pauses.facts("api", NOW)).scope == "global"
        assert (await store.pauses.facts("web", NOW)).paused
        assert [facts.scope for facts in await store.pauses.all(NOW)] == ["global", "api"]

    async def test_it_ends_at_its_time_and_survives_a_restart_until_then(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.pauses.set("api", self.LATER, "maintenance", "oncall", NOW)
        async with open_store() as store:
            assert (await store.pauses.facts("api", self.LATER - timedelta(microseconds=1))).paused
            assert not (await store.pauses.facts("api", self.LATER)).paused

    async def test_a_second_one_takes_the_place_of_the_first(self, store: Store) -> None:
        await store.pauses.set("api", self.LATER, "first", "oncall", NOW)
        await store.pauses.set("api", NOW + timedelta(minutes=1), "second", "oncall", NOW)
        assert (await store.pauses.facts("api", NOW)).why == "second (oncall)"

    async def test_clearing(self, store: Store) -> None:
        await store.pauses.set("api", self.LATER, "maintenance", "oncall", NOW)
        assert await store.pauses.clear("api")
        assert not await store.pauses.clear("api")
        assert not (await store.pauses.facts("api", NOW)).paused


class TestTimeline:
    async def test_all_incidents_in_one_order(self, store: Store, incident_id: str) -> None:
        assert store.timeline.latest() == 0
        await store.incidents.open(samples.incident("other", service="web"), None, [])
        for number, incident in enumerate((incident_id, "other", incident_id)):
            await store.timeline.append(incident, NewEntry("look", str(number)), NOW)
        entries = await store.timeline.after(0, 10)
        assert [entry.text for entry in entries] == ["0", "1", "2"]
        assert store.timeline.latest() == entries[-1].seq
        assert [entry.text for entry in await store.timeline.after(entries[0].seq, 1)] == ["1"]
        assert [entry.text for entry in await store.timeline.of_incident(incident_id)] == ["0", "2"]

    async def test_who_waits_is_woken_by_a_newer_entry(self, store: Store, incident_id: str) -> None:
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(store.timeline.changed(seq)) for seq in (0, 0)]
            await store.timeline.append(incident_id, NewEntry("look", "new"), NOW)
        assert all(task.done() for task in waiting)

    async def test_who_is_behind_does_not_wait(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.incidents.open(samples.incident(), None, [NewEntry("alert", "x")])
        async with open_store() as store, asyncio.timeout(5):
            await store.timeline.changed(0)

    async def test_a_refused_write_wakes_nobody(self, store: Store, incident_id: str) -> None:
        with pytest.raises(PermanentError):
            await store.timeline.append("no incident", NewEntry("look", "x"), NOW)
        assert store.timeline.latest() == 0


async def test_the_audit_is_append_only_and_newest_first(store: Store) -> None:
    await store.audit.append(NOW, "oncall", "pause", "api", "maintenance")
    await store.audit.append(NOW, "oncall", "resume", "api", "")
    assert await store.audit.newest() == (
        AuditEntry(NOW, "oncall", "resume", "api", ""),
        AuditEntry(NOW, "oncall", "pause", "api", "maintenance"),
    )


async def test_snapshots_are_kept_under_their_digest(store: Store) -> None:
    digest = await store.snapshots.put(b"config")
    assert await store.snapshots.put(b"config") == digest
    assert await store.snapshots.put(b"other") != digest
    assert await store.snapshots.get(digest) == b"config"
    with pytest.raises(NotFoundError):
        await store.snapshots.get("0" * 64)
