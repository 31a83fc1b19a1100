import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from rollbackd.errors import MisconfiguredError
from rollbackd.model.reason import Reason
from rollbackd.telemetry import logs
from rollbackd.telemetry.redaction import REDACTED, register_secret


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.delenv(logs.LEVEL_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("aiohttp.access", "apscheduler", "asyncio", "sqlalchemy", "urllib3"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def written() -> io.StringIO:
    stream = io.StringIO()
    logs.set_up("info", stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_its_time_level_logger_and_event_first(written: io.StringIO) -> None:
    structlog.get_logger("conductor").info("incident_moved", service="api", reason=Reason.TO_BLAME)

    [line] = lines(written)

    assert list(line) == ["at", "level", "logger", "event", "service", "reason"]
    assert line["level"] == "info"
    assert line["logger"] == "conductor"
    assert line["reason"] == "to_blame"
    assert datetime.fromisoformat(line["at"]).tzinfo == UTC
    assert line["at"].endswith("Z")


def test_a_line_of_a_library_looks_the_same(written: io.StringIO) -> None:
    logging.getLogger("library.part").info("migrating %s", "head")

    [line] = lines(written)

    assert (line["logger"], line["level"], line["event"]) == ("library.part", "info", "migrating head")


def test_every_line_about_an_incident_carries_its_id(written: io.StringIO) -> None:
    with logs.about("20260131-120000-7f3a"):
        structlog.get_logger("a").info("ours")
        logging.getLogger("b").warning("a library's")
    structlog.get_logger("a").info("after")

    assert [line.get("incident") for line in lines(written)] == ["20260131-120000-7f3a", "20260131-120000-7f3a", None]


def test_an_unexpected_value_becomes_json_all_the_same(written: io.StringIO) -> None:
    structlog.get_logger("x").info(
        "odd",
        at_instant=datetime(2026, 1, 31, 12, tzinfo=UTC),
        took=timedelta(milliseconds=1500),
        nested={"list": [1, (2.5, None)], 3: {True}},
        infinite=float("inf"),
        huge=10**30,
        surrogate="\ud800",
        thing=ValueError("why"),
    )

    [line] = lines(written)

    assert line["at_instant"] == "2026-01-31T12:00:00.000Z"
    assert line["took"] == 1.5
    assert line["nested"] == {"list": [1, [2.5, None]], "3": [True]}
    assert line["infinite"] == "inf"
    assert line["huge"] == str(10**30)
    assert line["surrogate"] == "\ufffd"
    assert line["thing"] == "why"


def test_a_very_long_value_is_cut_and_says_so(written: io.StringIO) -> None:
    structlog.get_logger("x").info("long", value="x" * 1_000_000)

    assert len(written.getvalue()) < 20_000
    assert lines(written)[0]["value"].endswith("more characters)")


def test_deep_data_ends(written: io.StringIO) -> None:
    deep: list[Any] = []
    deep.append(deep)

    structlog.get_logger("x").info("deep", value=deep)

    assert lines(written)[0]["event"] == "deep"


def test_a_secret_is_in_no_line_wherever_it_stood(written: io.StringIO) -> None:
    register_secret("canary-in-the-logs")

    structlog.get_logger("x").info("with canary-in-the-logs", key=["canary-in-the-logs"], **{"canary-in-the-logs": 1})
    logging.getLogger("y").error("%s", {"token": "canary-in-the-logs"})
    logging.getLogger("y").error("split canary-\x00in-the-logs")
    try:
        local = "canary-in-the-logs"
        raise ValueError(f"bad token {local}")
    except ValueError:
        structlog.get_logger("x").exception("failed")
        logging.getLogger("y").exception("failed")

    assert "in-the-logs" not in written.getvalue()
    assert written.getvalue().count(REDACTED) >= 6


def test_a_traceback_is_text_without_local_variables(written: io.StringIO) -> None:
    def explode() -> None:
        unregistered = "a local value"  # noqa: F841
        raise RuntimeError("boom")

    try:
        explode()
    except RuntimeError:
        structlog.get_logger("x").exception("failed")

    [line] = lines(written)

    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("RuntimeError: boom")
    assert "= 'a local value'" not in line["exception"]


def test_the_last_words_of_a_crash_are_a_redacted_line_too(written: io.StringIO) -> None:
    register_secret("canary-of-a-crash")
    error = RuntimeError("canary-of-a-crash")

    sys.excepthook(RuntimeError, error, None)
    thread = threading.Thread(target=_raise, args=(error,))
    thread.start()
    thread.join()

    assert [(line["level"], line["event"]) for line in lines(written)] == [("critical", "crashed")] * 2
    assert "canary-of-a-crash" not in written.getvalue()


def test_a_warning_of_python_is_a_line(written: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)

    assert lines(written)[0]["logger"] == "py.warnings"


@pytest.mark.parametrize("value", ['fine\n{"level": "critical"}', "\x1b[2Kgone", "a\r\nb", "a\u2028b", "\x9b2J"])
def test_no_value_makes_a_second_line_or_steers_the_terminal(value: str) -> None:
    for stream in (io.StringIO(), Terminal()):
        logs.set_up("info", stream=stream)
        structlog.get_logger("x").info(value, key=value)
        logging.getLogger("y").warning(value)

        text = stream.getvalue()

        assert len(text.splitlines()) == 2
        assert not set("\x9b\r\u2028") & set(text)
        assert "\x1b[2K" not in text


def test_a_terminal_gets_words_instead_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    logs.set_up("info", stream=stream)

    structlog.get_logger("conductor").warning("incident_stuck", service="api")
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        structlog.get_logger("x").exception("failed")

    assert "incident_stuck" in stream.getvalue().splitlines()[0]
    assert "service=api" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("RuntimeError: boom")
    assert "\x1b" not in stream.getvalue()


def test_what_is_below_the_level_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.LEVEL_VARIABLE, "ERROR")
    stream = io.StringIO()
    logs.set_up(stream=stream)

    structlog.get_logger("x").warning("no")
    logging.getLogger("apscheduler.scheduler").warning("no")
    logging.getLogger("y").error("yes")

    assert [line["event"] for line in lines(stream)] == ["yes"]


def test_libraries_that_tell_of_every_request_are_heard_only_from_warning_on(written: io.StringIO) -> None:
    logging.getLogger("apscheduler.executors.default").info('Running job "x"')
    logging.getLogger("aiohttp.access").info("GET /")
    logging.getLogger("apscheduler.executors.default").error("failed")

    assert [line["event"] for line in lines(written)] == ["failed"]


def test_at_debug_they_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    logs.set_up("debug", stream=stream)

    logging.getLogger("apscheduler.executors.default").info("Running job")

    assert lines(stream)[0]["event"] == "Running job"


def test_an_unknown_level_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.LEVEL_VARIABLE, "loud")

    with pytest.raises(MisconfiguredError, match=r"ROLLBACKD_LOG_LEVEL: log level 'loud': use one of debug, info"):
        logs.set_up()


def _raise(error: Exception) -> None:
    raise error
