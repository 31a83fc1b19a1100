"""One message to one channel, on real servers: SMTP, and HTTP that takes it, refuses or never answers."""

import socket
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from rollbackd.errors import TemporaryError
from rollbackd.model.incident import Outcome, Severity
from rollbackd.model.message import Message, Topic
from rollbackd.notify import channels
from rollbackd.notify.channels import send, signature
from rollbackd.notify.words import Letter
from rollbackd.settings.effective import Channel, WebhookSettings
from rollbackd.telemetry.redaction import redact
from tests.fakes.hook import Hook

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MESSAGE = Message(
    id="m1", topic=Topic.CLOSED, severity=Severity.CRITICAL, text="api: failed", incident="i1", service="api", outcome=Outcome.FAILED
)
LETTER = Letter("[CRITICAL] api: failed", "because: <b>step_failed</b>\nwhy: rollbackd explain i1")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def by_url(directory: Path, url: str) -> Channel:
    (directory / "chat.url").write_text(url + "\n")
    return Channel(name="chat", url_file=directory / "chat.url")


def by_webhook(hook: Hook, secret: Path | None = None) -> Channel:
    return Channel(name="hook", webhook=WebhookSettings(url=hook.url, secret_file=secret))


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


async def test_a_mail_on_a_real_smtp_server(tmp_path: Path) -> None:
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        url = f"mailto://127.0.0.1:{controller.port}?from=rollbackd@example.org&to=oncall@example.org&mode=insecure"
        await send(by_url(tmp_path, url), MESSAGE, LETTER, NOW)
    finally:
        controller.stop()
    (mail,) = mailbox.mails
    assert mail["Subject"] == LETTER.title
    assert "oncall@example.org" in mail["To"]
    assert "rollbackd@example.org" in mail["From"]
    assert mail.get_body(("html",)) is None
    assert mail.get_body(("plain",)).get_content().splitlines() == LETTER.body.splitlines()


async def test_an_apprise_url_on_a_real_http_server(tmp_path: Path) -> None:
    async with Hook() as hook:
        await send(by_url(tmp_path, hook.url.replace("http:", "json:")), MESSAGE, LETTER, NOW)
    (got,) = hook.taken
    assert got.json["title"] == LETTER.title
    assert got.json["message"].splitlines() == LETTER.body.splitlines()
    assert got.json["type"] == "failure"


async def test_what_apprise_is_refused_says_why_without_the_secret(tmp_path: Path) -> None:
    async with Hook() as hook:
        hook.status = 403
        channel = by_url(tmp_path, f"json://user:hunter2hunter2@127.0.0.1:{hook.port}/hook/tokentokentoken")
        with pytest.raises(TemporaryError, match=r"(?i)json.*403") as raised:
            await send(channel, MESSAGE, LETTER, NOW)
    assert len(hook.got) == 1
    assert "hunter2" not in str(raised.value)
    assert redact("of hunter2hunter2 and tokentokentoken at 127.0.0.1") == "of [redacted] and [redacted] at 127.0.0.1"


async def test_a_webhook_gets_what_happened_under_its_id(tmp_path: Path) -> None:
    async with Hook() as hook:
        await send(by_webhook(hook), MESSAGE, LETTER, NOW)
    (got,) = hook.taken
    assert got.json == {
        "id": "m1",
        "topic": "closed",
        "severity": "critical",
        "text": "api: failed",
        "incident": "i1",
        "service": "api",
        "outcome": "failed",
        "detail": "",
        "reminder": False,
        "title": LETTER.title,
        "body": LETTER.body,
        "sent_at": "2026-01-31T12:00:00.000Z",
    }
    assert got.headers["Idempotency-Key"] == got.headers["X-Rollbackd-Event"] == "m1"
    assert "X-Rollbackd-Signature" not in got.headers


async def test_with_a_secret_it_is_signed_with_its_time(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the-secret-of-both\n")
    async with Hook() as hook:
        await send(by_webhook(hook, tmp_path / "secret"), MESSAGE, LETTER, NOW)
    (got,) = hook.taken
    timestamp = got.headers["X-Rollbackd-Timestamp"]
    assert timestamp == str(int(NOW.timestamp()))
    assert got.headers["X-Rollbackd-Signature"] == signature("the-secret-of-both", timestamp, got.body)
    assert got.headers["X-Rollbackd-Signature"] != signature("another", timestamp, got.body)
    assert got.headers["X-Rollbackd-Signature"] != signature("the-secret-of-both", "1", got.body)
    assert b"the-secret" not in got.body


@pytest.mark.parametrize(
    ("status", "header", "wait"), [(500, "", None), (404, "", None), (302, "", None), (429, "90", timedelta(seconds=90))]
)
async def test_what_a_webhook_does_not_take_is_tried_again(status: int, header: str, wait: timedelta | None) -> None:
    async with Hook() as hook:
        hook.status, hook.headers = status, {"Retry-After": header, "Location": f"http://127.0.0.1:{hook.port}/other"}
        with pytest.raises(TemporaryError, match=f"HTTP {status}") as raised:
            await send(by_webhook(hook), MESSAGE, LETTER, NOW)
    assert raised.value.retry_after == wait
    assert [one.path for one in hook.got] == ["/hook"]


async def test_a_plain_web_address_in_the_file_is_a_webhook(tmp_path: Path) -> None:
    async with Hook() as hook:
        await send(by_url(tmp_path, hook.url), MESSAGE, LETTER, NOW)
    assert hook.taken[0].json["id"] == "m1"
    assert redact(f"at {hook.url}") == "at [redacted]"


async def test_nobody_there(tmp_path: Path) -> None:
    gone = Channel(name="hook", webhook=WebhookSettings(url=f"http://127.0.0.1:{free_port()}/"))
    with pytest.raises(TemporaryError, match="connect"):
        await send(gone, MESSAGE, LETTER, NOW)
    with pytest.raises(TemporaryError, match="JSON"):
        await send(by_url(tmp_path, f"json://127.0.0.1:{free_port()}/"), MESSAGE, LETTER, NOW)


@pytest.mark.parametrize("scheme", ["json", "webhook"])
async def test_one_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setattr(channels, "WITHIN", timedelta(milliseconds=300))
    async with Hook() as hook:
        hook.silent = True
        channel = by_webhook(hook) if scheme == "webhook" else by_url(tmp_path, hook.url.replace("http:", "json:"))
        with pytest.raises(TemporaryError, match=r"within 0\.3 s"):
            await send(channel, MESSAGE, LETTER, NOW)


async def test_a_link_local_address_is_not_asked() -> None:
    channel = Channel(name="hook", webhook=WebhookSettings(url="http://169.254.169.254/latest/"))
    with pytest.raises(TemporaryError, match="link-local"):
        await send(channel, MESSAGE, LETTER, NOW)


async def test_a_file_that_is_gone_is_said_and_tried_again(tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match="cannot be read"):
        await send(Channel(name="chat", url_file=tmp_path / "none"), MESSAGE, LETTER, NOW)


async def test_a_long_body_is_cut(tmp_path: Path) -> None:
    async with Hook() as hook:
        await send(by_webhook(hook), MESSAGE, Letter("t", "x" * 10_000), NOW)
    assert hook.taken[0].json["body"] == "x" * 3_000
