"""A release is a version of a service, with the times between which it came and the trust that it has earned or lost."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

VERSION_SYNTAX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,255}")
"""What a version or an artifact may look like: it becomes part of a command line, so nothing else is ever recorded (I11)."""


MOST_AHEAD: Final = timedelta(minutes=5)
"""How far two clocks may differ: what is said to begin later than that is a mistake, or a plan, and no release yet."""


class ReleaseStatus(StrEnum):
    ROLLING = "rolling"
    LIVE = "live"
    FAILED = "failed"


class ReleaseKind(StrEnum):
    RELEASE = "release"
    ROLLBACK = "rollback"  # rollbackd's own


class Mark(StrEnum):
    NONE = "none"
    SUSPECT = "suspect"  # from the first step of its rollback
    BAD = "bad"  # its rollback helped, or a person said so


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """`started_at` is when the release began to reach production, `live_at` when it was everywhere (None: not yet, or never)."""

    service: str
    version: str
    artifact: str
    started_at: datetime
    live_at: datetime | None = None
    status: ReleaseStatus = ReleaseStatus.LIVE
    kind: ReleaseKind = ReleaseKind.RELEASE
    mark: Mark = Mark.NONE
    mark_reason: str = ""
    group: str | None = None
    irreversible: bool = False
    schema: str | None = None
    schema_compatible: bool = False
    source: str = "api"

    @property
    def took_over_at(self) -> datetime:
        """What began first need not be everywhere first: a rollback and somebody's deploy may overtake each other."""
        return self.live_at or self.started_at


def served_before(suspect: Release, releases: tuple[Release, ...]) -> tuple[Release, ...]:
    """The live releases that began before the suspect, the one that took over last first. `releases` newest first."""
    earlier = (one for one in releases[releases.index(suspect) + 1 :] if one.status is ReleaseStatus.LIVE)
    return tuple(sorted(earlier, key=lambda one: one.took_over_at, reverse=True))


def check_version(text: str, *, what: str = "version") -> str:
    """`text` itself. Raises ValueError, in words for whoever records releases, when it may not become part of a command line."""
    if not VERSION_SYNTAX.fullmatch(text):
        raise ValueError(f"{what} {text!r}: begin with a letter or digit, then letters, digits and ._:/@+- only, 256 characters at most")
    return text
