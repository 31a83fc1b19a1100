"""Room on the store's disk for the journal of one full run, held by a file without content.

A look at the free space is out of date as soon as somebody else logs a line, and a bad release likes to log. What is allocated is there:
when the disk fills in the middle of a run, the file is emptied and the outcomes of its steps are written into its place.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

NAME: Final = "reserve"


class Reserve:
    """`size` in bytes; 0: none is wanted."""

    def __init__(self, directory: Path, size: int) -> None:
        self._path = directory / NAME
        self.size = size

    @property
    def is_held(self) -> bool:
        """Asked of the file each time: somebody may have removed it to make room. Raises OSError when it cannot be seen."""
        try:
            return not self.size or self._path.stat().st_size >= self.size
        except FileNotFoundError:
            return False

    def hold(self) -> None:
        """Allocate what is missing, all of it or nothing. Raises OSError: there is no room."""
        if self.is_held:
            return
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(file, 0, self.size)
        except OSError:
            os.ftruncate(file, 0)
            raise
        finally:
            os.close(file)

    def give_up(self) -> bool:
        """Whether there was something to give."""
        with suppress(OSError):
            given = self.size > 0 and self._path.stat().st_size > 0
            os.truncate(self._path, 0)
            return given
        return False
