"""One meaning or none: what Alertmanager sends is understood, what could mean two things is refused (I11, I14)."""

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbackd.intake import payload
from rollbackd.intake.payload import Payload, PayloadError
from rollbackd.intake.routing import Route
from rollbackd.model.alert import AlertStatus
from rollbackd.model.reason import Reason

NOW = datetime(2026, 1, 31, 12, 5, tzinfo=UTC)

ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "HighErrorRate", "service": "api"},
    "annotations": {"summary": "5xx above 1 %"},
    "startsAt": "2026-01-31T12:00:00.123456789+08:00",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus:9090/graph?g0.expr=up&g0.tab=1",
    "fingerprint": "5ed9b5a0c9a1f1e3",
}
PAYLOAD: dict[str, Any] = {
    "version": "4",
    "groupKey": '{}:{alertname="HighErrorRate"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "rollbackd",
    "groupLabels": {"alertname": "HighErrorRate"},
    "commonLabels": {"alertname": "HighErrorRate", "service": "api"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager:9093",
    "alerts": [ALERT],
}


ANYWHERE = Route("api", "HighErrorRate", None, "")


def parse(sent: bytes) -> Payload:
    return payload.parse(sent, NOW, lambda _: ANYWHERE)


def body(**changes: Any) -> bytes:
    return json.dumps(PAYLOAD | changes).encode()


def alert(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (ALERT | changes).items() if value is not ...}


def test_what_alertmanager_sends() -> None:
    parsed = parse(body())
    (event,) = parsed.events
    assert (parsed.truncated, parsed.no_service, parsed.unusable, parsed.skipped, parsed.ignored) == (0, 0, 0, (), ())
    assert event.fingerprint == "5ed9b5a0c9a1f1e3"
    assert event.starts_at == datetime(2026, 1, 31, 4, 0, 0, 123456, tzinfo=UTC)
    assert event.starts_at.tzinfo is UTC
    assert event.status is AlertStatus.FIRING
    assert event.ends_at is None
    assert event.labels == ALERT["labels"]
    assert event.annotations == ALERT["annotations"]
    assert event.generator_url == ALERT["generatorURL"]
    assert event.received_at == NOW
    assert (event.service, event.trigger) == ("api", "HighErrorRate")


def test_a_resolved_one_has_an_end() -> None:
    (event,) = parse(body(status="resolved", alerts=[alert(status="resolved", endsAt="2026-01-31T12:04:00Z")])).events
    assert event.status is AlertStatus.RESOLVED
    assert event.ends_at == datetime(2026, 1, 31, 12, 4, tzinfo=UTC)


def test_each_alert_by_itself_never_by_what_they_have_in_common() -> None:
    first, second = parse(body(status="firing", alerts=[alert(), alert(status="resolved", labels={"service": "web"})])).events
    assert (second.status, second.labels) == (AlertStatus.RESOLVED, {"service": "web"})
    assert first.status is AlertStatus.FIRING


def test_fields_of_newer_versions_are_ignored() -> None:
    newer = body(
        notificationReason="first", nested={"deep": [{"a": 1.5}]}, alerts=[alert(silenceURL="http://alertmanager:9093/#/silences")]
    )
    assert len(parse(newer).events) == 1


def test_what_alertmanager_cut_off_is_counted() -> None:
    assert parse(body(truncatedAlerts=7)).truncated == 7
    for other in (None, -1, "7", True):
        assert parse(body(truncatedAlerts=other)).truncated == 0


def test_what_is_no_services_is_ignored_with_the_reason() -> None:
    nowhere = Route(None, None, Reason.NO_SERVICE, "no service fits")
    sent = body(alerts=[alert(labels={"service": "web"}), alert(), None])
    parsed = payload.parse(sent, NOW, lambda labels: ANYWHERE if labels["service"] == "api" else nowhere)
    assert [event.labels["service"] for event in parsed.events] == ["api"]
    assert (parsed.no_service, parsed.unusable) == (1, 1)
    assert [(one.why, one.labels, one.received_at) for one in parsed.ignored] == [
        ("no service fits", {"service": "web"}, NOW),
        ("alerts[2]: it is not an object", {}, NOW),
    ]


def test_what_go_writes_comes_back_to_the_byte() -> None:
    """The cheap proof holds for what Alertmanager really sends; the dear one answers the same."""
    sent = orjson.dumps(PAYLOAD | {"groupKey": '{}:{alertname="x"}'}).replace(b"&", rb"\u0026") + b"\n"
    assert payload._comes_back(orjson.loads(sent), sent)
    assert parse(sent) == parse(body(groupKey='{}:{alertname="x"}'))


def test_no_alerts() -> None:
    assert parse(body(alerts=[])).events == ()


class TestRefused:
    def why(self, sent: bytes) -> str:
        with pytest.raises(PayloadError) as caught:
            parse(sent)
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 200
        return message

    @pytest.mark.parametrize(
        "sent",
        [
            b"",
            b"{",
            b"not json",
            b"\xff\xfe",
            b"\xef\xbb\xbf" + body(),
            body() + b"{}",
            body(extra="@").replace(b'"@"', b"NaN"),
            body(extra="@").replace(b'"@"', b"-Infinity"),
            body(extra="@").replace(b'"@"', b"1e999"),
            body(extra="@").replace(b'"@"', b"9" * 5000),
            body(extra="@").replace(b"@", rb"\ud800"),
            body(extra="@").replace(b"@", rb"\udc00\ud800"),
            body(extra="@").replace(b"@", b"\xed\xa0\x80"),
            body(extra="@").replace(b"@", b"\x00"),
            body(extra="@").replace(b'"@"', b"[" * 100_000 + b"]" * 100_000),
            body(extra="@").replace(b'"@"', b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        ],
    )
    def test_no_json(self, sent: bytes) -> None:
        assert self.why(sent).startswith("the body is not JSON")

    @pytest.mark.parametrize("sent", [b"[]", b'"text"', b"null", b"4", b"[[]]"])
    def test_no_object(self, sent: bytes) -> None:
        assert self.why(sent) == "the body is not a JSON object"

    @pytest.mark.parametrize("number", [b"18446744073709551616", b"-99999999999999999999", b"1e300", b"9" * 300])
    def test_a_number_that_is_no_longer_itself(self, number: bytes) -> None:
        assert self.why(body(extra="@").replace(b'"@"', number)) == "a number is too large"

    def test_nul(self) -> None:
        for label in ({"service": "api\0"}, {"serv\0ice": "api"}, {"service": "\\\0"}):
            assert self.why(body(alerts=[alert(labels=label)])) == "the body has a NUL character"

    def test_a_backslash_before_u0000_is_no_nul(self) -> None:
        (event,) = parse(body(alerts=[alert(labels={"service": "\\u0000", "path": "C:\\"})])).events
        assert event.labels == {"service": "\\u0000", "path": "C:\\"}

    @pytest.mark.parametrize(
        ("once", "twice"),
        [
            (b'"version": "4"', b'"version": "3", "version": "4"'),
            (b'"service": "api"', b'"service": "prod", "service": "api"'),
            (b'"status": "firing"', b'"status" : "resolved",\n"status"\t:"firing"'),
            (b'"service": "api"', b'"serv\\u0069ce": "prod", "service": "api"'),
            (b'"commonAnnotations": {}', b'"commonAnnotations": {"a\\"b": 1, "c": ":", "a\\u0022b": "\\":"}'),
            (b'"commonAnnotations": {}', b'"new": {"": {"x": 1, "x": {}}}'),
        ],
    )
    def test_a_key_twice(self, once: bytes, twice: bytes) -> None:
        sent = body()
        assert once in sent
        assert self.why(sent.replace(once, twice, 1)) == "a key stands twice in one object"

    def test_another_version(self) -> None:
        for version in ("3", "5", 4, None, "4" * 1000):
            assert "reads version 4" in self.why(body(version=version))

    def test_another_shape(self) -> None:
        for alerts in (None, {}, "text", {"0": ALERT}):
            assert "'alerts' is not a list" in self.why(body(alerts=alerts))
        assert "version" in self.why(json.dumps(ALERT).encode())


class TestSkipped:
    """What cannot be used is named, and takes no other alert with it."""

    @pytest.mark.parametrize(
        ("unusable", "why"),
        [
            ("text", "not an object"),
            (None, "not an object"),
            ({}, "no fingerprint"),
            (alert(fingerprint=...), "no fingerprint"),
            (alert(fingerprint=""), "no fingerprint"),
            (alert(fingerprint=7), "no fingerprint"),
            (alert(fingerprint="x" * 65), "no fingerprint"),
            (alert(status="pending"), "status is 'pending'"),
            (alert(status=["firing"]), r"status is \['firing'\]"),
            (alert(status=...), "status is None"),
            (alert(startsAt=...), "startsAt is not a time"),
            (alert(startsAt=1769860800), "startsAt is not a time"),
            (alert(startsAt="yesterday"), "startsAt is not a time"),
            (alert(startsAt="2026-01-31T12:00:00"), "startsAt is not a time"),
            (alert(startsAt="0001-01-01T00:00:00Z"), "startsAt is not a time"),
            (alert(startsAt="0000-01-01T00:00:00Z"), "startsAt is not a time"),
            (alert(startsAt="9999-12-31T23:59:59-23:59"), "startsAt is not a time"),
            (alert(startsAt="1970-01-01T00:00:00Z"), "startsAt is not a time"),
            (alert(startsAt="9999-12-31T00:00:00Z"), "more than a day ahead"),
            (alert(labels=...), "no labels"),
            (alert(labels=[["service", "api"]]), "no labels"),
            (alert(labels={"service": 1}), "label 'service' is not a string"),
            (alert(labels={"service": None}), "label 'service' is not a string"),
            (alert(labels={str(number): "x" for number in range(65)}), "65 labels"),
            (alert(labels={"n" * 129: "x"}), "a name over 128 bytes"),
            (alert(labels={"é" * 65: "x"}), "a name over 128 bytes"),
            (alert(labels={"service": "v" * 4097}), "a value over 4096 bytes"),
            (alert(labels={"service": "é" * 2049}), "a value over 4096 bytes"),
        ],
    )
    def test_one_alert(self, unusable: object, why: str) -> None:
        parsed = parse(body(alerts=[alert(fingerprint="a"), unusable, alert(fingerprint="b")]))
        assert [event.fingerprint for event in parsed.events] == ["a", "b"]
        (sentence,) = parsed.skipped
        assert sentence.startswith("alerts[1]: ")
        with pytest.raises(AssertionError, match=why):
            raise AssertionError(sentence)
        assert len(sentence) < 200
        assert parsed.unusable == 1

    def test_the_limits_themselves_are_within(self) -> None:
        labels = {f"{number:0128d}": "v" * 4096 for number in range(64)}
        (event,) = parse(body(alerts=[alert(labels=labels, fingerprint="f" * 64, startsAt="2026-02-01T12:05:00Z")])).events
        assert event.labels == labels

    def test_a_flood_of_them_is_counted_and_not_listed(self) -> None:
        parsed = parse(body(alerts=[None] * 1000))
        assert parsed.unusable == 1000
        assert len(parsed.skipped) == 21
        assert parsed.skipped[-1] == "and 980 more"


class TestOnlyShown:
    """Annotations and the link are never a reason to lose an alert: they are cut, or left out."""

    def test_annotations(self) -> None:
        (event,) = parse(body(alerts=[alert(annotations={"summary": "x" * 5000, "number": 1, "n" * 200: "y"})])).events
        assert event.annotations == {"summary": "x" * 4096, "n" * 128: "y"}
        (event,) = parse(body(alerts=[alert(annotations={str(number): "x" for number in range(100)})])).events
        assert len(event.annotations) == 64
        others: tuple[Any, ...] = (None, [], "text", ...)
        for other in others:
            (event,) = parse(body(alerts=[alert(annotations=other)])).events
            assert event.annotations == {}

    def test_the_link(self) -> None:
        (event,) = parse(body(alerts=[alert(generatorURL="x" * 5000)])).events
        assert event.generator_url == "x" * 4096
        others: tuple[Any, ...] = (None, 1, {}, ...)
        for other in others:
            (event,) = parse(body(alerts=[alert(generatorURL=other)])).events
            assert event.generator_url == ""

    def test_an_end_that_is_no_time(self) -> None:
        for other in (None, 5, "soon", "9999-12-31T23:59:59-23:59", ...):
            (event,) = parse(body(alerts=[alert(endsAt=other)])).events
            assert event.ends_at is None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(alphabet='ab":\\ é\n,{}[]', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='ab":\\ é\n', max_size=4), inner, max_size=3),
    max_leaves=20,
)


