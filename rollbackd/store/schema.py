"""Which schema a store has, and how it comes to the one that this version knows."""

from typing import Final

from sqlalchemy import Connection

from rollbackd.errors import MisconfiguredError
from rollbackd.store import migrations

HEAD: Final = migrations.REVISIONS[-1]


def must_upgrade(revision: str | None) -> bool:
    """Whether `revision` (None: an empty store) is older than this version's.

    Raises:
        MisconfiguredError: this version does not know it, so a newer one wrote it; nothing is touched.
    """
    if revision is not None and revision not in migrations.REVISIONS:
        raise MisconfiguredError(
            f"the store has schema {revision} and this rollbackd knows {HEAD}: install the version that wrote it, or restore a backup"
        )
    return revision != HEAD


def upgrade(connection: Connection) -> None:
    """Run every missing migration inside the transaction that `connection` is in: all of them or none."""
    from alembic import command  # noqa: PLC0415 - a tenth of a second that only a migration needs
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "rollbackd.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
