"""Alertmanager's webhook payload, version 4, read strictly: it has one meaning or none. Pure.

orjson refuses what is not JSON, NaN, infinities, lone surrogates and bottomless nesting. What it lets pass is refused here: the last of
two equal keys would win, an integer that is too big would become a float, and NUL would reach the store. Each alert is judged by
itself, never by `commonLabels`; what the payload has beyond what is needed is ignored, since newer versions add fields.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import orjson

from rollbackd.clock import parse_rfc3339
from rollbackd.intake.routing import Route
from rollbackd.model.alert import AlertEvent, AlertStatus, IgnoredAlert

LABELS_AT_MOST: Final = 64
NAME_AT_MOST: Final = 128  # bytes, as the next one
VALUE_AT_MOST: Final = 4096
ANNOTATIONS_AT_MOST: Final = 64 * 1024  # characters of all together
FINGERPRINT_AT_MOST: Final = 64
AHEAD_AT_MOST: Final = timedelta(days=1)
SENTENCES_AT_MOST: Final = 20

_SURELY_SHORT_NAME: Final = NAME_AT_MOST // 4  # characters: none has more than four bytes
_SURELY_SHORT_VALUE: Final = VALUE_AT_MOST // 4
_FIRST_YEAR: Final = 2000  # Go writes the year 1 for a time that is not set
_HUGE: Final = 2.0**63
_STATUSES: Final = {status.value: status for status in AlertStatus}


class PayloadError(ValueError):
    """The body as a whole cannot be used and nothing of it is stored; `str()` is a sentence for whoever sent it."""


class _UnusableError(Exception):
    """This one alert cannot be used; `str()` says why."""


class Payload(NamedTuple):
    """`events` are routed; those that are no one service's are in `ignored`, and so are those that cannot be used, with why.

    `truncated` alerts were cut off by Alertmanager's `max_alerts`. `unusable` counts all that cannot be used, also where `skipped` and
    `ignored` name only the first of very many.
    """

    events: tuple[AlertEvent, ...]
    ignored: tuple[IgnoredAlert, ...]
    no_service: int
    unusable: int
    skipped: tuple[str, ...]
    truncated: int


def parse(body: bytes, received_at: datetime, route: Callable[[Mapping[str, str]], Route]) -> Payload:
    """Raises PayloadError."""
    payload = _read(body)
    if payload.get("version") != "4":
        raise PayloadError(f"version is {_shown(payload.get('version'))}: rollbackd reads version 4 of Alertmanager's webhook")
    alerts = payload.get("alerts")
    if type(alerts) is not list:
        raise PayloadError("'alerts' is not a list: this is not what Alertmanager's webhook sends")
    events: list[AlertEvent] = []
    ignored: list[IgnoredAlert] = []
    skipped: list[str] = []
    for index, alert in enumerate(alerts):
        try:
            found = _alert(alert, received_at, route)
        except _UnusableError as error:
            if len(skipped) < SENTENCES_AT_MOST:
                skipped.append(f"alerts[{index}]: {error}")
        else:
            if isinstance(found, AlertEvent):
                events.append(found)
            else:
                ignored.append(found)
    no_service = len(ignored)
    unusable = len(alerts) - len(events) - no_service
    if unusable:
        if unusable > len(skipped):
            skipped.append(f"and {unusable - len(skipped)} more")
        ignored += [IgnoredAlert(received_at=received_at, why=sentence) for sentence in skipped]
    truncated = payload.get("truncatedAlerts")
    return Payload(
        events=tuple(events),
        ignored=tuple(ignored),
        no_service=no_service,
        unusable=unusable,
        skipped=tuple(skipped),
        truncated=truncated if type(truncated) is int and truncated > 0 else 0,
    )


def _read(body: bytes) -> dict[str, Any]:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PayloadError(f"the body is not JSON: {error}") from error
    if type(payload) is not dict:
        raise PayloadError("the body is not a JSON object")
    if not _comes_back(payload, body):
        _check_keys_and_numbers(payload, body)
    return payload


def _comes_back(payload: dict[str, Any], body: bytes) -> bool:
    """Whether written again it is what was sent, to the byte: then nothing in it was lost.

    So it is with what Alertmanager sends, in Go's way to write `&`, `<` and `>`. It costs a fourth of looking for what was lost.
    """
    as_go_writes = orjson.dumps(payload).replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e")
    return as_go_writes == body.rstrip(b"\n") and b"\\u0000" not in body


def _check_keys_and_numbers(payload: dict[str, Any], body: bytes) -> None:
    text = body.replace(b"\\\\", b"")
    if b"\\u0000" in text:
        raise PayloadError("the body has a NUL character")
    # Without escaped quotes every quote begins or ends a string, and a colon between strings stands for one key.
    keys_written = b"".join(text.replace(b'\\"', b"").split(b'"')[::2]).count(b":")
    keys_kept = 0
    values: list[Any] = [payload]
    for value in values:
        if type(value) is dict:
            keys_kept += len(value)
            values += value.values()
        elif type(value) is list:
            values += value
        elif type(value) is float and abs(value) >= _HUGE:
            raise PayloadError("a number is too large")
    if keys_written != keys_kept:
        raise PayloadError("a key stands twice in one object")


def _alert(alert: Any, received_at: datetime, route: Callable[[Mapping[str, str]], Route]) -> AlertEvent | IgnoredAlert:
    if type(alert) is not dict:
        raise _UnusableError("it is not an object")
    fingerprint = alert.get("fingerprint")
    if type(fingerprint) is not str or not 0 < len(fingerprint) <= FINGERPRINT_AT_MOST:
        raise _UnusableError("it has no fingerprint")
    status = alert.get("status")
    if type(status) is not str or status not in _STATUSES:
        raise _UnusableError(f"its status is {_shown(status)}, neither firing nor resolved")
    starts_at = _instant(alert.get("startsAt"))
    if starts_at is None:
        raise _UnusableError("its startsAt is not a time")
    if starts_at - received_at > AHEAD_AT_MOST:
        raise _UnusableError("its startsAt lies more than a day ahead: compare the clocks")
    labels = _labels(alert.get("labels"))
    found = route(labels)
    if found.service is None:
        return IgnoredAlert(received_at=received_at, why=found.why, labels=labels)
    generator_url = alert.get("generatorURL")
    return AlertEvent(
        fingerprint=fingerprint,
        starts_at=starts_at,
        status=_STATUSES[status],
        ends_at=_instant(alert.get("endsAt")),
        labels=labels,
        annotations=_annotations(alert.get("annotations")),
        generator_url=generator_url[:VALUE_AT_MOST] if type(generator_url) is str else "",
        received_at=received_at,
        service=found.service,
        trigger=found.trigger,
    )


def _labels(labels: Any) -> dict[str, str]:
    if type(labels) is not dict:
        raise _UnusableError("it has no labels")
    if len(labels) > LABELS_AT_MOST:
        raise _UnusableError(f"it has {len(labels)} labels: {LABELS_AT_MOST} at most")
    for name, value in labels.items():
        if type(value) is not str:
            raise _UnusableError(f"its label {_shown(name)} is not a string")
        if len(name) > _SURELY_SHORT_NAME and len(name.encode()) > NAME_AT_MOST:
            raise _UnusableError(f"its label {_shown(name)} has a name over {NAME_AT_MOST} bytes")
        if len(value) > _SURELY_SHORT_VALUE and len(value.encode()) > VALUE_AT_MOST:
            raise _UnusableError(f"its label {_shown(name)} has a value over {VALUE_AT_MOST} bytes")
    return labels


def _annotations(annotations: Any) -> dict[str, str]:
    """They are only shown: what is too much of them is cut, and no reason to lose an alert."""
    if type(annotations) is not dict:
        return {}
    if len(annotations) <= LABELS_AT_MOST and all(
        type(text) is str and len(text) <= _SURELY_SHORT_VALUE and len(name) <= NAME_AT_MOST for name, text in annotations.items()
    ):
        return annotations
    left = ANNOTATIONS_AT_MOST
    kept: dict[str, str] = {}
    for name, text in list(annotations.items())[:LABELS_AT_MOST]:
        if type(text) is str and left > 0:
            kept[name[:NAME_AT_MOST]] = text[: min(VALUE_AT_MOST, left)]
            left -= min(VALUE_AT_MOST, len(text))
    return kept


def _instant(text: Any) -> datetime | None:
    """None for what is no time, and for Go's zero time, which stands for none."""
    if type(text) is not str or text.startswith("0001-"):
        return None
    try:
        instant = parse_rfc3339(text)
    except (ValueError, OverflowError):
        return None
    return instant if instant.year >= _FIRST_YEAR else None


def _shown(value: Any) -> str:
    """What was sent, short enough for a sentence."""
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
