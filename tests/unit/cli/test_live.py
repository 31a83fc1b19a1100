"""`check --live` with nothing but files, a Prometheus and a deploy tool: no daemon, no store."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rollbackd.cli import main
from tests.fakes.prometheus import FakePrometheus
from tests.fakes.tool import Tool

CONFIG = """\
prometheus: {url: URL, timeout: 2s}
store: {url: 'sqlite:////nowhere/at/all/rollbackd.db'}
indicators:
  error_rate:
    bad: sum(increase(http_requests_total{$selector,code=~"5.."}[$window]))
    total: sum(increase(http_requests_total{$selector}[$window]))
    samples: http_requests_total{$selector}
    bad_samples: http_requests_total{$selector,code=~"5.."}
    window: 1m
  p95:
    query: 1000 * histogram_quantile(0.95, sum by (le) (rate(seconds_bucket{$selector}[$window])))
    samples: seconds_count{$selector}
    window: 1m
triggers:
  HighErrorRate: {indicator: error_rate, breach: "> 0.01", clear: "<= 0.005", for: 2m, min_requests: 50}
  Slow: {indicator: p95, breach: "> 1000", clear: "< 500", for: 5m}
objectives: {}
services:
  checkout:
    mode: auto
    runbook: quick
    credentials:
      TOKEN: {file: token}
    running_version: {run: [./tool, live]}
    releases: {source: command, run: [./tool, live], items: "[]", version: v, started_at: s}
"""
RUNBOOK = """\
name: quick
kind: quick
budget: 5m
steps:
  - name: deploy
    timeout: 1m
    run: [./tool, deploy, "${target.artifact}"]
"""
LISTED = '[{"v": "v2", "s": 1700000200}, {"v": "v1", "s": 1700000100}]'


class Scene:
    def __init__(self, directory: Path, prometheus: FakePrometheus) -> None:
        self.directory = directory
        self.prometheus = prometheus
        self.tool = Tool(directory, live=LISTED)
        self.path = directory / "rollbackd.yaml"
        self.path.write_text(
            CONFIG.replace("URL", prometheus.url).replace("run: [./tool, live]}", "run: [./tool, live], jmespath: '[0].v'}")
        )
        (directory / "runbooks").mkdir()
        (directory / "runbooks" / "quick.yaml").write_text(RUNBOOK)
        (directory / "token").write_text("hunter2-hunter2")
        (directory / "token").chmod(0o600)

    async def check(self, *more: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, main, ["check", str(self.path), "--live", *more])

    async def errors(self) -> list[str]:
        """Without the warnings; of a file in the config's directory only its name."""
        result = await self.check()
        lines = [line for line in result.stdout.splitlines() if ": warning: " not in line]
        assert result.exit_code == (2 if lines else 0), result.output
        return [line.replace(f"{self.directory}/", "") for line in lines]

    async def warnings(self) -> list[str]:
        lines = (await self.check()).stdout.splitlines()
        return [line.replace(f"{self.directory}/", "") for line in lines if ": warning: " in line]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with FakePrometheus() as fake:
        fake.answer(r"^sum\(increase\(http_requests_total", 1000)
        fake.answer(r'code=~"5\.\."\}\[', 1)
        fake.answer("histogram_quantile", 120)
        fake.answer(r"^group by \(le\) \(seconds_bucket", *(({"le": le}, 1) for le in ("0.5", "5", "+Inf")))
        fake.answer(r"^1000 \* vector\(5\.0\)", 5000)
        fake.answer(r"^1000 \* vector\(0\.5\)", 500)
        fake.alert_rules = [("HighErrorRate", 120), ("Slow", 300)]
        yield Scene(tmp_path, fake)


async def test_a_config_whose_services_are_ready(scene: Scene) -> None:
    result = await scene.check()
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith(f"{scene.path} can be used, and every service is ready\n")
    assert scene.tool.effects() == []


async def test_as_json_with_every_check(scene: Scene) -> None:
    data = json.loads((await scene.check("--json")).stdout)
    assert (data["fine"], data["problems"]) == (True, [])
    (one,) = data["services"]
    assert (one["service"], one["verdict"]) == ("checkout", "ready")
    assert {check["name"]: check["detail"] for check in one["checks"]}["target"] == "v2 would go back to v1 (v1)"


