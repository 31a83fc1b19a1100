"""Alertmanager's webhook payload, version 4, read strictly: it has one meaning or none. Pure.

orjson refuses what is not JSON, NaN, infinities, lone surrogates and bottomless nesting. What it lets pass is refused here: the last of
two equal keys would win, an integer that is too big would become a float, and NUL would reach the store. Each alert is judged by
itself, never by `commonLabels`; what the payload has beyond what is needed is ignored, since newer versions add fields.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from rollbackd.clock import parse_rfc3339
from rollbackd.model.alert import AlertEvent, AlertStatus

LABELS_AT_MOST: Final = 64
NAME_AT_MOST: Final = 128  # bytes, as the next one
VALUE_AT_MOST: Final = 4096
FINGERPRINT_AT_MOST: Final = 64
AHEAD_AT_MOST: Final = timedelta(days=1)
SENTENCES_AT_MOST: Final = 20

_FIRST_YEAR: Final = 2000  # Go writes the year 1 for a time that is not set
_HUGE: Final = 2.0**63
_STATUSES: Final = {status.value: status for status in AlertStatus}


class PayloadError(ValueError):
    """The body as a whole cannot be used and nothing of it is stored; `str()` is a sentence for whoever sent it."""


class _UnusableError(Exception):
    """This one alert cannot be used; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Payload:
    """`truncated` alerts were cut off by Alertmanager's `max_alerts`; `unusable` ones are skipped, and `skipped` says why, bounded."""

    events: tuple[AlertEvent, ...]
    truncated: int
    unusable: int
    skipped: tuple[str, ...]


def parse(body: bytes, received_at: datetime) -> Payload:
    """Raises PayloadError."""
    payload = _read(body)
    if payload.get("version") != "4":
        raise PayloadError(f"version is {_shown(payload.get('version'))}: rollbackd reads version 4 of Alertmanager's webhook")
    alerts = payload.get("alerts")
    if type(alerts) is not list:
        raise PayloadError("'alerts' is not a list: this is not what Alertmanager's webhook sends")
    events = []
    unusable = 0
    skipped: list[str] = []
    for index, alert in enumerate(alerts):
        try:
            events.append(_event(alert, received_at))
        except _UnusableError as error:
            unusable += 1
            if len(skipped) < SENTENCES_AT_MOST:
                skipped.append(f"alerts[{index}]: {error}")
    if unusable > len(skipped):
        skipped.append(f"and {unusable - len(skipped)} more")
    truncated = payload.get("truncatedAlerts")
    return Payload(tuple(events), truncated if type(truncated) is int and truncated > 0 else 0, unusable, tuple(skipped))


def _read(body: bytes) -> dict[str, Any]:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PayloadError(f"the body is not JSON: {error}") from error
    if type(payload) is not dict:
        raise PayloadError("the body is not a JSON object")
    if b"\\" in body:
        body = body.replace(b"\\\\", b"")
        if b"\\u0000" in body:
            raise PayloadError("the body has a NUL character")
        body = body.replace(b'\\"', b"")
    # Now every quote begins or ends a string, and a colon between strings stands for one key.
    keys_written = b"".join(body.split(b'"')[::2]).count(b":")
    if keys_written != _keys_kept(payload):
        raise PayloadError("a key stands twice in one object")
    return payload


def _keys_kept(payload: dict[str, Any]) -> int:
    keys = 0
    values: list[Any] = [payload]
    for value in values:
        kind = type(value)
        if kind is dict:
            keys += len(value)
            values += value.values()
        elif kind is list:
            values += value
        elif kind is float and abs(value) >= _HUGE:
            raise PayloadError("a number is too large")
    return keys


def _event(alert: Any, received_at: datetime) -> AlertEvent:
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
    generator_url = alert.get("generatorURL")
    return AlertEvent(
        fingerprint=fingerprint,
        starts_at=starts_at,
        status=_STATUSES[status],
        ends_at=_instant(alert.get("endsAt")),
        labels=_labels(alert.get("labels")),
        annotations=_annotations(alert.get("annotations")),
        generator_url=generator_url[:VALUE_AT_MOST] if type(generator_url) is str else "",
        received_at=received_at,
    )


def _labels(labels: Any) -> dict[str, str]:
    if type(labels) is not dict:
        raise _UnusableError("it has no labels")
    if len(labels) > LABELS_AT_MOST:
        raise _UnusableError(f"it has {len(labels)} labels: {LABELS_AT_MOST} at most")
    for name, value in labels.items():
        if type(value) is not str:
            raise _UnusableError(f"its label {_shown(name)} is not a string")
        if _longer(name, NAME_AT_MOST):
            raise _UnusableError(f"its label {_shown(name)} has a name over {NAME_AT_MOST} bytes")
        if _longer(value, VALUE_AT_MOST):
            raise _UnusableError(f"its label {_shown(name)} has a value over {VALUE_AT_MOST} bytes")
    return labels


def _annotations(annotations: Any) -> dict[str, str]:
    """They are only shown: what is too much of them is cut, and no reason to lose an alert."""
    if type(annotations) is not dict:
        return {}
    if len(annotations) <= LABELS_AT_MOST and all(type(text) is str and len(text) <= VALUE_AT_MOST for text in annotations.values()):
        return annotations
    kept = list(annotations.items())[:LABELS_AT_MOST]
    return {name[:NAME_AT_MOST]: text[:VALUE_AT_MOST] for name, text in kept if type(text) is str}


def _instant(text: Any) -> datetime | None:
    """None for what is no time, and for Go's zero time, which stands for none."""
    if type(text) is not str or text.startswith("0001-"):
        return None
    try:
        instant = parse_rfc3339(text)
    except (ValueError, OverflowError):
        return None
    return instant if instant.year >= _FIRST_YEAR else None


def _longer(text: str, bytes_at_most: int) -> bool:
    return len(text) > bytes_at_most or (not text.isascii() and len(text.encode()) > bytes_at_most)


def _shown(value: Any) -> str:
    """What was sent, short enough for a sentence."""
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
