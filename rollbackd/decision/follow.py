"""What follows from a decision: one table, total over what `decide` can say, so that nobody else has to interpret reasons."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from rollbackd.model.decision import Action, Decision
from rollbackd.model.reason import Reason


class Follow(StrEnum):
    ROLL_BACK = "roll_back"  # runs, asks or is written down, as the mode says
    STAND_DOWN_IF_TWICE = "stand_down_if_twice"  # closes as stood_down when the next look says the same
    CLOSE_HELD = "close_held"  # closes at once; a release recorded while the alert still fires reopens it
    WAIT = "wait"  # is judged again until `give_up_after`, then escalates
    PROPOSE_INCONCLUSIVE = "propose_inconclusive"  # asks at once or escalates at the end, as the policy says, and is judged again
    ESCALATE = "escalate"  # only a person can go on


FOLLOWS: Final[Mapping[tuple[Action, Reason], Follow]] = MappingProxyType({
    (Action.ROLL_BACK, Reason.TO_BLAME): Follow.ROLL_BACK,
    (Action.ROLL_BACK, Reason.BLAME_OFF): Follow.ROLL_BACK,
    (Action.HOLD, Reason.HEALTHY): Follow.STAND_DOWN_IF_TWICE,
    (Action.HOLD, Reason.NO_RECENT_RELEASE): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.BREACH_PREDATES_RELEASE): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.OLD_VERSION_AS_BAD): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.LOCALISED): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.RECURRENT): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.DEPENDENCY_FIRST): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.COOLDOWN): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.BUDGET): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.ROLLBACK_OF_ROLLBACK): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.FREEZE): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.STALE_ALERT): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.NO_SERVICE): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.AMBIGUOUS_SERVICE): Follow.CLOSE_HELD,
    (Action.HOLD, Reason.UNKNOWN): Follow.WAIT,
    (Action.HOLD, Reason.NOT_CONFIRMED): Follow.WAIT,
    (Action.HOLD, Reason.PAUSED): Follow.WAIT,
    (Action.HOLD, Reason.STEP_RUNNING): Follow.WAIT,
    (Action.HOLD, Reason.FLEET_BRAKE): Follow.WAIT,
    (Action.HOLD, Reason.RELEASE_IN_PROGRESS): Follow.WAIT,
    (Action.HOLD, Reason.SETTLING): Follow.WAIT,
    (Action.HOLD, Reason.NO_ROOM): Follow.WAIT,
    (Action.HOLD, Reason.INCONCLUSIVE): Follow.PROPOSE_INCONCLUSIVE,
    (Action.ESCALATE, Reason.NO_SAFE_TARGET): Follow.ESCALATE,
    (Action.ESCALATE, Reason.MIGRATION_BARRIER): Follow.ESCALATE,
    (Action.ESCALATE, Reason.CONFIG_ONLY_RELEASE): Follow.ESCALATE,
    (Action.ESCALATE, Reason.RUNNING_VERSION_CHANGED): Follow.ESCALATE,
    (Action.ESCALATE, Reason.RUNNING_VERSION_UNKNOWN): Follow.ESCALATE,
})  # fmt: skip


def follow(decision: Decision) -> Follow:
    return FOLLOWS[decision.action, decision.reason]
