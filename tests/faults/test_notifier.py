"""Row 71: nobody can be told, for Sentry or a channel is down, hangs or refuses. Neither the rollback nor the stop waits (I9 I14).

So it is with a channel that refuses for an hour: what waits for it is brought when it takes something again, in order and once.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from rollbackd.demo.servers import free_port
from tests.fakes.hook import Hook
from tests.faults.process_world import ProcessWorld
from tests.faults.test_crash import bad_release


class TellingWorld(ProcessWorld):
    def __init__(self, directory: Path, sentry: str) -> None:
        super().__init__(directory, mode="propose")
        (directory / "sentry.dsn").write_text(f"{sentry.replace('//', '//0123456789abcdef0123456789abcdef@')}/1")
        (directory / "sentry.dsn").chmod(0o600)

    def write_config(self, *, port: int = 0) -> Path:
        path = super().write_config(port=port)
        path.write_text(json.dumps({**json.loads(path.read_text()), "sentry": {"dsn_file": "sentry.dsn"}}))
        return path


@asynccontextmanager
async def deaf(kind: str, asked: list[str]) -> AsyncIterator[str]:
    if kind == "is down":
        yield f"http://127.0.0.1:{free_port()}"
        return
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if kind == "hangs":
            await over.wait()
        return web.Response(status=429, headers={"Retry-After": "3600"})

    application = web.Application()
    application.router.add_post("/{any:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        over.set()
        await runner.cleanup()


@pytest.mark.parametrize("kind", ["is down", "hangs", "refuses"])
async def test_row_71_a_rollback_does_not_wait_for_whoever_cannot_be_told(tmp_path: Path, kind: str) -> None:
    asked: list[str] = []
    async with deaf(kind, asked) as sentry, TellingWorld(tmp_path, sentry) as world:
        await bad_release(world)
        await world.alert()
        proposal = await world.reached("proposed")
        await world.post(f"/api/v1/incidents/{proposal['id']}/approve", {"plan": None})
        assert (await world.closed())["outcome"] == "recovered"
        if kind != "is down":
            async with asyncio.timeout(20):
                while not asked:  # noqa: ASYNC110 - another process asks
                    await asyncio.sleep(0.02)
        assert world.versions() == ["v2", "v1"]
        assert world.process is not None
        world.process.terminate()
        assert await world.died() == 0


@pytest.mark.parametrize("kind", ["is down", "hangs", "refuses"])
async def test_row_71_a_channel_is_told_in_order_and_once_when_it_listens_again(tmp_path: Path, kind: str) -> None:
    async with Hook() as hook:
        url = f"http://127.0.0.1:{free_port()}/" if kind == "is down" else hook.url
        (tmp_path / "chat.url").write_text(url.replace("http:", "json:"))
        (tmp_path / "chat.url").chmod(0o600)
        dead = {"name": "dead", "url_file": "chat.url"} if kind == "is down" else {"name": "dead", "webhook": {"url": url}}
        async with ProcessWorld(tmp_path, top={"notify": [dead]}) as world:
            hook.status, hook.silent = (429, False) if kind == "refuses" else (200, kind == "hangs")
            await bad_release(world)
            await world.alert()
            incident = await world.closed()
            assert incident["outcome"] == "recovered"
            assert world.versions() == ["v2", "v1"]
            async with asyncio.timeout(20):  # the end is told right after it is there
                while (stands := (await world.get("/api/v1/status"))["notify"][0])["waiting"] != 2:  # noqa: ASYNC110 - as below
                    await asyncio.sleep(0.05)
            assert stands["channel"] == "dead"
            assert stands["oldest"] is not None
            await world.stop()

            hook.status, hook.silent = 200, False
            (tmp_path / "chat.url").write_text(hook.url.replace("http:", "json:"))
            await world.start()
            told = await hook.reached(2)
            assert len(told) == 2
            if kind != "is down":
                assert [one.json["topic"] for one in told] == ["rolling_back", "closed"]
                assert len({one.headers["Idempotency-Key"] for one in told}) == 2
            async with asyncio.timeout(20):
                while (await world.get("/api/v1/status"))["notify"][0]["waiting"]:  # noqa: ASYNC110 - another process writes it down
                    await asyncio.sleep(0.05)
