"""What people are still to be told, by channel. It is delivered at least once, and put once: the same id again changes nothing (I9)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, func, select, update
from sqlalchemy.dialects.sqlite import insert

from rollbackd.failpoints import reach
from rollbackd.model.message import Message, Topic
from rollbackd.store.columns import as_record
from rollbackd.store.database import Database
from rollbackd.store.tables import outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message that a channel has not taken yet; `at` is when it was put."""

    arrival: int
    at: datetime
    record: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFacts:
    """`oldest` is when the oldest that waits was put; None: none waits."""

    channel: str
    waiting: int
    oldest: datetime | None
    delivered_at: datetime | None


_OF_A_RUN: Final = frozenset({Topic.ROLLING_BACK, Topic.CLOSED})
"""Told amid a run, or at its end: neither may stand still for want of room."""


class Outbox:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, message: Message, channels: Iterable[str], at: datetime) -> None:
        """For each of these channels, unless it has been put before."""
        rows = [{"message_id": message.id, "channel": channel, "at": at, "record": message} for channel in channels]
        if rows:
            await self._database.execute(insert(outbox).values(rows).on_conflict_do_nothing(), last_resort=message.topic in _OF_A_RUN)
        await reach("message.after_put")

    async def waiting(self, channel: str, limit: int) -> tuple[Waiting, ...]:
        """In the order in which they were put."""
        query = select(outbox.c.arrival, outbox.c.at, outbox.c.record).where(_waits(channel)).order_by(outbox.c.arrival).limit(limit)
        return await self._database.all(query, as_record(Waiting))

    async def delivered(self, arrival: int, at: datetime) -> None:
        await self._database.execute(update(outbox).where(outbox.c.arrival == arrival).values(delivered_at=at))

    async def give_up(self, before: datetime, at: datetime) -> dict[str, int]:
        """What was put before `before` and waits still, waits no longer; how many by channel, also of channels that are in no config."""

        def query(connection: Connection) -> dict[str, int]:
            old = and_(outbox.c.delivered_at.is_(None), outbox.c.given_up_at.is_(None), outbox.c.at < before)
            counted = select(outbox.c.channel, func.count().label("messages")).where(old).group_by(outbox.c.channel)
            found: dict[str, int] = {row.channel: row.messages for row in connection.execute(counted)}
            if found:
                connection.execute(update(outbox).where(old).values(given_up_at=at))
            return found

        return await self._database.write(query)

    async def facts(self, channels: Iterable[str]) -> tuple[ChannelFacts, ...]:
        return await self._database.read(lambda connection: tuple(map(partial(_facts, connection), channels)))


def _waits(channel: str) -> ColumnElement[bool]:
    return and_(outbox.c.channel == channel, outbox.c.delivered_at.is_(None), outbox.c.given_up_at.is_(None))


def _facts(connection: Connection, channel: str) -> ChannelFacts:
    waiting, oldest = connection.execute(select(func.count(), func.min(outbox.c.at)).where(_waits(channel))).one()
    delivered = connection.scalar(
        select(outbox.c.delivered_at)
        .where(outbox.c.channel == channel, outbox.c.delivered_at.is_not(None))
        .order_by(outbox.c.arrival.desc())
        .limit(1)
    )
    return ChannelFacts(channel=channel, waiting=waiting, oldest=oldest, delivered_at=delivered)
