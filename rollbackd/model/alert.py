"""One alert of an Alertmanager payload. An alert event is one delivery of one state of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class AlertStatus(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """`(fingerprint, starts_at, status)` is its key: the same key again is a duplicate, whichever replica sent it."""

    fingerprint: str
    starts_at: datetime
    status: AlertStatus
    ends_at: datetime | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    generator_url: str = ""  # shown as text, never fetched
    received_at: datetime
    service: str | None = None  # the one service that its labels match, once routed
    trigger: str | None = None

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoredAlert:
    """An alert that no incident will come of: it is no one service's, or it cannot be used. `why` is a sentence for a person."""

    received_at: datetime
    why: str
    labels: Mapping[str, str] = field(default_factory=dict)
