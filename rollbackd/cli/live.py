"""`rollbackd check --live`: the checks of a running daemon, from the config alone. Nothing is stored, and nothing is changed."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rollbackd.action.commands import Commands
from rollbackd.action.environment import Environments
from rollbackd.action.probe import Prober
from rollbackd.action.process import Processes
from rollbackd.clock import SystemClock
from rollbackd.errors import RollbackdError
from rollbackd.flow import advice
from rollbackd.flow.readiness import Examiner, listed
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.readiness import Readiness
from rollbackd.prometheus.answer import AlertRule
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.settings.effective import Settings
from rollbackd.settings.load import Loaded
from rollbackd.settings.problems import Level, Problem
from rollbackd.settings.secrets import read_secret
from rollbackd.store.sqlite import path_of
from rollbackd.supervisor import together
from rollbackd.telemetry.redaction import register_secret


@dataclass(frozen=True, slots=True)
class Live:
    """`problems` are errors where a service is not ready, and warnings, each at the setting that it speaks of."""

    services: tuple[Readiness, ...]
    problems: tuple[Problem, ...]


def look(loaded: Loaded) -> Live:
    return asyncio.run(_look(loaded))


async def _look(loaded: Loaded) -> Live:
    settings, clock = loaded.settings, SystemClock()
    async with _clients(settings, clock) as clients:
        measurer = Measurer(clients)
        commands = Commands(Processes(), Environments(os.environ, _secret), cwd=_start_directory(settings))
        examiner = Examiner(
            clients=clients,
            commands=commands,
            prober=Prober(commands, measurer, clock),
            known=listed(commands.ask_source),
            clock=clock,
        )
        async with together() as group:
            rules = {name: group.create_task(_rules(client)) for name, client in clients.items()}
            services = [group.create_task(examiner.examine(policy)) for policy in settings.services.values()]
        warnings = [
            _problem(loaded, name, one.about, one.message, Level.WARNING)
            for name, policy in settings.services.items()
            for one in (*_on_rules(policy, rules[policy.prometheus].result()), *await advice.on_buckets(policy, measurer, clock.now()))
        ]
    found = tuple(service.result() for service in services)
    errors = [
        _problem(loaded, one.service, check.about, f"{one.service}: {check.name}: {check.detail}", Level.ERROR)
        for one in found
        for check in one.problems
    ]
    return Live(found, (*errors, *dict.fromkeys(warnings)))


def _on_rules(policy: ServicePolicy, rules: tuple[AlertRule, ...] | str) -> tuple[advice.Advice, ...]:
    if isinstance(rules, str):
        return (advice.Advice(("prometheus",), f"the alert rules cannot be compared: {rules}"),)
    return advice.on_rules(policy, rules)


async def _rules(client: PrometheusClient) -> tuple[AlertRule, ...] | str:
    """What the server evaluates, or why that cannot be told."""
    try:
        return await client.alert_rules()
    except RollbackdError as e:
        return str(e)


def _problem(loaded: Loaded, service: str, about: tuple[str | int, ...], message: str, level: Level) -> Problem:
    place = loaded.places[service].at(*about)
    return Problem(place.document.file, *place.position(), message, level)


def _start_directory(settings: Settings) -> Path:
    """Where the daemon's commands start; on a machine that has no store yet, beside the config."""
    directory = path_of(settings.store_url).parent
    return directory if directory.is_dir() else settings.path.parent


@asynccontextmanager
async def _clients(settings: Settings, clock: SystemClock) -> AsyncIterator[Mapping[str, PrometheusClient]]:
    clients = {name: PrometheusClient(server, clock) for name, server in settings.prometheus.items()}
    try:
        yield clients
    finally:
        for client in clients.values():
            await client.close()


def _secret(path: str) -> str:
    return register_secret(read_secret(Path(path))).reveal()
