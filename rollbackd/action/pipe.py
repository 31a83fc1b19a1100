"""One end of a child's output: read whenever there is something, so that the child never waits for us, and kept within bounds."""

import asyncio
import os
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rollbackd.action.output import HeadAndTail

_CHUNK: Final = 1 << 16
_LONGEST_LINE: Final = 1000

OnLine = Callable[[str], None]


class Pipe:
    """A pipe of which the child gets `writer`; `ended` is set once nobody holds that end any more.

    Must be left by the same event loop that made it; reading goes on until then, whether or not the child still lives.
    """

    def __init__(self, *, keep: int, on_line: OnLine | None = None) -> None:
        self.kept = HeadAndTail(keep)
        self.ended = asyncio.Event()
        self._on_line = on_line
        self._unfinished = b""  # the begin of a line
        self._loop = asyncio.get_running_loop()
        self._reader, self.writer = os.pipe()
        self._open = {self._reader, self.writer}
        os.set_blocking(self._reader, False)
        self._loop.add_reader(self._reader, self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        self._loop.remove_reader(self._reader)
        for end in self._open:
            os.close(end)
        self._open.clear()

    def close_writer(self) -> None:
        """The child has its own copy; ours would hide that it has closed it."""
        os.close(self.writer)
        self._open.remove(self.writer)

    def _read(self) -> None:
        try:
            chunk = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._loop.remove_reader(self._reader)
            self.ended.set()
            return
        self.kept.add(chunk)
        if self._on_line is not None:
            self._tell_newest_line(self._on_line, chunk)

    def _tell_newest_line(self, on_line: OnLine, chunk: bytes) -> None:
        """At most one line per read, and none that is very long: a flood of lines must not become a flood of calls (I14)."""
        whole, newline, rest = chunk.rpartition(b"\n")
        if not newline:
            self._unfinished = (self._unfinished + chunk)[: _LONGEST_LINE + 1]
            return
        line = (self._unfinished + whole).rpartition(b"\n")[2]
        self._unfinished = rest[: _LONGEST_LINE + 1]
        if 0 < len(line) <= _LONGEST_LINE:
            on_line(line.decode(errors="replace"))
