"""One line of the results: what was measured, what it is compared with, and whether the goal is met."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

HEADINGS: Final = ("what", "ours", "peer or limit", "ratio", "goal", "")
_TIMES: Final = " \N{MULTIPLICATION SIGN}"


class Measure(Enum):
    """What a goal is about."""

    RATIO = auto()
    VALUE = auto()


@dataclass(frozen=True, slots=True)
class Goal:
    """`number` is the most that is allowed, or the least."""

    of: Measure
    number: float
    least: bool = False

    def met(self, number: float) -> bool:
        return number >= self.number if self.least else number <= self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`peer` names what stands beside it in `theirs`. A line without a goal is there to be compared with.

    `detail` are the figures behind it, for the JSON alone.
    """

    what: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    goal: Goal | None = None
    detail: Mapping[str, object] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        return None if not self.theirs else self.ours / self.theirs

    @property
    def met(self) -> bool | None:
        """None: there is no goal."""
        if self.goal is None:
            return None
        number = self.ratio if self.goal.of is Measure.RATIO else self.ours
        return number is not None and self.goal.met(number)

    def cells(self) -> tuple[str, ...]:
        """A row of the table."""
        beside = "" if self.theirs is None else f"{_number(self.theirs)} {self.unit} ({self.peer})"
        verdict = {True: "met", False: "missed", None: ""}[self.met]
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}{_TIMES}"
        return self.what, f"{_number(self.ours)} {self.unit}", beside, ratio, self._goal(), verdict

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": _rounded(self.ours),
            "peer": self.peer or None,
            "theirs": None if self.theirs is None else _rounded(self.theirs),
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "goal": self._goal() or None,
            "met": self.met,
            **({"detail": dict(self.detail)} if self.detail else {}),
        }

    def _goal(self) -> str:
        if self.goal is None:
            return ""
        unit = _TIMES if self.goal.of is Measure.RATIO else f" {self.unit}"
        return f"{'≥' if self.goal.least else '≤'} {self.goal.number:g}{unit}"


def ratio_at_most(number: float) -> Goal:
    return Goal(Measure.RATIO, number)


def ratio_at_least(number: float) -> Goal:
    return Goal(Measure.RATIO, number, least=True)


def at_most(number: float) -> Goal:
    return Goal(Measure.VALUE, number)


def at_least(number: float) -> Goal:
    return Goal(Measure.VALUE, number, least=True)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
