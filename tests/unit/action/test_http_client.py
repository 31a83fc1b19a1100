"""Steps that send a request: what is sent, what counts as an answer, and what nobody can know."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from rollbackd import outward
from rollbackd.action.rollout import Gate, RunStatus
from rollbackd.errors import MisconfiguredError
from rollbackd.model.attempt import Attempt, AttemptStatus
from rollbackd.model.policy import SecretRef
from rollbackd.model.reason import Reason
from rollbackd.model.runbook import CredentialRef, OnFailure, Request, Step
from tests.fakes.rollout import Rollout

SECRET = "s3cr3t-of-the-platform"


@dataclass
class Platform:
    """A real server; what it answers is set by the test."""

    answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    got: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.got.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        return await self.answer(request)


def answers(status: int, text: str = "", **headers: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers)

    return answer


async def hangs_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    platform = Platform(answers(200))
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", platform.handle)
    async with TestServer(application, shutdown_timeout=0.1) as server:
        platform.url = str(server.make_url("/"))
        yield platform


@pytest.fixture
def rollout(tmp_path: Path) -> Rollout:
    (tmp_path / "token").write_text(SECRET)
    rollout = Rollout(tmp_path)
    rollout.policy = replace(rollout.policy, credentials={"TOKEN": SecretRef(file=str(tmp_path / "token"))}, vars={"ref": "main"})
    return rollout


def sends(platform: Platform, path: str = "dispatch", *, request: dict[str, Any] | None = None, **how: Any) -> Step:
    action = Request(method="POST", url=f"{platform.url}{path}", **(request or {}))
    return replace(Step(name="call", action=action, timeout=timedelta(seconds=10)), **how)


def last(rollout: Rollout) -> Attempt:
    return rollout.journal.last()


# What is sent


async def test_the_request_is_exactly_what_the_runbook_says(rollout: Rollout, platform: Platform) -> None:
    body = json.dumps({"ref": "${vars.ref}", "inputs": {"version": "${target.version}", "dry": False, "n": [1, "${incident.id}"]}})
    request = {"json": body, "token": CredentialRef("TOKEN"), "headers": {"X-Key": CredentialRef("TOKEN"), "X-Of": "${service.name}"}}
    result = await rollout.run(sends(platform, "apps/${target.artifact}/deploy", request=request))
    assert result.status is RunStatus.SUCCEEDED
    ((method, path, headers, sent),) = platform.got
    assert (method, path) == ("POST", "/apps/img%3Av1/deploy")
    assert json.loads(sent) == {"ref": "main", "inputs": {"version": "v1", "dry": False, "n": [1, rollout.incident]}}
    assert (headers["Authorization"], headers["X-Key"], headers["X-Of"]) == (f"Bearer {SECRET}", SECRET, "api")
    assert (headers["Content-Type"], headers["Idempotency-Key"]) == ("application/json", rollout.attempt(0, 1))
    assert [one.status for one in rollout.journal.written] == [AttemptStatus.INTENDED, AttemptStatus.STARTED, AttemptStatus.SUCCEEDED]
    assert (last(rollout).request, last(rollout).detail) == (f"POST {platform.url}apps/img%3Av1/deploy", "HTTP 200")


async def test_each_attempt_has_its_own_key(rollout: Rollout, platform: Platform) -> None:
    platform.answer = answers(503)
    await rollout.run(sends(platform, idempotent=True, retries=1))
    assert [headers["Idempotency-Key"] for _, _, headers, _ in platform.got] == [rollout.attempt(0, 1), rollout.attempt(0, 2)]


async def test_what_it_answers_is_kept_without_the_secret(rollout: Rollout, platform: Platform) -> None:
    platform.answer = answers(200, f"hello {SECRET}\x1b[31m" + "x" * 300_000)
    await rollout.run(sends(platform, request={"token": CredentialRef("TOKEN")}))
    output = last(rollout).output
    assert output.startswith("hello [redacted]xxx")
    assert "bytes left out" in output
    assert SECRET not in repr(rollout.journal.written)
    assert SECRET not in repr(rollout.reports)


async def test_a_credential_that_is_not_there_sends_nothing(rollout: Rollout, platform: Platform, tmp_path: Path) -> None:
    result = await rollout.run(sends(platform, request={"token": CredentialRef("OTHER")}))
    assert (result.status, result.detail) == (RunStatus.FAILED, "services.api.credentials: OTHER is not a credential of api: add it there")
    (tmp_path / "token").write_text("two\nlines")
    request = Request(method="GET", url=platform.url, token=CredentialRef("TOKEN"))
    with pytest.raises(MisconfiguredError, match="cannot be a header"):
        await rollout.http.send(rollout.policy, request, mark="m", timeout=timedelta(seconds=1))
    assert platform.got == []


async def test_a_pause_or_another_version_stops_it_like_a_command(rollout: Rollout, platform: Platform) -> None:
    answers_in_turn = iter([Gate.STOP])

    async def gate() -> Gate:
        return next(answers_in_turn)

    result = await rollout.run(sends(platform), gate=gate)
    assert (result.status, platform.got) == (RunStatus.ABORTED, [])


# What counts


@pytest.mark.parametrize(
    ("status", "wanted", "expected"),
    [
        (204, (), True),
        (202, (202,), True),
        (200, (202,), False),
        (404, (), False),
        (404, (200, 404), True),
        (302, (), False),
        (500, (), False),
    ],
)
async def test_the_status_decides(rollout: Rollout, platform: Platform, status: int, wanted: tuple[int, ...], *, expected: bool) -> None:
    platform.answer = answers(status, Location="/elsewhere")
    result = await rollout.run(sends(platform, request={"status": wanted}))
    assert (result.status is RunStatus.SUCCEEDED) is expected
    assert last(rollout).detail.startswith(f"HTTP {status}")
    assert len(platform.got) == 1


async def test_a_redirect_says_what_to_do(rollout: Rollout, platform: Platform) -> None:
    platform.answer = answers(301, Location="/elsewhere")
    assert "write the address that it leads to" in (await rollout.run(sends(platform))).detail


async def test_an_answer_is_a_claim_where_a_probe_can_look(rollout: Rollout, platform: Platform) -> None:
    probe = rollout.asks_live(equals="img:v1")
    assert (await rollout.run(sends(platform, probe=probe))).status is RunStatus.FAILED
    rollout.tool.live = "img:v1"
    platform.answer = answers(502)
    assert (await rollout.run(sends(platform, probe=probe), first_index=1)).status is RunStatus.SUCCEEDED
    assert last(rollout).detail == "HTTP 502; img:v1, wanted img:v1"


# What nobody can know


@pytest.mark.parametrize("answer", [hangs_up, never])
async def test_sent_and_not_answered_is_not_repeated(
    rollout: Rollout, platform: Platform, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> None:
    platform.answer = answer
    result = await rollout.run(sends(platform, idempotent=True, retries=5, timeout=timedelta(milliseconds=300)))
    assert (result.status, result.reason) == (RunStatus.UNCERTAIN, Reason.STEP_UNCERTAIN)
    assert f"sent POST {platform.url}dispatch" in result.detail
    assert len(platform.got) == 1


async def test_a_probe_finds_out(rollout: Rollout, platform: Platform) -> None:
    platform.answer = hangs_up
    rollout.tool.live = "img:v1"
    assert (await rollout.run(sends(platform, probe=rollout.asks_live(equals="img:v1")))).status is RunStatus.SUCCEEDED
    rollout.tool.live = "img:v2"
    result = await rollout.run(sends(platform, probe=rollout.asks_live(equals="img:v1")), first_index=1)
    assert result.status is RunStatus.FAILED


async def test_a_status_page_may_fail(rollout: Rollout, platform: Platform) -> None:
    platform.answer = hangs_up
    result = await rollout.run(sends(platform, on_failure=OnFailure.CONTINUE), rollout.sh("true"))
    assert result.status is RunStatus.SUCCEEDED
    assert result.detail.startswith("call: nobody knows whether it happened")


async def test_nothing_is_sent_where_nobody_listens(rollout: Rollout) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    nobody = Platform(answers(200), url=f"http://127.0.0.1:{port}/")
    result = await rollout.run(sends(nobody, idempotent=True, retries=1))
    assert result.status is RunStatus.FAILED
    assert result.detail.endswith("nothing was sent")
    assert rollout.journal.statuses() == [AttemptStatus.FAILED, AttemptStatus.FAILED]


async def test_one_that_was_cut_off_is_observed_after_the_restart(rollout: Rollout, platform: Platform) -> None:
    arrived = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        arrived.set()
        return await never(request)

    platform.answer = answer
    running = asyncio.create_task(rollout.run(sends(platform)))  # noqa: TID251 - cut off on purpose
    await arrived.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    platform.answer = answers(200)
    assert (await rollout.run(sends(platform))).status is RunStatus.UNCERTAIN
    assert len(platform.got) == 1


# Where nothing is asked


class _ResolvesTo(AbstractResolver):
    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=self._address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None: ...


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"])
async def test_a_link_local_address_is_not_asked(rollout: Rollout, host: str) -> None:
    result = await rollout.run(sends(Platform(answers(200), url=f"http://{host}/"), timeout=timedelta(seconds=2)))
    assert result.status is RunStatus.FAILED
    assert "link-local address" in result.detail
    assert "nothing was sent" in result.detail


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1"])
async def test_nor_one_that_a_name_resolves_to(rollout: Rollout, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(outward, "DefaultResolver", lambda: _ResolvesTo(address))
    result = await rollout.run(sends(Platform(answers(200), url="http://metadata.example.com/"), timeout=timedelta(seconds=2)))
    assert "metadata.example.com is a link-local address" in result.detail


async def test_no_proxy_of_the_environment(rollout: Rollout, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert (await rollout.run(sends(platform))).status is RunStatus.SUCCEEDED
