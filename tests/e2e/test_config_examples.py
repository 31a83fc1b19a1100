"""The shipped configs, judged by the tools that read them, and against each other: what one produces the next must take."""

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jmespath
import pytest
from ruamel.yaml import YAML

from rollbackd.action import plan
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.model.release import Release
from rollbackd.model.runbook import Run, RunAsk
from rollbackd.releases.command import parse
from rollbackd.settings.durations import format_duration
from rollbackd.settings.effective import Settings
from rollbackd.settings.load import load
from tests.e2e.programs import program
from tests.fakes.flyctl import Fly

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
SERVICES = ("wemaster-staging-api", "wemaster-staging-admin")
ALERTS = ("HighErrorRate", "SlowResponse", "ServiceDown")


def tool(name: str, *arguments: str | Path) -> str:
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(path: str) -> Any:
    return YAML(typ="safe").load(ROOT / path)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As systemd hands them over, the secrets lie in $CREDENTIALS_DIRECTORY."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name in secrets():
        (credentials / name).touch(mode=0o600)
        (credentials / name).write_text(f"the token of {name}\n".replace(" ", "-"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    loaded = load(ROOT / "config" / "rollbackd.yaml")
    assert [str(problem) for problem in loaded.problems] == []
    return loaded.settings


def secrets() -> set[str]:
    return set(re.findall(r"(?:token_file|file): ([\w.-]+)}", (ROOT / "config" / "rollbackd.yaml").read_text()))


def test_prometheus_takes_its_config_and_finds_the_rules() -> None:
    assert "SUCCESS: 4 rule files found" in tool("promtool", "check", "config", ROOT / "config" / "prometheus.yml")


def test_alertmanager_takes_its_config() -> None:
    assert "SUCCESS" in tool("amtool", "check-config", ROOT / "config" / "alertmanager.yml")


@pytest.mark.parametrize(
    ("alertname", "receivers"),
    [*((alert, "rollbackd,people") for alert in ALERTS), ("RollbackdDown", "people"), ("HighErrorRateOfSomethingElse", "people")],
)
def test_the_route_takes_three_alerts_to_rollbackd_and_all_of_them_to_people(alertname: str, receivers: str) -> None:
    config = f"--config.file={ROOT / 'config' / 'alertmanager.yml'}"
    said = tool("amtool", "config", "routes", "test", config, f"alertname={alertname}", f"service={SERVICES[0]}", "severity=critical")
    assert said.strip() == receivers


def test_nothing_is_waited_for_dropped_or_redirected_on_the_way_to_rollbackd() -> None:
    config = read("config/alertmanager.yml")
    route = next(route for route in config["route"]["routes"] if route["receiver"] == "rollbackd")
    webhook = next(receiver for receiver in config["receivers"] if receiver["name"] == "rollbackd")["webhook_configs"][0]
    assert (route["group_wait"], route["group_by"], route["continue"]) == ("0s", ["alertname", "service"], True)
    assert (webhook["max_alerts"], webhook["send_resolved"], webhook["http_config"]["follow_redirects"]) == (0, True, False)
    assert webhook["http_config"]["authorization"]["type"] == "Bearer"


def test_the_services_of_the_config_are_those_that_prometheus_scrapes(settings: Settings) -> None:
    job = next(job for job in read("config/prometheus.yml")["scrape_configs"] if job["job_name"] == "wemaster-staging")
    scraped = {name.removesuffix(".internal") for discovery in job["dns_sd_configs"] for name in discovery["names"]}
    assert set(settings.services) == scraped == set(SERVICES)


@pytest.mark.parametrize("alertname", ALERTS)
@pytest.mark.parametrize("service", SERVICES)
def test_an_alert_of_the_rules_hits_exactly_its_service_and_trigger(settings: Settings, service: str, alertname: str) -> None:
    labels = {"alertname": alertname, "service": service, "env": "staging", "severity": "critical"}
    hit = [policy for policy in settings.services.values() if all(matcher.matches(labels) for matcher in policy.match)]
    assert [policy.name for policy in hit] == [service]
    assert [trigger.name for trigger in hit[0].triggers if alertname in trigger.alerts] == [alertname]


def test_production_under_the_same_name_is_not_ours(settings: Settings) -> None:
    labels = {"alertname": "HighErrorRate", "service": SERVICES[0], "env": "production"}
    assert not any(all(matcher.matches(labels) for matcher in policy.match) for policy in settings.services.values())


def test_triggers_have_the_limits_and_the_for_of_the_rules(settings: Settings) -> None:
    rules = {
        rule["alert"]: rule
        for name in ("rollback-alerts.yml", "service-down.yml")
        for group in read(f"alert_rules/{name}")["groups"]
        for rule in group["rules"]
    }
    triggers = {trigger.name: trigger for trigger in settings.services[SERVICES[0]].triggers}
    assert set(triggers) == set(rules) == set(ALERTS)
    for name, trigger in triggers.items():
        assert format_duration(trigger.hold_for) == rules[name]["for"]
        assert trigger.severity == rules[name]["labels"]["severity"]
    for name in ("HighErrorRate", "SlowResponse"):
        assert rules[name]["expr"].endswith(str(triggers[name].breach))


def test_indicators_and_rules_look_through_the_same_window(settings: Settings) -> None:
    windows = set(re.findall(r"\[(\w+)\]", (ROOT / "alert_rules" / "recording-rules.yml").read_text()))
    policy = settings.services[SERVICES[0]]
    assert {format_duration(trigger.indicator.window) for trigger in policy.triggers} == windows
    assert settings.prometheus[policy.prometheus].scrape_interval * 4 <= timedelta(minutes=1)


class TestOnFly:
    """The commands of the shipped config, as they are, run against the stand-in that refuses what flyctl refuses."""

    V1, V2 = "registry.fly.io/wemaster-staging-api:deployment-01", "registry.fly.io/wemaster-staging-api:deployment-02"

    @pytest.fixture
    def policy(self, settings: Settings) -> ServicePolicy:
        return settings.services["wemaster-staging-api"]

    @pytest.fixture
    def fly(self, tmp_path: Path, policy: ServicePolicy) -> Fly:
        fly = Fly(tmp_path)
        fly.add_release(policy.name, self.V1, at=AT - timedelta(days=1))
        fly.add_release(policy.name, self.V2, at=AT)
        return fly

    def run(self, fly: Fly, argv: tuple[str, ...]) -> str:
        environment = {"PATH": f"{fly.program.parent}:/usr/bin:/bin", "FLY_API_TOKEN": "token"}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=10, check=True).stdout

    def recorded(self, fly: Fly, policy: ServicePolicy) -> tuple[Release, ...]:
        assert isinstance(policy.releases, CommandSource)
        return parse(json.loads(self.run(fly, policy.releases.argv)), policy.name, policy.releases)

    def test_its_releases_are_read(self, fly: Fly, policy: ServicePolicy) -> None:
        fly.add_release(policy.name, "registry.fly.io/wemaster-staging-api:deployment-03", at=AT, status="failed")
        releases = [(release.version, release.artifact.rpartition("-")[2], release.status) for release in self.recorded(fly, policy)]
        assert releases == [("3", "03", "failed"), ("2", "02", "live"), ("1", "01", "live")]

    def test_what_its_machines_run_is_read(self, fly: Fly, policy: ServicePolicy) -> None:
        fly.run_images(policy.name, self.V1, self.V2)
        assert policy.running_version is not None
        ask = policy.running_version.ask
        assert isinstance(ask, RunAsk)
        assert ask.jmespath is not None
        assert jmespath.search(ask.jmespath, json.loads(self.run(fly, ask.argv))) == [self.V1, self.V2]

    def test_its_quick_runbook_brings_the_targets_image_back_and_sees_that_it_did(self, fly: Fly, policy: ServicePolicy) -> None:
        assert policy.runbook is not None
        current, target = self.recorded(fly, policy)
        deploy, *_ = plan.make(policy, policy.runbook, current=current, target=target).steps
        assert deploy.probe is not None
        assert isinstance(deploy.probe.ask, RunAsk)
        assert deploy.probe.ask.jmespath is not None
        assert isinstance(deploy.action, Run)

        def seen() -> set[str]:
            assert deploy.probe is not None
            assert isinstance(deploy.probe.ask, RunAsk)
            return set(jmespath.search(str(deploy.probe.ask.jmespath), json.loads(self.run(fly, deploy.probe.ask.argv))))

        assert seen() == {self.V2}
        self.run(fly, deploy.action.argv)
        assert seen() == fly.running(policy.name) == {deploy.probe.equals} == {self.V1}
        assert fly.effects() == [["deploy", "--app", policy.name, "--image", self.V1, "--yes"]]
