"""The audit says from where, and what came of it; and no row of it can be replaced."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("audit", sa.Column("remote", sa.Text(), nullable=False, server_default=""))
    op.add_column("audit", sa.Column("result", sa.Text(), nullable=False, server_default="done"))
    if op.get_context().dialect.name == "sqlite":  # INSERT OR REPLACE deletes without asking the trigger against DELETE
        op.execute(
            "CREATE TRIGGER audit_refuses_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE arrival = NEW.arrival) "
            "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        )
