"""Ends what came of an attempt: a signal, patience, the next signal, until nothing of it runs or nothing is left to try."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rollbackd.action.kin import Kin, Process
from rollbackd.errors import UncertainError

KILL: Final = (signal.SIGKILL, timedelta(seconds=5))
"""Nothing survives it but what hangs in the kernel or belongs to another user."""

Phase = tuple[signal.Signals | None, timedelta]
"""A signal, or none, and how long to wait after it."""

_FIRST_POLL: Final = 0.01
_LAST_POLL: Final = 0.2


@dataclass(frozen=True, slots=True)
class Cleared:
    told: tuple[int, ...]  # pids of those that got a signal
    alive: tuple[int, ...]  # pids of those that run all the same


async def end(kin: Kin, phases: Sequence[Phase], *, blindly: Callable[[signal.Signals], None] | None = None) -> Cleared:
    """Go through the phases until nothing of `kin` runs. `blindly` reaches the child where the process table cannot be read.

    Raises:
        UncertainError: whether anything runs could not be found out up to the end.
    """
    loop = asyncio.get_running_loop()
    told: set[int] = set()
    alive: list[Process] = []
    problem = ""
    for number, patience in phases:
        reached: set[int] = set()
        went_blind = False
        deadline, pause = loop.time() + patience.total_seconds(), _FIRST_POLL
        while True:
            try:
                alive, problem = kin.alive(), ""
            except OSError as e:
                problem = e.strerror or str(e)
                if number is not None and blindly is not None and not went_blind:
                    blindly(number)
                    went_blind = True
            if number is not None and not problem:
                reached |= {process.pid for process in alive if process.pid not in reached and process.send(number)}
            if not (alive or problem) or loop.time() >= deadline:
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_POLL)
        told |= reached
        if not (alive or problem):
            break
    if problem:
        raise UncertainError(f"whether something of a command still runs cannot be found out: {problem}")
    return Cleared(tuple(sorted(told)), tuple(process.pid for process in alive))
