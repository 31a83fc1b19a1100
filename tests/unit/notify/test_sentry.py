import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from rollbackd import __version__
from rollbackd.errors import MisconfiguredError, TemporaryError
from rollbackd.model.incident import Severity
from rollbackd.notify.sentry import Sentry, scrub
from rollbackd.settings.effective import SentrySettings
from rollbackd.telemetry.redaction import register_secret

CANARY = "canary-that-sentry-must-not-see"
KEY = "0123456789abcdef0123456789abcdef"


class SentryServer:
    """Records envelopes as Sentry's own endpoint takes them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.delay = asyncio.Event()
        self.delay.set()
        application = web.Application()
        application.router.add_post("/api/1/envelope/", self._take)
        self.server = TestServer(application)

    async def _take(self, request: web.Request) -> web.Response:
        await self.delay.wait()
        self.bodies.append(await request.read())
        return web.json_response({"id": "1"})

    @property
    def events(self) -> list[dict[str, Any]]:
        """The event of each envelope: a header line, then pairs of an item's header and its payload."""
        return [json.loads(line) for body in self.bodies for line in body.splitlines()[2::2]]


@pytest.fixture
async def server() -> AsyncIterator[SentryServer]:
    server = SentryServer()
    await server.server.start_server()
    yield server
    server.delay.set()
    await server.server.close()


@pytest.fixture
def settings(server: SentryServer, tmp_path: Path) -> SentrySettings:
    dsn = tmp_path / "sentry.dsn"
    dsn.write_text(f"http://{KEY}@127.0.0.1:{server.server.port}/1\n")
    return SentrySettings(dsn_file=dsn, environment="staging")


async def test_what_became_of_an_incident_is_an_event_of_its_service(server: SentryServer, settings: SentrySettings) -> None:
    async with Sentry.from_settings(settings) as sentry:
        assert sentry is not None
        sentry.tell("api", Severity.WARNING, "api: escalated", {"service": "api", "outcome": "escalated"})
        sentry.tell("api", Severity.CRITICAL, "api: failed", {"service": "api"})
        sentry.tell("web", Severity.CRITICAL, "web: failed", {"service": "web"})

    first, second, other = server.events
    assert (first["message"], first["level"], first["environment"]) == ("api: escalated", "warning", "staging")
    assert first["release"] == f"rollbackd@{__version__}"
    assert first["tags"] == {"service": "api", "outcome": "escalated"}
    assert (second["level"], second["fingerprint"]) == ("fatal", first["fingerprint"]), "one issue a service"
    assert other["fingerprint"] != first["fingerprint"]


async def test_a_check_in_reaches_the_monitor(server: SentryServer, settings: SentrySettings) -> None:
    async with Sentry.from_settings(settings) as sentry:
        assert sentry is not None
        sentry.check_in("rollbackd-staging", timedelta(seconds=90), is_well=True)
        sentry.check_in("rollbackd-staging", timedelta(seconds=90), is_well=False)

    assert [(one["monitor_slug"], one["status"], one["environment"]) for one in server.events] == [
        ("rollbackd-staging", "ok", "staging"),
        ("rollbackd-staging", "error", "staging"),
    ]
    assert server.events[0]["monitor_config"]["schedule"] == {"type": "interval", "value": 2, "unit": "minute"}


async def test_a_task_that_crashes_becomes_an_event_without_variables_or_source(server: SentryServer, settings: SentrySettings) -> None:
    async def crash() -> None:
        unregistered = "a local value"
        raise RuntimeError(f"{len(unregistered)} reasons")

    async with Sentry.from_settings(settings):
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(crash())

    [event] = server.events
    [error] = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("RuntimeError", "13 reasons")
    assert not any({"vars", "context_line", "pre_context"} & frame.keys() for frame in error["stacktrace"]["frames"])
    assert b"a local value" not in server.bodies[0]


async def test_an_exception_that_ends_the_daemon_is_reported_and_goes_on(server: SentryServer, settings: SentrySettings) -> None:
    with pytest.raises(RuntimeError, match="the end"):
        async with Sentry.from_settings(settings):
            raise RuntimeError("the end")

    assert [event["exception"]["values"][0]["value"] for event in server.events] == ["the end"]


