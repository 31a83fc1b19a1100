"""Who may come in: so many connections and no more, and none of them for ever (I14).

When all are taken, whoever holds most of them gives up the one that has been without a request for longest. So a flood drives out
itself, and a request that comes at once is answered, `/-/healthy` and a webhook among them, however many others keep theirs open.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from aiohttp import web

from rollbackd.clock import Clock
from rollbackd.errors import PermanentError
from rollbackd.settings.effective import ServerSettings
from rollbackd.supervisor import together
from rollbackd.telemetry.metrics import Limit, Metrics
from rollbackd.telemetry.overload import too_busy
from rollbackd.web.lanes import most_connections
from rollbackd.web.problems import problem

HEAD_DEADLINE: Final = timedelta(seconds=10)  # for the TLS handshake, and again for the first line to the last header
HEAD_AT_MOST: Final = 32 * 1024
IDLE_AT_MOST: Final = timedelta(seconds=75)  # longer than what a reverse proxy keeps open, which would send into a closed connection
LAST_ANSWERS: Final = timedelta(seconds=5)
LINGER: Final = timedelta(seconds=1)  # for a refused body that is still on its way
LOOK_EVERY: Final = timedelta(seconds=1)
_HEADERS_AT_MOST: Final = 64
_WAITING_TO_COME_IN: Final = 1_024
_ACCEPTED_AT_ONCE: Final = 8

_log: Final = structlog.get_logger("door")


class Connection(web.RequestHandler):
    """One connection, from its acceptance to its end. `since` is when it was without a request last, in seconds of the event loop."""

    __slots__ = ("_door", "_head", "address", "entering", "requests", "since", "wire")

    def __init__(self, door: "Door", server: web.Server, address: str, options: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, **options)
        self._door = door
        self._head = 0
        self.address = address
        self.since = loop.time()
        self.requests = 0
        self.wire: asyncio.Transport | None = None
        self.entering: asyncio.Task[None] | None = None

    @property
    def patience(self) -> timedelta:
        """A head that has begun is to end."""
        return IDLE_AT_MOST if self.requests and not self._head else HEAD_DEADLINE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.wire = cast("asyncio.Transport", transport)
        self.since = self._loop.time()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._door.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiting: asyncio.Future[None] | None = getattr(self, "_waiter", None)
        if waiting is None or waiting.done():
            return
        if not self._head:
            self.since = self._loop.time()
        self._head += len(data)
        if self._head > HEAD_AT_MOST:
            self._door.show_out(self, "slow_heads")

    def begins(self) -> None:
        """A request: until it `ends` nobody is to cut it off."""
        self._head = 0
        self.requests += 1
        self._door.idle.pop(self, None)

    def ends(self) -> None:
        self.since = self._loop.time()
        if self in self._door.inside:
            self._door.idle[self] = None

    def cut(self) -> None:
        if self.wire is not None:
            self.wire.abort()
        elif self.entering is not None:
            self.entering.cancel()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What came is no HTTP: as much of it as anybody likes to send makes neither a traceback nor a page of its own."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        _log.warning("not_http", remote=request.remote, error=type(exc).__name__)
        answer = problem(HTTPStatus(status), "this is no request of HTTP/1.1, or a header of it is too long")
        answer.force_close()
        return answer


class Door:
    """`inside` are all connections, `idle` those without a request, longest first."""

    def __init__(self, server: web.Server, options: dict[str, Any], tls: ssl.SSLContext | None, metrics: Metrics, most: int) -> None:
        self._server = server
        self._options = options
        self._tls = tls
        self._metrics = metrics
        self._most = most
        self.inside: set[Connection] = set()
        self.idle: dict[Connection, None] = {}
        self._of_address: Counter[str] = Counter()

    async def let_in(self, listening: socket.socket, clock: Clock) -> None:
        """For ever: whoever knocks."""
        loop = asyncio.get_running_loop()
        async with together() as entering:
            while True:
                for _ in range(_ACCEPTED_AT_ONCE):
                    try:
                        knocking, address = await loop.sock_accept(listening)
                    except ConnectionAbortedError:
                        continue
                    except OSError:  # no descriptor is left, or no memory
                        too_busy(self._metrics, "connections")
                        self._make_room()
                        await clock.sleep(LOOK_EVERY)
                        continue
                    if len(self.inside) >= self._most and not self._make_room():
                        too_busy(self._metrics, "connections")
                        knocking.close()
                        continue
                    connection = Connection(self, self._server, neighbourhood(address[0]), self._options)
                    self._entered(connection)
                    connection.entering = entering.create_task(self._enter(connection, knocking))
                    connection.entering.add_done_callback(partial(self._has_entered, connection, knocking))
                await asyncio.sleep(0)

    async def _enter(self, connection: Connection, knocking: socket.socket) -> None:
        patience = HEAD_DEADLINE.total_seconds() if self._tls else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, knocking, ssl=self._tls, ssl_handshake_timeout=patience
            )
        except OSError as error:
            _log.warning("handshake_failed", remote=connection.address, error=str(error) or type(error).__name__)

    def _has_entered(self, connection: Connection, knocking: socket.socket, _done: object) -> None:
        if connection.wire is None:
            self.left(connection)
            knocking.close()

    def _entered(self, connection: Connection) -> None:
        self.inside.add(connection)
        self.idle[connection] = None
        self._of_address[connection.address] += 1

    def left(self, connection: Connection) -> None:
        if connection not in self.inside:
            return
        self.inside.discard(connection)
        self.idle.pop(connection, None)
        self._of_address[connection.address] -= 1
        if not self._of_address[connection.address]:
            del self._of_address[connection.address]

    def show_out(self, connection: Connection, limit: Limit) -> None:
        """It counts no more from here on, whenever the transport says so."""
        too_busy(self._metrics, limit)
        self.left(connection)
        connection.cut()

    def _make_room(self) -> bool:
        if not self.idle:
            return False
        self.show_out(max(self.idle, key=lambda one: self._of_address[one.address]), "idle_connections")
        return True

    async def look_after(self, clock: Clock) -> None:
        """For ever: cut off whoever has been without a request for too long, or does not read the answer to the last one."""
        loop = asyncio.get_running_loop()
        while True:
            await clock.sleep(LOOK_EVERY)
            now = loop.time()
            for connection in [one for one in self.idle if now - one.since > one.patience.total_seconds()]:
                self.show_out(connection, "slow_heads")


@web.middleware
async def marked(request: web.Request, handler: Any) -> web.StreamResponse:
    """Tells the connection while a request is being answered."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        answer: web.StreamResponse = await handler(request)
        return answer
    connection.begins()
    try:
        answer = await handler(request)
    finally:
        connection.ends()
    return answer


