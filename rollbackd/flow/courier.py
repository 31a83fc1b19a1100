"""Brings what is in the outbox to the channels: each by a task of its own, so that one that is dead delays no other, and no rollback."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from rollbackd.clock import Clock
from rollbackd.errors import NotFoundError, RollbackdError, TemporaryError
from rollbackd.failpoints import reach
from rollbackd.flow.trouble import Trouble
from rollbackd.model.incident import Severity
from rollbackd.model.message import Message, Topic
from rollbackd.notify import channels
from rollbackd.notify.words import letter
from rollbackd.settings.effective import Channel, Settings
from rollbackd.settings.suggest import unknown
from rollbackd.store.outbox import Waiting
from rollbackd.store.store import Store
from rollbackd.supervisor import Supervisor
from rollbackd.telemetry.metrics import Metrics

GIVEN_UP_AFTER: Final = timedelta(hours=24)
FIRST_PAUSE: Final = timedelta(seconds=10)
LONGEST_PAUSE: Final = timedelta(minutes=15)

_LOOKS_EVERY: Final = timedelta(minutes=1)
_AT_ONCE: Final = 50
_OTHERS_FIRST: Final = 6
"""A message that failed so often, for about ten minutes, lets younger ones go first: it may be the one thing that the channel refuses."""

_log: Final = structlog.get_logger("courier")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How a channel stands. `error` is why the last try failed, empty when it did not; `oldest` is when the oldest that waits was put."""

    channel: str
    waiting: int
    oldest: datetime | None
    delivered_at: datetime | None
    error: str


@dataclass(slots=True)
class _Round:
    """What one channel's task remembers, and a new process need not know."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    error: str = ""
    failures: int = 0  # in a row
    failed: dict[int, int] = field(default_factory=dict)  # how often, by message


class Courier:
    def __init__(self, *, store: Store, settings: Callable[[], Settings], supervisor: Supervisor, metrics: Metrics, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._supervisor = supervisor
        self._metrics = metrics
        self._clock = clock
        self._rounds: dict[str, _Round] = {}

    async def post(self, message: Message) -> None:
        """Keep it for every channel that wants to hear of such; returns when it is durable, and waits for no channel."""
        names = [channel.name for channel in self._settings().channels if message.is_for(channel.min_severity)]
        await self._store.outbox.put(message, names, self._clock.now())
        for name in names:
            if name in self._rounds:
                self._rounds[name].news.set()

    async def run(self) -> None:
        """For ever: a task for each channel of the config in use."""
        trouble = Trouble()
        while True:
            for channel in self._settings().channels:
                if channel.name not in self._rounds:
                    self._rounds[channel.name] = _Round()
                    self._supervisor.spawn(f"channel {channel.name}", self._serve(channel.name))
            try:
                self._metrics.messages_wait({one.channel: one.oldest for one in await self.deliveries()})
                trouble = Trouble()
            except RollbackdError as e:
                trouble = trouble.after(e)
                trouble.say("outbox_not_looked_after", e)
            await self._clock.sleep(_LOOKS_EVERY)

    async def deliveries(self) -> tuple[Delivery, ...]:
        """How each channel stands."""
        found = await self._store.outbox.facts(channel.name for channel in self._settings().channels)
        return tuple(
            Delivery(
                channel=one.channel,
                waiting=one.waiting,
                oldest=one.oldest,
                delivered_at=one.delivered_at,
                error=self._rounds[one.channel].error if one.channel in self._rounds else "",
            )
            for one in found
        )

    async def give_up(self) -> None:
        """What no channel has taken for a day is of no use any more; nor is what waits for a channel that is in no config."""
        now = self._clock.now()
        for name, count in (await self._store.outbox.give_up(now - GIVEN_UP_AFTER, now)).items():
            _log.error("messages_given_up", channel=name, messages=count, after_hours=GIVEN_UP_AFTER // timedelta(hours=1))
            self._metrics.messages_given_up(name, count)

    async def test(self, name: str | None) -> dict[str, str]:
        """Send a message that says so to one channel, or to all, now and beside the outbox: why it was not taken, by channel, or "".

        Raises NotFoundError: there is no such channel.
        """
        known = {channel.name: channel for channel in self._settings().channels}
        if name is not None and name not in known:
            raise NotFoundError(f"no channel {name!r} in the config: {unknown(name, known)}")
        chosen = list(known.values()) if name is None else [known[name]]
        now = self._clock.now()
        text = "rollbackd can reach this channel"
        message = Message(id=f"test-{int(now.timestamp() * 1000)}", topic=Topic.TEST, severity=Severity.INFO, text=text)
        tried = await asyncio.gather(*(self._tried(channel, message) for channel in chosen))
        return {channel.name: why for channel, why in zip(chosen, tried, strict=True)}

    async def _tried(self, channel: Channel, message: Message) -> str:
        try:
            await self._send(channel, message)
        except TemporaryError as e:
            return str(e)
        return ""

    def _channel(self, name: str) -> Channel | None:
        return next((channel for channel in self._settings().channels if channel.name == name), None)

    async def _serve(self, name: str) -> None:
        """Until it is in the config no more."""
        mine, trouble = self._rounds[name], Trouble()
        while (channel := self._channel(name)) is not None:
            mine.news.clear()
            try:
                pause = await self._deliver(channel, mine)
                trouble = Trouble()
            except Exception as e:  # noqa: BLE001 - said, and tried again: what is in the outbox is not lost
                trouble = trouble.after(e)
                trouble.say("channel_stuck", e)
                pause = trouble.pause
            if pause:
                await self._clock.sleep(pause)
            elif pause is None:
                await self._news(mine)
        del self._rounds[name]

    async def _news(self, mine: _Round) -> None:
        """Or the time to look whether the channel is in the config still."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOKS_EVERY.total_seconds()):
                await mine.news.wait()

    async def _deliver(self, channel: Channel, mine: _Round) -> timedelta | None:
        """The next message. How long to wait then; None: until there is another one."""
        waiting = await self._store.outbox.waiting(channel.name, _AT_ONCE)
        mine.failed = {one.arrival: mine.failed[one.arrival] for one in waiting if one.arrival in mine.failed}
        if not waiting:
            return None
        message = _next(waiting, mine)
        try:
            await self._send(channel, message.record)
        except TemporaryError as e:
            mine.failures += 1
            mine.failed[message.arrival] = mine.failed.get(message.arrival, 0) + 1
            pause: timedelta = min(FIRST_PAUSE * int(2 ** min(mine.failures - 1, 10)), LONGEST_PAUSE)
            if e.retry_after is not None:
                pause = min(max(pause, e.retry_after), LONGEST_PAUSE)
            mine.error = str(e)
            self._metrics.message_failed(channel.name)
            _log.warning(
                "message_not_delivered", channel=channel.name, error=mine.error, message=message.record.id, retry_in=pause.total_seconds()
            )
            return pause
        await reach("message.after_sent")
        await self._store.outbox.delivered(message.arrival, self._clock.now())
        mine.failures, mine.error = 0, ""
        self._metrics.message_delivered(channel.name)
        return timedelta(0)

    async def _send(self, channel: Channel, message: Message) -> None:
        settings = self._settings()
        contacts = [one for one in settings.contacts if one.channel == channel.name]
        said = letter(message, channel.language, contacts=contacts, url=settings.server.external_url)
        await channels.send(channel, message, said, self._clock.now())


def _next(waiting: Iterable[Waiting], mine: _Round) -> Waiting:
    return min(waiting, key=lambda one: (mine.failed.get(one.arrival, 0) >= _OTHERS_FIRST, one.arrival))
