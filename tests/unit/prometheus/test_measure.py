from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rollbackd.model.measurement import IndicatorEvidence, Reading
from rollbackd.model.policy import Indicator, Reduce
from rollbackd.model.reason import Reason
from rollbackd.prometheus import measure, promql
from rollbackd.prometheus.answer import Answer, Series
from rollbackd.prometheus.measure import Fault, Part
from tests.fakes.policies import error_rate, response_time_p95, service

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SCRAPE = timedelta(seconds=15)
POLICY = service("api")
AT = measure.steps(NOW, SCRAPE, 4 * SCRAPE)
POOL_WINDOW = timedelta(minutes=2)

Told = str | float | Callable[[int], str | float | None] | None
"""The number at each step (by index), or at the one moment."""


def ranged(*series: Told) -> Answer:
    return Answer(
        result_type="matrix", series=tuple(filter(lambda one: one.samples, (_series(one, number) for number, one in enumerate(series))))
    )


def once(*series: Told) -> Answer:
    return Answer(result_type="vector", series=tuple(Series({"i": str(i)}, ((NOW.timestamp(), str(one)),)) for i, one in enumerate(series)))


def _series(told: Told, number: int) -> Series:
    texts = ((at, told(index) if callable(told) else told) for index, at in enumerate(AT))
    return Series({"i": str(number)} if number else {}, tuple((at.timestamp(), str(text)) for at, text in texts if text is not None))


def epoch(age: timedelta = timedelta()) -> Callable[[int], str]:
    return lambda index: f"{(AT[index] - age).timestamp():.3f}"


HEALTHY_RANGES: dict[Part, Answer | Fault] = {
    Part.BAD: ranged(2),
    Part.TOTAL: ranged(1000),
    Part.NEWEST: ranged(epoch(timedelta(seconds=4))),
    Part.COVERAGE: ranged(4),
    Part.BIRTHS: ranged(0),
}
HEALTHY_POOL: dict[Part, Answer | Fault] = {Part.BAD: once(4), Part.TOTAL: once(2000)}


def measured(
    indicator: Indicator | None = None,
    ranges: dict[Part, Answer | Fault] | None = None,
    pool: dict[Part, Answer | Fault] | None = None,
) -> IndicatorEvidence:
    return measure.evidence(
        POLICY,
        indicator or error_rate(),
        at=AT,
        ranges={**HEALTHY_RANGES, **(ranges or {})},
        pool={**HEALTHY_POOL, **(pool or {})},
        pool_window=POOL_WINDOW,
    )


def last(**changes: Answer) -> Reading:
    reading = measured(ranges={Part[name]: answer for name, answer in changes.items()}).last
    assert reading is not None
    return reading


def test_steps_lie_at_now_and_back_to_the_lookback() -> None:
    assert measure.steps(NOW, SCRAPE, timedelta()) == (NOW,)
    assert measure.steps(NOW, SCRAPE, timedelta(seconds=44)) == (NOW - 2 * SCRAPE, NOW - SCRAPE, NOW)
    assert measure.steps(NOW, SCRAPE, timedelta(seconds=45))[0] == NOW - 3 * SCRAPE


def test_what_is_asked_of_a_ratio() -> None:
    assert measure.range_queries(POLICY, error_rate()) == {
        Part.BAD: 'sum(increase(http_requests_total{service="api",code=~"5.."}[60s]))',
        Part.TOTAL: 'sum(increase(http_requests_total{service="api"}[60s]))',
        Part.NEWEST: 'max(timestamp(http_requests_total{service="api"}))',
        Part.COVERAGE: 'max(count_over_time(http_requests_total{service="api"}[60s]))',
        Part.BIRTHS: promql.births('http_requests_total{service="api",code=~"5.."}', SCRAPE),
    }
    assert measure.pool_queries(POLICY, error_rate(), POOL_WINDOW) == {
        Part.BAD: 'sum(increase(http_requests_total{service="api",code=~"5.."}[120s]))',
        Part.TOTAL: 'sum(increase(http_requests_total{service="api"}[120s]))',
    }


def test_what_is_asked_of_a_value() -> None:
    assert set(measure.range_queries(POLICY, response_time_p95())) == {Part.QUERY, Part.COUNT, Part.NEWEST, Part.COVERAGE}
    assert measure.pool_queries(POLICY, response_time_p95(), POOL_WINDOW) == {
        Part.COUNT: 'sum(increase(http_request_duration_seconds_count{service="api"}[120s]))'
    }
    assert measure.pool_queries(POLICY, response_time_p95(count=False), POOL_WINDOW) == {}


def test_a_healthy_ratio() -> None:
    evidence = measured()
    assert evidence.reason is None
    assert [reading.at for reading in evidence.readings] == list(AT)
    assert evidence.last == Reading(NOW, 0.002, None, NOW - timedelta(seconds=4), bad=2, total=1000, newborn=False)
    assert evidence.newest_sample_at == NOW - timedelta(seconds=4)
    assert evidence.pooled is not None
    assert (evidence.pooled.bad, evidence.pooled.total, evidence.pooled.window) == (4, 2000, POOL_WINDOW)
    assert evidence.query == (
        '(sum(increase(http_requests_total{service="api",code=~"5.."}[60s]))) / (sum(increase(http_requests_total{service="api"}[60s])))'
    )


@pytest.mark.parametrize("part", list(HEALTHY_RANGES))
def test_one_fault_among_the_ranges_and_nothing_is_measured(part: Part) -> None:
    evidence = measured(ranges={part: Fault(Reason.WARNINGS, "remote read failed")})
    assert (evidence.readings, evidence.pooled, evidence.reason) == ((), None, Reason.WARNINGS)
    assert evidence.detail == f"{part}: remote read failed"


@pytest.mark.parametrize("part", list(HEALTHY_POOL))
def test_a_fault_of_a_pooled_count_leaves_the_readings(part: Part) -> None:
    evidence = measured(pool={part: Fault(Reason.QUERY_FAILED, "refused")})
    assert evidence.last is not None
    assert evidence.last.value == 0.002
    assert evidence.pooled is not None
    assert (evidence.pooled.bad, evidence.pooled.total, evidence.pooled.reason) == (None, None, Reason.QUERY_FAILED)


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "1_0", " nan ", ""])
def test_a_number_that_is_none_is_unknown(text: str) -> None:
    for name in ("BAD", "TOTAL"):
        reading = last(**{name: ranged(text)})
        assert (reading.value, reading.reason) == (None, Reason.NOT_A_NUMBER)


def test_a_missing_denominator_is_unknown() -> None:
    assert last(TOTAL=ranged()).reason is Reason.NO_SERIES


def test_no_traffic_is_why_there_is_no_ratio() -> None:
    assert last(TOTAL=ranged(0), BAD=ranged(0)).reason is Reason.LOW_TRAFFIC


def test_two_series_are_unknown_without_reduce() -> None:
    assert last(BAD=ranged(1, 900)).reason is Reason.SEVERAL_SERIES
    assert last(TOTAL=ranged(1, 900)).reason is Reason.SEVERAL_SERIES


def test_of_several_series_it_is_said_how_many_what_tells_them_apart_and_what_to_do() -> None:
    labels = [{"i": str(i), "zone": zone, "job": "shop"} for i in range(3) for zone in "ab"]
    total = replace(ranged(1000), series=tuple(replace(ranged(1000).series[0], labels=each) for each in labels))
    advice = "where one is meant: aggregate in the query, such as sum(…), or set reduce"
    assert measured(ranges={Part.TOTAL: total}).detail == f"total: 6 series that differ in i, zone {advice}"
    many = replace(total, series=tuple(replace(one, labels={f"l{i}": "x"}) for i, one in enumerate(total.series)))
    assert measured(ranges={Part.BAD: many}).detail == f"bad: 6 series that differ in l0, l1, l2 and 3 more {advice}"
    assert measured(error_rate(reduce=Reduce.SUM), ranges={Part.TOTAL: total}).detail == ""
    assert value_evidence(ranged(480, 900), once(2000)).detail == f"query: 2 series that differ in i {advice}"


def test_several_series_in_the_past_say_nothing_of_now() -> None:
    assert measured(ranges={Part.TOTAL: ranged(1000, lambda index: 1000 if index < len(AT) - 1 else None)}).detail == ""


def test_two_series_by_reduce() -> None:
    ranges: dict[Part, Answer | Fault] = {Part.BAD: ranged(1, 900), Part.TOTAL: ranged(1000, 1000)}
    pool: dict[Part, Answer | Fault] = {Part.BAD: once(1, 900), Part.TOTAL: once(1000, 1000)}
    for reduce, expected, bad in ((Reduce.MAX, 0.9, 900), (Reduce.MIN, 0.001, 1), (Reduce.SUM, 901 / 2000, 901)):
        evidence = measured(error_rate(reduce=reduce), ranges, pool)
        assert evidence.last is not None
        assert evidence.last.value == expected
        assert evidence.pooled is not None
        assert evidence.pooled.bad == bad


def test_a_missing_numerator_is_zero_when_there_is_no_series_of_bad_events() -> None:
    assert last(BAD=ranged(), BIRTHS=ranged()).value == 0.0


