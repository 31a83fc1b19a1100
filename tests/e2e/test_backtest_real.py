"""The backtest over a real Prometheus: a small labelled past, through the command line, and beside what the daemon would have asked."""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from rollbackd.backtest.files import read
from rollbackd.backtest.run import Backtest, Result
from rollbackd.cli import main
from rollbackd.clock import SystemClock
from rollbackd.flow.gather import Gatherer
from rollbackd.model.release import Release
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.settings.load import load
from tests.e2e.prometheus import Backfill, real_prometheus
from tests.unit.backtest.world import AT, MINUTE, alert_row, release_row, write_config, write_lines

SCRAPE = timedelta(seconds=15)

FAILS_SINCE: Mapping[str, datetime] = {"bad": AT - 3 * MINUTE, "old": AT - 40 * MINUTE, "late": AT + 5 * MINUTE, "slow": AT - MINUTE / 2}
"""The service's name says what it is: a bad release, a breach older than its release, one that only comes after a false alert, and one
whose alert came before it could be confirmed."""


def past() -> Backfill:
    """Two hours up to 15 minutes after the alerts: what lies after them may be seen only as the virtual clock gets there."""
    backfill = Backfill()
    for service, since in FAILS_SINCE.items():
        for code, rate in (("200", _rate(since, 20.0, 12.0)), ("500", _rate(since, 0.02, 8.0))):
            labels = {"service": service, "code": code, "instance": "a:1"}
            backfill.counter("http_requests_total", labels, start=AT - 120 * MINUTE, end=AT + 15 * MINUTE, every=SCRAPE, rate=rate)
        firing = {"alertname": "HighErrorRate", "alertstate": "firing", "service": service}
        backfill.add("ALERTS", firing, [(AT + k * SCRAPE, 1.0) for k in range(8)])
    return backfill


def _rate(since: datetime, before: float, after: float) -> Callable[[datetime], float]:
    return lambda at: after if at > since else before


def files(directory: Path) -> tuple[Path, Path]:
    truths = {"bad": "roll_back", "old": "hold", "late": "hold", "slow": "roll_back"}
    rows = [alert_row(name, at=AT, service=name, truth=truth, scenario=name) for name, truth in truths.items()]
    releases = [
        release_row(version, ago=ago, service=name) for name in truths for version, ago in (("v1", 300 * MINUTE), ("v2", 4 * MINUTE))
    ]
    return write_lines(directory / "alerts.jsonl", rows), write_lines(directory / "releases.jsonl", releases)


async def run(*args: object) -> list[dict[str, Any]]:
    result = await asyncio.to_thread(CliRunner().invoke, main, ["backtest", "--json", *(str(arg) for arg in args)])
    assert (result.exit_code, result.exception) == (0, None), result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


async def test_a_labelled_past_through_the_command_line(tmp_path: Path) -> None:
    async with real_prometheus(tmp_path / "server", backfill=past()) as server:
        config = write_config(tmp_path, server.url, *(f"{name}: {{}}" for name in FAILS_SINCE))
        alerts, releases = files(tmp_path)
        *lines, score = await run("--config", config, "--alerts", alerts, "--releases", releases, "--score")
        fired = await run("--config", config, "--releases", releases, "--from", AT.timestamp() - 600, "--to", AT.timestamp() + 600)
    decided = {line["id"]: (line["decision"], line["reason"], line["decided_at"] - AT.timestamp()) for line in lines}
    took = decided["slow"][2]
    assert decided == {
        "bad": ("roll_back", "to_blame", 0),
        "old": ("hold", "breach_predates_release", 0),
        "late": ("hold", "healthy", 15),
        "slow": ("roll_back", "to_blame", took),
    }
    assert 0 < took <= 150
    assert score["score"]["precision"] == score["score"]["recall"] == 1.0
    assert {line["service"]: line["decision"] for line in fired} == {line["service"]: line["decision"] for line in lines}


async def test_each_look_sees_what_the_daemon_would_have_seen(tmp_path: Path) -> None:
    async with real_prometheus(tmp_path / "server", backfill=past()) as server:
        settings = load(write_config(tmp_path, server.url, *(f"{name}: {{recheck_every: 20s}}" for name in FAILS_SINCE))).settings
        told = read(*files(tmp_path))
        assert told.alerts is not None
        assert told.releases is not None
        clients = {name: PrometheusClient(each, SystemClock()) for name, each in settings.prometheus.items()}
        results: list[Result] = []
        await Backtest(settings.services, clients, told.releases).alone(told.alerts, results.append)

        async def released(service: str) -> tuple[Release, ...]:
            return told.releases.of_service(service, SystemClock().now()).releases if told.releases else ()

        gatherer = Gatherer(Measurer(clients, check_clock=False), settings.services, released)
        for result in results:
            assert result.service is not None
            lived = await gatherer.evidence(settings.services[result.service], result.decision.at, known_for=result.took)
            assert result.evidence == lived["HighErrorRate"]
            assert result.evidence.readings[-1].at == result.decision.at
        for client in clients.values():
            await client.close()
