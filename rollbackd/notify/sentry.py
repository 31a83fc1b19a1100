"""Sentry: crashes of the daemon, and what people are told from a warning on. Silent, and not even imported, without a DSN.

By itself the SDK sends local variables, source lines, command lines, breadcrumbs and whole log events. All of that is off, and what is
left passes through the redaction (I13).
"""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, Self
from urllib.parse import urlsplit

from rollbackd import __version__
from rollbackd.errors import MisconfiguredError, RollbackdError
from rollbackd.model.incident import Severity
from rollbackd.settings.effective import SentrySettings
from rollbackd.settings.secrets import read_secret
from rollbackd.telemetry.redaction import harmless_data, register_secret

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

FLUSH_WITHIN: Final = timedelta(seconds=2)

_LEVELS: Final[Mapping[Severity, Literal["info", "warning", "fatal"]]] = {
    Severity.INFO: "info",
    Severity.WARNING: "warning",
    Severity.CRITICAL: "fatal",
}
_NEVER_SENT: Final = ("request", "user", "extra", "breadcrumbs", "modules")


class Sentry:
    """A running SDK. Its transport has a thread and a bounded queue of its own: telling never waits, and drops when that is full."""

    @classmethod
    @asynccontextmanager
    async def from_settings(cls, settings: SentrySettings | None) -> AsyncIterator[Self | None]:
        """None without settings. An exception that passes through is reported; on leaving, what is queued has `FLUSH_WITHIN` to go.

        Raises:
            MisconfiguredError: the DSN file cannot be read, or holds no DSN.
        """
        if settings is None:
            yield None
            return
        import sentry_sdk  # noqa: PLC0415 - 200 ms and 15 MB that only those pay who use it
        from sentry_sdk.integrations.asyncio import enable_asyncio_integration  # noqa: PLC0415
        from sentry_sdk.integrations.dedupe import DedupeIntegration  # noqa: PLC0415
        from sentry_sdk.utils import BadDsn  # noqa: PLC0415

        dsn = register_secret(read_secret(settings.dsn_file)).reveal()
        register_secret(urlsplit(dsn).username or "")
        try:
            sentry_sdk.init(  # `send_default_pii` is off unless named, and newer versions warn of naming it
                dsn=dsn,
                environment=settings.environment,
                release=f"rollbackd@{__version__}",
                default_integrations=False,
                auto_enabling_integrations=False,
                integrations=[DedupeIntegration()],
                before_send=scrub,
                ignore_errors=[RollbackdError],  # raised on purpose: whoever handles it tells people in words
                include_local_variables=False,
                include_source_context=False,
                max_request_body_size="never",
                max_breadcrumbs=0,
                auto_session_tracking=False,
                send_client_reports=False,
            )
        except BadDsn as e:
            raise MisconfiguredError("holds no DSN: copy it from the project's settings in Sentry", path=str(settings.dsn_file)) from e
        loop = asyncio.get_running_loop()
        factory = loop.get_task_factory()
        enable_asyncio_integration(task_spans=False)
        client = sentry_sdk.get_client()
        try:
            yield cls()
        except Exception as e:
            sentry_sdk.capture_exception(e)
            raise
        finally:
            loop.set_task_factory(factory)
            sentry_sdk.get_global_scope().set_client(None)
            await asyncio.to_thread(client.close, timeout=FLUSH_WITHIN.total_seconds())

    def tell(self, service: str, severity: Severity, text: str, tags: Mapping[str, str]) -> None:
        """An event about an incident; the events of one service are one issue."""
        self._capture(service, severity, text, tags)

    def check_in(self, monitor: str, every: timedelta, *, is_well: bool) -> None:
        """To a monitor of Sentry Crons, which is made if it is not there: it is missed after `every`, and two minutes more."""
        from sentry_sdk.crons import MonitorStatus, capture_checkin  # noqa: PLC0415

        minutes = max(1, math.ceil(every / timedelta(minutes=1)))
        capture_checkin(
            monitor_slug=monitor,
            status=MonitorStatus.OK if is_well else MonitorStatus.ERROR,
            monitor_config={"schedule": {"type": "interval", "value": minutes, "unit": "minute"}, "checkin_margin": 2, "max_runtime": 2},
        )

    def alarm(self, topic: str, text: str) -> None:
        """About rollbackd itself: one issue a topic."""
        self._capture(topic, Severity.CRITICAL, text, {"topic": topic})

    def _capture(self, issue: str, severity: Severity, text: str, tags: Mapping[str, str]) -> None:
        import sentry_sdk  # noqa: PLC0415

        with sentry_sdk.new_scope() as scope:
            scope.set_tags(tags)
            scope.fingerprint = ["rollbackd", issue]
            scope.capture_message(text, level=_LEVELS[severity])


def scrub(event: "Event", _hint: "Hint") -> "Event":
    """The event without what is never sent, and with every text made harmless. Raising here would make the SDK drop the event."""
    kept = {key: value for key, value in event.items() if key not in _NEVER_SENT}
    return harmless_data(kept)  # type: ignore[return-value]
