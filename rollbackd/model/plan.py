"""The exact commands of one rollback, and the digest that an approval is bound to."""

from dataclasses import dataclass
from datetime import timedelta

from rollbackd.model.runbook import RunbookKind, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`steps` have every placeholder filled. Same digest: same service, versions and commands, to the byte."""

    service: str
    runbook: str
    current_version: str | None
    current_artifact: str | None
    target_version: str | None  # None, as the artifact: the runbook goes back to no release
    target_artifact: str | None
    steps: tuple[Step, ...]
    digest: str
    kind: RunbookKind = RunbookKind.QUICK
    restores: str | None = None  # the version of which it restores something, without putting that release in place
    destroys: tuple[str, ...] = ()  # what a data runbook destroys, a line each
    confirm: str | None = None  # what a person has to type before it runs
    budget: timedelta | None = None  # of the whole runbook; going over it is said, not stopped
