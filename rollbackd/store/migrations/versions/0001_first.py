"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("arrival", NUMBER, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("arrival"),
    )
    op.create_table(
        "ignored_alerts",
        sa.Column("arrival", NUMBER, nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("arrival"),
    )
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("phase", sa.String(32), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("starts_at", sa.BigInteger(), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("rollback_started_at", sa.BigInteger(), nullable=True),
        sa.Column("rollback_ended_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("told_at", sa.BigInteger(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("snapshot", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incidents_by_end", "incidents", ["closed_at"], unique=False)
    op.create_index("incidents_by_outcome", "incidents", ["outcome", "opened_at"], unique=False)
    op.create_index("incidents_by_phase", "incidents", ["phase", "opened_at"], unique=False)
    op.create_index("incidents_by_rollback", "incidents", ["rollback_started_at"], unique=False)
    op.create_index("incidents_newest", "incidents", ["opened_at", "id"], unique=False)
    op.create_index("incidents_of_alert", "incidents", ["fingerprint", "starts_at"], unique=False)
    op.create_index("incidents_of_service", "incidents", ["service", "opened_at"], unique=False)
    op.create_index(
        "one_open_incident",
        "incidents",
        ["service"],
        unique=True,
        sqlite_where=sa.text("phase != 'closed'"),
    )
    op.create_table(
        "pauses",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope"),
    )
    op.create_table(
        "releases",
        sa.Column("arrival", NUMBER, nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("arrival"),
        sa.UniqueConstraint("service", "started_at", "version", name="one_release"),
    )
    op.create_table(
        "snapshots",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "alerts",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("rest", sa.Text(), nullable=False),
        sa.Column("handled_at", sa.BigInteger(), nullable=True),
        sa.Column("incident_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("starts_at", "fingerprint", "status", name="alert_event_key"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "alerts_of_incident",
        "alerts",
        ["incident_id"],
        unique=False,
        sqlite_where=sa.text("incident_id IS NOT NULL"),
    )
    op.create_index(
        "alerts_unhandled",
        "alerts",
        ["id"],
        unique=False,
        sqlite_where=sa.text("handled_at IS NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("arrival", NUMBER, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("incident_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("arrival"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("ix_attempts_incident_id", "attempts", ["incident_id"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("arrival", NUMBER, nullable=False),
        sa.Column("incident_id", sa.String(length=64), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("arrival"),
    )
    op.create_index("ix_decisions_incident_id", "decisions", ["incident_id"], unique=False)
    op.create_table(
        "looks",
        sa.Column("arrival", NUMBER, nullable=False),
        sa.Column("incident_id", sa.String(length=64), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("arrival"),
    )
    op.create_index("ix_looks_incident_id", "looks", ["incident_id"], unique=False)
    op.create_table(
        "timeline",
        sa.Column("seq", NUMBER, nullable=False),
        sa.Column("incident_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_timeline_incident_id", "timeline", ["incident_id"], unique=False)

    if op.get_context().dialect.name == "sqlite":
        for forbidden in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_refuses_{forbidden.lower()} BEFORE {forbidden} ON audit "
                "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
            )
