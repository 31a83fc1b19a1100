"""The lock on the state directory: one daemon per directory (I1)."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollbackd.errors import RefusedError


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold `<directory>/lock`; the kernel lets go of it when the process ends, however it ends.

    Raises:
        RefusedError: another process holds it; the message names its pid.
    """
    file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(file, 20).decode(errors="replace").strip() or "unknown"
            raise RefusedError(
                f"{directory} is in use by rollbackd with pid {holder}: stop it, or give this one a store of its own", reason="store_in_use"
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)
