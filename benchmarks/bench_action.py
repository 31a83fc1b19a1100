"""From the webhook to the first step's process: how much more than the sum of its parts?

The real daemon in a process of its own, with a real Prometheus behind it, gets one true alert about one bad release after the other,
each of a service of its own. A round begins when the webhook is sent, on a connection that is open, as Alertmanager keeps one. It
ends when the step's own process says what time it is (`date +%s.%N`): not when the daemon believes to have started it.

The parts are what a run really makes on this way. They are counted on a second daemon of the same config, which asks Prometheus
through a recorder and stops at the failpoint behind the durable intent, right before the spawn. Then, between the rounds, each part
is measured alone: every query that was recorded by bare aiohttp, a commit by bare sqlite3 with the same settings, a probe and the
step by bare subprocess, with the same words before the command. What else there is (reading the store, judging, parsing) is no part, so the
ratio has to leave room for it.
"""

import asyncio
import shlex
import shutil
import sqlite3
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from benchmarks.daemon import Daemon, alert, scratch, serving, write_config
from benchmarks.fleet import RUNBOOK, fleet, labels, names
from benchmarks.result import Result, ratio_at_most
from rollbackd.clock import SystemClock, rfc3339
from rollbackd.failpoints import ENVIRONMENT_VARIABLE
from rollbackd.model.incident import Phase
from tests.e2e.prometheus import Backfill, real_prometheus

ROUNDS = 20
EACH_PART = 5  # times between two rounds
SINCE_RELEASE = timedelta(minutes=10)
AHEAD = timedelta(minutes=30)
"""Samples are written beforehand, beyond the present: a query sees them up to its own moment, as if they were scraped."""

_CLOCK = SystemClock()
_STEP = RUNBOOK["steps"][0]["run"]
_COMMITS = "rollbackd_store_commit_seconds_count"
_QUERIES = "rollbackd_prometheus_query_seconds_count"


@dataclass(slots=True)
class Parts:
    """What one run makes before its first step, the step's own spawn left out."""

    queries: list[str] = field(default_factory=list)  # path and query string
    commits: int = 0
    probes: int = 0


@dataclass(slots=True)
class Alone:
    """Milliseconds of each part, measured alone, by name."""

    seen: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, milliseconds: float) -> None:
        self.seen.setdefault(name, []).append(milliseconds)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.add(name, (time.perf_counter() - began) * 1000)

    def median(self, name: str) -> float:
        return statistics.median(self.seen[name])


async def run() -> list[Result]:
    now = _CLOCK.now()
    with scratch() as directory:
        async with real_prometheus(directory / "prometheus", backfill=_history(now)) as prometheus:
            parts = await _counted(directory, prometheus.url, now)
            live = directory / "live"
            live.write_text("v2\n")
            config = _config(directory / "measured", prometheus.url, ROUNDS, probe=["cat", str(live)])
            alone, taken = Alone(), []
            async with serving(config) as daemon, aiohttp.ClientSession() as http:
                await _record_releases(daemon, names(ROUNDS), now)
                for service in names(ROUNDS):
                    taken.append(await _round(daemon, service))
                    await daemon.quiet()
                    await _measure_alone(alone, parts, http, prometheus.url, directory, live)
    return [*_results(taken, parts, alone)]


def _results(taken: Sequence[float], parts: Parts, alone: Alone) -> list[Result]:
    first, warm = taken[0], sorted(taken[1:])
    queries = [alone.median(query) for query in parts.queries]
    commits, probes, spawn = parts.commits * alone.median("commit"), parts.probes * alone.median("probe"), alone.median("spawn")
    the_sum = sum(queries) + commits + probes + spawn
    detail = {
        "rounds": len(warm),
        "p90_ms": round(statistics.quantiles(warm, n=10)[-1], 2),
        "parts": {
            "queries": {"count": len(queries), "ms_each": round(statistics.median(queries), 3), "ms": round(sum(queries), 2)},
            "commits": {"count": parts.commits, "ms_each": round(alone.median("commit"), 3), "ms": round(commits, 2)},
            "probes": {"count": parts.probes, "ms_each": round(alone.median("probe"), 3), "ms": round(probes, 2)},
            "spawns": {"count": 1, "ms_each": round(spawn, 3), "ms": round(spawn, 2)},
        },
    }
    what = "webhook sent → first step's process runs, p50"
    made = f"sum of {len(queries)} queries, {parts.commits} commits, {parts.probes} probes, 1 spawn"
    return [
        Result(what=what, unit="ms", ours=statistics.median(warm), peer=made, theirs=the_sum, goal=ratio_at_most(1.5), detail=detail),
        Result(what="the same, the first of a daemon's life", unit="ms", ours=first, peer="the later ones", theirs=statistics.median(warm)),
    ]


async def _round(daemon: Daemon, service: str) -> float:
    """Milliseconds from the webhook until the first step runs."""
    sent = await _send(daemon, service)
    incident = await _reached(daemon, service, lambda one: one["phase"] == Phase.WATCHING)
    return (float(incident["attempts"][0]["output"]) - sent) * 1000


