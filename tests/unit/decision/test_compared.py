"""What must hold for every case in which a confirmed breach was compared with all there is."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, assume, find, given, settings
from hypothesis import strategies as st

from rollbackd.decision.decide import decide
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import (
    Action,
    Case,
    CheckVerdict,
    Context,
    Decision,
    Dependency,
    FleetFacts,
    History,
    PauseFacts,
    RoomFacts,
    RunningVersion,
    Tripped,
)
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.reason import Reason
from tests.unit.decision.builders import MINUTE, NOW
from tests.unit.decision.compared import (
    DAY,
    SLOW,
    Compared,
    Steady,
    Under,
    compared,
    question_failed,
    reading_lost,
)
from tests.unit.decision.moved import shifted
from tests.unit.decision.test_properties import ALWAYS, without

K = TypeVar("K")
V = TypeVar("V")
Lose = Callable[[IndicatorEvidence], IndicatorEvidence]

often = settings(max_examples=100, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
searching = settings(phases=[Phase.generate], max_examples=5000, database=None, derandomize=True)

PROVEN = {"side_by_side", "onset", "before_and_after", "healthy_before", "soon_after"}
"""What more requests can only make surer. A place, or another day, that stood out may be joined by others that too few requests hid."""
LET_GO = {"no_recent_release", "breach_predates_release", "old_version_as_bad", "dependency_first"}


def acts(case: Case) -> bool:
    return decide(case, NOW).action is Action.ROLL_BACK


def verdicts(decision: Decision) -> Mapping[str, CheckVerdict]:
    return {check.name: check.verdict for check in decision.checks}


def in_context(case: Case, **changes: Any) -> Case:
    assert case.context is not None
    return replace(case, context=replace(case.context, **changes))


@pytest.mark.parametrize(
    "reason",
    [
        Reason.NO_RECENT_RELEASE,
        Reason.BREACH_PREDATES_RELEASE,
        Reason.OLD_VERSION_AS_BAD,
        Reason.LOCALISED,
        Reason.RECURRENT,
        Reason.DEPENDENCY_FIRST,
        Reason.INCONCLUSIVE,
        Reason.NO_SAFE_TARGET,
        Reason.TO_BLAME,
        Reason.UNKNOWN,
    ],
)
def test_the_cases_reach_every_answer(reason: Reason) -> None:
    """Or the properties below would hold for want of an example."""
    find(compared(), lambda told: decide(told.case, NOW).reason is reason, settings=searching)


@pytest.mark.parametrize(
    "name", ["answers", "side_by_side", "onset", "before_and_after", "healthy_before", "soon_after", "no_dependency", "no_nearer_change"]
)
@pytest.mark.parametrize("verdict", [CheckVerdict.PASSED, CheckVerdict.FAILED])
def test_the_cases_reach_every_proof(name: str, verdict: CheckVerdict) -> None:
    verdict = CheckVerdict.UNKNOWN if verdict is CheckVerdict.FAILED and name in {"answers", "onset"} else verdict
    find(compared(), lambda told: verdicts(decide(told.case, NOW))[name] is verdict, settings=searching)


# More requests at the same ratio


def times(evidence: IndicatorEvidence, factor: int) -> IndicatorEvidence:
    def more(count: float | None) -> float | None:
        return None if count is None else count * factor

    pooled = evidence.pooled
    return replace(
        evidence,
        readings=tuple(replace(one, bad=more(one.bad), total=more(one.total)) for one in evidence.readings),
        pooled=pooled and replace(pooled, bad=more(pooled.bad), total=more(pooled.total)),
    )


def each(of: Mapping[K, IndicatorEvidence], change: Lose) -> dict[K, IndicatorEvidence]:
    return {name: change(evidence) for name, evidence in of.items()}


def everywhere(case: Case, change: Lose) -> Case:
    context = case.context
    return replace(
        case,
        evidence=each(case.evidence, change),
        context=context
        and replace(
            context,
            before=context.before and change(context.before),
            versions=each(context.versions, change),
            places={label: each(by_value, change) for label, by_value in context.places.items()},
            earlier=each(context.earlier, change),
            targets=each(context.targets, change),
            dependencies={name: replace(one, evidence=each(one.evidence, change)) for name, one in context.dependencies.items()},
        ),
    )


@often
@given(compared(), st.integers(2, 50))
def test_more_requests_at_the_same_ratio_never_weaken_a_finding(told: Compared, factor: int) -> None:
    """Everything that was found stays found. What was too little to let a release go may now be enough for that, of course."""
    case = told.case
    assume(case.context is not None)
    few, many = decide(case, NOW), decide(everywhere(case, lambda one: times(one, factor)), NOW)
    assume(few.trigger == many.trigger)  # the comparisons are of one trigger
    before, after = verdicts(few), verdicts(many)
    assert {name for name in PROVEN if before[name] is CheckVerdict.PASSED} <= {
        name for name in PROVEN if after[name] is CheckVerdict.PASSED
    }
    assert {name for name in LET_GO if before[name] is CheckVerdict.FAILED} <= {
        name for name in LET_GO if after[name] is CheckVerdict.FAILED
    }
    assert (few.onset, few.value) == (many.onset, many.value)


@often
@given(compared(), st.integers(2, 50))
def test_more_requests_of_the_service_alone_never_turn_acting_into_holding(told: Compared, factor: int) -> None:
    """Of its own evidence and of the time before: what else it was compared with stays as it is."""
    case = replace(told, earlier=None).case
    assume(case.context is not None)
    assume(acts(case))
    context = case.context
    assert context is not None
    more = replace(
        case,
        evidence=each(case.evidence, lambda one: times(one, factor)),
        context=replace(context, before=context.before and times(context.before, factor)),
    )
    assume(decide(more, NOW).trigger == decide(case, NOW).trigger)
    assert acts(more)


# When


@often
@given(compared(), st.integers(-(10**9), 10**9))
def test_when_it_happens_does_not_matter(told: Compared, seconds: int) -> None:
    case, delta = told.case, timedelta(seconds=seconds)
    here, there = decide(case, NOW), decide(shifted(case, delta), NOW + delta)
    assert (here.action, here.reason, here.blame, here.trigger) == (there.action, there.reason, there.blame, there.trigger)
    assert [(one.name, one.verdict, one.reason) for one in here.checks] == [(one.name, one.verdict, one.reason) for one in there.checks]
    assert (here.onset and here.onset + delta) == there.onset


# In which order


def reordered(of: Mapping[K, V], random: Random) -> dict[K, V]:
    items = list(of.items())
    return dict(random.sample(items, len(items)))


@often
@given(compared(), st.randoms(use_true_random=False))
def test_the_order_in_which_it_was_told_does_not_matter(told: Compared, random: Random) -> None:
    case = told.case
    context = case.context
    assume(context is not None)
    assert context is not None

    def below(one: Dependency) -> Dependency:
        return replace(one, evidence=reordered(one.evidence, random), releases=tuple(random.sample(one.releases, len(one.releases))))

    shuffled = replace(
        case,
        releases=tuple(random.sample(case.releases, len(case.releases))),
        changes=tuple(random.sample(case.changes, len(case.changes))),
        evidence=reordered(case.evidence, random),
        context=replace(
            context,
            versions=reordered(context.versions, random),
            places={label: reordered(by_value, random) for label, by_value in reordered(context.places, random).items()},
            earlier=reordered(context.earlier, random),
            targets=reordered(context.targets, random),
            dependencies={name: below(one) for name, one in reordered(context.dependencies, random).items()},
        ),
    )
    assert decide(shuffled, NOW) == decide(case, NOW)


# Without some of it


def poorer(case: Case, lose: Lose) -> Iterator[tuple[str, Case]]:
    """The case without one piece of what it was compared with, each in turn. Nothing is known that was not before."""
    context = case.context
    assert context is not None
    yield "before", in_context(case, before=context.before and lose(context.before))
    yield "any before", in_context(case, before=None)
    yield "the values of the version label", in_context(case, versions_seen=None)
    for version, evidence in context.versions.items():
        if version in (context.versions_seen or ()) or lose is question_failed:  # else it is gone, and not missed
            yield version, in_context(case, versions={**context.versions, version: lose(evidence)})
        if version in (context.versions_seen or ()):
            yield f"any {version}", in_context(case, versions={name: one for name, one in context.versions.items() if name != version})
    for label, by_value in context.places.items():
        yield f"the values of {label}", in_context(case, places={}, unread=frozenset({label}))
        for value, evidence in by_value.items():
            yield f"{label}={value}", in_context(case, places={label: {**by_value, value: lose(evidence)}})
    for name, one in context.dependencies.items():
        yield f"any {name}", in_context(case, dependencies={other: each for other, each in context.dependencies.items() if other != name})
        for trigger, evidence in one.evidence.items():
            left = replace(one, evidence={**one.evidence, trigger: lose(evidence)})
            yield f"{trigger} of {name}", in_context(case, dependencies={**context.dependencies, name: left})
            without = replace(one, evidence={other: each for other, each in one.evidence.items() if other != trigger})
            yield f"any {trigger} of {name}", in_context(case, dependencies={**context.dependencies, name: without})
    yield "everything", replace(case, context=None)
    yield "the answers", replace(case, context=Context())


@often
@given(compared(), st.sampled_from([reading_lost, question_failed]))
def test_i3_losing_what_it_was_compared_with_never_turns_holding_into_acting(told: Compared, lose: Lose) -> None:
    """Not earlier days, nor the last hour of a target: Prometheus keeps no more than its retention, and no history is no exoneration."""
    case = told.case
    assume(case.context is not None)
    assume(not acts(case))
    assert [lost for lost, one in poorer(case, lose) if acts(one)] == []


@often
@given(compared())
def test_i3_history_that_could_not_be_asked_is_not_taken_for_none(told: Compared) -> None:
    case = told.case
    context = case.context
    assume(context is not None)
    assert context is not None
    assume(not acts(case))
    for ago, evidence in context.earlier.items():
        assert not acts(in_context(case, earlier={**context.earlier, ago: question_failed(evidence)}))
    for target, evidence in context.targets.items():
        assert not acts(in_context(case, targets={**context.targets, target: question_failed(evidence)}))


@often
@given(compared(), st.sets(st.integers(0, 64), max_size=30), st.booleans())
def test_i3_gaps_in_the_dependencies_never_turn_holding_into_acting(told: Compared, lost: set[int], left_out: bool) -> None:  # noqa: FBT001
    """Wherever they lie: before the breach they may hide when the dependency's own began, and at it whether there was one."""
    case = told.case
    context = case.context
    assume(context is not None and context.dependencies)
    assert context is not None
    assume(not acts(case))

    def with_gaps(evidence: IndicatorEvidence) -> IndicatorEvidence:
        return without(evidence, lost, left_out=left_out)

    gapped = {name: replace(one, evidence=each(one.evidence, with_gaps)) for name, one in context.dependencies.items()}
    assert not acts(in_context(case, dependencies=gapped))


