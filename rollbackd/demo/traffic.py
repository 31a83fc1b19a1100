"""Requests on the sample service, at a steady rate whatever it answers: the visitors do not wait for one another."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

REQUESTS_PER_SECOND: Final = 120
_AT_ONCE: Final = 200  # of a service that does not answer at all, in case: then visitors give up before they come
_PATIENCE_SECONDS: Final = 5.0


class Traffic:
    """What the visitors saw so far: answers by status, and `no answer`."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._under_way = 0

    async def drive(self, url: str, per_second: float) -> None:
        """For ever. Behind its time, it catches up at once rather than keep the pace of the slowest."""
        loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(limit=_AT_ONCE, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as visits:
            due = loop.time()
            while True:
                if self._under_way < _AT_ONCE:
                    self._under_way += 1
                    visits.create_task(self._visit(http, url))
                else:
                    self.seen["turned away"] += 1
                due += 1 / per_second
                await asyncio.sleep(due - loop.time())

    async def _visit(self, http: aiohttp.ClientSession, url: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), http.get(url) as response:
                await response.read()
                self.seen[str(response.status)] += 1
        except (TimeoutError, aiohttp.ClientError):
            self.seen["no answer"] += 1
        finally:
            self._under_way -= 1


@asynccontextmanager
async def run_traffic(url: str, *, per_second: float = REQUESTS_PER_SECOND) -> AsyncIterator[Traffic]:
    """Traffic on `url` for as long as the context lasts."""
    traffic, failure = Traffic(), None
    async with asyncio.TaskGroup() as group:
        driving = group.create_task(traffic.drive(url, per_second))
        try:
            yield traffic
        except Exception as error:  # noqa: BLE001 - raised again below: the group would wrap the caller's own error
            failure = error
        finally:
            driving.cancel()
    if failure is not None:
        raise failure
