"""Which one setting, or word of a person, might have made a held decision a rollback. Candidates only: they are tried, not believed."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from math import floor

from rollbackd.decision.facts import Facts
from rollbackd.model.decision import Action, Case, Decision
from rollbackd.model.policy import ServicePolicy, Trigger, WhileRolling
from rollbackd.model.reason import Reason
from rollbackd.model.release import ReleaseStatus


def variations(case: Case, decision: Decision) -> Iterator[tuple[str, Case]]:
    """In the words of the config, such as `min_requests: 20`, each with the case as it would have been then.

    Whoever wants to know asks the decision about each: a second objection behind the first one makes it none.
    """
    if decision.action is Action.ROLL_BACK or decision.reason is Reason.HEALTHY:
        return
    facts = Facts.of(case, decision.at)
    policy, trigger = case.policy, facts.finding.trigger
    pooled = facts.evidence.pooled
    if pooled is not None and pooled.total is not None and 1 <= pooled.total < trigger.min_requests:
        yield _with_trigger(case, trigger, min_requests=floor(pooled.total))
    if decision.reason is Reason.NOT_CONFIRMED:
        for share in (2, 4):
            yield _with_trigger(case, trigger, hold_for=trigger.hold_for // share // facts.finding.step * facts.finding.step)
    suspect, began = facts.suspect, facts.onset.at
    if suspect is not None and suspect.live_at is not None and began is not None and began - suspect.live_at > policy.max_quiet:
        quiet = timedelta(minutes=-(-(began - suspect.live_at) // timedelta(minutes=1)))
        yield f"max_quiet: {quiet // timedelta(minutes=1)}m", _with_policy(case, replace(policy, max_quiet=quiet))
    history = case.history
    if decision.reason is Reason.COOLDOWN:
        yield "an acknowledgement of the last rollback", replace(case, history=replace(history, last_rollback_acknowledged=True))
    if decision.reason is Reason.BUDGET:
        budget = replace(
            policy.budget,
            service_per_day=max(policy.budget.service_per_day, history.rollbacks_of_service_last_day + 1),
            fleet_per_hour=max(policy.budget.fleet_per_hour, history.rollbacks_of_fleet_last_hour + 1),
        )
        words = f"budget: {{service_per_day: {budget.service_per_day}, fleet_per_hour: {budget.fleet_per_hour}}}"
        yield words, _with_policy(case, replace(policy, budget=budget))
    if any(release.status is ReleaseStatus.ROLLING for release in case.releases) and policy.while_rolling is WhileRolling.WAIT:
        yield "while_rolling: act", _with_policy(case, replace(policy, while_rolling=WhileRolling.ACT))


def _with_trigger(case: Case, trigger: Trigger, *, min_requests: int | None = None, hold_for: timedelta | None = None) -> tuple[str, Case]:
    if min_requests is not None:
        words, varied = f"min_requests: {min_requests}", replace(trigger, min_requests=min_requests)
    else:
        hold_for = hold_for or timedelta(0)
        words, varied = f"for: {hold_for.total_seconds():g}s", replace(trigger, hold_for=hold_for)
    triggers = tuple(varied if one.name == trigger.name else one for one in case.policy.triggers)
    return f"{words} in {trigger.name}", _with_policy(case, replace(case.policy, triggers=triggers))


def _with_policy(case: Case, policy: ServicePolicy) -> Case:
    return replace(case, policy=policy)
