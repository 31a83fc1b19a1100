"""The release register's memory: what was released when, and what it is trusted for."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, insert, select, update

from rollbackd.errors import NotFoundError
from rollbackd.model.release import Mark, Release, ReleaseStatus
from rollbackd.store.columns import as_record, as_row
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

    async def record(self, release: Release) -> Recorded:
        """A version that is marked stays marked when it is released again: only a person takes a mark away (I4)."""

        def query(connection: Connection) -> Recorded:
            known = [_to_release(row) for row in connection.execute(_of_version(release.service, release.version))]
            for same in known:
                if same.started_at == release.started_at:
                    return Recorded(same, created=False)
            new = release
            if known and release.mark is Mark.NONE:
                new = replace(release, mark=known[0].mark, mark_reason=known[0].mark_reason)
            connection.execute(insert(releases).values(as_row(new)))
            return Recorded(new, created=True)

        return await self._database.write(query)

    async def of_service(self, service: str, *, limit: int = 200) -> tuple[Release, ...]:
        """Newest first."""
        query = select(*_COLUMNS).where(releases.c.service == service).order_by(releases.c.started_at.desc(), releases.c.id.desc())
        return await self._database.all(query.limit(limit), _to_release)

    async def update(self, service: str, version: str, *, status: ReleaseStatus, live_at: datetime | None) -> Release:
        """How the newest release of this version went on. Raises NotFoundError."""

        def query(connection: Connection) -> Release:
            newest = _newest(connection, service, version)
            this_one = and_(releases.c.service == service, releases.c.version == version, releases.c.started_at == newest.started_at)
            connection.execute(update(releases).where(this_one).values(status=status, live_at=live_at))
            return replace(newest, status=status, live_at=live_at)

        return await self._database.write(query)

    async def mark(self, service: str, version: str, mark: Mark, reason: str) -> Release:
        """Every release of this version; the newest is returned. Raises NotFoundError."""

        def query(connection: Connection) -> Release:
            newest = _newest(connection, service, version)
            same_version = update(releases).where(releases.c.service == service, releases.c.version == version)
            connection.execute(same_version.values(mark=mark, mark_reason=reason))
            return replace(newest, mark=mark, mark_reason=reason)

        return await self._database.write(query)


_COLUMNS: Final = [column for column in releases.c if column.name != "id"]
_to_release: Final = as_record(Release)


def _of_version(service: str, version: str) -> Select[Any]:
    """Newest first."""
    query = select(*_COLUMNS).where(releases.c.service == service, releases.c.version == version)
    return query.order_by(releases.c.started_at.desc(), releases.c.id.desc())


def _newest(connection: Connection, service: str, version: str) -> Release:
    row = connection.execute(_of_version(service, version).limit(1)).first()
    if row is None:
        raise NotFoundError(f"no release {version} of {service} is recorded")
    return _to_release(row)
