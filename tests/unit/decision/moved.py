"""The same case at another time."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from rollbackd.model.decision import Case, Context, Dependency, FleetFacts
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.release import Release

K = TypeVar("K")


def shifted(case: Case, delta: timedelta) -> Case:
    """Everything so much later."""

    def moved(instant: datetime | None) -> datetime | None:
        return None if instant is None else instant + delta

    def later(evidence: IndicatorEvidence) -> IndicatorEvidence:
        readings = tuple(replace(reading, at=reading.at + delta) for reading in evidence.readings)
        return replace(evidence, readings=readings, newest_sample_at=moved(evidence.newest_sample_at))

    def all_later(of: Mapping[K, IndicatorEvidence]) -> dict[K, IndicatorEvidence]:
        return {name: later(evidence) for name, evidence in of.items()}

    def came(one: Release) -> Release:
        return replace(one, started_at=one.started_at + delta, live_at=moved(one.live_at))

    def below(one: Dependency) -> Dependency:
        return replace(one, evidence=all_later(one.evidence), releases=tuple(map(came, one.releases)))

    def context(one: Context) -> Context:
        return replace(
            one,
            before=one.before and later(one.before),
            versions=all_later(one.versions),
            places={label: all_later(by_value) for label, by_value in one.places.items()},
            earlier=all_later(one.earlier),
            targets={came(target): later(evidence) for target, evidence in one.targets.items()},
            dependencies={name: below(dependency) for name, dependency in one.dependencies.items()},
        )

    return replace(
        case,
        alert=replace(case.alert, starts_at=case.alert.starts_at + delta, delivered_at=case.alert.delivered_at + delta),
        evidence=all_later(case.evidence),
        context=case.context and context(case.context),
        releases=tuple(map(came, case.releases)),
        changes=tuple(replace(each, at=each.at + delta) for each in case.changes),
        history=replace(case.history, last_rollback_completed_at=moved(case.history.last_rollback_completed_at)),
        fleet=FleetFacts(tripped=tuple(replace(each, at=each.at + delta) for each in case.fleet.tripped)),
        serving_since=moved(case.serving_since),
    )
