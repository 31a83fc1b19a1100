"""Readable cases for the decision. By default: v1 for a day, v2 two and a half minutes ago, breached for the last two minutes.

Evidence is drawn as it would be told, oldest first: `"H8 B9"` is eight healthy steps, then nine breached ones up to now. B breached,
H healthy, D in the dead band, U not measured, N healthy on a newborn counter. What lies further back is healthy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rollbackd.decision.trigger import lookback
from rollbackd.decision.wanted import wanted
from rollbackd.model.condition import Condition
from rollbackd.model.decision import AlertFacts, Case, Context
from rollbackd.model.measurement import IndicatorEvidence, PooledCounts, Reading
from rollbackd.model.policy import Indicator, ServicePolicy, Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release

NOW = datetime(2026, 1, 31, 3, 0, tzinfo=UTC)
STEP = timedelta(seconds=15)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

ERROR_RATE = Indicator(name="error_rate", bad="bad", total="total", samples="http_requests_total", window=MINUTE)
RESPONSE_TIME = Indicator(name="response_time_p95", query="p95", count="count", samples="http_count", window=MINUTE)


def error_trigger(**changes: Any) -> Trigger:
    defaults: dict[str, Any] = {
        "name": "HighErrorRate",
        "indicator": ERROR_RATE,
        "breach": Condition.parse("> 0.01"),
        "clear": Condition.parse("<= 0.005"),
        "hold_for": 2 * MINUTE,
        "alerts": ("HighErrorRate",),
        "min_requests": 50,
        "severity": "critical",
    }
    return Trigger(**(defaults | changes))


def slow_trigger(**changes: Any) -> Trigger:
    defaults: dict[str, Any] = {
        "name": "SlowResponse",
        "indicator": RESPONSE_TIME,
        "breach": Condition.parse("> 1000"),
        "clear": Condition.parse("< 500"),
        "hold_for": 2 * MINUTE,
        "alerts": ("SlowResponse",),
        "min_requests": 50,
        "severity": "warning",
    }
    return Trigger(**(defaults | changes))


def relative_trigger(**changes: Any) -> Trigger:
    """Breached over three times the baseline, but not under 100 ms."""
    relative = {"breach": Condition.parse("> 3x"), "clear": Condition.parse("< 1.5x"), "at_least": 100.0}
    return slow_trigger(**(relative | changes))


def service_policy(*triggers: Trigger, **changes: Any) -> ServicePolicy:
    defaults: dict[str, Any] = {
        "name": "api",
        "match": (),
        "selector": (),
        "triggers": triggers or (error_trigger(),),
        "objectives": (),
        "prometheus": "main",
        "scrape_interval": STEP,
        "max_sample_age": 2 * STEP,
        "recheck_every": STEP,
    }
    return ServicePolicy(**(defaults | changes))


def value_of(letter: str, trigger: Trigger) -> float | None:
    """A number that the (absolute) trigger judges as the letter says."""
    breach, clear = trigger.breach.number, trigger.clear.number
    return {"B": 2 * breach, "H": clear / 2, "N": clear / 2, "D": (breach + clear) / 2, "U": None}[letter]


def letters(story: str) -> str:
    """`"H2 B3"` → `"HHBBB"`."""
    return "".join(part[0] * int(part[1:] or 1) for part in story.split())


def readings(values: Iterable[float | None], *, now: datetime = NOW, step: timedelta = STEP) -> tuple[Reading, ...]:
    """One reading a step, oldest first, the last one now; None is not measured."""
    values = list(values)
    return tuple(
        Reading(now - (len(values) - 1 - i) * step, value, None if value is not None else Reason.NO_SERIES)
        for i, value in enumerate(values)
    )


def _counted(trigger: Trigger, reading: Reading, *, newborn: bool, total: float = 600.0) -> Reading:
    """With so many requests in its window."""
    bad = reading.value * total if trigger.indicator.is_ratio and reading.value is not None else None
    return replace(reading, newborn=newborn, bad=bad, total=None if reading.value is None else total)


def evidence_for(
    trigger: Trigger,
    story: str,
    *,
    total: float = 1204,
    bad: float | None = None,
    policy: ServicePolicy | None = None,
    now: datetime = NOW,
) -> IndicatorEvidence:
    """As far back as the policy's look-back, with its share of `total` at each step. `bad` defaults to what the last step tells."""
    told = letters(story).rjust(lookback(policy or service_policy(trigger), trigger) // STEP + 1, "H")
    plain = readings([value_of(letter, trigger) for letter in told], now=now)
    share = value_of(told[-1], trigger) or 0.0
    counted = (share * total if bad is None else bad) if trigger.indicator.is_ratio else None
    pool = max(trigger.hold_for, trigger.indicator.window)
    in_window = total * (trigger.indicator.window / pool)
    return IndicatorEvidence(
        indicator=trigger.indicator.name,
        query=trigger.indicator.query or "bad / total",
        step=STEP,
        readings=tuple(
            _counted(trigger, reading, newborn=letter == "N", total=in_window) for reading, letter in zip(plain, told, strict=True)
        ),
        pooled=PooledCounts(window=pool, query="counts", bad=counted, total=total),
        newest_sample_at=now - timedelta(seconds=3),
    )


def release(version: str, *, ago: timedelta, **changes: Any) -> Release:
    """Live at once, with an artifact of its own."""
    plain = Release(service="api", version=version, artifact=f"image:{version}", started_at=NOW - ago, live_at=NOW - ago)
    return replace(plain, **changes)


V1 = release("v1", ago=24 * HOUR)
V2 = release("v2", ago=timedelta(seconds=150))


def alert_facts(**changes: Any) -> AlertFacts:
    """Fired a second ago and delivered at once."""
    defaults: dict[str, Any] = {
        "name": "HighErrorRate",
        "trigger": "HighErrorRate",
        "starts_at": NOW - timedelta(seconds=1),
        "delivered_at": NOW,
    }
    return AlertFacts(**(defaults | changes))


def case_of(
    story: str | Mapping[str, IndicatorEvidence] = "B9",
    *,
    releases: Iterable[Release] = (V2, V1),
    policy: ServicePolicy | None = None,
    alert: AlertFacts | None = None,
    **changes: Any,
) -> Case:
    """A story for the policy's only trigger, or the evidence of each trigger by its name."""
    """Healthy in the hour before the suspect; `changes` may bring another context."""
    policy = policy or service_policy()
    evidence = {policy.triggers[0].name: evidence_for(policy.triggers[0], story)} if isinstance(story, str) else story
    alert = alert or alert_facts(trigger=policy.triggers[0].name)
    return in_context(Case(policy=policy, alert=alert, evidence=evidence, releases=tuple(releases), **changes))


def in_context(case: Case, before: str = "H", **changes: Any) -> Case:
    """With what the daemon would ask next, as a story of the hour before the suspect; everything else is not there to be asked."""
    asked = wanted(case, NOW)
    if asked is None or case.context is not None:
        return case
    told = letters(before).rjust(HOUR // STEP + 1, "H")
    plain = readings([value_of(letter, asked.trigger) for letter in told], now=asked.suspect.started_at)
    evidence = IndicatorEvidence(
        indicator=asked.trigger.indicator.name,
        query="before",
        step=STEP,
        readings=tuple(_counted(asked.trigger, one, newborn=letter == "N") for one, letter in zip(plain, told, strict=True)),
    )
    return replace(case, context=Context(before=evidence, **changes))
