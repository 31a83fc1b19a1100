"""Reads the body of a request strictly: bounded in time and size, real JSON, no field that is not known, every error in one line."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeVar

from aiohttp import web
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from rollbackd.clock import parse_rfc3339
from rollbackd.settings.durations import parse_duration
from rollbackd.settings.suggest import unknown
from rollbackd.telemetry.redaction import one_line

DEADLINE: Final = timedelta(seconds=10)

B = TypeVar("B", bound="Body")


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


def _said(text: str) -> str:
    """Invisible characters alone are no reason that anybody could read."""
    if not one_line(text):
        raise ValueError("say it in words")
    return text


Instant = Annotated[datetime, BeforeValidator(_instant)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
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


class PauseBody(Body):
    for_: Annotated[Duration, Field(alias="for")]
    reason: Sentence
    service: Name | None = None


class ResumeBody(Body):
    service: Name | None = None


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
        known = {field.alias or name for name, field in shape.model_fields.items()}
        raise web.HTTPBadRequest(text="; ".join(_sentence(one, known) for one in error.errors(include_url=False))) from error


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


def _sentence(error: ErrorDetails, known: set[str]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return f"{where[:100]!r} is not known here: {unknown(where, known)}"
        case "missing":
            return f"{where!r} is missing"
        case _:
            return f"{where}: {error['msg'].removeprefix('Value error, ')}"
