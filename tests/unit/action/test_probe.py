"""Yes, no, or cannot tell."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from rollbackd.action.commands import Commands
from rollbackd.action.probe import Answer, Prober
from rollbackd.clock import SystemClock
from rollbackd.errors import TemporaryError
from rollbackd.model.condition import Condition
from rollbackd.model.policy import SecretRef
from rollbackd.model.runbook import HttpAsk, Probe, PromqlAsk, RunAsk
from tests.fakes.measures import FixedMeasures
from tests.fakes.policies import service

POLICY = service("api")
Held = bool | None

MACHINES = "Machines[].config.image"


def fly_status(*images: str) -> str:
    return json.dumps({"Machines": [{"config": {"image": image}} for image in images]})


def sh(script: str, **expected: object) -> Probe:
    jmespath = expected.pop("jmespath", None)
    return Probe(ask=RunAsk(argv=("sh", "-c", script), jmespath=jmespath), **expected)  # type: ignore[arg-type]


def said(answer: Answer) -> tuple[bool | None, str]:
    return answer.held, answer.reason


# A command


async def test_text_is_stripped_and_compared(prober: Prober) -> None:
    assert said(await prober.ask(sh("echo; echo '  v1 '", equals="v1"), POLICY)) == (True, "v1, wanted v1")
    assert said(await prober.ask(sh("echo v2", equals="v1"), POLICY)) == (False, "v2, wanted v1")
    assert said(await prober.ask(sh("echo v1; echo v2", equals="v1"), POLICY)) == (False, "v1 v2, wanted v1")


@pytest.mark.parametrize(
    ("images", "held", "answers"),
    [
        (("img:v1", "img:v1"), True, {"img:v1"}),
        (("img:v1", "img:v2"), False, {"img:v1", "img:v2"}),
        (("img:v2",), False, {"img:v2"}),
        ((), None, None),
        (("img:v1", ""), None, None),
    ],
)
async def test_every_one_of_a_list_has_to_equal(prober: Prober, images: tuple[str, ...], held: Held, answers: set[str] | None) -> None:
    answer = await prober.ask(sh(f"echo '{fly_status(*images)}'", jmespath=MACHINES, equals="img:v1"), POLICY)
    assert (answer.held, answer.answers) == (held, answers)


async def test_numbers_become_text(prober: Prober) -> None:
    assert (await prober.ask(sh("echo '[41, 2.5, true]'", jmespath="@"), POLICY)).answers == frozenset({"41", "2.5", "true"})


async def test_a_long_answer_is_read_whole(prober: Prober) -> None:
    probe = sh("printf '[\"v1\", \"'; head -c 500000 /dev/zero | tr '\\0' x; printf '\"]'", jmespath="[0]", equals="v1")
    assert (await prober.ask(probe, POLICY)).held is True


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (sh("echo v1; exit 3", equals="v1"), "exit 3 v1"),
        (sh("echo; printf '\\033[31m%0300d' 1 >&2; exit 3", equals="v1"), f"exit 3 {'0' * 193}"),
        (sh("echo v1; echo no such app >&2; exit 1", equals="v1"), "exit 1 no such app"),
        (sh("echo v1; kill -KILL $$", equals="v1"), "killed by SIGKILL"),
        (sh("echo v1; sleep 60", equals="v1", timeout=timedelta(milliseconds=100)), "timed out (killed by SIGTERM)"),
        (sh("true", equals="v1"), "its answer is empty"),
        (sh("echo not json", jmespath="a", equals="v1"), "its answer is not JSON"),
        (sh("echo '{\"a\": NaN}'", jmespath="a", equals="NaN"), "its answer is not JSON"),
        (sh("echo '{}'", jmespath="a", equals="v1"), "'a' finds no text in its answer"),
        (sh('echo \'{"a": {"b": 1}}\'', jmespath="a", equals="v1"), "'a' finds no text in its answer"),
        (sh("echo '{\"a\": 1}'", jmespath="length(a)", equals="1"), "'length(a)' cannot be asked of its answer"),
        (sh("head -c 3000000 /dev/zero | tr '\\0' 1", equals="v1"), "its output is too long"),
        (sh("printf 'v1\\033[0m'", equals="v1"), "its answer has control characters, or a secret"),
        (sh("echo v1"), "nothing to compare with"),
        (Probe(ask=RunAsk(argv=("no-such-tool",)), exit_code=127), "no-such-tool: no such command"),
        (Probe(ask=RunAsk(argv=("true", "${target.digest}")), exit_code=0), "${target.digest} is not a placeholder here"),
    ],
)
async def test_without_an_answer_it_cannot_tell(prober: Prober, probe: Probe, reason: str) -> None:
    answer = await prober.ask(probe, POLICY)
    assert answer.held is None
    assert answer.reason.startswith(f"cannot tell: {reason}")


async def test_an_exit_code_is_an_answer_too(prober: Prober) -> None:
    assert said(await prober.ask(sh("exit 2", exit_code=2), POLICY)) == (True, "exit 2, wanted exit 2")
    assert said(await prober.ask(sh("exit 2", exit_code=0), POLICY)) == (False, "exit 2, wanted exit 0")
    killed = await prober.ask(sh("kill -KILL $$", exit_code=0), POLICY)
    assert said(killed) == (None, "cannot tell: killed by SIGKILL")


async def test_it_may_name_its_service_and_has_its_credentials_and_shows_none(prober: Prober, tmp_path: Path) -> None:
    (tmp_path / "fly.token").write_text("fo1_secret")
    policy = replace(POLICY, vars={"region": "fra"}, credentials={"FLY_API_TOKEN": SecretRef(file=str(tmp_path / "fly.token"))})
    probe = Probe(
        ask=RunAsk(argv=("sh", "-c", "echo $0 $1 $2; test $FLY_API_TOKEN = fo1_secret", "${service.name}", "${vars.region}", "${x}"))
    )
    answer = await prober.ask(probe, policy, values={"x": "given"})
    assert answer.answers == frozenset({"api fra given"})
    leak = await prober.ask(sh("echo $FLY_API_TOKEN"), policy)
    assert (leak.answers, leak.reason) == (None, "cannot tell: its answer has control characters, or a secret")
    failed = await prober.ask(sh("echo bad token $FLY_API_TOKEN >&2; exit 1"), policy)
    assert failed.reason == "cannot tell: exit 1 bad token [redacted]"


async def test_a_missing_credential_is_not_an_answer(commands: Commands, prober: Prober) -> None:
    policy = replace(POLICY, credentials={"X": SecretRef(file="/no/such/file")})
    assert (await prober.ask(sh("echo v1", equals="v1"), policy)).held is None


# HTTP

Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def site() -> AsyncIterator[tuple[str, dict[str, Respond]]]:
    """Its URL, and by path what it answers."""
    pages: dict[str, Respond] = {}

    async def respond(request: web.Request) -> web.StreamResponse:
        return await pages[request.path](request)

    app = web.Application()
    app.router.add_get("/{path:.*}", respond)
    async with TestServer(app) as server:
        yield str(server.make_url("/")).rstrip("/"), pages


def page(text: str = "", status: int = 200, **headers: str) -> Respond:
    async def respond(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status, headers=headers)

    return respond


async def test_a_status_is_compared(prober: Prober, site: tuple[str, dict[str, Respond]]) -> None:
    url, pages = site
    pages |= {"/up": page(), "/down": page(status=503), "/moved": page(status=302, Location="/up")}
    assert said(await prober.ask(Probe(ask=HttpAsk(url=f"{url}/up"), status=(200, 204)), POLICY)) == (True, "HTTP 200, wanted 200 or 204")
    assert said(await prober.ask(Probe(ask=HttpAsk(url=f"{url}/down"), status=(200,)), POLICY)) == (False, "HTTP 503, wanted 200")
    assert said(await prober.ask(Probe(ask=HttpAsk(url=f"{url}/moved"), status=(200,)), POLICY)) == (False, "HTTP 302, wanted 200")


async def test_a_body_is_compared(prober: Prober, site: tuple[str, dict[str, Respond]]) -> None:
    url, pages = site
    pages |= {
        "/version": page(" v1\r\n"),
        "/json": page('{"version": "v1"}'),
        "/down": page("v1", status=500),
        "/moved": page("v1", status=302),
    }
    pages["/long"] = page("1" * 2_000_000)
    assert (await prober.ask(Probe(ask=HttpAsk(url=f"{url}/version"), equals="v1"), POLICY)).held is True
    assert (await prober.ask(Probe(ask=HttpAsk(url=f"{url}/json", jmespath="version"), equals="v2"), POLICY)).held is False
    for path, why in (("down", "HTTP 500"), ("moved", "HTTP 302"), ("long", "its answer is too long")):
        answer = await prober.ask(Probe(ask=HttpAsk(url=f"{url}/{path}"), equals="v1"), POLICY)
        assert (answer.held, answer.answers, answer.reason) == (None, None, f"cannot tell: {why}")


async def test_a_site_that_hangs_or_is_not_there_is_no_answer(
    prober: Prober, site: tuple[str, dict[str, Respond]], unused_tcp_port: int
) -> None:
    url, pages = site

    over = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"v")
        await over.wait()
        return response

    pages["/hangs"] = hang
    probe = Probe(ask=HttpAsk(url=f"http://127.0.0.1:{unused_tcp_port}/"), status=(200,))
    assert (await prober.ask(probe, POLICY)).held is None
    answer = await prober.ask(Probe(ask=HttpAsk(url=f"{url}/hangs"), equals="v", timeout=timedelta(milliseconds=200)), POLICY)
    over.set()
    assert said(answer) == (None, "cannot tell: no answer within 0.2 s")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://" + "a" * 300 + ".example/", "http://127.0.0.1:99999/"])
async def test_a_url_that_cannot_be_asked_is_no_answer(prober: Prober, url: str) -> None:
    assert (await prober.ask(Probe(ask=HttpAsk(url=url), status=(200,)), POLICY)).held is None


async def test_no_proxy_of_the_environment_is_asked(
    prober: Prober, site: tuple[str, dict[str, Respond]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, pages = site
    pages["/up"] = page()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert (await prober.ask(Probe(ask=HttpAsk(url=f"{url}/up"), status=(200,)), POLICY)).held is True


# PromQL


@pytest.mark.parametrize(
    ("value", "limit", "held", "reason"),
    [
        (0.001, "< 0.005", True, "0.001, wanted < 0.005"),
        (0.2, "< 0.005", False, "0.2, wanted < 0.005"),
        (None, "< 0.005", None, "cannot tell: no_series"),
        (0.001, "< 3x", None, "cannot tell: nothing to compare with"),
    ],
)
async def test_a_number_is_compared(commands: Commands, value: float | None, limit: str, held: Held, reason: str) -> None:
    measures = FixedMeasures(value=value)
    prober = Prober(commands, measures, SystemClock())
    answer = await prober.ask(Probe(ask=PromqlAsk(query="up{$selector}"), satisfies=Condition.parse(limit)), POLICY)
    assert (answer.held, answer.reason) == (held, reason)
    assert measures.asked == ["up{$selector}"]


@pytest.mark.parametrize(
    ("labels", "held", "answers"),
    [
        (frozenset({"v1"}), True, {"v1"}),
        (frozenset({"v1", "v2"}), False, {"v1", "v2"}),
        (frozenset(), None, None),
        (frozenset({"", "v1"}), None, None),
        (TemporaryError("connection refused"), None, None),
    ],
)
async def test_labels_are_compared(
    commands: Commands, labels: frozenset[str] | TemporaryError, held: Held, answers: set[str] | None
) -> None:
    prober = Prober(commands, FixedMeasures(labels=labels), SystemClock())
    answer = await prober.ask(Probe(ask=PromqlAsk(query="build_info", label="version"), equals="v1"), POLICY)
    assert (answer.held, answer.answers) == (held, answers)
