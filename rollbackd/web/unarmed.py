"""What answers while no store can be used: everything is refused with why, so that whoever brings an alert brings it again (I2)."""

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from rollbackd.telemetry.metrics import Metrics
from rollbackd.web import ops
from rollbackd.web.problems import RETRY_AFTER, problem, problems


def build(why: Callable[[], str]) -> web.Application:
    """Alive, not ready, and in its metrics so. `why` is one line that says what to do."""
    measured = Metrics()
    measured.ready(is_ready=False)

    async def metrics(_request: web.Request) -> web.Response:
        body, content_type = measured.exposition()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def refuse(_request: web.Request) -> web.Response:
        retry = {"Retry-After": f"{RETRY_AFTER.total_seconds():.0f}"}
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, f"not armed: {why()}", headers=retry)

    application = web.Application(middlewares=[problems])
    application.router.add_get("/-/healthy", ops.healthy)
    application.router.add_get("/metrics", metrics)
    application.router.add_route("*", "/{path:.*}", refuse)
    return application
