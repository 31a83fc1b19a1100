"""What would be rolled back to, and whether what runs is still what would be rolled back (I4).

The target is an explicit recorded release, never "the previous one": what that is may have changed by the time of acting.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from rollbackd.decision.judge import judging
from rollbackd.model.decision import Case, Check, CheckVerdict
from rollbackd.model.measurement import IndicatorEvidence, Verdict
from rollbackd.model.policy import Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, Release, served_before

_LIMIT: Final = "recorded before the suspect, live, not bad or suspect, healthy then, another artifact, no migration in between"
_ENOUGH_STEPS: Final = 5
TARGETS: Final = 3
"""Candidates whose health is asked; who has to go back further has more to decide than a number says."""

Past = Callable[[Release], str]
"""Why a release cannot be gone back to, by how it was when it last served; empty: nothing was seen that says so."""


def _not_asked(_release: Release) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The target, or why there is none."""

    target: Release | None
    check: Check


def choose_target(suspect: Release | None, releases: tuple[Release, ...], now: datetime, *, past: Past = _not_asked) -> Choice:
    """The newest of the candidates that was not seen breached when it last served. `releases` newest first."""
    target, reason, said = _choose(suspect, releases, past)
    verdict = CheckVerdict.FAILED if target is None else CheckVerdict.PASSED
    return Choice(target, Check(name="target", verdict=verdict, reason=reason, at=now, value=said, limit=_LIMIT))


def candidates(suspect: Release, releases: tuple[Release, ...]) -> tuple[Release, ...]:
    """Those that served before the suspect, with another artifact, whose version and artifact both have a clean name; the last one first.

    The same artifact may have been released under several versions: it is as bad under each.
    """
    distrusted = {name for release in releases if release.mark is not Mark.NONE for name in (release.version, release.artifact)}
    earlier = served_before(suspect, releases)
    return tuple(one for one in earlier if distrusted.isdisjoint({one.version, one.artifact}) and one.artifact != suspect.artifact)


def past_of(trigger: Trigger, evidence: Mapping[Release, IndicatorEvidence], baseline: float | None) -> Past:
    """Seen is what was breached for most of the last hour that it served. No history proves nothing."""
    said = judging(trigger, baseline)

    def past(release: Release) -> str:
        readings = evidence[release].readings if release in evidence else ()
        verdicts = [said(one.value, False)[0] for one in readings if one.value is not None]
        breached = verdicts.count(Verdict.BREACHED)
        if len(verdicts) < _ENOUGH_STEPS or 2 * breached <= len(verdicts):
            return ""
        return f"{release.version} was breached in {breached} of {len(verdicts)} measurements when it last served"

    return past


def _choose(suspect: Release | None, releases: tuple[Release, ...], past: Past) -> tuple[Release | None, Reason, str]:
    if suspect is None:
        return None, Reason.NO_SAFE_TARGET, "no suspect, so nothing to go back from"
    earlier = releases[releases.index(suspect) + 1 :]
    live = next(iter(served_before(suspect, releases)), None)
    if live is not None and live.artifact == suspect.artifact:
        said = f"{suspect.version} has the artifact of {live.version} before it: code cannot be the cause, look at the config"
        return None, Reason.CONFIG_ONLY_RELEASE, said
    passed_over: list[str] = []
    for target in candidates(suspect, releases)[:TARGETS]:
        if said := past(target):
            passed_over.append(said)
            continue
        barrier = _barrier((suspect, *_since(target, earlier), target))
        if barrier is not None:
            return None, Reason.MIGRATION_BARRIER, f"{target.version} lies behind {barrier}"
        return target, Reason.PASSED, "; ".join([f"{target.version} ({target.artifact})", *passed_over])
    none = f"{len(earlier)} recorded before {suspect.version}, none of them live, trusted, healthy and another artifact"
    return None, Reason.NO_SAFE_TARGET, "; ".join([none, *passed_over])


def _since(target: Release, earlier: tuple[Release, ...]) -> tuple[Release, ...]:
    """What began, or took over, after it."""
    began_later = earlier[: earlier.index(target)]
    return tuple(one for one in earlier if one in began_later or one.took_over_at > target.took_over_at)


def _barrier(way_back: tuple[Release, ...]) -> str | None:
    """What cannot be undone between the suspect and the target, both included; whether it once went live does not matter."""
    for newer, older in pairwise(way_back):
        if newer.irreversible:
            return f"{newer.version}, which is irreversible"
        if newer.schema != older.schema and not newer.schema_compatible:
            return f"the schema {newer.schema} of {newer.version} (before it: {older.schema})"
    return None


def check_running(case: Case, suspect: Release | None, target: Release | None, releases: tuple[Release, ...], now: datetime) -> Check:
    """Compare-and-set: every instance must run the suspect. Where no probe answers, a newer record says that it no longer does."""
    verdict, reason, said = _compare(case, suspect, target, releases)
    limit = f"every instance runs {suspect.version} ({suspect.artifact})" if suspect else None
    return Check(name="running_version", verdict=verdict, reason=reason, at=now, value=said, limit=limit)


def _compare(
    case: Case, suspect: Release | None, target: Release | None, releases: tuple[Release, ...]
) -> tuple[CheckVerdict, Reason, str]:
    running = case.running
    if suspect is None:
        return CheckVerdict.NOT_APPLICABLE, Reason.NOT_APPLICABLE, "no suspect"
    if running.reason is None and running.answers:
        same = _is(suspect, running.answers) and not (target and _is(target, running.answers))
        said = f"runs {', '.join(sorted(running.answers))}"
        return (CheckVerdict.PASSED, Reason.PASSED, said) if same else (CheckVerdict.FAILED, Reason.RUNNING_VERSION_CHANGED, said)
    if releases[0].artifact != suspect.artifact:
        return CheckVerdict.FAILED, Reason.RUNNING_VERSION_CHANGED, f"{releases[0].version} was recorded after {suspect.version}"
    if Reason.RUNNING_VERSION_CHANGED in case.not_evaluated:
        return CheckVerdict.NOT_EVALUATED, Reason.RUNNING_VERSION_CHANGED, "cannot be judged here"
    if running.reason is Reason.NOT_APPLICABLE:
        return CheckVerdict.NOT_APPLICABLE, Reason.NOT_APPLICABLE, "the service has no running_version probe; nothing newer is recorded"
    return CheckVerdict.UNKNOWN, Reason.RUNNING_VERSION_UNKNOWN, running.detail or "the running_version probe gave no answer"


def _is(release: Release, answers: frozenset[str]) -> bool:
    return answers <= {release.version, release.artifact}
