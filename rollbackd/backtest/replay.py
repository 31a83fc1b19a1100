"""How the judging of one past alert goes on: look again, or the decision is final. The same table as the daemon's, `follow`. Pure.

The service's mode is not applied: what is told is what the evidence and the guards say, whoever would have had to approve it.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from rollbackd.decision.follow import Follow, follow
from rollbackd.flow.judge import LOOKS_TO_STAND_DOWN
from rollbackd.model.decision import Action, Decision
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason

NEVER_KNOWN: Final[AbstractSet[Reason]] = frozenset({Reason.PAUSED, Reason.SETTLING, Reason.NO_ROOM, Reason.RUNNING_VERSION_CHANGED})
"""What no history says: whether a person had paused, when a daemon had started and what room its disk had, what was running."""

ALONE: Final[AbstractSet[Reason]] = NEVER_KNOWN | {
    Reason.STEP_RUNNING,
    Reason.COOLDOWN,
    Reason.BUDGET,
    Reason.FLEET_BRAKE,
    Reason.RELEASE_IN_PROGRESS,
}
"""What is not judged of an alert by itself: it hangs on what was decided about other alerts, or on how long one would have waited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the judging of one alert has come. `next_at` is the moment of the next look; None: the decision is final."""

    next_at: datetime | None
    gives_up_at: datetime
    decision: Decision | None = None
    healthy_looks: int = 0
    looks: int = 0


def begin(policy: ServicePolicy, at: datetime) -> Standing:
    """The first look is at the alert's own time."""
    return Standing(next_at=at, gives_up_at=at + policy.give_up_after)


def go_on(before: Standing, decision: Decision, policy: ServicePolicy) -> Standing:
    """After a look that said `decision`. What would have been waited for to the end is, at the end, a person's to decide."""
    now = decision.at
    follows = follow(decision)
    healthy_looks = _healthy_looks(before, decision, policy) if follows is Follow.STAND_DOWN_IF_TWICE else 0
    after = replace(before, next_at=None, decision=decision, healthy_looks=healthy_looks, looks=before.looks + 1)
    if follows in {Follow.ROLL_BACK, Follow.CLOSE_HELD, Follow.ESCALATE} or healthy_looks >= LOOKS_TO_STAND_DOWN:
        return after
    if now >= before.gives_up_at:
        return replace(after, decision=replace(decision, action=Action.ESCALATE))
    return replace(after, next_at=min(now + policy.recheck_every, before.gives_up_at))


def _healthy_looks(before: Standing, decision: Decision, policy: ServicePolicy) -> int:
    """As the daemon counts them: two that lie too near to each other are one witness."""
    if before.decision is None or not before.healthy_looks:
        return 1
    return before.healthy_looks + (decision.at - before.decision.at >= policy.recheck_every / 2)
