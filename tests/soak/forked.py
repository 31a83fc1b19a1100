"""A daemon that is forked from a process which has everything imported: the same code in a process of its own, without the second that an
interpreter takes to read it. For a thousand starts in a row.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Final

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["rollbackd.app", "rollbackd.cli.serve", "tests.soak.forked"])


class ForkedDaemon:
    """What `asyncio.subprocess.Process` has, as far as it is asked for here."""

    def __init__(self, config: Path, log: Path) -> None:
        self._process = _CONTEXT.Process(target=_serve, args=(config, log))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    async def wait(self) -> int:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        return self._process.exitcode or 0

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _serve(config: Path, log: Path) -> None:
    from rollbackd.cli import main

    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["rollbackd"]
    main(["serve", "--config", str(config)])
