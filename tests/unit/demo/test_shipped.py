import re
from pathlib import Path

import pytest

from rollbackd.demo import shipped
from rollbackd.demo.shipped import Pace, checkout, write_alertmanager_config, write_rules
from rollbackd.errors import MisconfiguredError


def differences(before: str, after: str) -> list[tuple[str, str]]:
    return [(old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]


def test_rules_differ_only_in_for_and_windows_and_every_difference_is_told(tmp_path: Path) -> None:
    changes = write_rules(tmp_path, Pace(window="7s", hold_for="3s"))
    told = 0
    for written in tmp_path.iterdir():
        original = (checkout() / "alert_rules" / written.name).read_text()
        for old, new in differences(original, written.read_text()):
            told += 1
            without = [re.sub(r"for: \w+|\[\w+\]", "", line) for line in (old, new)]
            assert without[0] == without[1]
    assert told == len(changes) > 0
    assert "alert_rules/rollback-alerts.yml:8: for: 2m → for: 3s" in map(str, changes)
    assert {duration for change in changes for duration in re.findall(r"\[(\w+)\]", change.after)} == {"7s"}


def test_the_rules_on_rollbackd_itself_are_not_shortened_into_false_alarms(tmp_path: Path) -> None:
    write_rules(tmp_path, Pace())
    assert {path.name for path in tmp_path.iterdir()} == {"rollback-alerts.yml", "recording-rules.yml", "service-down.yml"}


def test_the_route_differs_only_in_its_pace_and_its_address(tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yml"
    webhook, token = "http://127.0.0.1:1234/webhook/alertmanager", tmp_path / "token"
    changes = write_alertmanager_config(config, Pace(group_interval="2s"), webhook_url=webhook, token_file=token)
    original = (checkout() / "config" / "alertmanager.yml").read_text()
    assert [new.strip() for _, new in differences(original, config.read_text())] == [
        "group_interval: 2s",
        f"- url: {webhook}",
        f"credentials_file: {token}",
    ]
    assert [change.after for change in changes] == [new.strip() for _, new in differences(original, config.read_text())]


def test_without_a_checkout_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "site-packages" / "rollbackd" / "demo" / "shipped.py"))
    with pytest.raises(MisconfiguredError, match="make demo"):
        checkout()
