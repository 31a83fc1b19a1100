"""The webhook over real HTTP: who may, what may, and that nothing is answered with 2xx that is not durable (I2)."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rollbackd.errors import PermanentError, TemporaryError, UncertainError
from rollbackd.intake import auth
from rollbackd.intake import webhook as webhook_module
from rollbackd.intake.auth import Tokens
from rollbackd.intake.routing import Routing
from rollbackd.intake.webhook import BODY_AT_MOST, HELD_AT_MOST, Webhook
from rollbackd.model.alert import AlertEvent, IgnoredAlert
from rollbackd.model.condition import Condition
from rollbackd.model.policy import Trigger
from rollbackd.settings.effective import Person, Role
from rollbackd.telemetry.metrics import Metrics
from rollbackd.web.problems import problems
from tests.fakes.policies import error_rate, service
from tests.unit.intake.test_payload import ALERT, PAYLOAD, alert

NOW = datetime(2026, 1, 31, 12, 5, tzinfo=UTC)
PATH = "/webhook/alertmanager"
JSON = {"Content-Type": "application/json"}


class SetClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        raise AssertionError("nothing here waits by the clock")

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError("nothing here sleeps")


@dataclass
class MemoryAlerts:
    """Keeps each key once, as the store does; `error` is raised instead, `hold` lets callers wait."""

    events: list[AlertEvent] = field(default_factory=list)
    ignored: list[IgnoredAlert] = field(default_factory=list)
    error: Exception | None = None
    hold: asyncio.Event | None = None
    arrived: asyncio.Queue[None] = field(default_factory=asyncio.Queue)

    @dataclass
    class Appended:
        stored: int
        duplicates: int

    @property
    def alerts(self) -> "MemoryAlerts":
        return self

    async def append(self, events: Sequence[AlertEvent], ignored: Sequence[IgnoredAlert]) -> Appended:
        if self.hold is not None:
            self.arrived.put_nowait(None)
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        known = {(event.fingerprint, event.starts_at, event.status) for event in self.events}
        new = {(event.fingerprint, event.starts_at, event.status): event for event in events}
        fresh = [event for key, event in new.items() if key not in known]
        self.events += fresh
        self.ignored += ignored
        return self.Appended(len(fresh), len(events) - len(fresh))


@dataclass
class Intake:
    """The webhook, listening, and everything that it tells."""

    url: str
    webhook: Webhook
    store: MemoryAlerts
    metrics: Metrics
    session: aiohttp.ClientSession
    stored: list[None]
    truncated: list[int]

    async def post(self, content: Any = None, *, raw: bytes | None = None, headers: Mapping[str, str] = JSON) -> tuple[int, dict[str, Any]]:
        data = raw if raw is not None else json.dumps(PAYLOAD if content is None else content).encode()
        async with self.session.post(self.url, data=BytesIO(data), headers={**JSON, **headers}, allow_redirects=False) as response:
            return response.status, await response.json(content_type=None)

    def counted(self) -> dict[str, float]:
        lines = self.metrics.exposition()[0].decode().splitlines()
        prefix = 'rollbackd_alerts_received_total{result="'
        return {line[len(prefix) :].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith(prefix)}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "ingest.token"
    file.write_text("secret\n")
    return file


@pytest.fixture
def tokens() -> Tokens:
    return Tokens([])


@pytest.fixture
async def intake(tokens: Tokens) -> AsyncIterator[Intake]:
    trigger = Trigger(
        name="HighErrorRate",
        indicator=error_rate(),
        breach=Condition.parse("> 0.01"),
        clear=Condition.parse("<= 0.005"),
        hold_for=timedelta(minutes=2),
        alerts=("HighErrorRate",),
    )
    services = {name: replace(service(name), triggers=(trigger,)) for name in ("api", "web")}
    store, metrics, stored, truncated = MemoryAlerts(), Metrics(), list[None](), list[int]()
    webhook = Webhook(
        store=store,
        route=Routing(services).route,
        tokens=lambda: tokens,
        clock=SetClock(),
        metrics=metrics,
        on_stored=lambda: stored.append(None),
        on_truncated=truncated.append,
    )
    application = web.Application(middlewares=[problems])
    application.router.add_post(PATH, webhook.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Intake(f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}", webhook, store, metrics, session, stored, truncated)
    await runner.cleanup()


def payload(*alerts: Any, **changes: Any) -> dict[str, Any]:
    return PAYLOAD | {"alerts": list(alerts)} | changes


async def test_an_alert_is_routed_stored_and_told(intake: Intake) -> None:
    assert await intake.post() == (200, {"stored": 1, "duplicates": 0, "ignored": 0})
    (event,) = intake.store.events
    assert (event.service, event.trigger, event.fingerprint, event.received_at) == ("api", "HighErrorRate", ALERT["fingerprint"], NOW)
    assert len(intake.stored) == 1
    assert intake.counted() == {"stored": 1}


async def test_a_duplicate_wakes_nobody(intake: Intake) -> None:
    await intake.post()
    assert await intake.post(payload(alert(), alert())) == (200, {"stored": 0, "duplicates": 2, "ignored": 0})
    assert len(intake.stored) == 1
    assert intake.counted() == {"stored": 1, "duplicate": 2}


async def test_what_matches_no_service_is_recorded_and_ignored(intake: Intake) -> None:
    nobodys = alert(labels={"alertname": "HighErrorRate", "service": "else"})
    no_trigger = alert(labels={"alertname": "Other", "service": "api"})
    assert await intake.post(payload(alert(), nobodys, no_trigger)) == (200, {"stored": 1, "duplicates": 0, "ignored": 2})
    assert [one.labels for one in intake.store.ignored] == [nobodys["labels"], no_trigger["labels"]]
    assert "no trigger of api answers alert rule Other" in intake.store.ignored[1].why
    assert intake.counted() == {"stored": 1, "ignored": 2}


async def test_what_cannot_be_used_is_recorded_and_skipped(intake: Intake) -> None:
    status, answer = await intake.post(payload(alert(), alert(status="odd"), {}))
    assert status == 200
    assert answer == {
        "stored": 1,
        "duplicates": 0,
        "ignored": 0,
        "skipped": ["alerts[1]: its status is 'odd', neither firing nor resolved", "alerts[2]: it has no fingerprint"],
    }
    assert [one.why for one in intake.store.ignored] == answer["skipped"]
    assert intake.counted() == {"stored": 1, "unusable": 2}


async def test_a_truncated_batch_is_told(intake: Intake) -> None:
    assert (await intake.post(payload(alert(), truncatedAlerts=3)))[0] == 200
    assert intake.truncated == [3]


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"", "not JSON"),
        (b'{"version": "4"', "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"version": "5", "alerts": []}', "version is '5'"),
        (b'{"version": "4", "version": "4", "alerts": []}', "a key stands twice"),
        (b'{"version": "4", "alerts": {}}', "'alerts' is not a list"),
    ],
)
async def test_an_unusable_body_is_400(intake: Intake, raw: bytes, detail: str) -> None:
    status, problem = await intake.post(raw=raw)
    assert (status, problem["status"], problem["title"]) == (400, 400, "Bad Request")
    assert detail in problem["detail"]
    assert intake.store.events == []


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Encoding": "gzip"}]
)
async def test_another_content_is_415(intake: Intake, headers: dict[str, str]) -> None:
    status, problem = await intake.post({}, headers=headers)
    assert status == 415
    assert "application/json" in problem["detail"]


async def test_a_charset_is_no_other_content(intake: Intake) -> None:
    assert (await intake.post(headers={"Content-Type": "application/json; charset=utf-8", "Content-Encoding": "identity"}))[0] == 200


class TestStoreCannot:
    """503 with Retry-After, whatever it is: Alertmanager sends it again."""

    @pytest.mark.parametrize(
        ("error", "retry_after"),
        [
            (TemporaryError("the store cannot be used now: database or disk is full", retry_after=timedelta(seconds=5)), "5"),
            (TemporaryError("the store is closed"), "5"),
            (PermanentError("the file is damaged"), "1"),
            (UncertainError("it closed before it confirmed"), "1"),
        ],
    )
    async def test_write(self, intake: Intake, error: Exception, retry_after: str) -> None:
        intake.store.error = error
        async with intake.session.post(intake.url, json=PAYLOAD) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, retry_after)
            assert str(error) in (await response.json(content_type=None))["detail"]
        assert intake.counted() == {}
        assert intake.stored == []
        intake.store.error = None
        assert (await intake.post())[1]["stored"] == 1

    async def test_take_more(self, intake: Intake) -> None:
        """What waits for the store takes room; who finds none is sent away at once, and room that was given back is used again."""
        intake.store.hold = asyncio.Event()
        big = payload(alert(annotations={"summary": "x" * (BODY_AT_MOST - 20_000)}))
        fit = HELD_AT_MOST // BODY_AT_MOST
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(intake.post(big)) for _ in range(fit)]
            for _ in waiting:
                await intake.store.arrived.get()
            status, problem = await intake.post(big)
            assert (status, problem["detail"]) == (503, "too busy: send it again")
            intake.store.hold.set()
        assert {task.result()[0] for task in waiting} == {200}
        assert (await intake.post(big))[0] == 200
        assert intake.webhook._room.free == HELD_AT_MOST


class TestTokens:
    @pytest.fixture
    def tokens(self, token_file: Path) -> Tokens:
        return Tokens([Person(name="ingest", role=Role.INGEST, token_file=token_file)])

    @pytest.mark.parametrize("header", ["Bearer secret", "bearer secret", "BEARER  secret "])
    async def test_right(self, intake: Intake, header: str) -> None:
        assert (await intake.post(headers={"Authorization": header}))[0] == 200

    @pytest.mark.parametrize(
        "header", [None, "", "secret", "Bearer", "Bearer ", "Bearer Secret", "Basic c2VjcmV0", "Bearer secret2", "Token secret"]
    )
    async def test_wrong(self, intake: Intake, header: str | None) -> None:
        headers = JSON if header is None else {**JSON, "Authorization": header}
        async with intake.session.post(intake.url, json=PAYLOAD, headers=headers) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert "secret" not in await response.text()
        assert intake.store.events == []

    async def test_a_new_one_is_valid_when_the_file_is_looked_at_again(
        self, intake: Intake, token_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(auth, "LOOK_EVERY_SECONDS", 0.0)
        assert (await intake.post(headers={"Authorization": "Bearer secret"}))[0] == 200
        token_file.write_text("next\n")  # noqa: ASYNC240 - a test may wait for its disk
        assert (await intake.post(headers={"Authorization": "Bearer next"}))[0] == 200
        assert (await intake.post(headers={"Authorization": "Bearer secret"}))[0] == 401

    async def test_it_is_asked_before_anything_is_read(self, intake: Intake) -> None:
        assert (await intake.post(raw=b"x" * 100_000, headers={"Content-Type": "text/plain"}))[0] == 401


class TestSize:
    async def test_up_to_the_limit(self, intake: Intake) -> None:
        raw = json.dumps(PAYLOAD).encode()
        assert (await intake.post(raw=raw + b" " * (BODY_AT_MOST - len(raw))))[0] == 200

    async def test_declared_over_the_limit(self, intake: Intake) -> None:
        status, problem = await intake.post(raw=b" " * (BODY_AT_MOST + 1))
        assert (status, problem["status"]) == (413, 413)

    async def test_over_the_limit_without_saying_so(self, intake: Intake) -> None:
        async def drip() -> AsyncIterator[bytes]:
            for _ in range(BODY_AT_MOST // 65_536 + 1):
                yield b" " * 65_536

        async with intake.session.post(intake.url, data=drip(), headers=JSON) as response:
            assert response.status == 413
        assert intake.webhook._room.free == HELD_AT_MOST

    async def test_in_pieces(self, intake: Intake) -> None:
        async def drip() -> AsyncIterator[bytes]:
            for byte in json.dumps(PAYLOAD).encode():
                yield bytes([byte])
                await asyncio.sleep(0)

        async with intake.session.post(intake.url, data=drip(), headers=JSON) as response:
            assert response.status == 200
        assert len(intake.store.events) == 1

    async def test_slower_than_the_deadline_for_all_of_it(self, intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(webhook_module, "BODY_DEADLINE", timedelta(milliseconds=50))
        ended = asyncio.Event()

        async def drip() -> AsyncIterator[bytes]:
            while not ended.is_set():
                yield b" "
                await asyncio.sleep(0.005)

        async with intake.session.post(intake.url, data=drip(), headers=JSON) as response:
            assert response.status == 408
            ended.set()
        assert intake.webhook._room.free == HELD_AT_MOST


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_are_405(intake: Intake, method: str) -> None:
    async with intake.session.request(method, intake.url, allow_redirects=False) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
