"""Row 68: what a page from elsewhere, a frame, a name that was rebound and two people at once can have a browser do (I1 I11)."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from rollbackd.settings.effective import Role
from rollbackd.store.timeline import NewEntry
from tests.faults.hostile import EVERYTHING, SHORT
from tests.flow.world import World
from tests.unit.web import world as web_world
from tests.unit.web.samples import BLAMED, NOW, incident
from tests.unit.web.test_access import WHO_MAY, path_of
from tests.unit.web.world import TOKENS, keep, serving

CHANGING: Final = [path for method, path in WHO_MAY if method == "POST"]
FOREIGN: Final = (
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1"},
)
DAY: Final = timedelta(days=1)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[web_world.World]:
    async with serving(tmp_path) as running:
        yield running


@pytest.mark.parametrize("path", CHANGING)
async def test_row_68_no_page_from_elsewhere_changes_anything(world: web_world.World, path: str) -> None:
    """Even with the right token, which no browser sends by itself to a route that changes something."""
    role = Role.INGEST if path.startswith("/webhook") else Role.OPERATOR
    for headers in FOREIGN:
        async with world.http.post(world.url + path_of(path), headers={**world.as_(role), **headers}, json={}) as response:
            assert (response.status, response.content_type) == (403, "application/problem+json"), headers
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        headers = {**world.as_(role), "Content-Type": kind}
        async with world.http.post(world.url + path_of(path), headers=headers, data=b'{"reason": "x"}') as response:
            assert response.status == 415, kind
    assert world.operator.asked == []
    assert len([line for line in world.logs if line["event"] == "refused"]) == len(FOREIGN)


async def test_row_68_a_browser_has_no_way_to_the_webhook(tmp_path: Path) -> None:
    """Without a token, which may be left out on loopback, and under the same origin, as a name that was rebound would have it."""
    async with serving(tmp_path, people=False) as world:
        own = {"Origin": world.url, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
        for headers in (own, {"Sec-Fetch-Site": "none"}, {"Origin": world.url}):
            async with world.http.post(f"{world.url}/webhook/alertmanager", headers=headers, data=b'{"version": "4", "alerts": []}') as one:
                assert one.status == 403
        async with world.http.post(f"{world.url}/webhook/alertmanager", json={"version": "4", "alerts": []}) as one:
            assert one.status == 200


async def test_row_68_a_password_that_a_browser_keeps_changes_nothing(world: web_world.World) -> None:
    """Basic is for looking: a token that is sent along without being asked must not decide."""
    basic = {"Authorization": "Basic eDp0aGUtb3BlcmF0b3ItdG9rZW4="}
    async with world.http.get(f"{world.url}/", headers=basic) as response:
        assert response.status == 200
    for path in CHANGING:
        async with world.http.post(world.url + path_of(path), headers=basic, json={}) as response:
            assert response.status == 401, path
    assert world.operator.asked == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9096", "127.0.0.1.evil.example", "localhost.evil.example", ""])
async def test_row_68_a_name_that_was_rebound_is_refused_where_no_token_is_asked_for(tmp_path: Path, host: str) -> None:
    async with serving(tmp_path, people=False) as world:
        for method, path in WHO_MAY:
            if None not in WHO_MAY[method, path] and not path.startswith("/webhook"):
                async with world.http.request(method, world.url + path_of(path), headers={"Host": host}) as response:
                    assert response.status in {401, 403}, (method, path)
        assert world.operator.asked == []


async def test_row_68_every_answer_forbids_frames_scripts_and_guesses(world: web_world.World) -> None:
    asked = [(method, path_of(path)) for method, path in WHO_MAY if not path.endswith("/events")]
    for method, path in [*asked, ("GET", "/nothing"), ("DELETE", "/"), ("POST", "/metrics")]:
        for role in (None, Role.OPERATOR):
            async with world.http.request(method, world.url + path, headers=world.as_(role)) as response:
                policy = response.headers["Content-Security-Policy"].split("; ")
                assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} <= set(policy)
                assert not [part for part in policy if part.startswith("script-src") or "unsafe" in part]
                assert (response.headers["X-Content-Type-Options"], response.headers["X-Frame-Options"]) == ("nosniff", "DENY")
                assert response.headers["Referrer-Policy"] == "no-referrer"
                assert "Access-Control-Allow-Origin" not in response.headers


async def test_row_68_two_people_and_a_double_click_are_one_execution(tmp_path: Path) -> None:
    async with World(tmp_path, mode="propose") as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        await world.alert()
        proposed = await world.reached("proposed")
        path = f"{world.url}/api/v1/incidents/{proposed['id']}/approve"

        async def approve(plan: str | None) -> int:
            async with world.http.post(path, json={"plan": plan}, headers={"Authorization": f"Bearer {world.token}"}) as response:
                return response.status

        assert [await approve("0" * 64), await approve(proposed["plan"][:-1]), await approve("")] == [409, 409, 400]
        answers = await asyncio.gather(*(approve(plan) for plan in (proposed["plan"], proposed["plan"], None, proposed["plan"])))
        assert sorted(answers) == [200, 409, 409, 409]
        assert (await world.closed())["outcome"] == "recovered"
        assert world.versions() == ["v2", "v1"]
        items = (await world.get("/api/v1/audit"))["items"]
        results = [one["result"] for one in items if one["action"] == "approve"]
        assert sorted(results) == ["done", "outdated_plan", "outdated_plan", *["rolling_back"] * 3]


def chromium() -> str:
    """Where it is; the test is skipped where it is not."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no chromium in PATH: it comes with Debian's package chromium")
    return found


