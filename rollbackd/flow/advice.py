"""What only a live Prometheus can tell about a config that is valid and yet judges badly: warnings for `check --live`."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from rollbackd.errors import PermanentError, TemporaryError
from rollbackd.model.policy import ServicePolicy, Trigger
from rollbackd.prometheus.answer import AlertRule
from rollbackd.prometheus.histogram import find_quantile, largest_bound
from rollbackd.prometheus.measurer import Measurer
from rollbackd.settings.durations import format_duration


@dataclass(frozen=True, slots=True)
class Advice:
    """`about` is the path of the setting, below the service."""

    about: tuple[str | int, ...]
    message: str


def on_rules(policy: ServicePolicy, rules: Collection[AlertRule]) -> tuple[Advice, ...]:
    """Of each trigger whose alert rules Prometheus does not know, or knows with another `for`."""
    found = []
    for trigger in policy.triggers:
        for name in trigger.alerts:
            spans = sorted({rule.hold_for for rule in rules if rule.name == name})
            if not spans:
                message = f"Prometheus {policy.prometheus} has no alert rule {name!r}: unless another server has it, nothing ever starts"
                found.append(Advice(("triggers", trigger.name), f"trigger {trigger.name!r}: {message}"))
            elif trigger.hold_for not in spans:
                said, own = " and ".join(map(format_duration, spans)), format_duration(trigger.hold_for)
                message = f"the alert rule {name!r} has for: {said}, and this has {own}: give both the same"
                found.append(Advice(("triggers", trigger.name, "for"), f"trigger {trigger.name!r}: {message}"))
    return tuple(found)


async def on_buckets(policy: ServicePolicy, measurer: Measurer, now: datetime) -> tuple[Advice, ...]:
    """Of each trigger that can never be breached, as no bucket of its histogram reaches over the limit."""
    asked = [(trigger, await _ceiling(policy, trigger, measurer, now)) for trigger in policy.triggers]
    return tuple(
        Advice(
            ("triggers", trigger.name, "breach"),
            f"trigger {trigger.name!r}: {trigger.indicator.name} can get no higher than {ceiling:g}, its histogram's largest bucket, so "
            f"that {str(trigger.breach)!r} never holds: add larger buckets",
        )
        for trigger, ceiling in asked
        if ceiling is not None and not trigger.breach.holds(ceiling)
    )


async def _ceiling(policy: ServicePolicy, trigger: Trigger, measurer: Measurer, now: datetime) -> float | None:
    """As high as the trigger's indicator can get, in its own unit; None where that cannot be told."""
    quantile = find_quantile(trigger.indicator.query or "")
    if quantile is None or trigger.is_relative or not trigger.breach.upward:
        return None
    try:
        bounds = await measurer.label_values(policy, f"group by (le) ({quantile.buckets})", "le", now=now)
    except (TemporaryError, PermanentError):
        return None  # the check of the indicator says that it cannot be asked
    largest = largest_bound(bounds)
    return None if largest is None else (await measurer.value(policy, quantile.at_most(largest), now=now)).value
