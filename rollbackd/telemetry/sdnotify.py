"""systemd's notification protocol: ready, alive, stopping, and a status line; does nothing where systemd does not ask for it.

The watchdog is fed from the event loop, so that a blocked loop is not fed and systemd starts the daemon again (I9).
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final, Self

import structlog

from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError
from rollbackd.telemetry.redaction import one_line

_log: Final = structlog.get_logger("systemd")


class SystemdNotifier:
    """`address` is a datagram socket: a path, or an abstract name that begins with `@`; None: nobody listens."""

    def __init__(self, address: str | None, *, watchdog: timedelta | None = None) -> None:
        self._address = "\0" + address[1:] if address is not None and address.startswith("@") else address
        self.watchdog = watchdog

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """What systemd asks for: NOTIFY_SOCKET, and WATCHDOG_USEC where WATCHDOG_PID, if set, is this process."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog = timedelta(microseconds=int(microseconds)) if ours and microseconds.isdecimal() and int(microseconds) > 0 else None
        return cls(environment.get("NOTIFY_SOCKET") or None, watchdog=watchdog)

    def ready(self) -> None:
        self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line: a newline would begin another assignment."""
        self._send(f"STATUS={one_line(text)}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        """Never blocks and never stops the daemon: a message that does not get through is logged, and the next one may."""
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as outgoing:
            outgoing.setblocking(False)
            try:
                outgoing.sendto(message.encode(), self._address)
            except OSError as e:
                _log.warning("systemd_not_notified", message=message, error=str(e))


async def feed_watchdog(systemd: SystemdNotifier, clock: Clock, *, progress: Callable[[], Awaitable[None]]) -> None:
    """For ever, twice in each interval that systemd allows, and only after real progress; returns at once where it allows none.

    `progress` is awaited before each feeding, within half an interval: when the store no longer answers, systemd starts the daemon
    again.
    """
    if systemd.watchdog is None:
        return
    half = systemd.watchdog / 2
    while True:
        try:
            async with asyncio.timeout(half.total_seconds()):
                await progress()
            systemd.alive()
        except (TimeoutError, RollbackdError) as e:
            _log.error("no_progress", error=str(e) or "timed out", consequence="the watchdog is not fed")
        await clock.sleep(half)
