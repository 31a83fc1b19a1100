"""What is known of a process that has ended."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """Exactly one of `exit_code` and `signal` is set, unless it never started (`error`). Output is raw: head and tail, bounded."""

    exit_code: int | None
    signal: str | None
    stdout: bytes
    stderr: bytes
    duration: timedelta
    timed_out: bool = False
    interrupted: bool = False
    error: str = ""
    dropped: int = 0  # bytes of output between head and tail that were not kept
    leftovers: tuple[int, ...] = ()  # pids of its session that had to be killed after it ended

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and not self.timed_out and not self.interrupted
