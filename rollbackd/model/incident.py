"""One case of one service, from the first alert to its outcome, and the one table of how it moves from phase to phase."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from rollbackd.model.decision import Action, Blame
from rollbackd.model.policy import Mode
from rollbackd.model.reason import Reason


class Phase(StrEnum):
    DECIDING = "deciding"
    PROPOSED = "proposed"
    ESCALATED = "escalated"
    ROLLING_BACK = "rolling_back"
    WATCHING = "watching"
    CLOSED = "closed"


class Outcome(StrEnum):
    RECOVERED = "recovered"
    IMPROVED = "improved"
    NO_EFFECT = "no_effect"
    WORSE = "worse"
    UNVERIFIED = "unverified"
    FAILED = "failed"
    ABORTED = "aborted"
    # nothing was run:
    HELD = "held"
    STOOD_DOWN = "stood_down"
    OBSERVED = "observed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    ESCALATED = "escalated"


class Event(StrEnum):
    """What can happen to an incident."""

    PROPOSE = "propose"  # the decision asks a person
    WITHDRAW = "withdraw"  # what was proposed or decided no longer stands: back to judging
    ESCALATE = "escalate"  # only a person can go on
    ACT = "act"  # roll back: decided in auto, or by hand
    APPROVE = "approve"
    ROLLED_BACK = "rolled_back"  # the last step is done
    CLOSE = "close"  # an outcome is named
    REOPEN = "reopen"  # a release or a change was recorded while the alert still fires


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


TRANSITIONS: Final[Mapping[tuple[Phase, Event], Phase]] = MappingProxyType({
    (Phase.DECIDING, Event.PROPOSE): Phase.PROPOSED,
    (Phase.DECIDING, Event.ESCALATE): Phase.ESCALATED,
    (Phase.DECIDING, Event.ACT): Phase.ROLLING_BACK,
    (Phase.DECIDING, Event.CLOSE): Phase.CLOSED,
    (Phase.PROPOSED, Event.WITHDRAW): Phase.DECIDING,
    (Phase.PROPOSED, Event.ESCALATE): Phase.ESCALATED,
    (Phase.PROPOSED, Event.ACT): Phase.ROLLING_BACK,
    (Phase.PROPOSED, Event.APPROVE): Phase.ROLLING_BACK,
    (Phase.PROPOSED, Event.CLOSE): Phase.CLOSED,
    (Phase.ESCALATED, Event.ACT): Phase.ROLLING_BACK,  # by hand: a manual rollback takes the incident over
    (Phase.ESCALATED, Event.APPROVE): Phase.ROLLING_BACK,
    (Phase.ESCALATED, Event.CLOSE): Phase.CLOSED,
    (Phase.ROLLING_BACK, Event.WITHDRAW): Phase.DECIDING,  # decided too long before the first step
    (Phase.ROLLING_BACK, Event.ESCALATE): Phase.ESCALATED,  # refused right before the first step
    (Phase.ROLLING_BACK, Event.ROLLED_BACK): Phase.WATCHING,
    (Phase.ROLLING_BACK, Event.CLOSE): Phase.CLOSED,
    (Phase.WATCHING, Event.ACT): Phase.ROLLING_BACK,  # by hand: to another release, while no step is running
    (Phase.WATCHING, Event.CLOSE): Phase.CLOSED,
    (Phase.CLOSED, Event.REOPEN): Phase.DECIDING,
})  # fmt: skip
"""Every pair that is not here is refused."""

EXIT_CODES: Final[Mapping[Outcome, int]] = MappingProxyType({
    Outcome.RECOVERED: 0,
    Outcome.STOOD_DOWN: 0,
    Outcome.HELD: 3,
    Outcome.REJECTED: 3,
    Outcome.EXPIRED: 3,
    Outcome.OBSERVED: 3,
    Outcome.FAILED: 4,
    Outcome.ABORTED: 4,
    Outcome.IMPROVED: 5,
    Outcome.NO_EFFECT: 5,
    Outcome.WORSE: 5,
    Outcome.UNVERIFIED: 5,
    Outcome.ESCALATED: 8,
})  # fmt: skip

SEVERITIES: Final[Mapping[Outcome, Severity]] = MappingProxyType({
    Outcome.RECOVERED: Severity.INFO,
    Outcome.STOOD_DOWN: Severity.INFO,
    Outcome.HELD: Severity.INFO,
    Outcome.REJECTED: Severity.INFO,
    Outcome.OBSERVED: Severity.INFO,
    Outcome.ABORTED: Severity.INFO,
    Outcome.EXPIRED: Severity.WARNING,
    Outcome.IMPROVED: Severity.WARNING,
    Outcome.ESCALATED: Severity.WARNING,
    Outcome.FAILED: Severity.CRITICAL,
    Outcome.WORSE: Severity.CRITICAL,
    Outcome.NO_EFFECT: Severity.CRITICAL,
    Outcome.UNVERIFIED: Severity.CRITICAL,
})  # fmt: skip


class TransitionError(ValueError):
    """This event cannot happen in this phase."""


def next_phase(phase: Phase, event: Event) -> Phase:
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        raise TransitionError(f"an incident that is {phase} cannot {event}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """As it stands in the store. `plan` is the digest of the exact commands that an approval is bound to.

    `snapshot` names the config that the incident started with and keeps. `healthy_looks` counts looks in a row at which nothing was
    breached. `decision_value` is the trigger's value at the decision: the watch compares with it.
    """

    id: str
    service: str
    trigger: str | None  # None: started by hand
    phase: Phase
    mode: Mode
    snapshot: str
    opened_at: datetime
    alertname: str | None = None
    alert_labels: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str | None = None
    starts_at: datetime | None = None
    delivered_at: datetime | None = None
    decision: Action | None = None
    reason: Reason | None = None
    blame: Blame | None = None
    outcome: Outcome | None = None
    suspect: str | None = None
    target: str | None = None
    target_artifact: str | None = None
    onset: datetime | None = None
    plan: str | None = None
    decision_value: float | None = None
    decided_at: datetime | None = None
    proposed_at: datetime | None = None
    escalated_at: datetime | None = None
    reminded_at: datetime | None = None  # a person was asked, and then asked again at this time
    judging_since: datetime | None = None  # opened, or reopened: `give_up_after` counts from here
    rollback_started_at: datetime | None = None
    rollback_ended_at: datetime | None = None
    closed_at: datetime | None = None
    told_at: datetime | None = None  # the report is written and the people are told: nothing is left to do
    braked: bool = False  # the fleet brake stood in its way when it was judged last, whatever else did as well
    told_with: str | None = None  # people are told of the fleet brake through that incident, and not again through this one
    detail: str = ""  # one sentence for a person: why it is as it is, beyond the reason code
    healthy_looks: int = 0
    healthy_at: datetime | None = None  # the newest of them
    abort_reason: str | None = None  # set: stop before the next step
    acknowledged_by: str | None = None
    requested_by: str | None = None  # who approved, or asked for it by hand; None: rollbackd itself
    request_reason: str | None = None
    reason_code: str | None = None
    runbook: str | None = None  # which one a person asked for; None: the service's quick one
    restores: str | None = None  # the version of which that runbook restores something, while the release that runs stays
    ticks: Mapping[str, str] = field(default_factory=dict)  # by the number of a manual step, from 0: who has ticked it
    first_step: int = 0  # number of the plan's first step: a plan that follows another in the same incident counts on
    while_paused: bool = False  # asked for by hand with --while-paused: a pause does not hold its steps
    revision: int = 0  # of the row; a write with an older one is refused

    def after(self, event: Event, **changes: object) -> "Incident":
        """A new incident, moved by `event`. Raises TransitionError when the table has no such move."""
        return replace(self, phase=next_phase(self.phase, event), **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One line of an incident's story. `seq` orders all entries of all incidents and is the id of the server-sent event."""

    seq: int
    incident_id: str
    at: datetime
    kind: str
    text: str
    data: Mapping[str, object]
