"""Says outside that it is alive and can act, again and again: who misses it (an uptime monitor, Sentry) tells people when it is not."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final

import aiohttp
import structlog

from rollbackd.clock import Clock
from rollbackd.errors import MisconfiguredError, RollbackdError
from rollbackd.notify.sentry import Sentry
from rollbackd.outward import as_written, session
from rollbackd.settings.effective import Settings
from rollbackd.settings.secrets import read_secret
from rollbackd.telemetry.redaction import harmless, register_secret

_WITHIN: Final = timedelta(seconds=10)

_log: Final = structlog.get_logger("heartbeat")


class Heartbeat:
    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        is_well: Callable[[], Coroutine[Any, Any, None]],
        sentry: Sentry | None,
        clock: Clock,
    ) -> None:
        """`is_well` raises a RollbackdError when something hangs, or the store cannot be written."""
        self._settings = settings
        self._is_well = is_well
        self._sentry = sentry
        self._clock = clock

    async def run(self) -> None:
        """For ever. A monitor that cannot be reached is named in the log, and stops nothing."""
        while True:
            settings = self._settings()
            every = settings.heartbeat.every if settings.heartbeat is not None else timedelta(minutes=1)
            well = await self._ask(every)
            if self._sentry is not None and settings.sentry is not None and settings.sentry.monitor is not None:
                self._sentry.check_in(settings.sentry.monitor, every, is_well=well)
            if well and settings.heartbeat is not None:
                try:
                    await _ping(register_secret(read_secret(settings.heartbeat.url_file)).reveal())
                except (aiohttp.ClientError, OSError, ValueError, MisconfiguredError) as e:
                    _log.warning("heartbeat_not_sent", error=harmless(str(e) or type(e).__name__))
            await self._clock.sleep(every)

    async def _ask(self, within: timedelta) -> bool:
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._is_well()
        except (RollbackdError, TimeoutError) as e:
            _log.warning("not_well", error=str(e) or "no answer")
            return False
        return True


async def _ping(url: str) -> None:
    async with (
        asyncio.timeout(_WITHIN.total_seconds()),
        session() as client,
        client.get(as_written(url), allow_redirects=False) as response,
    ):
        response.raise_for_status()