async def test_an_error_raised_on_purpose_is_no_crash(server: SentryServer, settings: SentrySettings) -> None:
    with pytest.raises(TemporaryError):
        async with Sentry.from_settings(settings):
            raise TemporaryError("Prometheus is away")

    assert server.events == []


async def test_a_secret_is_in_nothing_that_is_sent(server: SentryServer, settings: SentrySettings) -> None:
    register_secret(CANARY)

    async def crash() -> None:
        local = CANARY
        raise ValueError(f"bad token {local}")

    async with Sentry.from_settings(settings) as sentry:
        assert sentry is not None
        structlog.get_logger("x").warning("a breadcrumb", token=CANARY)
        logging.getLogger("y").error("an event of the logging module %s", CANARY)
        sentry_sdk.add_breadcrumb(message=CANARY)
        sentry.tell(f"incident-{CANARY}", Severity.CRITICAL, f"failed with {CANARY}", {"reason": CANARY, CANARY: "key"})
        with sentry_sdk.new_scope() as scope:
            scope.set_extra("token", CANARY)
            scope.set_user({"id": CANARY})
            scope.set_context("request", {"headers": {"Authorization": CANARY}})
            scope.capture_message("with context")
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(crash())

    assert len(server.events) == 3
    sent = b"".join(server.bodies)
    assert CANARY.encode() not in sent
    assert b"[redacted]" in sent
    assert not any({"user", "extra", "breadcrumbs", "modules", "request"} & event.keys() for event in server.events)


async def test_the_daemons_own_key_is_a_secret_as_well(server: SentryServer, settings: SentrySettings) -> None:
    async with Sentry.from_settings(settings) as sentry:
        assert sentry is not None
        sentry.tell("i", Severity.WARNING, f"the key is {KEY}", {})

    assert KEY.encode() not in server.bodies[0].split(b"\n", 1)[1]


async def test_nothing_about_persons_is_sent(settings: SentrySettings) -> None:
    async with Sentry.from_settings(settings):
        assert not sentry_sdk.get_client().should_send_default_pii()


async def test_without_a_dsn_there_is_no_sentry() -> None:
    async with Sentry.from_settings(None) as sentry:
        assert sentry is None
        assert not sentry_sdk.get_client().is_active()


def test_without_a_dsn_the_sdk_is_not_even_imported() -> None:
    program = "import sys, rollbackd.notify.sentry, rollbackd.notify.teller; sys.exit('sentry_sdk' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


async def test_a_file_without_a_dsn_is_refused_without_showing_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "sentry.dsn"
    file.write_text("not-a-dsn-but-secret")

    with pytest.raises(MisconfiguredError, match=r"sentry\.dsn: holds no DSN") as raised:
        async with Sentry.from_settings(SentrySettings(dsn_file=file)):
            raise AssertionError("never entered")
    assert "not-a-dsn" not in str(raised.value)


async def test_leaving_does_not_wait_for_a_server_that_never_answers(
    server: SentryServer, settings: SentrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollbackd.notify.sentry.FLUSH_WITHIN", timedelta(milliseconds=200))
    server.delay.clear()

    async with asyncio.timeout(30):
        async with Sentry.from_settings(settings) as sentry:
            assert sentry is not None
            sentry.tell("i", Severity.WARNING, "text", {})

    assert server.events == []


async def test_after_leaving_nothing_of_it_is_left(server: SentryServer, settings: SentrySettings) -> None:
    factory = asyncio.get_running_loop().get_task_factory()

    async with Sentry.from_settings(settings):
        assert asyncio.get_running_loop().get_task_factory() is not factory

    assert asyncio.get_running_loop().get_task_factory() is factory
    assert not sentry_sdk.get_client().is_active()


async def test_it_can_be_started_again_in_the_same_process(server: SentryServer, settings: SentrySettings) -> None:
    async def crash() -> None:
        raise RuntimeError("again")

    for _ in range(2):
        async with Sentry.from_settings(settings):
            with pytest.raises(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(crash())

    assert len(server.events) == 2


def test_what_is_never_sent_is_taken_out_and_the_rest_made_harmless() -> None:
    event: Any = {"message": "\x1b[31mred", "breadcrumbs": {"values": []}, "extra": {"x": 1}, "exception": {"values": ({"lineno": 5},)}}

    assert scrub(event, {}) == {"message": "red", "exception": {"values": [{"lineno": 5}]}}
