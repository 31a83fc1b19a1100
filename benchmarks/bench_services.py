"""What an alert costs with one service configured and with a thousand: finding the service must not depend on how many there are.

Two daemons take turns. Each gets the same alerts about its last service, one webhook after the other; they are `resolved` ones of
alerts that it has never seen, so that the whole of its work on each (parsing, routing, the durable commit, taking it up, marking it
handled) is done and no incident follows. The cost is the processor time of the daemon from the first webhook until it is quiet again.
"""

import statistics
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

from benchmarks.daemon import Daemon, alert, scratch, serving, write_config
from benchmarks.fleet import RUNBOOK, fleet, labels, names
from benchmarks.result import Result, ratio_at_most
from rollbackd.clock import SystemClock

ROUNDS = 5
ALERTS = 300
FEW, MANY = 1, 1000


async def run() -> list[Result]:
    cost: dict[int, list[float]] = {FEW: [], MANY: []}
    answer: dict[int, list[float]] = {FEW: [], MANY: []}
    with scratch() as directory:
        async with AsyncExitStack() as stack:
            daemons: Mapping[int, Daemon] = {
                count: await stack.enter_async_context(serving(write_config(directory / str(count), fleet(count), RUNBOOK)))
                for count in (FEW, MANY)
            }
            for number in range(1 + ROUNDS):
                for count, daemon in daemons.items():
                    milliseconds, answered = await _round(daemon, names(count)[-1], number)
                    if number:  # the first one warms up
                        cost[count].append(milliseconds)
                        answer[count].append(answered)
    what = {"processor time per alert": cost, "webhook answered, p50": answer}
    return [
        Result(
            what=f"{name}, {MANY:,} services",
            unit="ms",
            ours=statistics.median(measured[MANY]),
            peer="1 service",
            theirs=statistics.median(measured[FEW]),
            goal=ratio_at_most(1.2),
            detail={"rounds_ms": {str(count): [round(one, 3) for one in rounds] for count, rounds in measured.items()}},
        )
        for name, measured in what.items()
    ]


async def _round(daemon: Daemon, service: str, number: int) -> tuple[float, float]:
    """Milliseconds of processor time per alert, and the median until a webhook is answered."""
    now = SystemClock().now()
    alerts = [alert(labels(service), fingerprint=f"{number:08x}{each:08x}", starts_at=now, status="resolved") for each in range(ALERTS)]
    await daemon.quiet()
    before, answered = daemon.usage.cpu_seconds, []
    for each in alerts:
        sent = time.perf_counter()
        answer = await daemon.alerts([each])
        answered.append(time.perf_counter() - sent)
        if answer["stored"] != 1:
            raise SystemExit(f"not stored: {answer}")
    await daemon.quiet()
    return 1000 * (daemon.usage.cpu_seconds - before) / ALERTS, 1000 * statistics.median(answered)