@given(value=JSON_VALUES, separators=st.sampled_from([(",", ":"), (" ,\n", "\t: ")]))
def test_no_payload_without_a_double_key_is_refused_for_one(value: Any, separators: tuple[str, str]) -> None:
    sent = json.dumps(PAYLOAD | {"extra": value}, separators=separators, ensure_ascii=separators == (",", ":")).encode()
    assert len(parse(sent).events) == 1


@given(value=JSON_VALUES, key=st.text(alphabet='ab":\\ é', max_size=4), spaces=st.text(alphabet=" \t\n\r", max_size=2))
def test_no_double_key_is_missed(value: Any, key: str, spaces: str) -> None:
    quoted = json.dumps(key)
    double = f"{{{quoted}{spaces}:{json.dumps(value)},{quoted}:{spaces}{json.dumps(value)}}}"
    sent = body(extra="@").replace(b'"@"', double.encode())
    with pytest.raises(PayloadError, match="twice"):
        parse(sent)


@given(data=st.data())
def test_whatever_one_field_becomes_it_is_parsed_or_refused(data: st.DataObject) -> None:
    changed = deepcopy(PAYLOAD)
    holder = data.draw(st.sampled_from([changed, changed["alerts"][0], changed["alerts"][0]["labels"]]))
    holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(JSON_VALUES | st.datetimes().map(lambda time: time.isoformat() + "Z"))
    try:
        parsed = parse(orjson.dumps(changed))
    except PayloadError:
        return
    assert len(parsed.events) + parsed.unusable == len(changed["alerts"])
    for event in parsed.events:
        assert event.starts_at < NOW + timedelta(days=2)
        assert all(type(name) is str and type(value) is str for name, value in event.labels.items())
