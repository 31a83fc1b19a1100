from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from rollbackd.prometheus.answer import AlertRule, Series, clock_offset, read_document, read_rules, read_series

AT = datetime(2026, 1, 31, 12, 0, 0, 250_000, UTC)
SECONDS = AT.timestamp()


def body(**changes: Any) -> bytes:
    return orjson.dumps({"status": "success", "data": {"resultType": "vector", "result": []}, **changes})


def test_a_successful_response() -> None:
    document = read_document(body(warnings=["w"], infos=["i"], new_field=1))
    assert (document.result_type, document.result, document.warnings, document.infos) == ("vector", [], ("w",), ("i",))


def test_absent_and_null_warnings_are_none() -> None:
    assert read_document(body(warnings=None)).warnings == ()
    assert read_document(body()).warnings == ()


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        body()[:-3],
        body(status="error"),
        body(data=None),
        body(data={"resultType": "vector"}),
        body(data={"resultType": 1, "result": []}),
        body(data={"resultType": "vector", "result": {}}),
        body(warnings="text"),
        body(warnings=[1]),
        b"[" * 100_000,
        b'{"status":"success","data":{"resultType":"vector","result":[]},"x":NaN}',
    ],
)
def test_anything_else_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"response|list"):
        read_document(broken)


def test_the_three_kinds_of_numbers() -> None:
    assert read_series("scalar", [SECONDS, "1"]) == (Series({}, ((SECONDS, "1"),)),)
    assert read_series("vector", [{"metric": {"a": "b"}, "value": [SECONDS, "1"]}]) == (Series({"a": "b"}, ((SECONDS, "1"),)),)
    matrix = read_series("matrix", [{"metric": {}, "values": [[SECONDS, "1"], [SECONDS + 15, "NaN"]]}])
    assert matrix == (Series({}, ((SECONDS, "1"), (SECONDS + 15, "NaN"))),)


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("string", [SECONDS, "text"]),
        ("streams", []),
        ("scalar", [SECONDS, 1]),
        ("scalar", ["now", "1"]),
        ("scalar", [True, "1"]),
        ("scalar", [SECONDS]),
        ("scalar", [1e300, "1"]),
        ("vector", [SECONDS, "1"]),
        ("vector", [None]),
        ("vector", [{"metric": {}}]),
        ("vector", [{"metric": {}, "value": None}]),
        ("vector", [{"metric": {"a": 1}, "value": [SECONDS, "1"]}]),
        ("vector", [{"metric": [], "value": [SECONDS, "1"]}]),
        ("vector", [{"metric": {}, "histogram": [SECONDS, {"count": "1"}]}]),
        ("matrix", [{"metric": {}, "values": []}]),
        ("matrix", [{"metric": {}, "values": 7}]),
        ("matrix", [{"metric": {}, "values": [[SECONDS, "1"], [SECONDS]]}]),
        ("matrix", [{"metric": {}, "histograms": [[SECONDS, {}]]}]),
    ],
)
def test_any_other_result_is_refused(kind: str, result: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"query API|one number"):
        read_series(kind, result)


@pytest.mark.parametrize(
    ("server", "sent", "received", "offset"),
    [
        (0, 0.1, 0.2, 0),  # the second that a Date leaves out
        (0, 0.9, 1.4, 0),
        (1, 0.9, 1.1, 0),
        (0, 0, 8, 0),  # a slow response: it may have been written at any moment of it
        (10, 0.5, 1, 9),
        (600, 0, 0, 600),
        (-600, 0, 0, -599),
        (-7, 0.5, 3, -6.5),
    ],
)
def test_an_offset_counts_only_as_far_as_it_is_certain(server: float, sent: float, received: float, offset: float) -> None:
    at = datetime(2026, 1, 31, tzinfo=UTC)
    found = clock_offset(at + timedelta(seconds=server), sent_at=at + timedelta(seconds=sent), received_at=at + timedelta(seconds=received))
    assert found == timedelta(seconds=offset)


ALERTING = {"type": "alerting", "name": "Slow", "duration": 300, "query": "x > 1", "alerts": [], "health": "ok"}


def rules(*groups: Any) -> bytes:
    return orjson.dumps({"status": "success", "data": {"groups": groups}})


def test_alert_rules_are_told_from_recording_rules() -> None:
    found = read_rules(rules({"name": "a", "rules": [ALERTING, {"type": "recording", "name": "r"}]}, {"name": "b", "rules": []}))
    assert found == (AlertRule("Slow", timedelta(minutes=5)),)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b'{"status":"error","error":"no"}',
        rules(7),
        rules({"name": "a"}),
        rules({"rules": [{**ALERTING, "duration": "5m"}]}),
        rules({"rules": [{**ALERTING, "duration": -1}]}),
        rules({"rules": [{**ALERTING, "type": "other"}]}),
    ],
)
def test_any_other_answer_about_rules_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"rules API|not JSON"):
        read_rules(answer)
