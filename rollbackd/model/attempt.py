"""One try of one step, with an id of its own. Its intent is written before anything starts (I5), its outcome after."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AttemptStatus(StrEnum):
    INTENDED = "intended"
    STARTED = "started"
    NOT_STARTED = "not_started"  # stopped after the intent, before anything ran: it counts as no attempt
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"  # stopped by an abort or a shutdown
    UNCERTAIN = "uncertain"  # the daemon died, or the outcome could not be seen: observe, never repeat blindly

    @property
    def ended(self) -> bool:
        return self not in {AttemptStatus.INTENDED, AttemptStatus.STARTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """Which process it really was: a pid alone is reused, a pid with its start time is not."""

    pid: int
    started_ticks: int  # field 22 of /proc/PID/stat
    session_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    id: str
    incident_id: str
    step_index: int
    step_name: str
    number: int  # 1 for the first try of the step
    argv: tuple[str, ...]  # what is run, for the record; empty for a step without a process
    request: str = ""  # what is sent, for the record, such as `POST https://…`; empty for a step that sends nothing
    manual: bool = False  # waits for a person to tick it
    status: AttemptStatus
    intended_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    process: ProcessIdentity | None = None
    exit_code: int | None = None
    signal: str | None = None
    output: str = ""  # head and tail, control characters stripped, secrets redacted
    detail: str = ""  # one line for a person: why it ended as it did
