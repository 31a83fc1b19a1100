"""The exact commands of a rollback, and what its digest is bound to."""

from dataclasses import replace
from datetime import timedelta

import pytest

from rollbackd.action import plan
from rollbackd.clock import parse_rfc3339
from rollbackd.errors import MisconfiguredError, RefusedError
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, Release
from rollbackd.model.runbook import CredentialRef, Probe, Run, RunAsk, Runbook, RunbookKind, Step, Wait
from tests.fakes.policies import service

POLICY = replace(service("api"), vars={"region": "fra"})
ARGV = ("deploy", "--app", "${service.name}", "--image", "${target.artifact}", "--region=${vars.region}", "--key", "${incident.id}")
STEP = Step(
    name="deploy",
    action=Run(argv=ARGV, env={"FROM": "${current.version}", "TOKEN": CredentialRef("TOKEN")}),
    timeout=timedelta(minutes=5),
    probe=Probe(ask=RunAsk(argv=("status", "${service.name}")), equals="${target.artifact}"),
)
RUNBOOK = Runbook(name="quick", kind=RunbookKind.QUICK, budget=timedelta(minutes=10), steps=(STEP,))


def release(version: str, *, artifact: str | None = None, of: str = "api", mark: Mark = Mark.NONE) -> Release:
    started_at = parse_rfc3339("2026-01-01T00:00:00Z")
    return Release(service=of, version=version, artifact=artifact or f"img:{version}", started_at=started_at, mark=mark)


def test_everything_is_filled_but_the_incident() -> None:
    made = plan.make(POLICY, RUNBOOK, current=release("v2"), target=release("v1"))
    (step,) = made.steps
    assert step.action == Run(
        argv=("deploy", "--app", "api", "--image", "img:v1", "--region=fra", "--key", "${incident.id}"),
        env={"FROM": "v2", "TOKEN": CredentialRef("TOKEN")},
    )
    assert step.probe == Probe(ask=RunAsk(argv=("status", "api"), env={}), equals="img:v1")
    assert (made.current_version, made.target_artifact, made.budget) == ("v2", "img:v1", timedelta(minutes=10))


def test_the_same_plan_has_the_same_digest_and_any_other_another() -> None:
    def digest(
        runbook: Runbook = RUNBOOK, *, current: str = "v2", target: str = "v1", artifact: str | None = None, region: str = "fra"
    ) -> str:
        policy = replace(POLICY, vars={"region": region})
        return plan.make(policy, runbook, current=release(current), target=release(target, artifact=artifact)).digest

    def changed(step: Step) -> Runbook:
        return replace(RUNBOOK, steps=(step,))

    action = Run(argv=ARGV, env={"TOKEN": CredentialRef("TOKEN"), "FROM": "${current.version}"})
    assert digest(changed(replace(STEP, action=action))) == digest()  # the order of an environment means nothing
    others = [
        digest(current="v3"),
        digest(target="v0"),
        digest(artifact="img:other"),
        digest(region="ams"),
        digest(replace(RUNBOOK, name="other")),
        digest(changed(replace(STEP, timeout=timedelta(minutes=6)))),
        digest(changed(replace(STEP, idempotent=True))),
        digest(changed(replace(STEP, action=Run(argv=ARGV, env={"TOKEN": "TOKEN", "FROM": "${current.version}"})))),
        digest(changed(replace(STEP, action=Wait(until=Probe(ask=RunAsk(argv=ARGV)))))),
        digest(changed(replace(STEP, action=Run(argv=(*ARGV[:-2], " ".join(ARGV[-2:])))))),
    ]
    assert len({digest(), *others}) == 1 + len(others)


def test_without_a_recorded_current_release_a_runbook_that_needs_it_is_refused() -> None:
    with pytest.raises(RefusedError) as refused:
        plan.make(POLICY, RUNBOOK, current=None, target=release("v1"))
    assert refused.value.reason == Reason.RUNNING_VERSION_UNKNOWN
    runbook = replace(RUNBOOK, steps=(replace(STEP, action=Run(argv=ARGV)),))
    assert plan.make(POLICY, runbook, current=None, target=release("v1")).current_version is None


@pytest.mark.parametrize(
    "target",
    [
        release("v1", mark=Mark.BAD),
        release("v3", artifact="img:v2"),  # what runs, under another name
        release("v1", of="admin"),
        release("--config=/tmp/x"),
        release("v1", artifact="img;reboot"),
        release("v1", artifact="img:v1\n"),
    ],
)
def test_a_bad_target_never_becomes_a_command(target: Release) -> None:
    with pytest.raises(RefusedError) as refused:
        plan.make(POLICY, RUNBOOK, current=release("v2"), target=target)
    assert refused.value.reason == Reason.BAD_TARGET


def test_a_runbook_that_is_no_rollback_may_serve_what_runs() -> None:
    restart = replace(RUNBOOK, kind=RunbookKind.EMERGENCY)
    assert plan.make(POLICY, restart, current=release("v2"), target=release("v2", mark=Mark.BAD)).target_version == "v2"


def test_an_unknown_placeholder_is_an_error_of_the_config() -> None:
    with pytest.raises(MisconfiguredError):
        plan.make(
            POLICY, replace(RUNBOOK, steps=(replace(STEP, action=Run(argv=("x", "${labels.pod}"))),)), current=None, target=release("v1")
        )
