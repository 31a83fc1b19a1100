from datetime import UTC, datetime, timedelta

from rollbackd.backtest.past import PastReleases, Recorded
from rollbackd.model.release import Release, ReleaseStatus

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def release(version: str, started_at: datetime, live_at: datetime | None) -> Release:
    status = ReleaseStatus.LIVE if live_at else ReleaseStatus.FAILED
    return Release(service="api", version=version, artifact=version, started_at=started_at, live_at=live_at, status=status)


V1 = release("v1", NOW - 60 * SECOND, NOW - 50 * SECOND)
V2 = release("v2", NOW, NOW + 10 * SECOND)
V3 = release("v3", NOW + 20 * SECOND, None)
PAST = PastReleases({"api": Recorded.of([V1, V2, V3])})


def seen(now: datetime) -> list[tuple[str, str, datetime | None]]:
    return [(one.version, one.status, one.live_at) for one in PAST.of_service("api", now).releases]


def test_a_release_that_has_not_started_is_not_there() -> None:
    assert seen(NOW - SECOND) == [("v1", "live", V1.live_at)]


def test_a_release_whose_live_at_is_ahead_is_rolling() -> None:
    for now in (NOW, NOW + 9 * SECOND):
        assert seen(now) == [("v2", "rolling", None), ("v1", "live", V1.live_at)]


def test_a_release_is_live_from_its_live_at_on() -> None:
    assert seen(NOW + 10 * SECOND)[0] == ("v2", "live", V2.live_at)


def test_a_release_that_failed_has_failed() -> None:
    assert seen(NOW + 20 * SECOND)[0] == ("v3", "failed", None)


def test_a_service_without_releases_has_none() -> None:
    assert PAST.of_service("other", NOW) == Recorded()


def test_a_source_that_lists_nothing_so_old_cannot_tell() -> None:
    listed = PastReleases({"api": Recorded.of([V1, V2], listed_from=V1.started_at)})
    assert listed.of_service("api", V1.started_at - SECOND).problem.startswith("the release source lists nothing as old as this alert")
    assert listed.of_service("api", V1.started_at).problem == ""


def test_a_problem_of_a_source_stays() -> None:
    assert PastReleases({"api": Recorded(problem="it is down")}).of_service("api", NOW).problem == "it is down"
