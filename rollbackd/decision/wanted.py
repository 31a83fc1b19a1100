"""What else has to be measured before a confirmed breach can be blamed on anyone. Pure, so that the backtest asks what the daemon asks."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rollbackd.decision.facts import Facts
from rollbackd.decision.target import TARGETS, candidates
from rollbackd.model.decision import Case
from rollbackd.model.policy import Trigger
from rollbackd.model.release import Release, ReleaseStatus

OTHER_DAYS: Final = (timedelta(days=1), timedelta(days=7))
"""What comes every day or every week: jobs, peaks, batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A candidate for the target, and until when it served."""

    release: Release
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """`since` is the onset. `place_version` is the version whose places are compared; None: of all of them, where only one can serve."""

    trigger: Trigger
    suspect: Release
    since: datetime
    versions: tuple[str, ...]
    spread: tuple[str, ...]
    place_version: str | None
    earlier: tuple[timedelta, ...]
    dependencies: tuple[str, ...]
    targets: tuple[Served, ...]


def wanted(case: Case, now: datetime) -> Wanted | None:
    """None when nothing is confirmed, or no release could be to blame: then nothing that could be asked would change the decision."""
    facts = Facts.of(case, now)
    suspect, began = facts.suspect, facts.onset.at
    if not case.policy.blame or not facts.finding.confirmed or suspect is None or began is None:
        return None
    label, old = case.policy.version_label, facts.predecessor
    told_apart = label is not None
    everywhere = suspect.status is ReleaseStatus.LIVE and suspect.live_at is not None and suspect.live_at <= began
    return Wanted(
        trigger=facts.finding.trigger,
        suspect=suspect,
        since=began,
        versions=(suspect.version, *([old.version] if old else [])) if told_apart else (),
        spread=case.policy.spread if told_apart or everywhere else (),
        place_version=suspect.version if told_apart else None,
        earlier=OTHER_DAYS,
        dependencies=case.policy.depends_on,
        targets=tuple(_served(candidates(suspect, facts.releases)[:TARGETS], facts.releases)),
    )


def _served(chosen: Iterable[Release], releases: tuple[Release, ...]) -> Iterable[Served]:
    """From when it took over until anything else began, or took over from it."""
    for release in chosen:
        moments = (moment for one in releases for moment in (one.started_at, one.took_over_at))
        yield Served(release=release, until=min((at for at in moments if at > release.took_over_at), default=release.took_over_at))
