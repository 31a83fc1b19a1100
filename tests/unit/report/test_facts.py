from dataclasses import replace
from datetime import timedelta

import pytest

from rollbackd.model.attempt import AttemptStatus
from rollbackd.model.decision import Action, CheckVerdict
from rollbackd.model.incident import Outcome
from rollbackd.model.reason import Reason
from rollbackd.report.facts import Facts, PhaseTime
from tests.unit.report.scenes import ALERT, FAILED, HELD, INCIDENT, POLICY, RECOVERED, STEPS, after, attempt, decision, look


def verified(facts: Facts) -> dict[str, CheckVerdict]:
    return {line.name: line.verdict for line in facts.verifications}


def details(facts: Facts, name: str) -> tuple[str, ...]:
    return next(line.details for line in facts.verifications if line.name == name)


def spent(facts: Facts) -> dict[str, float | None]:
    return {phase.name: phase.spent.total_seconds() if phase.spent is not None else None for phase in facts.phases}


class TestTimeSpent:
    def test_of_a_rollback_that_ran_by_itself(self) -> None:
        assert spent(RECOVERED) == {"assess": 0.25, "plan": 0.05, "execute": 45.7, "verify": 270, "notify": 1.5}

    def test_of_one_that_waited_for_a_person(self) -> None:
        assert spent(FAILED) == {"assess": 0.25, "plan": 419.75, "execute": 31, "verify": None, "notify": None}

    def test_of_a_proposal_that_was_judged_again_meanwhile(self) -> None:
        again = replace(FAILED, incident=replace(FAILED.incident, decided_at=after(400)))

        assert spent(again)["assess"] == 0.3

    def test_of_one_that_is_still_judged(self) -> None:
        assert spent(Facts(incident=INCIDENT, policy=POLICY, made_at=after(1))) == dict.fromkeys(
            ("assess", "plan", "execute", "verify", "notify")
        )

    def test_a_clock_that_was_set_back_gives_no_negative_time(self) -> None:
        assert spent(replace(RECOVERED, incident=replace(RECOVERED.incident, closed_at=after(40))))["verify"] == 0

    @pytest.mark.parametrize(("seconds", "over"), [(600, False), (601, True)])
    def test_over_budget_is_more_than_the_budget(self, seconds: int, *, over: bool) -> None:
        phase = PhaseTime(name="execute", budget=timedelta(minutes=10), spent=timedelta(seconds=seconds))

        assert phase.is_over_budget is over


class TestFunctionalVerification:
    def test_passed_when_every_check_of_the_runbook_did(self) -> None:
        assert verified(RECOVERED)["functional"] is CheckVerdict.PASSED

    def test_failed_when_one_did_not(self) -> None:
        facts = replace(RECOVERED, attempts=(*RECOVERED.attempts[:2], attempt(2, 45, 46, AttemptStatus.TIMED_OUT, detail="2 of 3 hold")))

        assert verified(facts)["functional"] is CheckVerdict.FAILED
        assert details(facts, "functional") == ("technical checks: 2 of 3 hold",)

    def test_the_last_try_counts(self) -> None:
        first = attempt(2, 45, 46, AttemptStatus.FAILED)
        second = attempt(2, 47, 48, AttemptStatus.SUCCEEDED, number=2)

        assert verified(replace(RECOVERED, attempts=(*RECOVERED.attempts[:2], first, second)))["functional"] is CheckVerdict.PASSED

    @pytest.mark.parametrize("status", [AttemptStatus.UNCERTAIN, AttemptStatus.INTERRUPTED, AttemptStatus.STARTED])
    def test_unknown_is_not_passed(self, status: AttemptStatus) -> None:
        facts = replace(RECOVERED, attempts=(*RECOVERED.attempts[:2], attempt(2, 45, 46, status)))

        assert verified(facts)["functional"] is CheckVerdict.UNKNOWN

    def test_a_check_that_was_not_reached_is_unknown(self) -> None:
        assert verified(replace(RECOVERED, attempts=RECOVERED.attempts[:2]))["functional"] is CheckVerdict.UNKNOWN

    def test_no_check_that_was_reached_is_not_evaluated(self) -> None:
        assert verified(FAILED)["functional"] is CheckVerdict.NOT_EVALUATED

    def test_a_runbook_without_checks_verifies_nothing(self) -> None:
        assert POLICY.runbook is not None
        only_run = replace(POLICY, runbook=replace(POLICY.runbook, steps=STEPS[:1]))

        assert verified(replace(RECOVERED, policy=only_run))["functional"] is CheckVerdict.NOT_APPLICABLE
        assert verified(replace(RECOVERED, policy=replace(POLICY, runbook=None)))["functional"] is CheckVerdict.NOT_APPLICABLE


