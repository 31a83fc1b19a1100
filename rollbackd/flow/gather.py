"""What Prometheus knows about one service at one moment, as far as `decide` asks: the same questions for the daemon and the backtest."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from rollbackd.decision.trigger import lookback
from rollbackd.decision.wanted import Served, Wanted, wanted
from rollbackd.errors import PermanentError, TemporaryError
from rollbackd.model.decision import Case, Context, Dependency
from rollbackd.model.matchers import Matcher, MatchOperator
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.policy import ServicePolicy, Trigger
from rollbackd.model.release import Release
from rollbackd.prometheus.measurer import Measurer
from rollbackd.supervisor import together

PLACES_AT_MOST: Final = 50
"""Values of a spread label that are compared: more would ask Prometheus more than an answer is worth."""

ReleasesOf = Callable[[str], Coroutine[Any, Any, tuple[Release, ...]]]
"""The releases of a service that are known at the moment that is looked at."""


class Gatherer:
    """`services` are all that the config names: some of them are dependencies of others."""

    def __init__(self, measurer: Measurer, services: Mapping[str, ServicePolicy], releases_of: ReleasesOf) -> None:
        self._measurer = measurer
        self._services = services
        self._releases_of = releases_of

    async def evidence(
        self, policy: ServicePolicy, now: datetime, *, known_for: timedelta = timedelta(0)
    ) -> Mapping[str, IndicatorEvidence]:
        """Of every trigger of the service, by its name; `known_for` is how long ago the alert came."""
        async with together() as group:
            asked = {trigger.name: group.create_task(self._trigger(policy, trigger, now, known_for)) for trigger in policy.triggers}
        return {name: task.result() for name, task in asked.items()}

    async def in_context(self, case: Case, now: datetime) -> Case:
        """The case with what else its breach has to be compared with; as it is when there is nothing to compare."""
        asked = wanted(case, now)
        return case if asked is None else replace(case, context=await self._context(case, asked, now))

    async def _context(self, case: Case, asked: Wanted, now: datetime) -> Context:
        policy = case.policy
        indicator, since_onset = asked.trigger.indicator, now - asked.since
        label = policy.version_label
        async with together() as group:
            before = group.create_task(self._measurer.evidence(policy, indicator, now=asked.suspect.started_at, lookback=policy.baseline))
            seen = group.create_task(self._values(policy, asked.trigger, label, now)) if label else None
            narrowed = {version: _narrowed(policy, label, version) for version in asked.versions} if label else {}
            back = since_onset if indicator.is_ratio else max(since_onset, policy.baseline)
            versions = group.create_task(self._each(narrowed, asked.trigger, now, back))
            places = {name: group.create_task(self._places(policy, asked, name, now)) for name in asked.spread}
            earlier = {
                ago: group.create_task(self._measurer.past(policy, indicator, now=now - ago, lookback=asked.trigger.hold_for))
                for ago in asked.earlier
            }
            asked_already = {one.release for one in asked.targets if _is_before(one, asked.suspect, policy)}
            targets = {
                one.release: group.create_task(self._served(policy, asked.trigger, one))
                for one in asked.targets
                if one.release not in asked_already
            }
        found = {name: task.result() for name, task in places.items()}
        return Context(
            before=before.result(),
            versions_seen=seen.result() if seen else None,
            versions=versions.result(),
            places={name: values for name, values in found.items() if values},
            unread=frozenset(name for name, values in found.items() if values is None),
            earlier={ago: task.result() for ago, task in earlier.items()},
            targets={one.release: (targets.get(one.release) or before).result() for one in asked.targets},
            dependencies=await self._dependencies(asked.dependencies, now, now - case.alert.delivered_at),
        )

    async def _trigger(self, policy: ServicePolicy, trigger: Trigger, now: datetime, known_for: timedelta) -> IndicatorEvidence:
        return await self._measurer.evidence(
            policy,
            trigger.indicator,
            now=now,
            lookback=lookback(policy, trigger, known_for),
            pool_window=max(trigger.hold_for, trigger.indicator.window),
        )

    async def _each(
        self, policies: Mapping[str, ServicePolicy], trigger: Trigger, now: datetime, back: timedelta
    ) -> Mapping[str, IndicatorEvidence]:
        async with together() as group:
            asked = {
                name: group.create_task(self._measurer.past(policy, trigger.indicator, now=now, lookback=back))
                for name, policy in policies.items()
            }
        return {name: task.result() for name, task in asked.items()}

    async def _places(self, policy: ServicePolicy, asked: Wanted, label: str, now: datetime) -> Mapping[str, IndicatorEvidence] | None:
        """By the value of a spread label; empty where there are none, or too many to compare. None: they cannot be read."""
        if policy.version_label and asked.place_version:
            policy = _narrowed(policy, policy.version_label, asked.place_version)
        values = await self._values(policy, asked.trigger, label, now)
        if values is None:
            return None
        if len(values) > PLACES_AT_MOST:
            return {}
        return await self._each({value: _narrowed(policy, label, value) for value in values}, asked.trigger, now, now - asked.since)

    async def _values(self, policy: ServicePolicy, trigger: Trigger, label: str, now: datetime) -> frozenset[str] | None:
        """The values that a label has on the indicator's fresh samples: what ended minutes ago serves nobody. None: they cannot be read."""
        fresh = f"timestamp({trigger.indicator.samples}) > time() - {policy.max_sample_age.total_seconds():g}"
        try:
            return await self._measurer.label_values(policy, f"group by ({label}) ({fresh})", label, now=now)
        except (TemporaryError, PermanentError):
            return None

    async def _served(self, policy: ServicePolicy, trigger: Trigger, served: Served) -> IndicatorEvidence:
        lookback = min(policy.baseline, served.until - served.release.took_over_at)
        return await self._measurer.past(policy, trigger.indicator, now=served.until, lookback=lookback)

    async def _dependencies(self, names: Iterable[str], now: datetime, known_for: timedelta) -> Mapping[str, Dependency]:
        """After everything else: they may be many, or slow to be measured, and what waits behind them would be late.

        An incident keeps the config that it began with: what it depended on then, and is in no config now, is not measured.
        """
        async with together() as group:
            known = [self._services[name] for name in names if name in self._services]
            asked = {one.name: group.create_task(self._dependency(one, now, known_for)) for one in known}
        return {name: task.result() for name, task in asked.items()}

    async def _dependency(self, policy: ServicePolicy, now: datetime, known_for: timedelta) -> Dependency:
        async with together() as group:
            evidence = group.create_task(self.evidence(policy, now, known_for=known_for))
            releases = group.create_task(self._releases_of(policy.name))
        return Dependency(policy=policy, evidence=evidence.result(), releases=_newest_first(releases.result()))


def _is_before(served: Served, suspect: Release, policy: ServicePolicy) -> bool:
    """Whether the time that it last served is the time before the suspect: only if it served for all of that."""
    return served.until == suspect.started_at and served.until - served.release.took_over_at >= policy.baseline


def _narrowed(policy: ServicePolicy, label: str, value: str) -> ServicePolicy:
    """The same service, but only its series with this value of the label."""
    others = tuple(matcher for matcher in policy.selector if matcher.name != label)
    return replace(policy, selector=(*others, Matcher(label, MatchOperator.EQUAL, value)))


def _newest_first(releases: Iterable[Release]) -> tuple[Release, ...]:
    return tuple(sorted(releases, key=lambda release: release.started_at, reverse=True))
