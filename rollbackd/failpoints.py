"""Named places where a test may kill, break or hang the daemon: `ROLLBACKD_FAILPOINT=name:kill|raise|hang|block`.

`hang` is one task that never goes on, `block` the whole event loop.

Every journal write and step boundary has one. The registry is closed: reaching a name that is not in it is a bug, and a test
enumerates it, so that a new write without a crash test fails the suite.
"""

import asyncio
import os
import signal
import threading
from typing import Final

FAILPOINTS: Final = frozenset({
    "intake.before_commit",
    "intake.after_commit",
    "incident.after_open",
    "decision.after_record",
    "rollback.after_advance",
    "attempt.before_intent",
    "attempt.after_intent",
    "attempt.after_start",
    "attempt.after_exit",
    "attempt.after_outcome",
    "rollback.after_last_step",
    "watch.before_outcome",
    "incident.after_close",
    "message.after_put",
    "message.after_sent",
})  # fmt: skip

ENVIRONMENT_VARIABLE: Final = "ROLLBACKD_FAILPOINT"


class FailpointError(Exception):
    """What `name:raise` raises; no family of rollbackd's errors, so that nothing handles it."""


async def reach(name: str) -> None:
    """Pass the failpoint `name`: nothing happens unless the environment names it."""
    if name not in FAILPOINTS:
        raise AssertionError(f"failpoint {name!r} is not registered")
    wanted, _, action = os.environ.get(ENVIRONMENT_VARIABLE, "").partition(":")
    if wanted != name:
        return
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise FailpointError(name)
        case "hang":
            await asyncio.Event().wait()
        case "block":
            threading.Event().wait()
        case _:
            raise AssertionError(f"{ENVIRONMENT_VARIABLE}={wanted}:{action}: the action is kill, raise, hang or block")
