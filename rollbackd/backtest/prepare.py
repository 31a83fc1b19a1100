"""Sets a backtest up from a config and its files: which alerts, which releases and changes, and servers that answer."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rollbackd.backtest import alerts as firing
from rollbackd.backtest import sources
from rollbackd.backtest.files import Files
from rollbackd.backtest.past import PastAlert, PastChanges, PastReleases, Recorded
from rollbackd.backtest.run import Backtest, services_of
from rollbackd.clock import Clock
from rollbackd.errors import MisconfiguredError
from rollbackd.model.policy import ServicePolicy
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.settings.effective import Settings
from rollbackd.store.sqlite import path_of
from rollbackd.supervisor import together


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From `start` to `end`, both included; None: no end on that side."""

    start: datetime | None
    end: datetime | None

    def holds(self, at: datetime) -> bool:
        return (self.start is None or self.start <= at) and (self.end is None or at <= self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    backtest: Backtest
    alerts: tuple[PastAlert, ...]
    warnings: tuple[str, ...]


@asynccontextmanager
async def prepared(
    settings: Settings, files: Files, period: Period, clock: Clock, *, alerts: tuple[PastAlert, ...] | None = None
) -> AsyncIterator[Prepared]:
    """For as long as the block lasts its servers can be asked. `alerts` stand in the place of those of the files and of Prometheus.

    Raises:
        RollbackdError: a server that is needed does not answer, or neither a file nor a period says which alerts are meant.
    """
    async with AsyncExitStack() as stack:
        servers = {name: PrometheusClient(each, clock) for name, each in settings.prometheus.items()}
        for server in servers.values():
            stack.push_async_callback(server.close)
        if alerts is None:
            alerts = await _alerts(settings, files, period, servers, clock)
        policies = services_of(alerts, settings.services)
        await _answer({policy.prometheus for policy in policies}, servers, clock)
        releases = files.releases if files.releases is not None else await sources.ask(policies, _directory(settings))
        yield Prepared(
            backtest=Backtest(settings.services, servers, releases, files.changes or PastChanges()),
            alerts=alerts,
            warnings=tuple(_warnings(policies, releases, files, settings)),
        )


async def _alerts(
    settings: Settings, files: Files, period: Period, servers: Mapping[str, PrometheusClient], clock: Clock
) -> tuple[PastAlert, ...]:
    if files.alerts is not None:
        return tuple(alert for alert in files.alerts if period.holds(alert.at))
    if period.start is None:
        raise MisconfiguredError("say which alerts: --alerts FILE, or --from TIME to take them from Prometheus")
    return await firing.find(settings.services.values(), servers, period.start, period.end or clock.now())


async def _answer(names: Iterable[str], servers: Mapping[str, PrometheusClient], clock: Clock) -> None:
    """A server that cannot be asked at all is an error, and not a hundred alerts that nothing is known of."""
    async with together() as group:
        for name in names:
            group.create_task(servers[name].query("vector(1)", at=clock.now()))


def _directory(settings: Settings) -> Path:
    """Where the daemon runs commands: beside its store, or beside the config where there is no store yet."""
    directory = path_of(settings.store_url).parent
    return directory if directory.is_dir() else settings.path.absolute().parent


def _warnings(policies: Iterable[ServicePolicy], releases: PastReleases, files: Files, settings: Settings) -> Iterable[str]:
    problems: dict[str, list[str]] = {}
    for policy in policies:
        if problem := releases.by_service.get(policy.name, Recorded()).problem:
            problems.setdefault(problem, []).append(policy.name)
    for problem, names in problems.items():
        yield f"{_listed(names)}: {problem}"
    told = {"releases": files.releases and files.releases.by_service, "changes": files.changes and files.changes.by_service}
    for kind, by_service in told.items():
        strangers = [name for name in by_service or () if name not in settings.services]
        if strangers:
            yield f"{kind} of {_listed(strangers)}, which the config does not have, are not read"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
