"""The machine that the sample service runs on: a tiny service manager, and the command `deploy` that tells it which version to run.

The host holds the listening socket, as systemd's socket activation does, so that a redeploy refuses nobody. The deploy tool only asks:
the service is never its child, and outlives it.
"""

import asyncio
import json
import shlex
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from rollbackd.demo import deploy, sample
from rollbackd.demo.processes import running
from rollbackd.errors import PermanentError

_START_SECONDS: Final = 10.0


class Host:
    """Runs one version of the sample service at a time.

    `url` stays the same over redeploys. `deploy_command` is an executable: `deploy VERSION`, and `deploy --status` for what really runs.
    """

    def __init__(self, directory: Path, listening: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.deploy_command = directory / "deploy"
        self.refusal: str | None = None
        """While set, every deploy fails with this message and changes nothing."""
        self._directory = directory
        self._listening = listening
        self._outage = directory / "outage"
        self._one_at_a_time = asyncio.Lock()
        self._service = AsyncExitStack()

    @property
    def outage(self) -> bool:
        """Whether something that every version depends on is down; set it to take it down, whatever version runs."""
        return self._outage.exists()

    @outage.setter
    def outage(self, down: bool) -> None:
        if down:
            self._outage.touch()
        else:
            self._outage.unlink(missing_ok=True)

    async def deploy(self, version: str) -> None:
        """Run `version` from now on; connections that come meanwhile wait.

        Raises:
            PermanentError: there is no such version, deploys are refused, or it does not start.
        """
        if version not in sample.VERSIONS:
            raise PermanentError(f"there is no version {version}: only {', '.join(sample.VERSIONS)}")
        if self.refusal is not None:
            raise PermanentError(self.refusal)
        async with self._one_at_a_time:
            await self._service.aclose()
            fd = self._listening.fileno()
            argv = [sys.executable, "-I", "-S", sample.__file__, "--fd", str(fd), "--version", version, "--outage", str(self._outage)]
            child = await self._service.enter_async_context(running(argv, log=self._directory / "service.log", pass_fds=(fd,)))
            if await self._version() != version:
                raise PermanentError(f"{version} does not answer: {child.last_words()}")

    async def _version(self) -> str | None:
        try:
            async with (
                asyncio.timeout(_START_SECONDS),
                aiohttp.ClientSession() as http,
                http.get(f"{self.url}/version") as response,
            ):
                return str((await response.json())["version"])
        except (TimeoutError, aiohttp.ClientError):
            return None

    async def close(self) -> None:
        async with self._one_at_a_time:
            await self._service.aclose()

    async def asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request of the deploy tool: a line of JSON in, a line of JSON out (`deploy.py` is the other end)."""
        try:
            async with asyncio.timeout(3 * _START_SECONDS):
                request = json.loads(await reader.readline())
                answer = {"url": self.url}
                if "deploy" in request:
                    try:
                        await self.deploy(request["deploy"])
                    except PermanentError as error:
                        answer = {"error": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError):
            pass  # the deploy tool has gone; what it asked for is done or not, and --status tells
        finally:
            writer.close()


@asynccontextmanager
async def run_host(directory: Path, *, version: str) -> AsyncIterator[Host]:
    """A host that runs `version` and answers the deploy tool on a socket in `directory`, which exists already."""
    control = directory / "host.sock"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = Host(directory, listening)
        command = (sys.executable, "-I", "-S", deploy.__file__, "--host", str(control))
        host.deploy_command.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
        host.deploy_command.chmod(0o755)
        server = await asyncio.start_unix_server(host.asked, control)
        try:
            await host.deploy(version)
            yield host
        finally:
            server.close()
            await host.close()
