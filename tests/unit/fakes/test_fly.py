"""The stand-in refuses what flyctl refuses; otherwise a runbook with a wrong command would pass its test."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.flyctl import Fly

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
V1, V2 = "registry.fly.io/shop-api:v1", "registry.fly.io/shop-api:v2"


@pytest.fixture
def fly(tmp_path: Path) -> Fly:
    fly = Fly(tmp_path)
    fly.add_release("shop-api", V1, at=AT)
    fly.add_release("shop-api", V2, at=AT)
    return fly


def run(fly: Fly, *argv: str, token: str = "token") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "FLY_API_TOKEN": token}
    return subprocess.run([fly.program, *argv], env=environment, capture_output=True, text=True, timeout=10, check=False)


def answer(fly: Fly, *argv: str) -> Any:
    done = run(fly, *argv)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_releases_are_newest_first_with_the_documented_keys(fly: Fly) -> None:
    assert answer(fly, "releases", "--app", "shop-api", "--json") == [
        {"Version": 2, "Status": "complete", "ImageRef": V2, "CreatedAt": "2026-01-31T12:00:00.000Z"},
        {"Version": 1, "Status": "complete", "ImageRef": V1, "CreatedAt": "2026-01-31T12:00:00.000Z"},
    ]


def test_at_most_25_releases_are_listed(fly: Fly) -> None:
    for _ in range(30):
        fly.add_release("shop-api", V2, at=AT)
    listed = answer(fly, "releases", "-a", "shop-api", "-j")
    assert [release["Version"] for release in listed] == list(range(32, 7, -1))


def test_deploy_is_a_new_release_on_every_machine(fly: Fly) -> None:
    argv = ["deploy", "--app", "shop-api", "--image", V1, "--yes"]
    assert run(fly, *argv).returncode == 0
    status = answer(fly, "status", "--app", "shop-api", "--json")
    assert [machine["config"]["image"] for machine in status["Machines"]] == [V1, V1]
    assert fly.running("shop-api") == {V1}
    newest = answer(fly, "releases", "--app", "shop-api", "--json")[0]
    assert (newest["Version"], newest["Status"], newest["ImageRef"]) == (3, "complete", V1)
    assert fly.effects() == [argv]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["rollback", "--app", "shop-api"], 'unknown command "rollback"'),
        (["deploy", "--app", "shop-api", "--image", V1, "--yes", "--previous"], "unknown flag: --previous"),
        (["deploy", "--app", "shop-api", "--image", V1], "yes flag must be specified"),
        (["deploy", "--app", "shop-api", "--yes"], "does not have a Dockerfile"),
        (["deploy", "--image", V1, "--yes"], "missing an app name"),
        (["deploy", "--app"], "flag needs an argument"),
        (["deploy", "--app", "shop-api", "--image", "$(touch x)", "--yes"], "invalid argument"),
        (["status", "--app", "no-such-app", "--json"], "Could not find App"),
        (["status", "shop-api", "--json"], 'unknown command "shop-api" for "flyctl status"'),
    ],
)
def test_what_flyctl_does_not_know_is_an_error_without_effect(fly: Fly, argv: list[str], said: str) -> None:
    done = run(fly, *argv)
    assert done.returncode == 1
    assert said in done.stderr
    assert fly.effects() == []
    assert fly.running("shop-api") == {V2}


def test_the_token_is_needed_and_must_be_the_apps_own(fly: Fly) -> None:
    fly.require_token("shop-api", "right")
    assert "no access token" in run(fly, "status", "--app", "shop-api", "--json", token="").stderr
    assert "Not authorized" in run(fly, "status", "--app", "shop-api", "--json", token="wrong").stderr
    assert run(fly, "status", "--app", "shop-api", "--json", token="right").returncode == 0


def test_it_fails_before_the_effect_when_told(fly: Fly) -> None:
    fly.fail("deploy", "the registry does not answer")
    done = run(fly, "deploy", "--app", "shop-api", "--image", V1, "--yes")
    assert (done.returncode, done.stderr) == (1, "Error: the registry does not answer\n")
    assert (fly.effects(), fly.running("shop-api")) == ([], {V2})


def test_it_fails_after_the_effect_when_told(fly: Fly) -> None:
    fly.fail("deploy", "502 Bad Gateway", after_effect=True)
    done = run(fly, "deploy", "--app", "shop-api", "--image", V1, "--yes")
    assert (done.returncode, done.stderr) == (1, "Error: 502 Bad Gateway\n")
    assert (len(fly.effects()), fly.running("shop-api")) == (1, {V1})
