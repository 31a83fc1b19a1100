"""Replays past alerts: for each a virtual clock, and looks with what was known by then, until the decision is final."""

import asyncio
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rollbackd.backtest.history import History as PastSamples
from rollbackd.backtest.history import VirtualClock
from rollbackd.backtest.past import PastAlert, PastChanges, PastReleases
from rollbackd.backtest.remembering import Remembering
from rollbackd.backtest.replay import ALONE, NEVER_KNOWN, Standing, begin, go_on
from rollbackd.backtest.together import Fired, Ledger
from rollbackd.decision.decide import decide
from rollbackd.decision.fleet import facts_of
from rollbackd.decision.record import unrouted
from rollbackd.flow.collect import changes_since
from rollbackd.flow.gather import Gatherer
from rollbackd.intake.routing import Routing
from rollbackd.model.decision import Action, AlertFacts, Case, Decision, FleetFacts, History
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from rollbackd.prometheus.measurer import Server
from rollbackd.supervisor import together

ALERTS_AT_ONCE: Final = 4
QUESTIONS_AT_ONCE: Final = 8  # of one server, as many as a client has threads: none waits so long that it is late


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What would have been decided about one alert. `evidence` is what the decision rests on; None without a service."""

    alert: PastAlert
    service: str | None
    decision: Decision
    looks: int = 0
    evidence: IndicatorEvidence | None = None

    @property
    def took(self) -> timedelta:
        return self.decision.at - self.alert.at


_NO_CHANGES: Final = PastChanges()

OnResult = Callable[[Result], None]


class Backtest:
    """`servers` are the Prometheus servers by name."""

    def __init__(
        self,
        services: Mapping[str, ServicePolicy],
        servers: Mapping[str, Server],
        releases: PastReleases,
        changes: PastChanges = _NO_CHANGES,
    ) -> None:
        self._services = services
        self._routing = Routing(services)
        self._servers = servers
        self._slots = {name: asyncio.Semaphore(QUESTIONS_AT_ONCE) for name in servers}
        self._releases = releases
        self._changes = changes

    async def alone(self, alerts: Sequence[PastAlert], on_result: OnResult) -> None:
        """Each alert by itself, several at once. `on_result` is told of them in their order."""
        in_order = _InOrder(on_result)
        waiting = iter(enumerate(alerts))

        async def work() -> None:
            for position, alert in waiting:
                in_order.add(position, await self._alone(alert))

        async with together() as group:
            for _ in range(ALERTS_AT_ONCE):
                group.create_task(work())

    async def in_time_order(self, alerts: Sequence[PastAlert], on_result: OnResult) -> None:
        """Look by look in the order of time, so that each sees what was done before it. `on_result` is told in the order of `alerts`."""
        in_order = _InOrder(on_result)
        ledger = Ledger()
        scenes = [self._scene(alert) for alert in alerts]
        fired = Fired(((scene.alert.at, scene.policy.name) for scene in scenes if isinstance(scene, _Scene)), self._releases)
        due: list[tuple[datetime, int, _Scene]] = []
        for position, scene in enumerate(scenes):
            if isinstance(scene, Result):
                in_order.add(position, scene)
            else:
                heapq.heappush(due, (scene.alert.at, position, scene))
        while due:
            now, position, scene = heapq.heappop(due)
            trips = fired.trips(scene.alert.at - scene.policy.fleet_brake.within, now)
            await scene.look(
                now,
                history=ledger.history(scene.policy.name, now),
                fleet=facts_of(trips, self._services, scene.policy),
                not_evaluated=NEVER_KNOWN,
            )
            if scene.standing.next_at is not None:
                heapq.heappush(due, (scene.standing.next_at, position, scene))
                continue
            result = scene.result()
            if result.decision.action is Action.ROLL_BACK:
                ledger.roll_back(scene.policy.name, now)
            in_order.add(position, result)

    async def _alone(self, alert: PastAlert) -> Result:
        scene = self._scene(alert)
        if isinstance(scene, Result):
            return scene
        while scene.standing.next_at is not None:
            await scene.look(scene.standing.next_at, history=History(), fleet=FleetFacts(), not_evaluated=ALONE)
        return scene.result()

    def _scene(self, alert: PastAlert) -> "_Scene | Result":
        route = self._routing.route(alert.routed_by)
        if route.service is None or route.trigger is None:
            return Result(alert=alert, service=None, decision=unrouted(route.reason or Reason.NO_SERVICE, alert.at, route.why))
        policy = self._services[route.service]
        standing = begin(policy, alert.at)
        clock = VirtualClock(alert.at)

        async def releases_of(service: str) -> tuple[Release, ...]:
            return self._releases.of_service(service, clock.instant).releases

        samples = {
            name: PastSamples(server, clock, every=policy.recheck_every, until=standing.gives_up_at, slots=self._slots[name])
            for name, server in self._servers.items()
        }
        return _Scene(
            alert=alert,
            trigger=route.trigger,
            policy=policy,
            clock=clock,
            gatherer=Gatherer(Remembering(samples), self._services, releases_of),
            releases=self._releases,
            changes=self._changes,
            standing=standing,
        )


@dataclass(slots=True, kw_only=True)
class _Scene:
    """One past alert while it is being judged. Nothing that a person knows about it afterwards is in here."""

    alert: PastAlert
    trigger: str
    policy: ServicePolicy
    clock: VirtualClock
    gatherer: Gatherer
    releases: PastReleases
    changes: PastChanges
    standing: Standing
    evidence: Mapping[str, IndicatorEvidence] | None = None

    async def look(self, now: datetime, *, history: History, fleet: FleetFacts, not_evaluated: AbstractSet[Reason]) -> None:
        self.clock.instant = now
        self.evidence = await self.gatherer.evidence(self.policy, now, known_for=now - self.alert.at)
        recorded = self.releases.of_service(self.policy.name, now)
        case = Case(
            policy=self.policy,
            alert=AlertFacts(name=self.alert.name, trigger=self.trigger, starts_at=self.alert.at, delivered_at=self.alert.at),
            evidence=self.evidence,
            releases=recorded.releases,
            changes=self.changes.of_service(self.policy.name, changes_since(self.policy, self.alert.at), now),
            releases_problem=recorded.problem,
            history=history,
            fleet=fleet,
            not_evaluated=frozenset(not_evaluated),
        )
        self.standing = go_on(self.standing, decide(await self.gatherer.in_context(case, now), now), self.policy)

    def result(self) -> Result:
        decision = self.standing.decision
        assert decision is not None, "a look was taken"  # noqa: S101 - tells the type checker what `begin` and `go_on` see to
        return Result(
            alert=self.alert,
            service=self.policy.name,
            decision=decision,
            looks=self.standing.looks,
            evidence=(self.evidence or {}).get(decision.trigger or ""),
        )


class _InOrder:
    """Hands on by position what comes in any order."""

    def __init__(self, on_result: OnResult) -> None:
        self._on_result = on_result
        self._next = 0
        self._early: dict[int, Result] = {}

    def add(self, position: int, result: Result) -> None:
        self._early[position] = result
        while self._next in self._early:
            self._on_result(self._early.pop(self._next))
            self._next += 1


def services_of(alerts: Iterable[PastAlert], services: Mapping[str, ServicePolicy]) -> tuple[ServicePolicy, ...]:
    """The services that the alerts are about, each once."""
    routing = Routing(services)
    names = dict.fromkeys(routing.route(alert.routed_by).service for alert in alerts)
    return tuple(services[name] for name in names if name is not None)
