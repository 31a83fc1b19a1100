"""All scenarios in one Prometheus, and each replayed by the backtest over it: the code that decides in the daemon."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from rollbackd.backtest.past import PastAlert, PastChanges, PastReleases, Recorded
from rollbackd.backtest.run import Backtest, Result
from rollbackd.clock import SystemClock
from rollbackd.decision.record import stands_in_the_way
from rollbackd.model.change import Change
from rollbackd.model.release import Release, ReleaseStatus
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.settings.effective import Settings
from rollbackd.settings.load import load
from tests.e2e.prometheus import Backfill
from tests.e2e.scenarios import series
from tests.e2e.scenarios.form import Released, Scenario

AT: Final = datetime(2026, 1, 14, 3, 0, tzinfo=UTC)
"""The alert of every scenario: a Wednesday night."""
SHIPPED: Final = Path(__file__).resolve().parents[3] / "config" / "rollbackd.yaml"
RUNBOOK: Final = {"name": "quick", "kind": "quick", "budget": "10m", "steps": [{"name": "deploy", "run": ["true"], "timeout": "1m"}]}


def past(scenarios: Iterable[Scenario]) -> Backfill:
    """The label `scenario` keeps each one's series to itself."""
    backfill = Backfill()
    for scenario in scenarios:
        for name, service in scenario.services.items():
            for source in service.traffic:
                series.add(backfill, source, {"scenario": scenario.name, "service": name}, AT)
    return backfill


def settings(scenario: Scenario, directory: Path, url: str) -> Settings:
    """Indicators and triggers are the shipped ones, so that what is shipped is what is tried; a service has HighErrorRate alone."""
    shipped = _shipped()
    config: dict[str, Any] = {
        "prometheus": {"url": url, "scrape_interval": "15s"},
        "store": {"url": f"sqlite:///{directory}/rollbackd.db"},
        **{section: {**shipped[section], **scenario.config.get(section, {})} for section in ("indicators", "triggers")},
        **{section: value for section, value in scenario.config.items() if section not in {"indicators", "triggers"}},
        "services": {
            name: {
                "selector": f'scenario="{scenario.name}",service="{name}"',
                "triggers": ["HighErrorRate"],
                "objectives": [],
                **service.settings,
            }
            for name, service in scenario.services.items()
        },
    }
    path = directory / f"{scenario.name}.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    runbook = directory / "runbooks" / "quick.yaml"
    runbook.parent.mkdir(exist_ok=True)
    runbook.write_text(json.dumps(RUNBOOK))
    return load(path).settings


@cache
def _shipped() -> dict[str, Any]:
    read: dict[str, Any] = YAML(typ="safe").load(SHIPPED)
    return read


async def replay(scenario: Scenario, read: Settings) -> list[Result]:
    """One result an alert."""
    clients = {name: PrometheusClient(server, SystemClock()) for name, server in read.prometheus.items()}
    results: list[Result] = []
    try:
        backtest = Backtest(read.services, clients, _releases(scenario), _changes(scenario))
        await (backtest.in_time_order if scenario.together else backtest.alone)(_alerts(scenario), results.append)
    finally:
        for client in clients.values():
            await client.close()
    return results


def told(result: Result) -> str:
    """The record, for whoever wants to know why a scenario fails."""
    decision = result.decision
    lines = [f"{decision.action} {decision.reason} after {result.took}: {result.alert.name} of {result.service}, onset {decision.onset}"]
    lines += [f"{check.verdict:>15} {check.name}: {check.reason}: {check.value} ({check.limit})" for check in decision.checks]
    return "\n".join(lines)


def said(result: Result) -> dict[str, object]:
    """What a scenario may expect of it."""
    decision = result.decision
    obstacle = next(filter(stands_in_the_way, decision.checks), None)
    return {
        "decision": decision.action,
        "reason": decision.reason,
        "check": obstacle and obstacle.name,
        "because": obstacle and obstacle.reason,
        "within": result.took.total_seconds(),
        "suspect": decision.suspect and decision.suspect.version,
        "target": decision.target and decision.target.version,
    }


def _moment(offset: float) -> datetime:
    return AT + timedelta(seconds=offset)


def _alerts(scenario: Scenario) -> tuple[PastAlert, ...]:
    return tuple(
        PastAlert(id=f"{scenario.name}-{k}", at=_moment(alert.at), name=alert.name, labels={"service": alert.service, **alert.labels})
        for k, alert in enumerate(scenario.alerts)
    )


def _releases(scenario: Scenario) -> PastReleases:
    services = scenario.services.items()
    return PastReleases({name: Recorded.of([_release(name, one) for one in service.releases]) for name, service in services})


def _release(service: str, told: Released) -> Release:
    is_live = told.status is ReleaseStatus.LIVE
    return Release(
        service=service,
        version=told.version,
        artifact=told.artifact or f"image:{told.version}",
        started_at=_moment(told.at),
        live_at=_moment(told.at if told.live is None else told.live) if is_live else None,
        status=told.status,
        kind=told.kind,
        mark=told.mark,
        group=told.group,
        irreversible=told.irreversible,
        schema=told.schema_,
        schema_compatible=told.schema_compatible,
    )


def _changes(scenario: Scenario) -> PastChanges:
    return PastChanges.of(
        Change(service=name, kind=one.kind, what=one.what, at=_moment(one.at))
        for name, service in scenario.services.items()
        for one in service.changes
    )