# With something more in the way


def with_more(case: Case) -> Iterator[tuple[str, Case]]:
    """The case with one more guard or exoneration, each in turn."""
    context, policy = case.context, case.policy
    assert context is not None
    yield "paused", replace(case, pause=PauseFacts(paused=True))
    yield "settling", replace(case, serving_since=NOW)
    yield "no_room", replace(case, room=RoomFacts(is_held=False))
    yield "room unknown", replace(case, room=RoomFacts(is_held=None))
    yield "store refuses", replace(case, room=RoomFacts(problem="the disk is full"))
    yield "step_running", replace(case, history=History(step_running=True))
    yield "cooldown", replace(case, history=History(last_rollback_completed_at=NOW - MINUTE))
    yield "budget", replace(case, history=History(rollbacks_of_service_last_day=2))
    yield "freeze", replace(case, policy=replace(policy, freeze=(ALWAYS,)))
    yield "fleet_brake", replace(case, fleet=FleetFacts(tripped=tuple(Tripped(service=name, at=NOW) for name in "abc")))
    yield "running_version", replace(case, running=RunningVersion(answers=frozenset({"v9"}), reason=None))
    yield "releases", replace(case, releases_problem="the source timed out")
    yield (
        "a change",
        replace(case, changes=(*case.changes, Change(service="api", kind=ChangeKind.INFRA, what="nodes", at=NOW - 2 * MINUTE))),
    )
    for name, story in (("burning", "B70"), ("healthy", "H9"), ("unmeasured", "U99")):
        more = replace(policy, depends_on=(*policy.depends_on, name))
        dependency = Under(story, "H9").dependency("db")
        yield (
            f"a {name} dependency",
            replace(case, policy=more, context=replace(context, dependencies={**context.dependencies, name: dependency})),
        )
    recurrent = Steady("B").evidence(
        SLOW if decide(case, NOW).trigger == SLOW.name else case.policy.triggers[0], now=NOW - DAY, back=MINUTE
    )
    yield "recurrent", in_context(case, earlier={**context.earlier, DAY: recurrent})
    marked = tuple(replace(one, irreversible=True) for one in case.releases)
    yield "migration_barrier", replace(case, releases=marked)


@often
@given(compared())
def test_one_more_guard_or_exoneration_never_turns_holding_into_acting(told: Compared) -> None:
    case = told.case
    assume(case.context is not None)
    assume(not acts(case))
    assert [name for name, more in with_more(case) if acts(more)] == []


STOPPING = {
    "paused",
    "settling",
    "no_room",
    "room unknown",
    "store refuses",
    "step_running",
    "cooldown",
    "budget",
    "freeze",
    "fleet_brake",
    "running_version",
    "releases",
    "migration_barrier",
}


@often
@given(compared())
def test_one_more_guard_stops_what_would_be_done(told: Compared) -> None:
    case = told.case
    assume(case.context is not None)
    assume(acts(case))
    assert {name for name, more in with_more(case) if not acts(more)} >= STOPPING
