from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rollbackd.flow.way_back import Known, Running, check_running, check_target
from rollbackd.model.policy import CommandSource
from rollbackd.model.readiness import ReadinessVerdict
from rollbackd.model.release import Mark, Release, ReleaseKind, ReleaseStatus
from rollbackd.model.runbook import Probe, Run, RunAsk, Runbook, RunbookKind, Step
from tests.fakes.policies import service

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
READY, NOT_READY, UNKNOWN, NOT_APPLICABLE = ReadinessVerdict


def deploys(*argv: str) -> Runbook:
    step = Step(name="deploy", action=Run(argv=("deploy", *argv)), timeout=timedelta(minutes=1))
    return Runbook(name="quick", kind=RunbookKind.QUICK, budget=timedelta(minutes=5), steps=(step,))


POLICY = replace(service("api"), runbook=deploys("${target.artifact}"), running_version=Probe(ask=RunAsk(argv=("deploy", "--status"))))
SOURCE = CommandSource(argv=("fly",), items="[]", version="v", artifact=None, started_at="s", status=None, live_when=(), failed_when=())


def release(number: int, **changes: object) -> Release:
    at = NOW - timedelta(days=9 - number)
    plain = Release(service="api", version=f"v{number}", artifact=f"api:{number}", started_at=at, live_at=at)
    return replace(plain, **changes)  # type: ignore[arg-type]


def target(*releases: Release, policy: object = POLICY) -> tuple[ReadinessVerdict, str]:
    check = check_target(policy, Known(releases), NOW)  # type: ignore[arg-type]
    return check.verdict, check.detail


def running(*answers: str, releases: tuple[Release, ...]) -> tuple[ReadinessVerdict, str]:
    check = check_running(POLICY, Known(releases), Running(frozenset(answers)))
    return check.verdict, check.detail


def test_the_newest_release_has_one_to_go_back_to() -> None:
    assert target(release(2), release(1)) == (READY, "v2 would go back to v1 (api:1)")


def test_a_release_that_failed_or_is_still_rolling_could_be_the_suspect() -> None:
    for status in (ReleaseStatus.FAILED, ReleaseStatus.ROLLING):
        assert target(release(2, status=status, live_at=None), release(1))[0] is READY


@pytest.mark.parametrize(
    ("releases", "said"),
    [
        ((), "no release is recorded: record each deploy from CI with 'rollbackd release record'"),
        ((release(1),), "no safe target for v1: 0 recorded before v1"),
        ((release(2), release(1, mark=Mark.BAD)), "no safe target for v2: 1 recorded before v2"),
        ((release(2, irreversible=True), release(1)), "migration barrier for v2: v1 lies behind v2, which is irreversible"),
        ((release(2, artifact="api:1"), release(1)), "config only release for v2"),
    ],
)
def test_without_a_target_it_says_why_and_what_to_do(releases: tuple[Release, ...], said: str) -> None:
    verdict, detail = target(*releases)
    assert verdict is NOT_READY
    assert detail.startswith(said)
    assert "rollbackd release record" in detail


def test_where_the_platform_keeps_the_history_nobody_is_told_to_record_it() -> None:
    verdict, detail = target(release(1), policy=replace(POLICY, releases=SOURCE))
    assert (verdict, "see what the command under 'releases' lists" in detail) == (NOT_READY, True)


def test_a_target_for_which_no_command_can_be_made_is_none() -> None:
    verdict, detail = target(release(2), release(1), policy=replace(POLICY, runbook=deploys("${vars.region}")))
    assert verdict is NOT_READY
    assert detail.startswith("no plan from v2 to v1: ${vars.region} is not a placeholder here")


def test_our_own_rollback_is_not_rolled_back() -> None:
    assert target(release(3, kind=ReleaseKind.ROLLBACK), release(2), release(1))[0] is NOT_APPLICABLE


def test_a_register_that_may_be_out_of_date_is_unknown() -> None:
    known = Known((release(2), release(1)), "the release source of api (fly) timed out")
    assert check_target(POLICY, known, NOW).verdict is UNKNOWN
    assert check_running(POLICY, known, Running(frozenset({"v2"}))).verdict is UNKNOWN


def test_what_only_the_daemon_knows_is_not_asked_without_it() -> None:
    assert check_target(POLICY, None, NOW).verdict is NOT_APPLICABLE
    assert check_running(POLICY, None, Running(frozenset({"v2"}))).verdict is READY
    assert check_running(POLICY, None, Running(problem="no answer")).verdict is UNKNOWN


def test_a_service_that_is_only_observed_needs_no_target() -> None:
    assert target(policy=service("api"))[0] is NOT_APPLICABLE
    assert check_running(service("api"), Known(()), None).verdict is NOT_APPLICABLE


@pytest.mark.parametrize("answers", [("v2",), ("api:2",), ("v2", "api:2")])
def test_what_runs_is_what_is_recorded(answers: tuple[str, ...]) -> None:
    assert running(*answers, releases=(release(2), release(1)))[0] is READY


def test_while_a_release_is_rolling_both_may_run_and_nothing_else() -> None:
    releases = (release(3, status=ReleaseStatus.ROLLING, live_at=None), release(2), release(1))
    assert running("v2", "v3", releases=releases)[0] is READY
    assert running("v1", "v3", releases=releases)[0] is NOT_READY


def test_a_failed_release_leaves_the_one_before_it_running() -> None:
    releases = (release(3, status=ReleaseStatus.FAILED, live_at=None), release(2))
    assert running("v2", releases=releases)[0] is READY
    assert running("v3", releases=releases)[0] is NOT_READY


def test_a_register_that_disagrees_with_what_runs_is_named() -> None:
    verdict, detail = running("v1", releases=(release(2), release(1)))
    assert (verdict, detail.startswith("runs v1, but recorded as newest is v2 (api:2): record each deploy from CI")) == (NOT_READY, True)
    assert running("v1", releases=())[1].startswith("runs v1, but recorded as newest is nothing")


def test_a_probe_that_does_not_answer_is_unknown() -> None:
    check = check_running(POLICY, Known((release(2),)), Running(problem="cannot tell: exit 1"))
    assert (check.verdict, check.detail) == (UNKNOWN, "cannot tell: exit 1: mend the question under 'running_version'")
