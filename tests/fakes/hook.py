"""Somebody who is told things by HTTP: keeps each request, and answers as the test says."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson
from aiohttp import web


@dataclass(frozen=True)
class Got:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Hook:
    """`status` is what it answers, `headers` go with it; while `silent` is set it answers never. `got` holds all, `taken` what it took."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.got: list[Got] = []
        self.taken: list[Got] = []
        self.silent = False
        self.url = ""
        self._news = asyncio.Event()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._runner.cleanup()

    async def reached(self, count: int) -> list[Got]:
        """What was taken, once it is so much."""
        await self.until(lambda: len(self.taken) >= count)
        return self.taken

    async def until(self, is_so: Callable[[], bool], *, patience: float = 30) -> None:
        """Asked anew with each request."""
        async with asyncio.timeout(patience):
            while not is_so():
                self._news.clear()
                await self._news.wait()

    async def _take(self, request: web.Request) -> web.Response:
        got = Got(request.path, dict(request.headers), await request.read())
        self.got.append(got)
        if self.silent:
            await self._closing.wait()
        if self.status < 300:
            self.taken.append(got)
        self._news.set()
        return web.Response(status=self.status, headers=self.headers, text='{"ok": true}')
