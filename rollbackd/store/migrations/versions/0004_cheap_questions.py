"""Indexes for what is asked at the start, in each round and for each decision, so that none of it walks over all that was ever stored."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("incidents_untold", "incidents", ["opened_at"], sqlite_where=sa.text("told_at IS NULL"))
    op.create_index("incidents_by_rollback_end", "incidents", ["rollback_ended_at"])
    op.create_index("releases_by_time", "releases", ["started_at"])
