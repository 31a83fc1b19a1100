"""Goes through a list of questions until each has been answered as hoped, once. A `wait` step is a list of one."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from rollbackd.action.probe import Answer, Prober
from rollbackd.clock import Clock
from rollbackd.model.attempt import AttemptStatus
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.runbook import HttpAsk, Probe, PromqlAsk, RunAsk
from rollbackd.supervisor import together

_LEAST_TIME: Final = timedelta(seconds=1)  # a last question is worth asking only if it can be answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What was last said to one question; `held` is None when it cannot be told, which is no success (I15)."""

    name: str
    held: bool | None
    text: str


OnChange = Callable[[Line], Awaitable[None]]


class Checklist:
    def __init__(self, prober: Prober, clock: Clock, *, ask_every: timedelta) -> None:
        self._prober = prober
        self._clock = clock
        self._ask_every = ask_every

    async def complete(
        self,
        policy: ServicePolicy,
        checks: tuple[Probe, ...],
        *,
        within: timedelta,
        interrupt: asyncio.Event,
        on_change: OnChange,
    ) -> tuple[AttemptStatus, list[Line]]:
        """Ask every line that has not held yet, again and again. What a line says is told when it is new, not each time."""
        deadline = self._clock.monotonic() + within.total_seconds()
        lines: dict[int, Line] = {}
        waiting = dict(enumerate(checks))
        while True:
            left = timedelta(seconds=deadline - self._clock.monotonic())
            for number, line in (await self._ask(policy, waiting, within=max(left, _LEAST_TIME))).items():
                if line != lines.get(number):
                    lines[number] = line
                    await on_change(line)
                if line.held:
                    del waiting[number]
            status = self._status(waiting, interrupt, deadline)
            if status is not None:
                return status, [lines[number] for number in sorted(lines)]
            await self._clock.sleep(min(self._ask_every, max(left, timedelta(0))))

    async def _ask(self, policy: ServicePolicy, checks: dict[int, Probe], *, within: timedelta) -> dict[int, Line]:
        """All at the same time: one that hangs must not use up the time of the others."""
        async with together() as group:
            asked = {
                number: group.create_task(self._prober.ask(replace(check, timeout=min(check.timeout, within)), policy))
                for number, check in checks.items()
            }
        return {number: _line(checks[number], task.result()) for number, task in asked.items()}

    def _status(self, waiting: dict[int, Probe], interrupt: asyncio.Event, deadline: float) -> AttemptStatus | None:
        if not waiting:
            return AttemptStatus.SUCCEEDED
        if interrupt.is_set():
            return AttemptStatus.INTERRUPTED
        return AttemptStatus.TIMED_OUT if self._clock.monotonic() >= deadline else None


def _line(check: Probe, answer: Answer) -> Line:
    name = check.name or _question(check)
    return Line(name=name, held=answer.held, text=f"{name}: {answer.reason}")


def _question(check: Probe) -> str:
    match check.ask:
        case RunAsk(argv=argv):
            return " ".join(argv)
        case HttpAsk(url=url):
            return url
        case PromqlAsk(query=query):
            return query
