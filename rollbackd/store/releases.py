"""The release register's memory: what was released when, and what it is trusted for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, insert, select, update

from rollbackd.model.audit import AuditEntry
from rollbackd.model.release import Mark, Release, ReleaseStatus
from rollbackd.store.audit import write_audit
from rollbackd.store.columns import as_row, record_of
from rollbackd.store.database import Database
from rollbackd.store.tables import releases


@dataclass(frozen=True, slots=True)
class Recorded:
    """`created` is False when this service, version and start were known; `release` is then what the store has."""

    release: Release
    created: bool


class Releases:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, release: Release, *, audited: AuditEntry | None = None) -> Recorded:
        """A version that is marked stays marked when it is released again: only a person takes a mark away (I4)."""

        def query(connection: Connection) -> Recorded:
            known: Sequence[Release] = connection.scalars(_of_version(release.service, release.version)).all()
            for same in known:
                if same.started_at == release.started_at:
                    return Recorded(same, created=False)
            new = release
            if known and release.mark is Mark.NONE:
                new = replace(release, mark=known[0].mark, mark_reason=known[0].mark_reason)
            connection.execute(insert(releases).values(as_row(releases, new)))
            write_audit(connection, audited)
            return Recorded(new, created=True)

        return await self._database.write(query)

    async def of_service(self, service: str, *, limit: int = 200) -> tuple[Release, ...]:
        """Newest first."""
        return await self._database.all(_newest_first().where(releases.c.service == service).limit(limit), record_of)

    async def since(self, at: datetime) -> tuple[Release, ...]:
        """Of every service, newest first: those that started since then."""
        return await self._database.all(_newest_first().where(releases.c.started_at >= at), record_of)

    async def update(
        self,
        service: str,
        version: str,
        *,
        status: ReleaseStatus,
        live_at: datetime | None,
        started_at: datetime | None = None,
        audited: AuditEntry | None = None,
    ) -> Release | None:
        """How the release of this version went on: the one that started then, else the newest. None: there is none."""
        wanted = _of_version(service, version)
        if started_at is not None:
            wanted = wanted.where(releases.c.started_at == started_at)

        def query(connection: Connection) -> Release | None:
            found: Release | None = connection.scalar(wanted.limit(1))
            if found is None:
                return None
            write_audit(connection, audited)
            return _write(connection, replace(found, status=status, live_at=live_at))

        return await self._database.write(query)

    async def mark(self, service: str, version: str, mark: Mark, reason: str, *, audited: AuditEntry | None = None) -> bool:
        """Every release of this version. False: there is none."""

        def query(connection: Connection) -> bool:
            known: Sequence[Release] = connection.scalars(_of_version(service, version)).all()
            for release in known:
                _write(connection, replace(release, mark=mark, mark_reason=reason))
            write_audit(connection, audited if known else None)
            return bool(known)

        return await self._database.write(query)


def _newest_first() -> Select[Any]:
    return select(releases.c.record).order_by(releases.c.started_at.desc(), releases.c.arrival.desc())


def _of_version(service: str, version: str) -> Select[Any]:
    return _newest_first().where(releases.c.service == service, releases.c.version == version)


def _write(connection: Connection, release: Release) -> Release:
    this_one = and_(
        releases.c.service == release.service, releases.c.version == release.version, releases.c.started_at == release.started_at
    )
    connection.execute(update(releases).where(this_one).values(record=release))
    return release
