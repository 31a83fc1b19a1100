from datetime import timedelta

from rollbackd.backtest.past import Truth
from rollbackd.backtest.score import Score, Scored, score
from rollbackd.model.decision import Action

ROLL_BACK, HOLD, ESCALATE = Action.ROLL_BACK, Action.HOLD, Action.ESCALATE


def scored(truth: Action, decision: Action, *, scenario: str | None = None, seconds: float = 0) -> Scored:
    return Scored(truth=Truth(decision=truth, scenario=scenario), decision=decision, took=timedelta(seconds=seconds))


def test_of_nothing_no_figure_exists() -> None:
    assert score([]) == Score(precision=None, recall=None, false_rollbacks=0, missed=0, median_seconds_to_decide=None, n=0)


def test_precision_and_recall() -> None:
    told = [scored(ROLL_BACK, ROLL_BACK, seconds=10), scored(ROLL_BACK, HOLD, seconds=20), scored(HOLD, ROLL_BACK, seconds=90)]
    told += [scored(ROLL_BACK, ROLL_BACK, seconds=40), scored(HOLD, HOLD, seconds=50)]
    assert score(told) == Score(precision=2 / 3, recall=2 / 3, false_rollbacks=1, missed=1, median_seconds_to_decide=40, n=5)


def test_an_escalation_is_not_rolled_back() -> None:
    told = score([scored(ROLL_BACK, ESCALATE), scored(HOLD, ESCALATE)])
    assert (told.precision, told.recall, told.false_rollbacks, told.missed) == (None, 0.0, 0, 1)


def test_where_nothing_should_be_rolled_back_there_is_no_recall() -> None:
    told = score([scored(HOLD, HOLD), scored(HOLD, ROLL_BACK)])
    assert (told.precision, told.recall) == (0.0, None)


def test_by_scenario_are_the_same_figures_of_a_part() -> None:
    told = [scored(ROLL_BACK, ROLL_BACK, scenario="bad code"), scored(HOLD, ROLL_BACK, scenario="node lost"), scored(HOLD, HOLD)]
    assert score(told).n == 3
    assert score(told).by_scenario == {"bad code": score([scored(ROLL_BACK, ROLL_BACK)]), "node lost": score([scored(HOLD, ROLL_BACK)])}
