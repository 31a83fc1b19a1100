"""A cron expression of five fields, read as crontab(5) has it: minute, hour, day of the month, month, day of the week (0 and 7: Sunday).

Where both day fields are restricted, a day is meant when either names it; a field that begins with `*`, also `*/2`, restricts nothing
in this sense. What cron implementations read differently (`5/15`, `22-3`) is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

_PART: Final = re.compile(r"(?:\*|(?P<first>[0-9]{1,2}|[A-Za-z]{3})(?:-(?P<last>[0-9]{1,2}|[A-Za-z]{3}))?)(?:/(?P<step>[0-9]{1,2}))?")
_LONGEST_MONTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SUNDAY: Final = 7  # as well as 0


@dataclass(frozen=True, slots=True)
class Cron:
    """`weekdays` count from Sunday, 0. `either_day`: a day of the month and a day of the week are named, and one of them is enough."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def has_day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week

    @property
    def ever_comes(self) -> bool:
        """Whether there is such a day in any year."""
        return self.either_day or any(day <= _LONGEST_MONTHS[month - 1] for month in self.months for day in self.days)


@dataclass(frozen=True, slots=True)
class _Field:
    """`names` begin at `low`; `high` is what `*` goes up to."""

    meaning: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def read(self, text: str) -> frozenset[int]:
        return frozenset(value for part in text.split(",") for value in self._part(part))

    def _part(self, part: str) -> Iterator[int]:
        found = _PART.fullmatch(part)
        if found is None:
            raise ValueError(f"{part!r} is no {self.meaning}: write {self.low}-{self.high}, '*', lists, ranges or steps such as '*/2'")
        first, last, step = found.group("first", "last", "step")
        if step is not None and first is not None and last is None:
            raise ValueError(f"{part!r}: a step follows '*' or a range: write {first}-{self.high}/{step}")
        if step is not None and not 1 <= int(step) <= self.high - self.low + 1:
            raise ValueError(f"{part!r}: a step of the {self.meaning} is 1 to {self.high - self.low + 1}")
        begin = self.low if first is None else self._value(first, part)
        end = self.high if first is None else begin if last is None else self._value(last, part, ends=True)
        if end < begin:
            raise ValueError(f"{part!r} runs backwards: write it as two ranges, with a comma between them")
        return iter(range(begin, end + 1, int(step or 1)))

    def _value(self, text: str, part: str, *, ends: bool = False) -> int:
        if text.lower() in self.names:
            value = self.low + self.names.index(text.lower())
            return _SUNDAY if ends and self is _WEEKDAY and value == 0 else value
        if text.isdigit() and self.low <= int(text) <= (_SUNDAY if self is _WEEKDAY else self.high):
            return int(text)
        named = f" or a name such as {self.names[0]}" if self.names else ""
        raise ValueError(f"{part!r}: the {self.meaning} is {self.low} to {self.high}{named}")


_MINUTE: Final = _Field("minute", 0, 59)
_HOUR: Final = _Field("hour", 0, 23)
_DAY: Final = _Field("day of the month", 1, 31)
_MONTH: Final = _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"))
_WEEKDAY: Final = _Field("day of the week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))


@lru_cache(maxsize=256)
def parse(text: str) -> Cron:
    """Raises ValueError, in one line that says what to write instead, also for what never comes, such as 31 February."""
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"{text!r}: write five fields, '0 18 * * fri'")
    minute, hour, day, month, weekday = fields
    try:
        cron = Cron(
            minutes=tuple(sorted(_MINUTE.read(minute))),
            hours=tuple(sorted(_HOUR.read(hour))),
            days=_DAY.read(day),
            months=_MONTH.read(month),
            weekdays=frozenset(value % _SUNDAY for value in _WEEKDAY.read(weekday)),
            either_day=not day.startswith("*") and not weekday.startswith("*"),
        )
    except ValueError as e:
        raise ValueError(f"{text!r}: {e}") from e
    if not cron.ever_comes:
        raise ValueError(f"{text!r} never comes: none of its months has such a day")
    return cron
