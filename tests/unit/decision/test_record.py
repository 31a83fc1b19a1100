from datetime import timedelta

import pytest

from rollbackd.decision.decide import decide
from rollbackd.decision.follow import Follow, follow
from rollbackd.decision.record import span, unrouted
from rollbackd.model.decision import Action, Case, Check, CheckVerdict, History, PauseFacts, RunningVersion
from rollbackd.model.reason import Reason
from tests.unit.decision.builders import (
    HOUR,
    MINUTE,
    NOW,
    V2,
    alert_facts,
    case_of,
    error_trigger,
    evidence_for,
    relative_trigger,
    service_policy,
    slow_trigger,
)

ORDER = (
    "stale_alert",
    "trigger HighErrorRate",
    "releases",
    "no_recent_release",
    "breach_predates_release",
    "old_version_as_bad",
    "localised",
    "recurrent",
    "dependency_first",
    "paused",
    "step_running",
    "cooldown",
    "budget",
    "rollback_of_rollback",
    "freeze",
    "fleet_brake",
    "release_in_progress",
    "settling",
    "no_room",
    "target",
    "running_version",
    "answers",
    "side_by_side",
    "onset",
    "before_and_after",
    "healthy_before",
    "soon_after",
    "no_surge",
    "no_dependency",
    "no_nearer_change",
)


def line(case: Case, name: str) -> Check:
    return next(check for check in decide(case, NOW).checks if check.name == name)


@pytest.mark.parametrize("story", ["B9", "H9", "U9", "B20", "U20 B9", "B260"])
def test_every_check_is_recorded_in_the_same_order_whatever_decides(story: str) -> None:
    case = case_of(story, pause=PauseFacts(paused=True), history=History(step_running=True))
    assert tuple(check.name for check in decide(case, NOW).checks) == ORDER


def test_nothing_is_left_blank_for_the_reader() -> None:
    for check in decide(case_of(releases=[]), NOW).checks:
        assert check.value, check


def test_the_trigger_line_tells_counts_share_and_limit() -> None:
    check = line(case_of({"HighErrorRate": evidence_for(error_trigger(), "B9", bad=149.3)}), "trigger HighErrorRate")
    assert check.value == "0.02 now; 12.4 % of 1,204 requests over 2 min; breached in 9 of 9 measurements"
    assert check.limit == "> 0.01; at least 50 requests; now and in 8 of 9 measurements over 2 min"
    assert check.query == "bad / total"
    assert check.sample_time == NOW - timedelta(seconds=3)


def test_a_relative_limit_is_told_with_its_baseline() -> None:
    trigger = relative_trigger()
    evidence = evidence_for(slow_trigger(), "B9")
    check = line(case_of({"SlowResponse": evidence}, policy=service_policy(trigger)), "trigger SlowResponse")
    assert check.limit is not None
    assert check.limit.startswith("> 3x the baseline of 250, that is 750;")


@pytest.mark.parametrize(
    ("name", "case", "value", "limit"),
    [
        (
            "cooldown",
            case_of(history=History(last_rollback_completed_at=NOW - 12 * MINUTE)),
            "last rollback ended 12 min ago",
            "1 h; lets go at 2026-01-31 03:48:00 UTC or when a person acknowledges it",
        ),
        (
            "paused",
            case_of(pause=PauseFacts(paused=True, scope="global", until=NOW + HOUR, why="game day")),
            "paused (global): game day",
            "lets go at 2026-01-31 04:00:00 UTC",
        ),
        ("paused", case_of(pause=PauseFacts(paused=True, scope="api")), "paused (api): no reason given", "lets go when a person resumes"),
        (
            "settling",
            case_of(serving_since=NOW - timedelta(seconds=20)),
            "serving for 20 s",
            "30 s after start or take-over; lets go at 2026-01-31 03:00:10 UTC",
        ),
        (
            "stale_alert",
            case_of(alert=alert_facts(starts_at=NOW - HOUR, firing_now=False)),
            "1 h old at its first delivery; does not fire in Prometheus now",
            "over 5 min only while it fires in Prometheus",
        ),
        (
            "breach_predates_release",
            case_of("B20"),
            "v2 started 2 min 15 s after the breach",
            "the breach began at most 20 s before the release",
        ),
        (
            "running_version",
            case_of(running=RunningVersion(answers=frozenset({"v9", "v2"}), reason=None)),
            "runs v2, v9",
            "every instance runs v2 (image:v2)",
        ),
        ("target", case_of(releases=[V2]), "0 recorded before v2, none of them live, trusted, healthy and another artifact", None),
    ],
)
def test_a_guard_says_how_things_stand_and_when_it_lets_go(name: str, case: Case, value: str, limit: str | None) -> None:
    check = line(case, name)
    assert check.value == value
    assert limit in {check.limit, None}


def test_what_a_backtest_cannot_judge_is_recorded_so_and_stands_in_nobodys_way() -> None:
    skipped = frozenset({Reason.PAUSED, Reason.COOLDOWN, Reason.RUNNING_VERSION_CHANGED})
    history = History(last_rollback_completed_at=NOW)
    decision = decide(case_of(pause=PauseFacts(paused=True), history=history, not_evaluated=skipped), NOW)
    assert decision.action is Action.ROLL_BACK
    unjudged = {check.name for check in decision.checks if check.verdict is CheckVerdict.NOT_EVALUATED}
    assert unjudged == {"paused", "cooldown", "running_version"}


def test_a_service_without_a_probe_passes_with_the_check_recorded_so() -> None:
    check = line(case_of(), "running_version")
    assert (check.verdict, check.reason) == (CheckVerdict.NOT_APPLICABLE, Reason.NOT_APPLICABLE)


def test_another_trigger_that_is_not_confirmed_is_recorded_without_standing_in_the_way() -> None:
    policy = service_policy(error_trigger(), slow_trigger())
    evidence = {"HighErrorRate": evidence_for(error_trigger(), "B9"), "SlowResponse": evidence_for(slow_trigger(), "U9")}
    check = line(case_of(evidence, policy=policy), "trigger SlowResponse")
    assert (check.verdict, check.reason) == (CheckVerdict.NOT_APPLICABLE, Reason.NO_SERIES)


@pytest.mark.parametrize("reason", [Reason.NO_SERVICE, Reason.AMBIGUOUS_SERVICE])
def test_an_alert_that_belongs_nowhere_is_held_on_record(reason: Reason) -> None:
    decision = unrouted(reason, NOW, "matches api and admin")
    assert (decision.action, decision.reason, follow(decision)) == (Action.HOLD, reason, Follow.CLOSE_HELD)
    assert decision.checks[0].value == "matches api and admin"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (45, "45 s"),
        (-45, "45 s"),
        (60, "1 min"),
        (135, "2 min 15 s"),
        (3900, "1 h 5 min"),
        (3661, "1 h 1 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_span(seconds: int, words: str) -> None:
    assert span(timedelta(seconds=seconds)) == words
