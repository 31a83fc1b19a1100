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
    leftovers: tuple[int, ...] = ()  # pids of what came of it and had to be ended after it
    survivors: tuple[int, ...] = ()  # pids of what came of it and cannot be ended, such as another user's
    held_open: bool = False  # something that cannot be found holds its output

    @property
    def left(self) -> str:
        """What it left on the machine, for a person; empty when nothing is known of."""
        found = []
        if self.leftovers:
            found.append(f"left behind and ended: process {', '.join(map(str, self.leftovers))}")
        if self.survivors:
            found.append(f"left behind and still running, it could not be ended: process {', '.join(map(str, self.survivors))}")
        if self.held_open:
            found.append("something that cannot be found still holds its output")
        return "; ".join(found)

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and not self.timed_out and not self.interrupted
