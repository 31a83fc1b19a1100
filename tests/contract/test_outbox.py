"""What waits for a channel: put once, in order, until it is delivered or given up."""

from datetime import timedelta

from rollbackd.model.incident import Phase, Severity
from rollbackd.model.message import Message, Topic
from rollbackd.store.store import Store
from tests.contract import samples
from tests.contract.conftest import NOW, OpenStore

MINUTE = timedelta(minutes=1)


def message(identifier: str, topic: Topic = Topic.ESCALATED) -> Message:
    return Message(id=identifier, topic=topic, severity=Severity.WARNING, text=f"text of {identifier}", service="api")


async def waiting(store: Store, channel: str) -> list[str]:
    return [one.record.id for one in await store.outbox.waiting(channel, 10)]


async def test_each_channel_has_its_own_in_the_order_in_which_they_were_put(store: Store) -> None:
    await store.outbox.put(message("b"), ["chat", "mail"], NOW + MINUTE)
    await store.outbox.put(message("a"), ["chat"], NOW)
    assert await waiting(store, "chat") == ["b", "a"]
    assert await waiting(store, "mail") == ["b"]
    assert await waiting(store, "pager") == []


async def test_the_same_id_again_changes_nothing_even_when_it_was_delivered(store: Store) -> None:
    await store.outbox.put(message("a"), ["chat"], NOW)
    (only,) = await store.outbox.waiting("chat", 10)
    assert only.record == message("a")
    await store.outbox.put(message("a"), ["chat"], NOW + MINUTE)
    assert await store.outbox.waiting("chat", 10) == (only,)
    await store.outbox.delivered(only.arrival, NOW)
    await store.outbox.put(message("a"), ["chat", "mail"], NOW)
    assert (await waiting(store, "chat"), await waiting(store, "mail")) == ([], ["a"])


async def test_at_most_so_many(store: Store) -> None:
    for identifier in "abc":
        await store.outbox.put(message(identifier), ["chat"], NOW)
    assert [one.record.id for one in await store.outbox.waiting("chat", 2)] == ["a", "b"]


async def test_for_no_channel_nothing_is_kept(store: Store) -> None:
    await store.outbox.put(message("a"), [], NOW)
    assert await store.outbox.facts(["chat"]) == await store.outbox.facts(["chat"])
    assert await waiting(store, "chat") == []


async def test_what_is_old_is_given_up_also_of_a_channel_that_is_gone(store: Store) -> None:
    await store.outbox.put(message("a"), ["chat", "gone"], NOW)
    await store.outbox.put(message("b"), ["chat"], NOW + MINUTE)
    assert await store.outbox.give_up(NOW + MINUTE, NOW + 2 * MINUTE) == {"chat": 1, "gone": 1}
    assert await store.outbox.give_up(NOW + MINUTE, NOW + 2 * MINUTE) == {}
    assert await waiting(store, "chat") == ["b"]
    await store.outbox.put(message("a"), ["chat"], NOW)
    assert await waiting(store, "chat") == ["b"]


async def test_how_each_channel_stands(store: Store) -> None:
    for number, identifier in enumerate("abc"):
        await store.outbox.put(message(identifier), ["chat"], NOW + number * MINUTE)
    (first, *_) = await store.outbox.waiting("chat", 10)
    await store.outbox.delivered(first.arrival, NOW + 5 * MINUTE)
    chat, mail = await store.outbox.facts(["chat", "mail"])
    assert (chat.channel, chat.waiting, chat.oldest, chat.delivered_at) == ("chat", 2, NOW + MINUTE, NOW + 5 * MINUTE)
    assert (mail.channel, mail.waiting, mail.oldest, mail.delivered_at) == ("mail", 0, None, None)


async def test_it_outlives_a_restart_and_goes_when_it_is_old(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.outbox.put(message("a"), ["chat"], NOW)
    async with open_store() as store:
        assert await waiting(store, "chat") == ["a"]
        await store.purge(NOW)
        assert await waiting(store, "chat") == ["a"]
        await store.purge(NOW + MINUTE)
        assert await waiting(store, "chat") == []


async def test_an_incident_makes_one_id_for_each_thing_that_happens_to_it() -> None:
    one = samples.incident("i1", escalated_at=NOW, phase=Phase.ESCALATED)
    escalated = Message.of(one, Severity.WARNING, "x")
    assert escalated == Message.of(one, Severity.WARNING, "x")
    reminded = Message.of(samples.incident("i1", escalated_at=NOW, reminded_at=NOW + MINUTE, phase=Phase.ESCALATED), Severity.WARNING, "x")
    again = Message.of(samples.incident("i1", escalated_at=NOW + MINUTE, phase=Phase.ESCALATED), Severity.WARNING, "x")
    other = Message.of(samples.incident("i2", escalated_at=NOW, phase=Phase.ESCALATED), Severity.WARNING, "x")
    back = Message.of(one, Severity.WARNING, "x", Topic.BAD_IS_BACK)
    assert len({each.id for each in (escalated, reminded, again, other, back)}) == 5
    assert (escalated.reminder, reminded.reminder) == (False, True)
