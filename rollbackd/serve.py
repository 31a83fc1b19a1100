"""The process: the daemon for as long as its store can be used, and while it cannot, a server that refuses everything and says why."""

import asyncio
import signal
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from rollbackd.action.process import Processes
from rollbackd.app import NotArmedError, running
from rollbackd.clock import Clock, SystemClock
from rollbackd.errors import RollbackdError
from rollbackd.notify.sentry import Sentry
from rollbackd.notify.teller import Teller
from rollbackd.settings import tls
from rollbackd.settings.effective import Settings
from rollbackd.settings.load import load
from rollbackd.store.sqlite import path_of
from rollbackd.store.store import Store, damage_in
from rollbackd.supervisor import Supervisor, together
from rollbackd.telemetry import logs, sdnotify
from rollbackd.telemetry.metrics import Metrics
from rollbackd.web import unarmed
from rollbackd.web.door import listening

_log: Final = structlog.get_logger("daemon")
_STOP: Final = (signal.SIGTERM, signal.SIGINT)
_TRY_STORE_AGAIN: Final = timedelta(seconds=5)  # and no longer than a tenth of the time


def run(config_path: Path) -> int:
    """Serve until SIGTERM or SIGINT; the exit code.

    Raises:
        RollbackdError: it cannot start, with what to do about it.
    """
    logs.set_up()
    loaded = load(config_path)
    for problem in loaded.problems:
        _log.warning("config", problem=str(problem))
    return asyncio.run(_serve(loaded.settings))


async def _serve(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    stop, reload_asked = asyncio.Event(), asyncio.Event()
    for number in _STOP:
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload_asked.set)
    systemd = sdnotify.SystemdNotifier.from_environment()
    processes = Processes(adopt_orphans=True)

    async def armed() -> str:
        """Why it is so no longer; empty: it was told to stop."""
        try:
            async with running(settings, systemd=systemd, processes=processes, reload_asked=reload_asked) as daemon:
                if why := await _damage_or(stop, daemon.store):
                    return why
                systemd.stopping()
                for number in _STOP:  # a second one does not wait for a step that runs
                    loop.remove_signal_handler(number)
                return ""
        except NotArmedError as e:
            return str(e)

    while not stop.is_set():
        async with together() as group:  # a task of its own: this one has to go on after an error of the store
            serving = group.create_task(armed(), name="armed")
        if why := serving.result():
            await _unarmed(settings, why, stop, systemd, SystemClock())
    return 0


async def _damage_or(stop: asyncio.Event, store: Store) -> str:
    """Why the store must not be served from any more; empty: the daemon was told to stop."""
    async with together() as group:
        stopped = group.create_task(stop.wait(), name="told to stop")
        damaged = group.create_task(store.damaged(), name="damage of the store")
        await asyncio.wait({stopped, damaged}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        damaged.cancel()
    return "" if damaged.cancelled() else damaged.result()


async def _unarmed(settings: Settings, why: str, stop: asyncio.Event, systemd: sdnotify.SystemdNotifier, clock: Clock) -> None:
    """Refuse everything and say why, until the store can be used or the daemon is told to stop."""
    context = tls.listening(settings.server.tls)
    async with (
        Sentry.from_settings(settings.sentry) as sentry,
        listening(unarmed.build(lambda: why), settings.server, tls=context, metrics=Metrics(), clock=clock),
        Supervisor() as supervisor,
    ):
        supervisor.spawn("watchdog", sdnotify.feed_watchdog(systemd, clock, progress=_nothing))
        systemd.ready()
        teller, told, pause = Teller(sentry), "", _TRY_STORE_AGAIN
        while why and not stop.is_set():
            if why != told:
                teller.alarm("store", f"not armed: {why}")
                systemd.status(f"not armed: {why}")
                told = why
            with suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds()):
                    await stop.wait()
                    return
            began = clock.monotonic()
            why = await _trouble_with_store(settings, clock)
            pause = max(_TRY_STORE_AGAIN, 10 * timedelta(seconds=clock.monotonic() - began))


async def _trouble_with_store(settings: Settings, clock: Clock) -> str:
    """Why it cannot be served from; empty: it was opened, and read through."""
    try:
        async with Store.opened(settings.store_url, clock=clock) as store:
            found = await store.check_quickly()
    except RollbackdError as e:
        return str(e)
    return damage_in(path_of(settings.store_url), found) if found else ""


async def _nothing() -> None: ...
