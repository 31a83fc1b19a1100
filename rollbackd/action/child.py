"""The direct child of an attempt: how it ended is learned from its pidfd, which nobody can hold open and which is never another's."""

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType
from typing import Final, Self

from rollbackd.action.kin import Kin, Orphans, Process
from rollbackd.errors import UncertainError
from rollbackd.supervisor import together

_SOON_SECONDS: Final = 5.0  # a child that was killed in its first moments is gone at once


class Ending(Enum):
    EXITED = auto()
    TIMED_OUT = auto()
    INTERRUPTED = auto()


class Child:
    """It is not waited for until its kin is gone: so long, its pid, group and session cannot become another's."""

    def __init__(self, popen: subprocess.Popen[bytes], *, mark: str | None, orphans: Orphans) -> None:
        self._popen = popen
        self._orphans = orphans
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        orphans.commands.add(popen.pid)
        try:
            process = Process.read(popen.pid)
            if process is None:
                raise FileNotFoundError(0, "nothing is known of it: is /proc mounted, and is it not hidden?")
            self._handle = os.pidfd_open(popen.pid)
        except OSError as e:
            self.send_group(signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                popen.wait(_SOON_SECONDS)
            orphans.commands.discard(popen.pid)
            raise UncertainError(f"process {popen.pid} was started and had to be killed at once: {e.strerror}") from e
        self.identity = process.identity
        self.kin = Kin(self.identity, mark, orphans)
        self._loop.add_reader(self._handle, self._on_exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        self._popen.poll()
        self._orphans.commands.discard(self._popen.pid)

    def send_group(self, number: signal.Signals) -> None:
        """At once, without a look at anything: to the child and those of its children that have not left its group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    async def ending(self, interrupt: asyncio.Event | None, *, deadline: float) -> Ending:
        """Wait for the first of its exit, the deadline and the interrupt. That it has exited outweighs the others."""
        try:
            async with asyncio.timeout_at(deadline):
                await _first_of(self._exited, *([interrupt] if interrupt else []))
        except TimeoutError:
            return Ending.EXITED if self._has_exited() else Ending.TIMED_OUT
        return Ending.EXITED if self._has_exited() else Ending.INTERRUPTED

    def code(self) -> int:
        """As subprocess has it: a negative number is a signal. Raises UncertainError rather than guess one, as subprocess would."""
        try:
            status = os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG)
        except ChildProcessError as e:
            raise UncertainError(f"how process {self.identity.pid} ended was not told to us: who else waits for our children?") from e
        if status is None:
            raise UncertainError(f"process {self.identity.pid} does not die, not even of KILL: look at it on the machine")
        self._popen.returncode = status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
        return self._popen.returncode

    def _has_exited(self) -> bool:
        try:
            return os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True  # and somebody else has taken note of it

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._handle)
        self._exited.set()


async def _first_of(*events: asyncio.Event) -> None:
    async with together() as group:
        waiting = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