async def _send(daemon: Daemon, service: str) -> float:
    """The moment at which the webhook was sent."""
    true = alert(labels(service), fingerprint=f"{names(ROUNDS).index(service):016x}", starts_at=_CLOCK.now() - timedelta(seconds=2))
    await daemon.get("/api/v1/status")  # opens the connection
    sent = _CLOCK.now().timestamp()
    await daemon.alerts([true])
    return sent


async def _reached(daemon: Daemon, service: str, there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The service's incident, once it is there. Asked seldom: the answers cost the daemon time as well."""
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(30):
            while not found or not there(found[0]):
                await asyncio.sleep(0.25)
                found = (await daemon.get(f"/api/v1/incidents?service={service}"))["items"]
    except TimeoutError:
        raise SystemExit(f"the incident of {service} did not come so far: {found}") from None
    return dict(await daemon.get(f"/api/v1/incidents/{found[0]['id']}"))


async def _counted(directory: Path, prometheus: str, now: datetime) -> Parts:
    """What one run makes until the spawn."""
    parts, asked = Parts(), directory / "asked"
    probe = ["sh", "-c", f"echo >>{shlex.quote(str(asked))}; echo v2"]
    async with _recorder(prometheus, parts.queries) as url:
        config = _config(directory / "counted", url, ROUNDS, probe=probe)
        async with serving(config, environment={ENVIRONMENT_VARIABLE: "attempt.after_intent:hang"}) as daemon:
            service = names(1)[0]
            await _record_releases(daemon, [service], now)
            before = await daemon.count(_COMMITS)
            await _send(daemon, service)
            await _reached(daemon, service, lambda one: bool(one["attempts"]))
            parts.commits = round(await daemon.count(_COMMITS) - before)
            if len(parts.queries) != round(await daemon.count(_QUERIES)):
                raise SystemExit(f"recorded {len(parts.queries)} queries, the daemon says {await daemon.count(_QUERIES)}")
    parts.probes = len(asked.read_text().splitlines())
    return parts


@asynccontextmanager
async def _recorder(upstream: str, recorded: list[str]) -> AsyncIterator[str]:
    """A server that hands every query on to `upstream`, and writes it down."""

    async def hand_on(request: web.Request) -> web.Response:
        recorded.append(request.raw_path)
        async with session.get(URL(upstream + request.raw_path, encoded=True)) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    application = web.Application()
    application.router.add_get("/{path:.*}", hand_on)
    runner = web.AppRunner(application, access_log=None)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def _measure_alone(alone: Alone, parts: Parts, http: aiohttp.ClientSession, prometheus: str, directory: Path, live: Path) -> None:
    for _ in range(EACH_PART):
        for query in parts.queries:
            with alone.timed(query):
                async with http.get(URL(prometheus + query, encoded=True)) as response:
                    orjson.loads(await response.read())
    with closing(sqlite3.connect(directory / "alone.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE IF NOT EXISTS rows (record TEXT)")
        for _ in range(EACH_PART):
            with alone.timed("commit"):
                database.execute("BEGIN IMMEDIATE")
                database.execute("INSERT INTO rows VALUES (?)", ("x" * 1000,))
                database.execute("COMMIT")
    for _ in range(EACH_PART):
        with alone.timed("probe"):
            _command("cat", str(live))
        began = _CLOCK.now().timestamp()
        alone.add("spawn", (float(_command(*_STEP)) - began) * 1000)


def _command(*argv: str) -> bytes:
    """Its output. Started as the daemon starts it."""
    setpriv = shutil.which("setpriv")
    words = (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()
    return subprocess.run([*words, *argv], stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, check=True).stdout


def _config(directory: Path, prometheus: str, services: int, *, probe: Sequence[str]) -> Path:
    config = fleet(
        services,
        prometheus=prometheus,
        mode="auto",
        running_version={"run": list(probe)},
        settling="1ms",
        budget={"service_per_day": 100, "fleet_per_hour": 1000},
        fleet_brake={"services": 1000, "within": "5m"},
    )
    return write_config(directory, config, RUNBOOK)


async def _record_releases(daemon: Daemon, services: Sequence[str], now: datetime) -> None:
    """v1 since yesterday, v2 since ten minutes ago."""
    for service in services:
        for version, ago in (("v1", timedelta(days=1)), ("v2", SINCE_RELEASE)):
            at = rfc3339(now - ago)
            await daemon.post("/api/v1/releases", {"service": service, "version": version, "started_at": at, "live_at": at})


def _history(now: datetime) -> Backfill:
    """Every service answers ten requests a second, and since its newest release fails at three of them."""

    def errors(at: datetime) -> float:
        return 3.0 if at > now - SINCE_RELEASE else 0.0

    backfill, every = Backfill(), timedelta(seconds=15)
    for service in names(ROUNDS):
        for code, rate in (("200", lambda at: 10.0 - errors(at)), ("500", errors)):
            series = {**labels(service), "code": code}
            backfill.counter("http_requests_total", series, start=now - timedelta(hours=2), end=now + AHEAD, every=every, rate=rate)
    return backfill