class TestPerformanceAndMonitoring:
    def test_pass_by_the_last_look(self) -> None:
        assert verified(RECOVERED)["performance"] is CheckVerdict.PASSED
        assert verified(RECOVERED)["monitoring"] is CheckVerdict.PASSED

    def test_fail_by_the_last_look(self) -> None:
        facts = replace(RECOVERED, looks=(look(121, 0.001, 100), look(136, 0.02, None)))

        assert verified(facts)["performance"] is CheckVerdict.FAILED
        assert verified(facts)["monitoring"] is CheckVerdict.FAILED
        assert details(facts, "performance") == ("error_rate", "response_time_p95")

    def test_an_unknown_objective_is_not_passed(self) -> None:
        facts = replace(RECOVERED, looks=(look(121, 0.001, None),))

        assert verified(facts)["performance"] is CheckVerdict.UNKNOWN
        assert details(facts, "performance") == ("response_time_p95",)

    def test_without_a_look_nothing_was_checked(self) -> None:
        assert verified(HELD) == dict.fromkeys(("functional", "performance", "security", "monitoring"), CheckVerdict.NOT_EVALUATED)

    def test_an_alert_that_is_not_resolved_leaves_monitoring_unknown(self) -> None:
        facts = replace(RECOVERED, alerts=(ALERT,))

        assert verified(facts)["monitoring"] is CheckVerdict.UNKNOWN
        assert details(facts, "monitoring") == ("HighErrorRate",)

    def test_a_resolved_that_came_before_its_firing_is_still_the_newer(self) -> None:
        at_once = tuple(replace(each, received_at=ALERT.received_at) for each in RECOVERED.alerts)

        assert replace(RECOVERED, alerts=at_once[::-1]).still_firing == ()

    def test_security_is_never_claimed(self) -> None:
        assert verified(RECOVERED)["security"] is CheckVerdict.NOT_EVALUATED


class TestImpact:
    def test_ends_with_the_first_look_after_which_nothing_was_breached(self) -> None:
        assert RECOVERED.impact_ended_at == after(136)

    def test_is_not_known_to_have_ended_when_the_last_look_says_otherwise(self) -> None:
        assert replace(RECOVERED, looks=(*RECOVERED.looks, look(400, 0.5, 1))).impact_ended_at is None

    @pytest.mark.parametrize("outcome", [Outcome.NO_EFFECT, Outcome.UNVERIFIED, Outcome.FAILED, None])
    def test_is_not_known_to_have_ended_without_a_good_outcome(self, outcome: Outcome | None) -> None:
        assert replace(RECOVERED, incident=replace(RECOVERED.incident, outcome=outcome)).impact_ended_at is None


class TestTheCheckThatDecided:
    def test_is_the_one_with_the_reason_of_the_decision(self) -> None:
        check = HELD.deciding_check

        assert check is not None
        assert check.reason is Reason.BREACH_PREDATES_RELEASE

    def test_is_none_when_nothing_stood_in_the_way(self) -> None:
        assert RECOVERED.deciding_check is None
        assert Facts(incident=INCIDENT, policy=POLICY, made_at=after(0)).deciding_check is None

    def test_is_the_first_in_the_way_when_the_reason_names_none(self) -> None:
        facts = replace(HELD, decision=decision(Action.HOLD, Reason.INCONCLUSIVE, predates=True))

        assert facts.deciding_check is not None
        assert facts.deciding_check.name == "onset after the release"


def test_the_watch_is_told_line_by_line() -> None:
    lines = {(line.kind, line.name): (line.first, line.last, line.good, line.looks, line.verdict) for line in RECOVERED.watch_lines}

    assert lines == {
        ("objective", "error_rate"): (0.02, 0.0012, 13, 14, CheckVerdict.PASSED),
        ("objective", "response_time_p95"): (180.0, 120.0, 14, 14, CheckVerdict.PASSED),
        ("trigger", "HighErrorRate"): (0.02, 0.0012, 13, 14, CheckVerdict.PASSED),
    }


def test_a_rollback_that_failed_ended_when_it_was_closed() -> None:
    assert (FAILED.ended_at, RECOVERED.ended_at, HELD.ended_at) == (after(451), after(46), None)
