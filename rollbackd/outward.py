"""How rollbackd makes an HTTP request of its own: to the host that stands in the config, and to no other that comes back."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from rollbackd.model.address import is_link_local


class _LinkLocalError(OSError):
    def __init__(self, host: str) -> None:
        super().__init__(errno.EACCES, f"{host} is a link-local address, where clouds keep credentials of the machine: none is asked")


@asynccontextmanager
async def session(*traces: aiohttp.TraceConfig) -> AsyncIterator[aiohttp.ClientSession]:
    """No proxy is taken from the environment, no cookie kept, and no link-local address asked, whatever a name resolves to."""
    traces = (*traces, _refuse_link_local_urls())
    connector = aiohttp.TCPConnector(resolver=_NotLinkLocal())
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=list(traces)) as client:
        yield client


def as_written(url: str) -> URL:
    """Byte for byte: what a value was quoted for stays quoted."""
    return URL(url, encoded=url.isascii())


class _NotLinkLocal(AbstractResolver):
    """The resolver of the system, for what is no address yet."""

    def __init__(self) -> None:
        self._system = DefaultResolver()

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        found = await self._system.resolve(host, port, family)  # type: ignore[arg-type]
        if any(is_link_local(each["host"]) for each in found):
            raise _LinkLocalError(host)
        return found

    async def close(self) -> None:
        await self._system.close()


def _refuse_link_local_urls() -> aiohttp.TraceConfig:
    """An address that stands in the URL is not resolved."""

    async def look(_session: object, _context: object, asked: aiohttp.TraceRequestStartParams) -> None:
        host = asked.url.host or ""
        if is_link_local(host):
            raise _LinkLocalError(host)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(look)
    return trace
