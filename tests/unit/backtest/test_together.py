from datetime import UTC, datetime, timedelta

from rollbackd.backtest.together import ROLLBACK_TAKES, Ledger
from rollbackd.model.decision import History

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
