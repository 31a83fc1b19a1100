"""The API's writing half: each route reads one strict body, asks the operator, and answers with what stands then.

Nothing is decided here. Who may ask is settled before, in `access`; whether it is done, by `flow`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from aiohttp import web

from rollbackd.model.change import ChangeKind
from rollbackd.model.release import Mark, ReleaseStatus
from rollbackd.releases.register import ReleaseReport
from rollbackd.web import config, views
from rollbackd.web.access import caller
from rollbackd.web.api import record_of, reply
from rollbackd.web.body import (
    ApproveBody,
    ChangeBody,
    MarkBody,
    NothingBody,
    PauseBody,
    ReasonBody,
    ReleaseBody,
    ResumeBody,
    RollbackBody,
    read,
)
from rollbackd.web.deps import DEPS


async def record_release(request: web.Request) -> web.Response:
    """201 when it is new, 200 when the same stood there already."""
    body = await read(request, ReleaseBody)
    if body.deployed_at is not None and (body.started_at is not None or body.live_at is not None):
        raise web.HTTPBadRequest(text="'deployed_at' stands for both times: leave out 'started_at' and 'live_at', or it")
    report = ReleaseReport(
        service=body.service,
        version=body.version,
        artifact=body.artifact,
        started_at=body.started_at or body.deployed_at,
        live_at=body.live_at or body.deployed_at,
        status=ReleaseStatus(body.status) if body.status is not None else None,
        irreversible=body.irreversible,
        group=body.group,
        schema=body.schema_name,
        schema_compatible=body.schema_compatible,
    )
    with _asked():
        release, created = await request.app[DEPS].operator.record_release(report, by=caller(request))
    return reply(views.release(release), status=HTTPStatus.CREATED if created else HTTPStatus.OK)


async def mark_release(request: web.Request) -> web.Response:
    body = await read(request, MarkBody)
    service, version = request.match_info["service"], request.match_info["version"]
    mark = Mark.BAD if body.mark == "bad" else Mark.NONE
    with _asked():
        marked = await request.app[DEPS].operator.mark(service, version, mark, reason=body.reason, by=caller(request))
    return reply(views.release(marked))


async def record_change(request: web.Request) -> web.Response:
    """As a release: 201 when it is new, 200 when the same stood there already."""
    body = await read(request, ChangeBody)
    with _asked():
        change, created = await request.app[DEPS].operator.record_change(
            body.service, kind=ChangeKind(body.kind), what=body.what, at=body.at, by=caller(request)
        )
    return reply(views.change(change), status=HTTPStatus.CREATED if created else HTTPStatus.OK)


async def approve(request: web.Request) -> web.Response:
    body = await read(request, ApproveBody)
    with _asked():
        await request.app[DEPS].operator.approve(request.match_info["id"], plan=body.plan, by=caller(request))
    return await _as_it_stands(request)


async def reject(request: web.Request) -> web.Response:
    body = await read(request, ReasonBody)
    with _asked():
        await request.app[DEPS].operator.reject(request.match_info["id"], reason=body.reason, by=caller(request))
    return await _as_it_stands(request)


async def abort(request: web.Request) -> web.Response:
    body = await read(request, ReasonBody)
    with _asked():
        await request.app[DEPS].operator.abort(request.match_info["id"], reason=body.reason, by=caller(request))
    return await _as_it_stands(request)


async def acknowledge(request: web.Request) -> web.Response:
    body = await read(request, ReasonBody)
    with _asked():
        await request.app[DEPS].operator.acknowledge(request.match_info["id"], reason=body.reason, by=caller(request))
    return await _as_it_stands(request)


async def rollback(request: web.Request) -> web.Response:
    """202: it has begun, and the incident says how it goes."""
    body = await read(request, RollbackBody)
    with _asked():
        begun = await request.app[DEPS].operator.rollback(
            request.match_info["name"],
            to=body.to,
            plan=body.plan,
            reason=body.reason,
            reason_code=body.reason_code,
            while_paused=body.while_paused,
            by=caller(request),
        )
    return reply(await record_of(request.app[DEPS], begun.id), status=HTTPStatus.ACCEPTED)


async def pause(request: web.Request) -> web.Response:
    body = await read(request, PauseBody)
    with _asked():
        facts = await request.app[DEPS].operator.pause(body.service, duration=body.for_, reason=body.reason, by=caller(request))
    return reply(views.pause(facts))


async def resume(request: web.Request) -> web.Response:
    """`resumed` is false when it was not paused."""
    body = await read(request, ResumeBody)
    with _asked():
        resumed = await request.app[DEPS].operator.resume(body.service, by=caller(request))
    return reply({"scope": body.service or "global", "resumed": resumed})


async def reload(request: web.Request) -> web.Response:
    """What changed with the config that was read again; 422 with everything that is wrong with it, and then nothing has changed."""
    await read(request, NothingBody)
    deps = request.app[DEPS]
    changes = await deps.reload(caller(request))
    return reply(config.reloaded(deps.in_use.config, changes))


@contextmanager
def _asked() -> Iterator[None]:
    """A question that makes no sense to the operator is the client's to mend."""
    try:
        yield
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error


async def _as_it_stands(request: web.Request) -> web.Response:
    return reply(await record_of(request.app[DEPS], request.match_info["id"]))
