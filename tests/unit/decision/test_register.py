"""What a register may hold that is odd: releases of the future, several at once, and others than what runs."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollbackd.decision.decide import decide
from rollbackd.decision.wanted import wanted
from rollbackd.model.decision import Action, Case, Decision, RunningVersion
from rollbackd.model.policy import WhileRolling
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release, ReleaseStatus
from tests.unit.decision.builders import HOUR, MINUTE, NOW, V1, V2, case_of, release, service_policy

SECOND = timedelta(seconds=1)


def released(*more: Release, after: Iterable[Release] = (V2, V1), **changes: Any) -> Case:
    """The newest first, as the register gives them."""
    return case_of("B9", releases=(*more, *after), **changes)


def told(case: Case) -> Decision:
    return decide(case, NOW)


def value(decision: Decision, name: str) -> str:
    return next(check.value or "" for check in decision.checks if check.name == name)


class TestTheFuture:
    @pytest.mark.parametrize("ahead", [6 * SECOND, MINUTE, 5 * MINUTE])
    @pytest.mark.parametrize("status", ReleaseStatus)
    def test_a_little_ahead_it_may_be_reaching_production_by_a_wrong_clock(self, ahead: timedelta, status: ReleaseStatus) -> None:
        """So nothing is done until it is here; who is suspected, and what is gone back to, stay as they are."""
        decision = told(released(release("v3", ago=-ahead, status=status)))
        assert (decision.action, decision.reason) == (Action.HOLD, Reason.RELEASE_IN_PROGRESS)
        assert (decision.suspect, decision.target) == (V2, V1)
        assert value(decision, "release_in_progress") == "still rolling: v3"

    @pytest.mark.parametrize("ahead", [5 * MINUTE + SECOND, HOUR])
    @pytest.mark.parametrize("status", ReleaseStatus)
    def test_far_ahead_it_is_a_plan_and_changes_nothing(self, ahead: timedelta, status: ReleaseStatus) -> None:
        planned = released(release("v3", ago=-ahead, status=status))
        assert replace(told(planned), checks=()) == replace(told(released()), checks=())

    def test_it_is_neither_suspect_nor_target_whoever_acts_while_one_is_rolling(self) -> None:
        policy = service_policy(while_rolling=WhileRolling.ACT)
        decision = told(released(release("v3", ago=-MINUTE), policy=policy))
        assert (decision.action, decision.suspect, decision.target) == (Action.ROLL_BACK, V2, V1)

    def test_alone_it_explains_no_breach(self) -> None:
        assert told(released(release("v3", ago=-MINUTE), after=[V1])).reason is Reason.NO_RECENT_RELEASE
        assert told(released(release("v3", ago=-MINUTE), after=[])).suspect is None

    def test_nothing_is_measured_for_it(self) -> None:
        asked = wanted(released(release("v3", ago=-MINUTE)), NOW)
        assert asked is not None
        assert asked.suspect == V2
        assert [one.release for one in asked.targets] == [V1]

    @pytest.mark.parametrize("blame", [True, False])
    def test_within_the_slack_of_two_clocks_it_has_begun(self, blame: bool) -> None:  # noqa: FBT001
        just = release("v3", ago=-5 * SECOND)
        decision = told(released(just, policy=service_policy(blame=blame)))
        assert decision.suspect == (V2 if blame else just), "what came after the breach is not to blame for it"


class TestAtOnce:
    """Two that were recorded for the same second: the later recorded, which the register gives first, took over from the other."""

    SECOND_OF = release("v3", ago=timedelta(seconds=150))

    def test_the_later_recorded_is_the_suspect_and_the_other_one_is_before_it(self) -> None:
        decision = told(released(self.SECOND_OF))
        assert (decision.action, decision.suspect, decision.target) == (Action.ROLL_BACK, self.SECOND_OF, V2)

    def test_what_is_asked_of_prometheus_is_about_the_same_two(self) -> None:
        asked = wanted(released(self.SECOND_OF, policy=service_policy(version_label="version")), NOW)
        assert asked is not None
        assert (asked.suspect, asked.versions) == (self.SECOND_OF, ("v3", "v2"))

    def test_the_other_way_round_it_is_the_other(self) -> None:
        decision = told(released(V2, self.SECOND_OF, after=[V1]))
        assert (decision.suspect, decision.target) == (V2, self.SECOND_OF)


class TestWhatRuns:
    """The register and the running version must say the same, or a person looks first: whatever is rolled back was not meant."""

    @pytest.mark.parametrize("runs", [{"v9"}, {"v1"}, {"v2", "v1"}, {"v2", "v9"}, {"image:v1"}])
    def test_another_than_the_suspect_escalates_and_names_both(self, runs: set[str]) -> None:
        decision = told(released(running=RunningVersion(answers=frozenset(runs), reason=None)))
        assert (decision.action, decision.reason) == (Action.ESCALATE, Reason.RUNNING_VERSION_CHANGED)
        (check,) = [check for check in decision.checks if check.name == "running_version"]
        assert check.value == f"runs {', '.join(sorted(runs))}"
        assert check.limit == "every instance runs v2 (image:v2)"

    @pytest.mark.parametrize("runs", [{"v2"}, {"image:v2"}, {"v2", "image:v2"}])
    def test_the_suspect_by_its_version_or_its_artifact(self, runs: set[str]) -> None:
        assert told(released(running=RunningVersion(answers=frozenset(runs), reason=None))).action is Action.ROLL_BACK

    def test_where_nothing_can_be_asked_a_newer_record_says_it(self) -> None:
        decision = told(released(release("v3", ago=30 * SECOND)))
        assert (decision.action, decision.reason) == (Action.ESCALATE, Reason.RUNNING_VERSION_CHANGED)
        assert value(decision, "running_version") == "v3 was recorded after v2"
