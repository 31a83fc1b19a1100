"""Tells people about an incident: the log always, the channels through the outbox, Sentry once, of its end."""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from rollbackd.model.incident import Incident, Severity
from rollbackd.model.message import Message, Topic
from rollbackd.notify.sentry import Sentry

_log: Final = structlog.get_logger("notice")
_LEVELS: Final = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "critical"}


async def _nobody(_message: Message) -> None: ...


class Teller:
    """Telling the same again, as after a crash, is harmless: the channels get it once an id, and all else carries the incident's."""

    def __init__(self, sentry: Sentry | None = None, post: Callable[[Message], Awaitable[None]] = _nobody) -> None:
        """`post` keeps a message for the channels, and returns when it is durable."""
        self._sentry = sentry
        self._post = post

    async def tell(self, incident: Incident, severity: Severity, text: str, topic: Topic | None = None) -> None:
        """`text` is one line for a person, `topic` what it is about if not how the incident stands. Nothing here waits for a network.

        Raises as the store does: then it has to be told again.
        """
        await self._post(Message.of(incident, severity, text, topic))
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
        if self._sentry is not None and _is_an_event(incident, severity, topic):
            known = {"incident": incident.id, "suspect": incident.suspect, "target": incident.target}
            self._sentry.tell(incident.service, severity, text, tags | {name: value for name, value in known.items() if value is not None})

    def alarm(self, topic: str, text: str) -> None:
        """About rollbackd itself, and not about an incident. Neither waits nor raises."""
        _log.critical(text, topic=topic)
        if self._sentry is not None:
            self._sentry.alarm(topic, text)


def _is_an_event(incident: Incident, severity: Severity, topic: Topic | None) -> bool:
    """One an incident that ran something or that somebody is to look at, when its outcome is known; and a bad release that is back."""
    if topic is not None:
        return True
    return incident.outcome is not None and (severity is not Severity.INFO or incident.rollback_started_at is not None)
