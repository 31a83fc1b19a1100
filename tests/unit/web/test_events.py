import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rollbackd.settings.effective import Role
from rollbackd.store.timeline import NewEntry
from rollbackd.web import events, lanes
from tests.unit.web.samples import NOW, incident
from tests.unit.web.world import World, keep, serving


async def stream(world: World, last: str | None = None) -> aiohttp.ClientResponse:
    headers = world.as_(Role.VIEWER) | ({"Last-Event-ID": last} if last is not None else {})
    return await world.http.get(f"{world.url}/api/v1/events", headers=headers)


async def block(response: aiohttp.ClientResponse) -> list[str]:
    """The lines up to the next empty one."""
    lines = []
    while line := (await response.content.readline()).decode().rstrip("\n"):
        lines.append(line)
    return lines


async def event(response: aiohttp.ClientResponse) -> dict[str, Any]:
    lines = await block(response)
    fields = dict(line.split(": ", 1) for line in lines)
    return {"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])}


async def test_it_begins_with_what_happens_from_now_on(world: World) -> None:
    one = await keep(world.store, incident())
    async with await stream(world) as response:
        assert response.content_type == "text/event-stream"
        assert await block(response) == ["retry: 2000"]
        await world.store.timeline.append(one.id, NewEntry("person", "aborted by oncall\nforged: line", {"by": "oncall"}), NOW)
        told = await event(response)
    assert (told["id"], told["event"], told["data"]["text"]) == ("4", "person", "aborted by oncall\nforged: line")
    assert told["data"]["incident"] == one.id


async def test_it_goes_on_after_the_last_event_that_was_seen(world: World) -> None:
    await keep(world.store, incident())
    async with await stream(world, last="1") as response:
        await block(response)
        assert [(await event(response))["id"] for _ in range(2)] == ["2", "3"]


async def test_more_than_a_page_comes_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAGE", 2)
    await keep(world.store, incident())
    async with await stream(world, last="0") as response:
        await block(response)
        assert [(await event(response))["id"] for _ in range(3)] == ["1", "2", "3"]


async def test_a_quiet_stream_says_that_it_is_still_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", events.HEARTBEAT / 1500)
    async with await stream(world) as response:
        await block(response)
        assert await block(response) == [": still here"]


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 19, "\u00b2"])
async def test_a_last_event_id_that_is_none_is_400(world: World, last: str) -> None:
    async with await stream(world, last=last) as response:
        assert response.status == 400


async def test_there_are_only_so_many_streams_and_a_closed_one_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MOST_CONNECTIONS", 8)
    monkeypatch.setattr(events, "HEARTBEAT", events.HEARTBEAT / 1500)
    async with serving(tmp_path) as world, await stream(world) as first:
        await block(first)
        async with await stream(world) as second:
            assert (second.status, second.headers["Retry-After"]) == (503, "1")
        first.close()
        async with asyncio.timeout(10):
            while (third := await stream(world)).status != 200:
                third.close()
        third.close()


async def test_an_open_stream_ends_with_the_server_and_does_not_hold_it_up(world: World) -> None:
    async with await stream(world) as response:
        await block(response)
        async with asyncio.timeout(10):  # under a heartbeat, and under the server's own patience with open connections
            await world.runner.cleanup()
        rest = await response.content.read()
    assert rest in {b"", b": still here\n\n"}


async def test_a_stream_that_reads_while_the_server_closes_does_not_fall_asleep(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    catch_up = events._catch_up

    async def closing_meanwhile(request: web.Request, response: web.StreamResponse, seq: int) -> int:
        await request.app[events.STREAMS].close_all(request.app)
        return await catch_up(request, response, seq)

    monkeypatch.setattr(events, "_catch_up", closing_meanwhile)
    async with await stream(world) as response, asyncio.timeout(10):  # under a heartbeat
        assert await response.content.read() == b"retry: 2000\n\n"
