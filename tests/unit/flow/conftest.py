"""The real store and the real conductor between stations that a test writes; sleeping costs no time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rollbackd.flow.bell import Bell
from rollbackd.flow.conductor import Conductor, Stations
from rollbackd.flow.move import Move
from rollbackd.flow.pinned import Pinned
from rollbackd.flow.reporting import Reporting
from rollbackd.flow.story import Story
from rollbackd.model.alert import AlertEvent, AlertStatus
from rollbackd.model.incident import Incident, Phase, Severity
from rollbackd.model.message import Topic
from rollbackd.model.policy import Mode, ServicePolicy
from rollbackd.notify.teller import Teller
from rollbackd.settings import snapshot
from rollbackd.settings.effective import ServerSettings, Settings
from rollbackd.store.store import Store
from rollbackd.supervisor import Supervisor
from rollbackd.telemetry.metrics import Metrics
from tests.fakes.policies import service

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
POLICY = replace(service("api"), mode=Mode.AUTO)
SETTINGS = Settings(
    path=Path("/nowhere/rollbackd.yaml"),
    server=ServerSettings(),
    ingest_token_file=None,
    people=(),
    prometheus={},
    store_url="sqlite:////nowhere/rollbackd.db",
    services={"api": POLICY},
)

Station = Callable[[Incident, ServicePolicy], Awaitable[Move]]


class SetClock:
    """Goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.instant = NOW

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    async def sleep(self, duration: timedelta) -> None:
        self.instant += duration
        await asyncio.sleep(0)


class RecordingTeller(Teller):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, Severity]] = []

    async def tell(self, incident: Incident, severity: Severity, text: str, topic: Topic | None = None) -> None:
        self.told.append((incident.outcome or incident.phase, severity))


async def unexpected(incident: Incident, _policy: ServicePolicy) -> Move:
    raise AssertionError(f"nobody expected {incident.phase}")


class Stage:
    """`stations` are asked by phase; what is not there is not expected."""

    def __init__(self, store: Store, clock: SetClock, directory: Path) -> None:
        self.store = store
        self.clock = clock
        self.stations: dict[Phase, Station] = {}
        self.left: list[str] = []
        self.leaving: Exception | None = None
        self.bell = Bell()
        self.teller = RecordingTeller()
        self.metrics = Metrics()
        self.pinned = Pinned(store)
        self.reporting = Reporting(store=store, pinned=self.pinned, settings=lambda: SETTINGS, directory=directory / "reports", clock=clock)
        self.story = Story(metrics=self.metrics, teller=self.teller, reporting=self.reporting, clock=clock)

    @asynccontextmanager
    async def conducting(self, services: Mapping[str, ServicePolicy] | None = None) -> AsyncIterator[Conductor]:
        def station(phase: Phase) -> Station:
            async def ask(incident: Incident, policy: ServicePolicy) -> Move:
                return await self.stations.get(phase, unexpected)(incident, policy)

            return ask

        async def leave(incident: Incident, why: str) -> None:
            self.left.append(f"{incident.id}: {why}")
            if self.leaving is not None:
                raise self.leaving

        async with Supervisor() as supervisor:
            conductor = Conductor(
                services=services or {"api": POLICY},
                store=self.store,
                stations=Stations(
                    deciding=station(Phase.DECIDING),
                    proposed=station(Phase.PROPOSED),
                    escalated=station(Phase.ESCALATED),
                    rolling_back=station(Phase.ROLLING_BACK),
                    watching=station(Phase.WATCHING),
                    leave=leave,
                ),
                pinned=self.pinned,
                story=self.story,
                bell=self.bell,
                supervisor=supervisor,
                clock=self.clock,
            )
            yield conductor

    async def open(self, identifier: str = "i1", **changes: Any) -> Incident:
        """An incident that an earlier process left in the store."""
        digest = await self.store.snapshots.put(snapshot.dump(POLICY))
        plain = Incident(
            id=identifier, service="api", trigger="HighErrorRate", phase=Phase.DECIDING, mode=Mode.AUTO, snapshot=digest, opened_at=NOW
        )
        incident = replace(plain, **changes)
        assert await self.store.incidents.open(incident, None, ())
        return incident

    async def told(self, identifier: str = "i1") -> Incident:
        """The incident, once it is closed and told."""

        async def is_told() -> bool:
            return (await self.store.incidents.get(identifier)).told_at is not None

        await eventually(is_told)
        return await self.store.incidents.get(identifier)

    async def taken(self) -> None:
        """Once every alert is."""

        async def is_empty() -> bool:
            return not await self.store.alerts.unhandled(limit=1)

        await eventually(is_empty)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - the store tells nobody of what is only read
            await asyncio.sleep(0.005)


def alert(**changes: Any) -> AlertEvent:
    event = AlertEvent(
        fingerprint="f1",
        starts_at=NOW,
        status=AlertStatus.FIRING,
        ends_at=None,
        labels={"alertname": "HighErrorRate", "service": "api"},
        received_at=NOW,
        service="api",
        trigger="HighErrorRate",
    )
    return replace(event, **changes)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged; rendering the tracebacks of bugs would take longer than the tests."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def store(tmp_path: Path, clock: SetClock) -> AsyncIterator[Store]:
    async with Store.opened(f"sqlite:///{tmp_path}/state/rollbackd.db", clock=clock) as opened:
        yield opened


@pytest.fixture
def stage(store: Store, clock: SetClock, tmp_path: Path) -> Stage:
    return Stage(store, clock, tmp_path)
