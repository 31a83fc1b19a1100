"""The web server as a value: every route with who may use it, in one table, and what holds for every answer.

What a route takes and gives stands in the types of its handler, see `answers`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Final, NamedTuple

import orjson
from aiohttp import web

from rollbackd.web import api, console, decisions, events, ops
from rollbackd.web.access import REFUSALS, Access, Refusals, guarded
from rollbackd.web.answers import JSON, Handler, Raw, answering
from rollbackd.web.deps import DEPS, Deps
from rollbackd.web.door import marked
from rollbackd.web.lanes import Lane, Lanes
from rollbackd.web.problems import problems

MOST_BODY: Final = 64 * 1024  # of what people and CI send; the webhook has a limit of its own

_LANES: Final[Mapping[Handler, Lane]] = {ops.webhook: Lane.WEBHOOK, events.events: Lane.STREAM, ops.metrics: Lane.SCRAPE}


class Route(NamedTuple):
    method: str
    path: str
    access: Access
    handler: Handler

    @property
    def lane(self) -> Lane | None:
        if self.handler in _LANES:
            return _LANES[self.handler]
        match self.access:
            case Access.OPEN | Access.INGEST:
                return None
            case Access.READ | Access.CONSOLE:
                return Lane.READ
            case Access.RECORD | Access.DECIDE:
                return Lane.DECIDE


async def description(_request: web.Request) -> Annotated[web.StreamResponse, Raw()]:
    """This description of the API."""
    return web.Response(body=_description(), content_type=JSON)


ROUTES: Final = (
    Route("POST", "/webhook/alertmanager", Access.INGEST, ops.webhook),
    Route("GET", "/api/v1/status", Access.READ, api.status),
    Route("GET", "/api/v1/doctor", Access.READ, api.doctor),
    Route("GET", "/api/v1/services", Access.READ, api.services),
    Route("GET", "/api/v1/services/{name}/plan", Access.READ, api.plan),
    Route("GET", "/api/v1/incidents", Access.READ, api.incidents),
    Route("GET", "/api/v1/incidents/{id}", Access.READ, api.incident),
    Route("GET", "/api/v1/incidents/{id}/report", Access.READ, api.report),
    Route("GET", "/api/v1/releases", Access.READ, api.releases),
    Route("GET", "/api/v1/changes", Access.READ, api.changes),
    Route("GET", "/api/v1/audit", Access.READ, api.audit),
    Route("GET", "/api/v1/routes", Access.READ, api.routes),
    Route("GET", "/api/v1/events", Access.READ, events.events),
    Route("POST", "/api/v1/releases", Access.RECORD, decisions.record_release),
    Route("POST", "/api/v1/changes", Access.RECORD, decisions.record_change),
    Route("POST", "/api/v1/releases/{service}/{version}/mark", Access.DECIDE, decisions.mark_release),
    Route("POST", "/api/v1/incidents/{id}/approve", Access.DECIDE, decisions.approve),
    Route("POST", "/api/v1/incidents/{id}/reject", Access.DECIDE, decisions.reject),
    Route("POST", "/api/v1/incidents/{id}/abort", Access.DECIDE, decisions.abort),
    Route("POST", "/api/v1/incidents/{id}/acknowledge", Access.DECIDE, decisions.acknowledge),
    Route("POST", "/api/v1/incidents/{id}/tick", Access.DECIDE, decisions.tick),
    Route("POST", "/api/v1/services/{name}/rollback", Access.DECIDE, decisions.rollback),
    Route("POST", "/api/v1/services/{name}/run", Access.DECIDE, decisions.run),
    Route("POST", "/api/v1/notify/test", Access.DECIDE, decisions.notify_test),
    Route("POST", "/api/v1/pause", Access.DECIDE, decisions.pause),
    Route("POST", "/api/v1/resume", Access.DECIDE, decisions.resume),
    Route("POST", "/-/reload", Access.DECIDE, decisions.reload),
    Route("GET", "/", Access.CONSOLE, console.index),
    Route("GET", "/incidents/{id}", Access.CONSOLE, console.incident),
    Route("GET", "/static/console.css", Access.OPEN, console.stylesheet),
    Route("GET", "/metrics", Access.OPEN, ops.metrics),
    Route("GET", "/-/healthy", Access.OPEN, ops.healthy),
    Route("GET", "/-/ready", Access.OPEN, ops.ready),
    Route("GET", "/openapi.json", Access.OPEN, description),
)

_HEADERS: Final = {
    "Server": "rollbackd",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def build(deps: Deps) -> web.Application:
    """Everything that listens. No route redirects, and a path with a slash too many is 404: a 3xx would lose alerts (I2)."""
    application = web.Application(middlewares=[marked, problems], client_max_size=MOST_BODY)
    lanes = Lanes(deps.metrics)
    application[DEPS] = deps
    streams = application[events.STREAMS] = events.Streams()
    application[REFUSALS] = Refusals()
    for route in ROUTES:
        handler = answering(route.handler)
        if route.lane is not None:
            handler = lanes.within(route.lane, handler)
        application.router.add_route(route.method, route.path, guarded(handler, route.access))
    application.on_response_prepare.append(_secure)
    application.on_shutdown.append(streams.close_all)
    return application


@cache
def _description() -> bytes:
    from rollbackd.web.openapi import document  # noqa: PLC0415 - most daemons never describe themselves

    return orjson.dumps(document(ROUTES))


async def _secure(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