def neighbourhood(address: str) -> str:
    """Who shares a line: an IPv6 network of 64 bits is one customer's."""
    return socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:8].hex() if ":" in address else address


@asynccontextmanager
async def listening(
    application: web.Application, settings: ServerSettings, *, tls: ssl.SSLContext | None, metrics: Metrics, clock: Clock
) -> AsyncIterator[str]:
    """The URL under which the application is served. Raises PermanentError when the port cannot be had."""
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=LAST_ANSWERS.total_seconds())
    options = {
        "access_log": None,
        "keepalive_timeout": IDLE_AT_MOST.total_seconds(),
        "lingering_time": LINGER.total_seconds(),
        "auto_decompress": False,
        "max_headers": _HEADERS_AT_MOST,
    }
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        door = Door(cast("web.Server", runner.server), options, tls, metrics, most_connections())
        sockets = [stack.enter_context(one) for one in await _bound(settings.host, settings.port)]
        async with together() as tasks:
            watching = [tasks.create_task(door.let_in(one, clock)) for one in sockets]
            watching.append(tasks.create_task(door.look_after(clock)))
            host, port = sockets[0].getsockname()[:2]
            yield f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
            for task in watching:
                task.cancel()


async def _bound(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address that the name has."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets = []
        for family, _, _, _, address in dict.fromkeys(found):
            sockets.append(socket.create_server(address, family=family, backlog=_WAITING_TO_COME_IN))
            sockets[-1].setblocking(False)
    except OSError as e:
        raise PermanentError(f"cannot listen on {host}:{port}: {e.strerror or e}; is another rollbackd running?") from e
    return sockets
