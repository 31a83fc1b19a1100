"""From the webhook to the first step's process: how much more than the sum of its parts?

The real daemon in a process of its own, with a real Prometheus behind it, gets one true alert about one bad release after the other,
each of a service of its own. A round begins when the webhook is sent, on a connection that is open, as Alertmanager keeps one. It
ends when the step's own process says what time it is (`date +%s.%N`): not when the daemon believes that it has started it.

The parts are what a run really makes on this way. They are counted on a second daemon of the same config, which asks Prometheus
through a recorder and stops at the failpoint behind the durable intent, right before the spawn. Then, between the rounds, each part
is measured alone. Reading the store, judging and parsing are no parts: the ratio has to leave room for them.
"""

import asyncio
import shlex
import statistics
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from benchmarks.daemon import Daemon, alert, scratch, serving, write_config
from benchmarks.fleet import RUNBOOK, fleet, labels, names
from benchmarks.parts import COMMIT, PROBE, SPAWN, Alone, Parts
from benchmarks.result import Result, ratio_at_most
from rollbackd.clock import SystemClock, rfc3339
from rollbackd.failpoints import ENVIRONMENT_VARIABLE
from rollbackd.model.incident import Phase
from tests.e2e.prometheus import Backfill, real_prometheus

ROUNDS = 20
SERVICES = names(ROUNDS)
SINCE_RELEASE = timedelta(minutes=10)
AHEAD = timedelta(minutes=30)
"""Samples are written beforehand, beyond the present: a query sees them up to its own moment, as if they were scraped."""

_CLOCK = SystemClock()
_COMMITS = "rollbackd_store_commit_seconds_count"
_QUERIES = "rollbackd_prometheus_query_seconds_count"
_PATIENCE_SECONDS = 30.0


async def run() -> list[Result]:
    now = _CLOCK.now()
    alone, taken = Alone(), []
    with scratch() as directory:
        live = directory / "live"
        probe = ["cat", str(live)]
        async with real_prometheus(directory / "prometheus", backfill=_history(now)) as prometheus:
            parts = await _counted(directory, prometheus.url, now)
            config = _config(directory / "measured", prometheus.url, probe)
            async with serving(config) as daemon, aiohttp.ClientSession() as http:
                await _record_releases(daemon, SERVICES, now)
                for service in SERVICES:
                    taken.append(await _round(daemon, service, live))
                    await daemon.quiet()
                    await alone.ask(http, prometheus.url, parts.queries)
                    alone.commit(directory / "alone.db")
                    alone.start(probe, RUNBOOK["steps"][0]["run"])
    return _results(taken, parts, alone)


def _results(taken: Sequence[float], parts: Parts, alone: Alone) -> list[Result]:
    first, *later = taken
    p50 = statistics.median(later)
    queries = [alone.median(query) for query in parts.queries]
    made = {
        "queries": (len(queries), sum(queries)),
        "commits": (parts.commits, parts.commits * alone.median(COMMIT)),
        "probes": (parts.probes, parts.probes * alone.median(PROBE)),
        "spawn": (1, alone.median(SPAWN)),
    }
    return [
        Result(
            what="webhook sent until the first step's process runs, p50",
            unit="ms",
            ours=p50,
            peer=f"the sum of its {len(queries)} queries, {parts.commits} commits, {parts.probes} probes and its spawn",
            theirs=sum(milliseconds for _, milliseconds in made.values()),
            goal=ratio_at_most(1.5),
            detail={
                "rounds_ms": [round(one, 1) for one in later],
                "parts": {name: {"count": count, "ms": round(milliseconds, 2)} for name, (count, milliseconds) in made.items()},
            },
        ),
        Result(what="the same, the first one in a daemon's life", unit="ms", ours=first, peer="a later one", theirs=p50),
    ]


def _runs(live: Path, version: str) -> None:
    live.write_text(f"{version}\n")


async def _round(daemon: Daemon, service: str, live: Path) -> float:
    """Milliseconds from the webhook until the first step runs. It says the time and deploys nothing, so somebody has to bring v1 back."""
    _runs(live, "v2")
    sent = await _send(daemon, service)
    incident = await _reached(daemon, service, lambda one: bool(one["attempts"] and one["attempts"][0]["ended_at"]))
    _runs(live, "v1")
    await _reached(daemon, service, lambda one: one["phase"] == Phase.WATCHING)
    return (float(incident["attempts"][0]["output"]) - sent) * 1000


async def _send(daemon: Daemon, service: str) -> float:
    """The moment at which the webhook was sent."""
    true = alert(labels(service), fingerprint=f"{SERVICES.index(service):016x}", starts_at=_CLOCK.now() - timedelta(seconds=2))
    await daemon.get("/api/v1/status")  # opens the connection
    sent = _CLOCK.now().timestamp()
    await daemon.alerts([true])
    return sent


async def _reached(daemon: Daemon, service: str, there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The service's incident, once it is there. Asked seldom: the answers cost the daemon time as well."""
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
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
        config = _config(directory / "counted", url, probe)
        async with serving(config, environment={ENVIRONMENT_VARIABLE: "attempt.after_intent:hang"}) as daemon:
            await _record_releases(daemon, SERVICES[:1], now)
            before = await daemon.count(_COMMITS)
            await _send(daemon, SERVICES[0])
            await _reached(daemon, SERVICES[0], lambda one: bool(one["attempts"]))
            parts.commits = round(await daemon.count(_COMMITS) - before)
            queries = round(await daemon.count(_QUERIES))
    parts.probes = len(asked.read_text().splitlines())
    if queries != len(parts.queries):
        raise SystemExit(f"recorded {len(parts.queries)} queries, the daemon has made {queries}")
    return parts


@asynccontextmanager
async def _recorder(upstream: str, recorded: list[str]) -> AsyncIterator[str]:
    """The URL of a server that hands every query on to `upstream`, and writes it down."""

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


def _config(directory: Path, prometheus: str, probe: Sequence[str]) -> Path:
    """As shipped, but that it may roll back twenty services in a minute, and from its first second on."""
    config = fleet(
        len(SERVICES),
        prometheus=prometheus,
        mode="auto",
        running_version={"run": list(probe)},
        settling="1ms",
        budget={"service_per_day": 2, "fleet_per_hour": len(SERVICES)},
        fleet_brake={"services": 2 * len(SERVICES), "within": "5m"},
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
    for service in SERVICES:
        for code, rate in (("200", lambda at: 10.0 - errors(at)), ("500", errors)):
            series = {**labels(service), "code": code}
            backfill.counter("http_requests_total", series, start=now - timedelta(hours=2), end=now + AHEAD, every=every, rate=rate)
    return backfill
