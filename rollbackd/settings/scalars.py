"""The small words of the config as types: each reads one YAML value into what it means, or says in one line what to write instead."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import PurePath
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import jmespath
import orjson
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, Strict, StringConstraints, WithJsonSchema

from rollbackd.model import cron
from rollbackd.model.address import is_link_local
from rollbackd.model.condition import Condition
from rollbackd.model.matchers import Matcher, parse_matchers
from rollbackd.settings.durations import PATTERN, parse_duration

_USER_IN_URL: Final = re.compile(r"([a-zA-Z]+:)?/*[^/?#]*@")


def _texts(read: Callable[[str], Any]) -> Callable[[object], Any]:
    """`read` for values that are texts. A number is handed to it as well: it knows best how to say what should stand there."""

    def validate(value: object) -> Any:
        if isinstance(value, (list, dict)):
            raise ValueError("write a text here")  # noqa: TRY004 - pydantic collects ValueErrors
        return read(str(value))

    return validate


def _shaped(pattern: str, words: str) -> tuple[AfterValidator, WithJsonSchema]:
    syntax = re.compile(pattern)

    def validate(text: str) -> str:
        if not syntax.fullmatch(text):
            raise ValueError(f"{text!r}: {words}")
        return text

    return AfterValidator(validate), WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


def _positive(duration: timedelta) -> timedelta:
    if not duration:
        raise ValueError("must be longer than 0s")
    return duration


def _url(text: str) -> str:
    if _USER_IN_URL.match(text):  # looked at first: no other sentence may quote it
        raise ValueError("a URL holds no user or password: put the secret in a file and name that")
    try:
        parts = urlsplit(text)
        if "${" not in parts.netloc:
            _ = parts.port  # raises when it is none
    except ValueError as e:
        raise ValueError(f"{text!r} is not a URL: {e}") from e
    if parts.scheme not in {"http", "https"} or not parts.netloc or " " in text or not text.isprintable():
        raise ValueError(f"{text!r} is not a URL: write http://host:port/path or https://host/path")
    if is_link_local(parts.hostname or ""):
        raise ValueError(f"{text!r} has a link-local address, where clouds keep credentials of the machine: it is never asked")
    return text


def _expression(text: str) -> str:
    try:
        jmespath.compile(text)
    except JMESPathError as e:
        raise ValueError(f"{text!r} is not a JMESPath expression: {' '.join(str(e).split())}") from e
    return text


def _line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError(f"{text!r}: write one line of text")
    return text


def _header(value: object) -> str:
    """What is wrong is not quoted: it may be a secret."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("write the value of a header as one line of text, in quotes")
    return value


def _json_body(value: object) -> object:
    """What JSON can hold, with texts as keys."""
    try:
        orjson.dumps(value)
    except (TypeError, ValueError) as e:
        raise ValueError(f"this is nothing that JSON can hold: {e}") from e
    return value


def _variable(text: str) -> str:
    if not text.isprintable() or text.startswith("-") or "${" in text:
        raise ValueError(f"{text!r}: it becomes part of a command: no '-' at its start, no '${{', no control characters")
    return text


def _file_name(text: str) -> str:
    if not PurePath(text).name:
        raise ValueError("name a file")
    return text


def _listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f"{text!r}: write host:port, such as 127.0.0.1:9096")
    return text


def _switch(value: object) -> bool:
    """`on` and `off` are texts in YAML 1.2."""
    if value in ("on", "off") or isinstance(value, bool):
        return value in ("on", True)
    raise ValueError(f"{value!r}: write on or off")


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, ZoneInfoNotFoundError) as e:
        raise ValueError(f"{text!r} is not a time zone: write one such as UTC or Europe/Berlin") from e
    return text


def _cron(text: str) -> str:
    cron.parse(text)
    return text


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


Duration = Annotated[timedelta, PlainValidator(_texts(parse_duration)), WithJsonSchema({"type": "string", "pattern": f"^{PATTERN}$"})]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
Limit = Annotated[Condition, PlainValidator(_texts(Condition.parse)), WithJsonSchema({"type": "string", "examples": ["> 0.01", "> 3x"]})]
_Matchers = Annotated[tuple[Matcher, ...], PlainValidator(_texts(parse_matchers)), WithJsonSchema({"type": "string"})]
Matchers = Annotated[tuple[_Matchers, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str]), Field(min_length=1)]
Url = Annotated[str, AfterValidator(_url), Field(examples=["https://prometheus.example.com"])]
Expression = Annotated[str, AfterValidator(_expression), Field(description="a JMESPath expression")]
Line = Annotated[str, AfterValidator(_line), StringConstraints(max_length=200)]
HeaderValue = Annotated[str, PlainValidator(_header), WithJsonSchema({"type": "string"})]
HeaderName = Annotated[str, *_shaped(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", "the name of a header is letters, digits and -")]
JsonBody = Annotated[Any, PlainValidator(_json_body), WithJsonSchema({})]
VarText = Annotated[str, AfterValidator(_variable), StringConstraints(max_length=1000)]
Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[str, *_shaped(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", "a name begins with a letter or digit; then letters, digits and . _ -")]
EnvName = Annotated[str, *_shaped(r"[A-Za-z_][A-Za-z0-9_]{0,127}", "a variable's name is letters, digits and _")]
Label = Annotated[str, *_shaped(r"[a-zA-Z_][a-zA-Z0-9_]*", "a label's name is letters, digits and _")]
Cron = Annotated[
    str, AfterValidator(_cron), WithJsonSchema({"type": "string", "pattern": r"^\s*([0-9a-zA-Z*/,-]+\s+){4}[0-9a-zA-Z*/,-]+\s*$"})
]
StoreUrl = Annotated[
    str, *_shaped(r"sqlite:///.+", "write sqlite:/// and the path of a file, such as sqlite:////var/lib/rollbackd/rollbackd.db")
]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
FileName = Annotated[str, AfterValidator(_file_name)]
Listen = Annotated[str, PlainValidator(_texts(_listen)), WithJsonSchema({"type": "string", "examples": ["127.0.0.1:9096"]})]
Switch = Annotated[bool, PlainValidator(_switch), WithJsonSchema({"enum": ["on", "off", True, False]})]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=0)]
Statuses = Annotated[
    tuple[Annotated[int, Strict(), Field(ge=100, le=599)], ...],
    BeforeValidator(_as_list, json_schema_input_type=int | list[int]),
    Field(min_length=1),
]
Argv = Annotated[tuple[str, ...], Field(min_length=1)]
