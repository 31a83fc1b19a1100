"""Whether a rollback of a service would work, asked while nothing burns."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

RUNBOOK: Final = "runbook"
"""The check that says whether there is anything to run at all."""


class ReadinessVerdict(StrEnum):
    READY = "ready"
    NOT_READY = "not_ready"
    UNKNOWN = "unknown"  # could not be found out, which is never ready (I15)
    NOT_APPLICABLE = "not_applicable"

    @property
    def is_problem(self) -> bool:
        return self in {ReadinessVerdict.NOT_READY, ReadinessVerdict.UNKNOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessCheck:
    """`detail` is one line: what was found, and of a problem what to do about it.

    `about` is the path of the setting that it speaks of, below the service: `("indicators", "error_rate", "bad")`. Below `runbook` and
    `on_failure.runbook` it goes on in the runbook's own file.
    """

    name: str
    verdict: ReadinessVerdict
    detail: str
    about: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    service: str
    at: datetime
    checks: tuple[ReadinessCheck, ...]

    @property
    def verdict(self) -> ReadinessVerdict:
        """The worst of its checks; without a runbook there is no rollback that could be ready."""
        found = {check.verdict for check in self.checks}
        for worst in (ReadinessVerdict.NOT_READY, ReadinessVerdict.UNKNOWN):
            if worst in found:
                return worst
        without_runbook = any(check.name == RUNBOOK and check.verdict is ReadinessVerdict.NOT_APPLICABLE for check in self.checks)
        return ReadinessVerdict.NOT_APPLICABLE if without_runbook else ReadinessVerdict.READY

    @property
    def problems(self) -> tuple[ReadinessCheck, ...]:
        return tuple(check for check in self.checks if check.verdict.is_problem)


def unchecked(service: str, at: datetime, why: str) -> Readiness:
    """Nothing is known, and why."""
    check = ReadinessCheck(name="readiness", verdict=ReadinessVerdict.UNKNOWN, detail=why)
    return Readiness(service=service, at=at, checks=(check,))
