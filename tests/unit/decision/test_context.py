"""What is compared beyond the service's own numbers: versions side by side, places, other days, dependencies, traffic."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollbackd.decision.decide import decide
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import Action, Blame, Case, CheckVerdict, Context, Decision, Dependency
from rollbackd.model.measurement import IndicatorEvidence, Reading
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release, ReleaseStatus
from tests.unit.decision.builders import (
    HOUR,
    MINUTE,
    NOW,
    STEP,
    V1,
    V2,
    case_of,
    error_trigger,
    evidence_for,
    release,
    service_policy,
    slow_trigger,
    value_of,
)

DAY = timedelta(days=1)
DATABASE = service_policy(name="db")


def told(case: Case) -> Decision:
    return decide(case, NOW)


def with_context(case: Case, **changes: Any) -> Case:
    assert case.context is not None
    return replace(case, context=replace(case.context, **changes))


def verdict(decision: Decision, name: str) -> CheckVerdict:
    return next(check.verdict for check in decision.checks if check.name == name)


def value(decision: Decision, name: str) -> str:
    return next(check.value or "" for check in decision.checks if check.name == name)


def constant(ratio: float | None, *, total: float = 600, now: datetime = NOW, back: timedelta = HOUR) -> IndicatorEvidence:
    """The same ratio of the same number of requests at every step."""
    steps = back // STEP
    readings = [now - k * STEP for k in range(steps, -1, -1)]
    return IndicatorEvidence(
        indicator="error_rate",
        query="narrowed",
        step=STEP,
        readings=tuple(
            Reading(at, None, Reason.NO_SERIES) if ratio is None else Reading(at, ratio, bad=ratio * total, total=total) for at in readings
        ),
    )


class TestSideBySide:
    POLICY = service_policy(version_label="version")

    def case(self, new: IndicatorEvidence | None, old: IndicatorEvidence | None, story: str = "B9", **changes: Any) -> Case:
        versions = {name: one for name, one in (("v2", new), ("v1", old)) if one is not None}
        return with_context(case_of(story, policy=self.POLICY, **changes), versions=versions, versions_seen=frozenset(versions))

    def test_the_new_one_is_worse_than_the_old_one_beside_it(self) -> None:
        decision = told(self.case(constant(0.3), constant(0.001)))
        assert (decision.action, verdict(decision, "side_by_side")) == (Action.ROLL_BACK, CheckVerdict.PASSED)
        assert value(decision, "side_by_side").startswith("v2 0.3 (540 of 1,800) against 0.001111 (2 of 1,800): p < 1e-09 by v1")

    def test_it_needs_no_history(self) -> None:
        """A service without any measurement before the breach: nobody could compare before and after."""
        case = self.case(constant(0.3), constant(0.001), story="U240 B9", releases=(release("v2", ago=3 * MINUTE), V1))
        decision = told(with_context(case, before=None))
        assert decision.action is Action.ROLL_BACK
        assert verdict(decision, "before_and_after") is CheckVerdict.NOT_APPLICABLE

    def test_the_old_one_is_as_bad(self) -> None:
        decision = told(self.case(constant(0.3), constant(0.28)))
        assert (decision.reason, decision.blame) == (Reason.OLD_VERSION_AS_BAD, Blame.EXONERATED)

    def test_the_old_one_is_as_bad_where_the_new_one_has_no_series(self) -> None:
        assert told(self.case(None, constant(0.28))).reason is Reason.OLD_VERSION_AS_BAD

    def test_one_percent_of_the_traffic_is_enough_when_all_of_it_fails(self) -> None:
        assert told(self.case(constant(0.9, total=6), constant(0.001, total=60_000))).action is Action.ROLL_BACK

    def test_one_failure_of_few_is_not(self) -> None:
        decision = told(self.case(constant(0.02, total=6), constant(0.001, total=60_000)))
        assert verdict(decision, "side_by_side") is CheckVerdict.NOT_APPLICABLE
        assert "too little to tell" in value(decision, "side_by_side")

    def test_two_that_are_alike_and_not_breached_contradict_the_whole(self) -> None:
        decision = told(self.case(constant(0.004), constant(0.004)))
        assert (decision.reason, verdict(decision, "side_by_side")) == (Reason.INCONCLUSIVE, CheckVerdict.FAILED)

    def test_labels_that_cannot_be_read_are_unknown(self) -> None:
        case = with_context(case_of(policy=self.POLICY), versions_seen=None)
        assert (told(case).reason, verdict(told(case), "side_by_side")) == (Reason.INCONCLUSIVE, CheckVerdict.UNKNOWN)

    def test_labels_that_are_no_recorded_version_leave_the_other_road(self) -> None:
        case = with_context(case_of(policy=self.POLICY), versions_seen=frozenset({"abc123"}))
        decision = told(case)
        assert decision.action is Action.ROLL_BACK
        assert "neither v2 nor v1 is a value of version, but abc123" in value(decision, "side_by_side")


class TestBeforeAndAfter:
    def test_it_was_no_better_before(self) -> None:
        """Half of the requests failed before the release as well, in bursts that the majority of the steps do not show."""
        case = case_of("B9")
        noisy = [replace(one, bad=200.0) if k % 4 == 0 else one for k, one in enumerate(constant(0.001, now=V2.started_at).readings)]
        decision = told(with_context(case, before=replace(constant(0.001), readings=tuple(noisy))))
        assert (decision.reason, verdict(decision, "healthy_before")) == (Reason.INCONCLUSIVE, CheckVerdict.PASSED)
        assert verdict(decision, "before_and_after") is CheckVerdict.FAILED

    def test_breached_before_for_most_of_the_time(self) -> None:
        decision = told(with_context(case_of("B9"), before=constant(0.02, now=V2.started_at)))
        assert (decision.reason, verdict(decision, "healthy_before")) == (Reason.INCONCLUSIVE, CheckVerdict.FAILED)

    def test_a_noisy_ten_minutes_are_outweighed_by_the_hour(self) -> None:
        before = constant(0.001, now=V2.started_at)
        noisy = (*before.readings[:-25], *(replace(one, value=0.02) for one in before.readings[-25:]))
        assert verdict(told(with_context(case_of("B9"), before=replace(before, readings=noisy))), "healthy_before") is CheckVerdict.PASSED

    @pytest.mark.parametrize(("breached", "proven"), [(32, CheckVerdict.PASSED), (33, CheckVerdict.FAILED)])
    def test_ten_minutes_that_were_breached_throughout_are_not(self, breached: int, proven: CheckVerdict) -> None:
        """41 steps: 33 are 80 % of them. A restart may heal for a minute what was broken before it."""
        before = constant(0.001, now=V2.started_at)
        broken = (*before.readings[:-breached], *(replace(one, value=0.02) for one in before.readings[-breached:]))
        decision = told(with_context(case_of("B9"), before=replace(before, readings=broken)))
        assert verdict(decision, "healthy_before") is proven
        assert ("breached in 33 of 41 measurements" in value(decision, "healthy_before")) is (proven is CheckVerdict.FAILED)

    @pytest.mark.parametrize("before", [None, constant(None, now=V2.started_at)])
    def test_without_a_before_there_is_no_blame(self, before: IndicatorEvidence | None) -> None:
        decision = told(with_context(case_of("B9"), before=before))
        assert (decision.action, decision.reason) == (Action.HOLD, Reason.INCONCLUSIVE)
        assert verdict(decision, "before_and_after") is CheckVerdict.UNKNOWN

    def test_it_had_served_in_quiet_for_long(self) -> None:
        decision = told(case_of("B9", releases=(release("v2", ago=40 * MINUTE), V1)))
        assert (decision.reason, decision.blame) == (Reason.INCONCLUSIVE, Blame.INCONCLUSIVE)
        assert "38 min after v2 was live" in value(decision, "soon_after")

    def test_one_that_failed_counts_from_its_start(self) -> None:
        failed = release("v2", ago=40 * MINUTE, status=ReleaseStatus.FAILED, live_at=None)
        assert verdict(told(case_of("B9", releases=(failed, V1))), "soon_after") is CheckVerdict.FAILED

    def test_slow_answers_are_compared_by_rank(self) -> None:
        policy = service_policy(slow_trigger())
        decision = told(case_of({"SlowResponse": evidence_for(slow_trigger(), "B9")}, policy=policy))
        assert decision.action is Action.ROLL_BACK
        assert "2000 (median of 9) against 250 (median of 241)" in value(decision, "before_and_after")


class TestSurge:
    def case(self, surge: float, *, from_step: int, story: str = "B9") -> Case:
        case = case_of(story)
        evidence = case.evidence["HighErrorRate"]
        readings = [
            replace(one, total=600 * surge, bad=(one.bad or 0) * surge) if k >= len(evidence.readings) - from_step else one
            for k, one in enumerate(evidence.readings)
        ]
        return replace(case, evidence={"HighErrorRate": replace(evidence, readings=tuple(readings))})

    def test_one_that_began_before_the_breach_explains_it(self) -> None:
        decision = told(self.case(5, from_step=9 + 12))
        assert (decision.reason, verdict(decision, "no_surge")) == (Reason.INCONCLUSIVE, CheckVerdict.FAILED)

    def test_retries_that_the_release_itself_brought_about_do_not(self) -> None:
        assert told(self.case(5, from_step=9)).action is Action.ROLL_BACK

    @pytest.mark.parametrize(("lost", "told_apart"), [(20, CheckVerdict.PASSED), (24, CheckVerdict.UNKNOWN), (40, CheckVerdict.UNKNOWN)])
    def test_what_was_not_counted_may_have_been_one(self, lost: int, told_apart: CheckVerdict) -> None:
        """Of the 40 steps before the breach, that is of ten windows; the last of them belongs to it."""
        case = case_of("B9")
        evidence = case.evidence["HighErrorRate"]
        end = len(evidence.readings) - 9
        gap = tuple(Reading(one.at, None, Reason.NO_SERIES) for one in evidence.readings[end - lost : end])
        readings = (*evidence.readings[: end - lost], *gap, *evidence.readings[end:])
        decision = told(replace(case, evidence={"HighErrorRate": replace(evidence, readings=readings)}))
        assert verdict(decision, "no_surge") is told_apart
        assert decision.action is not Action.ROLL_BACK

    def test_a_busy_minute_is_none(self) -> None:
        assert told(self.case(1.5, from_step=9 + 12)).action is Action.ROLL_BACK


class TestPlaces:
    POLICY = service_policy(spread=("zone",))

    def case(self, **ratios: float | None) -> Case:
        places = {"zone": {zone: constant(ratio) for zone, ratio in ratios.items()}}
        return with_context(case_of(policy=self.POLICY), places=places)

    def test_one_zone_alone_is_the_zones_fault(self) -> None:
        decision = told(self.case(a=0.9, b=0.001, c=0.0))
        assert (decision.reason, value(decision, "localised")) == (Reason.LOCALISED, "only zone=a is breached; healthy: b, c")

    def test_a_zone_without_a_request_is_in_nobodys_way(self) -> None:
        case = self.case(a=0.9, b=0.001)
        assert case.context is not None
        idle = constant(None)
        idle = replace(idle, readings=tuple(Reading(one.at, None, Reason.LOW_TRAFFIC) for one in idle.readings))
        decision = told(with_context(case, places={"zone": {**case.context.places["zone"], "c": idle}}))
        assert (decision.reason, value(decision, "localised")) == (Reason.LOCALISED, "only zone=a is breached; healthy: b")

    @pytest.mark.parametrize("ratios", [{"a": 0.9, "b": 0.9}, {"a": 0.9}, {"a": 0.9, "b": 0.9, "c": 0.0}, {"a": 0.9, "b": 0.9, "c": None}])
    def test_anything_else_lets_nobody_go(self, ratios: Mapping[str, float | None]) -> None:
        assert told(self.case(**ratios)).action is Action.ROLL_BACK


class TestOtherDays:
    def case(self, ago: Mapping[str, float | None], *, releases: Iterable[Release] = (V2, V1), total: float = 600) -> Case:
        days = {"day": DAY, "week": 7 * DAY}
        earlier = {days[name]: constant(ratio, total=total, now=NOW - days[name], back=2 * MINUTE) for name, ratio in ago.items()}
        return with_context(case_of(releases=releases), earlier=earlier)

    @pytest.mark.parametrize("ago", [{"day": 0.02}, {"day": 0.0, "week": 0.02}])
    def test_the_same_breach_stood_then(self, ago: Mapping[str, float]) -> None:
        assert told(self.case(ago, releases=(V2, release("v1", ago=30 * DAY)))).reason is Reason.RECURRENT

    def test_one_that_was_far_less_bad_is_not_the_same(self) -> None:
        """By 0.015 beyond clear now: 0.006 does not explain that, 0.008 does. Of a tenth of the requests it might be chance."""
        forgotten = (V2, release("v1", ago=30 * DAY))
        decision = told(self.case({"day": 0.011}, releases=forgotten, total=6000))
        assert (decision.action, value(decision, "recurrent")) == (
            Action.ROLL_BACK,
            "1 d ago: breached in 100 % of the measurements, by far less",
        )
        assert told(self.case({"day": 0.013}, releases=forgotten, total=6000)).reason is Reason.RECURRENT
        assert told(self.case({"day": 0.011}, releases=forgotten, total=600)).reason is Reason.RECURRENT

    def test_not_when_another_release_explains_it(self) -> None:
        assert told(self.case({"day": 0.02}, releases=(V2, release("v1", ago=DAY + 10 * MINUTE)))).action is Action.ROLL_BACK

    @pytest.mark.parametrize("ago", [{"day": None}, {"day": None, "week": 0.001}, {}])
    def test_no_history_is_no_exoneration(self, ago: Mapping[str, float | None]) -> None:
        assert told(self.case(ago)).action is Action.ROLL_BACK


class TestDependencies:
    POLICY = service_policy(depends_on=("db",))

    def case(self, story: str | None, *, releases: Iterable[Release] = (), ours: str = "B9", total: float = 1204) -> Case:
        evidence = {"HighErrorRate": evidence_for(error_trigger(), story, total=total)} if story else {}
        database = Dependency(policy=DATABASE, evidence=evidence, releases=tuple(releases))
        return with_context(case_of(ours, policy=self.POLICY), dependencies={"db": database})

    def test_one_that_burnt_before_both_exonerates(self) -> None:
        assert told(self.case("B30")).reason is Reason.DEPENDENCY_FIRST

    def test_one_that_burns_since_before_the_look_back_as_well(self) -> None:
        assert told(self.case("B250")).reason is Reason.DEPENDENCY_FIRST

    def test_one_that_was_released_and_broke_with_us_leaves_it_open(self) -> None:
        decision = told(self.case("B9", releases=(release("db-7", ago=3 * MINUTE, service="db"),)))
        assert (decision.reason, verdict(decision, "no_dependency")) == (Reason.INCONCLUSIVE, CheckVerdict.FAILED)
        assert "db-7 was released there" in value(decision, "no_dependency")

    def test_one_that_broke_with_us_without_a_release_may_be_our_victim(self) -> None:
        assert told(self.case("B9", releases=(release("db-7", ago=DAY, service="db"),))).action is Action.ROLL_BACK

    def test_one_that_we_broke_later_is_our_victim(self) -> None:
        assert told(self.case("B3", releases=(release("db-7", ago=3 * MINUTE, service="db"),))).action is Action.ROLL_BACK

    def test_a_healthy_one_is_no_excuse(self) -> None:
        assert told(self.case("H9", releases=(release("db-7", ago=3 * MINUTE, service="db"),))).action is Action.ROLL_BACK

    @pytest.mark.parametrize("story", [None, "U250"])
    def test_one_that_is_not_measured_leaves_it_open(self, story: str | None) -> None:
        decision = told(self.case(story))
        assert (decision.reason, verdict(decision, "no_dependency")) == (Reason.INCONCLUSIVE, CheckVerdict.UNKNOWN)

    def test_one_that_was_not_asked_leaves_it_open(self) -> None:
        decision = told(case_of(policy=self.POLICY))
        assert verdict(decision, "no_dependency") is CheckVerdict.UNKNOWN


class TestInACircle:
    """Two services that depend on each other: each is asked about the other as it stands, and no further."""

    def case(self, ours: str, theirs: str, *, ago: timedelta = timedelta(seconds=150), released: timedelta | None = None) -> Case:
        """Of one of the two, which was released so long `ago`; `released` is how long ago the other one was, None: not lately."""
        policy = service_policy(depends_on=("b",))
        releases = [release("b-2", ago=released or DAY, service="b")]
        other = Dependency(
            policy=service_policy(name="b", depends_on=("api",)),
            evidence={"HighErrorRate": evidence_for(error_trigger(), theirs)},
            releases=tuple(releases),
        )
        return with_context(case_of(ours, policy=policy, releases=(release("v2", ago=ago), V1)), dependencies={"b": other})

    def test_both_released_and_broken_at_once_neither_can_be_told_to_be_the_cause(self) -> None:
        """The case is the same from either side, so both are left to a person."""
        decision = told(self.case("B9", "B9", released=timedelta(seconds=150)))
        assert (decision.action, decision.reason, verdict(decision, "no_dependency")) == (
            Action.HOLD,
            Reason.INCONCLUSIVE,
            CheckVerdict.FAILED,
        )

    def test_both_broken_at_once_the_one_that_alone_was_released_is_the_cause(self) -> None:
        assert told(self.case("B9", "B9")).action is Action.ROLL_BACK
        of_the_other = replace(self.case("B9", "B9", released=timedelta(seconds=150)), releases=(V1,))
        assert told(of_the_other).reason is Reason.NO_RECENT_RELEASE

    def test_the_one_that_broke_first_is_the_cause_and_the_other_its_victim(self) -> None:
        """By its own release each: the first one's was four minutes ago, the second one's two and a half."""
        assert told(self.case("B9", "B15", released=4 * MINUTE)).reason is Reason.DEPENDENCY_FIRST
        assert told(self.case("B15", "B9", ago=4 * MINUTE, released=timedelta(seconds=150))).action is Action.ROLL_BACK


class TestChanges:
    ONSET = NOW - 8 * STEP  # of "B9"

    def case(self, *before_onset: timedelta, **rollout: Any) -> Case:
        """Changes so long before the breach; the release came five minutes before it, and was live at once unless its `rollout` says."""
        changes = tuple(Change(service="api", kind=ChangeKind.FLAG, what="dark mode", at=self.ONSET - ago) for ago in before_onset)
        return case_of("B9", releases=(release("v2", ago=NOW - self.ONSET + 5 * MINUTE, **rollout), V1), changes=changes)

    @pytest.mark.parametrize("ago", [MINUTE, timedelta(0), -STEP])
    def test_one_nearer_to_the_breach_than_the_release_leaves_it_open(self, ago: timedelta) -> None:
        decision = told(self.case(ago))
        assert (decision.reason, verdict(decision, "no_nearer_change")) == (Reason.INCONCLUSIVE, CheckVerdict.FAILED)
        assert "flag 'dark mode' was altered" in value(decision, "no_nearer_change")

    @pytest.mark.parametrize("ago", [6 * MINUTE, -2 * MINUTE])
    def test_one_before_the_release_or_after_the_breach_does_not(self, ago: timedelta) -> None:
        assert told(self.case(ago)).action is Action.ROLL_BACK

    def test_a_breach_while_the_release_rolls_out_is_nearest_to_it(self) -> None:
        assert told(self.case(MINUTE, live_at=self.ONSET + MINUTE)).action is Action.ROLL_BACK


class TestTarget:
    OLDER = release("v0", ago=48 * HOUR)

    def case(self, **ratios: float | None) -> Case:
        releases = (V2, V1, self.OLDER)
        served = {one: constant(ratios[one.version]) for one in releases if one.version in ratios}
        return with_context(case_of(releases=releases), targets=served)

    def test_one_that_was_breached_when_it_last_served_is_passed_over(self) -> None:
        decision = told(self.case(v1=0.02, v0=0.0))
        assert (decision.action, decision.target) == (Action.ROLL_BACK, self.OLDER)
        assert "v1 was breached in 241 of 241 measurements when it last served" in value(decision, "target")

    def test_when_none_was_healthy_a_person_decides(self) -> None:
        assert told(self.case(v1=0.02, v0=0.02)).reason is Reason.NO_SAFE_TARGET

    def test_no_history_speaks_against_nobody(self) -> None:
        assert told(self.case(v1=None)).target == V1

    def test_behind_three_that_were_breached_a_person_says_how_far_back(self) -> None:
        """The fourth one was not asked, which is no health."""
        earlier = tuple(release(f"v{days}", ago=days * DAY, artifact=f"image:{days}") for days in range(1, 5))
        case = case_of(releases=(V2, *earlier))
        assert told(case).target == earlier[0]
        bad = told(with_context(case, targets={one: constant(0.02) for one in earlier[:3]}))
        assert (bad.action, bad.reason) == (Action.ESCALATE, Reason.NO_SAFE_TARGET)


class TestLittleTraffic:
    """Counted back to the onset, at most to the release, until there is enough."""

    def case(self, per_window: float, story: str = "B20") -> Case:
        evidence = evidence_for(error_trigger(), story, total=2 * per_window)
        share = value_of("B", error_trigger()) or 0.0
        readings = tuple(
            replace(one, total=per_window, bad=per_window * (one.value or 0)) if one.value is not None else one for one in evidence.readings
        )
        bad = share * 2 * per_window
        assert evidence.pooled is not None
        evidence = replace(evidence, readings=readings, pooled=replace(evidence.pooled, bad=bad))
        return case_of({"HighErrorRate": evidence}, releases=(release("v2", ago=6 * MINUTE), V1))

    def test_it_adds_up(self) -> None:
        decision = told(self.case(13))
        assert value(decision, "trigger HighErrorRate").split("; ")[1].endswith("requests over 4 min 45 s")
        assert decision.trigger == "HighErrorRate"
        assert decision.reason is not Reason.UNKNOWN

    def test_too_little_stays_unknown(self) -> None:
        assert told(self.case(9)).reason is Reason.UNKNOWN


def test_without_context_nothing_acts() -> None:
    """Whoever asks `decide` without asking Prometheus for it gets no action for his laziness (I3)."""
    assert told(replace(case_of("B9"), context=None)).reason is Reason.INCONCLUSIVE
    assert told(replace(case_of("B9"), context=Context())).reason is Reason.INCONCLUSIVE
