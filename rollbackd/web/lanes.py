"""How many requests of one kind are answered at once: whoever asks for much of one keeps nobody from another (I14).

The lanes together are fewer than the connections, so there is always one that is without a request and can make room. `/-/healthy` and
`/-/ready` wait for nothing, are answered within a turn of the event loop, and have no lane.
"""

import resource
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from aiohttp import web

from rollbackd.errors import TemporaryError
from rollbackd.telemetry.metrics import Limit, Metrics
from rollbackd.telemetry.overload import too_busy

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MOST_CONNECTIONS: Final = 256
RETRY_AFTER: Final = timedelta(seconds=1)


class Lane(StrEnum):
    WEBHOOK = "webhooks"
    READ = "reads"
    SCRAPE = "scrapes"
    STREAM = "streams"
    DECIDE = "decisions"


_SHARES: Final = MappingProxyType({Lane.WEBHOOK: 1 / 2, Lane.READ: 1 / 8, Lane.STREAM: 1 / 8, Lane.DECIDE: 1 / 16, Lane.SCRAPE: 1 / 64})
_LIMITS: Final = MappingProxyType[Lane, Limit]({
    Lane.WEBHOOK: "webhooks", Lane.READ: "reads", Lane.SCRAPE: "scrapes", Lane.STREAM: "streams", Lane.DECIDE: "decisions",
})  # fmt: skip


def most_connections() -> int:
    """At most half of the descriptors that the process may have: the others are for the store, for Prometheus and for steps."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, soft // 2)


class Lanes:
    def __init__(self, metrics: Metrics, most: int | None = None) -> None:
        self._metrics = metrics
        most = most_connections() if most is None else most
        self.free = {lane: max(int(most * share), 1) for lane, share in _SHARES.items()}

    def within(self, lane: Lane, handler: Handler) -> Handler:
        """`handler`, reached only while its lane has room. Else it raises TemporaryError: 503."""

        async def admitted(request: web.Request) -> web.StreamResponse:
            with self._place(lane):
                return await handler(request)

        return admitted

    @contextmanager
    def _place(self, lane: Lane) -> Iterator[None]:
        if self.free[lane] == 0:
            too_busy(self._metrics, _LIMITS[lane])
            raise TemporaryError(f"too busy: too many {lane} at once, send it again in a moment", retry_after=RETRY_AFTER)
        self.free[lane] -= 1
        try:
            yield
        finally:
            self.free[lane] += 1
