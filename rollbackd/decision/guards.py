"""Guards: named reasons not to act now. Each says what its limit is, how things stand, and when it lets go."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rollbackd.decision import fleet, freeze
from rollbackd.decision.facts import CLOCK_SLACK
from rollbackd.decision.record import Rule, Ruling, ask_all, clock_time, size, span
from rollbackd.decision.trigger import LATE_DELIVERY
from rollbackd.model.decision import Case, Check, CheckVerdict, History
from rollbackd.model.policy import BudgetPolicy, WhileRolling
from rollbackd.model.reason import Reason
from rollbackd.model.release import MOST_AHEAD, Release, ReleaseKind, ReleaseStatus


@dataclass(frozen=True, slots=True)
class Scene:
    """What a guard may ask: the case, the release that would be rolled back, and the time."""

    case: Case
    suspect: Release | None
    now: datetime


def check_alert(case: Case, now: datetime) -> Check:
    """An old alert that Prometheus no longer fires is not worth judging; one of which that cannot be known waits (I3)."""
    age = case.alert.delivered_at - case.alert.starts_at
    firing = case.alert.firing_now
    if age <= LATE_DELIVERY or firing:
        verdict, reason = CheckVerdict.PASSED, Reason.PASSED
    elif firing is None:
        verdict, reason = CheckVerdict.UNKNOWN, Reason.UNKNOWN
    else:
        verdict, reason = CheckVerdict.FAILED, Reason.STALE_ALERT
    state = {True: "fires in Prometheus now", False: "does not fire in Prometheus now", None: "whether it fires now is not known"}
    return Check(
        name=Reason.STALE_ALERT,
        verdict=verdict,
        reason=reason,
        at=now,
        value=f"{span(age)} old at its first delivery" + (f"; {state[firing]}" if age > LATE_DELIVERY else ""),
        limit=f"over {span(LATE_DELIVERY)} only while it fires in Prometheus",
    )


def check_releases(case: Case, now: datetime) -> Check:
    """What was released last decides who is suspected and what is gone back to: a register that may be out of date says neither (I3)."""
    problem = case.releases_problem
    return Check(
        name="releases",
        verdict=CheckVerdict.UNKNOWN if problem else CheckVerdict.PASSED,
        reason=Reason.UNKNOWN if problem else Reason.PASSED,
        at=now,
        value=problem or f"{len(case.releases)} recorded",
        limit="the register is up to date",
    )


def check_guards(case: Case, suspect: Release | None, now: datetime) -> tuple[Check, ...]:
    return ask_all(GUARDS, Scene(case, suspect, now), now, not_evaluated=case.not_evaluated)


def _paused(scene: Scene) -> Ruling:
    """I8: what cannot be read counts as paused; whoever reads it says so in `why`."""
    pause = scene.case.pause
    if not pause.paused:
        return Ruling.of(against=False, value="not paused")
    until = f"lets go at {clock_time(pause.until)}" if pause.until else "lets go when a person resumes"
    return Ruling.of(against=True, value=f"paused ({pause.scope or 'global'}): {pause.why or 'no reason given'}", limit=until)


def _step_running(scene: Scene) -> Ruling:
    running = scene.case.history.step_running
    return Ruling.of(
        against=running,
        value="a step of this service is running" if running else "no step of this service is running",
        limit="one at a time; lets go when it has ended",
    )


def _cooldown(scene: Scene) -> Ruling:
    """Counted from the end of the last rollback; an acknowledgement by a person lifts it."""
    history, cooldown = scene.case.history, scene.case.policy.cooldown
    ended = history.last_rollback_completed_at
    if ended is None:
        return Ruling.of(against=False, value="no rollback before", limit=span(cooldown))
    acknowledged = history.last_rollback_acknowledged
    return Ruling.of(
        against=not acknowledged and scene.now - ended < cooldown,
        value=f"last rollback ended {span(scene.now - ended)} ago" + (", acknowledged" if acknowledged else ""),
        limit=f"{span(cooldown)}; lets go at {clock_time(ended + cooldown)} or when a person acknowledges it",
    )


def is_in_budget(history: History, budget: BudgetPolicy) -> bool:
    """Whether one more rollback is allowed (I7). Asked again, alone, at the moment of acting: others decide at the same time."""
    return history.rollbacks_of_service_last_day < budget.service_per_day and history.rollbacks_of_fleet_last_hour < budget.fleet_per_hour


def _budget(scene: Scene) -> Ruling:
    history, budget = scene.case.history, scene.case.policy.budget
    of_service, of_fleet = history.rollbacks_of_service_last_day, history.rollbacks_of_fleet_last_hour
    return Ruling.of(
        against=not is_in_budget(history, budget),
        value=f"{of_service} of this service in the last day, {of_fleet} of all services in the last hour",
        limit=f"{budget.service_per_day} a day for a service, {budget.fleet_per_hour} an hour for all; lets go as the oldest one ages out",
    )


def _rollback_of_rollback(scene: Scene) -> Ruling:
    suspect = scene.suspect
    if suspect is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no suspect")
    return Ruling.of(
        against=suspect.kind is ReleaseKind.ROLLBACK,
        value=f"{suspect.version} came as a {suspect.kind}",
        limit="a rollback is never rolled back automatically; a person may",
    )


def _freeze(scene: Scene) -> Ruling:
    return freeze.rule(scene.case.policy.freeze, scene.now)


def _fleet_brake(scene: Scene) -> Ruling:
    return fleet.rule(scene.case)


def _release_in_progress(scene: Scene) -> Ruling:
    """A release newer than the suspect counts as well: it may be the fix. An older one that never ended was overtaken.

    One that is recorded for a moment ahead comes from a clock ahead of this one, and may be reaching production already.
    """
    suspect, while_rolling = scene.suspect, scene.case.policy.while_rolling
    if suspect is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no suspect")
    rolling = sorted(
        release.version for release in scene.case.releases if release.started_at >= suspect.started_at and _is_under_way(release, scene.now)
    )
    return Ruling.of(
        against=bool(rolling) and while_rolling is not WhileRolling.ACT,
        value=f"still rolling: {', '.join(rolling)}" if rolling else f"{suspect.version} is {suspect.status}, nothing is rolling",
        limit=f"while_rolling: {while_rolling}; lets go when the release is live or has failed",
    )


def _is_under_way(release: Release, now: datetime) -> bool:
    ahead = release.started_at - now
    return ahead <= MOST_AHEAD and (release.status is ReleaseStatus.ROLLING or ahead > CLOCK_SLACK)


def _settling(scene: Scene) -> Ruling:
    since, settling = scene.case.serving_since, scene.case.policy.settling
    if since is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no daemon is serving")
    return Ruling.of(
        against=scene.now - since < settling,
        value=f"serving for {span(scene.now - since)}",
        limit=f"{span(settling)} after start or take-over; lets go at {clock_time(since + settling)}",
    )


def _no_room(scene: Scene) -> Ruling:
    """I5: what is begun must be journaled to its end. Not knowing whether it can be is as good as no room."""
    room = scene.case.room
    if room is None:
        return Ruling(CheckVerdict.NOT_APPLICABLE, "no daemon is serving")
    limit = f"{size(room.needed)} are held for the journal of one run; lets go by itself when the disk has room again"
    if room.problem or room.is_held is None:
        return Ruling(CheckVerdict.UNKNOWN if room.is_held is None else CheckVerdict.FAILED, room.problem or "cannot be seen", limit)
    return Ruling.of(
        against=not room.is_held,
        value=f"{size(room.needed)} are held" if room.is_held else f"less than {size(room.needed)} are held: the store's disk is full",
        limit=limit,
    )


GUARDS: Final = (
    Rule(Reason.PAUSED, _paused),
    Rule(Reason.STEP_RUNNING, _step_running),
    Rule(Reason.COOLDOWN, _cooldown),
    Rule(Reason.BUDGET, _budget),
    Rule(Reason.ROLLBACK_OF_ROLLBACK, _rollback_of_rollback),
    Rule(Reason.FREEZE, _freeze),
    Rule(Reason.FLEET_BRAKE, _fleet_brake),
    Rule(Reason.RELEASE_IN_PROGRESS, _release_in_progress),
    Rule(Reason.SETTLING, _settling),
    Rule(Reason.NO_ROOM, _no_room),
)
