from typing import Final

import pytest

from rollbackd.decision.blame import PROOFS
from rollbackd.decision.decide import FOR_A_PERSON
from rollbackd.decision.exoneration import EXONERATIONS
from rollbackd.decision.follow import FOLLOWS, Follow, follow
from rollbackd.decision.guards import GUARDS
from rollbackd.model.decision import Action, Decision
from rollbackd.model.reason import Reason
from tests.unit.decision.builders import NOW

RULES: Final = {rule.reason for rule in EXONERATIONS} | {rule.reason for rule in PROOFS} | {rule.reason for rule in GUARDS}
HOLDS: Final = RULES | {
    Reason.STALE_ALERT,
    Reason.HEALTHY,
    Reason.NOT_CONFIRMED,
    Reason.UNKNOWN,
    Reason.NO_SERVICE,
    Reason.AMBIGUOUS_SERVICE,
}


def test_the_table_holds_exactly_what_can_be_decided() -> None:
    decided = {(Action.HOLD, reason) for reason in HOLDS}
    decided |= {(Action.ESCALATE, reason) for reason in FOR_A_PERSON}
    decided |= {(Action.ROLL_BACK, Reason.TO_BLAME), (Action.ROLL_BACK, Reason.BLAME_OFF)}
    assert set(FOLLOWS) == decided


@pytest.mark.parametrize(("action", "reason"), FOLLOWS)
def test_only_a_roll_back_is_followed_by_one_and_only_an_escalation_by_one(action: Action, reason: Reason) -> None:
    followed = follow(Decision(action=action, reason=reason, at=NOW))
    assert (followed is Follow.ROLL_BACK) is (action is Action.ROLL_BACK)
    assert (followed is Follow.ESCALATE) is (action is Action.ESCALATE)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.HEALTHY, Follow.STAND_DOWN_IF_TWICE),
        (Reason.BREACH_PREDATES_RELEASE, Follow.CLOSE_HELD),
        (Reason.NO_RECENT_RELEASE, Follow.CLOSE_HELD),
        (Reason.COOLDOWN, Follow.CLOSE_HELD),
        (Reason.BUDGET, Follow.CLOSE_HELD),
        (Reason.ROLLBACK_OF_ROLLBACK, Follow.CLOSE_HELD),
        (Reason.FREEZE, Follow.CLOSE_HELD),
        (Reason.STALE_ALERT, Follow.CLOSE_HELD),
        (Reason.UNKNOWN, Follow.WAIT),
        (Reason.NOT_CONFIRMED, Follow.WAIT),
        (Reason.PAUSED, Follow.WAIT),
        (Reason.SETTLING, Follow.WAIT),
        (Reason.RELEASE_IN_PROGRESS, Follow.WAIT),
        (Reason.STEP_RUNNING, Follow.WAIT),
        (Reason.FLEET_BRAKE, Follow.WAIT),
        (Reason.INCONCLUSIVE, Follow.PROPOSE_INCONCLUSIVE),
    ],
)
def test_what_follows_a_hold(reason: Reason, expected: Follow) -> None:
    assert follow(Decision(action=Action.HOLD, reason=reason, at=NOW)) is expected
