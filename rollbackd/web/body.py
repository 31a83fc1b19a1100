"""Reads what a request says strictly: a body bounded in time and size, real JSON, nothing that is not known, every error in one line."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, TypeVar

from aiohttp import web
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from rollbackd.clock import parse_rfc3339
from rollbackd.model.incident import Outcome, Phase
from rollbackd.settings.durations import parse_duration
from rollbackd.settings.suggest import unknown
from rollbackd.telemetry.redaction import one_line

DEADLINE: Final = timedelta(seconds=10)

MOST_ITEMS: Final = 200
ITEMS: Final = 50

B = TypeVar("B", bound="Body")
Q = TypeVar("Q", bound="Query")


def _instant(value: object) -> datetime:
    """Epoch seconds or RFC 3339. Raises ValueError."""
    match value:
        case bool():
            pass
        case int() | float():
            try:
                return datetime.fromtimestamp(value, UTC)
            except (OverflowError, OSError) as error:
                raise ValueError(f"{value} is not a time in epoch seconds") from error
        case str():
            try:
                return parse_rfc3339(value)
            except OverflowError as error:
                raise ValueError(f"{value!r} lies outside of the years 1 to 9999 in UTC") from error
    raise ValueError("write epoch seconds or RFC 3339, such as 2026-01-31T12:00:00Z")


def _duration(value: object) -> timedelta:
    if not isinstance(value, str):
        raise ValueError("write a duration such as 30m or 2h")  # noqa: TRY004 - pydantic collects ValueErrors
    duration = parse_duration(value)
    if not duration:
        raise ValueError("no time at all: write a duration such as 30m or 2h")
    return duration


def _word_of(kind: type[StrEnum]) -> BeforeValidator:
    def read_word(text: object) -> StrEnum:
        try:
            return kind(str(text))
        except ValueError:
            raise ValueError(f"there is no {text!r}: {unknown(str(text), [str(one) for one in kind])}") from None

    return BeforeValidator(read_word)


def _limit(text: object) -> int:
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MOST_ITEMS):
        raise ValueError(f"write a number from 1 to {MOST_ITEMS}")
    return int(text)


def _said(text: str) -> str:
    """Invisible characters alone are no reason that anybody could read."""
    if not one_line(text):
        raise ValueError("say it in words")
    return text


Instant = Annotated[
    datetime, BeforeValidator(_instant), WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]})
]
Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "examples": ["500ms", "30m", "2h"]})]
Limit = Annotated[int, BeforeValidator(_limit), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST_ITEMS})]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000), AfterValidator(_said)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ReleaseBody(Body):
    """`deployed_at` stands for both times."""

    service: Name
    version: Name
    artifact: Name | None = None
    started_at: Instant | None = None
    live_at: Instant | None = None
    deployed_at: Instant | None = None
    status: Literal["rolling", "live", "failed"] | None = None
    irreversible: bool = False
    group: Name | None = None
    schema_name: Annotated[Name | None, Field(alias="schema")] = None
    schema_compatible: bool = False


class ChangeBody(Body):
    service: Name
    kind: Literal["flag", "config", "infra"]
    what: Sentence
    at: Instant | None = None


class MarkBody(Body):
    mark: Literal["bad", "good"]
    reason: Sentence


class ApproveBody(Body):
    plan: Name | None = None


class ReasonBody(Body):
    reason: Sentence


class RollbackBody(Body):
    reason: Sentence
    to: Name | None = None
    plan: Name | None = None
    reason_code: Literal["critical-function", "performance", "data-safety", "complaints"] | None = None
    while_paused: bool = False


class RunBody(RollbackBody):
    runbook: Name
    confirm: Name | None = None


class TickBody(Body):
    step: Sentence


class PauseBody(Body):
    for_: Annotated[Duration, Field(alias="for")]
    reason: Sentence
    service: Name | None = None


class ResumeBody(Body):
    service: Name | None = None


class NotifyTestBody(Body):
    channel: Name | None = None


class NothingBody(Body):
    """The question says it all: no body, or `{}`."""


class Query(BaseModel):
    """What stands behind the `?`: texts, each once."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PlanQuery(Query):
    to: str | None = None
    runbook: str | None = None


class PageQuery(Query):
    cursor: str | None = None
    limit: Limit = ITEMS


class IncidentsQuery(PageQuery):
    service: str | None = None
    phase: Annotated[Phase, _word_of(Phase)] | None = None
    outcome: Annotated[Outcome, _word_of(Outcome)] | None = None


class ReportQuery(Query):
    format: Literal["md", "json"] = "md"


class ServiceQuery(Query):
    service: str


class Labels(Query):
    """Of an alert: any names."""

    model_config = ConfigDict(extra="allow")

    @property
    def all(self) -> dict[str, str]:
        return dict(self.model_extra or {})


def read_query(request: web.Request, shape: type[Q]) -> Q:
    """Raises 400: an unknown or repeated parameter too, as a filter that is ignored shows the wrong list."""
    known = None if shape.model_config.get("extra") == "allow" else shape.model_fields
    for name in request.query:
        if known is not None and name not in known:
            raise web.HTTPBadRequest(text=f"no parameter {name[:100]!r} here: {unknown(name, known)}")
        if len(request.query.getall(name)) > 1:
            raise web.HTTPBadRequest(text=f"parameter {name[:100]!r} stands twice")
    try:
        return shape.model_validate(dict(request.query))
    except ValidationError as error:
        raise web.HTTPBadRequest(text=_sentences(error, shape)) from error


async def read(request: web.Request, shape: type[B]) -> B:
    """Raises 400 with every error at once, 408, 413 or 415."""
    as_it_is = request.content_type == "application/json" and request.headers.get("Content-Encoding", "identity") == "identity"
    if request.body_exists and not as_it_is:
        raise web.HTTPUnsupportedMediaType(text="send JSON as it is: 'Content-Type: application/json' and no Content-Encoding")
    try:
        async with asyncio.timeout(DEADLINE.total_seconds()):
            raw = await request.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(text=f"the body did not come within {DEADLINE.total_seconds():.0f} seconds") from error
    except web.RequestPayloadError as error:
        raise web.HTTPBadRequest(text="the body is not whole") from error
    value = _parse(raw) if raw else {}
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        raise web.HTTPBadRequest(text=_sentences(error, shape)) from error


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except RecursionError as error:
        raise web.HTTPBadRequest(text="the body is nested too deeply") from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ones
        raise web.HTTPBadRequest(text=f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(text="the body is a JSON object")
    if any("\0" in text for text in value.values() if isinstance(text, str)):
        raise web.HTTPBadRequest(text="the body has a NUL character")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _sentences(error: ValidationError, shape: type[BaseModel]) -> str:
    known = {field.alias or name for name, field in shape.model_fields.items()}
    return "; ".join(_sentence(one, known) for one in error.errors(include_url=False))


def _sentence(error: ErrorDetails, known: set[str]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return f"{where[:100]!r} is not known here: {unknown(where, known)}"
        case "missing":
            return f"{where!r} is missing"
        case _:
            return f"{where}: {error['msg'].removeprefix('Value error, ')}"
