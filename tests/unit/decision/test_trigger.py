from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rollbackd.decision.trigger import Finding, carrying, confirm, lookback
from rollbackd.model.condition import Condition
from rollbackd.model.decision import AlertFacts
from rollbackd.model.measurement import IndicatorEvidence, PooledCounts, Verdict
from rollbackd.model.policy import Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from tests.unit.decision.builders import (
    HOUR,
    MINUTE,
    NOW,
    STEP,
    alert_facts,
    error_trigger,
    evidence_for,
    readings,
    relative_trigger,
    release,
    service_policy,
    slow_trigger,
)


def find(
    trigger: Trigger,
    evidence: IndicatorEvidence,
    *,
    alert: AlertFacts | None = None,
    releases: tuple[Release, ...] = (),
    now: datetime = NOW,
) -> Finding:
    return confirm(trigger, evidence, alert or alert_facts(), service_policy(trigger), releases, now)


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        ("B9", Reason.CONFIRMED),
        ("H1 B8", Reason.CONFIRMED),
        ("H2 B7", Reason.NOT_CONFIRMED),
        ("U1 B8", Reason.CONFIRMED),
        ("U2 B7", Reason.NOT_CONFIRMED),
        ("B8 H1", Reason.HEALTHY),
        ("B8 U1", Reason.UNKNOWN),
        ("B8 D1", Reason.UNKNOWN),
        ("B8 N1", Reason.UNKNOWN),
        ("H9", Reason.HEALTHY),
    ],
)
def test_the_last_step_and_eight_of_nine_over_two_minutes(story: str, reason: Reason) -> None:
    assert find(error_trigger(), evidence_for(error_trigger(), story)).reason is reason


@pytest.mark.parametrize("story", ["B1 H1 B1 U1 B1 H1 B1 U1 B1", "B2 H2 B5", "H1 B3 U1 B4"])
def test_row_31_a_breach_that_comes_and_goes_is_not_confirmed(story: str) -> None:
    assert find(error_trigger(), evidence_for(error_trigger(), story)).reason is Reason.NOT_CONFIRMED


@pytest.mark.parametrize(("story", "confirmed"), [("H8 B1", True), ("B8 H1", False)])
def test_without_a_for_the_last_step_alone_counts(story: str, confirmed: bool) -> None:  # noqa: FBT001
    trigger = error_trigger(hold_for=timedelta(0))
    assert find(trigger, evidence_for(trigger, story)).confirmed is confirmed


@pytest.mark.parametrize(
    ("pooled", "missing"),
    [
        (PooledCounts(window=2 * MINUTE, query="q", bad=12, total=49.4), Reason.LOW_TRAFFIC),
        (PooledCounts(window=2 * MINUTE, query="q", bad=12, total=49.6), None),  # extrapolated from fifty
        (PooledCounts(window=2 * MINUTE, query="q", bad=None, total=1000, reason=Reason.WARNINGS), Reason.WARNINGS),
        (PooledCounts(window=2 * MINUTE, query="q", bad=12, total=None, reason=Reason.STALE_SAMPLES), Reason.STALE_SAMPLES),
        (PooledCounts(window=2 * MINUTE, query="q"), Reason.NO_SERIES),
        (None, Reason.NO_SERIES),
    ],
)
def test_a_ratio_needs_both_counts_and_the_traffic(pooled: PooledCounts | None, missing: Reason | None) -> None:
    finding = find(error_trigger(), replace(evidence_for(error_trigger(), "B9", total=30), pooled=pooled))
    assert (finding.reason, finding.check.reason) == ((Reason.UNKNOWN, missing) if missing else (Reason.CONFIRMED, Reason.CONFIRMED))


@pytest.mark.parametrize("total", [0.0, 0.3])
def test_a_ratio_of_nothing_is_unknown_though_no_traffic_is_asked_for(total: float) -> None:
    trigger = error_trigger(min_requests=0)
    assert find(trigger, evidence_for(trigger, "B9", total=total, bad=total)).check.reason is Reason.LOW_TRAFFIC


def test_a_value_needs_its_traffic_only_where_it_is_asked_for() -> None:
    evidence = replace(evidence_for(slow_trigger(), "B9"), pooled=None)
    assert find(slow_trigger(), evidence).check.reason is Reason.NO_SERIES
    assert find(slow_trigger(min_requests=0), evidence).confirmed


def test_a_step_that_the_evidence_lacks_is_unknown() -> None:
    whole = evidence_for(error_trigger(), "B4 H2 B1 H1 B5")
    assert find(error_trigger(), whole).reason is Reason.NOT_CONFIRMED
    breached_only = replace(whole, readings=tuple(reading for reading in whole.readings if reading.value == 0.02))
    assert find(error_trigger(), breached_only).reason is Reason.NOT_CONFIRMED
    without_the_last = replace(whole, readings=whole.readings[:-1])
    assert find(error_trigger(), without_the_last).check.reason is Reason.NO_SERIES


