"""Hands one message to one channel: through Apprise to a chat, a mailbox or a pager, or to a webhook of one's own.

Whatever keeps a message from being taken is raised as a `TemporaryError`, whose text is for a person and holds no secret.
"""

import asyncio
import hashlib
import hmac
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from rollbackd.clock import rfc3339
from rollbackd.errors import MisconfiguredError, TemporaryError
from rollbackd.model.incident import Severity
from rollbackd.model.message import Message
from rollbackd.notify import escaping
from rollbackd.notify.words import Letter
from rollbackd.outward import as_written, session
from rollbackd.settings.apprise_url import is_web_address, read_apprise_url
from rollbackd.settings.effective import Channel, WebhookSettings
from rollbackd.settings.secrets import read_secret
from rollbackd.telemetry.redaction import harmless, harmless_data, register_secret

WITHIN: Final = timedelta(seconds=30)
SIGNATURE: Final = "X-Rollbackd-Signature"
TIMESTAMP: Final = "X-Rollbackd-Timestamp"
EVENT: Final = "X-Rollbackd-Event"

_TYPES: Final = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}
_LEAST_SECRET: Final = 8
_LONGEST_BODY: Final = 3_000  # characters; some services refuse what is longer than 4,000, others cut it


async def send(channel: Channel, message: Message, letter: Letter, now: datetime) -> None:
    """Returns when the channel has taken it.

    Raises:
        TemporaryError: it has not, or not within `WITHIN`; what a file or a server says may be another thing the next time.
    """
    letter = Letter(harmless(letter.title), harmless(letter.body, lines=True)[:_LONGEST_BODY])
    try:
        async with asyncio.timeout(WITHIN.total_seconds()):
            if channel.webhook is not None:
                await _post(channel.webhook, message, letter, now)
            elif channel.url_file is not None and is_web_address(url := read_apprise_url(channel.url_file)):
                await _post(WebhookSettings(url=register_secret(url).reveal()), message, letter, now)
            elif channel.url_file is not None:
                await _in_a_thread(lambda: _by_apprise(channel, message.severity, letter), f"notify {channel.name}")
    except TimeoutError as e:
        raise TemporaryError(f"it has not taken it within {WITHIN.total_seconds():g} s") from e
    except MisconfiguredError as e:
        raise TemporaryError(str(e)) from e


def payload(message: Message, letter: Letter, now: datetime) -> bytes:
    """What a webhook gets: the message's fields, and its words."""
    known = {name: value for name, value in asdict(message).items() if value is not None}
    return orjson.dumps(harmless_data({**known, "title": letter.title, "body": letter.body, "sent_at": rfc3339(now)}))


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 of the time, a dot and the body: a copy of an old request is told by its time."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


async def _post(webhook: WebhookSettings, message: Message, letter: Letter, now: datetime) -> None:
    body, timestamp = payload(message, letter, now), str(int(now.timestamp()))
    headers = {"Content-Type": "application/json", "Idempotency-Key": message.id, EVENT: message.id, TIMESTAMP: timestamp}
    if webhook.secret_file is not None:
        headers[SIGNATURE] = signature(register_secret(read_secret(webhook.secret_file)).reveal(), timestamp, body)
    try:
        async with (
            session() as client,
            client.post(as_written(webhook.url), data=body, headers=headers, allow_redirects=False) as response,
        ):
            status, wait = response.status, response.headers.get("Retry-After", "")
    except (aiohttp.ClientError, OSError, ValueError) as e:
        raise TemporaryError(harmless(str(e) or type(e).__name__)) from e
    if not 200 <= status < 300:
        retry_after = timedelta(seconds=int(wait[:6])) if wait.isascii() and wait.isdecimal() else None
        raise TemporaryError(f"it answered HTTP {status}", retry_after=retry_after)


def _by_apprise(channel: Channel, severity: Severity, letter: Letter) -> None:
    """Blocks."""
    import apprise  # noqa: PLC0415 - see settings/apprise_url.py
    from apprise.conversion import convert_between  # noqa: PLC0415

    if channel.url_file is None:
        raise AssertionError(f"channel {channel.name} has no Apprise URL")
    url = read_apprise_url(channel.url_file)
    _register_parts(url)
    asset = apprise.AppriseAsset(app_id="rollbackd", app_desc="rollbackd", app_url="", image_url_mask="", image_url_logo="")
    service = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        raise AssertionError("it was known a moment ago")
    # By ourselves and not by Apprise.notify(), which has threads of its own: the exit would wait for one whose server answers never.
    name, form = str(service.service_name), service.resolve_format(apprise.NotifyFormat.TEXT)
    title, body = escaping.plain(letter.title, name), escaping.plain(letter.body, name)
    if service.title_maxlen <= 0:  # there is no place for a title: it becomes part of the body
        title = convert_between(apprise.NotifyFormat.TEXT, form, title)  # type: ignore[no-untyped-call]
    why = _Warnings()
    logger = logging.getLogger("apprise")
    logger.addHandler(why)
    try:
        body = convert_between(apprise.NotifyFormat.TEXT, form, body)  # type: ignore[no-untyped-call]
        taken = service.notify(body=body, title=title, notify_type=_TYPES[severity], body_format=form)
    except Exception as e:
        raise TemporaryError(f"{name}: {harmless(str(e) or type(e).__name__)}") from e
    finally:
        logger.removeHandler(why)
    if not taken:
        raise TemporaryError(f"{name}: {harmless(' '.join(why.lines) or 'it was not taken')}")


class _Warnings(logging.Handler):
    """What Apprise says, in its log only, about why it failed; of this thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append(record.getMessage())


def _register_parts(url: str) -> None:
    """Tokens are parts of the URL, and Apprise may name one alone. A host's name is none, where it is one."""
    register_secret(url)
    parts = urlsplit(url)
    texts = [parts.username, parts.password, *parts.path.split("/"), *(pair.partition("=")[2] for pair in parts.query.split("&"))]
    if parts.hostname and "." not in parts.hostname and parts.hostname != "localhost":
        texts.append(parts.netloc.rpartition("@")[2])
    for text in texts:
        if text and len(text) >= _LEAST_SECRET:
            register_secret(text)


async def _in_a_thread(function: Callable[[], None], name: str) -> None:
    """In one that the exit of the process does not wait for: a server may answer never."""
    loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def settle(error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(None)

    def work() -> None:
        error: BaseException | None = None
        try:
            function()
        except BaseException as e:  # noqa: BLE001 - it is the caller's
            error = e
        with suppress(RuntimeError):  # the loop has closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=work, name=name, daemon=True).start()
    await done
