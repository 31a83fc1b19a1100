"""One Prometheus server, asked from asyncio: each question has one deadline for all of it, and blocks in a thread."""

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from rollbackd.clock import Clock
from rollbackd.errors import MisconfiguredError, PermanentError, TemporaryError
from rollbackd.prometheus.answer import AlertRule, Answer
from rollbackd.settings.effective import PrometheusServer
from rollbackd.settings.secrets import read_tokens
from rollbackd.telemetry.metrics import Metrics
from rollbackd.telemetry.redaction import register_secret

if TYPE_CHECKING:
    from rollbackd.prometheus.transport import Transport

Answered = TypeVar("Answered")

MAX_POINTS: Final = 11_000
"""Prometheus refuses a range with more steps."""

_THREADS: Final = 8

_TELLS_A_SECRET: Final = re.compile("auth|token|key|secret|password|cookie", re.IGNORECASE)
"""The name of a header whose value may appear nowhere. A tenant's may: it stands in many a sentence."""


class PrometheusClient:
    """Raises TemporaryError when asking again may help (refused, late, 429, 5xx), else PermanentError.

    A server that hangs costs its callers one timeout, and at most eight threads for as long (I14): a thread keeps the same deadline
    as its caller, and waiting for a free one counts.
    """

    def __init__(self, server: PrometheusServer, clock: Clock, metrics: Metrics | None = None) -> None:
        self.clock = clock
        self._metrics = metrics or Metrics()
        self._server = server
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"prometheus-{server.name}")
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._closed = False
        _register_secrets(server)

    async def query(self, expr: str, *, at: datetime) -> Answer:
        return await self._in_thread(lambda transport, deadline: transport.query(expr, at=at, deadline=deadline))

    async def query_range(self, expr: str, *, start: datetime, end: datetime, step: timedelta) -> Answer:
        """At `start`, `start + step`, … up to `end`, to the millisecond."""
        if (points := (end - start) // step + 1) > MAX_POINTS:
            raise PermanentError(
                f"a range of {points} steps: Prometheus gives {MAX_POINTS} at most, shorten the range or scrape less often"
            )
        return await self._in_thread(
            lambda transport, deadline: transport.query_range(expr, start=start, end=end, step=step, deadline=deadline)
        )

    async def alert_rules(self) -> tuple[AlertRule, ...]:
        """All that the server evaluates."""
        return await self._in_thread(lambda transport, deadline: transport.alert_rules(deadline=deadline))

    async def warm_up(self) -> None:
        """Load what the first query needs, so that the first alert does not wait for it."""
        if self._transport is None and not self._closed:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._open)

    async def close(self) -> None:
        """Takes no more questions, and waits for those that were asked: each ends by its deadline."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        if self._transport is not None:
            self._transport.close()

    async def _in_thread(self, ask: Callable[["Transport", float], Answered]) -> Answered:
        if self._closed:
            raise TemporaryError(f"Prometheus server {self._server.name} is no longer asked in this way: the config was read again")
        loop = asyncio.get_running_loop()
        transport = self._transport
        if transport is None:
            transport = await loop.run_in_executor(self._threads, self._open)
        seconds = self._server.timeout.total_seconds()
        deadline = loop.time() + seconds  # the same clock as time.monotonic()
        began = loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                answer = await loop.run_in_executor(self._threads, ask, transport, deadline)
        except TimeoutError as error:
            self._metrics.query_failed("timeout")
            raise TemporaryError(f"Prometheus server {self._server.name} did not answer within {seconds:g} s") from error
        except (TemporaryError, PermanentError) as error:
            self._metrics.query_failed("temporary" if isinstance(error, TemporaryError) else "permanent")
            raise
        self._metrics.queried(loop.time() - began)
        return answer

    def _open(self) -> "Transport":
        """Runs in a thread, once, so that neither the import nor the CA certificates hold up the loop."""
        from rollbackd.prometheus.transport import Transport  # noqa: PLC0415 - see its docstring

        with self._lock:
            if self._transport is None:
                self._transport = Transport(self._server, self.clock, connections=_THREADS)
            return self._transport


def _register_secrets(server: PrometheusServer) -> None:
    """Known before anything is asked: a command may print them sooner than that (I13)."""
    for name, value in server.headers.items():
        if _TELLS_A_SECRET.search(name):
            register_secret(value)
            register_secret(value.rpartition(" ")[2])  # without the `Bearer` before it
    if server.token_file is not None:
        with suppress(MisconfiguredError):  # whoever asks is told
            for token in read_tokens(server.token_file):
                register_secret(token)
