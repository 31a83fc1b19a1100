"""`GET /api/v1/events`: the timeline of all incidents as server-sent events, resumable by `Last-Event-ID`.

An open stream must neither hold up a shutdown nor grow without bound (I14): the time for one write and the entries in one read are
limited, as their number is by their lane, and `close_all` wakes every stream that waits.
"""

import asyncio
from datetime import timedelta
from typing import Annotated, Final

import orjson
from aiohttp import web

from rollbackd.telemetry.redaction import harmless_data
from rollbackd.web import views
from rollbackd.web.answers import Raw
from rollbackd.web.deps import DEPS

HEARTBEAT: Final = timedelta(seconds=15)
WRITE_DEADLINE: Final = timedelta(seconds=10)
PAGE: Final = 200


class Streams:
    """The streams that are open. `waiting` holds the timeout in which each one sleeps: moving it to now wakes the stream."""

    def __init__(self) -> None:
        self.closing = False
        self.waiting: set[asyncio.Timeout] = set()

    async def close_all(self, _app: web.Application) -> None:
        self.closing = True
        for patience in self.waiting:
            if not patience.expired():
                patience.reschedule(asyncio.get_running_loop().time())


STREAMS: web.AppKey[Streams] = web.AppKey("streams", Streams)


async def events(
    request: web.Request,
) -> Annotated[web.StreamResponse, Raw(media=("text/event-stream",), headers=("Last-Event-ID",))]:
    """The timeline of all incidents, as server-sent events.

    Begins after `Last-Event-ID`; without one, with what happens from now on.
    """
    deps, streams = request.app[DEPS], request.app[STREAMS]
    last = request.headers.get("Last-Event-ID")
    if last is not None and not (last.isascii() and last.isdigit() and len(last) < 19):
        raise web.HTTPBadRequest(text="Last-Event-ID is the number of an event")
    seq = int(last) if last is not None else deps.store.timeline.latest()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    try:
        await response.prepare(request)
        await _write(response, b"retry: 2000\n\n")
        while True:
            seq = await _catch_up(request, response, seq)
            if streams.closing:
                break
            if not await _news(request, seq) and not streams.closing:
                await _write(response, b": still here\n\n")
    except (ConnectionResetError, TimeoutError):
        pass  # the client went away, or does not read: the stream is over
    return response


async def _catch_up(request: web.Request, response: web.StreamResponse, seq: int) -> int:
    while entries := await request.app[DEPS].store.timeline.after(seq, PAGE):
        for entry in entries:
            data = orjson.dumps(harmless_data(views.entry(entry))).decode()
            await _write(response, f"id: {entry.seq}\nevent: {entry.kind}\ndata: {data}\n\n".encode())
        seq = entries[-1].seq
    return seq


async def _news(request: web.Request, seq: int) -> bool:
    """Whether an entry newer than `seq` exists; False when a heartbeat is due, or the server closes."""
    streams = request.app[STREAMS]
    try:
        async with asyncio.timeout(HEARTBEAT.total_seconds()) as patience:
            streams.waiting.add(patience)
            try:
                await request.app[DEPS].store.timeline.changed(seq)
            finally:
                streams.waiting.discard(patience)
    except TimeoutError:
        return False
    return True


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(WRITE_DEADLINE.total_seconds()):
        await response.write(data)
