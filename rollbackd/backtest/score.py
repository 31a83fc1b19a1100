"""How often the decision was right, by what a person says should have been decided. Pure.

Positive is `roll_back`: an escalation rolls nothing back, so of an alert that should have been it counts as missed. A figure that does
not exist, such as the precision of nothing, is None.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from typing import Final

from rollbackd.backtest.past import Truth
from rollbackd.model.decision import Action

FIGURES: Final = ("precision", "recall", "false_rollbacks", "missed", "median_seconds_to_decide", "n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One alert of which the truth is known: what was decided, and how long after the alert."""

    truth: Truth
    decision: Action
    took: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    precision: float | None
    recall: float | None
    false_rollbacks: int
    missed: int
    median_seconds_to_decide: float | None
    n: int
    by_scenario: Mapping[str, "Score"] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, float | int | None]:
        return {name: getattr(self, name) for name in FIGURES}


def score(decided: Iterable[Scored]) -> Score:
    """Over all, and by scenario, in the order in which the scenarios come; an alert without a scenario counts only over all."""
    all_of_them = tuple(decided)
    scenarios = dict.fromkeys(one.truth.scenario for one in all_of_them if one.truth.scenario is not None)
    return _figures(all_of_them, {name: _figures(tuple(one for one in all_of_them if one.truth.scenario == name)) for name in scenarios})


def _figures(decided: tuple[Scored, ...], by_scenario: Mapping[str, Score] | None = None) -> Score:
    rolled_back = sum(one.decision is Action.ROLL_BACK for one in decided)
    should_be = sum(one.truth.decision is Action.ROLL_BACK for one in decided)
    right = sum(one.decision is one.truth.decision is Action.ROLL_BACK for one in decided)
    return Score(
        precision=right / rolled_back if rolled_back else None,
        recall=right / should_be if should_be else None,
        false_rollbacks=rolled_back - right,
        missed=should_be - right,
        median_seconds_to_decide=median(one.took.total_seconds() for one in decided) if decided else None,
        n=len(decided),
        by_scenario=by_scenario or {},
    )
