"""What is put into a message is read as it stands (I11): by what each service is really sent."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from rollbackd.clock import SystemClock
from rollbackd.model.incident import Severity
from rollbackd.model.message import Message, Topic
from rollbackd.notify.channels import send
from rollbackd.notify.words import Letter
from rollbackd.settings.effective import Channel

HOSTILE = "v2 <!channel> <@U1> @everyone [pay](http://evil) <script>alert(1)</script> *b* & \x1b[31mred\u202e"
LETTER = Letter("api: failed <!here>", HOSTILE)

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/"
DISCORD = "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
TELEGRAM = "tgram://123456789:ABCdefghijkl_mnopqrstuvwxyz/12315544"
FEISHU = "feishu://abcdefghijklmnop"
DINGTALK = "dingtalk://abcdefghijklmnop/"
MATTERMOST = "mmost://localhost/" + "a" * 24


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What would go out; these services cannot be had on a machine."""
    bodies: list[str] = []

    def post(_url: str, *_: Any, data: bytes | str = "", **__: Any) -> Any:
        bodies.append(data.decode() if isinstance(data, bytes) else data)
        answer = {"ok": True, "errcode": 0, "code": 0, "StatusCode": 0}
        return SimpleNamespace(status_code=200, content=b"ok", text="ok", headers={}, json=lambda: answer, ok=True)

    monkeypatch.setattr("requests.post", post)
    monkeypatch.setattr("requests.request", lambda _method, url, **more: post(url, **more))
    yield bodies
    assert bodies, "nothing was sent at all"


async def told(tmp_path: Any, url: str, sent: list[str]) -> str:
    (tmp_path / "url").write_text(url)
    message = Message(id="m1", topic=Topic.CLOSED, severity=Severity.CRITICAL, text=HOSTILE)
    await send(Channel(name="chat", url_file=tmp_path / "url"), message, LETTER, SystemClock().now())
    (body,) = sent
    return body


def text_in(body: str) -> str:
    """Every text of the request, as the service reads it."""

    def walk(value: Any) -> Iterator[str]:
        match value:
            case str():
                yield value
            case dict():
                for each in value.values():
                    yield from walk(each)
            case list():
                for each in value:
                    yield from walk(each)

    return "\n".join(walk(orjson.loads(body)))


async def test_slack_neither_calls_nor_links(tmp_path: Any, sent: list[str]) -> None:
    text = text_in(await told(tmp_path, SLACK, sent))
    assert "&lt;!channel&gt;" in text
    assert "&lt;!here&gt;" in text
    assert "<" not in text


@pytest.mark.parametrize("url", [DISCORD, MATTERMOST])
async def test_what_reads_markdown_in_plain_text_gets_it_escaped_and_calls_nobody(tmp_path: Any, sent: list[str], url: str) -> None:
    text = text_in(await told(tmp_path, url, sent))
    assert "@everyone" not in text
    assert "<@" not in text
    assert "](" not in text
    assert r"\*b\*" in text
    assert "everyone" in text


@pytest.mark.parametrize("url", [FEISHU, DINGTALK])
async def test_others_call_nobody(tmp_path: Any, sent: list[str], url: str) -> None:
    text = text_in(await told(tmp_path, url, sent))
    assert "@everyone" not in text
    assert "<script" not in text
    assert "*b*" in text


async def test_html_is_escaped(tmp_path: Any, sent: list[str]) -> None:
    text = text_in(await told(tmp_path, TELEGRAM, sent))
    assert "&lt;script&gt;" in text
    assert "<script" not in text


@pytest.mark.parametrize("url", [SLACK, DISCORD, TELEGRAM, FEISHU, DINGTALK, MATTERMOST])
async def test_no_control_character_and_no_foreign_name_goes_out(tmp_path: Any, sent: list[str], url: str) -> None:
    body = await told(tmp_path, url, sent)
    text = text_in(body)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "apprise" not in body.lower()
