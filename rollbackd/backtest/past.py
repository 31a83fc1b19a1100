"""What a backtest is about: past alerts, past releases and changes, and what a person says should have been decided. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from rollbackd.model.change import Change
from rollbackd.model.decision import Action
from rollbackd.model.release import Release, ReleaseStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAlert:
    """One alert as it came. What a person knows about it afterwards is a `Truth`, and stands elsewhere: nothing of it reaches `decide`."""

    id: str
    at: datetime  # its startsAt
    name: str
    labels: Mapping[str, str]

    @property
    def routed_by(self) -> Mapping[str, str]:
        return {**self.labels, "alertname": self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What should have been decided about one alert: to roll back, or not to."""

    decision: Action
    scenario: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """All releases of one service, newest first; of two at once the later recorded. `problem` says why they may not be all.

    `listed_from` is the oldest that a source lists, which may have forgotten older ones; None: nothing was forgotten.
    """

    releases: tuple[Release, ...] = ()
    problem: str = ""
    listed_from: datetime | None = None

    @classmethod
    def of(cls, releases: Iterable[Release], *, listed_from: datetime | None = None) -> "Recorded":
        """`releases` in the order in which they were recorded."""
        oldest_first = sorted(releases, key=lambda release: release.started_at)
        return cls(tuple(reversed(oldest_first)), listed_from=listed_from)

    def by(self, now: datetime) -> "Recorded":
        """What was recorded by then: a release that had not started is not there, one that was not live yet is rolling."""
        problem = self.problem
        if not problem and self.listed_from is not None and now < self.listed_from:
            problem = "the release source lists nothing as old as this alert: give the releases with --releases"
        return Recorded(tuple(_as_known(one, now) for one in self.releases if one.started_at <= now), problem)


@dataclass(frozen=True, slots=True)
class PastReleases:
    """The register as it is now, by service; asked only for what it held at some moment."""

    by_service: Mapping[str, Recorded] = field(default_factory=dict)

    def of_service(self, service: str, now: datetime) -> Recorded:
        return self.by_service.get(service, Recorded()).by(now)


@dataclass(frozen=True, slots=True)
class PastChanges:
    """The changes as they are recorded now, by service, newest first; asked only for what had taken effect by some moment."""

    by_service: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, changes: Iterable[Change]) -> "PastChanges":
        """`changes` in the order in which they were recorded; what is told again is one change."""
        known: dict[tuple[str, str, str, datetime], Change] = {}
        for change in changes:
            known.setdefault((change.service, change.kind, change.what, change.at), change)
        by_service: dict[str, list[Change]] = {}
        oldest_first = sorted(known.values(), key=lambda change: change.at)
        for change in reversed(oldest_first):
            by_service.setdefault(change.service, []).append(change)
        return cls({service: tuple(newest_first) for service, newest_first in by_service.items()})

    def of_service(self, service: str, since: datetime, now: datetime) -> tuple[Change, ...]:
        return tuple(change for change in self.by_service.get(service, ()) if since <= change.at <= now)


def _as_known(release: Release, now: datetime) -> Release:
    if release.live_at is None or release.live_at <= now:
        return release
    return replace(release, status=ReleaseStatus.ROLLING, live_at=None)