def test_a_missing_numerator_is_zero_when_nobody_can_say_better() -> None:
    ranges: dict[Part, Answer | Fault] = {**HEALTHY_RANGES, Part.BAD: ranged()}
    del ranges[Part.BIRTHS]
    pool: dict[Part, Answer | Fault] = {**HEALTHY_POOL, Part.BAD: once()}
    evidence = measure.evidence(POLICY, error_rate(bad_samples=False), at=AT, ranges=ranges, pool=pool, pool_window=POOL_WINDOW)
    assert evidence.last is not None
    assert (evidence.last.value, evidence.last.newborn) == (0.0, False)
    assert evidence.pooled is not None
    assert evidence.pooled.bad == 0


def test_a_missing_numerator_is_unknown_while_its_series_is_young() -> None:
    reading = last(BAD=ranged(), BIRTHS=ranged(1))
    assert (reading.value, reading.reason, reading.newborn) == (None, Reason.COUNTER_BIRTH, True)
    pooled = measured(ranges={Part.BAD: ranged(), Part.BIRTHS: ranged(1)}, pool={Part.BAD: once()}).pooled
    assert pooled is not None
    assert (pooled.bad, pooled.total, pooled.reason) == (None, None, Reason.COUNTER_BIRTH)


def test_a_missing_numerator_of_an_old_series_is_thin() -> None:
    reading = last(BAD=ranged(), BIRTHS=ranged(0))
    assert (reading.reason, reading.newborn) == (Reason.THIN_SAMPLES, False)


def test_the_births_of_now_speak_for_the_pooled_counts() -> None:
    """A series that has gone since leaves its counts in the window; one that never was leaves none."""
    ranges: dict[Part, Answer | Fault] = {Part.BIRTHS: ranged(lambda index: 1 if index < len(AT) - 1 else None)}
    pooled = measured(ranges=ranges, pool={Part.BAD: once()}).pooled
    assert pooled is not None
    assert (pooled.bad, pooled.reason) == (0, None)


def test_a_young_series_beside_an_old_one_is_noted() -> None:
    readings = measured(ranges={Part.BIRTHS: ranged(lambda index: 1 if index in {1, 2} else 0)}).readings
    assert [reading.newborn for reading in readings] == [False, True, True, False, False]
    assert all(reading.value == 0.002 for reading in readings)


@pytest.mark.parametrize("text", ["NaN", "", "x"])
def test_births_that_are_no_number_are_births(text: str) -> None:
    assert last(BIRTHS=ranged(text)).newborn


def test_samples_older_than_their_limit_are_stale() -> None:
    assert last(NEWEST=ranged(epoch(2 * SCRAPE))).value == 0.002
    reading = last(NEWEST=ranged(epoch(2 * SCRAPE + timedelta(milliseconds=1))))
    assert (reading.value, reading.reason) == (None, Reason.STALE_SAMPLES)
    assert reading.sample_at == NOW - timedelta(seconds=30.001)


def test_a_series_that_has_gone_is_stale_and_one_that_never_was_is_absent() -> None:
    gone = measured(ranges={Part.NEWEST: ranged(lambda index: epoch()(index) if index < 3 else None)}).readings
    assert [reading.reason for reading in gone] == [None, None, None, Reason.STALE_SAMPLES, Reason.STALE_SAMPLES]
    assert gone[-1].sample_at == AT[2]
    assert last(NEWEST=ranged()).reason is Reason.NO_SERIES


@pytest.mark.parametrize("text", ["NaN", "", "1e300"])
def test_a_sample_time_that_is_no_time_is_stale_or_absent(text: str) -> None:
    assert last(NEWEST=ranged(text)).reason is Reason.NO_SERIES
    assert last(NEWEST=ranged(lambda index: text if index else epoch()(0))).reason is Reason.STALE_SAMPLES


@pytest.mark.parametrize(("samples", "reason"), [(2, None), (1, Reason.THIN_SAMPLES), ("NaN", Reason.THIN_SAMPLES)])
def test_half_of_the_expected_raw_samples_are_needed(samples: Told, reason: Reason | None) -> None:
    assert last(COVERAGE=ranged(samples)).reason is reason


def test_no_raw_samples_at_all_are_too_few() -> None:
    assert last(COVERAGE=ranged()).reason is Reason.THIN_SAMPLES


def test_pooled_counts_are_whole_and_bad_is_no_more_than_all() -> None:
    pooled = measured(pool={Part.BAD: once(10.7), Part.TOTAL: once(10.4)}).pooled
    assert pooled is not None
    assert (pooled.bad, pooled.total) == (10, 10)


