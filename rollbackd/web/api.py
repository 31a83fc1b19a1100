"""The API's reading half: what stands in the store and in the settings, as JSON."""

from enum import StrEnum
from typing import Final, TypeVar

import orjson
from aiohttp import web

from rollbackd.errors import NotFoundError
from rollbackd.model.incident import Outcome, Phase
from rollbackd.model.policy import ServicePolicy
from rollbackd.report import render
from rollbackd.settings.suggest import unknown
from rollbackd.telemetry.redaction import harmless_data
from rollbackd.web import readiness, views
from rollbackd.web.deps import DEPS, Deps
from rollbackd.web.shapes import IncidentRecord, RouteShape, ServiceShape, StatusShape

E = TypeVar("E", bound=StrEnum)

MOST_ITEMS: Final = 200
ITEMS: Final = 50


def reply(value: object, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(harmless_data(value)), content_type="application/json")


async def status(request: web.Request) -> web.Response:
    parameters(request, ())
    return reply(await status_of(request.app[DEPS]))


async def services(request: web.Request) -> web.Response:
    parameters(request, ())
    return reply({"items": await services_of(request.app[DEPS]), "next": None})


async def doctor(request: web.Request) -> web.Response:
    """The daemon and every service, looked over now as far as that was not done a moment ago."""
    parameters(request, ())
    deps = request.app[DEPS]
    return reply(readiness.diagnosis(deps.status(), await deps.diagnose()))


async def plan(request: web.Request) -> web.Response:
    """The exact commands that a rollback would run now; `?to=` names another target."""
    asked = parameters(request, ("to",))
    made = await request.app[DEPS].operator.plan(request.match_info["name"], to=asked.get("to"))
    return reply(views.plan(made))


async def incidents(request: web.Request) -> web.Response:
    """Newest first, filtered by `service`, `phase` and `outcome`; `cursor` is the `next` of the page before."""
    asked = parameters(request, ("service", "phase", "outcome", "cursor", "limit"))
    store = request.app[DEPS].store
    try:
        page = await store.incidents.page(
            service=asked.get("service"),
            phase=_one_of(Phase, asked.get("phase"), "phase"),
            outcome=_one_of(Outcome, asked.get("outcome"), "outcome"),
            cursor=asked.get("cursor"),
            limit=_limit(asked.get("limit")),
        )
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    items = [views.listed(one, await store.attempts.of_incident(one.id)) for one in page.items]
    return reply({"items": items, "next": page.next})


async def incident(request: web.Request) -> web.Response:
    parameters(request, ())
    return reply(await record_of(request.app[DEPS], request.match_info["id"]))


async def report(request: web.Request) -> web.Response:
    form = parameters(request, ("format",)).get("format", "md")
    if form not in {"md", "json"}:
        raise web.HTTPBadRequest(text=f"no format {form!r}: a report is md or json")
    deps = request.app[DEPS]
    facts = await deps.reporting.facts(request.match_info["id"])
    if form == "json":
        return web.Response(text=render.json(facts), content_type="application/json")
    return web.Response(text=render.markdown(facts, deps.settings.report_language), content_type="text/markdown")


async def releases(request: web.Request) -> web.Response:
    """Of one service, newest first."""
    policy = _service_asked(request)
    found = await request.app[DEPS].store.releases.of_service(policy.name)
    return reply({"items": [views.release(one) for one in found], "next": None})


async def changes(request: web.Request) -> web.Response:
    """Of one service, newest first."""
    policy = _service_asked(request)
    found = await request.app[DEPS].store.changes.of_service(policy.name)
    return reply({"items": [views.change(one) for one in found], "next": None})


async def audit(request: web.Request) -> web.Response:
    """Who did or tried what, newest first; `cursor` is the `next` of the page before."""
    asked = parameters(request, ("cursor", "limit"))
    try:
        page = await request.app[DEPS].store.audit.page(cursor=asked.get("cursor"), limit=_limit(asked.get("limit")))
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    return reply({"items": [views.audited(one) for one in page.items], "next": page.next})


async def routes(request: web.Request) -> web.Response:
    """Which service and trigger an alert with the labels of the query would hit, and why."""
    route = request.app[DEPS].routing.route(dict(request.query))
    answer: RouteShape = {"service": route.service, "trigger": route.trigger, "reason": route.reason, "why": route.why}
    return reply(answer)


async def record_of(deps: Deps, incident_id: str) -> IncidentRecord:
    """Everything that is known of one incident. Raises NotFoundError."""
    one = await deps.store.incidents.get(incident_id)
    return views.record(
        one,
        decision=await deps.store.incidents.decision_of(one.id),
        attempts=await deps.store.attempts.of_incident(one.id),
        looks=await deps.store.looks.of_incident(one.id),
        timeline=await deps.store.timeline.of_incident(one.id),
    )


async def status_of(deps: Deps) -> StatusShape:
    return views.status(
        deps.status(),
        deps.settings.services,
        await deps.store.incidents.open_ones(),
        await deps.store.pauses.all(deps.clock.now()),
        [deps.readiness(name) for name in deps.settings.services],
    )


async def services_of(deps: Deps) -> list[ServiceShape]:
    now = deps.clock.now()
    opened = {one.service: one for one in await deps.store.incidents.open_ones()}
    return [
        views.service(
            policy,
            pause_facts=await deps.store.pauses.facts(name, now),
            open_incident=opened.get(name),
            releases=await deps.store.releases.of_service(name),
            ready=deps.readiness(name),
        )
        for name, policy in deps.settings.services.items()
    ]


def service_named(deps: Deps, name: str) -> ServicePolicy:
    """Raises NotFoundError, with the name that was probably meant."""
    try:
        return deps.settings.services[name]
    except KeyError:
        raise NotFoundError(f"no service {name!r}: {unknown(name, deps.settings.services)}") from None


def parameters(request: web.Request, known: tuple[str, ...]) -> dict[str, str]:
    """The query, strictly: an unknown or repeated parameter is 400, as a filter that is ignored shows the wrong list."""
    for name in request.query:
        if name not in known:
            raise web.HTTPBadRequest(text=f"no parameter {name!r} here: {unknown(name, known)}")
        if len(request.query.getall(name)) > 1:
            raise web.HTTPBadRequest(text=f"parameter {name!r} stands twice")
    return dict(request.query)


def _service_asked(request: web.Request) -> ServicePolicy:
    """The one that the query names, and it names nothing else."""
    asked = parameters(request, ("service",))
    if "service" not in asked:
        raise web.HTTPBadRequest(text="name the service: ?service=NAME")
    return service_named(request.app[DEPS], asked["service"])


def _one_of(kind: type[E], text: str | None, name: str) -> E | None:
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        raise web.HTTPBadRequest(text=f"no {name} {text!r}: {unknown(text, [str(one) for one in kind])}") from None


def _limit(text: str | None) -> int:
    if text is None:
        return ITEMS
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= MOST_ITEMS and len(text) < 4):
        raise web.HTTPBadRequest(text=f"limit is a number from 1 to {MOST_ITEMS}")
    return int(text)
