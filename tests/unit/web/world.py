"""A real server on a free port, over a real store; only the operator is a stand-in, which writes down what it was asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web
from structlog.testing import capture_logs
from structlog.typing import EventDict

from rollbackd.clock import SystemClock
from rollbackd.flow.by_hand import Wish
from rollbackd.flow.courier import Delivery
from rollbackd.flow.doctor import Diagnosis
from rollbackd.flow.in_use import InUse, prepare
from rollbackd.flow.pinned import Pinned
from rollbackd.flow.reload import Changes, Refusal
from rollbackd.flow.reporting import Reporting
from rollbackd.intake.webhook import Webhook
from rollbackd.model.attempt import AttemptStatus
from rollbackd.model.audit import Caller
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import PauseFacts
from rollbackd.model.incident import Incident
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.readiness import Readiness, ReadinessCheck, ReadinessVerdict
from rollbackd.model.release import Mark, Release
from rollbackd.prometheus.servers import ServerAnswer
from rollbackd.releases.register import ReleaseReport
from rollbackd.settings.effective import Person, Role, ServerSettings, Settings
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry
from rollbackd.telemetry.metrics import Metrics
from rollbackd.web.deps import DaemonStatus, Deps
from rollbackd.web.server import build
from tests.unit.web.samples import ATTEMPTS, BLAMED, LOOKS, NOW, PLAN, POLICY, TIMELINE, V1, V2, incident, recovered

TOKENS: Final = {role: f"the-{role}-token" for role in Role}


class FixedClock(SystemClock):
    def now(self) -> datetime:
        return NOW


@dataclass
class StandIn:
    """What the web room asks of `flow`, with the answers that a test gives it."""

    incident: Incident = field(default_factory=incident)
    created: bool = True
    resumed: bool = True
    planned: Plan = PLAN
    raises: Exception | None = None
    refusal: Refusal | None = None
    asked: list[tuple[object, ...]] = field(default_factory=list)

    async def reload(self, by: Caller) -> Changes:
        self._ask("reload", by.name)
        return Changes(added=("basket",), removed=(), changed=("checkout",))

    def _ask(self, *question: object) -> None:
        self.asked.append(question)
        if self.raises is not None:
            raise self.raises

    async def deliveries(self) -> tuple[Delivery, ...]:
        return ()

    async def test(self, name: str | None) -> dict[str, str]:
        self._ask("notify test", name)
        return {name or "chat": "", "mail": "it answered HTTP 503"}

    async def approve(self, incident_id: str, *, plan: str | None, by: Caller) -> Incident:
        self._ask("approve", incident_id, plan, by.name)
        return self.incident

    async def reject(self, incident_id: str, *, reason: str, by: Caller) -> Incident:
        self._ask("reject", incident_id, reason, by.name)
        return self.incident

    async def abort(self, incident_id: str, *, reason: str, by: Caller) -> Incident:
        self._ask("abort", incident_id, reason, by.name)
        return self.incident

    async def acknowledge(self, incident_id: str, *, reason: str, by: Caller) -> Incident:
        self._ask("acknowledge", incident_id, reason, by.name)
        return self.incident

    async def pause(self, service: str | None, *, duration: timedelta, reason: str, by: Caller) -> PauseFacts:
        self._ask("pause", service, duration, reason, by.name)
        return PauseFacts(paused=True, scope=service or "global", until=NOW + duration, why=reason)

    async def resume(self, service: str | None, *, by: Caller) -> bool:
        self._ask("resume", service, by.name)
        return self.resumed

    async def tick(self, incident_id: str, step: str, *, by: Caller) -> Incident:
        self._ask("tick", incident_id, step, by.name)
        return self.incident

    async def plan(self, service: str, *, to: str | None = None, runbook: str | None = None) -> Plan:
        self._ask("plan", service, to, runbook)
        return self.planned

    async def rollback(self, service: str, wish: Wish, *, by: Caller) -> Incident:
        self._ask("rollback", service, wish, by.name)
        return self.incident

    async def run(self, service: str, runbook: str, wish: Wish, *, by: Caller) -> Incident:
        self._ask("run", service, runbook, wish, by.name)
        return self.incident

    async def record_release(self, report: ReleaseReport, *, by: Caller) -> tuple[Release, bool]:
        self._ask("record_release", report, by.name)
        return V2, self.created

    async def record_change(self, service: str, *, kind: ChangeKind, what: str, at: datetime | None, by: Caller) -> tuple[Change, bool]:
        self._ask("record_change", service, kind, what, at, by.name)
        return Change(service=service, kind=kind, what=what, at=at or NOW, by=by.name), self.created

    async def mark(self, service: str, version: str, mark: Mark, *, reason: str, by: Caller) -> Release:
        self._ask("mark", service, version, mark, reason, by.name)
        return replace(V2, mark=mark, mark_reason=reason)


@dataclass
class Health:
    """`checks` are what was found of every service."""

    why_not: str = ""
    store_problem: str = ""
    config_changed: tuple[Path, ...] = ()
    servers: tuple[ServerAnswer, ...] = (ServerAnswer(name="main", clock_offset=timedelta()),)
    checks: tuple[ReadinessCheck, ...] = (ReadinessCheck(name="runbook", verdict=ReadinessVerdict.READY, detail="checkout-quick"),)

    def readiness(self, service: str) -> Readiness:
        return Readiness(service=service, at=NOW, checks=self.checks)

    async def diagnose(self) -> Diagnosis:
        return Diagnosis(
            store_problem=self.store_problem,
            config=Path("/etc/rollbackd/rollbackd.yaml"),
            config_read_at=NOW,
            config_changed=self.config_changed,
            servers=self.servers,
            services=(self.readiness(POLICY.name),),
        )


@dataclass
class World:
    url: str
    config: Path
    store: Store
    operator: StandIn
    http: aiohttp.ClientSession
    runner: web.AppRunner
    logs: list[EventDict]
    health: Health
    asked: asyncio.Queue[str]  # the paths that were answered

    def as_(self, role: Role | None) -> dict[str, str]:
        return {} if role is None else {"Authorization": f"Bearer {TOKENS[role]}"}


@asynccontextmanager
async def serving(directory: Path, *, people: bool = True, external_url: str | None = None) -> AsyncIterator[World]:
    """With `people`, each role has one person with a token of its own; without, the server is open."""
    for role, token in TOKENS.items():
        (directory / f"{role}.token").write_text(token)
    settings = Settings(
        path=directory / "rollbackd.yaml",
        server=ServerSettings(external_url=external_url),
        ingest_token_file=directory / "ingest.token" if people else None,
        people=tuple(Person(name=f"{role}-person", role=role, token_file=directory / f"{role}.token") for role in Role) if people else (),
        prometheus={},
        store_url=f"sqlite:///{directory}/rollbackd.db",
        services={POLICY.name: POLICY},
    )
    clock, operator, metrics, health = FixedClock(), StandIn(), Metrics(), Health()
    in_use = InUse(prepare(settings, read_at=NOW, clock=clock, metrics=metrics))
    with capture_logs() as logs:
        async with Store.opened(settings.store_url, clock=clock) as store, aiohttp.ClientSession() as http:
            reporting = Reporting(store=store, pinned=Pinned(store), settings=in_use.settings, directory=directory, clock=clock)
            application = build(
                Deps(
                    in_use=in_use,
                    store=store,
                    operator=operator,
                    by_hand=operator,
                    courier=operator,
                    reporting=reporting,
                    webhook=Webhook(
                        store=store,
                        route=in_use.route,
                        tokens=in_use.ingest,
                        clock=clock,
                        metrics=metrics,
                        on_stored=lambda: None,
                        on_truncated=lambda missing: None,
                    ),
                    metrics=metrics,
                    clock=clock,
                    readiness=health.readiness,
                    diagnose=health.diagnose,
                    status=lambda: DaemonStatus(started_at=NOW, ready=not health.why_not, why_not=health.why_not, version="0.1.0"),
                    reload=operator.reload,
                    refusal=lambda: operator.refusal,
                )
            )
            asked: asyncio.Queue[str] = asyncio.Queue()

            async def note(request: web.Request, _response: web.StreamResponse) -> None:
                asked.put_nowait(request.path)

            application.on_response_prepare.append(note)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=60)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield World(
                    url=url,
                    config=settings.path,
                    store=store,
                    operator=operator,
                    http=http,
                    runner=runner,
                    logs=logs,
                    health=health,
                    asked=asked,
                )
            finally:
                await runner.cleanup()


async def keep(store: Store, one: Incident, policy: ServicePolicy = POLICY) -> Incident:
    """Put an incident into the store with the config that it started with, as it stands."""
    digest, content = Pinned(store).snapshot_of(policy)
    one = replace(one, snapshot=digest)
    assert await store.incidents.open(one, None, [NewEntry(entry.kind, entry.text, entry.data) for entry in TIMELINE], pinned=content)
    return one


async def keep_recovered(store: Store, **changes: object) -> Incident:
    """One that was rolled back and recovered, with everything that belongs to it."""
    one = await keep(store, recovered(**changes))
    one = await store.incidents.save(one, one, decision=BLAMED)
    for attempt in ATTEMPTS:
        mine = replace(attempt, incident_id=one.id)
        await store.attempts.intend(replace(mine, status=AttemptStatus.INTENDED))
        await store.attempts.ended(mine)
    for look in LOOKS:
        await store.looks.append(one.id, look)
    for release in (V1, V2):
        await store.releases.record(release)
    return one
