"""What is wrong with a config: every problem with its file, line and column, and an error that carries all of them at once (I12)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rollbackd.errors import MisconfiguredError
from rollbackd.settings.document import Place


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """`line` and `col` count from 1; `message` says what to do."""

    file: Path
    line: int
    col: int
    message: str
    level: Level = Level.ERROR

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}: {self.message}"


class InvalidConfigError(MisconfiguredError):
    """The config cannot be used; `problems` are all its errors, in the order of the files."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        first, more = problems[0], len(problems) - 1
        also = f" (and {more} more: 'rollbackd check' lists them all)" if more else ""
        super().__init__(first.message + also, path=f"{first.file}:{first.line}:{first.col}")
        self.problems = problems


class Problems:
    """Collects problems while a config is read. One that is found twice, such as in a template of many services, counts once."""

    def __init__(self) -> None:
        self._found: set[Problem] = set()

    def error(self, place: Place, message: str, *, at_key: bool = False) -> None:
        self._found.add(Problem(place.document.file, *place.position(at_key=at_key), message))

    def warn(self, place: Place, message: str) -> None:
        self._found.add(Problem(place.document.file, *place.position(), message, Level.WARNING))

    def add(self, problem: Problem) -> None:
        self._found.add(problem)

    def update(self, problems: Iterable[Problem]) -> None:
        self._found.update(problems)

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(sorted(problem for problem in self._found if problem.level is Level.ERROR))

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(sorted(problem for problem in self._found if problem.level is Level.WARNING))
