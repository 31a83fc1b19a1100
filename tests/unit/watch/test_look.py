from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from rollbackd.model.condition import Condition
from rollbackd.model.look import Look, ObjectiveVerdict
from rollbackd.model.measurement import IndicatorEvidence, PooledCounts, Reading, Verdict
from rollbackd.model.policy import Indicator, Objective, ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.watch.look import Looker, first_look_at, looked_at, make_look
from tests.unit.watch.scenes import AVAILABILITY, BEGIN, ERROR_RATE, HIGH_ERROR_RATE, INTERVAL, OBJECTIVES, P95, SLOW_RESPONSE, policy

MINUTE = timedelta(minutes=1)


def evidence(indicator: Indicator, *readings: Reading, total: float | None = 1000.0, reason: Reason | None = None) -> IndicatorEvidence:
    pooled = PooledCounts(window=MINUTE, query="t", total=total, reason=None if total is not None else Reason.QUERY_FAILED)
    return IndicatorEvidence(indicator=indicator.name, query="q", step=INTERVAL, readings=readings, pooled=pooled, reason=reason)


def value(number: float, *, newborn: bool = False) -> Reading:
    return Reading(at=BEGIN, value=number, newborn=newborn)


def unknown(reason: Reason) -> Reading:
    return Reading(at=BEGIN, value=None, reason=reason)


def look(errors: IndicatorEvidence, of: ServicePolicy | None = None) -> Look:
    of = of or policy(triggers=(HIGH_ERROR_RATE,), objectives=OBJECTIVES[:1])
    return make_look(of, {"error_rate": errors}, BEGIN)


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (value(0.001), (ObjectiveVerdict.MET, Verdict.HEALTHY, True, Reason.CLEAR)),
        (value(0.007), (ObjectiveVerdict.MISSED, Verdict.UNKNOWN, False, Reason.DEAD_BAND)),
        (value(0.5), (ObjectiveVerdict.MISSED, Verdict.BREACHED, False, Reason.BREACH)),
        (value(0.001, newborn=True), (ObjectiveVerdict.UNKNOWN, Verdict.UNKNOWN, None, Reason.COUNTER_BIRTH)),
        (value(0.007, newborn=True), (ObjectiveVerdict.MISSED, Verdict.UNKNOWN, None, Reason.COUNTER_BIRTH)),
        (value(0.5, newborn=True), (ObjectiveVerdict.MISSED, Verdict.BREACHED, False, Reason.BREACH)),
        (unknown(Reason.STALE_SAMPLES), (ObjectiveVerdict.UNKNOWN, Verdict.UNKNOWN, None, Reason.STALE_SAMPLES)),
    ],
    ids=["clear", "dead band", "breach", "newborn clear", "newborn dead band", "newborn breach", "stale"],
)
def test_a_reading_is_judged(reading: Reading, expected: tuple[ObjectiveVerdict, Verdict, bool | None, Reason]) -> None:
    made = look(evidence(ERROR_RATE, unknown(Reason.NO_SERIES), reading))

    [objective], [trigger] = made.objectives, made.triggers
    assert (objective.verdict, trigger.verdict, trigger.clear, trigger.reason) == expected
    assert (made.at, objective.value, trigger.value) == (BEGIN, reading.value, reading.value)
    assert (objective.limit, trigger.limit) == ("< 0.005", "> 0.01")


@pytest.mark.parametrize(
    ("total", "verdict", "reason"),
    [
        (50.0, ObjectiveVerdict.MET, None),
        (49.6, ObjectiveVerdict.MET, None),
        (49.4, ObjectiveVerdict.UNKNOWN, Reason.LOW_TRAFFIC),
        (None, ObjectiveVerdict.UNKNOWN, Reason.QUERY_FAILED),
    ],
    ids=["enough", "enough, extrapolated", "too little", "unknown"],
)
def test_too_little_traffic_is_unknown_not_met(total: float | None, verdict: ObjectiveVerdict, reason: Reason | None) -> None:
    made = look(evidence(ERROR_RATE, value(0.0), total=total))

    assert (made.objectives[0].verdict, made.objectives[0].reason) == (verdict, reason)
    assert made.triggers[0].clear is (True if verdict is ObjectiveVerdict.MET else None)


