"""What the format has and this version does not act on is said aloud, where it is written."""

from pathlib import Path

import pytest

from tests.unit.settings.builders import BASE, QUICK, warnings_of

EMERGENCY = QUICK.replace("quick", "stop", 1).replace("kind: quick", "kind: emergency")


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("services: {a: {freeze: [{cron: 0 18 * * fri, duration: 62h}]}}", []),
        ("services: {a: {fleet_brake: {services: 3}}}", []),
        ("services: {a: {spread: [zone]}}", []),
        ("services: {a: {depends_on: [b]}, b: {}}", []),
        ("services: {a: {while_rolling: abort}}", ["10:31: while_rolling: abort"]),
        ("services: {a: {while_rolling: wait}}", []),
        ("services: {a: {on_failure: {runbook: stop, auto: true}}}", []),
        ("services: {a: {}}\ndefaults: {while_rolling: abort}", ["11:27: while_rolling: abort"]),
        ("services: {a: {}}\ntemplates: {t: {while_rolling: abort}}", ["11:32: while_rolling: abort"]),
        ("services: {a: {}}\nunits: {u: {services: [a]}}", ["11:1: units"]),
        ("services: {a: {}}\nnotify: [{name: chat, url_file: url}]", []),
    ],
)
def test_a_warning_where_it_is_written(tmp_path: Path, text: str, warnings: list[str]) -> None:
    found = warnings_of(tmp_path, BASE + text, runbooks={"stop": EMERGENCY}, files={"url": "json://localhost/x"})
    assert found == [f"{warning} is accepted but not acted on by this version" for warning in warnings]


def test_what_holds_for_the_whole_daemon_stands_under_defaults(tmp_path: Path) -> None:
    assert warnings_of(tmp_path, BASE + "services: {a: {}}\ndefaults: {retention: 30d, shutdown_grace: 9s}") == []
    (warning,) = warnings_of(tmp_path, BASE + "services: {a: {retention: 30d}}")
    assert warning == "10:27: retention holds for the whole daemon: here it is not acted on, write it under 'defaults'"
