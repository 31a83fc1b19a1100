"""Makes the rounds: every service is looked over at its own interval, and what was found last is kept for whoever asks.

Never in the way of an incident: a service that has one is left alone until it is closed, and while any is being judged or rolled back
nobody is looked over. What was found before then stays, with the time at which it was found.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Final

from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError
from rollbackd.flow.readiness import Examiner
from rollbackd.model.incident import Phase
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.readiness import Readiness, ReadinessVerdict, unchecked
from rollbackd.store.store import Store
from rollbackd.supervisor import together
from rollbackd.telemetry.metrics import Metrics
from rollbackd.telemetry.redaction import harmless
from rollbackd.watch.schedule import Schedule

FIRST_AFTER: Final = timedelta(seconds=2)
"""What a start has to do comes before."""

FIRST_WITHIN: Final = timedelta(seconds=60)
"""The first looks are spread over so much, and with them all that follow."""

_URGENT: Final = frozenset({Phase.DECIDING, Phase.ROLLING_BACK})


class Rounds:
    def __init__(self, *, services: Mapping[str, ServicePolicy], examiner: Examiner, store: Store, metrics: Metrics, clock: Clock) -> None:
        self._services = services
        self._examiner = examiner
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._found: dict[str, Readiness] = {}
        self._since = clock.now()
        self._schedule: Schedule | None = None
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._stopping = asyncio.Event()

    @contextmanager
    def made(self, schedule: Schedule) -> Iterator[None]:
        """For as long as the block lasts. Then what is being looked at is let go of: a slow probe does not hold up the daemon's end."""
        self._schedule = schedule
        self.follow(anew=self._services)
        try:
            yield
        finally:
            self._stopping.set()

    def follow(self, *, anew: Collection[str], gone: Collection[str] = ()) -> None:
        """The services that are `gone` are left alone, and the others looked at `anew`: what was found of them before says nothing now."""
        if self._schedule is None:
            raise AssertionError("the rounds are being made")
        self._metrics.serving({name: policy.mode for name, policy in self._services.items()})
        self._since = self._clock.now()
        for name in (*gone, *anew):
            if self._found.pop(name, None) is not None:
                self._metrics.readiness(name, ReadinessVerdict.NOT_APPLICABLE)
        for name in gone:
            self._schedule.cancel(_job(name))
        for position, name in enumerate(anew):
            policy = self._services[name]
            every = policy.readiness_every
            first = min(FIRST_AFTER, every) + position / len(anew) * min(FIRST_WITHIN, every)
            self._schedule.every(_job(name), every, partial(self._round, policy), first_at=self._since + first)

    def of(self, service: str) -> Readiness:
        """What was found last."""
        return self._found.get(service) or unchecked(service, self._since, "not looked at yet: that is done soon after a start or a reload")

    async def again(self, *, older_than: timedelta, within: timedelta) -> tuple[Readiness, ...]:
        """Of every service, asked anew where what is known is older; what does not answer `within` stays as it was found last."""
        try:
            async with asyncio.timeout(within.total_seconds()), together() as group:
                for policy in self._services.values():
                    group.create_task(self._round(policy, older_than=older_than))
        except TimeoutError:
            pass
        return tuple(self.of(name) for name in self._services)

    async def _round(self, policy: ServicePolicy, *, older_than: timedelta = timedelta()) -> None:
        """What goes wrong in here leaves nothing behind that looks ready (I15)."""
        async with self._one_at_a_time[policy.name]:
            known = self._found.get(policy.name)
            if known is not None and self._clock.now() - known.at < older_than:
                return
            if self._stopping.is_set() or await self._is_in_the_way(policy):
                return
            try:
                found = await self._looked_at(policy)
            except Exception as e:
                why = harmless(f"could not be found out: {str(e) or type(e).__name__}")
                self._keep(policy, unchecked(policy.name, self._clock.now(), why))
                if not isinstance(e, RollbackdError):
                    raise
            else:
                if found is not None:
                    self._keep(policy, found)

    def _keep(self, policy: ServicePolicy, found: Readiness) -> None:
        """Unless the config was read again meanwhile, and this was found of a service as it is no more."""
        if self._services.get(policy.name) == policy:
            self._found[found.service] = found
            self._metrics.readiness(found.service, found.verdict)

    async def _looked_at(self, policy: ServicePolicy) -> Readiness | None:
        """None when the daemon stops meanwhile."""
        async with together() as group:
            looking = group.create_task(self._examiner.examine(policy), name=f"readiness of {policy.name}")
            stopping = group.create_task(self._stopping.wait(), name=f"end of readiness of {policy.name}")
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            looking.cancel()
            stopping.cancel()
        return None if looking.cancelled() else looking.result()

    async def _is_in_the_way(self, policy: ServicePolicy) -> bool:
        return any(one.service == policy.name or one.phase in _URGENT for one in await self._store.incidents.open_ones())


def _job(service: str) -> str:
    return f"readiness of {service}"
