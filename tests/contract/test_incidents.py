"""One open incident per service (I1), written only from the state that the writer saw."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from rollbackd.errors import NotFoundError
from rollbackd.model.decision import Action, History
from rollbackd.model.incident import Event, Incident, Outcome, Phase
from rollbackd.model.reason import Reason
from rollbackd.store.incidents import ConflictError, Page
from rollbackd.store.snapshots import digest_of
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry
from tests.contract import samples
from tests.contract.conftest import NOW, OpenStore

OPENED = NewEntry("alert", "HighErrorRate firing", {"phase": Phase.DECIDING, "value": 0.042, "none": None})


async def opened(store: Store, incident: Incident) -> Incident:
    assert await store.incidents.open(incident, None, [])
    return incident


async def closed(store: Store, incident: Incident, outcome: Outcome = Outcome.HELD) -> Incident:
    return await store.incidents.save(incident, incident.after(Event.CLOSE, outcome=outcome, closed_at=NOW))


async def test_an_incident_comes_back_as_it_went_in(store: Store) -> None:
    whole = samples.incident(
        alertname="HighErrorRate",
        alert_labels={"service": "api"},
        fingerprint="5ed9",
        starts_at=NOW - timedelta(microseconds=1),
        delivered_at=NOW,
        decision=Action.HOLD,
        reason=Reason.COOLDOWN,
        decision_value=0.042,
        decided_at=NOW,
        detail="one sentence",
        requested_by="oncall",
    )
    await opened(store, whole)
    assert await store.incidents.get(whole.id) == whole


async def test_opening_writes_incident_alert_and_entries_together(store: Store) -> None:
    await store.alerts.append([samples.alert()])
    (stored,) = await store.alerts.unhandled()
    incident = samples.incident()
    assert await store.incidents.open(incident, stored.id, [OPENED, OPENED])
    assert await store.alerts.unhandled() == ()
    assert await store.alerts.of_incident(incident.id) == (stored.event,)
    first, second = await store.timeline.of_incident(incident.id)
    assert (first.kind, first.text, first.data, first.at) == (
        "alert",
        OPENED.text,
        {"phase": "deciding", "value": 0.042, "none": None},
        NOW,
    )
    assert first.seq < second.seq


async def test_a_service_has_one_open_incident(store: Store) -> None:
    await store.alerts.append([samples.alert()])
    (stored,) = await store.alerts.unhandled()
    first = await opened(store, samples.incident("first"))
    assert not await store.incidents.open(samples.incident("second"), stored.id, [OPENED])
    assert await store.alerts.unhandled() == (stored,)
    assert await store.timeline.after(0, 10) == ()
    await closed(store, first)
    assert await store.incidents.open(samples.incident("second"), stored.id, [])


async def test_of_many_that_open_at_once_one_does(store: Store) -> None:
    results = await asyncio.gather(*(store.incidents.open(samples.incident(str(number)), None, []) for number in range(10)))
    assert sorted(results) == [False] * 9 + [True]
    assert len(await store.incidents.open_ones()) == 1


async def test_services_do_not_share(store: Store) -> None:
    await opened(store, samples.incident("1"))
    other = await opened(store, samples.incident("2", service="web"))
    assert await store.incidents.open_of("web") == other
    assert await store.incidents.open_of("nothing") is None


async def test_saving_raises_the_revision_and_keeps_entries_and_decision(store: Store) -> None:
    before = await opened(store, samples.incident())
    decision = samples.decision()
    after = replace(before.after(Event.ACT), target="v1")
    saved = await store.incidents.save(before, after, entries=[OPENED], decision=decision)
    assert saved == replace(after, revision=1)
    assert await store.incidents.get(before.id) == saved
    assert await store.incidents.decision_of(before.id) == decision
    assert [entry.text for entry in await store.timeline.of_incident(before.id)] == [OPENED.text]


async def test_decisions_are_kept_in_order(store: Store) -> None:
    incident = await opened(store, samples.incident())
    assert await store.incidents.decision_of(incident.id) is None
    made = [samples.decision(reason=reason, suspect=None) for reason in (Reason.SETTLING, Reason.UNKNOWN)]
    for decision in made:
        incident = await store.incidents.save(incident, incident, decision=decision)
    assert await store.incidents.decisions_of(incident.id) == tuple(made)
    assert await store.incidents.decision_of(incident.id) == made[-1]


async def test_a_write_from_an_older_revision_is_refused_with_all_that_belongs_to_it(store: Store) -> None:
    before = await opened(store, samples.incident())
    saved = await store.incidents.save(before, replace(before, detail="first"))
    with pytest.raises(ConflictError, match="moved on"):
        await store.incidents.save(before, replace(before, detail="second"), entries=[OPENED], decision=samples.decision())
    assert await store.incidents.get(before.id) == saved
    assert await store.incidents.decision_of(before.id) is None
    assert await store.timeline.of_incident(before.id) == ()


async def test_a_write_from_another_phase_is_refused(store: Store) -> None:
    before = await opened(store, samples.incident())
    with pytest.raises(ConflictError):
        await store.incidents.save(replace(before, phase=Phase.PROPOSED), before)


async def test_of_many_that_save_at_once_one_does_and_the_others_take_nobody_along(store: Store) -> None:
    before = await opened(store, samples.incident())
    other = await opened(store, samples.incident("other", service="web"))
    *results, unharmed = await asyncio.gather(
        *(store.incidents.save(before, replace(before, detail=str(number))) for number in range(5)),
        store.incidents.save(other, replace(other, detail="written")),
        return_exceptions=True,
    )
    assert sum(isinstance(result, ConflictError) for result in results) == 4
    assert isinstance(unharmed, Incident)
    assert (await store.incidents.get("other")).detail == "written"


async def test_an_incident_that_is_not_there(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await store.incidents.get("nothing")
    with pytest.raises(NotFoundError):
        await store.incidents.save(samples.incident(), samples.incident())


async def test_one_is_not_opened_again_beside_another(store: Store) -> None:
    first = await closed(store, await opened(store, samples.incident("first")))
    await opened(store, samples.incident("second"))
    with pytest.raises(ConflictError, match="another open"):
        await store.incidents.save(first, first.after(Event.REOPEN, outcome=None, closed_at=None))


async def test_what_a_restart_goes_on_with(open_store: OpenStore) -> None:
    async with open_store() as store:
        told = await closed(store, await opened(store, samples.incident("told")))
        await store.incidents.save(told, replace(told, told_at=NOW))
        untold = await closed(store, await opened(store, samples.incident("untold", opened_at=NOW - timedelta(hours=1))))
        running = await opened(store, samples.incident("running"))
    async with open_store() as store:
        assert await store.incidents.unfinished() == (untold, running)
        assert await store.incidents.open_ones() == (running,)


async def test_an_alert_meets_the_newest_that_it_opened_or_joined_and_the_open_one_of_its_service(store: Store) -> None:
    alert = samples.alert()
    await store.alerts.append([alert])
    (stored,) = await store.alerts.unhandled()
    assert await store.incidents.met_by(alert) == (None, None)
    opener = samples.incident("opener", fingerprint=alert.fingerprint, starts_at=alert.starts_at, opened_at=NOW - timedelta(hours=1))
    opener = await closed(store, await opened(store, opener))
    assert await store.incidents.met_by(alert) == (opener, None)
    joined = await opened(store, samples.incident("joined", fingerprint="another"))
    assert await store.incidents.met_by(alert) == (opener, joined)
    await store.alerts.handled(stored.id, joined.id)
    assert await store.incidents.met_by(alert) == (joined, joined)
    assert await store.incidents.met_by(replace(alert, starts_at=NOW, service="web")) == (None, None)


async def test_what_is_pinned_is_written_with_the_incident_or_not_at_all(store: Store) -> None:
    first, second = samples.incident("first", snapshot=digest_of(b"first")), samples.incident("second", snapshot=digest_of(b"second"))
    assert await store.incidents.open(first, None, (), pinned=b"first")
    assert not await store.incidents.open(second, None, (), pinned=b"second")
    assert await store.snapshots.get(first.snapshot) == b"first"
    with pytest.raises(NotFoundError):
        await store.snapshots.get(second.snapshot)


async def test_i7_what_a_write_depends_on_is_asked_when_it_is_written(store: Store) -> None:
    """Of those that act at once each sees what the ones before it have done, though all of them had read the same."""
    services = ("api", "web", "shop")
    before = [await opened(store, samples.incident(name, service=name)) for name in services]

    def nobody_has(history: History) -> bool:
        return history.rollbacks_of_fleet_last_hour == 0

    results = await asyncio.gather(
        *(store.incidents.save(one, replace(one.after(Event.ACT), rollback_started_at=NOW), provided=nobody_has) for one in before),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Incident, ConflictError, ConflictError]
    assert [one.phase for one in await store.incidents.open_ones()].count(Phase.ROLLING_BACK) == 1


async def test_the_latest_of_a_service(store: Store) -> None:
    assert await store.incidents.latest_of("api") is None
    newest = await closed(store, await opened(store, samples.incident("new")))
    await opened(store, samples.incident("old", opened_at=NOW - timedelta(seconds=1)))
    assert await store.incidents.latest_of("api") == newest


class TestPages:
    async def test_newest_first_and_complete_whatever_the_size(self, store: Store) -> None:
        made = [samples.incident(f"{number}", service=f"s{number}", opened_at=NOW + timedelta(seconds=number // 3)) for number in range(10)]
        for incident in made:
            await opened(store, incident)
        expected = sorted(made, key=lambda one: (one.opened_at, one.id), reverse=True)
        for limit in range(1, 12):
            seen: list[Incident] = []
            page = Page((), None)
            while not seen or page.next is not None:
                page = await store.incidents.page(cursor=page.next, limit=limit)
                assert 0 < len(page.items) <= limit
                seen += page.items
            assert seen == expected

    async def test_filters(self, store: Store) -> None:
        held = await closed(store, await opened(store, samples.incident("1")))
        failed = await closed(store, await opened(store, samples.incident("2")), Outcome.FAILED)
        running = await opened(store, samples.incident("3"))
        web = await opened(store, samples.incident("4", service="web"))
        assert (await store.incidents.page(service="web")).items == (web,)
        assert (await store.incidents.page(phase=Phase.CLOSED)).items == (failed, held)
        assert (await store.incidents.page(outcome=Outcome.FAILED)).items == (failed,)
        assert (await store.incidents.page(service="api", phase=Phase.DECIDING)).items == (running,)
        assert await store.incidents.page(service="web", outcome=Outcome.FAILED) == Page((), None)

    @pytest.mark.parametrize("cursor", ["", "x", "12", "x_1", "9" * 30 + "_1"])
    async def test_a_cursor_that_no_page_gave(self, store: Store, cursor: str) -> None:
        with pytest.raises(ValueError, match="cursor"):
            await store.incidents.page(cursor=cursor)


class TestHistory:
    async def rolled_back(self, store: Store, identifier: str, *, ago: timedelta, **changes: object) -> Incident:
        incident = samples.incident(identifier, rollback_started_at=NOW - ago, rollback_ended_at=NOW - ago + timedelta(minutes=1))
        return await closed(store, await opened(store, replace(incident, **changes)))  # type: ignore[arg-type]

    async def test_of_a_service_without_any(self, store: Store) -> None:
        await opened(store, samples.incident())
        assert await store.history("api", NOW) == History()

    async def test_counts_a_day_of_the_service_and_an_hour_of_the_fleet(self, store: Store) -> None:
        await self.rolled_back(store, "1", ago=timedelta(minutes=10))
        await self.rolled_back(store, "2", ago=timedelta(hours=23))
        await self.rolled_back(store, "3", ago=timedelta(hours=25))
        await self.rolled_back(store, "4", ago=timedelta(minutes=59), service="web")
        await self.rolled_back(store, "5", ago=timedelta(minutes=61), service="web")
        history = await store.history("api", NOW)
        assert history.rollbacks_of_service_last_day == 2
        assert history.rollbacks_of_fleet_last_hour == 2
        assert history.last_rollback_completed_at == NOW - timedelta(minutes=9)

    async def test_a_clock_that_was_set_back_frees_no_budget(self, store: Store) -> None:
        await self.rolled_back(store, "1", ago=timedelta(minutes=1))
        history = await store.history("api", NOW - timedelta(days=1))
        assert (history.rollbacks_of_service_last_day, history.rollbacks_of_fleet_last_hour) == (1, 1)

    async def test_the_acknowledgement_is_the_last_rollbacks(self, store: Store) -> None:
        await self.rolled_back(store, "1", ago=timedelta(hours=2))
        assert not (await store.history("api", NOW)).last_rollback_acknowledged
        await self.rolled_back(store, "2", ago=timedelta(hours=1), acknowledged_by="oncall")
        assert (await store.history("api", NOW)).last_rollback_acknowledged
        await self.rolled_back(store, "3", ago=timedelta(minutes=1))
        assert not (await store.history("api", NOW)).last_rollback_acknowledged

    async def test_a_step_runs_while_another_incident_of_the_service_rolls_back(self, store: Store) -> None:
        incident = await opened(store, samples.incident(phase=Phase.ROLLING_BACK))
        assert (await store.history("api", NOW)).step_running
        assert not (await store.history("api", NOW, except_incident=incident.id)).step_running
        assert not (await store.history("web", NOW)).step_running
