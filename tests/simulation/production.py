"""What really runs, since when, and who brought it there: the oracle. Times are true seconds, which nobody can set."""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

HEALTHY: Final = 0.0
BAD: Final = 0.3


@dataclass(frozen=True, slots=True)
class Effect:
    at: float
    service: str
    version: str
    by: str
    """An attempt of rollbackd, or whoever else deploys."""


@dataclass(slots=True)
class _Course:
    """A ratio that stays until it changes, and its integral up to each change."""

    times: list[float] = field(default_factory=lambda: [float("-inf")])
    ratios: list[float] = field(default_factory=lambda: [HEALTHY])
    sums: list[float] = field(default_factory=lambda: [0.0])

    def turn(self, at: float, ratio: float) -> None:
        grown = 0.0 if len(self.times) == 1 else (at - self.times[-1]) * self.ratios[-1]
        self.times.append(at)
        self.ratios.append(ratio)
        self.sums.append(self.sums[-1] + grown)

    def at(self, moment: float) -> float:
        return self.ratios[bisect_right(self.times, moment) - 1]

    def up_to(self, moment: float) -> float:
        index = bisect_right(self.times, moment) - 1
        return self.sums[index] + (0.0 if index == 0 else (moment - self.times[index]) * self.ratios[index])

    def worst(self, start: float, end: float) -> float:
        first, last = bisect_right(self.times, start) - 1, bisect_right(self.times, end)
        return max(self.ratios[first:last])


class Production:
    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.bad: set[str] = set()
        self._outage: dict[str, float] = {}
        self._courses: defaultdict[str, _Course] = defaultdict(_Course)

    def deploy(self, service: str, version: str, *, by: str, at: float) -> None:
        self.effects.append(Effect(at, service, version, by))
        self._turn(service, at)

    def outage(self, service: str, ratio: float, *, at: float) -> None:
        """Errors that are no release's fault; 0 ends them."""
        self._outage[service] = ratio
        self._turn(service, at)

    def live(self, service: str) -> str:
        return next(effect.version for effect in reversed(self.effects) if effect.service == service)

    def ratio(self, service: str, *, start: float, end: float) -> float:
        course = self._courses[service]
        return max((course.up_to(end) - course.up_to(start)) / (end - start), 0.0)

    def worst(self, service: str, *, start: float, end: float) -> float:
        return self._courses[service].worst(start, end)

    def _turn(self, service: str, at: float) -> None:
        ratio = BAD if self.live(service) in self.bad else HEALTHY
        self._courses[service].turn(at, max(ratio, self._outage.get(service, HEALTHY)))
