"""What broke in the whole fleet, in one question, and who has told people of it."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollbackd.model.decision import Trip
from rollbackd.model.incident import Event, Incident, Outcome, Phase
from rollbackd.model.release import Release
from rollbackd.store.incidents import ConflictError
from rollbackd.store.store import Store
from tests.contract import samples
from tests.contract.conftest import NOW

MINUTE = timedelta(minutes=1)
SINCE = NOW - 5 * MINUTE


async def tripped(store: Store, service: str, at: datetime, *, is_open: bool = False, **changes: Any) -> None:
    """Opened when its alert began to fire, and over, unless it is open."""
    closed = {} if is_open else {"phase": Phase.CLOSED, "outcome": Outcome.HELD, "closed_at": NOW}
    made = samples.incident(f"{service} {at}", service=service, fingerprint=f"{service} {at}", starts_at=at, opened_at=at)
    assert await store.incidents.open(replace(made, **{**closed, **changes}), None, ())


async def released(store: Store, service: str, version: str, at: datetime) -> Release:
    made = samples.release(version, service=service, started_at=at, live_at=at)
    await store.releases.record(made)
    return made


class TestTrips:
    async def test_of_any_phase_and_outcome_since_then(self, store: Store) -> None:
        await tripped(store, "api", NOW, is_open=True)
        await tripped(store, "web", SINCE)
        await tripped(store, "old", SINCE - timedelta(microseconds=1))
        assert await store.fleet.trips(SINCE) == (
            Trip(service="web", at=SINCE, release=None),
            Trip(service="api", at=NOW, release=None),
        )

    async def test_what_is_open_since_before_is_told_as_well(self, store: Store) -> None:
        """A dependency that has been broken for long explains those that follow it."""
        await tripped(store, "db", NOW - timedelta(days=1), is_open=True)
        assert [trip.service for trip in await store.fleet.trips(SINCE)] == ["db"]

    async def test_what_a_person_began_is_no_trip(self, store: Store) -> None:
        await tripped(store, "api", NOW, is_open=True, starts_at=None, fingerprint=None)
        assert await store.fleet.trips(SINCE) == ()

    async def test_a_replayed_alert_is_as_old_as_it_says(self, store: Store) -> None:
        await tripped(store, "api", NOW, starts_at=NOW - timedelta(days=2))
        assert await store.fleet.trips(SINCE) == ()

    async def test_the_first_and_the_last_of_a_service_however_many_there_are(self, store: Store) -> None:
        for second in range(30):
            await tripped(store, "api", NOW + timedelta(seconds=second))
        assert [trip.at for trip in await store.fleet.trips(SINCE)] == [NOW, NOW + timedelta(seconds=29)]

    async def test_each_with_the_newest_release_that_the_service_had_by_then(self, store: Store) -> None:
        first = await released(store, "api", "v1", NOW - 60 * MINUTE)
        second = await released(store, "api", "v2", NOW)
        await released(store, "api", "v3", NOW + 2 * MINUTE)
        await released(store, "web", "v9", NOW)
        await tripped(store, "api", NOW - MINUTE)
        await tripped(store, "api", NOW)
        assert await store.fleet.trips(SINCE) == (
            Trip(service="api", at=NOW - MINUTE, release=first),
            Trip(service="api", at=NOW, release=second),
        )


class TestSpokesman:
    async def escalated(self, store: Store, service: str, **changes: Any) -> Incident:
        made = samples.incident(service, service=service, phase=Phase.ESCALATED, braked=True, escalated_at=NOW)
        incident = replace(made, **changes)
        assert await store.incidents.open(incident, None, ())
        return incident

    @pytest.mark.parametrize(
        ("changes", "speaks"),
        [
            ({}, True),
            ({"escalated_at": SINCE}, False),
            ({"escalated_at": SINCE, "reminded_at": NOW}, True),
            ({"escalated_at": NOW + timedelta(days=1)}, True),  # the clock was set back
            ({"told_with": "another"}, False),
            ({"braked": False}, False),
            ({"phase": Phase.DECIDING, "escalated_at": None}, False),
            ({"phase": Phase.ROLLING_BACK}, False),
            ({"phase": Phase.CLOSED, "outcome": Outcome.ESCALATED, "closed_at": NOW}, True),
            ({"phase": Phase.CLOSED, "outcome": Outcome.ESCALATED, "escalated_at": None, "closed_at": NOW}, True),  # only observed
            ({"phase": Phase.CLOSED, "outcome": Outcome.ESCALATED, "escalated_at": SINCE, "closed_at": SINCE}, False),
            ({"phase": Phase.CLOSED, "outcome": Outcome.STOOD_DOWN, "closed_at": NOW}, False),
        ],
    )
    async def test_one_that_people_were_told_of_lately_and_that_is_not_settled(
        self,
        store: Store,
        changes: dict[str, Any],
        speaks: bool,  # noqa: FBT001
    ) -> None:
        await self.escalated(store, "api", **changes)
        assert await store.fleet.spokesman(SINCE, except_incident="web") == ("api" if speaks else None)
        assert await store.fleet.spokesman(SINCE, except_incident="api") is None

    async def test_of_those_that_would_speak_at_once_one_does(self, store: Store) -> None:
        """Each has seen that nobody has spoken yet."""
        before = [samples.incident(name, service=name) for name in ("api", "web", "shop")]
        for one in before:
            assert await store.incidents.open(one, None, ())
        after = [replace(one.after(Event.ESCALATE), braked=True, escalated_at=NOW) for one in before]
        results = await asyncio.gather(
            *(store.incidents.save(was, now, speaks_since=SINCE) for was, now in zip(before, after, strict=True)), return_exceptions=True
        )
        assert [type(result) for result in results] == [Incident, ConflictError, ConflictError]
        assert (await store.incidents.get("web")).phase is Phase.DECIDING
