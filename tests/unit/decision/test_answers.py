"""A question that failed could have let the release go: nothing acts on its silence."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from rollbackd.decision.decide import decide
from rollbackd.model.decision import Action, Blame, Case, CheckVerdict, Decision, Dependency
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.reason import Reason
from tests.unit.decision.builders import (
    HOUR,
    NOW,
    STEP,
    V1,
    V2,
    case_of,
    error_trigger,
    evidence_for,
    release,
    service_policy,
    slow_trigger,
)
from tests.unit.decision.test_context import constant, with_context

FAILED = IndicatorEvidence(
    indicator="error_rate", query="q", step=STEP, readings=(), reason=Reason.QUERY_FAILED, detail="it did not answer within 5 s"
)
HEALTHY, BREACHED = (evidence_for(error_trigger(), story) for story in ("H9", "B300"))
V0 = release("v0", ago=48 * HOUR)
POLICY = service_policy(version_label="version", spread=("zone",), depends_on=("db",))
DATABASE = service_policy(error_trigger(), error_trigger(name="Other", alerts=("Other",)), name="db")
ONE_TRIGGER = service_policy(error_trigger(), name="db")
DAY = timedelta(days=1)


def told(**context: Any) -> Decision:
    """Side by side v2 is to blame, so that no other proof is asked for."""
    case = case_of(policy=POLICY, releases=(V2, V1, V0))
    assert case.context is not None
    beside = {
        "versions": {"v2": evidence_for(error_trigger(), "B9"), "v1": HEALTHY},
        "versions_seen": frozenset({"v1", "v2"}),
        "dependencies": {"db": database(HighErrorRate=HEALTHY, Other=HEALTHY)},
    }
    return decide(replace(case, context=replace(case.context, **(beside | context))), NOW)


def answers(decision: Decision) -> tuple[CheckVerdict, str]:
    return next((check.verdict, check.value or "") for check in decision.checks if check.name == "answers")


def database(**evidence: IndicatorEvidence) -> Dependency:
    return Dependency(policy=DATABASE, evidence=evidence, releases=())


@pytest.mark.parametrize(
    ("context", "named"),
    [
        ({"versions": {"v2": evidence_for(error_trigger(), "B9"), "v1": FAILED}}, "v1"),
        ({"places": {"zone": {"a": BREACHED, "b": FAILED}}}, "zone=b"),
        ({"earlier": {DAY: FAILED, 7 * DAY: HEALTHY}}, "1 d ago"),
        ({"dependencies": {"db": database(HighErrorRate=HEALTHY, Other=FAILED)}}, "Other of db"),
        ({"targets": {V1: FAILED, V0: HEALTHY}}, "v1 when it last served"),
        ({"targets": {V1: BREACHED, V0: FAILED}}, "v0 when it last served"),
    ],
)
def test_its_silence_leaves_the_case_open(context: dict[str, Any], named: str) -> None:
    decision = told(**context)
    assert (decision.action, decision.reason, decision.blame) == (Action.HOLD, Reason.INCONCLUSIVE, Blame.INCONCLUSIVE)
    assert answers(decision) == (CheckVerdict.UNKNOWN, f"no answer: {named} (it did not answer within 5 s)")


def test_so_do_places_that_could_not_be_read() -> None:
    decision = told(unread=frozenset({"zone"}))
    assert (decision.reason, answers(decision)) == (Reason.INCONCLUSIVE, (CheckVerdict.UNKNOWN, "no answer: the values of zone"))


def test_many_are_not_all_named() -> None:
    silent = {f"p{n}": FAILED for n in range(5)}
    assert answers(told(places={"zone": silent}))[1].endswith(", zone=p2 (it did not answer within 5 s) and 2 more")


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"earlier": {DAY: evidence_for(error_trigger(), "U300"), 7 * DAY: HEALTHY}},  # there is no history
        {"targets": {V1: HEALTHY, V0: FAILED}},  # nobody would go back to that one
    ],
)
def test_an_answer_that_says_nothing_speaks_for_nobody(context: dict[str, Any]) -> None:
    assert told(**context).action is Action.ROLL_BACK


def test_what_lets_the_release_go_does_so_whatever_else_is_silent() -> None:
    decision = told(earlier={DAY: FAILED}, dependencies={"db": database(HighErrorRate=evidence_for(error_trigger(), "B30"))})
    assert decision.reason is Reason.DEPENDENCY_FIRST


def test_with_blame_off_nothing_is_asked() -> None:
    policy = replace(POLICY, blame=False)
    case = case_of(policy=policy, releases=(V2, V1))
    assert decide(case, NOW).action is Action.ROLL_BACK


class TestWhatIsThereAndWasNotMeasured:
    """It is no failed question, and yet nobody knows what it would say."""

    POLICY = service_policy(version_label="version", depends_on=("db",), spread=("zone",))
    BOTH: ClassVar = {"v2": constant(0.3), "v1": constant(0.001)}

    def case(self, story: str | None = "H9", **changes: Any) -> Case:
        """Side by side the new version is worse than the old one: to blame, but for what is left out."""
        evidence = {"HighErrorRate": evidence_for(error_trigger(), story)} if story else {}
        database = Dependency(policy=ONE_TRIGGER, evidence=evidence, releases=())
        plain = {"versions": self.BOTH, "versions_seen": frozenset(self.BOTH), "dependencies": {"db": database}}
        return with_context(case_of("B9", policy=self.POLICY), **{**plain, **changes})

    def left_out(self, case: Case) -> str:
        """What the record says of it; empty when nothing is."""
        decision = decide(case, NOW)
        if answers(decision)[0] is CheckVerdict.PASSED:
            assert decision.action is Action.ROLL_BACK
            return ""
        assert (decision.action, decision.reason) == (Action.HOLD, Reason.INCONCLUSIVE)
        return answers(decision)[1].removeprefix("no answer: ")

    def test_nothing(self) -> None:
        assert self.left_out(self.case()) == ""

    def test_a_dependency_that_was_not_asked(self) -> None:
        assert self.left_out(self.case(dependencies={})) == "db"

    @pytest.mark.parametrize("lost", [constant(None), replace(constant(0.1), readings=()), None])
    @pytest.mark.parametrize("version", ["v1", "v2"])
    def test_a_version_that_serves(self, version: str, lost: IndicatorEvidence | None) -> None:
        versions = {name: one for name, one in {**self.BOTH, version: lost}.items() if one is not None}
        assert self.left_out(self.case(versions=versions)) == version

    def test_a_version_that_nobody_asks_anything_of_is_told(self) -> None:
        idle = tuple(replace(one, value=None, reason=Reason.LOW_TRAFFIC) for one in constant(0.0, total=0).readings)
        assert self.left_out(self.case(versions={**self.BOTH, "v1": replace(constant(0.0), readings=idle)})) == ""

    def test_a_version_that_is_gone_is_not_missed(self) -> None:
        assert self.left_out(self.case(versions={"v2": constant(0.3)}, versions_seen=frozenset({"v2"}))) == ""

    @pytest.mark.parametrize("ratios", [{"a": 0.9, "b": None}, {"a": None, "b": 0.0}, {"a": 0.9, "b": 0.0, "c": None}])
    def test_a_place_while_it_could_be_the_only_healthy_or_the_only_breached_one(self, ratios: Mapping[str, float | None]) -> None:
        lost = next(zone for zone, ratio in ratios.items() if ratio is None)
        assert self.left_out(self.case(places={"zone": {zone: constant(ratio) for zone, ratio in ratios.items()}})) == f"zone={lost}"

    @pytest.mark.parametrize(
        ("story", "why"),
        [(None, "no_series"), ("U250", "no_series"), ("H5 U9 B1", "no_series"), ("H9 U4 H6", "no_series"), ("H13 U6", "no_series")],
    )
    def test_a_dependency_that_was_not_measured_when_the_breach_began(self, story: str | None, why: str) -> None:
        assert self.left_out(self.case(story)) == f"HighErrorRate of db ({why})"

    @pytest.mark.parametrize("story", ["H20 U9 H40", "H9 D4 H6"])
    def test_a_dependency_that_was_measured_then(self, story: str) -> None:
        """A gap at another time says nothing of it."""
        assert self.left_out(self.case(story)) == ""

    def test_one_trigger_of_a_dependency_among_others(self) -> None:
        policy = service_policy(error_trigger(), slow_trigger(), name="db")
        evidence = {"HighErrorRate": evidence_for(error_trigger(), "U250"), "SlowResponse": evidence_for(slow_trigger(), "H9")}
        assert (
            self.left_out(self.case(dependencies={"db": Dependency(policy=policy, evidence=evidence, releases=())}))
            == "HighErrorRate of db (no_series)"
        )

    def test_when_a_dependency_that_burns_began_to(self) -> None:
        """Four steps without a measurement, eleven steps ago: it may have burnt since long before the release."""
        assert decide(self.case("B30"), NOW).reason is Reason.DEPENDENCY_FIRST
        assert self.left_out(self.case("B15 U4 B9")) == "db since 2026-01-31 02:53:15 UTC, when its breach may have begun"
        assert self.left_out(self.case("B9")) == ""
