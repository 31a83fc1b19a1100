"""Channels and contacts in the config: what is wrong is named where it is written."""

from pathlib import Path

import pytest

from rollbackd.model.incident import Severity
from rollbackd.settings.effective import AlertmanagerSettings, Channel, WebhookSettings
from tests.unit.settings.builders import BASE, errors_of, settings_of, warnings_of

FILES = {"chat.url": "json://localhost/x", "hook.secret": "s", "am.token": "t"}
SERVICE = "services: {a: {}}\n"


def test_what_is_written_is_what_holds(tmp_path: Path) -> None:
    text = (
        "notify: [{name: chat, url_file: chat.url, min_severity: warning}, "
        "{name: hook, webhook: {url: 'https://h.example/x', secret_file: hook.secret}, language: zh}]\n"
        "alertmanager: {url: 'http://127.0.0.1:9093', token_file: am.token}\n"
    )
    settings = settings_of(tmp_path, BASE + SERVICE + text, files=FILES)
    assert settings.channels == (
        Channel(name="chat", url_file=tmp_path / "chat.url", min_severity=Severity.WARNING),
        Channel(name="hook", webhook=WebhookSettings(url="https://h.example/x", secret_file=tmp_path / "hook.secret"), language="zh"),
    )
    assert settings.alertmanager == AlertmanagerSettings(url="http://127.0.0.1:9093", token_file=tmp_path / "am.token")


def test_a_channel_speaks_the_report_s_language_unless_it_says_so(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, BASE + SERVICE + "notify: [{name: chat, url_file: chat.url}]\nreport: {language: zh}", files=FILES)
    assert settings.channels[0].language == "zh"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("notify: [{name: chat}]", "11:10: a channel has either url_file"),
        ("notify: [{name: c, url_file: chat.url, webhook: {url: 'http://h/'}}]", "11:10: a channel has either url_file"),
        ("notify: [{name: c, url_file: chat.url}, {name: c, url_file: chat.url}]", "11:48: 'c' is there twice"),
        ("notify: [{name: c, url_file: gone}]", "11:30: "),
        ("contacts: [{role: r, name: n, channel: chta}]\nnotify: [{name: chat, url_file: chat.url}]", "11:40: unknown channel 'chta'"),
        ("notify: [{name: c, url_file: chat.url, min_severity: loud}]", "11:54: "),
        ("notify: [{name: c, webhook: {url: 'ftp://h/'}}]", "11:35: "),
        ("alertmanager: {url: 'http://h/', token_file: gone}", "11:46: "),
    ],
)
def test_errors(tmp_path: Path, text: str, error: str) -> None:
    (found, *_) = errors_of(tmp_path, BASE + SERVICE + text, files=FILES)
    assert found.startswith(error), found


def test_a_url_that_nobody_knows_is_a_warning_that_does_not_quote_it(tmp_path: Path) -> None:
    text = BASE + SERVICE + "notify: [{name: chat, url_file: chat.url}]"
    (warning,) = warnings_of(tmp_path, text, files={"chat.url": "slak://TokenOfMine"})
    assert "holds no URL that Apprise knows" in warning
    assert "TokenOfMine" not in warning
