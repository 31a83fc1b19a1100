"""Reads the config again: parse, validate, build, swap. Whatever is wrong leaves the one in use as it is, and says so (I12).

The swap is one assignment. An open incident goes on with the config that is pinned to it, also when its service is in no config any
more, and may ask the Prometheus server that it began with.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog

from rollbackd.action.journal import room_for_any
from rollbackd.clock import Clock
from rollbackd.errors import PermanentError, RollbackdError
from rollbackd.flow.in_use import Config, InUse, prepare
from rollbackd.model.audit import DONE, Caller
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.settings import only_at_start
from rollbackd.settings.effective import Settings
from rollbackd.settings.load import load
from rollbackd.settings.problems import InvalidConfigError, Problem
from rollbackd.store.store import Store
from rollbackd.supervisor import Supervisor
from rollbackd.telemetry.metrics import Metrics

SIGNAL: Final = "SIGHUP"

_log: Final = structlog.get_logger("config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a reload changed, in names of services; `changed` are also those whose Prometheus server is another one."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why the last reload changed nothing; a line for each problem."""

    at: datetime
    problems: tuple[str, ...]


class Reloads:
    """`follow` is told what changed, once it has."""

    def __init__(
        self, *, in_use: InUse, store: Store, metrics: Metrics, clock: Clock, supervisor: Supervisor, follow: Callable[[Changes], None]
    ) -> None:
        self.in_use = in_use
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._supervisor = supervisor
        self._follow = follow
        self._one_at_a_time = asyncio.Lock()
        self._gone: dict[str, datetime] = {}  # by server: since when it is in no config
        self.refusal: Refusal | None = None
        metrics.config_taken(in_use.config.read_at)

    async def run(self, asked: asyncio.Event) -> None:
        """For ever: once for however often it was asked meanwhile."""
        while True:
            await asked.wait()
            asked.clear()
            with suppress(RollbackdError):  # said, and kept in `refusal`
                await self.reload(by=Caller(SIGNAL))

    async def reload(self, *, by: Caller) -> Changes:
        """Raises InvalidConfigError with everything that is wrong, or what else kept it from being read; then nothing has changed."""
        async with self._one_at_a_time:
            before = self.in_use.config
            try:
                config, warnings = await asyncio.to_thread(self._read, before)
            except Exception as e:
                refused = self._refused(e)
                await self._audit(by, "", str(refused))
                raise refused from e
            changes = _changes(before.settings, config.settings, warnings)
            self._take(before, config)
            self._store.hold(room_for_any(config.settings.services.values()))
            self._follow(changes)
            await self._say(changes)
            await self._audit(by, f"{len(changes.added)} added, {len(changes.removed)} removed, {len(changes.changed)} changed", DONE)
            return changes

    async def sweep(self) -> None:
        """Close the clients of servers that are gone, once no incident is open that began while they were there."""
        async with self._one_at_a_time:
            opened = [one.opened_at for one in await self._store.incidents.open_ones()] if self._gone else []
            done = [name for name, since in self._gone.items() if not any(at <= since for at in opened)]
            for name in done:
                del self._gone[name]
                config = self.in_use.config
                left = {other: client for other, client in config.clients.items() if other != name}
                self.in_use.config = replace(config, clients=left)
                self._close(name, config.clients[name])

    def _read(self, before: Config) -> tuple[Config, tuple[Problem, ...]]:
        now = self._clock.now()
        loaded = load(before.settings.path)
        only_at_start.check(before.settings, loaded)
        return prepare(loaded.settings, read_at=now, clock=self._clock, metrics=self._metrics, before=before), loaded.problems

    def _take(self, before: Config, config: Config) -> None:
        """The clients of a server that is gone stay for a while; those of one that is another now have only to finish."""
        servers, now = config.settings.prometheus, self._clock.now()
        self._gone = {name: self._gone.get(name, now) for name in before.clients if name not in servers}
        kept = {name: before.clients[name] for name in self._gone}
        self.in_use.config = replace(config, clients={**kept, **config.clients})
        self.refusal = None
        self._metrics.config_taken(config.read_at)
        for name, client in _left(before.clients, self.in_use.config.clients):
            self._close(name, client)
        for name, client in _left(before.spare, config.spare):
            self._close(name, client)
        for name, client in _left(config.clients, before.clients):
            self._supervisor.spawn(f"warm up {name}", client.warm_up())

    def _close(self, name: str, client: PrometheusClient) -> None:
        self._supervisor.spawn(f"close {name}", client.close())

    def _refused(self, error: Exception) -> RollbackdError:
        if not isinstance(error, RollbackdError):
            _log.error("config_not_read", exc_info=error)
            error = PermanentError("an error in rollbackd kept the config from being read: its log says more")
        problems = tuple(map(str, error.problems)) if isinstance(error, InvalidConfigError) else (str(error),)
        self.refusal = Refusal(at=self._clock.now(), problems=problems)
        self._metrics.config_refused()
        _log.error("config_refused", problems=problems, consequence="the one before it stays in use")
        return error

    async def _say(self, changes: Changes) -> None:
        _log.info("config_read", added=changes.added, removed=changes.removed, changed=changes.changed)
        for problem in changes.warnings:
            _log.warning("config", problem=str(problem))
        if changes.removed:
            with suppress(RollbackdError):  # the log must not cost the reload, which is done
                for incident in await self._store.incidents.open_ones():
                    if incident.service in changes.removed:
                        _log.warning(
                            "service_removed", service=incident.service, incident=incident.id, goes_on="with the config it began with"
                        )

    async def _audit(self, by: Caller, what: str, result: str) -> None:
        """Of what is done, or not to be done, already: a store that cannot be written now has said so itself."""
        with suppress(RollbackdError):
            path = str(self.in_use.config.settings.path)
            await self._store.audit.append(self._clock.now(), by.name, "reload", path, what, remote=by.remote, result=result)


def _left(clients: Mapping[str, PrometheusClient], others: Mapping[str, PrometheusClient]) -> list[tuple[str, PrometheusClient]]:
    """Those that are not among the others."""
    return [(name, client) for name, client in clients.items() if others.get(name) is not client]


def _changes(old: Settings, new: Settings, warnings: tuple[Problem, ...]) -> Changes:
    def is_changed(name: str) -> bool:
        before, after = old.services[name], new.services[name]
        return before != after or old.prometheus[before.prometheus] != new.prometheus[after.prometheus]

    return Changes(
        added=tuple(name for name in new.services if name not in old.services),
        removed=tuple(name for name in old.services if name not in new.services),
        changed=tuple(name for name in new.services if name in old.services and is_changed(name)),
        warnings=warnings,
    )
