"""What people are still to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("arrival", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("message_id", sa.String(64), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("given_up_at", sa.BigInteger(), nullable=True),
        sa.Column("record", sa.Text(), nullable=False),
        sa.UniqueConstraint("message_id", "channel", name="one_message"),
    )
    op.create_index("outbox_by_channel", "outbox", ["channel", "arrival"])
    waits = sa.text("delivered_at IS NULL AND given_up_at IS NULL")
    op.create_index("outbox_waiting", "outbox", ["channel", "arrival"], sqlite_where=waits)
