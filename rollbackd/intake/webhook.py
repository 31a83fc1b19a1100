"""`POST /webhook/alertmanager`: 200 only after the durable commit (I2).

Alertmanager tries again on 5xx and on nothing else, and follows a redirect without the body: so never 3xx, never 429, and 503 for
everything that may be better in a moment. What is refused is raised; the server makes problem+json of it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import (
    Final,
    NotRequired,  # pydantic describes no other before Python 3.12
    Protocol,
    Self,
)

import orjson
import structlog
from aiohttp import hdrs, web
from typing_extensions import TypedDict

from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError, TemporaryError
from rollbackd.intake.auth import Tokens
from rollbackd.intake.payload import Payload, PayloadError, parse
from rollbackd.intake.routing import Route
from rollbackd.model.alert import AlertEvent, IgnoredAlert
from rollbackd.telemetry.metrics import Metrics
from rollbackd.telemetry.overload import too_busy
from rollbackd.telemetry.redaction import harmless

BODY_AT_MOST: Final = 4 * 1024 * 1024
HELD_AT_MOST: Final = 16 * 1024 * 1024  # of all bodies that are being read or stored; parsed they take several times that
HELD_PER_REQUEST: Final = 16 * 1024  # what a request costs beside its body
BODY_DEADLINE: Final = timedelta(seconds=10)
RETRY_AFTER: Final = timedelta(seconds=1)

_log: Final = structlog.get_logger("intake")


class StoredShape(TypedDict):
    """How many alerts were new, were known already, and matched no service; `skipped` says why some could not be used."""

    stored: int
    duplicates: int
    ignored: int
    skipped: NotRequired[Sequence[str]]


class Appended(Protocol):
    @property
    def stored(self) -> int: ...
    @property
    def duplicates(self) -> int: ...


class Alerts(Protocol):
    """Durable on return. Raises RollbackdError, in bounded time."""

    async def append(self, events: Sequence[AlertEvent], ignored: Sequence[IgnoredAlert]) -> Appended: ...


class Store(Protocol):
    @property
    def alerts(self) -> Alerts: ...


class Webhook:
    """`route` and `tokens` are asked at each request: a reload may have changed what they answer."""

    def __init__(
        self,
        *,
        store: Store,
        route: Callable[[Mapping[str, str]], Route],
        tokens: Callable[[], Tokens],
        clock: Clock,
        metrics: Metrics,
        on_stored: Callable[[], object],
        on_truncated: Callable[[int], object],
    ) -> None:
        self._alerts = store.alerts
        self._route = route
        self._tokens = tokens
        self._clock = clock
        self._metrics = metrics
        self._on_stored = on_stored
        self._on_truncated = on_truncated
        self._room = _Room(metrics)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers how many alerts were new, were known already, and matched no service.

        Raises:
            web.HTTPException: 400 unusable body, 401, 403, 408, 413, 415.
            TemporaryError: 503, not stored now: send it again.
        """
        _refuse_browsers(request)
        self._authenticate(request)
        _refuse_other_content(request)
        with _Share(self._room) as share:
            body = await _read(request, share)
            try:
                payload = parse(body, self._clock.now(), self._route)
            except PayloadError as error:
                raise web.HTTPBadRequest(text=str(error)) from error
            appended = await self._store(payload)
        self._tell(payload, appended)
        answer: StoredShape = {"stored": appended.stored, "duplicates": appended.duplicates, "ignored": payload.no_service}
        if payload.skipped:
            answer["skipped"] = [harmless(each) for each in payload.skipped]
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    def _authenticate(self, request: web.Request) -> None:
        tokens = self._tokens()
        if not tokens:
            return
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or tokens.person(token.strip()) is None:
            _log.warning("refused", status=401, path=request.path, remote=request.remote)
            raise web.HTTPUnauthorized(
                text="send the token of 'auth.ingest': 'Authorization: Bearer TOKEN'",
                headers={"WWW-Authenticate": 'Bearer realm="rollbackd"'},
            )

    async def _store(self, payload: Payload) -> Appended:
        try:
            return await self._alerts.append(payload.events, payload.ignored)
        except TemporaryError:
            raise
        except RollbackdError as error:
            raise TemporaryError(f"not stored: {error}", retry_after=RETRY_AFTER) from error

    def _tell(self, payload: Payload, appended: Appended) -> None:
        """Only once it is durable."""
        if appended.stored:
            self._metrics.alert_received("stored", appended.stored)
            self._on_stored()
        if appended.duplicates:
            self._metrics.alert_received("duplicate", appended.duplicates)
        if payload.no_service:
            self._metrics.alert_received("ignored", payload.no_service)
        if payload.unusable:
            self._metrics.alert_received("unusable", payload.unusable)
            _log.warning("alerts_unusable", count=payload.unusable, first=payload.skipped[0])
        if payload.truncated:
            self._on_truncated(payload.truncated)


def _refuse_browsers(request: web.Request) -> None:
    """On loopback a token may be left out, and a page from anywhere can have a browser of this machine ask for what it wants."""
    if hdrs.ORIGIN in request.headers or "Sec-Fetch-Site" in request.headers:
        _log.warning("refused", status=403, path=request.path, remote=request.remote, origin=request.headers.get(hdrs.ORIGIN))
        raise web.HTTPForbidden(text="a page in a browser asked for this: alerts come from Alertmanager")


def _refuse_other_content(request: web.Request) -> None:
    plain = request.headers.get(hdrs.CONTENT_ENCODING, "identity") == "identity"
    if not plain or request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send JSON as it is: 'Content-Type: application/json' and no Content-Encoding")


async def _read(request: web.Request, share: "_Share") -> bytes:
    """The body, bounded in size and in time as a whole, however slowly it drips."""
    if request.content.is_eof():  # it came with its headers, as every small one does
        body = request.content.read_nowait()
        share.grow(len(body))
        return body
    if (request.content_length or 0) > BODY_AT_MOST:
        raise web.HTTPRequestEntityTooLarge(max_size=BODY_AT_MOST, actual_size=request.content_length or 0)
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

    def __init__(self, metrics: Metrics) -> None:
        self.free = HELD_AT_MOST
        self.metrics = metrics


class _Share:
    """What one request takes of the room, given back when it is answered."""

    def __init__(self, room: _Room) -> None:
        self._room = room
        self._size = 0
        self.grow(HELD_PER_REQUEST)

    def grow(self, size: int) -> None:
        if size > self._room.free:
            too_busy(self._room.metrics, "webhook_bodies")
            raise TemporaryError("too busy: send it again", retry_after=RETRY_AFTER)
        self._room.free -= size
        self._size += size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.free += self._size
