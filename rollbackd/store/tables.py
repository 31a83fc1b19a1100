"""The tables. A column has the name of the field that it holds, so that a row is read and written without a mapping in between.

`migrations/` builds the same schema step by step; a test compares the two.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from rollbackd.model.alert import AlertStatus
from rollbackd.model.attempt import AttemptStatus, ProcessIdentity
from rollbackd.model.decision import Action, Blame, Decision
from rollbackd.model.incident import Outcome, Phase
from rollbackd.model.look import Look
from rollbackd.model.policy import Mode
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, ReleaseKind, ReleaseStatus
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
    Column("trigger", Text),
    Column("phase", Code(Phase), nullable=False),
    Column("mode", Code(Mode), nullable=False),
    Column("snapshot", String(64), nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("fingerprint", Text),
    Column("starts_at", Instant),
    Column("delivered_at", Instant),
    Column("decision", Code(Action)),
    Column("reason", Code(Reason)),
    Column("blame", Code(Blame)),
    Column("outcome", Code(Outcome)),
    Column("suspect", Text),
    Column("target", Text),
    Column("target_artifact", Text),
    Column("onset", Instant),
    Column("plan", Text),
    Column("decision_value", Float),
    Column("decided_at", Instant),
    Column("proposed_at", Instant),
    Column("escalated_at", Instant),
    Column("judging_since", Instant),
    Column("rollback_started_at", Instant),
    Column("rollback_ended_at", Instant),
    Column("closed_at", Instant),
    Column("healthy_looks", Integer, nullable=False),
    Column("abort_reason", Text),
    Column("acknowledged_by", Text),
    Column("requested_by", Text),
    Column("request_reason", Text),
    Column("reason_code", Text),
    Column("revision", Integer, nullable=False),
)
_still_open = incidents.c.phase != Phase.CLOSED
# I1: at most one open incident per service, whatever the code above does.
Index("one_open_incident", incidents.c.service, unique=True, sqlite_where=_still_open, postgresql_where=_still_open)
Index("incidents_newest", incidents.c.opened_at, incidents.c.id)
Index("incidents_of_service", incidents.c.service, incidents.c.opened_at)
Index("incidents_by_phase", incidents.c.phase, incidents.c.opened_at)
Index("incidents_by_outcome", incidents.c.outcome, incidents.c.opened_at)
Index("incidents_of_alert", incidents.c.fingerprint, incidents.c.starts_at)
Index("rollbacks", incidents.c.rollback_started_at)
Index("incidents_by_end", incidents.c.closed_at)

# Only what is searched is a column of its own: this is the table that thousands of rows a second go into. The key begins with the
# time, so that they all land on the same page of its index.
alerts: Final = Table(
    "alerts",
    metadata,
    Column("id", ArrivalNumber, primary_key=True),
    Column("starts_at", Instant, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("status", Code(AlertStatus), nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("service", Text, nullable=False),
    Column("trigger", Text),
    Column("rest", Text, nullable=False),
    Column("handled_at", Instant),
    Column("incident_id", String(64), ForeignKey("incidents.id", ondelete="CASCADE")),
    UniqueConstraint("starts_at", "fingerprint", "status", name="alert_event_key"),
)
_unhandled = alerts.c.handled_at.is_(None)
Index("alerts_unhandled", alerts.c.id, sqlite_where=_unhandled, postgresql_where=_unhandled)
_belongs = alerts.c.incident_id.is_not(None)
Index("alerts_of_incident", alerts.c.incident_id, sqlite_where=_belongs, postgresql_where=_belongs)

ignored_alerts: Final = Table(
    "ignored_alerts",
    metadata,
    Column("id", ArrivalNumber, primary_key=True),
    Column("received_at", Instant, nullable=False),
    Column("why", Text, nullable=False),
    Column("labels", Document(dict[str, str]), nullable=False),
)

decisions: Final = Table(
    "decisions",
    metadata,
    Column("id", ArrivalNumber, primary_key=True),
    _incident_column(),
    Column("decision", Document(Decision), nullable=False),
)

attempts: Final = Table(
    "attempts",
    metadata,
    Column("id", String(64), primary_key=True),
    _incident_column(),
    Column("step_index", Integer, nullable=False),
    Column("step_name", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("argv", Document(tuple[str, ...]), nullable=False),
    Column("status", Code(AttemptStatus), nullable=False),
    Column("intended_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("process", Document(ProcessIdentity)),
    Column("exit_code", Integer),
    Column("signal", Text),
    Column("output", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

looks: Final = Table(
    "looks",
    metadata,
    Column("id", ArrivalNumber, primary_key=True),
    _incident_column(),
    Column("look", Document(Look), nullable=False),
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
    Column("id", ArrivalNumber, primary_key=True),
    Column("service", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("artifact", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("live_at", Instant),
    Column("status", Code(ReleaseStatus), nullable=False),
    Column("kind", Code(ReleaseKind), nullable=False),
    Column("mark", Code(Mark), nullable=False),
    Column("mark_reason", Text, nullable=False),
    Column("group", Text),
    Column("irreversible", Boolean, nullable=False),
    Column("schema", Text),
    Column("schema_compatible", Boolean, nullable=False),
    Column("source", Text, nullable=False),
    UniqueConstraint("service", "started_at", "version", name="one_release"),
)

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
    Column("id", ArrivalNumber, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("person", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

snapshots: Final = Table(
    "snapshots",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("used_at", Instant, nullable=False),
)
