"""Gathers the facts of one incident for its report, and writes the report when the incident is closed."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from rollbackd.clock import Clock
from rollbackd.flow.collect import changes_since
from rollbackd.flow.pinned import Pinned
from rollbackd.report.facts import Facts
from rollbackd.report.files import purge_reports, write_report
from rollbackd.settings.effective import Settings
from rollbackd.store.store import Store

_log: Final = structlog.get_logger("report")


class Reporting:
    def __init__(self, *, store: Store, pinned: Pinned, settings: Callable[[], Settings], directory: Path, clock: Clock) -> None:
        self._store = store
        self._pinned = pinned
        self._settings = settings
        self._directory = directory
        self._clock = clock

    async def facts(self, incident_id: str) -> Facts:
        """Everything that is known of the incident now. Raises NotFoundError."""
        incident = await self._store.incidents.get(incident_id)
        policy = await self._pinned.policy_of(incident)
        since, until = changes_since(policy, incident.opened_at), incident.opened_at
        return Facts(
            incident=incident,
            policy=policy,
            changes=await self._store.changes.of_service(incident.service, since, until=until),
            decision=await self._store.incidents.decision_of(incident_id),
            alerts=await self._store.alerts.of_incident(incident_id),
            attempts=await self._store.attempts.of_incident(incident_id),
            looks=await self._store.looks.of_incident(incident_id),
            timeline=await self._store.timeline.of_incident(incident_id),
            contacts=self._settings().contacts,
            made_at=self._clock.now(),
        )

    def write(self, facts: Facts) -> None:
        """Put the report beside the store. A full disk costs the file, not the incident: it can be made again at any time."""
        try:
            write_report(self._directory, facts, self._settings().report_language)
        except OSError as e:
            _log.error("report_not_written", error=str(e), hint=f"free space, then 'rollbackd report {facts.incident.id}'")

    async def purge(self, before: datetime) -> None:
        """Delete the files of old reports."""
        try:
            await asyncio.to_thread(purge_reports, self._directory, before)
        except OSError as e:
            _log.warning("reports_not_purged", error=str(e))