async def test_without_live_nothing_is_asked(scene: Scene) -> None:
    result = await asyncio.to_thread(CliRunner().invoke, main, ["check", str(scene.path), "--json"])
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"fine": True, "problems": []})
    assert scene.prometheus.asked == []


async def test_a_query_is_named_where_it_is_written(scene: Scene) -> None:
    scene.prometheus.answer(r"^1000 \* histogram_quantile")
    (line,) = await scene.errors()
    assert line.startswith("rollbackd.yaml:11:12: checkout: indicator p95: query: no series: ")
    assert line.endswith('(rate(seconds_bucket{service="checkout"}[60s])))')


async def test_a_command_is_named_in_its_runbook(scene: Scene) -> None:
    runbook = scene.directory / "runbooks" / "quick.yaml"
    runbook.write_text(RUNBOOK.replace("./tool", "./missing"))
    (line,) = await scene.errors()
    assert line.startswith("runbooks/quick.yaml:7:5: checkout: command ./missing: ./missing: no such command: install it")


async def test_a_credential_is_named_where_its_file_is(scene: Scene) -> None:
    (scene.directory / "token").chmod(0o644)
    (line,) = await scene.errors()
    assert line.startswith("rollbackd.yaml:23:21: checkout: credential TOKEN: token: everybody on this machine may read")
    assert "hunter2" not in line


async def test_a_source_without_a_target(scene: Scene) -> None:
    scene.tool.live = '[{"v": "v2", "s": 1700000200}]'
    (line,) = await scene.errors()
    assert line.startswith("rollbackd.yaml:25:5: checkout: target: no safe target for v2")


async def test_a_server_that_does_not_answer(scene: Scene) -> None:
    scene.prometheus.fail("", 503)
    lines = await scene.errors()
    assert lines[0].startswith("rollbackd.yaml:1:1: checkout: prometheus: Prometheus server main at 127.0.0.1:")
    assert len(lines) == 3  # and its two indicators


async def test_releases_that_only_the_daemon_knows_are_not_asked(scene: Scene) -> None:
    text = scene.path.read_text()
    scene.path.write_text(text[: text.index("    releases:")])
    data = json.loads((await scene.check("--json")).stdout)
    checks = {check["name"]: check["verdict"] for check in data["services"][0]["checks"]}
    assert (data["fine"], checks["target"], checks["running_version"]) == (True, "not_applicable", "ready")


async def test_a_limit_that_no_bucket_reaches_over_is_a_warning(scene: Scene) -> None:
    scene.prometheus.answer(r"^group by \(le\) \(seconds_bucket", *(({"le": le}, 1) for le in ("0.1", "0.5", "+Inf")))
    (line,) = await scene.warnings()
    assert line.startswith("rollbackd.yaml:16:34: warning: trigger 'Slow': p95 can get no higher than 500")
    assert (await scene.check()).exit_code == 0


async def test_a_for_that_differs_from_the_rules_is_a_warning(scene: Scene) -> None:
    scene.prometheus.alert_rules = [("HighErrorRate", 300), ("Slow", 300)]
    (line,) = await scene.warnings()
    assert line.startswith(
        "rollbackd.yaml:15:84: warning: trigger 'HighErrorRate': the alert rule 'HighErrorRate' has for: 5m, and this has 2m"
    )


async def test_rules_that_cannot_be_read_are_a_warning(scene: Scene) -> None:
    scene.prometheus.alert_rules = None
    (line,) = await scene.warnings()
    assert "warning: the alert rules cannot be compared: Prometheus server main" in line


async def test_a_config_with_errors_asks_nobody(scene: Scene) -> None:
    scene.path.write_text(scene.path.read_text().replace("mode: auto", "mode: automatic"))
    result = await scene.check("--json")
    data = json.loads(result.stdout)
    assert (result.exit_code, data["fine"], data["services"]) == (2, False, [])
    assert scene.prometheus.asked == []
