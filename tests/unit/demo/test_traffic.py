import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import test_utils, web

from rollbackd.demo.traffic import Traffic, run_traffic


class Site:
    """Answers while it is open, and tells how often it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Semaphore(0)

    async def answer(self, _: web.Request) -> web.Response:
        self.asked.release()
        await self.open.wait()
        return web.Response(status=self.status)

    async def was_asked(self, times: int) -> None:
        for _ in range(times):
            await self.asked.acquire()


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def url(site: Site) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/", site.answer)
    async with test_utils.TestServer(app) as server:
        yield str(server.make_url("/"))


async def test_it_counts_what_the_visitors_saw_and_goes_on(site: Site, url: str) -> None:
    async with run_traffic(url, per_second=500) as traffic:
        await site.was_asked(20)
        site.status = 500
        await site.was_asked(20)
    assert set(traffic.seen) == {"200", "500"}
    assert traffic.seen["200"] >= 19


async def test_a_site_that_is_gone_is_visited_all_the_same(unused_tcp_port: int) -> None:
    async with run_traffic(f"http://127.0.0.1:{unused_tcp_port}/", per_second=500) as traffic:
        await some(traffic, "no answer")
    assert set(traffic.seen) == {"no answer"}


async def test_visitors_are_bounded_when_nobody_answers(site: Site, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollbackd.demo.traffic._AT_ONCE", 3)
    site.open.clear()
    async with run_traffic(url, per_second=500) as traffic:
        await some(traffic, "turned away")
    assert set(traffic.seen) == {"turned away"}
    site.open.set()


async def some(traffic: Traffic, what: str) -> None:
    async with asyncio.timeout(10):
        while not traffic.seen[what]:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0)


async def test_the_callers_own_error_comes_out_as_it_is(url: str) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with run_traffic(url):
            raise LookupError("mine")
