import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from rollbackd.cli import main
from tests.fakes.prometheus import FakePrometheus
from tests.unit.backtest.world import AT, DAY, HOUR, MINUTE, alert_row, fails, release_row, write_config, write_lines

SECONDS = int(AT.timestamp())
CHECK_FIELDS = ["name", "verdict", "reason", "query", "value", "limit", "sample_time", "at"]


class Past:
    """Four alerts: a bad release, noise, an old breach beside a release, and one of nobody. Three of them are labelled."""

    def __init__(self, directory: Path, fake: FakePrometheus) -> None:
        self.directory = directory
        self.fake = fake
        self.config = write_config(directory, fake.url, "api: {}", "web: {}", "db: {}")
        self.alerts = directory / "alerts.jsonl"
        self.releases = directory / "releases.jsonl"
        fails(fake, "api", since=AT - 2 * MINUTE)
        fails(fake, "web", since=AT + HOUR)
        fails(fake, "db", since=AT - 15 * MINUTE)
        write_lines(
            self.alerts,
            [
                alert_row("bad", service="api", truth="roll_back", scenario="bad code", why="injected"),
                alert_row("noise", service="web", truth="hold", scenario="noise"),
                alert_row("old", service="db", truth="hold", scenario="noise"),
                alert_row("nobody", service="else"),
            ],
        )
        write_lines(
            self.releases,
            [release_row("v1", ago=DAY, service=name) for name in ("api", "web", "db")]
            + [release_row("v2", ago=3 * MINUTE, service=name) for name in ("api", "web", "db")],
        )

    @property
    def files(self) -> tuple[object, ...]:
        return "--alerts", self.alerts, "--releases", self.releases

    async def run(self, *args: object, config: Path | None = None) -> Result:
        command = ["backtest", "--config", str(config or self.config), *(str(arg) for arg in args)]
        return await asyncio.to_thread(CliRunner().invoke, main, command)

    async def lines(self, *args: object) -> list[dict[str, Any]]:
        result = await self.run(*self.files, "--json", *args)
        assert (result.exit_code, result.exception) == (0, None), result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
async def past(tmp_path: Path) -> AsyncIterator[Past]:
    async with FakePrometheus() as fake:
        yield Past(tmp_path, fake)


def decided(line: dict[str, Any]) -> tuple[object, ...]:
    return tuple(line[name] for name in ("id", "service", "decision", "reason", "decided_at", "target"))


async def test_one_line_of_json_for_each_alert(past: Past) -> None:
    lines = await past.lines()
    assert [decided(line) for line in lines] == [
        ("bad", "api", "roll_back", "to_blame", SECONDS, "v1"),
        ("noise", "web", "hold", "healthy", SECONDS + 15, "v1"),
        ("old", "db", "hold", "breach_predates_release", SECONDS, "v1"),
        ("nobody", None, "hold", "no_service", SECONDS, None),
    ]
    assert all(list(check) == CHECK_FIELDS for line in lines for check in line["checks"])
    (trigger,) = (check for check in lines[0]["checks"] if check["name"].startswith("trigger"))
    assert (trigger["verdict"], trigger["reason"], trigger["at"]) == ("passed", "confirmed", "2023-09-22T14:41:00.000Z")
    assert 'service="api"' in trigger["query"]


async def test_the_truth_changes_no_decision(past: Past) -> None:
    told = await past.lines()
    rows = [json.loads(line) for line in past.alerts.read_text().splitlines()]
    opposite = {"roll_back": "hold", "hold": "roll_back"}
    write_lines(past.alerts, [{**row, "truth": opposite.get(row.get("truth"), "hold"), "scenario": "x", "why": "y"} for row in rows])
    assert await past.lines() == told


async def test_a_change_nearer_to_the_breach_than_the_release_is_for_a_person(past: Past) -> None:
    flag = {"service": "api", "kind": "flag", "what": "checkout_v2 on", "at": SECONDS - 130}
    changes = write_lines(past.directory / "changes.jsonl", [flag, {**flag, "service": "apj"}, {**flag, "service": "web"}])
    bad, *others = await past.lines("--changes", changes)
    assert (bad["decision"], bad["reason"]) == ("escalate", "inconclusive")
    (failed,) = (check for check in bad["checks"] if check["verdict"] == "failed")
    assert (failed["name"], failed["value"]) == ("no_nearer_change", "flag 'checkout_v2 on' was altered 10 s before the breach")
    assert others == (await past.lines())[1:]
    result = await past.run(*past.files, "--changes", changes)
    assert "changes of apj, which the config does not have, are not read" in result.stderr


