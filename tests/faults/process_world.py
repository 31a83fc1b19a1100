"""The world of the flow tests around a daemon that is a process of its own, so that it can really be killed."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from rollbackd.demo.servers import free_port
from tests.flow.world import World

_PATIENCE = 60.0


class Process(Protocol):
    """The daemon's, as `asyncio.subprocess` has it."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def send_signal(self, signal: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class ProcessWorld(World):
    def __init__(self, directory: Path, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self.failpoint = ""
        self.environment: dict[str, str] = {}  # more of it for the daemon
        self.under: tuple[str, ...] = ()  # the words of a command that the daemon is started with
        self.process: Process | None = None
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        return (self.directory / "daemon.log").read_text()

    async def start(self) -> None:
        await self.launch()
        await self.ready()

    async def launch(self) -> None:
        config = self.write_config(port=self._port)
        with (self.directory / "daemon.log").open("ab") as log:
            environment = {**os.environ, "PYTHONFAULTHANDLER": "1", "ROLLBACKD_FAILPOINT": self.failpoint, **self.environment}
            self.process = await asyncio.create_subprocess_exec(
                *self.under, sys.executable, "-m", "rollbackd", "serve", "--config", str(config),
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    async def ready(self) -> None:
        assert self.process is not None
        try:
            async with asyncio.timeout(_PATIENCE):
                while self.process.returncode is None:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with self.http.get(f"{self.url}/-/ready") as response:
                            if response.status == 200:
                                return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        if "-9" not in str(self.process.returncode):
            raise AssertionError(f"the daemon is not ready: {self.log}")

    async def readiness(self) -> str:
        """Why it is not ready, once it answers; empty: it is."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with self.http.get(f"{self.url}/-/ready") as response:
                        return "" if response.status == 200 else str((await response.json(content_type=None))["detail"])
                await asyncio.sleep(0.02)

    async def becomes_unready(self, why: str) -> None:
        """Once it says so of itself."""
        async with asyncio.timeout(_PATIENCE):
            while why not in await self.readiness():  # noqa: ASYNC110 - asks a server
                await asyncio.sleep(0.02)

    async def no_pause(self) -> None:
        async with asyncio.timeout(_PATIENCE):
            while (await self.get("/api/v1/status"))["pauses"]:  # noqa: ASYNC110 - asks a server
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """TERM, and wait for its end; one that does not come to it is made to say where it is."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.process.wait()
        except TimeoutError:
            self.process.send_signal(signal.SIGABRT)
            await self.process.wait()
            raise AssertionError(f"the daemon did not stop: {self.log[-20_000:]}") from None

    async def logged(self, event: str) -> None:
        """Once the daemon has said so."""
        async with asyncio.timeout(_PATIENCE):
            while f'"event": "{event}"' not in self.log:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):  # it has died by itself meanwhile
            self.process.kill()
        await self.process.wait()

    async def died(self) -> int:
        """The exit status of a daemon that dies by itself."""
        assert self.process is not None
        async with asyncio.timeout(_PATIENCE):
            return await self.process.wait()
