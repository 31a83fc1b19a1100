"""Row 44 and its kin: however many connections are opened, kept and dripped on, whoever asks at once is answered (I14)."""

import asyncio
import resource
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from rollbackd.telemetry.metrics import Metrics
from rollbackd.web import door, lanes
from tests.faults.process_world import ProcessWorld
from tests.faults.wires import Taken, Wires, beside
from tests.flow.world import World

BEGUN = b"POST /webhook/alertmanager HTTP/1.1\r\nHost: localhost\r\nX-Drip: "
WHOLE = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"
MIB = 1024 * 1024


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ProcessWorld]:
    async with ProcessWorld(tmp_path, bad=()) as world:
        yield world


async def fresh(world: World, path: str = "/-/healthy") -> int:
    """From a connection that is opened for it."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http,
        http.get(world.url + path, headers={"Authorization": f"Bearer {world.token}"}) as response,
    ):
        await response.read()
        return response.status


async def webhook(world: World) -> None:
    """From a connection that is opened for it."""
    kept, world.http = world.http, aiohttp.ClientSession()
    try:
        assert (await world.alert())["stored"] == 1
    finally:
        await world.http.close()
        world.http = kept


async def counted(world: World, limit: str) -> float:
    async with world.http.get(f"{world.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(f'rollbackd_too_busy_total{{limit="{limit}"}}'))


def taken(world: ProcessWorld) -> Taken:
    assert world.process is not None
    return Taken(world.process.pid)


async def test_row_44_a_thousand_connections_keep_no_webhook_out(process: ProcessWorld) -> None:
    """Five hundred that drip their headers and five hundred that have asked and stay."""
    before = taken(process).descriptors, taken(process).resident
    async with Wires(process.url) as slow, Wires(process.url) as idle:
        await slow.add(500, BEGUN)
        await idle.add(500, WHOLE)
        await slow.send(b"x")
        await webhook(process)
        for path in ("/-/healthy", "/-/ready", "/metrics", "/api/v1/status"):
            assert await fresh(process, path) == 200
        await slow.send(b"y")
        await webhook(process)
        assert taken(process).descriptors <= before[0] + lanes.MOST_CONNECTIONS + 10
        assert taken(process).resident <= before[1] + 48 * MIB
        assert await counted(process, "idle_connections") >= 1000 - lanes.MOST_CONNECTIONS
    assert process.log.count("too_busy_idle_connections") < 100, "a flood does not flood the log"


async def test_row_44_the_deadline_closes_what_drips_and_what_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "HEAD_DEADLINE", timedelta(milliseconds=300))
    monkeypatch.setattr(door, "LOOK_EVERY", timedelta(milliseconds=50))
    async with World(tmp_path) as world, Wires(world.url) as slow, Wires(world.url) as mute, Wires(world.url) as idle:
        await slow.add(50, BEGUN)
        await mute.add(50, b"")
        await idle.add(50, WHOLE)
        assert await idle.answered() == [200] * 50

        async def drip() -> None:
            while True:
                await slow.send(b"x")
                await asyncio.sleep(0.01)

        async with beside(drip()):
            await slow.until_closed(50)
        await mute.until_closed(50)
        assert await idle.closed() == 0, "a client that may ask again is let stay"
        await idle.send(BEGUN)
        await idle.until_closed(50)
        assert await counted(world, "slow_heads") == 150


async def test_row_44_an_idle_one_is_let_stay_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "IDLE_AT_MOST", timedelta(milliseconds=300))
    monkeypatch.setattr(door, "LOOK_EVERY", timedelta(milliseconds=50))
    async with World(tmp_path) as world, Wires(world.url) as idle:
        await idle.add(20, WHOLE)
        assert await idle.answered() == [200] * 20
        await idle.until_closed(20)


async def test_a_flood_drives_out_itself_and_no_one_else(process: ProcessWorld) -> None:
    async with Wires(process.url, source="127.0.0.2") as other, Wires(process.url) as flood:
        await other.add(5, WHOLE)
        assert await other.answered() == [200] * 5
        await flood.add(3 * lanes.MOST_CONNECTIONS, BEGUN)
        await flood.until_closed(2 * lanes.MOST_CONNECTIONS)
        assert await other.closed() == 0
        await other.send(WHOLE)
        assert await other.answered() == [200] * 5


async def test_bodies_that_do_not_come_take_their_lane_and_nothing_else(process: ProcessWorld) -> None:
    """They have the token, and are cut off only by the deadline of the body."""
    head = f"POST /webhook/alertmanager HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {process.token}-ingest\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    async with Wires(process.url) as bodies:
        await bodies.add(lanes.MOST_CONNECTIONS + 50, head.encode())
        for path in ("/-/healthy", "/-/ready", "/metrics", "/api/v1/status"):
            assert await fresh(process, path) == 200
        assert await counted(process, "webhooks") > 0
        assert await bodies.answered(last=1) == [503], "the others wait for their deadline"
    await webhook(process)


async def test_streams_that_never_read_take_their_lane_and_nothing_else(process: ProcessWorld) -> None:
    stream = f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {process.token}\r\n\r\n".encode()
    async with Wires(process.url) as streams:
        await streams.add(2 * lanes.MOST_CONNECTIONS, stream)
        assert await fresh(process) == 200
        assert await fresh(process, "/api/v1/status") == 200
        await webhook(process)
        assert await counted(process, "streams") > 0


async def test_answers_that_nobody_reads_are_not_kept(process: ProcessWorld) -> None:
    """Pipelined, from as many as there is room for: more answers than the kernel's buffers hold."""
    before = taken(process).resident
    async with Wires(process.url) as deaf:
        await deaf.add(lanes.MOST_CONNECTIONS, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        for _ in range(20):
            assert await fresh(process) == 200
        await webhook(process)
        assert taken(process).resident <= before + 96 * MIB


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * MIB + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * MIB + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 200_000 + b"\r\n",
        b"\r\n" * 500_000,
        b"\x16\x03\x01" * 1000,
    ],
    ids=["url", "header", "headers", "empty lines", "tls"],
)
async def test_heads_without_end_are_cut_off_early_and_without_a_traceback(process: ProcessWorld, head: bytes) -> None:
    before = taken(process).resident
    async with Wires(process.url) as giants:
        await giants.add(20, head)
        assert set(await giants.answered()) <= {0, 400}
        assert await fresh(process) == 200
    assert taken(process).resident <= before + 24 * MIB
    assert "Traceback" not in process.log


