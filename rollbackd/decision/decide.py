"""The decision: what would be done about this case now, and every check behind it.

The checks stand in the order of the decision, so that the first one in the way is the most useful reason in one look:

1. the alert itself: a stale one says nothing, whatever is measured;
2. the trigger: without a confirmed breach there is nothing to act on;
3. the register: while it may be out of date, no release can be suspected, and none let go;
4. the exonerations: a release that is not the cause is let go before anyone asks whether it could be rolled back;
5. the guards: not now, or not by itself;
6. the target and the running version: what a person has to settle;
7. the proofs of blame: the weakest objection, a proposal at most, and so the last.

All of them are evaluated and recorded, also when an early one decides. Nothing in the way means roll back; there is no other path
to an action.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from rollbackd.decision.blame import judge_release
from rollbackd.decision.facts import Facts
from rollbackd.decision.guards import check_alert, check_guards, check_releases
from rollbackd.decision.record import stands_in_the_way
from rollbackd.decision.target import check_running, choose_target, past_of
from rollbackd.decision.trigger import Finding
from rollbackd.model.decision import Action, Case, Check, CheckVerdict, Decision
from rollbackd.model.reason import Reason

FOR_A_PERSON: Final = frozenset({
    Reason.NO_SAFE_TARGET,
    Reason.MIGRATION_BARRIER,
    Reason.CONFIG_ONLY_RELEASE,
    Reason.RUNNING_VERSION_CHANGED,
    Reason.RUNNING_VERSION_UNKNOWN,
})  # fmt: skip
"""Waiting would not change these: they escalate. Every other reason holds."""


def decide(case: Case, now: datetime) -> Decision:
    """`suspect` and `target` are what was found, whatever was decided: a person may still approve the plan between them."""
    facts = Facts.of(case, now)
    finding = facts.finding
    suspicion = judge_release(facts)
    suspect = suspicion.suspect
    past = past_of(finding.trigger, case.context.targets if case.context else {}, finding.baseline)
    choice = choose_target(suspect, facts.releases, now, past=past)
    checks = (
        check_alert(case, now),
        *_trigger_checks(finding, facts.findings),
        check_releases(case, now),
        *suspicion.exonerations,
        *check_guards(case, suspect, now),
        choice.check,
        check_running(case, suspect, choice.target, facts.releases, now),
        *suspicion.proofs,
    )
    action, reason = _decide(checks, finding, blamed=case.policy.blame)
    return Decision(
        action=action,
        reason=reason,
        at=now,
        blame=suspicion.blame,
        trigger=finding.trigger.name,
        value=finding.value,
        limit=finding.limit,
        onset=finding.onset.at if finding.onset else None,
        suspect=suspect,
        target=choice.target,
        checks=checks,
    )


def _decide(checks: Iterable[Check], finding: Finding, *, blamed: bool) -> tuple[Action, Reason]:
    obstacle = next(filter(stands_in_the_way, checks), None)
    if obstacle is None:
        return Action.ROLL_BACK, Reason.TO_BLAME if blamed else Reason.BLAME_OFF
    if obstacle is finding.check:  # its own reason says why the measurement is unknown; for the decision unknown is unknown
        return Action.HOLD, finding.reason
    return (Action.ESCALATE if obstacle.reason in FOR_A_PERSON else Action.HOLD), obstacle.reason


def _trigger_checks(finding: Finding, findings: Iterable[Finding]) -> tuple[Check, ...]:
    """The one that carries the decision first. Any one confirmed trigger is enough, so the others then stand in nobody's way."""
    others = [other.check for other in findings if other is not finding]
    if finding.confirmed:
        others = [replace(check, verdict=CheckVerdict.NOT_APPLICABLE) if stands_in_the_way(check) else check for check in others]
    return finding.check, *others
