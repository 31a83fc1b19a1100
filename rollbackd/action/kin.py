"""Every process that came of one attempt, found by /proc: the child, its session, and those that left the session.

A pid alone proves nothing, for pids are reused. A process belongs to an attempt when it is the very child (pid and start time), when
it is in the child's session, when it carries the attempt's mark in the environment that it was started with, or when it came to us as
an orphan while no other command runs.
"""

import ctypes
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

import structlog

from rollbackd.action.environment import MARK
from rollbackd.model.attempt import ProcessIdentity

_log: Final = structlog.get_logger("action")

_STATE, _PARENT, _SESSION, _THREADS, _STARTED = 0, 1, 3, 17, 19  # places in /proc/PID/stat, counted after the name
_DEAD: Final = frozenset({b"Z", b"X", b"x"})
_PR_SET_CHILD_SUBREAPER: Final = 36


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table."""

    pid: int
    dead: bool  # only its parent still has to take note
    parent: int
    session_id: int
    started_ticks: int
    headless: bool = False  # its first thread has ended, so that it looks dead, and works on in the others

    @classmethod
    def read(cls, pid: int) -> Self | None:
        """None when there is no such process (any more), or it is hidden from us. Raises OSError when it cannot be looked for."""
        stat = _read(f"/proc/{pid}/stat")
        if not stat:
            return None
        fields = stat[stat.rindex(b")") + 2 :].split()
        headless = fields[_STATE] in _DEAD and int(fields[_THREADS]) > 1
        dead = fields[_STATE] in _DEAD and not headless
        return cls(pid, dead, int(fields[_PARENT]), int(fields[_SESSION]), int(fields[_STARTED]), headless)

    def told(self, name: str) -> bytes:
        """A file of /proc about it. Of one without its first thread any other tells the same."""
        if not self.headless:
            return _read(f"/proc/{self.pid}/{name}")
        with suppress(FileNotFoundError):
            threads = os.listdir(f"/proc/{self.pid}/task")  # noqa: PTH208 - as below
            return next(filter(None, (_read(f"/proc/{self.pid}/task/{each}/{name}") for each in threads if each != str(self.pid))), b"")
        return b""

    @property
    def identity(self) -> ProcessIdentity:
        return ProcessIdentity(pid=self.pid, started_ticks=self.started_ticks, session_id=self.session_id)

    def send(self, number: signal.Signals) -> bool:
        """To this very process, never to another one that got its pid. False: not sent; one of another user cannot be signalled."""
        with suppress(OSError):
            handle = os.pidfd_open(self.pid)
            try:
                now = Process.read(self.pid)
                if now is not None and now.started_ticks == self.started_ticks:
                    signal.pidfd_send_signal(handle, number)
                    return True
            finally:
                os.close(handle)
        return False


def process_table() -> list[Process]:
    """Raises OSError when it cannot be read, which is not the same as an empty one: no file may be left to open."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - a name is all that is asked for
    return [process for pid in pids if (process := Process.read(pid)) is not None]


class Orphans:
    """Processes whose own parent has ended. Where we adopt them none escapes, whatever it does to its session and its environment."""

    def __init__(self, *, adopt: bool = False) -> None:
        """`adopt`: only for a process that starts nothing but its commands, for every other child would be taken for an orphan."""
        self.commands: set[int] = set()  # our children that are none: they run now, and are waited for by whoever started them
        self._adopts = adopt and _become_subreaper()

    def are_of(self, child: int, process: Process) -> bool:
        """Whose one is cannot be told while several commands run; the last of them answers for all."""
        return self._is_one(process) and self.commands <= {child}

    def reap(self, table: Iterable[Process]) -> None:
        """Take note of those that have died, so that they do not stay in the process table for ever (I14)."""
        for process in table:
            if process.dead and self._is_one(process):
                with suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)

    def _is_one(self, process: Process) -> bool:
        return self._adopts and process.parent == os.getpid() and process.pid not in self.commands


@dataclass(frozen=True, slots=True)
class Kin:
    """The processes of one attempt. `child` is None when the daemon died before it could be written down."""

    child: ProcessIdentity | None
    mark: str | None
    orphans: Orphans = field(default_factory=Orphans)

    def alive(self) -> list[Process]:
        """Those that run now. Raises OSError when nobody can tell."""
        table = process_table()
        self.orphans.reap(table)
        session = self._session(table)
        return [process for process in table if not process.dead and process.pid != os.getpid() and self._belongs(process, session)]

    def _session(self, table: list[Process]) -> int | None:
        """The child's session; None when its number has meanwhile gone to a session of other people's, or to our own."""
        if self.child is None or self.child.session_id == os.getsid(0):
            return None
        leaders = (process for process in table if process.pid == self.child.session_id)
        if any(leader.started_ticks != self.child.started_ticks for leader in leaders):
            return None
        return self.child.session_id

    def _belongs(self, process: Process, session: int | None) -> bool:
        if self.child is not None:
            if process.identity == self.child or self.orphans.are_of(self.child.pid, process):
                return True
            if process.started_ticks < self.child.started_ticks:
                return False
        if process.session_id == session and process.told("cgroup") == _own_cgroup():
            return True  # the cgroup: after a reboot the number may be another's, but hardly inside our own unit
        return self.mark is not None and f"{MARK}={self.mark}".encode() in process.told("environ").split(b"\0")


def _become_subreaper() -> bool:
    """Orphans of our commands come to us from here on, and not to process 1."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
        return True
    _log.warning("orphans_not_adopted", error=os.strerror(ctypes.get_errno()), consequence="what leaves its session may not be found")
    return False


def _own_cgroup() -> bytes:
    return _read("/proc/self/cgroup")


def _read(path: str) -> bytes:
    """A whole file of /proc; empty when the process is gone, or another user's. Raises OSError when no file can be opened at all."""
    parts = []
    try:
        number = os.open(path, os.O_RDONLY)
        try:
            while part := os.read(number, 1 << 16):
                parts.append(part)
        finally:
            os.close(number)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
    return b"".join(parts)
