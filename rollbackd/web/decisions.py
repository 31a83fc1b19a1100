"""The API's writing half: each route takes one strict body, asks the operator, and answers with what stands then.

Nothing is decided here. Who may ask is settled before, in `access`; whether it is done, by `flow`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from aiohttp import web

from rollbackd.flow.by_hand import Wish
from rollbackd.model.change import ChangeKind
from rollbackd.model.release import Mark, ReleaseStatus
from rollbackd.releases.register import ReleaseReport
from rollbackd.web import config, views
from rollbackd.web.access import caller
from rollbackd.web.answers import Accepted, Answer, Created
from rollbackd.web.api import record_of
from rollbackd.web.body import (
    ApproveBody,
    ChangeBody,
    MarkBody,
    NotifyTestBody,
    PauseBody,
    ReasonBody,
    ReleaseBody,
    ResumeBody,
    RollbackBody,
    RunBody,
    TickBody,
)
from rollbackd.web.deps import DEPS
from rollbackd.web.shapes import ChangeShape, IncidentRecord, PauseShape, ReleaseShape, ReloadedShape, ResumedShape, TestedPage


async def record_release(request: web.Request, body: ReleaseBody) -> Answer[ReleaseShape] | Created[ReleaseShape]:
    """201 when it is new, 200 when the same stood there already."""
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
    return (Created if created else Answer)(views.release(release))


async def mark_release(request: web.Request, body: MarkBody) -> Answer[ReleaseShape]:
    """Call a release bad, or good again."""
    service, version = request.match_info["service"], request.match_info["version"]
    mark = Mark.BAD if body.mark == "bad" else Mark.NONE
    with _asked():
        marked = await request.app[DEPS].operator.mark(service, version, mark, reason=body.reason, by=caller(request))
    return Answer(views.release(marked))


async def record_change(request: web.Request, body: ChangeBody) -> Answer[ChangeShape] | Created[ChangeShape]:
    """As a release: 201 when it is new, 200 when the same stood there already."""
    with _asked():
        change, created = await request.app[DEPS].operator.record_change(
            body.service, kind=ChangeKind(body.kind), what=body.what, at=body.at, by=caller(request)
        )
    return (Created if created else Answer)(views.change(change))


async def approve(request: web.Request, body: ApproveBody) -> Answer[IncidentRecord]:
    """Run the plan of a proposal or an escalation."""
    with _asked():
        await request.app[DEPS].operator.approve(request.match_info["id"], plan=body.plan, by=caller(request))
    return await _as_it_stands(request)


async def reject(request: web.Request, body: ReasonBody) -> Answer[IncidentRecord]:
    """Let a proposal be."""
    with _asked():
        await request.app[DEPS].operator.reject(request.match_info["id"], reason=body.reason, by=caller(request))
    return await _as_it_stands(request)


async def abort(request: web.Request, body: ReasonBody) -> Answer[IncidentRecord]:
    """Stop before the next step; before the first one, and in the watch, at once."""
    with _asked():
        await request.app[DEPS].operator.abort(request.match_info["id"], reason=body.reason, by=caller(request))
    return await _as_it_stands(request)


async def acknowledge(request: web.Request, body: ReasonBody) -> Answer[IncidentRecord]:
    """A person has taken note."""
    with _asked():
        await request.app[DEPS].operator.acknowledge(request.match_info["id"], reason=body.reason, by=caller(request))
    return await _as_it_stands(request)


async def rollback(request: web.Request, body: RollbackBody) -> Accepted[IncidentRecord]:
    """202: it has begun, and the incident says how it goes."""
    with _asked():
        begun = await request.app[DEPS].by_hand.rollback(request.match_info["name"], _wish(body), by=caller(request))
    return Accepted(await record_of(request.app[DEPS], begun.id))


async def run(request: web.Request, body: RunBody) -> Accepted[IncidentRecord]:
    """Run a runbook that is not the service's quick one. 202: it has begun, and the incident says how it goes."""
    wish = replace(_wish(body), confirm=body.confirm)
    with _asked():
        begun = await request.app[DEPS].by_hand.run(request.match_info["name"], body.runbook, wish, by=caller(request))
    return Accepted(await record_of(request.app[DEPS], begun.id))


async def tick(request: web.Request, body: TickBody) -> Answer[IncidentRecord]:
    """A person has done, or seen, what a manual step says."""
    with _asked():
        await request.app[DEPS].operator.tick(request.match_info["id"], body.step, by=caller(request))
    return await _as_it_stands(request)


async def pause(request: web.Request, body: PauseBody) -> Answer[PauseShape]:
    """Nothing starts until then: of one service, or of all without one."""
    with _asked():
        facts = await request.app[DEPS].operator.pause(body.service, duration=body.for_, reason=body.reason, by=caller(request))
    return Answer(views.pause(facts))


async def resume(request: web.Request, body: ResumeBody) -> Answer[ResumedShape]:
    """`resumed` is false when it was not paused."""
    with _asked():
        resumed = await request.app[DEPS].operator.resume(body.service, by=caller(request))
    return Answer({"scope": body.service or "global", "resumed": resumed})


async def notify_test(request: web.Request, body: NotifyTestBody) -> Answer[TestedPage]:
    """Whether each channel takes a test message, now; one of them with `channel`."""
    tried = await request.app[DEPS].courier.test(body.channel)
    return Answer({"items": [{"channel": name, "delivered": not why, "error": why} for name, why in tried.items()]})


async def reload(request: web.Request) -> Answer[ReloadedShape]:
    """What changed with the config that was read again; 422 with everything that is wrong with it, and then nothing has changed."""
    deps = request.app[DEPS]
    changes = await deps.reload(caller(request))
    return Answer(config.reloaded(deps.in_use.config, changes))


def _wish(body: RollbackBody) -> Wish:
    return Wish(reason=body.reason, to=body.to, plan=body.plan, reason_code=body.reason_code, while_paused=body.while_paused)


@contextmanager
def _asked() -> Iterator[None]:
    """A question that makes no sense to the operator is the client's to mend."""
    try:
        yield
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error


async def _as_it_stands(request: web.Request) -> Answer[IncidentRecord]:
    return Answer(await record_of(request.app[DEPS], request.match_info["id"]))
