"""Log lines: JSON on standard error, or readable ones on a terminal, from rollbackd and its libraries alike.

One chain for all: whatever a line carries passes through the redaction and loses its control characters, so that no secret gets
out (I13) and no label forges a line (I11). Tracebacks are text without local variables.
"""

import json
import logging
import math
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from rollbackd.clock import SystemClock, rfc3339
from rollbackd.errors import MisconfiguredError
from rollbackd.telemetry.overload import Damper
from rollbackd.telemetry.redaction import harmless

LEVEL_VARIABLE: Final = "ROLLBACKD_LOG_LEVEL"
LEVELS: Final = ("debug", "info", "warning", "error", "critical")

_CHATTY: Final = ("aiohttp.access", "alembic", "apscheduler", "asyncio", "sqlalchemy", "urllib3")
"""Loggers of libraries that tell of every request or job at `info`: heard from `warning` on, unless the level is `debug`."""

_TEXT_OF_SEVERAL_LINES: Final = frozenset({"exception", "stack"})
_DEEPEST: Final = 8
_LONGEST: Final = 16_384
_FIRST: Final = ("at", "level", "logger", "incident", "event")


def set_up(level: str | None = None, *, stream: TextIO | None = None) -> None:
    """Route every logger to `stream` (standard error). The level is the argument's, else the environment's, else `info`.

    Raises:
        MisconfiguredError: no such level.
    """
    stream = stream or sys.stderr
    wanted = (level or os.environ.get(LEVEL_VARIABLE) or "info").lower()
    if wanted not in LEVELS:
        raise MisconfiguredError(f"log level {wanted!r}: use one of {', '.join(LEVELS)}", path="" if level else LEVEL_VARIABLE)
    shared: list[Processor] = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(wanted),
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_last_steps(stream)))
    handler.addFilter(Damper(SystemClock().monotonic))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(wanted.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if wanted == "debug" else max(logging.WARNING, root.level))
    logging.raiseExceptions = False  # a line that cannot be written is lost, not printed unredacted by the logging module
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_crash
    threading.excepthook = _log_crash_of_thread


def about(incident_id: str) -> AbstractContextManager[None]:
    """Every line logged inside, by whatever is called, carries `incident`."""
    return structlog.contextvars.bound_contextvars(incident=incident_id)


def _last_steps(stream: TextIO) -> list[Processor]:
    render: Processor = structlog.processors.JSONRenderer(serializer=_to_json)
    if stream.isatty():
        plain = structlog.dev.plain_traceback
        render = structlog.dev.ConsoleRenderer(
            colors="NO_COLOR" not in os.environ, exception_formatter=plain, timestamp_key="at", sort_keys=False
        )
    return [
        _stamp,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _make_safe,
        render,
    ]


def _stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The time of the record itself, written as rollbackd writes every instant."""
    record: logging.LogRecord = event["_record"]
    event["at"] = rfc3339(datetime.fromtimestamp(record.created, UTC))
    return event


def _make_safe(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Plain data only, redacted, with the fields that every line has in front. Runs last, so that nothing is added after it."""
    ordered = [*(key for key in _FIRST if key in event), *(key for key in event if key not in _FIRST)]
    return {_text(key): _text(event[key], lines=True) if key in _TEXT_OF_SEVERAL_LINES else _plain(event[key]) for key in ordered}


def _plain(value: object, depth: int = 0) -> object:
    """Data that JSON has; everything else as text."""
    plain: object
    match value:
        case None | bool():
            plain = value
        case int() if abs(value) < 2**53:
            plain = int(value)
        case float() if math.isfinite(value):
            plain = float(value)
        case datetime() if value.tzinfo is not None:
            plain = rfc3339(value)
        case timedelta():
            plain = value.total_seconds()
        case Mapping() if depth < _DEEPEST:
            plain = {_text(key): _plain(each, depth + 1) for key, each in value.items()}
        case list() | tuple() | set() | frozenset() if depth < _DEEPEST:
            plain = [_plain(each, depth + 1) for each in value]
        case _:
            plain = _text(value)
    return plain


def _text(value: object, *, lines: bool = False) -> str:
    """Made harmless before it is cut, so that no part of a secret stays."""
    text = harmless(str(value), lines=lines)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text) - _LONGEST} more characters)"


def _to_json(event: object, **_options: object) -> str:
    return json.dumps(event, ensure_ascii=False, separators=(", ", ": "))


def _log_crash(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """The interpreter's own last words would be neither JSON nor redacted."""
    structlog.get_logger("rollbackd").critical("crashed", exc_info=(kind, error, traceback))


def _log_crash_of_thread(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None:
        _log_crash(crash.exc_type, crash.exc_value, crash.exc_traceback)
