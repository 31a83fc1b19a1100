"""The stations before the rollback: judge an incident again and again, ask a person where the mode or the evidence asks for one.

`decide` says what it would do; what the service's mode makes of it is settled here, and nowhere else.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from rollbackd.clock import Clock
from rollbackd.decision.decide import decide
from rollbackd.decision.follow import Follow, follow
from rollbackd.decision.nearest import variations
from rollbackd.decision.record import stands_in_the_way
from rollbackd.errors import RollbackdError
from rollbackd.flow import plans
from rollbackd.flow.bell import Bell
from rollbackd.flow.collect import Collector
from rollbackd.flow.move import Move
from rollbackd.model.decision import Action, Case, Decision
from rollbackd.model.incident import Event, Incident, Outcome
from rollbackd.model.policy import Inconclusive, Mode, ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from rollbackd.telemetry.metrics import Metrics

LOOKS_TO_STAND_DOWN: Final = 2
TIMES_ASKED: Final = 4  # in the time that an escalation waits: at its begin, and three reminders


@dataclass(frozen=True, slots=True)
class Judged:
    case: Case
    decision: Decision
    follow: Follow
    incident: Incident  # with what was decided written on it, not yet saved
    beside: tuple[Release, ...] = ()  # what else was released; only looked up for whoever is asked


class Judge:
    def __init__(self, *, collector: Collector, bell: Bell, clock: Clock, metrics: Metrics) -> None:
        self._collector = collector
        self._bell = bell
        self._clock = clock
        self._metrics = metrics

    async def deciding(self, incident: Incident, policy: ServicePolicy) -> Move:
        judged = await self._judge(incident, policy)
        match judged.follow:
            case Follow.ROLL_BACK:
                return _act_by_mode(judged, policy, self._clock.now())
            case Follow.PROPOSE_INCONCLUSIVE if _asks_at_once(judged, policy):
                return _propose(await self._explained(judged), self._clock.now())
            case Follow.ESCALATE:
                return _escalate(await self._explained(judged), policy, self._clock.now())
            case Follow.CLOSE_HELD:
                return Move.close(judged.incident, Outcome.HELD, (await self._explained(judged)).decision)
            case Follow.STAND_DOWN_IF_TWICE if judged.incident.healthy_looks >= LOOKS_TO_STAND_DOWN:
                return Move.close(judged.incident, Outcome.STOOD_DOWN, judged.decision)
            case _:
                return await self._wait(incident, judged, policy)

    async def proposed(self, incident: Incident, policy: ServicePolicy) -> Move:
        """A proposal stands until a person decides or it expires; meanwhile the evidence may act on it, or withdraw it."""
        expires_at = (incident.proposed_at or incident.opened_at) + policy.approval_expires
        await self._bell.wait(incident.id, min(policy.recheck_every, expires_at - self._clock.now()))
        if self._clock.now() >= expires_at:
            return Move.close(replace(incident, reason=Reason.EXPIRED), Outcome.EXPIRED)
        judged = await self._judge(incident, policy)
        match judged.follow:
            case Follow.ROLL_BACK if policy.mode is Mode.AUTO and judged.incident.plan is not None:
                return Move.to(Event.ACT, judged.incident, judged.decision)
            case Follow.CLOSE_HELD:
                return Move.close(judged.incident, Outcome.HELD, (await self._explained(judged)).decision)
            case Follow.STAND_DOWN_IF_TWICE if judged.incident.healthy_looks >= LOOKS_TO_STAND_DOWN:
                return Move.close(judged.incident, Outcome.STOOD_DOWN, judged.decision)
            case Follow.ROLL_BACK | Follow.PROPOSE_INCONCLUSIVE:
                return Move.stay(judged.incident, judged.decision)
            case _:
                return Move.stay(_only_looked_at(incident, judged), judged.decision)

    async def escalated(self, incident: Incident, policy: ServicePolicy) -> Move:
        """A person was asked, and is reminded. Only a measured recovery ends this early: after a page nothing acts by itself."""
        since = incident.escalated_at or incident.opened_at
        gives_up_at = since + policy.escalation_timeout
        remind_at = max(since, incident.reminded_at or since) + policy.escalation_timeout / TIMES_ASKED
        await self._bell.wait(incident.id, min(policy.recheck_every, gives_up_at - self._clock.now()))
        now = self._clock.now()
        if now >= gives_up_at:
            return Move.close(incident, Outcome.ESCALATED)
        if now >= remind_at:
            return Move.stay(replace(incident, reminded_at=now))
        if incident.rollback_started_at is not None:
            return Move.stay(incident)  # something was run: health now would not say what state the service is in
        judged = await self._judge(incident, policy)
        if judged.follow is Follow.STAND_DOWN_IF_TWICE and judged.incident.healthy_looks >= LOOKS_TO_STAND_DOWN:
            return Move.close(judged.incident, Outcome.STOOD_DOWN, judged.decision)
        return Move.stay(_only_looked_at(incident, judged))

    async def _judge(self, incident: Incident, policy: ServicePolicy) -> Judged:
        now = self._clock.now()
        case = await self._collector.case(incident, policy, now)
        decision = decide(case, now)
        follows = follow(decision)
        self._metrics.decided(policy.name, decision.action, decision.reason)
        return Judged(case, decision, follows, _written(incident, policy, decision, follows))

    async def _explained(self, judged: Judged) -> Judged:
        """With what else was released, and the nearest thing that would have made it a rollback: tried, on what is measured now."""
        if judged.decision.reason is Reason.INCONCLUSIVE:
            judged = replace(judged, beside=await self._collector.released_beside(judged.case.policy, judged.decision))
        for words, varied in variations(judged.case, judged.decision):
            case = await self._collector.in_context(varied, judged.decision.at)
            if decide(case, judged.decision.at).action is Action.ROLL_BACK:
                return replace(judged, decision=replace(judged.decision, nearest=words))
        return judged

    async def _wait(self, before: Incident, judged: Judged, policy: ServicePolicy) -> Move:
        """The last word is of a look that began when the time was up: one that took long, or a host that slept, is followed by another."""
        gives_up_at = (before.judging_since or before.opened_at) + policy.give_up_after
        if judged.decision.at >= gives_up_at:
            return _escalate(await self._explained(judged), policy, self._clock.now())
        return Move.stay(judged.incident, judged.decision, then_wait=min(policy.recheck_every, gives_up_at - self._clock.now()))


def _written(incident: Incident, policy: ServicePolicy, decision: Decision, follows: Follow) -> Incident:
    """The incident with this decision on it, and the plan where a suspect and a target are known.

    Whoever hears of it while the fleet brake holds it hears of the others as well: it may be the only one that speaks.
    """
    target, brake = decision.target, next((check for check in decision.checks if check.reason is Reason.FLEET_BRAKE), None)
    digest, why_not = None, ""
    if target is not None and policy.runbook is not None:
        try:
            digest = plans.make(policy, suspect=decision.suspect, target=target).digest
        except RollbackdError as e:
            why_not = str(e)  # a value that may not stand in a command: there is no plan that a person could approve
    return replace(
        incident,
        decision=decision.action,
        reason=decision.reason,
        blame=decision.blame,
        suspect=decision.suspect.version if decision.suspect else None,
        target=target.version if target else None,
        target_artifact=target.artifact if target else None,
        onset=decision.onset,
        decision_value=decision.value,
        decided_at=decision.at,
        plan=digest,
        detail=why_not or (f"fleet brake: {brake.value}" if brake else ""),
        braked=brake is not None,
        healthy_looks=_healthy_looks(incident, policy, decision) if follows is Follow.STAND_DOWN_IF_TWICE else 0,
        healthy_at=decision.at if follows is Follow.STAND_DOWN_IF_TWICE else None,
    )


def _healthy_looks(incident: Incident, policy: ServicePolicy, decision: Decision) -> int:
    """Counts looks that lie apart: a bell that rings right after one makes no second look at the same samples a second witness."""
    is_apart = incident.healthy_at is None or decision.at - incident.healthy_at >= policy.recheck_every / 2
    return incident.healthy_looks + is_apart if incident.healthy_looks else 1


def _only_looked_at(incident: Incident, judged: Judged) -> Incident:
    """What a person was asked stays as it is: of this look only its health is kept."""
    return replace(incident, healthy_looks=judged.incident.healthy_looks, healthy_at=judged.incident.healthy_at)


def _asks_at_once(judged: Judged, policy: ServicePolicy) -> bool:
    """Inconclusive evidence is proposed at once where the config says so and there is a plan to approve; else it waits."""
    return policy.mode is not Mode.OBSERVE and policy.inconclusive is Inconclusive.PROPOSE and judged.incident.plan is not None


def _act_by_mode(judged: Judged, policy: ServicePolicy, now: datetime) -> Move:
    if policy.mode is Mode.OBSERVE:
        return Move.close(judged.incident, Outcome.OBSERVED, judged.decision)
    if judged.incident.plan is None:
        return _escalate(judged, policy, now)
    if policy.mode is Mode.PROPOSE:
        return _propose(judged, now)
    return Move.to(Event.ACT, judged.incident, judged.decision)


def _propose(judged: Judged, now: datetime) -> Move:
    return Move.to(Event.PROPOSE, replace(judged.incident, proposed_at=now, detail=_objection(judged)), judged.decision)


def _escalate(judged: Judged, policy: ServicePolicy, now: datetime) -> Move:
    """In observe nobody is asked to do anything: the case is written down and closed."""
    if policy.mode is Mode.OBSERVE:
        return Move.close(judged.incident, Outcome.ESCALATED, judged.decision)
    return Move.to(Event.ESCALATE, replace(judged.incident, escalated_at=now, detail=_objection(judged)), judged.decision)


def _objection(judged: Judged) -> str:
    """What stands in the way, for whoever is asked: why there is no plan, or the check that decided and what it found."""
    check = next(filter(stands_in_the_way, judged.decision.checks), None)
    found = f"{check.name}: {check.value}" if check is not None and check.value else ""
    beside = ", ".join(f"{release.service} {release.version}" for release in judged.beside)
    return (judged.incident.detail or found) + (f"; also released: {beside}" if beside else "")