async def test_a_head_that_grows_line_by_line_is_cut_off_at_its_size(tmp_path: Path) -> None:
    async with World(tmp_path) as world, Wires(world.url) as one:
        await one.add(1, BEGUN)
        for _ in range(9):
            await one.send(b"x" * 4_000 + b"\r\nX-More: ")
            await asyncio.sleep(0.01)
        await one.until_closed(1)
        assert await counted(world, "slow_heads") == 1


async def test_what_stands_behind_another_request_is_answered_in_order(process: ProcessWorld) -> None:
    async with Wires(process.url) as pipelined, Wires(process.url) as old, Wires(process.url) as half:
        await pipelined.add(1, WHOLE * 20)
        for _ in range(20):
            assert await pipelined.answered() == [200]
        await old.add(1, b"GET /-/healthy HTTP/1.0\r\n\r\n")
        assert await old.answered() == [200]
        await old.until_closed(1)
        await half.add(1, WHOLE)
        half.open[0][1].write_eof()
        assert (await half.answered())[0] in {0, 200}
        await half.until_closed(1)


async def test_a_body_that_is_announced_is_not_asked_for_when_it_is_too_large(process: ProcessWorld) -> None:
    head = f"POST /webhook/alertmanager HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {process.token}-ingest\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {100 * MIB}\r\nExpect: 100-continue\r\n\r\n"
    async with Wires(process.url) as one:
        await one.add(1, head.encode())
        statuses = [(await one.answered())[0], (await one.answered())[0]]
        assert statuses in ([100, 413], [413, 0])


@pytest.mark.parametrize(("descriptors", "connections"), [(64, 32), (1024, 256), (resource.RLIM_INFINITY, 256)])
async def test_a_process_that_may_have_few_descriptors_lets_in_half_as_many(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, connections: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (descriptors, resource.RLIM_INFINITY))
    assert lanes.most_connections() == connections
    assert sum(lanes.Lanes(Metrics()).free.values()) < connections, "one is always without a request"
