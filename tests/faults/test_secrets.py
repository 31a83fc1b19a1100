"""Row 67: a canary in every place where a secret may live, and in nothing that comes out (I13).

One long story at log level debug: a rollback that recovers, one that fails, a bug with its traceback, a Prometheus that refuses. A tool
says all that it was given, as it is and in every form that a redaction could miss, and what stands in the secret files beside it.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from rollbackd.cli import main
from rollbackd.clock import SystemClock, rfc3339
from tests.faults.story import Heard, StoryWorld
from tests.flow.world import SERVICE

OTHER: Final = "shop-web"
DAY: Final = timedelta(days=1)
CANARIES: Final = {
    "operator.token": "canary-of-the-operator/7f3a+x=",
    "ingest.token": "canary-of-ingest/7f3a+x=",
    "viewer.token": "canary-of-the-viewer/7f3a+x=",
    "ci.token": "canary-of-ci/7f3a+x=",
    "prometheus.token": "canary-of-prometheus/7f3a+x=",
    "key": 'canary-of-the-credential "quoted" 7f3a/+é',
    "other.key": "canary-of-the-other-credential-7f3a",
    "header": "canary-of-a-header-7f3a",
    "dsn": "cafe7f3acafe7f3acafe7f3acafe7f3a",
    "pem": "-----BEGIN KEY-----\nY2FuYXJ5LW9mLWEta2V5\nY2FuYXJ5LW9mLWEta2V6\n-----END KEY-----",
}
FRAGMENTS: Final = ("canary-of", "cafe7f3a", "Y2FuYXJ5LW9mLWEta2V", "canary%2Dof")

_LEAKY: Final = """#!{python} -IS
import json, os, sys, urllib.parse
where = {directory!r}
with open(where + "/dump.jsonl", "a") as file:
    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
known = [value for name, value in os.environ.items() if name.startswith("KEY")]
known += [open(where + "/" + name).read().strip() for name in {files!r}]
for value in known:
    for stream in (sys.stdout, sys.stderr):
        forms = [value, urllib.parse.quote(value, safe=""), json.dumps(value), json.dumps({{"token": value}}, ensure_ascii=False)]
        forms += ["\\x1b[31m" + value[:9] + "\\x1b[0m" + value[9:], "\\u200b".join(value), value.replace("\\n", "\\r\\n"), "x" + value * 2]
        print(*forms, *value.splitlines(), sep="\\n", file=stream)
