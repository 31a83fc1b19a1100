"""What other machines ask of the daemon: its metrics, whether it lives, whether it is ready. Open to everybody, and without a secret."""

from contextlib import suppress
from http import HTTPStatus
from typing import Annotated

from aiohttp import web

from rollbackd.errors import RollbackdError
from rollbackd.intake.webhook import StoredShape
from rollbackd.web.answers import Plain, Raw
from rollbackd.web.deps import DEPS
from rollbackd.web.problems import problem
from rollbackd.web.shapes import AlertmanagerPayload


async def webhook(request: web.Request) -> Annotated[web.StreamResponse, Raw(takes=AlertmanagerPayload, gives=StoredShape)]:
    """Alertmanager's webhook, version 4: 200 only after the durable commit."""
    return await request.app[DEPS].webhook.handle(request)


async def metrics(request: web.Request) -> Plain:
    """Rollbackd's own metrics.

    A pause ends by itself, so what is paused is asked at each scrape. A store that cannot be read costs no other number.
    """
    deps = request.app[DEPS]
    deps.metrics.ready(is_ready=deps.status().ready)
    with suppress(RollbackdError):
        deps.metrics.paused(one.scope for one in await deps.store.pauses.all(deps.clock.now()))
    body, content_type = deps.metrics.exposition()
    return web.Response(body=body, headers={"Content-Type": content_type})


async def healthy(_request: web.Request) -> Plain:
    """The event loop turns."""
    return web.Response(text="healthy\n")


async def ready(request: web.Request) -> Plain:
    """It may take alerts, and act on them."""
    status = request.app[DEPS].status()
    return web.Response(text="ready\n") if status.ready else problem(HTTPStatus.SERVICE_UNAVAILABLE, status.why_not)
