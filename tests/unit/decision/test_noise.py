"""What a few requests say is noise: it lets no guilty release go, as it would not have confirmed a trigger either."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollbackd.decision.compare import Limits, Stretch, compare
from rollbackd.decision.decide import decide
from rollbackd.model.decision import Action, Case, CheckVerdict, Decision, Dependency
from rollbackd.model.measurement import IndicatorEvidence, Reading
from rollbackd.model.reason import Reason
from tests.unit.decision.builders import (
    HOUR,
    MINUTE,
    NOW,
    STEP,
    V2,
    case_of,
    error_trigger,
    evidence_for,
    release,
    service_policy,
    slow_trigger,
)

DAY = timedelta(days=1)
V1 = release("v1", ago=30 * DAY)
SLOW = slow_trigger()


def errors(bad: float, total: float, *, now: datetime = NOW, back: timedelta = 2 * MINUTE) -> IndicatorEvidence:
    """The same counts in the window of every step."""
    moments = [now - k * STEP for k in range(back // STEP, -1, -1)]
    return IndicatorEvidence(
        indicator="error_rate", query="q", step=STEP, readings=tuple(Reading(at, bad / total, bad=bad, total=total) for at in moments)
    )


def latency(value: float, requests: float, *, now: datetime = NOW, back: timedelta = 2 * MINUTE) -> IndicatorEvidence:
    moments = [now - k * STEP for k in range(back // STEP, -1, -1)]
    return IndicatorEvidence(
        indicator="response_time_p95", query="q", step=STEP, readings=tuple(Reading(at, value, total=requests) for at in moments)
    )


def told(case: Case, **context: Any) -> Decision:
    assert case.context is not None
    return decide(replace(case, context=replace(case.context, **context)), NOW)


def check(decision: Decision, name: str) -> tuple[CheckVerdict, str]:
    return next((one.verdict, one.value or "") for one in decision.checks if one.name == name)


class TestTheOldVersion:
    """While the last of its instances drain, what they still answer is little, and often an error."""

    @pytest.mark.parametrize(("bad", "total"), [(1, 1), (1, 2), (3, 3)])
    def test_a_request_or_two_that_failed_say_nothing_of_it(self, bad: float, total: float) -> None:
        case = case_of(policy=service_policy(version_label="version"))
        versions = {"v1": errors(bad, total)}
        decision = told(case, versions=versions, versions_seen=frozenset(versions))
        assert decision.action is Action.ROLL_BACK
        assert check(decision, "old_version_as_bad")[1].startswith("too little to tell of v1 since the breach: ")

    def test_nor_does_a_slow_one(self) -> None:
        policy = service_policy(SLOW, version_label="version")
        case = case_of({"SlowResponse": evidence_for(SLOW, "B9")}, policy=policy)
        assert told(case, versions={"v1": latency(3000, 2)}, versions_seen=frozenset({"v1"})).action is Action.ROLL_BACK
        decision = told(case, versions={"v1": latency(3000, 60)}, versions_seen=frozenset({"v1"}))
        assert decision.reason is Reason.OLD_VERSION_AS_BAD


class TestPlaces:
    POLICY = service_policy(spread=("zone",))

    def of(self, **counts: tuple[float, float]) -> Decision:
        places = {"zone": {zone: errors(*counted) for zone, counted in counts.items()}}
        return told(case_of(policy=self.POLICY), places=places)

    def test_one_in_thirty_fails_everywhere_and_only_one_place_shows_it(self) -> None:
        assert self.of(a=(2, 10), b=(0, 10), c=(0, 6), d=(1, 30)).action is Action.ROLL_BACK

    def test_a_place_without_an_error_among_so_few_is_not_known_to_be_healthy(self) -> None:
        assert self.of(a=(3, 60), b=(0, 2)).action is Action.ROLL_BACK

    def test_the_more_places_the_more_it_takes_to_stand_out(self) -> None:
        """Two of six against none of fifty: one chance in 103, but of a hundred places one would look like that."""
        limits = Limits(breach=0.01, clear=0.005, upward=True)
        found = compare(Stretch(bad=2, total=6), Stretch(bad=0, total=50), limits)
        assert found is not None
        assert found.p == pytest.approx(15 / 1540)
        assert (found.worse, found.worse_of(2)) == (True, False)

    def test_one_that_stands_out_is_the_places_fault(self) -> None:
        assert self.of(a=(9, 60), b=(0, 60), c=(0, 60)).reason is Reason.LOCALISED

    def test_so_is_one_that_is_slow(self) -> None:
        policy = service_policy(SLOW, spread=("zone",))
        case = case_of({"SlowResponse": evidence_for(SLOW, "B9")}, policy=policy)
        assert told(case, places={"zone": {"a": latency(3000, 60), "b": latency(200, 60)}}).reason is Reason.LOCALISED
        assert told(case, places={"zone": {"a": latency(3000, 60), "b": latency(900, 60)}}).action is Action.ROLL_BACK


class TestOtherDays:
    @pytest.mark.parametrize("total", [1, 9])
    def test_a_bad_request_of_a_quiet_night_is_no_breach(self, total: float) -> None:
        case = case_of(releases=(V2, V1))
        decision = told(case, earlier={DAY: errors(1, total, now=NOW - DAY)})
        assert decision.action is Action.ROLL_BACK
        assert check(decision, "recurrent")[1] == "1 d ago: not measured"

    def test_enough_of_them_are(self) -> None:
        assert told(case_of(releases=(V2, V1)), earlier={DAY: errors(1, 30, now=NOW - DAY)}).reason is Reason.RECURRENT


class TestDependencies:
    POLICY = service_policy(depends_on=("db",))

    def of(self, evidence: IndicatorEvidence) -> Decision:
        database = Dependency(policy=service_policy(name="db"), evidence={"HighErrorRate": evidence}, releases=())
        return told(case_of(policy=self.POLICY), dependencies={"db": database})

    def test_one_that_nobody_asks_much_does_not_exonerate(self) -> None:
        decision = self.of(errors(1, 2, back=10 * MINUTE))
        assert decision.action is Action.ROLL_BACK
        assert check(decision, "dependency_first")[1].endswith("by too few requests to tell")

    def test_one_that_is_asked_does(self) -> None:
        assert self.of(errors(20, 40, back=10 * MINUTE)).reason is Reason.DEPENDENCY_FIRST

    def test_a_gap_when_our_breach_began_is_no_health(self) -> None:
        """It may have been down just then: that it answers again says nothing about it."""
        evidence = evidence_for(error_trigger(), "U6 H7")
        decision = self.of(evidence)
        assert (decision.reason, check(decision, "no_dependency")) == (
            Reason.INCONCLUSIVE,
            (CheckVerdict.UNKNOWN, "not measured: HighErrorRate of db (no_series)"),
        )
        assert check(decision, "dependency_first")[1] == "db was not measured when the breach began"

    def test_one_that_was_not_looked_at_that_far_back_is_not_known_to_be_healthy(self) -> None:
        assert self.of(errors(0, 600, back=STEP)).reason is Reason.INCONCLUSIVE
        assert self.of(errors(0, 600, back=HOUR)).action is Action.ROLL_BACK