async def shown(url: str, *more: str) -> str:
    """What has become of the page once all of its scripts have run."""
    with tempfile.TemporaryDirectory() as profile:
        process = await asyncio.create_subprocess_exec(
            chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
            "--no-proxy-server", "--virtual-time-budget=3000", *more, "--dump-dom", url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(60):
                written, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return written.decode()


@asynccontextmanager
async def page_from_elsewhere(html: str) -> AsyncIterator[tuple[str, list[str]]]:
    """Its address, and what it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return web.Response(text=html, content_type="text/html")

    application = web.Application()
    application.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://localhost:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


@pytest.mark.nightly
async def test_row_68_a_browser_shows_hostile_text_and_runs_none_of_it(world: web_world.World) -> None:
    async with page_from_elsewhere("") as (elsewhere, asked):
        text = EVERYTHING + f'<img src="{elsewhere}/pwned"><script src="{elsewhere}/pwned"></script>'
        decision = replace(BLAMED, checks=tuple(replace(check, value=text, query=text) for check in BLAMED.checks))
        one = await keep(world.store, incident(alertname=text, suspect=text, target=text, requested_by=text, request_reason=text))
        await world.store.incidents.save(one, one, decision=decision)
        for short in SHORT.values():
            await world.store.timeline.append(one.id, NewEntry("alert", short), NOW)
        for path in ("/", f"/incidents/{one.id}"):
            dom = await shown(f"{world.url.replace('//', f'//x:{TOKENS[Role.VIEWER]}@')}{path}")
            assert "<h1>" in dom or "<h2>" in dom, dom[:500]
            title = dom.partition("<title>")[2].partition("</title>")[0]
            assert "rollbackd" in title
            assert "pwned" not in title.replace("\n", " ") or "document.title" in title
            assert not [tag for tag in ("<script", "<img", "<iframe", "<object", "<embed", "<form") if tag in dom]
        assert asked == []


@pytest.mark.nightly
async def test_row_68_a_page_from_elsewhere_can_neither_frame_nor_use_it(world: web_world.World) -> None:
    """It tries what pages try: a frame, a form that sends itself, and a request with everything that a browser has."""
    console = f"{world.url.replace('//', f'//x:{TOKENS[Role.OPERATOR]}@')}/"
    attack = f"""<iframe src="{console}"></iframe><iframe name="hidden"></iframe>
    <form id="form" method="post" target="hidden" enctype="text/plain" action="{world.url}/api/v1/resume">
      <input name='{{"a' value='"}}'></form>
    <script>
    document.getElementById("form").submit();
    const said = [];
    for (const mode of ["cors", "no-cors"])
      fetch("{world.url}/api/v1/resume", {{method: "POST", mode, credentials: "include"}})
        .then(r => said.push(mode + r.type + r.status), e => said.push("refused")).then(() => document.title = said.join());
    fetch("{world.url}/api/v1/pause", {{method: "POST", credentials: "include", body: "{{}}",
        headers: {{"Content-Type": "application/json"}}}}).catch(() => document.body.append("no preflight"));
    </script>"""
    async with page_from_elsewhere(attack) as (elsewhere, _):
        dom = await shown(elsewhere)
    assert "no preflight" in dom
    assert "refused" in dom.partition("<title>")[2].partition("</title>")[0]
    assert world.operator.asked == []
    refused = [line for line in world.logs if line["event"] == "refused" and line.get("origin") in {elsewhere, "null"}]
    assert len(refused) >= 2


@pytest.mark.nightly
async def test_row_68_a_browser_with_a_rebound_name_sees_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, people=False) as world:
        port = world.url.rpartition(":")[2]
        rebound = await shown(f"http://evil.example:{port}/", "--host-resolver-rules=MAP evil.example 127.0.0.1")
        assert "without 'auth.people' this server is not evil.example" in rebound
        assert "Ready: watching" in await shown(f"{world.url}/")