@pytest.mark.parametrize("rounding", [timedelta(milliseconds=-1), timedelta(milliseconds=1)])
def test_times_that_were_rounded_on_the_way_are_still_those_steps(rounding: timedelta) -> None:
    evidence = evidence_for(error_trigger(), "H1 B8")
    rounded = replace(evidence, readings=tuple(replace(reading, at=reading.at + rounding) for reading in evidence.readings))
    assert find(error_trigger(), rounded, alert=alert_facts(starts_at=NOW - MINUTE)).confirmed


def test_evidence_of_an_earlier_look_says_nothing_about_now() -> None:
    assert find(error_trigger(), evidence_for(error_trigger(), "B30"), now=NOW + STEP).reason is Reason.UNKNOWN


def test_a_range_that_could_not_be_measured_says_why() -> None:
    evidence = replace(evidence_for(error_trigger(), "B9"), readings=(), reason=Reason.QUERY_FAILED, detail="connection refused")
    check = find(error_trigger(), evidence).check
    assert check.reason is Reason.QUERY_FAILED
    assert check.value is not None
    assert check.value.startswith("connection refused")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_never_breaches(value: float) -> None:
    evidence = replace(evidence_for(error_trigger(), "B9"), readings=readings([value] * 250))
    assert find(error_trigger(), evidence).check.reason is Reason.NOT_A_NUMBER


class TestLateDelivery:
    late = alert_facts(starts_at=NOW - 10 * MINUTE, delivered_at=NOW - STEP)

    def test_a_sample_from_before_the_delivery_does_not_count(self) -> None:
        evidence = replace(evidence_for(error_trigger(), "B9"), newest_sample_at=NOW - STEP)
        assert find(error_trigger(), evidence, alert=self.late).check.reason is Reason.NOT_SCRAPED_SINCE_DELIVERY

    def test_no_known_sample_does_not_count(self) -> None:
        evidence = replace(evidence_for(error_trigger(), "B9"), newest_sample_at=None)
        assert find(error_trigger(), evidence, alert=self.late).check.reason is Reason.NOT_SCRAPED_SINCE_DELIVERY

    def test_one_sample_scraped_since_is_enough(self) -> None:
        assert find(error_trigger(), evidence_for(error_trigger(), "B9"), alert=self.late).confirmed

    def test_five_minutes_are_not_late(self) -> None:
        punctual = alert_facts(starts_at=NOW - 5 * MINUTE, delivered_at=NOW)
        assert find(error_trigger(), evidence_for(error_trigger(), "B9"), alert=punctual).confirmed


class TestRelative:
    """Usually 40 ms; the last nine steps are what a test says they are."""

    trigger = relative_trigger()

    def evidence(self, usual: list[float | None], now: float = 130.0) -> IndicatorEvidence:
        return replace(evidence_for(slow_trigger(), "B9"), readings=readings([*usual, *[now] * 9]))

    @pytest.mark.parametrize(
        ("now", "verdict"), [(121, Verdict.BREACHED), (119, Verdict.UNKNOWN), (61, Verdict.UNKNOWN), (59, Verdict.HEALTHY)]
    )
    def test_three_times_the_baseline_breaches_and_one_and_a_half_clears(self, now: float, verdict: Verdict) -> None:
        assert find(self.trigger, self.evidence([40.0] * 400, now)).verdict is verdict

    def test_three_times_next_to_nothing_is_no_breach(self) -> None:
        finding = find(self.trigger, self.evidence([4.0] * 400, 99.0))
        assert (finding.verdict, finding.limit) == (Verdict.UNKNOWN, 100.0)

    def test_one_outlier_does_not_move_the_baseline(self) -> None:
        assert find(self.trigger, self.evidence([*[40.0] * 399, 90_000.0])).limit == 120.0

    @pytest.mark.parametrize(("samples", "limit"), [(9, None), (10, 120.0)])
    def test_under_ten_samples_there_is_no_baseline(self, samples: int, limit: float | None) -> None:
        usual = [*[None] * 100, *[40.0] * samples, *[None] * 5]
        finding = find(self.trigger, self.evidence(usual))
        assert finding.limit == limit
        assert (finding.check.reason is Reason.NO_BASELINE) is (limit is None)

    def test_the_baseline_ends_where_the_newest_recent_release_began(self) -> None:
        usual: list[float | None] = [*[40.0] * 300, *[130.0] * 80]
        v2 = release("v2", ago=(80 + 9) * STEP)
        assert find(self.trigger, self.evidence(usual), releases=(v2,)).limit == 120.0
        assert find(self.trigger, self.evidence(usual), releases=()).limit == 120.0  # the median of an hour: 160 usual, 80 not

    @pytest.mark.parametrize(("breach", "at_least", "expected"), [("> 3x", None, False), (">= 3x", None, False), ("> 3x", 0.5, True)])
    def test_times_nothing_is_no_limit_but_for_the_floor(self, breach: str, at_least: float | None, expected: bool) -> None:  # noqa: FBT001
        trigger = relative_trigger(breach=Condition.parse(breach), at_least=at_least)
        finding = find(trigger, self.evidence([0.0] * (500 - 9)))
        assert finding.confirmed is expected
        if not expected:
            assert finding.check.reason is Reason.NO_BASELINE
            assert (finding.check.limit or "").startswith(f"{breach} the baseline of 0, which limits nothing: set at_least; ")

    def test_of_two_recent_releases_the_newer_one_ends_the_baseline(self) -> None:
        usual: list[float | None] = [*[40.0] * 300, *[50.0] * (200 - 9)]
        v2, v3 = release("v2", ago=89 * STEP), release("v3", ago=70 * STEP)
        assert find(self.trigger, self.evidence(usual), releases=(v3, v2)).limit == 150.0
        assert find(self.trigger, self.evidence(usual), releases=(v2,)).limit == 120.0

    def test_a_release_since_the_alert_or_outside_the_window_does_not_move_it(self) -> None:
        usual: list[float | None] = [*[40.0] * 300, *[50.0] * 122]
        old, late = release("v1", ago=62 * MINUTE), release("v2", ago=timedelta(0))
        assert find(self.trigger, self.evidence(usual), releases=(late, old)).limit == 120.0

    def test_a_counter_that_was_just_born_is_no_part_of_it(self) -> None:
        evidence = self.evidence([*[None] * 100, *[40.0] * 10, *[None] * 5])
        newborn = tuple(replace(reading, newborn=reading.value == 40.0) for reading in evidence.readings)
        assert find(self.trigger, evidence).limit == 120.0
        assert find(self.trigger, replace(evidence, readings=newborn)).limit is None

    def test_without_a_release_the_baseline_ends_before_the_breach(self) -> None:
        just_over_ten = self.evidence([*[None] * 300, *[40.0] * 14])
        ends_at_alert = NOW - timedelta(seconds=1) - 3 * MINUTE
        counted = [r for r in just_over_ten.readings if r.value is not None and r.at < ends_at_alert]
        assert len(counted) == 10
        assert find(self.trigger, just_over_ten).limit == 120.0
        assert find(self.trigger, self.evidence([*[None] * 300, *[40.0] * 13])).limit is None


