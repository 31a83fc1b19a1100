"""The fleet brake: services that trip at once, without releases that could have done it, are an outage, and no deploy.

A service counts when neither it nor a service that it depends on, and that tripped as well, was released recently. So neither a
pipeline that breaks many services at once, each by its own release, nor one back end whose release trips all its callers is held.

When a service tripped is when its alert began to fire, by the clock of Prometheus: however late the alert came, and wherever the
clock of this machine was set to meanwhile, what happened at once was at once.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from rollbackd.decision.record import Ruling, span
from rollbackd.model.decision import Case, FleetFacts, Trip, Tripped
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.release import Release, ReleaseStatus

_NAMED: Final = 5  # of many services


def facts_of(trips: Sequence[Trip], policies: Mapping[str, ServicePolicy], own: ServicePolicy) -> FleetFacts:
    """What tripped beside the service of `own`; one that is not in the config any more is judged by the measures of `own`."""
    known = {**policies, own.name: own}
    recent = [is_recent(trip.release, trip.at, known.get(trip.service, own)) for trip in trips]
    released = frozenset(trip.service for trip, is_new in zip(trips, recent, strict=True) if is_new)
    return FleetFacts(
        tripped=tuple(
            Tripped(
                service=trip.service,
                at=trip.at,
                has_recent_release=is_new,
                depends_on_released=released_dependency(known[trip.service].depends_on, released) if trip.service in known else None,
            )
            for trip, is_new in zip(trips, recent, strict=True)
            if trip.service != own.name
        )
    )


def is_recent(release: Release | None, at: datetime, policy: ServicePolicy) -> bool:
    """Whether this release, the newest of its service before it tripped, could have tripped it."""
    return release is not None and (release.status is ReleaseStatus.ROLLING or at - release.started_at <= policy.blame_window)


def released_dependency(depends_on: Collection[str], released: Collection[str]) -> str | None:
    """`released`: the services that tripped and have a recent release."""
    return min((name for name in depends_on if name in released), default=None)


def rule(case: Case) -> Ruling:
    """Counted are the services that tripped within the time allowed of each other, at any time since shortly before this one did.

    That does not change while the incident waits: an outage that goes on is still one when those who tripped first did so long ago.
    """
    brake, own = case.policy.fleet_brake, _own(case)
    others = [one for one in case.fleet.tripped if one.service != own.service and one.at >= own.at - brake.within]
    met = sorted([own, *others], key=lambda one: (one.at, one.service))
    counted = _at_once([one for one in met if _counts(one)], brake.services, brake.within)
    return Ruling.of(
        against=len(counted) >= brake.services,
        value=_told(counted, met) if others else "no other service tripped",
        limit=f"fewer than {brake.services} services within {span(brake.within)} that no recent release explains; "
        "lets go when one of theirs is recorded, or a person approves",
    )


def _own(case: Case) -> Tripped:
    """This service, as one of those that tripped."""
    at = case.alert.starts_at
    before = (release for release in case.releases if release.started_at <= at)
    return Tripped(
        service=case.policy.name,
        at=at,
        has_recent_release=is_recent(max(before, key=lambda release: release.started_at, default=None), at, case.policy),
        depends_on_released=released_dependency(
            case.policy.depends_on, {one.service for one in case.fleet.tripped if one.has_recent_release}
        ),
    )


def _counts(one: Tripped) -> bool:
    return not one.has_recent_release and one.depends_on_released is None


def _why_not(one: Tripped) -> str:
    if one.has_recent_release:
        return "a recent release of its own"
    if one.depends_on_released is not None:
        return f"depends on {one.depends_on_released}, which was released"
    return "at another time"


def _at_once(tripped: Sequence[Tripped], enough: int, within: timedelta) -> frozenset[str]:
    """Of services in the order in which they tripped, the first ones that are enough, with all that did so within their time; else most."""
    times = [one.at for one in tripped]
    most: frozenset[str] = frozenset()
    for begin, first in enumerate(tripped):
        together = frozenset(one.service for one in tripped[begin : bisect_right(times, first.at + within)])
        most = max(most, together, key=len)
        if len(most) >= enough:
            break
    return most


def _told(counted: Collection[str], met: Iterable[Tripped]) -> str:
    left_out = {one.service: _why_not(one) for one in met if one.service not in counted}
    told = f"{len(counted)} tripped at once: {_listed(sorted(counted))}" if counted else "none tripped at once"
    return told + (f"; not counted: {_listed([f'{name} ({why})' for name, why in sorted(left_out.items())])}" if left_out else "")


def _listed(names: Sequence[str]) -> str:
    shown, more = ", ".join(names[:_NAMED]), len(names) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown
