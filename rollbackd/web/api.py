"""The API's reading half: what stands in the store and in the settings, as JSON."""

from typing import Annotated

from aiohttp import web

from rollbackd.errors import NotFoundError
from rollbackd.model.policy import ServicePolicy
from rollbackd.report import render
from rollbackd.settings.suggest import unknown
from rollbackd.web import config, readiness, views
from rollbackd.web.answers import Answer, Raw
from rollbackd.web.body import IncidentsQuery, Labels, PageQuery, PlanQuery, ReportQuery, ServiceQuery
from rollbackd.web.deps import DEPS, Deps
from rollbackd.web.shapes import (
    AuditPage,
    ChangePage,
    DiagnosisShape,
    IncidentPage,
    IncidentRecord,
    PlanShape,
    ReleasePage,
    RouteShape,
    ServicePage,
    ServiceShape,
    StatusShape,
)


async def status(request: web.Request) -> Answer[StatusShape]:
    """How the daemon and its services stand."""
    return Answer(await status_of(request.app[DEPS]))


async def services(request: web.Request) -> Answer[ServicePage]:
    """Every service of the config, and how it stands."""
    return Answer({"items": await services_of(request.app[DEPS]), "next": None})


async def doctor(request: web.Request) -> Answer[DiagnosisShape]:
    """The daemon and every service, looked over now as far as that was not done a moment ago."""
    deps = request.app[DEPS]
    return Answer(readiness.diagnosis(deps.status(), await deps.diagnose()))


async def plan(request: web.Request, query: PlanQuery) -> Answer[PlanShape]:
    """The exact commands that a rollback would run now; `?to=` names another target, `?runbook=` what else would be run."""
    made = await request.app[DEPS].by_hand.plan(request.match_info["name"], to=query.to, runbook=query.runbook)
    return Answer(views.plan(made))


async def incidents(request: web.Request, query: IncidentsQuery) -> Answer[IncidentPage]:
    """Newest first, filtered by `service`, `phase` and `outcome`; `cursor` is the `next` of the page before."""
    store = request.app[DEPS].store
    try:
        page = await store.incidents.page(
            service=query.service, phase=query.phase, outcome=query.outcome, cursor=query.cursor, limit=query.limit
        )
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    items = [views.listed(one, await store.attempts.of_incident(one.id)) for one in page.items]
    return Answer({"items": items, "next": page.next})


async def incident(request: web.Request) -> Answer[IncidentRecord]:
    """One incident, with every check, attempt and look."""
    return Answer(await record_of(request.app[DEPS], request.match_info["id"]))


async def report(
    request: web.Request, query: ReportQuery
) -> Annotated[web.StreamResponse, Raw(media=("text/markdown", "application/json"))]:
    """The report of an incident, as a text or as its facts."""
    deps = request.app[DEPS]
    facts = await deps.reporting.facts(request.match_info["id"])
    if query.format == "json":
        return web.Response(text=render.json(facts), content_type="application/json")
    return web.Response(text=render.markdown(facts, deps.in_use.settings().report_language), content_type="text/markdown")


async def releases(request: web.Request, query: ServiceQuery) -> Answer[ReleasePage]:
    """Of one service, newest first."""
    deps = request.app[DEPS]
    found = await deps.store.releases.of_service(service_named(deps, query.service).name)
    return Answer({"items": [views.release(one) for one in found], "next": None})


async def changes(request: web.Request, query: ServiceQuery) -> Answer[ChangePage]:
    """Of one service, newest first."""
    deps = request.app[DEPS]
    found = await deps.store.changes.of_service(service_named(deps, query.service).name)
    return Answer({"items": [views.change(one) for one in found], "next": None})


async def audit(request: web.Request, query: PageQuery) -> Answer[AuditPage]:
    """Who did or tried what, newest first; `cursor` is the `next` of the page before."""
    try:
        page = await request.app[DEPS].store.audit.page(cursor=query.cursor, limit=query.limit)
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    return Answer({"items": [views.audited(one) for one in page.items], "next": page.next})


async def routes(request: web.Request, query: Labels) -> Answer[RouteShape]:
    """Which service and trigger an alert with the labels of the query would hit, and why."""
    route = request.app[DEPS].in_use.route(query.all)
    return Answer({"service": route.service, "trigger": route.trigger, "reason": route.reason, "why": route.why})


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
    opened, pauses = await deps.store.incidents.open_ones(), await deps.store.pauses.all(deps.clock.now())
    in_use = deps.in_use.config
    return views.status(
        deps.status(),
        config.in_use(in_use, deps.refusal(), opened),
        opened,
        pauses,
        [deps.readiness(name) for name in in_use.settings.services],
        deliveries=await deps.courier.deliveries(),
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
        for name, policy in deps.in_use.services.items()
    ]


def service_named(deps: Deps, name: str) -> ServicePolicy:
    """Raises NotFoundError, with the name that was probably meant."""
    try:
        return deps.in_use.services[name]
    except KeyError:
        raise NotFoundError(f"no service {name!r}: {unknown(name, deps.in_use.services)}") from None
