from datetime import UTC, datetime, timedelta

from rollbackd.backtest.past import PastReleases, Recorded
from rollbackd.backtest.together import ROLLBACK_TAKES, Fired, Ledger
from rollbackd.model.decision import History, Trip
from rollbackd.model.release import Release

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ledger(*rollbacks: tuple[str, datetime]) -> Ledger:
    made = Ledger()
    for service, at in rollbacks:
        made.roll_back(service, at)
    return made


def test_where_nothing_was_rolled_back_there_is_no_history() -> None:
    assert Ledger().history("api", NOW) == History()


def test_a_step_runs_until_the_rollback_is_taken_to_have_ended() -> None:
    running = ledger(("api", NOW)).history("api", NOW + ROLLBACK_TAKES - timedelta(seconds=1))
    assert (running.step_running, running.last_rollback_completed_at) == (True, None)
    ended = ledger(("api", NOW)).history("api", NOW + ROLLBACK_TAKES)
    assert (ended.step_running, ended.last_rollback_completed_at) == (False, NOW + ROLLBACK_TAKES)
    assert not ended.last_rollback_acknowledged


def test_budgets_count_the_services_day_and_the_fleets_hour() -> None:
    history = ledger(("api", NOW - 25 * HOUR), ("api", NOW - 2 * HOUR), ("web", NOW - HOUR / 2), ("api", NOW)).history("api", NOW)
    assert (history.rollbacks_of_service_last_day, history.rollbacks_of_fleet_last_hour) == (2, 2)


def test_a_rollback_of_another_service_is_no_cooldown() -> None:
    history = ledger(("web", NOW - HOUR)).history("api", NOW)
    assert (history.last_rollback_completed_at, history.step_running) == (None, False)


def test_what_had_fired_by_now_with_the_release_that_it_had_then() -> None:
    v1, v2 = (
        Release(service="api", version=version, artifact=version, started_at=at, live_at=at)
        for version, at in (("v1", NOW - HOUR), ("v2", NOW + HOUR / 2))
    )
    fired = Fired([(NOW + HOUR, "api"), (NOW, "web"), (NOW, "api")], PastReleases({"api": Recorded.of([v1, v2])}))
    then = (Trip(service="api", at=NOW, release=v1), Trip(service="web", at=NOW, release=None))
    assert fired.trips(NOW, NOW) == then
    assert fired.trips(NOW + HOUR / 4, NOW + HOUR) == (Trip(service="api", at=NOW + HOUR, release=v2),)
    assert fired.trips(NOW - HOUR, NOW + HOUR / 2) == then  # a release after the alert is not the one that it had
    assert fired.trips(NOW - HOUR, NOW - HOUR / 2) == ()