async def test_the_score_is_the_last_line(past: Past) -> None:
    *lines, last = await past.lines("--score")
    assert len(lines) == 4
    part = {"precision": None, "recall": None, "false_rollbacks": 0, "missed": 0}
    assert last == {
        "score": {
            "precision": 1.0,
            "recall": 1.0,
            "false_rollbacks": 0,
            "missed": 0,
            "median_seconds_to_decide": 0.0,
            "n": 3,
            "by_scenario": {
                "bad code": {**part, "precision": 1.0, "recall": 1.0, "median_seconds_to_decide": 0.0, "n": 1},
                "noise": {**part, "median_seconds_to_decide": 7.5, "n": 2},
            },
        }
    }


async def test_rows_for_people(past: Past) -> None:
    result = await past.run(*past.files, "--score")
    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert rows[0] == ["api", "roll_back", "to_blame", "0 s", "v2", "v1", "roll_back", "bad"]
    assert rows[3] == ["", "hold", "no_service", "0 s", "", "", "", "nobody"]
    assert rows[4] == ["all", "1", "1", "0", "0", "0", "3"]
    assert [row[0] for row in rows[5:]] == ["bad code", "noise"]
    assert result.stderr == "4 alerts: 1 roll back, 3 hold, 0 escalate\n"


async def test_only_alerts_of_a_period(past: Past) -> None:
    rows = [alert_row(f"a{n}", at=AT + n * MINUTE) for n in range(4)]
    write_lines(past.alerts, rows)
    assert [line["id"] for line in await past.lines("--from", "2023-09-22T14:42:00Z", "--to", SECONDS + 120)] == ["a1", "a2"]
    assert [line["id"] for line in await past.lines("--to", SECONDS)] == ["a0"]


async def test_a_period_that_ends_before_it_begins_is_a_mistake(past: Past) -> None:
    result = await past.run(*past.files, "--from", SECONDS, "--to", SECONDS - 1)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "it is before --from" in result.stderr


async def test_wrong_lines_of_both_files_are_all_told(past: Past) -> None:
    past.alerts.write_text("{\n" + json.dumps(alert_row(truth="maybe")))
    past.releases.write_text(json.dumps({"service": "api", "version": "v1"}))
    result = await past.run(*past.files, "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.removeprefix(f"{past.directory}/").split(": ")[0] for line in result.stderr.splitlines()] == [
        "alerts.jsonl:1",
        "alerts.jsonl:2",
        "releases.jsonl:1",
    ]
    assert "'truth' is \"maybe\": write roll_back or hold" in result.stderr


