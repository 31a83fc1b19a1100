import logging

from rollbackd.telemetry.metrics import Metrics
from rollbackd.telemetry.overload import AT_ONCE, EVERY, KINDS, Damper, too_busy


class Clockwork:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def line(**fields: object) -> logging.LogRecord:
    return logging.LogRecord("intake", logging.WARNING, "", 0, fields, (), None)


def test_what_says_the_same_again_is_counted_and_not_written() -> None:
    now = Clockwork()
    damper = Damper(now)
    written = [damper.filter(line(event="refused", remote=str(number))) for number in range(500)]
    assert sum(written) == AT_ONCE
    assert damper.filter(line(event="stored")), "another event is another matter"
    now.seconds = EVERY.total_seconds()
    next_one = line(event="refused", remote="last")
    assert damper.filter(next_one)
    assert next_one.msg == {"event": "refused", "remote": "last", "not_written": 500 - AT_ONCE}
    after_that = line(event="refused")
    assert damper.filter(after_that)
    assert "not_written" not in after_that.msg


def test_what_is_about_an_incident_is_always_written() -> None:
    damper = Damper(Clockwork())
    assert all(damper.filter(line(event="held", incident="20260131-120000-7f3a")) for _ in range(500))


def test_a_library_line_goes_by_its_text_before_it_is_filled_in() -> None:
    damper = Damper(Clockwork())
    lines = [logging.LogRecord("aiohttp.server", logging.ERROR, "", 0, "from %s", (str(number),), None) for number in range(500)]
    assert sum(map(damper.filter, lines)) == AT_ONCE


def test_as_many_kinds_as_anybody_can_think_of_are_not_kept() -> None:
    damper = Damper(Clockwork())
    for number in range(3 * KINDS):
        damper.filter(line(event=f"event {number}"))
    assert len(damper._windows) <= KINDS


def test_a_limit_is_counted_under_its_name() -> None:
    metrics = Metrics()
    too_busy(metrics, "webhooks")
    assert b'rollbackd_too_busy_total{limit="webhooks"} 1.0' in metrics.exposition()[0]
