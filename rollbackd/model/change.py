"""A change is something else than a release that was altered, and that may be the cause instead: a flag, a config, infrastructure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ChangeKind(StrEnum):
    FLAG = "flag"
    CONFIG = "config"
    INFRA = "infra"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`what` was altered, in the words of whoever recorded it (`by`); `at` is when it took effect, not when it was recorded."""

    service: str
    kind: ChangeKind
    what: str
    at: datetime
    by: str = ""
