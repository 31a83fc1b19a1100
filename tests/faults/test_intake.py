"""Rows 35, 37, 41, 42, 46 and 47 as far as intake owns them: raw sockets against the whole daemon (I1 I2 I3 I11 I14)."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rollbackd.clock import SystemClock, parse_rfc3339
from rollbackd.intake import webhook
from tests.flow.world import World

PATH = "/webhook/alertmanager"
MIB = 1024 * 1024


class Wire:
    """One connection, byte by byte."""

    def __init__(self, world: World, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._token = f"{world.token}-ingest"
        self._reader = reader
        self._writer = writer
        self.sent = 0

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        self.sent += len(data)
        await self._writer.drain()

    async def begin(self, method: str = "POST", path: str = PATH, **headers: str) -> None:
        lines = {
            "Host": "localhost",
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.send(head.encode() + b"\r\n")

    async def answer(self, *, with_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(10):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await self._reader.readexactly(int(headers.get("content-length", "0"))) if with_body else b""
        return int(head[0].split()[1]), headers, body

    @property
    def answered(self) -> bool:
        return bool(self._reader._buffer)  # type: ignore[attr-defined]


@asynccontextmanager
async def connected(world: World) -> AsyncIterator[Wire]:
    address = urlsplit(world.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield Wire(world, reader, writer)
    finally:
        writer.close()


async def refused(wire: Wire, status: int) -> str:
    """The one sentence of the refusal, which is a problem and no traceback."""
    found, headers, body = await wire.answer()
    assert (found, headers["content-type"].partition(";")[0]) == (status, "application/problem+json"), body
    detail = str(json.loads(body)["detail"])
    assert "Traceback" not in detail
    assert "\n" not in detail
    return detail


async def still_serves(world: World) -> None:
    assert (await world.alert())["stored"] == 1


class TestRow41:
    """Oversized, endless, compressed or of another type: refused early, and the next one is served."""

    async def test_a_body_that_is_declared_too_large_is_not_waited_for(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world, connected(world) as wire:
            await wire.begin(Content_Length=str(100 * MIB))
            assert "too large" in await refused(wire, 413)
            await still_serves(world)

    async def test_chunks_without_end_are_cut_off_at_the_limit(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world, connected(world) as wire:
            await wire.begin(Transfer_Encoding="chunked")
            chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
            while not wire.answered and wire.sent < 64 * MIB:
                await wire.send(chunk)
            assert "too large" in await refused(wire, 413)
            await still_serves(world)

    async def test_chunks_that_drip_are_cut_off_at_the_deadline(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(webhook, "BODY_DEADLINE", timedelta(milliseconds=100))
        async with World(tmp_path) as world, connected(world) as wire:
            await wire.begin(Transfer_Encoding="chunked")
            while not wire.answered:
                await wire.send(b"1\r\n \r\n")
                await asyncio.sleep(0.01)
            assert "did not come within" in await refused(wire, 408)
            await still_serves(world)

    async def test_a_body_that_never_comes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(webhook, "BODY_DEADLINE", timedelta(milliseconds=50))
        async with World(tmp_path) as world, connected(world) as wire:
            await wire.begin(Content_Length="100")
            await refused(wire, 408)

    async def test_a_bomb_is_not_unpacked(self, tmp_path: Path) -> None:
        bomb = gzip.compress(b" " * 50 * MIB)
        async with World(tmp_path) as world, connected(world) as wire:
            await wire.begin(Content_Encoding="gzip", Content_Length=str(len(bomb)))
            await wire.send(bomb)
            assert "no Content-Encoding" in await refused(wire, 415)
            await still_serves(world)

    async def test_another_type(self, tmp_path: Path) -> None:
        async with World(tmp_path) as world, connected(world) as wire:
            await wire.begin(Content_Type="text/plain", Content_Length="2")
            await wire.send(b"{}")
            await refused(wire, 415)

    @pytest.mark.parametrize("chunks", [b"zz\r\n", b"-1\r\n", b"1\r\nxx\r\n", b"ffffffffffffffffff\r\n"])
    async def test_chunks_that_are_none(self, tmp_path: Path, chunks: bytes) -> None:
        async with World(tmp_path) as world, connected(world) as wire:
            await wire.begin(Transfer_Encoding="chunked")
            await wire.send(chunks)
            status, _, body = await wire.answer()
            assert status == 400
            assert b"Traceback" not in body
            await still_serves(world)


LABEL = b'{"alertname": "HighErrorRate", "service": "shop-api", "x": @}'


@pytest.mark.parametrize(
    ("label", "detail"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "not JSON"),
        (b'"a", "x": "b"', "twice"),
        (rb'"\ud800"', "not JSON"),
        (rb'"\u0000"', "NUL"),
        (b'"\x00"', "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"9" * 25, "too large"),
        (b"NaN", "not JSON"),
        (b'"\xff"', "not JSON"),
    ],
)
async def test_row_42_odd_json_is_400_and_changes_nothing(tmp_path: Path, label: bytes, detail: str) -> None:
    async with World(tmp_path) as world, connected(world) as wire:
        alert = json.dumps(world.alert_object() | {"labels": "@"}).encode().replace(b'"@"', LABEL.replace(b"@", label))
        body = b'{"version": "4", "alerts": [' + alert + b"]}"
        await wire.begin(Content_Length=str(len(body)))
        await wire.send(body)
        assert detail in await refused(wire, 400)
        assert await world.incidents() == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *((method, PATH, 405) for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")),
        ("POST", PATH + "/", 404),
        ("POST", "/" + PATH, 404),
        ("POST", PATH.upper(), 404),
        ("POST", "/webhook", 404),
        ("POST", "/webhook/alertmanager/..", 404),
        ("POST", "/", 405),
    ],
)
async def test_row_47_no_other_way_is_answered_with_2xx_or_3xx(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with World(tmp_path) as world, connected(world) as wire:
        await wire.begin(method, path, Content_Length="0")
        found, headers, _ = await wire.answer(with_body=method != "HEAD")
        assert found == status
        assert "location" not in headers


async def test_row_35_three_replicas_at_once_are_one_alert(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        firing, resolved = world.alert_object(), world.alert_object(status="resolved")
        resolved["startsAt"] = firing["startsAt"]
        answers = await asyncio.gather(*(world.post_alerts([one]) for one in (firing, resolved) * 3))
        assert sum(answer["stored"] for answer in answers) == 2
        assert sum(answer["duplicates"] for answer in answers) == 4


async def test_row_37_an_alert_that_is_missing_from_a_later_batch_still_fires(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        first, second = world.alert_object(fingerprint="1" * 16), world.alert_object(fingerprint="2" * 16)
        await world.post_alerts([first, second])
        assert (await world.post_alerts([first], truncatedAlerts=0))["duplicates"] == 1
        assert await still_firing(world, second)
        second_resolved = world.alert_object(fingerprint="2" * 16, status="resolved") | {"startsAt": second["startsAt"]}
        await world.post_alerts([second_resolved])
        assert not await still_firing(world, second)


async def still_firing(world: World, alert: dict[str, Any]) -> bool:
    assert world.daemon is not None
    return await world.daemon.store.alerts.still_firing(alert["fingerprint"], parse_rfc3339(alert["startsAt"]))


async def test_row_46_a_replay_of_two_days_ago_is_stored_once(tmp_path: Path) -> None:
    """That it then acts on nothing is the decision's: `stale_alert`."""
    async with World(tmp_path) as world:
        old = world.alert_object(starts_at=SystemClock().now() - timedelta(days=2))
        assert (await world.post_alerts([old]))["stored"] == 1
        assert (await world.post_alerts([old]))["duplicates"] == 1
        await world.stop()
        await world.start()
        assert (await world.post_alerts([old]))["duplicates"] == 1
        assert world.effects() == []
