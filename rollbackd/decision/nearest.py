"""Which one setting, or word of a person, might have made a held decision a rollback. Candidates only: they are tried, not believed."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from math import floor
from typing import Final

from rollbackd.decision.compare import stretch
from rollbackd.decision.facts import Facts
from rollbackd.model.decision import Action, Case, Decision, FleetFacts, PauseFacts
from rollbackd.model.policy import Mode, ServicePolicy, Trigger, WhileRolling
from rollbackd.model.reason import Reason
from rollbackd.model.release import ReleaseStatus

_MINUTE: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(days=1)
"""A blame window that nobody would set is no advice."""

Varied = tuple[str, Case]


def variations(case: Case, decision: Decision) -> Iterator[Varied]:
    """In the words of the config, such as `min_requests: 20`, each with the case as it would have been then; a person's word comes last.

    Whoever wants to know asks the decision about each: a second objection behind the first one makes it none.
    """
    if decision.action is Action.ROLL_BACK or decision.reason is Reason.HEALTHY:
        return
    facts = Facts.of(case, decision.at)
    yield from _of_the_trigger(facts, decision)
    yield from _of_the_release(facts, decision)
    yield from _of_the_guards(facts, decision)
    yield from _of_a_person(facts, decision)


def _of_the_trigger(facts: Facts, decision: Decision) -> Iterator[Varied]:
    trigger = facts.finding.trigger
    enough = _requests(facts)
    if 1 <= enough < trigger.min_requests:
        yield f"min_requests: {enough} in {trigger.name}", _with_trigger(facts.case, replace(trigger, min_requests=enough))
    if decision.reason is Reason.NOT_CONFIRMED:
        for share in (2, 4):
            hold_for = trigger.hold_for // share // facts.finding.step * facts.finding.step
            yield f"for: {hold_for.total_seconds():g}s in {trigger.name}", _with_trigger(facts.case, replace(trigger, hold_for=hold_for))


def _requests(facts: Facts) -> int:
    """As many as the trigger could have asked for: in its pooled window, or since the breach began where those are more."""
    pooled, trigger = facts.evidence.pooled, facts.finding.trigger
    in_window = floor(pooled.total) if pooled is not None and pooled.total is not None else 0
    if in_window >= trigger.min_requests:
        return in_window
    asking_for_one = Facts.of(_with_trigger(facts.case, replace(trigger, min_requests=1)), facts.now)
    release = next(iter(facts.releases), None)
    start = max(asking_for_one.began, release.started_at) if release else asking_for_one.began
    if not asking_for_one.finding.confirmed or start > facts.now:
        return in_window
    return max(in_window, stretch(trigger, facts.evidence.readings, start=start, end=facts.now).total)


def _of_the_release(facts: Facts, decision: Decision) -> Iterator[Varied]:
    policy, suspect, began = facts.policy, facts.suspect, facts.onset.at
    newest = next(iter(facts.releases), None)
    if decision.reason is Reason.NO_RECENT_RELEASE and newest is not None and began is not None:
        window = _whole_minutes(began - newest.started_at)
        if policy.blame_window < window <= _LONGEST:
            yield f"blame_window: {window // _MINUTE}m", _with_policy(facts.case, replace(policy, blame_window=window))
    if suspect is None or began is None or suspect.status is ReleaseStatus.ROLLING:
        return
    quiet = began - suspect.took_over_at
    if quiet > policy.max_quiet:
        max_quiet = _whole_minutes(quiet)
        yield f"max_quiet: {max_quiet // _MINUTE}m", _with_policy(facts.case, replace(policy, max_quiet=max_quiet))


def _of_the_guards(facts: Facts, decision: Decision) -> Iterator[Varied]:
    case, policy, history = facts.case, facts.policy, facts.case.history
    if decision.reason is Reason.BUDGET:
        budget = replace(
            policy.budget,
            service_per_day=max(policy.budget.service_per_day, history.rollbacks_of_service_last_day + 1),
            fleet_per_hour=max(policy.budget.fleet_per_hour, history.rollbacks_of_fleet_last_hour + 1),
        )
        words = f"budget: {{service_per_day: {budget.service_per_day}, fleet_per_hour: {budget.fleet_per_hour}}}"
        yield words, _with_policy(case, replace(policy, budget=budget))
    if decision.reason is Reason.FREEZE:
        yield "freeze: []", _with_policy(case, replace(policy, freeze=()))
    if decision.reason is Reason.RELEASE_IN_PROGRESS and policy.while_rolling is WhileRolling.WAIT:
        yield "while_rolling: act", _with_policy(case, replace(policy, while_rolling=WhileRolling.ACT))


def _of_a_person(facts: Facts, decision: Decision) -> Iterator[Varied]:
    """An approval stands above the proofs and above the fleet brake; in observe there is nothing that could be approved."""
    case, policy = facts.case, facts.policy
    if decision.reason is Reason.COOLDOWN:
        acknowledged = replace(case.history, last_rollback_acknowledged=True)
        yield "an acknowledgement of the last rollback", replace(case, history=acknowledged)
    if decision.reason is Reason.PAUSED:
        yield "a resume", replace(case, pause=PauseFacts())
    if policy.mode is Mode.OBSERVE:
        return
    if decision.reason is Reason.INCONCLUSIVE and decision.suspect == next(iter(facts.releases), None):
        yield "an approval", _with_policy(case, replace(policy, blame=False))
    if decision.reason is Reason.FLEET_BRAKE:
        yield "an approval", replace(case, fleet=FleetFacts())


def _whole_minutes(duration: timedelta) -> timedelta:
    """Rounded up."""
    return -(-duration // _MINUTE) * _MINUTE


def _with_trigger(case: Case, varied: Trigger) -> Case:
    triggers = tuple(varied if one.name == varied.name else one for one in case.policy.triggers)
    return _with_policy(case, replace(case.policy, triggers=triggers))


def _with_policy(case: Case, policy: ServicePolicy) -> Case:
    return replace(case, policy=policy)
