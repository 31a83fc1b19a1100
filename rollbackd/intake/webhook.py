"""`POST /webhook/alertmanager`: 200 only after the durable commit (I2).

Alertmanager tries again on 5xx and on nothing else, and follows a redirect without the body: so never 3xx, never 429, and 503 for
everything that may be better in a moment. What is refused is raised; the server makes problem+json of it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol, Self

import orjson
import structlog
from aiohttp import web

from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError, TemporaryError
from rollbackd.intake.auth import Tokens
from rollbackd.intake.payload import Payload, PayloadError, parse
from rollbackd.intake.routing import Routing
from rollbackd.model.alert import AlertEvent, IgnoredAlert
from rollbackd.telemetry.metrics import Metrics

BODY_AT_MOST: Final = 4 * 1024 * 1024
HELD_AT_MOST: Final = 16 * 1024 * 1024  # of all bodies that are being read or stored; parsed they take several times that
HELD_PER_REQUEST: Final = 16 * 1024  # what a request costs beside its body
BODY_DEADLINE: Final = timedelta(seconds=10)
STORE_DEADLINE: Final = timedelta(seconds=10)
RETRY_AFTER: Final = timedelta(seconds=1)

_log: Final = structlog.get_logger("intake")


class Appended(Protocol):
    @property
    def stored(self) -> int: ...
    @property
    def duplicates(self) -> int: ...


class Alerts(Protocol):
    """Durable on return. Raises RollbackdError."""

    async def append(self, events: Sequence[AlertEvent], ignored: Sequence[IgnoredAlert]) -> Appended: ...


class Store(Protocol):
    @property
    def alerts(self) -> Alerts: ...


class Webhook:
    """`routing` is replaced when the config is reloaded."""

    def __init__(
        self,
        *,
        store: Store,
        routing: Routing,
        tokens: Tokens,
        clock: Clock,
        metrics: Metrics,
        on_stored: Callable[[], object],
        on_truncated: Callable[[int], object],
    ) -> None:
        self.routing = routing
        self._alerts = store.alerts
        self._tokens = tokens
        self._clock = clock
        self._metrics = metrics
        self._on_stored = on_stored
        self._on_truncated = on_truncated
        self._room = _Room()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers how many alerts were new, were known already, and matched no service.

        Raises:
            web.HTTPException: 400 unusable body, 401, 408, 413, 415.
            TemporaryError: 503, not stored now: send it again.
        """
        self._authenticate(request)
        if request.content_type != "application/json" or request.headers.get("Content-Encoding", "identity") != "identity":
            raise web.HTTPUnsupportedMediaType(text="send JSON as it is: 'Content-Type: application/json' and no Content-Encoding")
        with _Share(self._room) as share:
            try:
                payload = parse(await _read(request, share), self._clock.now())
            except PayloadError as error:
                raise web.HTTPBadRequest(text=str(error)) from error
            events, ignored = self._routed(payload)
            appended = await self._store(events, ignored)
        no_service = len(payload.events) - len(events)
        self._tell(payload, appended, no_service)
        answer: dict[str, object] = {"stored": appended.stored, "duplicates": appended.duplicates, "ignored": no_service}
        if payload.skipped:
            answer["skipped"] = payload.skipped
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    def _authenticate(self, request: web.Request) -> None:
        if not self._tokens:
            return
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or self._tokens.person(token.strip()) is None:
            _log.warning("refused", status=401, path=request.path, remote=request.remote)
            raise web.HTTPUnauthorized(
                text="send the token of 'auth.ingest': 'Authorization: Bearer TOKEN'",
                headers={"WWW-Authenticate": 'Bearer realm="rollbackd"'},
            )

    def _routed(self, payload: Payload) -> tuple[list[AlertEvent], list[IgnoredAlert]]:
        events: list[AlertEvent] = []
        ignored: list[IgnoredAlert] = []
        for event in payload.events:
            route = self.routing.route(event.labels)
            if route.service is None:
                ignored.append(IgnoredAlert(received_at=event.received_at, why=route.why, labels=event.labels))
            else:
                events.append(replace(event, service=route.service, trigger=route.trigger))
        now = self._clock.now()
        ignored += [IgnoredAlert(received_at=now, why=why) for why in payload.skipped]
        return events, ignored

    async def _store(self, events: Sequence[AlertEvent], ignored: Sequence[IgnoredAlert]) -> Appended:
        try:
            async with asyncio.timeout(STORE_DEADLINE.total_seconds()):
                return await self._alerts.append(events, ignored)
        except TemporaryError:
            raise
        except TimeoutError as error:
            raise TemporaryError(
                f"the store did not confirm within {STORE_DEADLINE.total_seconds():g} s", retry_after=RETRY_AFTER
            ) from error
        except RollbackdError as error:
            raise TemporaryError(f"not stored: {error}", retry_after=RETRY_AFTER) from error

    def _tell(self, payload: Payload, appended: Appended, no_service: int) -> None:
        """Only once it is durable."""
        if appended.stored:
            self._metrics.alert_received("stored", appended.stored)
            self._on_stored()
        if appended.duplicates:
            self._metrics.alert_received("duplicate", appended.duplicates)
        if no_service:
            self._metrics.alert_received("ignored", no_service)
        if payload.unusable:
            self._metrics.alert_received("unusable", payload.unusable)
            _log.warning("alerts_unusable", count=payload.unusable, first=payload.skipped[0])
        if payload.truncated:
            self._on_truncated(payload.truncated)


async def _read(request: web.Request, share: "_Share") -> bytes:
    """The body, bounded in size and in time as a whole, however slowly it drips."""
    if (request.content_length or 0) > BODY_AT_MOST:
        raise web.HTTPRequestEntityTooLarge(max_size=BODY_AT_MOST, actual_size=request.content_length or 0)
    if request.content.is_eof():  # it came with its headers, as every small one does
        body = request.content.read_nowait()
        share.grow(len(body))
        return body
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE.total_seconds()):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > BODY_AT_MOST:
                    raise web.HTTPRequestEntityTooLarge(max_size=BODY_AT_MOST, actual_size=size)
                share.grow(len(chunk))
                chunks.append(chunk)
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(text=f"the body did not come within {BODY_DEADLINE.total_seconds():g} seconds") from error
    return b"".join(chunks)


class _Room:
    """The memory that all requests share: more of them wait at the sender, whose 503 costs nothing (I14)."""

    def __init__(self) -> None:
        self.free = HELD_AT_MOST


class _Share:
    """What one request takes of the room, given back when it is answered."""

    def __init__(self, room: _Room) -> None:
        self._room = room
        self._size = 0
        self.grow(HELD_PER_REQUEST)

    def grow(self, size: int) -> None:
        if size > self._room.free:
            raise TemporaryError("too busy: send it again", retry_after=RETRY_AFTER)
        self._room.free -= size
        self._size += size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.free += self._size