def test_too_little_traffic_is_unknown_not_missed() -> None:
    made = look(evidence(ERROR_RATE, value(1.0), total=3))

    assert made.objectives[0].verdict is ObjectiveVerdict.UNKNOWN
    assert (made.triggers[0].verdict, made.triggers[0].value) == (Verdict.UNKNOWN, 1.0)


def test_an_indicator_that_no_trigger_asks_traffic_of_needs_none() -> None:
    of = policy(triggers=(), objectives=OBJECTIVES[:1])

    assert look(evidence(ERROR_RATE, value(0.0), total=0), of).objectives[0].verdict is ObjectiveVerdict.MET


def test_a_range_that_could_not_be_measured_says_why() -> None:
    made = look(evidence(ERROR_RATE, reason=Reason.QUERY_FAILED))

    assert (made.objectives[0].verdict, made.objectives[0].reason) == (ObjectiveVerdict.UNKNOWN, Reason.QUERY_FAILED)
    assert (made.triggers[0].verdict, made.triggers[0].reason) == (Verdict.UNKNOWN, Reason.QUERY_FAILED)


class TestARelativeObjective:
    """Such as throughput: half of what was usual before the release, whatever the hour."""

    at_least_half = Objective(name="throughput", indicator=P95, target=Condition.parse(">= 0.5x"))
    service = policy(triggers=(), objectives=(at_least_half,))

    @pytest.mark.parametrize(("measured", "verdict"), [(100.0, ObjectiveVerdict.MET), (99.0, ObjectiveVerdict.MISSED)])
    def test_is_compared_with_its_baseline_and_says_the_limit(self, measured: float, verdict: ObjectiveVerdict) -> None:
        [one] = make_look(self.service, {"p95": evidence(P95, value(measured))}, BEGIN, baselines={"p95": 200.0}).objectives

        assert (one.verdict, one.limit) == (verdict, ">= 100 (0.5x)")

    @pytest.mark.parametrize("baselines", [{}, {"p95": 0.0}])
    def test_is_unknown_without_one(self, baselines: dict[str, float]) -> None:
        [one] = make_look(self.service, {"p95": evidence(P95, value(700))}, BEGIN, baselines=baselines).objectives

        assert (one.verdict, one.reason) == (ObjectiveVerdict.UNKNOWN, Reason.NO_BASELINE)


class TestARelativeTrigger:
    relative = replace(SLOW_RESPONSE, breach=Condition.parse("> 3x"), clear=Condition.parse("< 1.5x"), at_least=100.0, min_requests=0)
    service = policy(triggers=(relative,), objectives=())

    def test_is_compared_with_its_baseline_and_says_the_limit(self) -> None:
        [one] = make_look(self.service, {"p95": evidence(P95, value(700))}, BEGIN, baselines={"p95": 200.0}).triggers

        assert (one.verdict, one.limit) == (Verdict.BREACHED, "> 600 (3x)")

    def test_is_unknown_without_one(self) -> None:
        [one] = make_look(self.service, {"p95": evidence(P95, value(700))}, BEGIN).triggers

        assert (one.verdict, one.clear, one.reason, one.limit) == (Verdict.UNKNOWN, None, Reason.NO_BASELINE, "> 3x")


def test_the_first_look_waits_for_the_longest_window_and_a_scrape() -> None:
    slow = replace(P95, window=timedelta(minutes=5))
    of = policy(triggers=(HIGH_ERROR_RATE, replace(SLOW_RESPONSE, indicator=slow)), objectives=OBJECTIVES[:1])

    assert first_look_at(of, BEGIN) == BEGIN + timedelta(minutes=5) + INTERVAL


def test_each_indicator_is_looked_at_once() -> None:
    assert looked_at(policy()) == (ERROR_RATE, P95, AVAILABILITY)


