"""A question that failed could have let the release go: nothing acts on its silence."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollbackd.decision.decide import decide
from rollbackd.model.decision import Action, Blame, CheckVerdict, Decision, Dependency
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.reason import Reason
from tests.unit.decision.builders import HOUR, NOW, STEP, V1, V2, case_of, error_trigger, evidence_for, release, service_policy

FAILED = IndicatorEvidence(
    indicator="error_rate", query="q", step=STEP, readings=(), reason=Reason.QUERY_FAILED, detail="it did not answer within 5 s"
)
HEALTHY, BREACHED = (evidence_for(error_trigger(), story) for story in ("H9", "B300"))
V0 = release("v0", ago=48 * HOUR)
POLICY = service_policy(version_label="version", spread=("zone",), depends_on=("db",))
DATABASE = service_policy(error_trigger(), error_trigger(name="Other", alerts=("Other",)), name="db")
DAY = timedelta(days=1)


def told(**context: Any) -> Decision:
    """Side by side v2 is to blame, so that no other proof is asked for."""
    case = case_of(policy=POLICY, releases=(V2, V1, V0))
    assert case.context is not None
    beside = {"versions": {"v2": evidence_for(error_trigger(), "B9"), "v1": HEALTHY}, "versions_seen": frozenset({"v1", "v2"})}
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
