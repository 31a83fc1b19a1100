"""What a query through our client costs, beside the same query by bare aiohttp, on one real Prometheus. They take turns."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import aiohttp
import orjson

from benchmarks.daemon import scratch
from benchmarks.result import Goal, Result, at_most, ratio_at_most
from rollbackd.clock import SystemClock, rfc3339
from rollbackd.prometheus import measure
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measure import Part
from rollbackd.prometheus.measurer import Measurer
from rollbackd.settings.effective import PrometheusServer
from tests.e2e.prometheus import Backfill, real_prometheus
from tests.fakes.policies import error_rate, service

ROUNDS = 7
SINGLE = 40
AT_ONCE = 50
STEP = timedelta(seconds=15)
LOOKBACK = timedelta(minutes=10)
POLICY, INDICATOR = service("api"), error_rate()
EXPR = measure.range_queries(POLICY, INDICATOR)[Part.TOTAL]

Ask = Callable[[], Awaitable[None]]


async def run() -> list[Result]:
    now = SystemClock().now()
    backfill = Backfill()
    for code in ("200", "500"):
        backfill.counter(
            "http_requests_total", {"service": "api", "code": code}, start=now - timedelta(hours=1), end=now, every=STEP, rate=lambda _: 7.0
        )
    with scratch() as directory:
        async with real_prometheus(directory, backfill=backfill) as server, aiohttp.ClientSession() as session:
            client = PrometheusClient(PrometheusServer(name="main", url=server.url, timeout=timedelta(seconds=30)), SystemClock())
            measurer = Measurer({"main": client})
            questions = [*measure.range_queries(POLICY, INDICATOR).values(), *measure.pool_queries(POLICY, INDICATOR, LOOKBACK).values()]

            async def ours() -> None:
                await client.query_range(EXPR, start=now - LOOKBACK, end=now, step=STEP)

            async def raw(query: str = EXPR) -> None:
                params = {"query": query, "start": rfc3339(now - LOOKBACK), "end": rfc3339(now), "step": "15"}
                async with session.get(f"{server.url}/api/v1/query_range", params=params) as response:
                    orjson.loads(await response.read())

            async def our_evidence() -> None:
                await measurer.evidence(POLICY, INDICATOR, now=now, lookback=LOOKBACK, pool_window=LOOKBACK)

            async def raw_evidence() -> None:
                await asyncio.gather(*map(raw, questions))

            await ours()
            await raw()
            results = [
                await _compared("a Prometheus query", ours, raw, _median_of(SINGLE), ratio_at_most(2)),
                await _compared("fifty queries at once", ours, raw, _all_of(AT_ONCE)),
                await _compared(
                    f"an indicator's evidence, {len(questions)} queries at once", our_evidence, raw_evidence, _median_of(SINGLE)
                ),
                await _compared("longest stall of the loop, fifty queries at once", ours, raw, _longest_stall, at_most(50)),
            ]
            await client.close()
    return results


async def _compared(what: str, ours: Ask, raw: Ask, run: Callable[[Ask], Awaitable[float]], goal: Goal | None = None) -> Result:
    rounds = [(await run(ours), await run(raw)) for _ in range(ROUNDS)]
    ours_ms, raw_ms = (statistics.median(column) * 1000 for column in zip(*rounds, strict=True))
    return Result(what=what, unit="ms", ours=ours_ms, peer="bare aiohttp", theirs=raw_ms, goal=goal)


def _median_of(times: int) -> Callable[[Ask], Awaitable[float]]:
    """Seconds of one of so many in a row."""

    async def run(ask: Ask) -> float:
        seconds = []
        for _ in range(times):
            begin = time.perf_counter()
            await ask()
            seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds)

    return run


def _all_of(times: int) -> Callable[[Ask], Awaitable[float]]:
    """Seconds until so many are answered that were asked together."""

    async def run(ask: Ask) -> float:
        begin = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(times)))
        return time.perf_counter() - begin

    return run


async def _longest_stall(ask: Ask) -> float:
    """Seconds for which the loop did not come round while it was busy with all of them."""
    gaps = []
    work = asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    while not work.done():
        begin = time.perf_counter()
        await asyncio.sleep(0)
        gaps.append(time.perf_counter() - begin)
    return max(gaps)
