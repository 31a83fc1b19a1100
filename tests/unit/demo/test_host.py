"""The host with the real sample service and the real deploy tool, each a process."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from rollbackd.demo.host import Host, run_host
from rollbackd.demo.traffic import run_traffic
from rollbackd.errors import PermanentError


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    async with run_host(tmp_path, version="v1") as host:
        yield host


async def deploy(host: Host, *argv: str) -> tuple[int | None, str, str]:
    """Exit status, stdout and stderr; with an empty environment, as a runbook's step has it."""
    pipe = asyncio.subprocess.PIPE
    tool = await asyncio.create_subprocess_exec(host.deploy_command, *argv, stdout=pipe, stderr=pipe, env={})
    stdout, stderr = await tool.communicate()
    return tool.returncode, stdout.decode(), stderr.decode()


async def status(host: Host) -> str:
    code, stdout, _ = await deploy(host, "--status")
    assert code == 0
    return str(json.loads(stdout)["version"])


async def test_deploy_is_done_when_the_new_version_serves_at_the_same_address(host: Host) -> None:
    before = host.url
    assert await status(host) == "v1"
    assert await deploy(host, "v2") == (0, "v2 serves\n", "")
    assert (host.url, await status(host)) == (before, "v2")


def parents_of_the_service(directory: Path) -> list[int]:
    """The parent's pid of each process that runs the sample service of the host in `directory`."""
    parents = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            argv = (process / "cmdline").read_bytes()
            if b"sample.py" in argv and bytes(directory) in argv:
                parents.append(int((process / "stat").read_text().rpartition(")")[2].split()[1]))
    return parents


async def test_the_service_is_no_descendant_of_the_deploy_tool(host: Host, tmp_path: Path) -> None:
    await deploy(host, "v2")
    assert parents_of_the_service(tmp_path) == [os.getpid()]


async def test_a_redeploy_refuses_nobody(host: Host) -> None:
    async with run_traffic(host.url, per_second=60) as traffic:
        for version in ("v3", "v1", "v3"):
            assert (await deploy(host, version))[0] == 0
    assert set(traffic.seen) == {"200"}


@pytest.mark.parametrize("version", ["v9", "--help-me", "v1;true"])
async def test_a_version_that_does_not_exist_changes_nothing(host: Host, version: str) -> None:
    code, stdout, stderr = await deploy(host, version)
    assert code != 0
    assert stdout == ""
    assert stderr != ""
    assert await status(host) == "v1"


async def test_a_refused_deploy_says_why_and_changes_nothing(host: Host) -> None:
    host.refusal = "the registry does not answer"
    assert await deploy(host, "v2") == (1, "", "deploy: the registry does not answer\n")
    assert await status(host) == "v1"
    host.refusal = None
    assert (await deploy(host, "v2"))[0] == 0


async def test_an_outage_outlives_a_redeploy(host: Host) -> None:
    host.outage = True
    await host.deploy("v3")
    async with aiohttp.ClientSession() as http:
        codes = []
        for _ in range(4):
            async with http.get(host.url) as response:
                codes.append(response.status)
        host.outage = False
        async with http.get(host.url) as response:
            codes.append(response.status)
    assert codes == [500, 200, 200, 500, 200]


async def test_a_version_that_does_not_start_is_said_with_its_own_words(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import sys; sys.exit('no such database')")
    monkeypatch.setattr("rollbackd.demo.sample.__file__", str(broken))
    monkeypatch.setattr("rollbackd.demo.host._START_SECONDS", 1.0)
    with pytest.raises(PermanentError, match="v2 does not answer: no such database"):
        await host.deploy("v2")


async def test_nothing_is_left_when_the_host_is_gone(tmp_path: Path) -> None:
    async with run_host(tmp_path, version="v1") as host:
        assert await status(host) == "v1"
    code, _, stderr = await deploy(host, "--status")
    assert code == 1
    assert stderr.startswith("deploy: ")
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as http, http.get(host.url):
            pass
