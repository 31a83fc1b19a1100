"""One run: a town, its life, what befalls it, the way to rest, and what the oracle says."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rollbackd.clock import SystemClock
from tests.faults.test_crash import running
from tests.soak.life import Life, Seen
from tests.soak.nemesis import Nemesis
from tests.soak.oracle import Books
from tests.soak.town import BY_HAND, Town
from tests.soak.vitals import Trend, Vitals

_REST_SECONDS: Final = 300.0
_LIVES: Final = 10
"""Of the daemon in a soak, about: each has to be long for its memory to show a trend."""
_SHORTEST_LIFE: Final = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was done, and what did not hold; nothing, it is hoped."""

    seed: str
    seconds: float
    struck: Mapping[str, int]
    lives: int
    acknowledged: int
    stored: int
    answers: Mapping[str, int]
    outcomes: Mapping[str, int]
    attempts: Mapping[str, int]
    effects: int
    logged_errors: Mapping[str, int]
    seconds_to_rest: float
    memory: Trend | None
    descriptors: Trend | None
    violations: tuple[str, ...]


async def run(
    directory: Path,
    *,
    seed: str,
    kills: int = 0,
    within: float = math.inf,
    minutes: float = 0.0,
    disk: Path | None = None,
    say: Callable[[str], None] = print,
) -> Verdict:
    """`kills` of the daemon, `within` so many minutes, then `minutes` of every fault; `disk` is the state directory if it may be filled."""
    clock = SystemClock()
    began, seen = clock.monotonic(), Seen()
    async with Town(directory, forked=not minutes) as town:
        vitals, life = Vitals(town), Life(town, seed, seen)
        nemesis = Nemesis(town, seed, seen.violations, disk=disk)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(vitals.watch())
            await life.begin()
            living = tasks.create_task(life.run())
            if kills:
                await town.kill()
                await nemesis.kill(kills, within=60 * within, after_each=lambda number: _tell(say, number, seen))
            if minutes:
                seconds = 60 * minutes
                await nemesis.strike(seconds, restart_every=max(seconds / _LIVES, _SHORTEST_LIFE))
            life.goes_on = False
            await living
            await life.end()
            seconds_to_rest = await _rest(town)
            await nemesis.stop()
            watching.cancel()
        town.effected.read_on()
        if left := running(str(town.tool)):
            seen.violations.append(f"still running: {left}")
        with _books(town) as books:
            return Verdict(
                seed=seed,
                seconds=clock.monotonic() - began,
                struck=nemesis.struck,
                lives=town.lives,
                acknowledged=len(seen.acknowledged),
                stored=books.stored(),
                answers=seen.answers,
                outcomes=books.outcomes(),
                attempts=books.attempts(),
                effects=sum(effect.attempt != BY_HAND for effect in town.effected.all),
                logged_errors=Counter(_errors(town.log)),
                seconds_to_rest=seconds_to_rest,
                memory=vitals.memory(),
                descriptors=vitals.descriptors(),
                violations=(*seen.violations, *books.faults(seen, town.effected.all)),
            )


def _tell(say: Callable[[str], None], kills: int, seen: Seen) -> None:
    if kills % 50 == 0:
        say(f"{kills:,} kills, {len(seen.acknowledged):,} alerts acknowledged, {len(seen.violations)} violations")


async def _rest(town: Town) -> float:
    """The seconds until nothing is left to be done; whatever is left after a while never will be, and the oracle names it."""
    clock = SystemClock()
    began = clock.monotonic()
    with _books(town) as books:
        while books.rest() and clock.monotonic() - began < _REST_SECONDS:  # noqa: ASYNC110 - asks a file
            await asyncio.sleep(0.2)
    return clock.monotonic() - began


@contextmanager
def _books(town: Town) -> Iterator[Books]:
    books = Books(town.directory / "state" / "rollbackd.db")
    try:
        yield books
    finally:
        books.close()


def _errors(log: str) -> Iterator[str]:
    """What the daemon itself took for a bug."""
    for line in log.splitlines():
        if not line.startswith("{"):
            yield line[:120]
            continue
        said: dict[str, Any] = json.loads(line) if line.endswith("}") else {}
        if said.get("level") in {"error", "critical"} and said.get("logger") != "notice":
            yield f"{said['event']}: {str(said.get('error', ''))[:120]}"
