"""How fast the past is replayed: `rollbackd backtest` in this process, over a real Prometheus with backfilled data.

Each alert is of a service of its own, one of four kinds in equal parts: a bad release, decided at the first look; a breach older than
its release, held at once; a false alarm, which stands down at the second look; and one between breached and healthy, looked at until it
is given up. Reading the files, and starting either side, is not counted.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks.daemon import scratch
from benchmarks.result import Result, at_least
from rollbackd.backtest.files import read
from rollbackd.backtest.past import PastAlert, PastReleases
from rollbackd.backtest.run import Backtest
from rollbackd.backtest.run import Result as Decided
from rollbackd.clock import SystemClock
from rollbackd.model.decision import Action
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.settings.effective import Settings
from rollbackd.settings.load import load
from tests.e2e.prometheus import Backfill, real_prometheus
from tests.unit.backtest.world import AT, MINUTE, alert_row, release_row, write_config, write_lines

ROUNDS: Final = 5
OF_EACH: Final = 15
SCRAPE: Final = timedelta(seconds=15)

FAILING: Final = {"bad": (3 * MINUTE, 0.4), "old": (40 * MINUTE, 0.4), "false": (3 * MINUTE, 0.001), "between": (3 * MINUTE, 0.0075)}
"""For how long before the alert, and which share of the requests."""
DECIDED: Final = {
    "bad": Action.ROLL_BACK,
    "old": Action.HOLD,
    "false": Action.HOLD,
    "between": Action.ESCALATE,
}
SERVICES: Final = {f"{kind}-{number}": kind for number in range(OF_EACH) for kind in FAILING}


async def run() -> list[Result]:
    with scratch() as directory:
        async with real_prometheus(directory / "server", backfill=_past()) as server:
            settings = load(write_config(directory, server.url, *(f"{name}: {{blame_window: 1h}}" for name in SERVICES))).settings
            alerts, releases = _files(directory)
            rounds = [await _round(settings, alerts, releases) for _ in range(1 + ROUNDS)][1:]  # the first one warms up
    seconds = [took for took, _ in rounds]
    looks = sum(one.looks for one in rounds[0][1])
    return [
        Result(
            what=f"alerts replayed, {len(SERVICES)} of them with {looks} looks",
            unit="1/s",
            ours=len(SERVICES) / statistics.median(seconds),
            goal=at_least(20),
            detail={"rounds_s": [round(one, 3) for one in seconds]},
        )
    ]


def _past() -> Backfill:
    backfill = Backfill()
    for name, kind in SERVICES.items():
        began, share = AT - FAILING[kind][0], FAILING[kind][1]
        for code, healthy, failing in (("200", 20.0, 20.0 * (1 - share)), ("500", 0.02, 20.0 * share)):
            backfill.counter(
                "http_requests_total",
                {"service": name, "code": code, "instance": "a:1"},
                start=AT - 150 * MINUTE,
                end=AT + 15 * MINUTE,
                every=SCRAPE,
                rate=_rate(began, healthy, failing),
            )
    return backfill


def _rate(began: datetime, healthy: float, failing: float) -> Callable[[datetime], float]:
    return lambda at: failing if at > began else healthy


def _files(directory: Path) -> tuple[Sequence[PastAlert], PastReleases]:
    rows = [alert_row(name, at=AT, service=name) for name in SERVICES]
    came = [release_row(version, ago=ago, service=name) for name in SERVICES for version, ago in (("v1", 300 * MINUTE), ("v2", 4 * MINUTE))]
    told = read(write_lines(directory / "alerts.jsonl", rows), write_lines(directory / "releases.jsonl", came))
    if told.alerts is None or told.releases is None:
        raise SystemExit("the files were not read")
    return told.alerts, told.releases


async def _round(settings: Settings, alerts: Sequence[PastAlert], releases: PastReleases) -> tuple[float, Sequence[Decided]]:
    """How many seconds it took, and what was decided."""
    clients = {name: PrometheusClient(each, SystemClock()) for name, each in settings.prometheus.items()}
    results: list[Decided] = []
    begin = time.perf_counter()
    await Backtest(settings.services, clients, releases).alone(alerts, results.append)
    took = time.perf_counter() - begin
    for client in clients.values():
        await client.close()
    wrong = [one.alert.id for one in results if one.decision.action is not DECIDED[SERVICES[one.alert.id]]]
    if wrong:
        raise SystemExit(f"not what is meant to be measured: {', '.join(wrong)}")
    return took, results
