"""The tables. What is searched is a column, under the name of its field; the whole is a document beside it, so that a new field of the
model with a default needs no migration.

`migrations/` builds the same schema step by step; a test compares the two.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
)

from rollbackd.model.alert import AlertStatus
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.change import ChangeKind
from rollbackd.model.decision import Decision
from rollbackd.model.incident import Incident, Outcome, Phase
from rollbackd.model.look import Look
from rollbackd.model.message import Message
from rollbackd.model.release import Release
from rollbackd.store.columns import Code, Document, Instant

metadata: Final = MetaData()

ArrivalNumber = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only where the type is INTEGER


def _incident_column() -> Column[str]:
    """Belongs to an incident, and goes when it goes."""
    return Column("incident_id", String(64), ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False, index=True)


incidents: Final = Table(
    "incidents",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("service", Text, nullable=False),
    Column("phase", Code(Phase), nullable=False),
    Column("outcome", Code(Outcome)),
    Column("fingerprint", Text),
    Column("starts_at", Instant),
    Column("opened_at", Instant, nullable=False),
    Column("rollback_started_at", Instant),
    Column("rollback_ended_at", Instant),
    Column("closed_at", Instant),
    Column("told_at", Instant),
    Column("acknowledged_by", Text),
    Column("snapshot", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("record", Document(Incident), nullable=False),
)
# Written out in each statement: SQLite uses a partial index only where it can see that the condition is the same.
IS_OPEN: Final = incidents.c.phase != bindparam(None, Phase.CLOSED, type_=incidents.c.phase.type, literal_execute=True)
# I1: at most one open incident per service, whatever the code above does. PostgreSQL will need its own `postgresql_where` on the partial
# indexes; naming it imports that dialect, 3 MB and 20 ms that a daemon on SQLite does not have to spare.
Index("one_open_incident", incidents.c.service, unique=True, sqlite_where=IS_OPEN)
Index("incidents_newest", incidents.c.opened_at, incidents.c.id)
Index("incidents_of_service", incidents.c.service, incidents.c.opened_at)
Index("incidents_by_phase", incidents.c.phase, incidents.c.opened_at)
Index("incidents_by_outcome", incidents.c.outcome, incidents.c.opened_at)
Index("incidents_of_alert", incidents.c.fingerprint, incidents.c.starts_at)
Index("incidents_by_rollback", incidents.c.rollback_started_at)
Index("incidents_by_rollback_end", incidents.c.rollback_ended_at)
Index("incidents_by_end", incidents.c.closed_at)
Index("incidents_untold", incidents.c.opened_at, sqlite_where=incidents.c.told_at.is_(None))

# Thousands of rows a second go in here. The key begins with the time, so that they land on the same page of its index.
alerts: Final = Table(
    "alerts",
    metadata,
    Column("id", ArrivalNumber, primary_key=True),
    Column("starts_at", Instant, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("status", Code(AlertStatus), nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("rest", Text, nullable=False),
    Column("handled_at", Instant),
    Column("incident_id", String(64), ForeignKey("incidents.id", ondelete="CASCADE")),
    UniqueConstraint("starts_at", "fingerprint", "status", name="alert_event_key"),
    sqlite_autoincrement=True,
)
_unhandled = alerts.c.handled_at.is_(None)
Index("alerts_unhandled", alerts.c.id, sqlite_where=_unhandled)
_belongs = alerts.c.incident_id.is_not(None)
Index("alerts_of_incident", alerts.c.incident_id, sqlite_where=_belongs)

ignored_alerts: Final = Table(
    "ignored_alerts",
    metadata,
    Column("arrival", ArrivalNumber, primary_key=True),
    Column("received_at", Instant, nullable=False),
    Column("why", Text, nullable=False),
    Column("labels", Document(dict[str, str]), nullable=False),
)

decisions: Final = Table(
    "decisions",
    metadata,
    Column("arrival", ArrivalNumber, primary_key=True),
    _incident_column(),
    Column("record", Document(Decision), nullable=False),
)

attempts: Final = Table(
    "attempts",
    metadata,
    Column("arrival", ArrivalNumber, primary_key=True),
    Column("id", String(64), nullable=False, unique=True),
    _incident_column(),
    Column("status", Code(AttemptStatus), nullable=False),
    Column("record", Document(Attempt), nullable=False),
)

looks: Final = Table(
    "looks",
    metadata,
    Column("arrival", ArrivalNumber, primary_key=True),
    _incident_column(),
    Column("record", Document(Look), nullable=False),
)

timeline: Final = Table(
    "timeline",
    metadata,
    Column("seq", ArrivalNumber, primary_key=True),
    _incident_column(),
    Column("at", Instant, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("data", Document(dict[str, object]), nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice, also when the newest incident is gone: a client resumes by it
)

releases: Final = Table(
    "releases",
    metadata,
    Column("arrival", ArrivalNumber, primary_key=True),
    Column("service", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("record", Document(Release), nullable=False),
    UniqueConstraint("service", "started_at", "version", name="one_release"),
)

Index("releases_by_time", releases.c.started_at)

changes: Final = Table(
    "changes",
    metadata,
    Column("arrival", ArrivalNumber, primary_key=True),
    Column("service", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("kind", Code(ChangeKind), nullable=False),
    Column("what", Text, nullable=False),
    Column("by", Text, nullable=False),
    UniqueConstraint("service", "at", "kind", "what", name="one_change"),
)
Index("changes_by_time", changes.c.at)

outbox: Final = Table(
    "outbox",
    metadata,
    Column("arrival", ArrivalNumber, primary_key=True),
    Column("message_id", String(64), nullable=False),
    Column("channel", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("delivered_at", Instant),
    Column("given_up_at", Instant),
    Column("record", Document(Message), nullable=False),
    UniqueConstraint("message_id", "channel", name="one_message"),
)
_waits = and_(outbox.c.delivered_at.is_(None), outbox.c.given_up_at.is_(None))
Index("outbox_by_channel", outbox.c.channel, outbox.c.arrival)
Index("outbox_waiting", outbox.c.channel, outbox.c.arrival, sqlite_where=_waits)

pauses: Final = Table(
    "pauses",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("until", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Instant, nullable=False),
)

audit: Final = Table(
    "audit",
    metadata,
    Column("arrival", ArrivalNumber, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("person", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("remote", Text, nullable=False, server_default=""),
    Column("result", Text, nullable=False, server_default="done"),
)

snapshots: Final = Table(
    "snapshots",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("used_at", Instant, nullable=False),
)