def test_how_far_back_readings_are_needed() -> None:
    policy = service_policy()
    assert lookback(policy, error_trigger()) == HOUR + 2 * MINUTE
    assert lookback(policy, relative_trigger()) == HOUR + 2 * MINUTE + HOUR + MINUTE


def test_what_could_be_seen_when_the_alert_came_stays_in_sight() -> None:
    policy, trigger = service_policy(), error_trigger()
    assert lookback(policy, trigger, 3 * HOUR) == 4 * HOUR + 2 * MINUTE
    assert lookback(policy, relative_trigger(), 3 * HOUR) == 4 * HOUR + 2 * MINUTE + HOUR + MINUTE
    assert lookback(policy, trigger, -MINUTE) == lookback(policy, trigger)  # its clock is ahead of ours
    assert lookback(policy, trigger, 100 * HOUR) == 25 * HOUR + 2 * MINUTE
    often = service_policy(scrape_interval=timedelta(seconds=1))
    assert lookback(often, trigger, 100 * HOUR) == lookback(often, relative_trigger(), 100 * HOUR) == timedelta(seconds=10_999)
    assert lookback(replace(often, blame_window=4 * HOUR), trigger, 100 * HOUR) == 4 * HOUR + 2 * MINUTE


def test_less_is_worse_for_a_downward_trigger() -> None:
    trigger = slow_trigger(breach=Condition.parse("< 0.99"), clear=Condition.parse(">= 0.995"))
    evidence = replace(evidence_for(slow_trigger(), "B9"), readings=readings([1.0] * 240 + [0.5] * 9))
    assert find(trigger, evidence).confirmed


class TestCarrying:
    def finding(self, name: str, story: str, severity: str) -> Finding:
        return find(slow_trigger(name=name, severity=severity), evidence_for(slow_trigger(), story))

    @pytest.mark.parametrize(
        ("own", "other", "expected"),
        [
            (("B9", "warning"), ("B9", "critical"), "other"),
            (("B9", "critical"), ("B9", "warning"), "own"),
            (("B9", "page"), ("B9", "warning"), "other"),
            (("B9", "warning"), ("B9", "warning"), "own"),
            (("B9", "warning"), ("B1", "critical"), "own"),
            (("B1", "critical"), ("B9", "warning"), "other"),
            (("H9", "critical"), ("B1", "info"), "other"),
            (("U9", "warning"), ("H9", "critical"), "own"),
            (("H9", "warning"), ("U9", "critical"), "own"),
        ],
    )
    def test_the_most_severe_confirmed_one_else_a_breached_one_else_the_own(
        self, own: tuple[str, str], other: tuple[str, str], expected: str
    ) -> None:
        findings = [self.finding("other", *other), self.finding("own", *own)]
        assert carrying(findings, alert_facts(trigger="own")).trigger.name == expected
