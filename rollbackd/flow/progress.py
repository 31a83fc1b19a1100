"""What is under way comes back in time, or the watchdog is not fed: a task that hangs looks like one that has nothing to do (I9)."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from rollbackd.action.plan import steps_of
from rollbackd.clock import Clock
from rollbackd.errors import TemporaryError
from rollbackd.model.incident import Phase
from rollbackd.model.policy import ServicePolicy

SOON: Final = timedelta(seconds=30)
"""For what takes milliseconds, and is refused by then where the store hangs."""


class Progress:
    """`clock` need not be right: it is only asked how long something takes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}

    @contextmanager
    def within(self, patience: timedelta, what: str) -> Iterator[None]:
        """`what` is under way for as long as the block lasts, and that is at most `patience`."""
        self._due[what] = self._clock.monotonic() + patience.total_seconds()
        try:
            yield
        finally:
            self._due.pop(what, None)

    def check(self) -> None:
        """Raises TemporaryError when something has not come back in time."""
        now = self._clock.monotonic()
        late = sorted(what for what, due in self._due.items() if due < now)
        if late:
            raise TemporaryError(f"has not come back: {', '.join(late)}")


def longest_visit(phase: Phase, policy: ServicePolicy) -> timedelta:
    """No visit to the station of this phase takes longer, the wait after it included. Everything in it has a deadline of its own, so
    this is generous: it is for the deadline that somebody forgot.
    """
    match phase:
        case Phase.ROLLING_BACK:
            runbooks = (policy.runbook, policy.on_failure.runbook if policy.on_failure else None)
            steps = [step for book in runbooks if book is not None for step, _ in steps_of(policy, book)]
            undos = [step.undo.timeout + 2 * SOON for step in steps if step.undo is not None]
            return 2 * sum(((1 + step.retries) * (step.timeout + 2 * SOON) for step in steps), sum(undos, SOON))
        case Phase.WATCHING:
            emergency = [step.timeout + 2 * SOON for step, _ in steps_of(policy, policy.on_failure.runbook)] if policy.on_failure else []
            return 2 * sum(emergency, policy.watch.duration + 10 * SOON)
        case _:
            return policy.recheck_every + max(policy.give_up_after, 2 * SOON)
