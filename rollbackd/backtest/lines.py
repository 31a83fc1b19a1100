"""Results as data: one line an alert, one for the score. Names and nesting are fixed; a field may be added, none renamed. Pure."""

from datetime import datetime

from rollbackd.backtest.run import Result
from rollbackd.backtest.score import Score
from rollbackd.clock import rfc3339
from rollbackd.model.decision import Action, Check


def line(result: Result) -> dict[str, object]:
    decision = result.decision
    return {
        "id": result.alert.id,
        "service": result.service,
        "decision": decision.action,
        "reason": decision.reason,
        "decided_at": seconds(decision.at),
        "target": decision.target.version if decision.target else None,
        "suspect": decision.suspect.version if decision.suspect else None,
        "blame": decision.blame,
        "trigger": decision.trigger,
        "onset": None if decision.onset is None else seconds(decision.onset),
        "looks": result.looks,
        "checks": [_check(check) for check in decision.checks],
    }


def differ(one: Result, two: Result) -> bool:
    """Whether something else would be done about the same alert; another reason to do the same is no change."""
    return _done(one) != _done(two)


def change_line(result: Result, other: Result) -> dict[str, object]:
    """A line with what another config decides beside it."""
    whole = line(other)
    decided = {name: whole[name] for name in ("service", "decision", "reason", "decided_at", "target")}
    return {**line(result), "changes": differ(result, other), "other": decided}


def score_line(score: Score, other: Score | None = None) -> dict[str, object]:
    """`other` is the score under another config."""
    figures: dict[str, object] = {"score": _figures(score)}
    return figures if other is None else {**figures, "other": _figures(other)}


def _done(result: Result) -> tuple[object, ...]:
    """The target matters only where it is gone back to."""
    decision = result.decision
    target = decision.target if decision.action is Action.ROLL_BACK else None
    return result.service, decision.action, target


def _figures(score: Score) -> dict[str, object]:
    return {**score.figures, "by_scenario": {name: one.figures for name, one in score.by_scenario.items()}}


def seconds(instant: datetime) -> float:
    """Epoch seconds; whole ones without a fraction."""
    stamp = instant.timestamp()
    return int(stamp) if stamp.is_integer() else stamp


def _check(check: Check) -> dict[str, object]:
    return {
        "name": check.name,
        "verdict": check.verdict,
        "reason": check.reason,
        "query": check.query,
        "value": check.value,
        "limit": check.limit,
        "sample_time": None if check.sample_time is None else rfc3339(check.sample_time),
        "at": rfc3339(check.at),
    }
