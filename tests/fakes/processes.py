"""What a test asks of the machine about processes: has it happened yet, and is anything left?"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another process does; the test's own timeout is the bound."""
    while not condition():  # noqa: ASYNC110 - nobody here could set an event
        await asyncio.sleep(0.005)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> set[str]:
    """Of this process; dead ones included, until they are waited for."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it is gone
            if f"\nPPid:\t{os.getpid()}\n" in status.read_text():
                found.add(status.parent.name)
    return found
