"""A past that a test writes: services whose errors begin and end when it says, releases, and a config on disk."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rollbackd.settings.effective import Settings
from rollbackd.settings.load import load
from tests.fakes.prometheus import FakePrometheus

AT: Final = datetime(2023, 9, 22, 14, 41, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

CONFIG: Final = """\
prometheus: {url: "%s", scrape_interval: 15s}
store: {url: "sqlite:///%s/rollbackd.db"}
indicators:
  error_rate:
    bad: sum(increase(http_requests_total{$selector,code=~"5.."}[$window]))
    total: sum(increase(http_requests_total{$selector}[$window]))
    samples: http_requests_total{$selector}
    window: 1m
triggers:
  HighErrorRate: {indicator: error_rate, breach: "> 0.01", clear: "<= 0.005", for: 2m, min_requests: 50}
objectives:
  error_rate: {indicator: error_rate, target: "< 0.005"}
defaults: {blame_window: 20m}
services:
%s
"""


def write_config(directory: Path, url: str, *services: str, name: str = "rollbackd.yaml") -> Path:
    """Each service is a line of YAML, such as `api: {recheck_every: 1m}`."""
    path = directory / name
    path.write_text(CONFIG % (url, directory, "\n".join(f"  {service}" for service in services or ("api: {}",))))
    return path


def settings(directory: Path, url: str, *services: str) -> Settings:
    return load(write_config(directory, url, *services)).settings


def fails(fake: FakePrometheus, service: str = "api", *, since: datetime, until: datetime | None = None) -> None:
    """Three in ten of its thousand requests, and almost none at any other time."""
    fake.answer(f'service="{service}"}}\\[(60|120)s', 1000)
    fake.answer(f'service="{service}",code=~"5..', lambda at: 300 if at >= since and (until is None or at < until) else 1)
    fake.answer(f'^max\\(count_over_time\\(.*service="{service}"', 1_000_000)


def alert_row(alert_id: str = "a1", *, at: datetime = AT, service: str = "api", **more: Any) -> dict[str, Any]:
    return {"id": alert_id, "at": at.timestamp(), "alertname": "HighErrorRate", "labels": {"service": service}, **more}


def release_row(version: str, *, ago: timedelta, service: str = "api", **more: Any) -> dict[str, Any]:
    return {"service": service, "version": version, "artifact": f"image:{version}", "deployed_at": (AT - ago).timestamp(), **more}


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
