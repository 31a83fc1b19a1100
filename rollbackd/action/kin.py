"""Every process that came of one attempt, found by /proc: the child, its session, and those that left the session.

A pid alone proves nothing, for pids are reused. A process belongs to an attempt when it is the very child (pid and start time), when
it is in the child's session, or when it carries the attempt's mark in the environment that it was started with.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from rollbackd.action.environment import MARK
from rollbackd.model.attempt import ProcessIdentity

_STATE, _SESSION, _STARTED = 0, 3, 19  # places in /proc/PID/stat, counted after the name
_DEAD: Final = frozenset({b"Z", b"X", b"x"})


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table."""

    pid: int
    dead: bool  # only its parent still has to take note
    session_id: int
    started_ticks: int

    @classmethod
    def read(cls, pid: int) -> Self | None:
        """None when there is no such process (any more)."""
        stat = _read(f"/proc/{pid}/stat")
        if not stat:
            return None
        fields = stat[stat.rindex(b")") + 2 :].split()
        return cls(pid, fields[_STATE] in _DEAD, int(fields[_SESSION]), int(fields[_STARTED]))

    @property
    def identity(self) -> ProcessIdentity:
        return ProcessIdentity(pid=self.pid, started_ticks=self.started_ticks, session_id=self.session_id)

    def send(self, number: signal.Signals) -> None:
        """To this very process, never to another one that got its pid. One of another user cannot be signalled."""
        with suppress(OSError):
            handle = os.pidfd_open(self.pid)
            try:
                now = Process.read(self.pid)
                if now is not None and now.started_ticks == self.started_ticks:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)


@dataclass(frozen=True, slots=True)
class Kin:
    """The processes of one attempt. `child` is None when the daemon died before it could be written down."""

    child: ProcessIdentity | None
    mark: str | None

    def alive(self) -> list[Process]:
        """Those that run now."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - a name is all that is asked for
        table = [process for pid in pids if (process := Process.read(pid)) is not None]
        session = self._session(table)
        return [process for process in table if not process.dead and self._belongs(process, session)]

    def _session(self, table: list[Process]) -> int | None:
        """The child's session; None when its number has meanwhile gone to a session of other people's."""
        if self.child is None:
            return None
        leaders = (process for process in table if process.pid == self.child.session_id)
        if any(leader.started_ticks != self.child.started_ticks for leader in leaders):
            return None
        return self.child.session_id

    def _belongs(self, process: Process, session: int | None) -> bool:
        if self.child is not None:
            if process.identity == self.child:
                return True
            if process.started_ticks < self.child.started_ticks:
                return False
        if process.session_id == session and _cgroup(process.pid) == _cgroup("self"):
            return True  # the cgroup: after a reboot the number may be another's, but hardly inside our own unit
        return self.mark is not None and f"{MARK}={self.mark}".encode() in _read(f"/proc/{process.pid}/environ").split(b"\0")


def reap(pid: int) -> None:
    """Take note of a dead process that came to us as its new parent, as it does in a container where rollbackd is process 1."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _cgroup(pid: int | str) -> bytes:
    return _read(f"/proc/{pid}/cgroup")


def _read(path: str) -> bytes:
    """A whole file of /proc; empty when the process is gone, or another user's."""
    parts = []
    try:
        number = os.open(path, os.O_RDONLY)
        try:
            while part := os.read(number, 1 << 16):
                parts.append(part)
        finally:
            os.close(number)
    except OSError:
        return b""
    return b"".join(parts)
