import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from rollbackd.cli.client import Client, read_token
from rollbackd.cli.exits import UnreachableError
from rollbackd.errors import MisconfiguredError, PermanentError, TemporaryError
from rollbackd.settings.effective import Role
from tests.unit.cli.conftest import Run
from tests.unit.web.world import World


@asynccontextmanager
async def answering(status: int, body: str, headers: dict[str, str] | None = None) -> AsyncIterator[tuple[str, list[str]]]:
    """Something that is not rollbackd, and the paths that it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.Response(status=status, text=body, headers=headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_no_daemon_is_7_and_says_what_to_do(rollbackd: Run) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    result = await rollbackd("status", url=url)
    assert (result.exit_code, result.stdout) == (7, "")
    assert result.stderr == f"rollbackd: no rollbackd answers at {url}: start it, or set --url or ROLLBACKD_URL\n"


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, "<html>", {}),
        (302, "", {"Location": "http://127.0.0.1:1/"}),
        (502, "<html>Bad gateway", {}),
        (404, '{"error": 1}', {}),
        (404, "[]", {}),
    ],
)
async def test_something_else_at_the_address_is_7(rollbackd: Run, status: int, body: str, headers: dict[str, str]) -> None:
    async with answering(status, body, headers) as (url, asked):
        result = await rollbackd("status", url=url)
    assert result.exit_code == 7
    assert "but not as rollbackd" in result.stderr
    assert len(asked) == 1


async def test_something_that_does_not_speak_http_is_7(rollbackd: Run) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        result = await rollbackd("status", url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert result.exit_code == 7


@pytest.mark.parametrize("url", ["", "127.0.0.1:9096", "ftp://127.0.0.1", "http://", "http://[", "file:///etc/passwd"])
async def test_what_is_no_address_is_a_config_error(url: str) -> None:
    with pytest.raises(MisconfiguredError, match="write http://HOST:PORT"):
        Client(url, None)


async def test_no_token_and_a_wrong_role_are_said_clearly(rollbackd: Run) -> None:
    result = await rollbackd("status", role=None)
    assert result.exit_code == 2
    assert "ROLLBACKD_TOKEN_FILE" in result.stderr
    result = await rollbackd("resume", role=Role.VIEWER)
    assert (result.exit_code, result.stderr) == (2, "rollbackd: viewer-person has the role viewer: this needs operator\n")


@pytest.mark.parametrize(("error", "code"), [(TemporaryError("the store is busy"), 1), (PermanentError("it cannot be"), 1)])
async def test_the_daemons_own_trouble_is_1(world: World, rollbackd: Run, error: Exception, code: int) -> None:
    world.operator.raises = error
    result = await rollbackd("plan", "checkout")
    assert (result.exit_code, result.stderr) == (code, f"rollbackd: {error}\n")


@pytest.mark.parametrize("incident_id", ["a/b", "..", ".", "a?b#c", "ä", "%2e%2e", "a b"])
async def test_an_argument_is_one_segment_of_the_path_whatever_it_holds(incident_id: str) -> None:
    async with answering(404, '{"detail": "no"}') as (url, asked), Client(url, None) as client:
        with pytest.raises(PermanentError):
            await client.incident(incident_id)
    (path,) = asked
    assert path.startswith("/api/v1/incidents/")
    assert path.count("/") == 4
    assert "?" not in path


async def test_the_token_comes_from_the_named_file_else_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_token({}) is None
    home = tmp_path / ".config" / "rollbackd" / "token"
    home.parent.mkdir(parents=True)
    home.write_text("from-home\n")
    named = tmp_path / "named"
    named.write_text("new-one\nold-one\n")
    assert read_token({}) == "from-home"
    assert read_token({"ROLLBACKD_TOKEN_FILE": str(named)}) == "new-one"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_token_file_that_cannot_be_used_is_a_config_error_and_its_content_is_not_said(tmp_path: Path, content: bytes | None) -> None:
    named = tmp_path / "named"
    if content is not None:
        named.write_bytes(content)
    with pytest.raises(MisconfiguredError) as caught:
        read_token({"ROLLBACKD_TOKEN_FILE": str(named)})
    assert str(named) in str(caught.value)


async def test_a_token_never_goes_to_another_host() -> None:
    async with (
        answering(200, "{}") as (elsewhere, asked),
        answering(307, "", {"Location": f"{elsewhere}/api/v1/status"}) as (url, _),
        Client(url, "secret") as client,
    ):
        with pytest.raises(UnreachableError):
            await client.status()
    assert asked == []
