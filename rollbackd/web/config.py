"""The config in use, and what a reload did, as the JSON of the API. Pure."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rollbackd.clock import rfc3339
from rollbackd.model.incident import Incident
from rollbackd.settings.problems import Problem
from rollbackd.web.shapes import ConfigShape, ProblemPlace, ReloadedShape

if TYPE_CHECKING:  # at run time these would bring the whole daemon into a room of pure functions
    from rollbackd.flow.in_use import Config
    from rollbackd.flow.reload import Changes, Refusal

MOST_PROBLEMS: Final = 20
"""Of a config that was refused, in the status; whoever asked for the reload is told all."""


def in_use(one: "Config", refusal: "Refusal | None", opened: Iterable[Incident]) -> ConfigShape:
    problems = refusal.problems if refusal is not None else ()
    more = len(problems) - MOST_PROBLEMS
    return {
        "file": str(one.settings.path),
        "in_use_since": rfc3339(one.read_at),
        "refused_at": rfc3339(refusal.at) if refusal is not None else None,
        "problems": [*problems[:MOST_PROBLEMS], *([f"and {more} more: 'rollbackd check' lists them all"] if more > 0 else ())],
        "gone": sorted({each.service for each in opened if each.service not in one.settings.services}),
    }


def reloaded(one: "Config", changes: "Changes") -> ReloadedShape:
    return {
        "in_use_since": rfc3339(one.read_at),
        "added": list(changes.added),
        "removed": list(changes.removed),
        "changed": list(changes.changed),
        "warnings": [str(problem) for problem in changes.warnings],
    }


def place(one: Problem) -> ProblemPlace:
    return {"file": str(one.file), "line": one.line, "col": one.col, "message": one.message}
