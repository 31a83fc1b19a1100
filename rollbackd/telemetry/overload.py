"""Says that there was too much of something and what was therefore refused: in a metric, and in the log, which no flood can flood.

A line that says the same again is counted and not written; the next one that is written says how many were not. What is about an
incident is always written: that many there are only when that much happened.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from rollbackd.telemetry.metrics import Limit, Metrics

AT_ONCE: Final = 20  # lines that say the same
EVERY: Final = timedelta(seconds=10)
KINDS: Final = 1_000

_log: Final = structlog.get_logger("overload")


def too_busy(metrics: Metrics, limit: Limit) -> None:
    metrics.too_busy(limit)
    _log.warning(f"too_busy_{limit}", metric="rollbackd_too_busy_total")


@dataclass(slots=True)
class _Window:
    until: float
    written: int = 0
    unwritten: int = 0


class Damper(logging.Filter):
    """`AT_ONCE` lines of one event every `EVERY`, whatever else they say (I14)."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._windows: dict[tuple[str, str], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.msg if isinstance(record.msg, dict) else {}
        if "incident" in line:
            return True
        if len(self._windows) >= KINDS:
            self._windows.clear()
        now = self._monotonic()
        key = (record.name, str(line.get("event", "")) or str(record.msg))
        window = self._windows.setdefault(key, _Window(now + EVERY.total_seconds()))
        unwritten = window.unwritten
        if now >= window.until:
            window.until, window.written, window.unwritten = now + EVERY.total_seconds(), 0, 0
        elif window.written >= AT_ONCE:
            window.unwritten += 1
            return False
        window.written += 1
        if unwritten and line:
            record.msg = {**line, "not_written": unwritten}
        return True
