"""`bench_intake` as lines of the results. It runs in a process of its own, for it binds its contenders to cores."""

import asyncio
import json
import shutil
import sys
from subprocess import PIPE

from benchmarks.result import Result, ratio_at_least

_TOOLS = ("wrk", "webhook", "taskset")
_GOALS = {
    "file": ("one file, group fdatasync", 0.75),
    "bare": ("bare aiohttp, stores nothing", 0.5),
    "webhook": ("Debian's webhook, stores nothing", 0.45),
}


async def run() -> list[Result]:
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        raise SystemExit(f"install {', '.join(missing)}: Debian's packages are wrk, webhook and util-linux")
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "benchmarks.bench_intake", stdout=PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"benchmarks.bench_intake ended with {process.returncode}")
    measured = json.loads(output)
    per_second, single = measured["requests_per_second"], measured["single_request_ms"]
    throughput = [
        Result(
            what="durable alerts, one per request",
            unit="1/s",
            ours=per_second["rollbackd"],
            peer=described,
            theirs=per_second[peer],
            goal=ratio_at_least(goal),
            detail={"rounds": {name: measured["rounds"][name] for name in ("rollbackd", peer)}},
        )
        for peer, (described, goal) in _GOALS.items()
    ]
    latency = [
        Result(
            what=f"one request after the other, {percentile}",
            unit="ms",
            ours=single["rollbackd"][percentile],
            peer=_GOALS["file"][0],
            theirs=single["file"][percentile],
        )
        for percentile in ("p50", "p99")
    ]
    return [*throughput, *latency]
