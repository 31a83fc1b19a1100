"""The schema, step by step: one file a revision, never edited once released. `REVISIONS` names them in order without importing alembic."""

from typing import Final

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005")
