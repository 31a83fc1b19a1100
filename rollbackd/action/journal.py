"""What the runner asks of the store: every attempt is written down before it starts and after it ended (I5)."""

import asyncio
from collections.abc import Coroutine, Iterable
from datetime import timedelta
from typing import Any, Final, Protocol

from rollbackd.action.output import KEEP
from rollbackd.action.plan import steps_of
from rollbackd.errors import TemporaryError
from rollbackd.model.attempt import Attempt
from rollbackd.model.policy import ServicePolicy

_PATIENCE: Final = timedelta(seconds=10)
_RECORD_BYTES: Final = 16 * 1024  # of an attempt beside its output, with its entries in the story
_WATCH_BYTES: Final = 1024 * 1024  # looks, decisions, what the report says of them
_PLACES: Final = 4  # everything is written to the log of the store, to the store, and to the report in two formats


class Journal(Protocol):
    """Durable on return. An attempt whose id is there already is refused: at most one execution of it, in all processes (I1)."""

    async def intend(self, attempt: Attempt) -> None: ...

    async def started(self, attempt: Attempt) -> None: ...

    async def ended(self, attempt: Attempt) -> None: ...

    async def of_incident(self, incident_id: str) -> tuple[Attempt, ...]: ...


def room_for_any(policies: Iterable[ServicePolicy]) -> int:
    """How many bytes the longest run of them may write."""
    return max((room_for(policy) for policy in policies if policy.runbook is not None), default=0)


def room_for(policy: ServicePolicy) -> int:
    """How many bytes a whole run may write: every attempt with all that is kept of what it prints; one of each step may be cut off,
    each may be taken back, and the emergency runbook may follow.
    """
    runbooks = (policy.runbook, policy.on_failure.runbook if policy.on_failure is not None and policy.on_failure.auto else None)
    steps = [step for runbook in runbooks if runbook is not None for step, _ in steps_of(policy, runbook)]
    attempts = sum(2 + step.retries + 2 * (step.undo is not None) for step in steps)
    return _PLACES * attempts * (2 * KEEP + _RECORD_BYTES) + _WATCH_BYTES


async def settle(write: Coroutine[Any, Any, None]) -> None:
    """Finish `write` even when the caller is cancelled: an outcome that is known must not be lost to a shutdown.

    Raises:
        TemporaryError: the store took too long; whether it has the outcome is not known.
    """
    done = asyncio.Event()

    async def finish() -> None:
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                await write
        except TimeoutError as e:
            raise TemporaryError(f"the store did not answer within {_PATIENCE.total_seconds():g} s") from e
        finally:
            done.set()

    try:
        await asyncio.shield(finish())
    except asyncio.CancelledError:
        await done.wait()
        raise
