"""Tells the channels about an incident: the log always, Sentry from a warning on."""

from typing import Final

import structlog

from rollbackd.model.incident import Incident, Severity
from rollbackd.notify.sentry import Sentry

_log: Final = structlog.get_logger("notice")
_LEVELS: Final = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "critical"}


class Teller:
    """Telling the same again, as after a crash, is harmless: everything carries the incident's id."""

    def __init__(self, sentry: Sentry | None = None) -> None:
        self._sentry = sentry

    async def tell(self, incident: Incident, severity: Severity, text: str) -> None:
        """`text` is one line for a person. Nothing here waits for a network, and nothing raises."""
        tags = {
            name: str(value)
            for name, value in (
                ("service", incident.service),
                ("phase", incident.phase),
                ("decision", incident.decision),
                ("reason", incident.reason),
                ("outcome", incident.outcome),
            )
            if value is not None
        }
        getattr(_log, _LEVELS[severity])(text, incident=incident.id, **tags)
        if self._sentry is not None and severity is not Severity.INFO:
            self._sentry.tell(incident.id, severity, text, tags)

    def alarm(self, topic: str, text: str) -> None:
        """About rollbackd itself, and not about an incident. Neither waits nor raises."""
        _log.critical(text, topic=topic)
        if self._sentry is not None:
            self._sentry.alarm(topic, text)
