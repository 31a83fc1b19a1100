from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollbackd.action.commands import Commands
from rollbackd.action.environment import Environments
from rollbackd.action.needs import check_commands, check_credentials
from rollbackd.action.process import Processes
from rollbackd.model.policy import CommandSource, EmergencyPolicy, SecretRef, ServicePolicy
from rollbackd.model.readiness import ReadinessVerdict
from rollbackd.model.runbook import CredentialRef, EnvironmentValue, HttpAsk, Probe, Run, RunAsk, Runbook, RunbookKind, Step, Verify, Wait
from tests.fakes.policies import service

READY, NOT_READY = ReadinessVerdict.READY, ReadinessVerdict.NOT_READY
SECOND = timedelta(seconds=1)


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(Processes(), Environments({"PATH": str(tmp_path)}, lambda path: Path(path).read_text()), cwd=tmp_path)


def program(directory: Path, name: str, *, mode: int = 0o755) -> Path:
    path = directory / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def asks(command: str) -> Probe:
    return Probe(ask=RunAsk(argv=(command, "--status")), exit_code=0)


def runbook(*steps: Step, kind: RunbookKind = RunbookKind.QUICK) -> Runbook:
    return Runbook(name=f"api-{kind}", kind=kind, budget=60 * SECOND, steps=steps)


def runs(command: str, env: dict[str, EnvironmentValue] | None = None) -> Step:
    return Step(name="deploy", action=Run(argv=(command, "${target.version}"), env=env or {}), timeout=SECOND)


def of(policy: ServicePolicy, commands: Commands) -> dict[str, ReadinessVerdict]:
    return {check.name: check.verdict for check in check_commands(policy, commands)}


def test_every_program_that_a_rollback_starts_is_looked_for(commands: Commands, tmp_path: Path) -> None:
    steps = (
        replace(runs("deploy"), probe=asks("step-probe")),
        Step(name="wait", action=Wait(until=asks("wait")), timeout=SECOND),
        Step(name="verify", action=Verify(checks=(Probe(ask=HttpAsk(url="http://x/"), status=(200,)), asks("verify"))), timeout=SECOND),
    )
    source = CommandSource(
        argv=("source",), items="[]", version="v", artifact=None, started_at="s", status=None, live_when=(), failed_when=()
    )
    policy = replace(
        service("api"),
        runbook=runbook(*steps),
        on_failure=EmergencyPolicy(runbook=runbook(runs("stop"), kind=RunbookKind.EMERGENCY)),
        releases=source,
        running_version=Probe(ask=RunAsk(argv=("running",))),
    )
    names = ("deploy", "step-probe", "wait", "verify", "stop", "source", "running")
    assert of(policy, commands) == {f"command {name}": NOT_READY for name in names}
    abouts = [check.about for check in check_commands(policy, commands)]
    assert abouts[:4] == [
        ("runbook", "steps", 0, "run"),
        ("runbook", "steps", 0, "probe", "run"),
        ("runbook", "steps", 1, "wait", "run"),
        ("runbook", "steps", 2, "verify", 1, "run"),
    ]
    assert abouts[4:] == [("on_failure", "runbook", "steps", 0, "run"), ("releases", "run"), ("running_version", "run")]
    for name in names:
        program(tmp_path, name)
    assert of(policy, commands) == {f"command {name}": READY for name in names}


def test_a_program_is_said_once_with_who_asks_for_it(commands: Commands, tmp_path: Path) -> None:
    policy = replace(service("api"), runbook=runbook(replace(runs("fly"), probe=asks("fly"))), running_version=asks("fly"))
    (missing,) = check_commands(policy, commands)
    assert missing.detail == (
        f"fly: no such command in PATH={tmp_path}: install it, or write its path (asked for by runbook api-quick, step 'deploy' and 2 more)"
    )
    path = program(tmp_path, "fly")
    (found,) = check_commands(policy, commands)
    assert (found.verdict, found.detail) == (READY, str(path))


def test_a_file_that_may_not_be_executed_is_no_program(commands: Commands, tmp_path: Path) -> None:
    path = program(tmp_path, "fly", mode=0o644)
    (refused,) = check_commands(replace(service("api"), runbook=runbook(runs("fly"))), commands)
    assert (refused.verdict, f"{path} may not be executed: chmod +x it" in refused.detail) == (NOT_READY, True)


def test_a_step_looks_in_its_own_path(commands: Commands, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = program(elsewhere, "fly")
    policy = replace(service("api"), runbook=runbook(runs("fly", {"PATH": str(elsewhere)})), running_version=asks("fly"))
    checks = check_commands(policy, commands)
    assert [(check.verdict, check.about[0]) for check in checks] == [(READY, "runbook"), (NOT_READY, "running_version")]
    assert checks[0].detail == str(path)


def test_a_name_of_a_program_may_be_the_services(commands: Commands, tmp_path: Path) -> None:
    program(tmp_path, "deploy-api")
    assert of(replace(service("api"), runbook=runbook(runs("./deploy-${service.name}"))), commands) == {
        "command ./deploy-${service.name}": READY
    }


def test_a_credential_that_the_service_does_not_have(commands: Commands, tmp_path: Path) -> None:
    program(tmp_path, "fly")
    (check,) = check_commands(replace(service("api"), runbook=runbook(runs("fly", {"TOKEN": CredentialRef("TOKEN")}))), commands)
    assert (check.verdict, "TOKEN, which is not a credential of api" in check.detail) == (NOT_READY, True)


def test_credentials_are_there_and_private(tmp_path: Path) -> None:
    for name, mode in (("good", 0o600), ("open", 0o644)):
        (tmp_path / name).write_text("hunter2")
        (tmp_path / name).chmod(mode)
    credentials = {name: SecretRef(file=str(tmp_path / name)) for name in ("good", "open", "missing")}
    checks = check_credentials(replace(service("api"), credentials=credentials))
    assert [(check.name, check.verdict) for check in checks] == [
        ("credential good", READY),
        ("credential open", NOT_READY),
        ("credential missing", NOT_READY),
    ]
    assert "chmod o-rwx it" in checks[1].detail
    assert "cannot be read" in checks[2].detail
    assert checks[1].about == ("credentials", "open", "file")
    assert not any("hunter2" in check.detail for check in checks)
