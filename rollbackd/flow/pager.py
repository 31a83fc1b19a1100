"""Says in Alertmanager what rollbackd is at, so that its own rules keep the pager quiet for exactly as long, and call when they must.

Each alert ends by itself soon after it was last sent: a daemon that is gone keeps nobody quiet.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

import aiohttp

from rollbackd.clock import Clock, rfc3339
from rollbackd.errors import RollbackdError, TemporaryError
from rollbackd.flow.trouble import Trouble
from rollbackd.model.incident import Incident, Phase
from rollbackd.model.policy import Mode, ServicePolicy
from rollbackd.outward import as_written, session
from rollbackd.settings.effective import AlertmanagerSettings, Settings
from rollbackd.settings.secrets import read_secret
from rollbackd.store.store import Store
from rollbackd.telemetry.redaction import harmless, register_secret

IN_PROGRESS: Final = "RollbackInProgress"
NEEDS_PERSON: Final = "RollbackNeedsPerson"
LIVES: Final = timedelta(seconds=45)
"""How long an alert stands after it was last sent."""
_AGAIN: Final = timedelta(seconds=15)
_WITHIN: Final = timedelta(seconds=10)

Labels = tuple[tuple[str, str], ...]


class Pager:
    def __init__(self, *, store: Store, settings: Callable[[], Settings], clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._said: dict[Labels, dict[str, Any]] = {}  # what Alertmanager was told last, so that it hears of the end

    async def run(self) -> None:
        """For ever: at once when an incident moves, and again while it lasts."""
        trouble = Trouble()
        while True:
            seen, pause = self._store.timeline.latest(), _AGAIN
            try:
                if (alertmanager := self._settings().alertmanager) is not None:
                    await self._say(alertmanager, self._clock.now())
                trouble = Trouble()
            except RollbackdError as e:
                trouble = trouble.after(e)
                trouble.say("alertmanager_not_told", e)
                pause = trouble.pause
            await self._next(seen, pause)

    async def _next(self, seen: int, pause: timedelta) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause.total_seconds()):
                await self._store.timeline.changed(seen)

    async def _say(self, alertmanager: AlertmanagerSettings, now: datetime) -> None:
        services = self._settings().services
        current = {_key(one): one for one in alerts_of(await self._store.incidents.open_ones(), services, now)}
        ended = [{**one, "endsAt": rfc3339(now)} for key, one in self._said.items() if key not in current]
        if current or ended:
            await _post(alertmanager, [*current.values(), *ended])
        self._said = current


def alerts_of(opened: Iterable[Incident], services: Mapping[str, ServicePolicy], now: datetime) -> Iterable[dict[str, Any]]:
    """What is to stand in Alertmanager. Nobody is kept quiet by a service that rollbackd only looks at."""
    for incident in opened:
        match incident.phase:
            case Phase.ROLLING_BACK | Phase.WATCHING:
                labels = {"alertname": IN_PROGRESS}
            case Phase.DECIDING if incident.mode is Mode.AUTO:
                labels = {"alertname": IN_PROGRESS}
            case Phase.PROPOSED | Phase.ESCALATED:
                labels = {"alertname": NEEDS_PERSON, "severity": _severity(incident, services.get(incident.service))}
            case _:
                continue
        yield {
            "labels": {**labels, "service": incident.service},
            "annotations": {"summary": harmless(_summary(incident)), "incident": incident.id},
            "startsAt": rfc3339(incident.opened_at),
            "endsAt": rfc3339(now + LIVES),
        }


def _severity(incident: Incident, policy: ServicePolicy | None) -> str:
    triggers = policy.triggers if policy is not None else ()
    return next((one.severity for one in triggers if one.name == incident.trigger), "critical")


def _summary(incident: Incident) -> str:
    because = incident.detail or incident.reason or incident.trigger
    match incident.phase:
        case Phase.PROPOSED:
            return f"{incident.service}: roll back {incident.suspect} to {incident.target}? rollbackd approve {incident.id}"
        case Phase.ESCALATED:
            return f"{incident.service}: a person is needed ({because}): rollbackd explain {incident.id}"
        case _:
            return f"{incident.service}: rollbackd is {incident.phase.replace('_', ' ')} ({because}): rollbackd watch {incident.id}"


def _key(alert: Mapping[str, Any]) -> Labels:
    return tuple(sorted(alert["labels"].items()))


async def _post(alertmanager: AlertmanagerSettings, alerts: list[dict[str, Any]]) -> None:
    """Raises TemporaryError; MisconfiguredError, where the token's file cannot be read."""
    headers = {}
    if alertmanager.token_file is not None:
        headers["Authorization"] = f"Bearer {register_secret(read_secret(alertmanager.token_file)).reveal()}"
    try:
        async with (
            asyncio.timeout(_WITHIN.total_seconds()),
            session() as client,
            client.post(
                as_written(f"{alertmanager.url.rstrip('/')}/api/v2/alerts"), json=alerts, headers=headers, allow_redirects=False
            ) as response,
        ):
            status, said = response.status, await response.content.read(500)
    except TimeoutError as e:
        raise TemporaryError(f"Alertmanager does not answer within {_WITHIN.total_seconds():g} s") from e
    except (aiohttp.ClientError, OSError, ValueError) as e:
        raise TemporaryError(f"Alertmanager: {harmless(str(e) or type(e).__name__)}") from e
    if status != 200:
        raise TemporaryError(f"Alertmanager answers HTTP {status}: {harmless(said.decode(errors='replace'))}")
