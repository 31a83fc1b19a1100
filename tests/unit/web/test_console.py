import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from html import unescape

import pytest

from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.incident import Outcome, Phase
from rollbackd.model.readiness import ReadinessCheck, ReadinessVerdict
from rollbackd.settings.effective import Role
from rollbackd.store.timeline import NewEntry
from tests.unit.web.samples import BLAMED, HELD, HOSTILE, NOW, after, incident
from tests.unit.web.world import World, keep, keep_recovered


async def page(world: World, path: str) -> str:
    async with world.http.get(world.url + path, headers=world.as_(Role.VIEWER)) as response:
        assert (response.status, response.content_type) == (200, "text/html"), await response.text()
        return await response.text()


def visible(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


async def test_the_front_page_shows_status_services_and_incidents(world: World) -> None:
    await keep_recovered(world.store)
    shown = visible(await page(world, "/"))
    assert "Ready: watching 1 service since" in shown
    assert "checkout auto checkout-quick v2 ready —" in shown
    assert "20260131-120000-7f3a checkout recovered 2026-01-31 12:00:00 Rolled back from v2 to v1, and the service recovered" in shown


async def test_the_front_page_says_what_is_wrong(world: World) -> None:
    world.health.why_not = "the store is full"
    await keep(world.store, incident())
    await world.store.pauses.set("global", NOW + timedelta(hours=1), "maintenance", "oncall", NOW)
    shown = visible(await page(world, "/"))
    assert "Not ready: the store is full" in shown
    assert "Paused: global until 2026-01-31 13:00:00 UTC — maintenance (oncall)" in shown
    assert "Open Incident" in shown


async def test_the_front_page_says_why_a_rollback_would_not_work(world: World) -> None:
    hostile = ReadinessCheck(name="target", verdict=ReadinessVerdict.NOT_READY, detail=f"no release is recorded {HOSTILE}")
    world.health.checks = (hostile, ReadinessCheck(name="command fly", verdict=ReadinessVerdict.NOT_READY, detail="no such command"))
    html = await page(world, "/")
    assert "not ready target: no release is recorded" in visible(html)
    assert "command fly: no such command" in visible(html)
    assert "<script" not in html


async def test_an_empty_console_says_that_there_is_nothing(world: World) -> None:
    assert "None yet." in visible(await page(world, "/"))


async def test_an_incident_shows_its_record_steps_watch_and_timeline(world: World) -> None:
    await keep_recovered(world.store)
    shown = visible(await page(world, "/incidents/20260131-120000-7f3a"))
    assert "Rolled back from v2 to v1, and the service recovered: the release is to blame." in shown
    assert "HighErrorRate" in shown
    assert "0.31 now; breached in 9 of 9 measurements > 0.01; now and in 8 of 9 measurements" in shown
    assert "deploy the target image failed exit 3" in shown
    assert "no route to the registry" in shown
    assert "met error_rate 0.0011 < 0.005" in shown
    assert "12:00:00 alert HighErrorRate firing" in shown


async def test_the_deciding_check_is_marked(world: World) -> None:
    one = await keep(world.store, incident(phase=Phase.CLOSED, outcome=Outcome.HELD, reason=HELD.reason, closed_at=NOW))
    await world.store.incidents.save(one, one, decision=HELD)
    html = await page(world, f"/incidents/{one.id}")
    assert html.count('class="deciding"') == 1
    assert "cooldown decided" in visible(html)


async def test_an_incident_without_evidence_or_steps_says_so(world: World) -> None:
    await keep(world.store, incident())
    shown = visible(await page(world, "/incidents/20260131-120000-7f3a"))
    assert "Nothing has been decided by evidence." in shown
    assert "No step was started." in shown


async def test_what_comes_from_outside_is_text_and_nothing_else(world: World) -> None:
    decision = replace(BLAMED, checks=tuple(replace(check, value=HOSTILE, query=HOSTILE) for check in BLAMED.checks))
    one = await keep(
        world.store, incident(alertname=HOSTILE, suspect=HOSTILE, target=HOSTILE, requested_by=HOSTILE, request_reason=HOSTILE)
    )
    await world.store.incidents.save(one, one, decision=decision)
    await world.store.timeline.append(one.id, NewEntry("alert", HOSTILE), NOW)
    attempt = Attempt(
        id="a",
        incident_id=one.id,
        step_index=0,
        step_name=HOSTILE,
        number=1,
        argv=(HOSTILE,),
        status=AttemptStatus.FAILED,
        intended_at=after(1),
        detail=HOSTILE,
        output=HOSTILE,
    )
    await world.store.attempts.intend(replace(attempt, status=AttemptStatus.INTENDED))
    await world.store.attempts.ended(attempt)
    html = ""
    for path in ("/", f"/incidents/{one.id}"):
        html = await page(world, path)
        assert "<script" not in html
        assert not set("\x1b\x07\u202e") & set(html)
    assert "alert(&#34;x&#34;)" in html
    assert "{{ 7 * 7 }}" in html  # and not 49


@pytest.mark.parametrize("path", ["/", "/incidents/20260131-120000-7f3a"])
async def test_pages_run_under_their_own_policy(world: World, path: str) -> None:
    await keep_recovered(world.store)
    html = await page(world, path)
    assert not re.search(
        r"<(script|style|img|iframe|form|link(?! rel=\"stylesheet\" href=\"/static/console\.css\"))|\sstyle=|\son\w+=|javascript:", html
    )
    assert '<meta name="viewport"' in html
    assert html.count("<main>") == 1


async def test_an_open_incident_renews_itself_and_a_closed_one_does_not(world: World) -> None:
    await keep_recovered(world.store)
    assert "http-equiv" not in await page(world, "/incidents/20260131-120000-7f3a")
    await keep(world.store, incident(id="open-one"))
    assert 'http-equiv="refresh"' in await page(world, "/incidents/open-one")


async def test_an_incident_that_is_not_there_is_404(world: World) -> None:
    async with world.http.get(f"{world.url}/incidents/nope", headers=world.as_(Role.VIEWER)) as response:
        assert response.status == 404


async def test_the_stylesheet_knows_dark_and_narrow(world: World) -> None:
    async with world.http.get(f"{world.url}/static/console.css") as response:
        assert (response.status, response.content_type) == (200, "text/css")
        css = await response.text()
    assert "prefers-color-scheme: dark" in css
    assert "max-width" in css
    assert "url(" not in css


def test_jinja2_is_not_loaded_with_the_server() -> None:
    probe = "import sys, rollbackd.web.server; print('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "False\n"
