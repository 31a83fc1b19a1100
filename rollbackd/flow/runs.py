"""One run of a plan: what holds it, what stops it, what it tells. The same for a rollback, another runbook and an emergency."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final

from rollbackd.action.rollout import CompareAndSet, Gate, RunResult
from rollbackd.action.runner import Runner
from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError
from rollbackd.flow.bell import Bell
from rollbackd.model.incident import Incident
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.store.store import Store
from rollbackd.store.timeline import NewEntry
from rollbackd.supervisor import together

LONGEST_HOLD: Final = timedelta(seconds=15)  # between two looks at a pause, or at an abort; either rings the bell


class Runs:
    def __init__(self, *, store: Store, runner: Runner, bell: Bell, clock: Clock) -> None:
        self._store = store
        self._runner = runner
        self._bell = bell
        self._clock = clock
        self._stopping = False
        self._going_on: dict[asyncio.Event, Plan] = {}  # what interrupts a run that is going on, and what it runs
        self._idle = asyncio.Event()
        self._idle.set()

    async def stop(self, *, grace: timedelta) -> None:
        """No further step starts. One that runs ends by itself, within its own timeout, unless it may be interrupted; what is left
        after that and `grace` is cut off with everything else, and observed at the next start (I10).
        """
        self._stopping = True
        longest = max((step.timeout for plan in self._going_on.values() for step in plan.steps), default=timedelta(0))
        for interrupt in self._going_on:
            interrupt.set()
        try:
            async with asyncio.timeout((longest + grace).total_seconds()):
                await self._idle.wait()
        except TimeoutError:
            return

    async def leave(self, incident: Incident, why: str) -> None:
        """The run does not go on. Nothing of it keeps running, and no attempt stays without an outcome."""
        await self._runner.leave(incident.id, why)

    async def run(
        self, incident: Incident, policy: ServicePolicy, plan: Plan, *, first_index: int, compare_and_set: CompareAndSet | None = None
    ) -> RunResult:
        """What is left of it, also after a restart."""

        async def gate() -> Gate:
            """Asked before each step: a pause holds (I8), an abort stops."""
            async with together() as both:
                current = both.create_task(self._store.incidents.get(incident.id))
                pause = both.create_task(self._store.pauses.facts(incident.service, self._clock.now()))
            if current.result().abort_reason is not None:
                return Gate.STOP
            return Gate.HOLD if self._stopping or (pause.result().paused and not incident.while_paused) else Gate.GO

        async def tell(kind: str, text: str, facts: Mapping[str, object]) -> None:
            await self._store.timeline.append(incident.id, NewEntry(kind, text, facts), self._clock.now(), last_resort=True)

        async def ticked(index: int) -> str | None:
            return (await self._store.incidents.get(incident.id)).ticks.get(str(index))

        with self._counted(plan) as interrupt:
            async with together() as tasks:
                waiting = tasks.create_task(self._interrupt_when_aborted(incident, interrupt), name=f"abort {incident.id}")
                result = await self._runner.run(
                    incident.id,
                    policy,
                    plan,
                    gate=gate,
                    report=tell,
                    compare_and_set=compare_and_set,
                    interrupt=interrupt,
                    ticked=ticked,
                    first_index=first_index,
                )
                waiting.cancel()
        return result

    @contextmanager
    def _counted(self, plan: Plan) -> Iterator[asyncio.Event]:
        """What is yielded interrupts the run, as far as its steps let themselves be interrupted."""
        interrupt = asyncio.Event()
        self._going_on[interrupt] = plan
        self._idle.clear()
        try:
            yield interrupt
        finally:
            del self._going_on[interrupt]
            if not self._going_on:
                self._idle.set()

    async def _interrupt_when_aborted(self, incident: Incident, interrupt: asyncio.Event) -> None:
        """A store that cannot be read now is asked again: it must not cost the step that is running."""
        while True:
            with suppress(RollbackdError):
                if (await self._store.incidents.get(incident.id)).abort_reason is not None:
                    interrupt.set()
                    return
            await self._bell.wait(incident.id, LONGEST_HOLD)