@pytest.mark.parametrize(
    ("bad", "total", "reason"),
    [
        (once(1), once(), Reason.NO_SERIES),
        (once(1, 2), once(9), Reason.SEVERAL_SERIES),
        (once("NaN"), once(9), Reason.NOT_A_NUMBER),
    ],
)
def test_pooled_counts_are_judged_as_strictly(bad: Answer, total: Answer, reason: Reason) -> None:
    pooled = measured(pool={Part.BAD: bad, Part.TOTAL: total}).pooled
    assert pooled is not None
    assert (pooled.bad, pooled.total, pooled.reason) == (None, None, reason)


def value_evidence(query: Answer, count: Answer, reduce: Reduce | None = None) -> IndicatorEvidence:
    ranges: dict[Part, Answer | Fault] = {Part.QUERY: query, Part.NEWEST: ranged(epoch()), Part.COVERAGE: ranged(4)}
    indicator = response_time_p95(reduce=reduce)
    return measure.evidence(POLICY, indicator, at=AT, ranges=ranges, pool={Part.COUNT: count}, pool_window=POOL_WINDOW)


def test_a_value_pools_its_traffic_only() -> None:
    evidence = value_evidence(ranged(480), once(99.6))
    assert evidence.last is not None
    assert evidence.last.value == 480
    assert evidence.pooled is not None
    assert (evidence.pooled.bad, evidence.pooled.total, evidence.pooled.reason) == (None, 100, None)
    assert evidence.query == measure.range_queries(POLICY, response_time_p95())[Part.QUERY]


def test_a_value_without_a_count_has_nothing_pooled() -> None:
    ranges: dict[Part, Answer | Fault] = {Part.QUERY: ranged(480), Part.NEWEST: ranged(epoch()), Part.COVERAGE: ranged(4)}
    evidence = measure.evidence(POLICY, response_time_p95(count=False), at=AT, ranges=ranges, pool={}, pool_window=POOL_WINDOW)
    assert evidence.pooled is None


@pytest.mark.parametrize(("reduce", "expected", "traffic"), [(Reduce.MAX, 900.0, 10), (Reduce.MIN, 480.0, 10), (Reduce.SUM, 1380.0, 2010)])
def test_one_of_several_values_stands_on_the_least_traffic(reduce: Reduce, expected: float, traffic: int) -> None:
    evidence = value_evidence(ranged(480, 900), once(2000, 10), reduce)
    assert evidence.last is not None
    assert evidence.last.value == expected
    assert evidence.pooled is not None
    assert evidence.pooled.total == traffic


def test_several_values_are_unknown_without_reduce() -> None:
    evidence = value_evidence(ranged(480, 900), once(2000, 10))
    assert evidence.last is not None
    assert evidence.last.reason is Reason.SEVERAL_SERIES
    assert evidence.pooled is not None
    assert evidence.pooled.reason is Reason.SEVERAL_SERIES


def test_warnings_and_a_wrong_clock_are_faults_and_infos_are_not() -> None:
    answer = Answer(result_type="vector", series=(), infos=("not a counter",), clock_offset=timedelta())
    assert measure.fault(answer, check_clock=True) is None
    warned = replace(answer, warnings=("a", "b"))
    assert measure.fault(warned, check_clock=False) == Fault(Reason.WARNINGS, "a; b")


@pytest.mark.parametrize(("offset", "skewed"), [(0, False), (5, False), (-5, False), (5.001, True), (-600, True), (None, True)])
def test_the_clock_may_be_off_by_five_seconds(offset: float | None, skewed: bool) -> None:  # noqa: FBT001
    answer = Answer(result_type="vector", series=(), clock_offset=None if offset is None else timedelta(seconds=offset))
    found = measure.fault(answer, check_clock=True)
    assert (found is not None and found.reason is Reason.CLOCK_SKEW) == skewed
    assert measure.fault(answer, check_clock=False) is None


def test_the_reading_of_a_bare_query() -> None:
    assert measure.reading(once(0.25), NOW) == Reading(NOW, 0.25)
    assert measure.reading(once(), NOW) == Reading(NOW, None, Reason.NO_SERIES)
    assert measure.reading(once(1, 2), NOW) == Reading(NOW, None, Reason.SEVERAL_SERIES)
    assert measure.reading(once("NaN"), NOW) == Reading(NOW, None, Reason.NOT_A_NUMBER)
    assert measure.reading(Fault(Reason.QUERY_FAILED, "refused"), NOW) == Reading(NOW, None, Reason.QUERY_FAILED)
