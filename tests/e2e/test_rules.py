"""The shipped alert rules, judged by Prometheus' own promtool."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rollbackd.clock import SystemClock
from rollbackd.model.policy import Mode
from rollbackd.model.readiness import ReadinessVerdict
from rollbackd.telemetry.metrics import Metrics
from tests.e2e.programs import program

RULES = Path(__file__).resolve().parents[2] / "alert_rules"


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def test_every_rule_file_is_valid() -> None:
    assert promtool("check", "rules", *RULES.glob("*.yml")).count("SUCCESS") == 4


@pytest.mark.parametrize("name", sorted(path.name for path in RULES.glob("tests/*.yml")))
def test_the_rules_do_what_their_tests_say(name: str) -> None:
    assert "SUCCESS" in promtool("test", "rules", RULES / "tests" / name)


def test_every_alert_has_a_test_that_sees_it_fire() -> None:
    tested: set[str] = set()
    for path in RULES.glob("tests/*.yml"):
        for test in read(path)["tests"]:
            tested |= {case["alertname"] for case in test.get("alert_rule_test", ()) if case["exp_alerts"]}
            for query in test.get("promql_expr_test", ()):
                tested |= {found for sample in query["exp_samples"] for found in re.findall(r'alertname="(\w+)"', sample["labels"])}
    alerts = {rule["alert"] for path in RULES.glob("*.yml") for group in read(path)["groups"] for rule in group["rules"] if "alert" in rule}
    assert alerts == tested


def test_the_runbooks_two_rules_stand_as_it_has_them() -> None:
    assert read(RULES / "rollback-alerts.yml") == {
        "groups": [
            {
                "name": "rollback-alerts",
                "rules": [
                    {
                        "alert": "HighErrorRate",
                        "expr": "error_rate > 0.01",
                        "for": "2m",
                        "labels": {"severity": "critical"},
                        "annotations": {"summary": "回滚后错误率过高"},
                    },
                    {
                        "alert": "SlowResponse",
                        "expr": "response_time_p95 > 1000",
                        "for": "5m",
                        "labels": {"severity": "warning"},
                        "annotations": {"summary": "回滚后响应时间过慢"},
                    },
                ],
            }
        ]
    }


def test_the_rules_on_rollbackd_ask_for_metrics_that_it_has() -> None:
    metrics = Metrics()
    metrics.paused(["global"])
    metrics.query_failed("timeout")
    metrics.readiness("api", ReadinessVerdict.READY)
    metrics.serving({"api": Mode.AUTO})
    metrics.messages_wait({"chat": SystemClock().now()})
    exposed = set(re.findall(r"^(rollbackd_\w+)", metrics.exposition()[0].decode(), re.MULTILINE))
    asked = set(re.findall(r"rollbackd_\w+", (RULES / "rollbackd.yml").read_text()))
    assert asked
    assert asked <= exposed
