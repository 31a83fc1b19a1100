"""A condition on one number, as the config writes it: `> 0.01`, `<= 500`, or relative to the service's own baseline: `> 3x`."""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

_SYNTAX: Final = re.compile(r"(?P<comparison>>=|<=|>|<)\s*(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?P<relative>x?)", re.ASCII)
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True, slots=True)
class Condition:
    comparison: str
    number: float
    relative: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError with the accepted forms when `text` is none of them."""
        found = _SYNTAX.fullmatch(text.strip())
        if found is None or not math.isfinite(float(found["number"])):
            raise ValueError(f"{text!r} is not a condition: write '> 0.01', '<= 500' or, relative to the baseline, '> 3x'")
        return cls(found["comparison"], float(found["number"]), relative=bool(found["relative"]))

    def limit(self, *, baseline: float | None = None, at_least: float | None = None) -> float:
        """The number that a value is compared with.

        A relative condition asks for `baseline`; `at_least` is the floor under its limit, so that three times almost nothing is
        still no breach.
        """
        if not self.relative:
            return self.number
        if baseline is None:
            raise ValueError(f"{self} is relative: it needs a baseline")
        limit = self.number * baseline
        return limit if at_least is None else max(limit, at_least)

    def holds(self, value: float, *, baseline: float | None = None, at_least: float | None = None) -> bool:
        return self.test(baseline=baseline, at_least=at_least)(value)

    def test(self, *, baseline: float | None = None, at_least: float | None = None) -> Callable[[float], bool]:
        """`holds`, for many values that are compared with the same limit."""
        compare, limit = _COMPARE[self.comparison], self.limit(baseline=baseline, at_least=at_least)
        return lambda value: compare(value, limit)

    @property
    def upward(self) -> bool:
        """Whether more is worse (`>`) rather than less (`<`)."""
        return self.comparison.startswith(">")

    def __str__(self) -> str:
        return f"{self.comparison} {self.number:g}{'x' if self.relative else ''}"
