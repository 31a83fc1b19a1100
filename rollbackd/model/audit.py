"""What people did, and what they tried: the words of the audit."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

DONE: Final = "done"
FORBIDDEN: Final = "forbidden"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the address that it was asked from."""

    name: str
    remote: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """`subject` is what it was done to: an incident, a service, a release. `result` is `done`, or the reason why it was refused."""

    at: datetime
    person: str
    action: str
    subject: str
    reason: str
    remote: str = ""
    result: str = DONE
