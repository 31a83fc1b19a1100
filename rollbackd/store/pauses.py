"""The kill switch's memory. What cannot be read means paused (I8)."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Row, delete, func, insert, select, type_coerce

from rollbackd.errors import RollbackdError
from rollbackd.model.audit import AuditEntry
from rollbackd.model.decision import PauseFacts
from rollbackd.store.audit import write_audit
from rollbackd.store.columns import from_microseconds
from rollbackd.store.database import Database
from rollbackd.store.tables import pauses

GLOBAL: Final = "global"


class Pauses:
    """`scope` is a service, or "global" for all of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, scope: str, until: datetime, reason: str, by: str, at: datetime, *, audited: AuditEntry | None = None) -> None:
        """In the place of a pause that the scope may already have."""

        def query(connection: Connection) -> None:
            connection.execute(delete(pauses).where(pauses.c.scope == scope))
            connection.execute(insert(pauses).values(scope=scope, until=until, reason=reason, by=by, at=at))
            write_audit(connection, audited)

        await self._database.write(query)

    async def clear(self, scope: str, *, audited: AuditEntry | None = None) -> bool:
        """False: there was none. With the global one goes what is so damaged that it holds for everybody."""
        is_it = pauses.c.scope == scope
        if scope == GLOBAL:
            is_it |= func.typeof(pauses.c.scope) != "text"

        def query(connection: Connection) -> bool:
            write_audit(connection, audited)
            return connection.execute(delete(pauses).where(is_it)).rowcount > 0

        return await self._database.write(query)

    async def forget_ended(self, now: datetime) -> None:
        """Those that are over by now are over, whatever time it will be."""
        await self._database.execute(delete(pauses).where(pauses.c.until <= now))

    async def facts(self, service: str, now: datetime) -> PauseFacts:
        """Whether the service may not act now, the global pause first. It never raises: a store that cannot be read means paused."""
        try:
            found = await self.all(now)
        except RollbackdError as error:
            return PauseFacts(paused=True, scope=GLOBAL, why=f"whether it is paused cannot be read: {error}")
        return next((facts for facts in found if facts.scope in {GLOBAL, service}), PauseFacts())

    async def all(self, now: datetime) -> tuple[PauseFacts, ...]:
        """Those that hold now, the global one first."""
        raw_until = type_coerce(pauses.c.until, BigInteger).label("until")  # as it stands there: a damaged row must not stop the others
        query = select(pauses.c.scope, raw_until, pauses.c.reason, pauses.c.by).order_by(pauses.c.scope != GLOBAL, pauses.c.scope)
        found = await self._database.all(query, _to_facts)
        return tuple(facts for facts in found if facts.until is None or facts.until > now)


def _to_facts(row: Row[Any]) -> PauseFacts:
    """`until` is None when the row is damaged: then it holds until a person clears it. Whose it is not known of, it is everybody's."""
    scope = row.scope if isinstance(row.scope, str) else GLOBAL
    try:
        return PauseFacts(paused=True, scope=scope, until=from_microseconds(row.until), why=f"{row.reason} ({row.by})")
    except (TypeError, OverflowError):
        return PauseFacts(paused=True, scope=scope, why="its pause cannot be read: resume it, then pause it again")
