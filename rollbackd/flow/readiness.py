"""Would a rollback of this service work now? Everything that it would need is really asked for, while nothing burns.

Queries are run, programs and credentials looked for, the target chosen and the running version asked, exactly as an incident would.
What cannot be found out is unknown, and unknown is never ready (I15). Nothing here changes anything but the release register, which
every look keeps up to date.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from rollbackd.action.commands import Commands
from rollbackd.action.needs import check_commands, check_credentials
from rollbackd.action.probe import Prober
from rollbackd.clock import Clock
from rollbackd.decision.record import size
from rollbackd.errors import RollbackdError
from rollbackd.flow import measurable
from rollbackd.flow.way_back import Known, Running, check_running, check_target
from rollbackd.model.decision import RoomFacts
from rollbackd.model.policy import ApiSource, CommandSource, Indicator, ServicePolicy
from rollbackd.model.readiness import RUNBOOK, Readiness, ReadinessCheck, ReadinessVerdict
from rollbackd.model.release import Release
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.prometheus.servers import ask_server
from rollbackd.releases import command
from rollbackd.releases.sources import Sources
from rollbackd.store.releases import Releases
from rollbackd.supervisor import together
from rollbackd.telemetry.redaction import harmless

AT_ONCE: Final = 4
"""Services that are looked at at the same time; of each Prometheus server one indicator at a time is asked."""

_MEND_SOURCE: Final = "mend what stands under 'releases', or what it asks"
WhatIsKnown = Callable[[ServicePolicy], Awaitable[Known | None]]


class Examiner:
    """`clients` are its own: an incident that comes meanwhile waits for none of its queries. `room` is left out where there is no store."""

    def __init__(
        self,
        *,
        clients: Mapping[str, PrometheusClient],
        commands: Commands,
        prober: Prober,
        known: WhatIsKnown,
        clock: Clock,
        room: Callable[[], Awaitable[RoomFacts]] | None = None,
    ) -> None:
        self._clients = clients
        self._measurer = Measurer(clients)
        self._commands = commands
        self._prober = prober
        self._known = known
        self._room = room
        self._clock = clock
        self._few = asyncio.Semaphore(AT_ONCE)
        self._one_by_one: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def examine(self, policy: ServicePolicy) -> Readiness:
        async with self._few:
            now = self._clock.now()
            async with together() as group:
                measured = group.create_task(self._measured(policy))
                way_back = group.create_task(self._way_back(policy, now))
            found = (
                _runbook(policy),
                *measured.result(),
                *check_commands(policy, self._commands),
                *check_credentials(policy),
                *way_back.result(),
                *([check_room(await self._room())] if self._room is not None and policy.runbook is not None else ()),
            )
        checks = tuple(replace(check, detail=harmless(check.detail)) for check in found)
        return Readiness(service=policy.name, at=now, checks=checks)

    async def _measured(self, policy: ServicePolicy) -> tuple[ReadinessCheck, ...]:
        """The server first: one that does not answer is asked once, and not for every indicator until each has timed out."""
        windows = _indicators(policy)
        async with self._one_by_one[policy.prometheus]:
            server = await ask_server(policy.prometheus, self._clients[policy.prometheus])
            if server.problem:
                told = (measurable.unmeasured(indicator, "its Prometheus server cannot be relied on now") for indicator, _ in windows)
                return _server(ReadinessVerdict.NOT_READY, server.problem), *told
            checks = [await self._indicator(policy, indicator, window) for indicator, window in windows]
        return _server(ReadinessVerdict.READY, f"{policy.prometheus} answers, and its clock is right"), *checks

    async def _indicator(self, policy: ServicePolicy, indicator: Indicator, window: timedelta) -> ReadinessCheck:
        evidence = await self._measurer.evidence(policy, indicator, now=self._clock.now(), lookback=timedelta(), pool_window=window)
        return measurable.judge(policy, indicator, evidence)

    async def _way_back(self, policy: ServicePolicy, now: datetime) -> tuple[ReadinessCheck, ...]:
        try:
            known = await self._known(policy)
        except RollbackdError as e:
            known = Known((), str(e))
        return check_target(policy, known, now), check_running(policy, known, await self._running(policy))

    async def _running(self, policy: ServicePolicy) -> Running | None:
        if policy.running_version is None:
            return None
        answer = await self._prober.ask(policy.running_version, policy)
        return Running(answer.answers) if answer.answers else Running(problem=answer.reason)


def check_room(room: RoomFacts) -> ReadinessCheck:
    """As the guard sees it: without room for its journal no run starts by itself."""
    needed = f"{size(room.needed)} for the journal of one run"
    match room:
        case RoomFacts(is_held=None):
            verdict, detail = ReadinessVerdict.UNKNOWN, f"whether {needed} are held cannot be seen: {room.problem}"
        case RoomFacts(is_held=True, problem=""):
            verdict, detail = ReadinessVerdict.READY, f"{needed} are held"
        case _:
            verdict, detail = ReadinessVerdict.NOT_READY, f"{room.problem or f'no room to hold {needed}'}: free space on the store's disk"
    return ReadinessCheck(name="store", verdict=verdict, detail=detail)


def recorded(sources: Sources, releases: Releases) -> WhatIsKnown:
    """What the register knows, once the service's own source has been asked."""

    async def known(policy: ServicePolicy) -> Known:
        refreshed = await sources.refresh(policy)
        return Known(_newest_first(await releases.of_service(policy.name)), refreshed.problem and f"{refreshed.problem}: {_MEND_SOURCE}")

    return known


def listed(run: command.RunSource) -> WhatIsKnown:
    """What the service's own source lists, without a register: None where only the register knows."""

    async def known(policy: ServicePolicy) -> Known | None:
        match policy.releases:
            case ApiSource():
                return None
            case CommandSource() as source:
                try:
                    return Known(await command.ask(run, policy, source))
                except RollbackdError as e:
                    return Known((), f"{e}: {_MEND_SOURCE}")

    return known


def _newest_first(releases: tuple[Release, ...]) -> tuple[Release, ...]:
    return tuple(sorted(releases, key=lambda release: release.started_at, reverse=True))


def _indicators(policy: ServicePolicy) -> list[tuple[Indicator, timedelta]]:
    """Each once, with the longest window over which its counts are pooled."""
    used = [(trigger.indicator, max(trigger.hold_for, trigger.indicator.window)) for trigger in policy.triggers]
    used += [(objective.indicator, objective.indicator.window) for objective in policy.objectives]
    longest: dict[str, tuple[Indicator, timedelta]] = {}
    for indicator, window in used:
        before = longest.get(indicator.name)
        longest[indicator.name] = (indicator, max(window, before[1]) if before else window)
    return list(longest.values())


def _runbook(policy: ServicePolicy) -> ReadinessCheck:
    """That propose and auto have one is the config's to demand."""
    if policy.runbook is None:
        return ReadinessCheck(name=RUNBOOK, verdict=ReadinessVerdict.NOT_APPLICABLE, detail="observed only, without a runbook")
    return ReadinessCheck(name=RUNBOOK, verdict=ReadinessVerdict.READY, detail=policy.runbook.name, about=("runbook",))


def _server(verdict: ReadinessVerdict, detail: str) -> ReadinessCheck:
    return ReadinessCheck(name="prometheus", verdict=verdict, detail=detail, about=("prometheus",))
