"""Sockets in numbers, to loopback only, and what the daemon's process takes of the machine meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Taken:
    """By a process, from the kernel's own books."""

    pid: int

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def resident(self) -> int:
        """In bytes."""
        return self._status("VmRSS")

    @property
    def most_resident(self) -> int:
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


class Wires:
    """Connections that stay open, each with what was sent on it."""

    def __init__(self, url: str, *, source: str = "127.0.0.1") -> None:
        address = urlsplit(url)
        self._host, self._port, self._source = address.hostname, address.port, source
        self.open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for _reader, writer in self.open:
            writer.transport.abort()

    async def add(self, count: int, sent: bytes) -> None:
        """One after another, as fast as they are let in; one that is not is among them too, closed."""
        for _ in range(count):
            reader, writer = await asyncio.open_connection(self._host, self._port, local_addr=(self._source, 0))
            writer.write(sent)
            self.open.append((reader, writer))

    async def send(self, data: bytes) -> None:
        """On each that is still open."""
        for _, writer in self.open:
            if not writer.is_closing():
                writer.write(data)
        await asyncio.sleep(0)

    async def answered(self, *, last: int = 0) -> list[int]:
        """The status of the answer that came on each, or on the `last`; 0 where it was closed without one."""
        return [await _status(reader) for reader, _ in self.open[-last:]]

    async def closed(self) -> int:
        """How many the other side has closed by now."""
        await asyncio.sleep(0)
        return sum(reader.at_eof() or reader.exception() is not None for reader, _ in self.open)

    async def until_closed(self, count: int) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await self.closed() < count:  # noqa: ASYNC110 - the other side closes them
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{await self.closed()} of {len(self.open)} are closed, wanted {count}") from None


async def _status(reader: asyncio.StreamReader) -> int:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
            await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0
    return int(head.split()[1])


@asynccontextmanager
async def beside(work: "asyncio._CoroutineLike[None]") -> AsyncIterator[None]:
    """`work` goes on for as long as the block lasts, and what it raises ends the test."""
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        task = group.create_task(work)
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
