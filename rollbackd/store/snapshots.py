"""The config that an incident started with, kept under its digest for as long as the incident is."""

import hashlib
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from rollbackd.clock import Clock
from rollbackd.errors import NotFoundError
from rollbackd.store.database import Database
from rollbackd.store.tables import snapshots


class Snapshots:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def put(self, content: bytes) -> str:
        """Its digest. The same content is stored once; it stays for as long as the retention after its last use."""
        digest, now = digest_of(content), self._clock.now()
        await self._database.write(lambda connection: write_snapshot(connection, digest, content, now))
        return digest

    async def get(self, digest: str) -> bytes:
        """Raises NotFoundError."""
        query = select(snapshots.c.content).where(snapshots.c.digest == digest)
        found: tuple[bytes, ...] = await self._database.all(query, lambda row: row.content)
        if not found:
            raise NotFoundError(f"no config snapshot {digest}")
        return found[0]


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_snapshot(connection: Connection, digest: str, content: bytes, now: datetime) -> None:
    """`Incidents.open` writes it in the same transaction."""
    used = connection.execute(update(snapshots).where(snapshots.c.digest == digest).values(used_at=now))
    if used.rowcount == 0:
        connection.execute(insert(snapshots).values(digest=digest, content=content, used_at=now))
