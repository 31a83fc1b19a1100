"""What a query through our client costs, beside the same query by bare aiohttp, on one real Prometheus.

Prints one JSON object a line: {name, ours_ms, raw_ms, ratio}; the loop's longest stall during the fifty at once is a line of its own.
Interleaved, the median of the rounds.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import aiohttp
import orjson

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


async def main() -> None:
    now = SystemClock().now()
    backfill = Backfill()
    for code in ("200", "500"):
        backfill.counter(
            "http_requests_total", {"service": "api", "code": code}, start=now - timedelta(hours=1), end=now, every=STEP, rate=lambda _: 7.0
        )
    with tempfile.TemporaryDirectory() as directory:
        async with real_prometheus(Path(directory), backfill=backfill) as server, aiohttp.ClientSession() as session:
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
            await compare("one query", ours, raw, in_a_row(SINGLE))
            await compare("fifty at once", ours, raw, at_once(AT_ONCE))
            await compare(f"the evidence of one indicator, {len(questions)} queries", our_evidence, raw_evidence, in_a_row(SINGLE))
            await stalls(ours, raw)
            await client.close()


Ask = Callable[[], Awaitable[None]]


def in_a_row(times: int) -> Callable[[Ask], Awaitable[float]]:
    async def run(ask: Ask) -> float:
        seconds = []
        for _ in range(times):
            begin = time.perf_counter()
            await ask()
            seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds)

    return run


def at_once(times: int) -> Callable[[Ask], Awaitable[float]]:
    async def run(ask: Ask) -> float:
        begin = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(times)))
        return time.perf_counter() - begin

    return run


async def compare(name: str, ours: Ask, raw: Ask, run: Callable[[Ask], Awaitable[float]]) -> None:
    rounds = [(await run(ours), await run(raw)) for _ in range(ROUNDS)]
    ours_ms, raw_ms = (statistics.median(column) * 1000 for column in zip(*rounds, strict=True))
    print(json.dumps({"name": name, "ours_ms": round(ours_ms, 3), "raw_ms": round(raw_ms, 3), "ratio": round(ours_ms / raw_ms, 2)}))


async def stalls(ours: Ask, raw: Ask) -> None:
    """The longest time for which a loop that is busy with fifty queries did not come round."""

    async def longest(ask: Ask) -> float:
        gaps = []
        work = asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        while not work.done():
            begin = time.perf_counter()
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - begin)
        return max(gaps)

    await compare("longest stall of the loop, fifty at once", ours, raw, longest)


if __name__ == "__main__":
    asyncio.run(main())
