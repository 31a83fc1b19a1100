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
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
from aiohttp import web

from benchmarks.daemon import Daemon, alert, scratch, serving, write_config
from benchmarks.fleet import RUNBOOK, fleet, labels, names
from benchmarks.result import Result, ratio_at_most
from rollbackd.clock import SystemClock, rfc3339
from rollbackd.model.incident import Phase
from tests.e2e.prometheus import Backfill, real_prometheus

ROUNDS = 20
EACH_PART = 5  # times between two rounds
SINCE_RELEASE = timedelta(minutes=10)
AHEAD = timedelta(minutes=30)
"""Samples are written beforehand, beyond the present: a query sees them up to its own moment, as if they were scraped."""

_CLOCK = SystemClock()
_STEP = tuple(RUNBOOK["steps"][0]["run"])  # type: ignore[index]


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
        Result(
            what=what, unit="ms", ours=statistics.median(warm), peer=made, theirs=the_sum, goal=ratio_at_most(1.5), detail=detail
        ),
        Result(what="the same, the first of a daemon's life", unit="ms", ours=first, peer="the later ones", theirs=statistics.median(warm)),
    ]


async def _round(daemon: Daemon, service: str) -> float:
    """Milliseconds from the webhook until the first step runs."""
    sent = await _send(daemon, service)
    incident = await _reached(daemon, service, Phase.WATCHING)
    started = float(incident["attempts"][0]["output"])
    return (started - sent) * 1000


async def _send(daemon: Daemon, service: str) -> float:
    """The moment at which the webhook was sent."""
    await daemon.get("/api/v1/status")  # the connection is open
    true = alert(labels(service), fingerprint=f"{names(ROUNDS).index(service):016x}", starts_at=_CLOCK.now() - timedelta(seconds=2))
    sent = _CLOCK.now().timestamp()
    await daemon.alerts([true])
    return sent


async def _reached(daemon: Daemon, service: str, phase: Phase) -> dict[str, object]:
    ...
