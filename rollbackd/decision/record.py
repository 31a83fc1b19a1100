"""The record: one line for each rule that was asked, in words that a person reads at 3 a.m."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from rollbackd.model.decision import Action, Check, CheckVerdict, Decision
from rollbackd.model.reason import Reason

Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one rule says of one case: `value` is how things stand, `limit` what would be too much and when it lets go."""

    verdict: CheckVerdict
    value: str
    limit: str | None = None

    @classmethod
    def of(cls, *, against: bool, value: str, limit: str | None = None) -> "Ruling":
        return cls(CheckVerdict.FAILED if against else CheckVerdict.PASSED, value, limit)


@dataclass(frozen=True, slots=True)
class Rule(Generic[Facts]):
    """One named reason not to act, and the question whether it stands in the way of this case."""

    reason: Reason
    ask: Callable[[Facts], Ruling]
    name: str = ""

    def check(self, facts: Facts, at: datetime) -> Check:
        return self._line(self.ask(facts), at)

    def unasked(self, verdict: CheckVerdict, why: str, at: datetime) -> Check:
        return self._line(Ruling(verdict, why), at)

    def _line(self, ruling: Ruling, at: datetime) -> Check:
        match ruling.verdict:
            case CheckVerdict.PASSED:
                reason = Reason.PASSED
            case CheckVerdict.NOT_APPLICABLE:
                reason = Reason.NOT_APPLICABLE
            case _:
                reason = self.reason
        return Check(name=self.name or self.reason, verdict=ruling.verdict, reason=reason, at=at, value=ruling.value, limit=ruling.limit)


def ask_all(rules: Iterable[Rule[Facts]], facts: Facts, at: datetime, *, not_evaluated: Collection[Reason] = ()) -> tuple[Check, ...]:
    """Every rule is asked and recorded, also when an earlier one already decides."""
    return tuple(
        rule.unasked(CheckVerdict.NOT_EVALUATED, "cannot be judged here", at) if rule.reason in not_evaluated else rule.check(facts, at)
        for rule in rules
    )


def stands_in_the_way(check: Check) -> bool:
    """What failed does, and what cannot be known does as well (I3)."""
    return check.verdict in {CheckVerdict.FAILED, CheckVerdict.UNKNOWN}


def unrouted(reason: Reason, at: datetime, why: str) -> Decision:
    """The record of an alert that belongs to no service, or to several."""
    check = Check(name=reason, verdict=CheckVerdict.FAILED, reason=reason, at=at, value=why, limit="exactly one service")
    return Decision(action=Action.HOLD, reason=reason, at=at, checks=(check,))


def span(duration: timedelta) -> str:
    """`45 s`, `12 min`, `1 h 5 min`, `3 d 4 h`: the two largest units, without a sign."""
    minutes, seconds = divmod(round(abs(duration).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    told = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")) if count]
    return " ".join(told[:2]) or "0 s"


def size(count: int) -> str:
    """`4.2 MiB`."""
    return f"{count / 2**20:.1f} MiB"


def clock_time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"