@dataclass
class ScriptedMeasures:
    """Answers from a function of the indicator and the time asked about; keeps what it was asked."""

    answer: Callable[[str, datetime], float | None]
    asked: list[tuple[str, datetime, timedelta, timedelta]] = field(default_factory=list)

    async def evidence(
        self, policy: ServicePolicy, indicator: Indicator, *, now: datetime, lookback: timedelta, pool_window: timedelta
    ) -> IndicatorEvidence:
        self.asked.append((indicator.name, now, lookback, pool_window))
        times = [now - back * INTERVAL for back in range(lookback // INTERVAL + 1)][::-1]
        readings = [
            Reading(at, number, None if number is not None else Reason.NO_SERIES)
            for at in times
            for number in [self.answer(indicator.name, at)]
        ]
        return evidence(indicator, *readings)


async def test_a_look_asks_one_step_of_each_indicator() -> None:
    measures = ScriptedMeasures(lambda name, at: 0.0)

    made = await Looker(measures).look(policy(), now=BEGIN)

    assert [(name, now, lookback) for name, now, lookback, _ in measures.asked] == [
        ("error_rate", BEGIN, timedelta(0)),
        ("p95", BEGIN, timedelta(0)),
        ("availability", BEGIN, timedelta(0)),
    ]
    assert [one.verdict for one in made.objectives] == ["met", "met", "missed"]


@pytest.mark.parametrize(
    ("since_the_rollback", "pooled"),
    [
        (None, 2 * MINUTE),
        (timedelta(minutes=10), 2 * MINUTE),
        (timedelta(seconds=100.9), timedelta(seconds=85)),
        (timedelta(seconds=20), MINUTE),
    ],
    ids=["not rolled back", "long ago", "a moment ago", "just now"],
)
async def test_traffic_is_counted_over_the_for_but_not_from_before_the_rollback(
    since_the_rollback: timedelta | None, pooled: timedelta
) -> None:
    measures = ScriptedMeasures(lambda name, at: 0.0)
    since = None if since_the_rollback is None else BEGIN - since_the_rollback

    await Looker(measures).look(policy(triggers=(HIGH_ERROR_RATE,), objectives=()), now=BEGIN, since=since)

    assert [pool_window for *_, pool_window in measures.asked] == [pooled]


class TestHowItWasBefore:
    release_started_at = BEGIN - timedelta(minutes=10)
    relative = TestARelativeTrigger.relative

    def answer(self, name: str, at: datetime) -> float | None:
        """Availability is always fine; errors are; latency is 600 usually, once 9000 long ago, and 400 right before the rollback."""
        if name == "availability":
            return 1.0
        if name == "error_rate":
            return 0.002 if at <= self.release_started_at else 0.2
        if at == BEGIN:
            return 400.0
        return 9000.0 if at == self.release_started_at - timedelta(minutes=30) else 600.0

    async def test_what_was_met_and_what_was_usual(self) -> None:
        of = policy(triggers=(HIGH_ERROR_RATE, self.relative))

        before = await Looker(ScriptedMeasures(self.answer)).before(
            of, rollback_started_at=BEGIN, release_started_at=self.release_started_at
        )

        assert before.met == {"latency", "uptime"}
        assert before.usual == {"errors": pytest.approx(0.002), "latency": pytest.approx(600), "uptime": pytest.approx(1.0)}
        assert before.baselines["p95"] == 600.0

    async def test_the_usual_worst_is_at_the_low_end_where_more_is_better(self) -> None:
        def answer(name: str, at: datetime) -> float:
            return 0.9 if at.minute % 2 else 1.0

        before = await Looker(ScriptedMeasures(answer)).before(
            policy(), rollback_started_at=BEGIN, release_started_at=self.release_started_at
        )

        assert before.usual["uptime"] == pytest.approx(0.9)
        assert before.usual["latency"] == pytest.approx(1.0)

    async def test_too_few_readings_say_nothing_of_what_was_usual(self) -> None:
        def answer(name: str, at: datetime) -> float | None:
            return 1.0 if at > self.release_started_at - 9 * INTERVAL else None

        before = await Looker(ScriptedMeasures(answer)).before(
            policy(triggers=(self.relative,)), rollback_started_at=BEGIN, release_started_at=self.release_started_at
        )

        assert (before.usual, before.baselines) == ({}, {})

    async def test_without_a_suspect_release_there_is_nothing_before_it(self) -> None:
        before = await Looker(ScriptedMeasures(self.answer)).before(policy(), rollback_started_at=BEGIN, release_started_at=None)

        assert (before.usual, before.baselines) == ({}, {})
        assert before.met == {"latency", "uptime"}
