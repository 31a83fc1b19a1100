"""Children of the demo: started with a log file, ended by their own pid, and gone when the demo is gone, however it went."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

_GRACE_SECONDS: Final = 5.0


class Child:
    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exited(self) -> bool:
        return self._process.returncode is not None

    async def stop(self) -> None:
        """TERM, a moment, KILL; a child that has already ended is left alone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def last_words(self) -> str:
        """The last line of its log, for an error message."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@asynccontextmanager
async def running(argv: Sequence[str], *, log: Path, pass_fds: Sequence[int] = ()) -> AsyncIterator[Child]:
    """A child with its output in `log`; the kernel ends it if this process is killed outright (util-linux's setpriv asks it to)."""
    setpriv = shutil.which("setpriv")
    prefix = (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *prefix, *argv, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=pass_fds
        )
    child = Child(process, log)
    try:
        yield child
    finally:
        await child.stop()
