"""The seed's nginx config rollback on a real nginx and a real git repository: read before it is loaded, and put back when it cannot be."""

import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from ruamel.yaml import YAML

from tests.e2e.programs import program
from tests.flow.world import SERVICE, World

ROOT = Path(__file__).resolve().parents[2]
MAIN = """\
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{ access_log off; {temporary} include {directory}/staging.conf; }}
"""
TEMPORARY = "".join(f"{kind}_temp_path {{directory}}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


def server(port: int, version: str) -> str:
    return f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 {version}; }} }}\n"


@pytest.fixture
def port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        found: int = free.getsockname()[1]
    return found


@pytest.fixture
def checkout(tmp_path: Path, port: int) -> Path:
    """A tag for each release: 41 was good, 40 nobody can read."""
    checkout = tmp_path / "checkout"
    (checkout / "nginx").mkdir(parents=True)
    git(checkout, "init", "--quiet")
    for version, config in (("40", "server { this is no config }\n"), ("41", server(port, "v41")), ("42", server(port, "v42"))):
        (checkout / "nginx" / "staging.conf").write_text(config)
        git(checkout, "add", ".")
        git(checkout, "commit", "--quiet", "--message", version)
        git(checkout, "tag", f"fly-{version}")
    return checkout


def git(checkout: Path, *arguments: str) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=checkout, check=True, capture_output=True, timeout=30)


@pytest.fixture
def nginx(tmp_path: Path, checkout: Path, port: int) -> Iterator[Path]:
    """Serves v42. Its main config is what is yielded."""
    main = tmp_path / "nginx.conf"
    main.write_text(MAIN.format(directory=tmp_path, temporary=TEMPORARY.format(directory=tmp_path)))
    (tmp_path / "staging.conf").write_text(server(port, "v42"))
    binary = program("nginx")
    subprocess.run([binary, "-c", main, "-e", tmp_path / "error.log"], check=True, capture_output=True, timeout=30)
    yield main
    subprocess.run([binary, "-c", main, "-e", tmp_path / "error.log", "-s", "stop"], check=True, capture_output=True, timeout=30)


@pytest.fixture
async def world(tmp_path: Path, nginx: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("PATH", f"{program('nginx').parent}:/usr/local/bin:/usr/bin:/bin")
    runbook = YAML(typ="safe").load(ROOT / "config" / "runbooks" / "config-nginx.yaml")
    async with World(
        tmp_path,
        bad=(),
        runbooks=[runbook],
        vars={"checkout": str(checkout), "nginx_conf": str(tmp_path / "staging.conf"), "nginx_main": str(nginx)},
        watch={"duration": "1s", "interval": "200ms", "stable_for": "400ms"},
    ) as world:
        for version, ago in (("40", 3), ("41", 2), ("42", 1)):
            await world.recorded(version, ago=timedelta(days=ago))
        (tmp_path / "live").write_text("42")
        yield world


async def run(world: World, to: str) -> Mapping[str, Any]:
    headers = {"Authorization": f"Bearer {world.token}"}
    body = {"runbook": "config-nginx", "to": to, "reason": "the new one sends everybody to the old site"}
    async with world.http.post(f"{world.url}/api/v1/services/{SERVICE}/run", json=body, headers=headers) as response:
        assert response.status == 202, await response.text()
    return await world.closed()


async def served(port: int) -> str:
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/") as response:
        return await response.text()


async def test_the_config_of_the_target_is_served(world: World, port: int) -> None:
    assert await served(port) == "v42"
    closed = await run(world, "41")
    assert [one["status"] for one in closed["attempts"]] == ["succeeded"] * 4, closed["why"]
    assert (closed["outcome"], closed["restores"], closed["target"]) == ("recovered", "41", None)
    assert await served(port) == "v41"
    releases = (await world.get(f"/api/v1/releases?service={SERVICE}"))["items"]
    assert [(one["version"], one["mark"]) for one in releases] == [("42", "none"), ("41", "none"), ("40", "none")]


async def test_a_config_that_nginx_cannot_read_is_not_loaded_and_is_put_back(world: World, port: int, tmp_path: Path) -> None:
    closed = await run(world, "40")
    assert closed["outcome"] == "failed"
    assert closed["detail"] == "nginx can read it: exit 1; undo: the file of the target: done"
    assert (tmp_path / "staging.conf").read_text() == server(port, "v42")
    assert await served(port) == "v42"