sys.exit(3 if os.path.exists(where + "/break") else 0)
"""


class SecretWorld(StoryWorld):
    dsn_key = CANARIES["dsn"]

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory,
            credentials={"KEY": {"file": "key"}, "KEY_PEM": {"file": "pem"}},
            others={
                OTHER: {"mode": "auto", "runbook": "shop-quick", "credentials": {"KEY": {"file": "other.key"}, "KEY_PEM": {"file": "pem"}}}
            },
        )
        self.token = CANARIES["operator.token"]
        self.environment = {"ROLLBACKD_LOG_LEVEL": "debug"}
        for name, text in CANARIES.items():
            self.secret(name, text)

    def _write_tool(self) -> None:
        files = [name for name in CANARIES if name.endswith(".token") or name == "header"]
        self.dump.write_text(_LEAKY.format(python=sys.executable, directory=str(self.directory), files=files))

    async def start(self) -> None:
        self._write_tool()
        await super().start()

    def configured(self, config: dict[str, Any]) -> dict[str, Any]:
        config = super().configured(config)
        (self.directory / "ingest.token").write_text(self.token + "-ingest")  # as the world sends it
        people = [*config["auth"]["people"]]
        people += [{"name": role, "role": role, "token_file": f"{role}.token"} for role in ("viewer", "ci")]
        config["auth"]["people"] = people
        config["prometheus"] |= {"token_file": "prometheus.token", "headers": {"X-Api-Key": CANARIES["header"], "X-Scope-OrgID": "shop"}}
        return config

    def runbook(self) -> Mapping[str, Any]:
        made = super().runbook()
        env = {"KEY": {"credential": "KEY"}, "KEY_PEM": {"credential": "KEY_PEM"}}
        return {**made, "steps": [*made["steps"], {"name": "tell", "run": [str(self.dump)], "timeout": "10s", "env": env}]}


async def tell(directory: Path) -> Heard:
    async with SecretWorld(directory) as world:
        heard = world.heard
        for name, number in (("v0", 2), ("v1", 1)):
            await world.recorded(name, ago=number * DAY)
            at = rfc3339(SystemClock().now() - number * DAY)
            await world.post("/api/v1/releases", {"service": OTHER, "version": name, "started_at": at})
        await world.release("v2")
        await world.alert()
        first = await world.closed()
        await world.post(f"/api/v1/incidents/{first['id']}/acknowledge", {"reason": f"my token is {world.token}"}, expect=200)
        with world.told("break"):
            await world.post(f"/api/v1/services/{SERVICE}/rollback", {"to": "v0", "reason": "it fails"}, expect=202)
            await world.closed(nth=2)
        await world.post(f"/api/v1/services/{OTHER}/rollback", {"to": "v0", "reason": "another service"}, expect=202)
        await world.closed(nth=3)
        for name, token in CANARIES.items():
            await world.ask(f"a wrong token {name}", "GET", "/api/v1/status", token="x" + token.splitlines()[0].replace("é", ""))
            await world.ask(f"the token of {name}", "POST", "/api/v1/pause", {}, token=token.splitlines()[0].replace("é", ""))
        await world.stop()

        world.failpoint = "attempt.after_exit:raise"
        await world.start()
        await world.post(f"/api/v1/services/{SERVICE}/rollback", {"to": "v1", "reason": "it crashes"}, expect=202)
        await world.logged("incident_stuck")
        await world.stop()
        world.failpoint = ""
        await world.start()
        assert world.process is not None
        heard.texts["the environment of the daemon"] = Path(f"/proc/{world.process.pid}/environ").read_text()  # noqa: ASYNC240
        await world.closed(nth=4)
        for pattern, status in ((".", 401), ("code", 500), ("max", 301)):
            world.prometheus.fail(pattern, status, "no", headers={"Location": f"http://127.0.0.1:1/{CANARIES['header']}"})
            assert await world.ask(f"doctor {status}", "GET", "/api/v1/doctor") == 200
        await world.alert(alertname="HighErrorRate")
        left = await world.reached("escalated", "closed", nth=5)
        if left["phase"] != "closed":
            await world.post(f"/api/v1/incidents/{left['id']}/abort", {"reason": "enough"})
        await world.hear()
        for each in (["check"], ["check", "--live"], ["check", "--json"], ["config", "show", "--effective", "--config"]):
            heard.texts[f"rollbackd {' '.join(each)}"] = (await world.cli(*each, str(directory / "rollbackd.yaml"))).output
    return heard


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Heard, Path]:
    directory = tmp_path_factory.mktemp("secrets")
    return asyncio.run(tell(directory)), directory


def canaries_in(text: str) -> set[str]:
    """What of a canary stands there, also with what is not seen between its letters."""
    return {each for each in FRAGMENTS if each in "".join(filter(str.isprintable, text))}


@pytest.mark.nightly
def test_row_67_the_story_came_to_its_ends(told: tuple[Heard, Path]) -> None:
    heard, _ = told
    newest, crashed, other, failed, recovered = heard.incidents
    assert [one["outcome"] for one in (recovered, failed, crashed)] == ["recovered", "failed", recovered["outcome"]]
    assert other["service"] == OTHER
    assert newest["reason"] is not None
    assert all("[redacted]" in one["attempts"][-1]["output"] for one in (recovered, failed, other))
    assert "FailpointError" in heard.texts["the log"]
    assert '"level": "debug"' in heard.texts["the log"]
    assert "check its token_file" in heard.texts["doctor 401"]


@pytest.mark.nightly
def test_row_67_no_secret_is_in_anything_that_came_out(told: tuple[Heard, Path]) -> None:
    heard, _ = told
    everything = {**heard.texts, **heard.pages, **heard.reports}
    assert len(everything) > 80
    assert {name: canaries_in(text) for name, text in everything.items() if canaries_in(text)} == {}


@pytest.mark.nightly
def test_row_67_no_secret_was_sent_to_sentry(told: tuple[Heard, Path]) -> None:
    """But for the header with which a client says whose project it is."""
    heard, _ = told
    assert heard.envelopes
    assert not [body for body in heard.envelopes if canaries_in(body.decode())]


@pytest.mark.nightly
def test_row_67_outputs_are_redacted_before_they_are_stored(told: tuple[Heard, Path]) -> None:
    _, directory = told
    kept = [path for path in (directory / "state").rglob("*") if path.is_file()]
    assert {path.name for path in kept} >= {"rollbackd.db"}
    said_by_a_person = f"my token is {CANARIES['operator.token']}".encode()
    for path in kept:
        content = path.read_bytes()
        if path.suffix not in {".md", ".json"}:
            content = content.replace(said_by_a_person, b"")  # kept as it was said, and taken out of everything that shows it
        assert not canaries_in(content.decode(errors="replace")), path


@pytest.mark.nightly
def test_row_67_a_step_sees_its_own_credentials_and_no_others(told: tuple[Heard, Path]) -> None:
    heard, _ = told
    assert len(heard.environments) >= 4
    for environment in heard.environments:
        own = {CANARIES["key"], CANARIES["pem"]} if environment["KEY"] == CANARIES["key"] else {CANARIES["other.key"], CANARIES["pem"]}
        assert {environment.pop("KEY"), environment.pop("KEY_PEM")} == own
        assert not canaries_in(json.dumps(environment))
    assert {tuple(argv) for argv in heard.argv} == {()}


@pytest.mark.nightly
def test_row_67_state_is_its_owners_alone(told: tuple[Heard, Path]) -> None:
    _, directory = told
    for path in (directory / "state").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


CANARY: Final = "canary-of-a-config"


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": f"http://me:{CANARY}@127.0.0.1:9090"},
        {"url": f"http://me:{CANARY}@127.0.0.1:99999/ x"},
        {"url": f"me:{CANARY}@127.0.0.1"},
        {"url": f"ftp://{CANARY}@127.0.0.1"},
        {"url": "http://127.0.0.1:9090", "headers": {"X-Api-Key": f"{CANARY}\nx"}},
        {"url": "http://127.0.0.1:9090", "headers": {"X-Api-Key": [CANARY]}},
        {"url": "http://127.0.0.1:9090", "headers": {"X-Api-Key": {CANARY: CANARY}}},
        {"url": "http://127.0.0.1:9090", "token_file": "two-lines"},
        {"url": "http://127.0.0.1:9090", "token_file": "three-tokens"},
    ],
    ids=str,
)
def test_row_67_a_config_that_cannot_be_used_is_told_without_its_secrets(tmp_path: Path, wrong: Mapping[str, Any]) -> None:
    (tmp_path / "two-lines").write_text(f"{CANARY} and more\n")
    (tmp_path / "three-tokens").write_text(f"{CANARY}1\n{CANARY}2\n{CANARY}3\n")
    path = tmp_path / "rollbackd.yaml"
    path.write_text(json.dumps({"prometheus": wrong, "services": {"shop": {}}}))
    for command in (["check", str(path)], ["check", str(path), "--json"], ["serve", "--config", str(path)]):
        result = CliRunner().invoke(main, command)
        assert (result.exit_code, result.output.count("rollbackd.yaml") > 0) == (2, True)
        assert CANARY not in result.output


def test_row_67_a_key_that_cannot_be_used_is_not_told(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text(f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n")
    path = tmp_path / "rollbackd.yaml"
    config = {
        "server": {"listen": "127.0.0.1:0", "tls": {"cert_file": "cert.pem", "key_file": "key.pem"}},
        "prometheus": {"url": "http://127.0.0.1:1"},
        "store": {"url": f"sqlite:///{tmp_path / 'state' / 'rollbackd.db'}"},
        "services": {"shop": {}},
    }
    path.write_text(json.dumps(config))
    run = subprocess.run(
        [sys.executable, "-m", "rollbackd", "serve", "--config", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode != 0
    assert CANARY not in run.stdout + run.stderr
