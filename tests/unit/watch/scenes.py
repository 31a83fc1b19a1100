"""A service with two triggers and three objectives, and looks written as rows of signs, one sign a look, fifteen seconds apart."""

from datetime import UTC, datetime, timedelta
from typing import Final

from rollbackd.model.condition import Condition
from rollbackd.model.look import Look, ObjectiveLook, ObjectiveVerdict, TriggerLook
from rollbackd.model.measurement import Verdict
from rollbackd.model.policy import Indicator, Objective, ServicePolicy, Trigger, WatchPolicy
from rollbackd.model.reason import Reason

INTERVAL: Final = timedelta(seconds=15)
STABLE_FOR: Final = timedelta(minutes=1)  # five looks
DURATION: Final = timedelta(minutes=2)  # nine looks
BEGIN: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
DECIDED_ON: Final = 0.1

ERROR_RATE: Final = Indicator(name="error_rate", samples="r", bad="b", total="t", window=timedelta(minutes=1))
P95: Final = Indicator(name="p95", samples="r", query="q", count="c", window=timedelta(minutes=1))
AVAILABILITY: Final = Indicator(name="availability", samples="up", query="a", window=timedelta(minutes=1))

HIGH_ERROR_RATE: Final = Trigger(
    name="HighErrorRate",
    indicator=ERROR_RATE,
    breach=Condition.parse("> 0.01"),
    clear=Condition.parse("<= 0.005"),
    hold_for=timedelta(minutes=2),
    alerts=("HighErrorRate",),
    min_requests=50,
)
SLOW_RESPONSE: Final = Trigger(
    name="SlowResponse",
    indicator=P95,
    breach=Condition.parse("> 1000"),
    clear=Condition.parse("< 500"),
    hold_for=timedelta(minutes=5),
    alerts=("SlowResponse",),
    min_requests=50,
)
UNAVAILABLE: Final = Trigger(
    name="Unavailable",
    indicator=AVAILABILITY,
    breach=Condition.parse("< 0.9"),
    clear=Condition.parse(">= 0.99"),
    hold_for=timedelta(minutes=1),
    alerts=("Unavailable",),
)
OBJECTIVES: Final = (
    Objective(name="errors", indicator=ERROR_RATE, target=Condition.parse("< 0.005")),
    Objective(name="latency", indicator=P95, target=Condition.parse("< 500")),
    Objective(name="uptime", indicator=AVAILABILITY, target=Condition.parse(">= 0.999")),
)


def policy(
    *,
    triggers: tuple[Trigger, ...] = (HIGH_ERROR_RATE, SLOW_RESPONSE),
    objectives: tuple[Objective, ...] = OBJECTIVES,
    watch: WatchPolicy | None = None,
) -> ServicePolicy:
    return ServicePolicy(
        name="api",
        match=(),
        selector=(),
        triggers=triggers,
        objectives=objectives,
        prometheus="main",
        scrape_interval=INTERVAL,
        max_sample_age=2 * INTERVAL,
        recheck_every=INTERVAL,
        watch=watch or WatchPolicy(duration=DURATION, interval=INTERVAL, stable_for=STABLE_FOR),
    )


OBJECTIVE_SIGNS: Final = {
    ".": (ObjectiveVerdict.MET, 0.0, None),
    "x": (ObjectiveVerdict.MISSED, 700.0, None),
    "?": (ObjectiveVerdict.UNKNOWN, None, Reason.NO_SERIES),
}
"""met, missed, unknown"""

TRIGGER_SIGNS: Final = {
    ".": (Verdict.HEALTHY, 0.0, True, Reason.CLEAR),
    "-": (Verdict.UNKNOWN, 0.007, False, Reason.DEAD_BAND),
    "h": (Verdict.BREACHED, DECIDED_ON / 2, False, Reason.BREACH),
    "!": (Verdict.BREACHED, DECIDED_ON, False, Reason.BREACH),
    "W": (Verdict.BREACHED, DECIDED_ON * 1.5, False, Reason.BREACH),
    "?": (Verdict.UNKNOWN, None, None, Reason.NO_SERIES),
    "v": (Verdict.UNKNOWN, DECIDED_ON / 4, None, Reason.LOW_TRAFFIC),
    "l": (Verdict.UNKNOWN, DECIDED_ON * 2, None, Reason.LOW_TRAFFIC),
}
"""clear, dead band, breached at half of the decision's value, at it, at 1.5 times it, unknown; of too little traffic: small, large"""


def looks(of: ServicePolicy, every: timedelta = INTERVAL, **rows: str) -> list[Look]:
    """Rows by name of objective or trigger; a line without a row is fine at every look."""
    length = max(len(row) for row in rows.values())
    assert {len(row) for row in rows.values()} == {length}, "rows of one watch have one length"
    return [
        Look(
            at=BEGIN + number * every,
            objectives=tuple(_objective(each, rows.get(each.name, "." * length)[number]) for each in of.objectives),
            triggers=tuple(_trigger(each, rows.get(each.name, "." * length)[number]) for each in of.triggers),
        )
        for number in range(length)
    ]


def _objective(objective: Objective, sign: str) -> ObjectiveLook:
    verdict, value, reason = OBJECTIVE_SIGNS[sign]
    return ObjectiveLook(
        name=objective.name, indicator=objective.indicator.name, verdict=verdict, value=value, limit=str(objective.target), reason=reason
    )


def _trigger(trigger: Trigger, sign: str) -> TriggerLook:
    verdict, value, clear, reason = TRIGGER_SIGNS[sign]
    return TriggerLook(
        name=trigger.name,
        indicator=trigger.indicator.name,
        verdict=verdict,
        value=value,
        limit=str(trigger.breach),
        clear=clear,
        reason=reason,
    )
