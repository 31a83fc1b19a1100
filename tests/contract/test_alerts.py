"""Every alert event is kept once, whoever brings it, in whatever order and company (I2)."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from rollbackd.model.alert import AlertEvent, AlertStatus
from rollbackd.store.alerts import Appended
from rollbackd.store.store import Store
from tests.contract import samples
from tests.contract.conftest import NOW, OpenStore

FIRING = samples.alert()
RESOLVED = samples.alert(status=AlertStatus.RESOLVED, ends_at=NOW)
AGAIN = samples.alert(starts_at=NOW + timedelta(minutes=1))


async def test_an_event_comes_back_as_it_went_in(store: Store) -> None:
    whole = replace(FIRING, ends_at=NOW + timedelta(days=1, microseconds=1))
    await store.alerts.append([whole, RESOLVED])
    assert [stored.event for stored in await store.alerts.unhandled()] == [whole, RESOLVED]


async def test_the_key_is_fingerprint_start_and_status(store: Store) -> None:
    assert await store.alerts.append([FIRING]) == Appended(1, 0)
    other_content = replace(FIRING, annotations={}, received_at=NOW + timedelta(hours=1))
    assert await store.alerts.append([other_content, RESOLVED, AGAIN, replace(FIRING, fingerprint="x")]) == Appended(3, 1)


async def test_a_key_twice_in_one_call_is_one_duplicate(store: Store) -> None:
    assert await store.alerts.append([FIRING, RESOLVED, FIRING]) == Appended(2, 1)


async def test_nothing_to_append(store: Store) -> None:
    assert await store.alerts.append([]) == Appended(0, 0)


async def test_an_event_without_a_service_cannot_be_appended(store: Store) -> None:
    with pytest.raises(ValueError, match="no service"):
        await store.alerts.append([replace(FIRING, service=None)])


async def test_callers_at_once_share_the_new_ones_between_them(store: Store) -> None:
    own = [samples.alert(fingerprint=str(number)) for number in range(20)]
    results = await asyncio.gather(*(store.alerts.append([FIRING, mine]) for mine in own))
    assert sum(result.stored for result in results) == 21
    assert all(result.stored + result.duplicates == 2 for result in results)
    assert sorted(result.stored for result in results) == [1] * 19 + [2]
    assert len(await store.alerts.unhandled()) == 21


async def test_what_was_appended_survives_a_restart(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.alerts.append([FIRING])
    async with open_store() as store:
        assert [stored.event for stored in await store.alerts.unhandled()] == [FIRING]
        assert await store.alerts.append([FIRING]) == Appended(0, 1)


@pytest.mark.parametrize("order", list(permutations([FIRING, RESOLVED, FIRING])))
async def test_duplicates_in_any_order_end_in_the_same_state(store: Store, order: tuple[AlertEvent, ...]) -> None:
    for event in order:
        await store.alerts.append([event])
    events = {stored.event.status for stored in await store.alerts.unhandled()}
    assert events == {AlertStatus.FIRING, AlertStatus.RESOLVED}
    assert not await store.alerts.still_firing(FIRING.fingerprint, FIRING.starts_at)


async def test_an_alert_fires_until_it_is_resolved(store: Store) -> None:
    assert not await store.alerts.still_firing(FIRING.fingerprint, FIRING.starts_at)
    await store.alerts.append([FIRING, AGAIN])
    assert await store.alerts.still_firing(FIRING.fingerprint, FIRING.starts_at)
    await store.alerts.append([RESOLVED])
    assert not await store.alerts.still_firing(FIRING.fingerprint, FIRING.starts_at)
    assert await store.alerts.still_firing(AGAIN.fingerprint, AGAIN.starts_at)


async def test_unhandled_ones_come_in_order_of_arrival_and_bounded(store: Store) -> None:
    for number in (3, 1, 2):
        await store.alerts.append([samples.alert(fingerprint=str(number))])
    assert [stored.event.fingerprint for stored in await store.alerts.unhandled()] == ["3", "1", "2"]
    assert [stored.event.fingerprint for stored in await store.alerts.unhandled(limit=2)] == ["3", "1"]


async def test_a_handled_one_is_not_handed_out_again(store: Store) -> None:
    incident = samples.incident()
    await store.incidents.open(incident, None, [])
    await store.alerts.append([FIRING, RESOLVED])
    first, second = await store.alerts.unhandled()
    await store.alerts.handled(first.id, incident.id)
    await store.alerts.handled(second.id, None)
    assert await store.alerts.unhandled() == ()
    assert await store.alerts.of_incident(incident.id) == (FIRING,)


async def test_ignored_ones_are_kept_up_to_a_cap(store: Store) -> None:
    assert await store.alerts.append([FIRING], [samples.ignored(0)]) == Appended(1, 0)
    await store.alerts.append([], [samples.ignored(number) for number in range(1, 1_500)])
    await store.alerts.append([], [samples.ignored(1_500)])
    newest = await store.alerts.ignored(limit=5_000)
    assert len(newest) == 1_000
    assert newest[0] == samples.ignored(1_500)
    assert newest[-1] == samples.ignored(501)
    assert [stored.event for stored in await store.alerts.unhandled()] == [FIRING]