async def test_a_server_that_cannot_be_asked_is_an_error_and_not_a_hundred_unknowns(past: Past) -> None:
    config = write_config(past.directory, "http://127.0.0.1:1", "api: {}", name="down.yaml")
    result = await past.run(*past.files, config=config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot be reached" in result.stderr


async def test_questions_that_prometheus_leaves_unanswered_are_told(past: Past) -> None:
    past.fake.fail('service="web"', 503)
    result = await past.run(*past.files)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split("\t")[:4] == ["web", "escalate", "unknown", "10 min"]
    assert "Prometheus left questions unanswered for 1 of 4 alerts: see their checks" in result.stderr


async def test_so_are_those_about_another_day(past: Past) -> None:
    """Everything of today is answered, and says that the release is to blame; the same minutes of yesterday are not."""

    def errors(at: datetime) -> float:
        return 300 if at >= AT - 2 * MINUTE else 1

    async def answers(request: web.Request) -> web.StreamResponse:
        end = datetime.fromisoformat(request.query["end"])
        if end < AT - DAY / 2:
            return web.Response(status=503)
        start = datetime.fromisoformat(request.query["start"])
        moments = [start + n * MINUTE / 4 for n in range(4 * (end - start) // MINUTE + 1)]
        values = [[at.timestamp(), str(errors(at))] for at in moments]
        data = {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}
        return web.json_response({"status": "success", "data": data})

    past.fake.handle('service="api",code=~"5..', answers)
    result = await past.run(*past.files)
    assert result.stdout.splitlines()[0].split("\t")[:4] == ["api", "escalate", "inconclusive", "10 min"]
    assert "Prometheus left questions unanswered for 1 of 4 alerts: see their checks" in result.stderr


async def test_which_alerts_has_to_be_said(past: Past) -> None:
    result = await past.run("--releases", past.releases)
    assert result.exit_code == 2
    assert "--alerts FILE, or --from TIME" in result.stderr
    result = await past.run("--from", "yesterday")
    assert result.exit_code == 2
    assert "write epoch seconds" in result.stderr


async def test_what_is_not_read_is_told(past: Past) -> None:
    write_lines(past.alerts, [alert_row(note="seen by me")])
    write_lines(past.releases, [release_row("v1", ago=DAY, service="apj")])
    result = await past.run(*past.files)
    assert result.exit_code == 0
    assert f'{past.alerts}:1: "note" is not read' in result.stderr
    assert "releases of apj, which the config does not have, are not read" in result.stderr


async def test_what_another_config_would_change(past: Past) -> None:
    strict = write_config(
        past.directory, past.fake.url, "api: {blame_window: 30s}", "web: {}", "db: {blame_window: 19m}", name="strict.yaml"
    )
    lines = await past.lines("--diff", strict)
    assert [(line["id"], line["decision"], line["changes"], line["other"]["decision"], line["other"]["reason"]) for line in lines] == [
        ("bad", "roll_back", True, "hold", "no_recent_release"),
        ("noise", "hold", False, "hold", "healthy"),
        ("old", "hold", False, "hold", "breach_predates_release"),
        ("nobody", "hold", False, "hold", "no_service"),
    ]
    *_, last = await past.lines("--diff", strict, "--score")
    assert (last["score"]["recall"], last["other"]["recall"]) == (1.0, 0.0)
    result = await past.run(*past.files, "--diff", strict)
    assert result.stdout == "api\troll_back\tto_blame\tv1\thold\tno_recent_release\t\tbad\n"
    assert result.stderr == "1 of 4 decisions change\n"


async def test_together_a_second_alert_is_held(past: Past) -> None:
    write_lines(past.alerts, [alert_row("first"), alert_row("second", at=AT + 2 * MINUTE)])
    assert [(line["decision"], line["reason"]) for line in await past.lines("--together")] == [
        ("roll_back", "to_blame"),
        ("hold", "cooldown"),
    ]


async def process(*args: object) -> tuple[str, str]:
    """In a process of its own: commands log, and what is set up for that is the process's."""
    run = await asyncio.create_subprocess_exec(sys.executable, "-m", "rollbackd", *map(str, args), stdout=PIPE, stderr=PIPE)
    stdout, stderr = await run.communicate()
    assert run.returncode == 0, stderr.decode()
    return stdout.decode(), stderr.decode()


async def test_without_files_prometheus_and_the_release_sources_are_asked(past: Past) -> None:
    rows = [{"v": version, "at": (AT - ago).timestamp()} for version, ago in (("v2", 3 * MINUTE), ("v1", DAY))]
    (past.directory / "rows.json").write_text(json.dumps(rows))
    source = '{source: command, run: [cat, rows.json], items: "[]", version: v, started_at: at}'
    config = write_config(past.directory, past.fake.url, f"api: {{releases: {source}}}", "db: {}", name="sources.yaml")
    labels = {"alertname": "HighErrorRate", "alertstate": "firing"}
    past.fake.answer("ALERTS", *(({**labels, "service": name}, lambda at: 1 if at >= AT else None) for name in ("api", "db")))
    stdout, stderr = await process("backtest", "--config", config, "--from", SECONDS - 60, "--to", SECONDS + 60, "--json")
    api, db = sorted(map(json.loads, stdout.splitlines()), key=lambda line: line["service"])
    assert decided(api)[1:] == ("api", "roll_back", "to_blame", SECONDS, "v1")
    assert decided(db)[1:] == ("db", "escalate", "unknown", SECONDS + 600, None)
    assert "db: its releases are recorded over the API, where a backtest does not ask: give them with --releases" in stderr


async def test_a_page_with_a_chart_for_each_alert(past: Past) -> None:
    path = past.directory / "page.html"
    lines = await past.lines("--html", path, "--score")
    page = path.read_text()
    assert len(lines) == 5
    assert page.count("<svg") == 3
    assert all(f"<h2>{line['id']}</h2>" in page for line in lines[:4])


async def test_a_page_that_cannot_be_written_is_told_before_anything_is_asked(past: Past) -> None:
    result = await past.run(*past.files, "--html", past.directory / "nowhere" / "page.html")
    assert (result.exit_code, result.stdout, past.fake.asked) == (2, "", [])
    assert "there is no directory" in result.stderr


async def test_a_bar_runs_on_a_terminal_and_never_through_the_data(past: Past) -> None:
    terminal, ours = os.openpty()
    command = ("-m", "rollbackd", "backtest", "--config", past.config, *past.files, "--json")
    run = await asyncio.create_subprocess_exec(
        sys.executable, *map(str, command), stdout=PIPE, stderr=ours, env={**os.environ, "TERM": "xterm"}
    )
    os.close(ours)
    stdout, _ = await run.communicate()
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert [json.loads(line)["id"] for line in stdout.splitlines()] == ["bad", "noise", "old", "nobody"]
    assert "alerts" in shown
