from datetime import timedelta

import pytest

from rollbackd.decision.decide import decide
from rollbackd.model.decision import Blame, CheckVerdict, Decision
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release, ReleaseStatus
from tests.unit.decision.builders import HOUR, MINUTE, NOW, STEP, V1, alert_facts, case_of, release, service_policy

ONSET = NOW - 8 * STEP  # of "B9"


def judged(story: str, *releases: Release, blame: bool = True) -> Decision:
    return decide(case_of(story, releases=releases, policy=service_policy(blame=blame)), NOW)


def before_onset(duration: timedelta, version: str = "v2", **changes: object) -> Release:
    return release(version, ago=NOW - ONSET + duration, **changes)


@pytest.mark.parametrize(
    ("before", "blame"),
    [
        (HOUR, Blame.INCONCLUSIVE),  # it had served in quiet for long
        (10 * MINUTE, Blame.TO_BLAME),
        (HOUR + timedelta(seconds=1), Blame.EXONERATED),
        (timedelta(0), Blame.TO_BLAME),
        (-STEP - timedelta(seconds=5), Blame.TO_BLAME),
        (-STEP - timedelta(seconds=6), Blame.EXONERATED),
    ],
)
def test_a_release_counts_from_one_hour_before_the_onset_to_one_step_and_five_seconds_after(before: timedelta, blame: Blame) -> None:
    assert judged("B9", before_onset(before), V1).blame is blame


def test_of_several_recent_ones_the_newest_that_had_begun_is_the_suspect() -> None:
    third, second = before_onset(MINUTE, "v3"), before_onset(30 * MINUTE, "v2")
    assert judged("B9", third, second, V1).suspect == third
    late = before_onset(-MINUTE, "v4")
    assert judged("B9", late, third, second, V1).suspect == third


def test_an_old_release_left_rolling_is_overtaken_by_a_newer_one() -> None:
    forgotten = before_onset(72 * HOUR, "v2", status=ReleaseStatus.ROLLING)
    decision = judged("B9", before_onset(24 * HOUR, "v3"), forgotten, V1)
    assert decision.reason is Reason.NO_RECENT_RELEASE


def test_a_failed_release_can_be_to_blame() -> None:
    failed = before_onset(MINUTE, status=ReleaseStatus.FAILED)
    decision = judged("B9", failed, V1)
    assert (decision.suspect, decision.blame) == (failed, Blame.TO_BLAME)


def test_the_later_of_two_is_innocent_and_the_earlier_too_old() -> None:
    decision = judged("B9", before_onset(-MINUTE), before_onset(2 * HOUR, "v1"))
    assert (decision.reason, decision.suspect and decision.suspect.version) == (Reason.BREACH_PREDATES_RELEASE, "v2")


def test_a_breach_older_than_the_look_back_exonerates_even_what_is_still_rolling() -> None:
    rolling = release("v2", ago=3 * HOUR, status=ReleaseStatus.ROLLING)
    assert judged("B260", rolling, V1).reason is Reason.BREACH_PREDATES_RELEASE


@pytest.mark.parametrize("hours", [0, 2, 9])
def test_time_alone_makes_no_release_innocent(hours: int) -> None:
    """It waits for a person, or is judged again because the release was recorded late."""
    fired = NOW - hours * HOUR
    onset = fired - 8 * STEP
    v2 = release("v2", ago=NOW - onset + MINUTE)
    steps = (NOW - onset) // STEP + 1
    case = case_of(f"H300 B{steps}", releases=(v2, V1), alert=alert_facts(starts_at=fired, delivered_at=fired))
    decision = decide(case, NOW)
    assert (decision.suspect, decision.blame, decision.onset) == (v2, Blame.TO_BLAME, onset)


class TestGaps:
    """A gap in the measurements can hide when the breach began, and so which release it came with."""

    def test_a_gap_after_the_release_hides_nothing(self) -> None:
        assert judged("U5 B9", before_onset(6 * STEP), V1).blame is Blame.TO_BLAME

    def test_a_gap_around_the_release_makes_it_inconclusive(self) -> None:
        assert judged("U5 B9", before_onset(2 * STEP), V1).blame is Blame.INCONCLUSIVE

    def test_a_gap_within_the_breach_that_hides_a_later_release_makes_it_inconclusive(self) -> None:
        later = release("v3", ago=10 * STEP)
        assert judged("B10 U1 B9", later, release("v2", ago=25 * STEP), V1).blame is Blame.INCONCLUSIVE

    def test_a_breach_that_bridges_the_gap_exonerates(self) -> None:
        assert judged("B10 U2 B9", release("v2", ago=10 * STEP), V1).blame is Blame.EXONERATED


def test_without_blame_the_newest_release_is_the_suspect_whatever_its_age() -> None:
    decision = judged("B260", release("v2", ago=500 * HOUR), release("v1", ago=900 * HOUR), blame=False)
    assert (decision.reason, decision.blame) == (Reason.BLAME_OFF, None)
    assert (decision.suspect and decision.suspect.version, decision.target and decision.target.version) == ("v2", "v1")
    skipped = [check for check in decision.checks if check.name in {"no_recent_release", "breach_predates_release", "onset"}]
    assert [check.verdict for check in skipped] == [CheckVerdict.NOT_APPLICABLE] * 3
