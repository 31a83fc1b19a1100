"""What it costs to stand ready: memory, a share of a core, and the time from exec until it listens; with one service and with a thousand.

The limit is a process that has aiohttp and orjson and does nothing with them. Starts take turns; the first of each is not counted, for
it may have to compile.
"""

import asyncio
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.daemon import Usage, scratch, started, write_config
from benchmarks.fleet import RUNBOOK, fleet
from benchmarks.result import Result, at_most

STARTS = 5
SETTLE_SECONDS = 10.0
IDLE_SECONDS = 20.0
LISTENING_WITHIN, RESIDENT_MB, CORE_PERCENT = 1.0, 90.0, 0.5

ONE, MANY, BARE = "1 service", "1,000 services", "bare aiohttp"


async def run() -> list[Result]:
    with scratch() as directory:
        contenders = {
            ONE: _serve(write_config(directory / "one", fleet(1), RUNBOOK)),
            MANY: _serve(write_config(directory / "many", fleet(1000), RUNBOOK)),
            BARE: (sys.executable, str(Path(__file__).with_name("bare.py"))),
        }
        starts = await _starts(directory, contenders)
        memory, shares = await _idle(directory, contenders)
    results = []
    for name in (ONE, MANY):
        goal = name == ONE
        results += [
            Result(
                what=f"exec until listening, {name}",
                unit="s",
                ours=statistics.median(starts[name]),
                peer=BARE,
                theirs=statistics.median(starts[BARE]),
                goal=at_most(LISTENING_WITHIN) if goal else None,
                detail={"starts": [round(seconds, 3) for seconds in starts[name]]},
            ),
            Result(
                what=f"resident after {SETTLE_SECONDS:g} s idle, {name}",
                unit="MB",
                ours=memory[name],
                peer=BARE,
                theirs=memory[BARE],
                goal=at_most(RESIDENT_MB) if goal else None,
            ),
            Result(
                what=f"share of a core over {IDLE_SECONDS:g} s idle, {name}",
                unit="%",
                ours=shares[name],
                peer=BARE,
                theirs=shares[BARE],
                goal=at_most(CORE_PERCENT) if goal else None,
            ),
        ]
    return results


def _serve(config: Path) -> Sequence[str]:
    return sys.executable, "-m", "rollbackd", "serve", "--config", str(config)


async def _starts(directory: Path, contenders: Mapping[str, Sequence[str]]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(1 + STARTS):
        for name, argv in contenders.items():
            async with started(argv, log=directory / "start.log") as (_, _, until_listening):
                seconds[name].append(until_listening)
    return {name: counted for name, (_, *counted) in seconds.items()}


async def _idle(directory: Path, contenders: Mapping[str, Sequence[str]]) -> tuple[dict[str, float], dict[str, float]]:
    """Megabytes, and percent of a core, by contender. They idle side by side: none of them has anything to do."""
    async with AsyncExitStack() as stack:
        usages: dict[str, Usage] = {}
        for number, (name, argv) in enumerate(contenders.items()):
            usages[name], _, _ = await stack.enter_async_context(started(argv, log=directory / f"idle-{number}.log"))
        await asyncio.sleep(SETTLE_SECONDS)
        memory = {name: usage.resident_mb for name, usage in usages.items()}
        before = {name: usage.cpu_seconds for name, usage in usages.items()}
        await asyncio.sleep(IDLE_SECONDS)
        shares = {name: 100 * (usage.cpu_seconds - before[name]) / IDLE_SECONDS for name, usage in usages.items()}
    return memory, shares
