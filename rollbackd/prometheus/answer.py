"""An answer of Prometheus' query API. What does not have exactly the documented form is refused, never guessed at (I3)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

_DATE_RESOLUTION: Final = timedelta(seconds=1)
_LATEST: Final = 1e11  # seconds since 1970: the year 5138
_FORM: Final = "is not in the form of Prometheus' query API"
_RULES_FORM: Final = "is not in the form of Prometheus' rules API"

Sample = tuple[float, str]
"""When, in seconds since 1970, and the number as text: whether the text is a number at all is for `point` to say."""


@dataclass(frozen=True, slots=True)
class Series:
    labels: Mapping[str, str]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`clock_offset` is how far the server's clock is ahead of ours for certain; None: its response carried no usable Date."""

    result_type: str
    series: tuple[Series, ...]
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    server_time: datetime | None = None
    clock_offset: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The outer part of a successful response, with the result still as JSON."""

    result_type: str
    result: list[Any]
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AlertRule:
    """An alert rule that Prometheus evaluates."""

    name: str
    hold_for: timedelta


def read_document(body: bytes) -> Document:
    """Raises ValueError for anything that is not a successful response."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ValueError("the response is not JSON") from None
    match document:
        case {"status": "success", "data": {"resultType": str(result_type), "result": list(result)}, **rest}:
            warnings, infos = (_texts(rest.get(key)) for key in ("warnings", "infos"))
            return Document(result_type=result_type, result=result, warnings=warnings, infos=infos)
        case _:
            raise ValueError(f"the response {_FORM}")


def read_rules(body: bytes) -> tuple[AlertRule, ...]:
    """The alert rules in a response of `/api/v1/rules`. Raises ValueError for anything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ValueError("the response is not JSON") from None
    match document:
        case {"status": "success", "data": {"groups": list(groups)}}:
            return tuple(rule for group in groups for rule in _rules(group))
        case _:
            raise ValueError(f"the response {_RULES_FORM}")


def read_series(result_type: str, result: list[Any]) -> tuple[Series, ...]:
    """Raises ValueError when `result` is not what `result_type` promises; a native histogram is not a number, so neither here."""
    match result_type:
        case "scalar":
            return (Series({}, (_sample(result),)),)
        case "vector" | "matrix":
            return tuple(map(_series, result))
        case _:
            raise ValueError(f"a result of type {result_type!r} is no number: write a query that yields one number per series")


def clock_offset(server_time: datetime, *, sent_at: datetime, received_at: datetime) -> timedelta:
    """How far the server's clock is ahead of ours for certain; 0 when it may well be right.

    A Date says only the second, and was written at some moment between sending and receiving: both are given in its favour.
    """
    ahead = server_time - received_at
    behind = server_time + _DATE_RESOLUTION - sent_at
    return max(ahead, timedelta()) + min(behind, timedelta())


def _rules(group: Any) -> Iterator[AlertRule]:
    match group:
        case {"rules": list(rules)}:
            pass
        case _:
            raise ValueError(f"a group of rules {_RULES_FORM}")
    for rule in rules:
        match rule:
            case {"type": "alerting", "name": str(name), "duration": int() | float() as seconds} if 0 <= seconds < _LATEST:
                yield AlertRule(name, timedelta(seconds=seconds))
            case {"type": "recording"}:
                pass
            case _:
                raise ValueError(f"a rule {_RULES_FORM}")


def _series(item: Any) -> Series:
    match item:
        case {"metric": dict(labels), "value": pair}:
            samples: tuple[Sample, ...] = (_sample(pair),)
        case {"metric": dict(labels), "values": [_, *_] as pairs}:
            samples = tuple(map(_sample, pairs))
        case _:
            raise ValueError(f"a series {_FORM}")
    if not all(isinstance(value, str) for value in labels.values()):
        raise ValueError(f"a label {_FORM}")
    return Series(labels, samples)


def _sample(pair: Any) -> Sample:
    match pair:
        case [int() | float() as seconds, str(text)] if not isinstance(seconds, bool) and abs(seconds) < _LATEST:
            return seconds, text
        case _:
            raise ValueError(f"a sample {_FORM}")


def _texts(value: Any) -> tuple[str, ...]:
    """The `warnings` or `infos` of a response: absent, null, or a list of texts."""
    match value:
        case None:
            return ()
        case list(texts) if all(isinstance(text, str) for text in texts):
            return tuple(texts)
        case _:
            raise ValueError(f"the list of warnings or infos {_FORM}")
