"""A scripted Prometheus that speaks real HTTP on loopback, and misbehaves on request.

    async with FakePrometheus() as fake:
        fake.answer("5..", lambda at: 30 if at >= onset else 0)     # by a regex that is searched in the query; the latest rule wins
        fake.answer("sum by", ({"instance": "a"}, 1), ({"instance": "b"}, "NaN"), warnings=["remote read failed"])
        fake.fail("total", 503)
        fake.handle(".", hang)

A value is a number, a text (sent as it stands), None (no sample at that moment), or a function of the moment; the same rule answers
instant and range queries. Unless a rule says otherwise, what rollbackd asks about raw samples is answered as for a healthy target
(fresh, complete, no young series), and every other query has no result.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Self

from aiohttp import web

from rollbackd.clock import Clock, SystemClock

Number = float | str | None
Value = Number | Callable[[datetime], Number]
Labelled = tuple[Mapping[str, str], Value]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CLOSING = web.AppKey("closing", asyncio.Event)


@dataclass(frozen=True)
class Asked:
    """One query as it arrived."""

    path: str
    query: str
    params: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def is_range(self) -> bool:
        return self.path.endswith("/query_range")

    @property
    def moments(self) -> Sequence[datetime]:
        if not self.is_range:
            return [_instant(self.params["time"])]
        start, end = _instant(self.params["start"]), _instant(self.params["end"])
        step = timedelta(seconds=float(self.params["step"]))
        return [start + k * step for k in range((end - start) // step + 1)]


class FakePrometheus:
    """`clock_offset` is how far the Date of its responses is ahead of `clock`; None: it sends none.

    `alert_rules` are those that it evaluates, each with the seconds of its `for`; None: it knows nothing of rules.
    """

    def __init__(self, clock: Clock | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.url = ""
        self._tls = tls
        self.asked: list[Asked] = []
        self.clock_offset: timedelta | None = timedelta()
        self.alert_rules: list[tuple[str, float]] | None = []
        self._clock = clock or SystemClock()
        self._rules: list[tuple[re.Pattern[str], Handler]] = []
        self.answer("")
        self.answer(r"^max\(timestamp\(", lambda at: at.timestamp())
        self.answer(r"^max\(count_over_time\(", 1_000_000)

    def answer(self, pattern: str, *series: Value | Labelled, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            data = _data(_asked(request), series)
            extra = {name: texts for name, texts in (("warnings", list(warnings)), ("infos", list(infos))) if texts}
            return web.json_response({"status": "success", "data": data, **extra})

        self.handle(pattern, handler)

    def fail(self, pattern: str, status: int, body: str | bytes | None = None, headers: Mapping[str, str] | None = None) -> None:
        """Without `body` in Prometheus' own form of an error."""
        if body is None:
            body = json.dumps({"status": "error", "errorType": "scripted", "error": f"scripted {status}"})
        self.send(pattern, body, status=status, headers=headers)

    def send(self, pattern: str, body: str | bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Exactly this body, whatever it is."""

        async def handler(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body, headers=headers)

        self.handle(pattern, handler)

    def handle(self, pattern: str, handler: Handler) -> None:
        self._rules.append((re.compile(pattern), handler))

    @contextmanager
    def for_a_while(self) -> Iterator[None]:
        """What is scripted within the block goes with it."""
        before = self._rules.copy()
        try:
            yield
        finally:
            self._rules[:] = before

    async def __aenter__(self) -> Self:
        app = web.Application()
        app[_CLOSING] = asyncio.Event()
        app.router.add_get("/api/v1/query", self._serve)
        app.router.add_get("/api/v1/query_range", self._serve)
        app.router.add_get("/api/v1/rules", self._serve_rules)
        app.on_response_prepare.append(self._set_date)
        self._closing = app[_CLOSING]
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = _asked(request)
        self.asked.append(asked)
        handler = next(handler for pattern, handler in reversed(self._rules) if pattern.search(asked.query))
        return await handler(request)

    async def _serve_rules(self, _request: web.Request) -> web.StreamResponse:
        if self.alert_rules is None:
            raise web.HTTPNotFound
        rules = [
            {"type": "alerting", "name": name, "duration": seconds, "query": "x > 1", "alerts": []} for name, seconds in self.alert_rules
        ]
        return web.json_response({"status": "success", "data": {"groups": [{"name": "g", "file": "f", "rules": rules}]}})

    async def _set_date(self, request: web.Request, response: web.StreamResponse) -> None:
        if self.clock_offset is None:
            response.headers["Date"] = ""
        else:
            response.headers["Date"] = format_datetime(self._clock.now() + self.clock_offset, usegmt=True)


async def hang(request: web.Request) -> web.StreamResponse:
    """Never answers."""
    await request.app[_CLOSING].wait()
    return web.Response()


def drip(pause: float) -> Handler:
    """Sends a byte of a body, pauses, sends the next, without end."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        with suppress(ConnectionError):  # the client has had enough
            await response.prepare(request)
            while not request.app[_CLOSING].is_set():
                await response.write(b" ")
                await asyncio.sleep(pause)
        return response

    return handler


@asynccontextmanager
async def raw_server(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """The url of a server that says what `talk` writes, HTTP or not."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _asked(request: web.Request) -> Asked:
    params = dict(request.query)
    return Asked(request.path, params["query"], params, dict(request.headers))


def _data(asked: Asked, series: Sequence[Value | Labelled]) -> dict[str, Any]:
    result = []
    for one in series:
        labels, value = one if isinstance(one, tuple) else ({}, one)
        samples = [
            [moment.timestamp(), str(number)]
            for moment in asked.moments
            if (number := value(moment) if callable(value) else value) is not None
        ]
        if samples:
            result.append({"metric": dict(labels), "values": samples} if asked.is_range else {"metric": dict(labels), "value": samples[0]})
    return {"resultType": "matrix" if asked.is_range else "vector", "result": result}


def _instant(text: str) -> datetime:
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except ValueError:
        return datetime.fromisoformat(text)
