"""Three services as a config file has them, and the store of a daemon that has seen none of them yet."""

import asyncio
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from rollbackd.clock import SystemClock
from rollbackd.settings.effective import Settings
from rollbackd.settings.load import load
from rollbackd.store.store import Store


@cache
def settings() -> Settings:
    """As a config file has them; the directory goes, for nothing in it is read again."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "runbooks").mkdir()
        for name, runbook in _RUNBOOKS.items():
            (Path(directory) / "runbooks" / f"{name}.yaml").write_bytes(orjson.dumps(runbook))
        path = Path(directory) / "rollbackd.yaml"
        path.write_bytes(orjson.dumps(_CONFIG))
        return load(path).settings


@cache
def empty_store() -> bytes:
    """Made once: building the schema takes longer than most of what is simulated in it."""

    async def make(url: str) -> None:
        async with Store.opened(url, clock=SystemClock()):
            pass

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "rollbackd.db"
        asyncio.run(make(f"sqlite:///{file}"))
        return file.read_bytes()


_LIVE: Final = {"run": ["fleet", "status", "${service.name}"]}
_RUNBOOKS: Final[Mapping[str, Any]] = {
    "swap": {
        "name": "swap",
        "kind": "quick",
        "budget": "10m",
        "steps": [
            {
                "name": "deploy",
                "run": ["fleet", "deploy", "${service.name}", "${target.artifact}"],
                "timeout": "1m",
                "idempotent": True,
                "retries": 1,
                "interruptible": True,
                "probe": {**_LIVE, "equals": "${target.artifact}"},
            },
            {"name": "runs", "wait": {**_LIVE, "equals": "${target.artifact}"}, "timeout": "2m"},
        ],
    },
    "drain": {
        "name": "drain",
        "kind": "quick",
        "budget": "10m",
        "steps": [
            {"name": "drain", "run": ["fleet", "drain", "${service.name}"], "timeout": "1m"},
            {
                "name": "deploy",
                "run": ["fleet", "deploy", "${service.name}", "${target.artifact}"],
                "timeout": "1m",
                "probe": {**_LIVE, "equals": "${target.artifact}"},
            },
            {"name": "tell", "run": ["fleet", "tell", "${service.name}"], "timeout": "1m", "on_failure": "continue"},
        ],
    },
}
_CONFIG: Final[Mapping[str, Any]] = {
    "prometheus": {"url": "http://127.0.0.1:9090", "scrape_interval": "1m"},
    "store": {"url": "sqlite:////nowhere/rollbackd.db"},
    "notify": [{"name": "people", "webhook": {"url": "http://127.0.0.1:1/"}}],
    "indicators": {
        "error_rate": {
            "bad": 'sum(increase(http_requests_total{$selector,code=~"5.."}[$window]))',
            "total": "sum(increase(http_requests_total{$selector}[$window]))",
            "samples": "http_requests_total{$selector}",
            "bad_samples": 'http_requests_total{$selector,code=~"5.."}',
            "window": "4m",
        }
    },
    "triggers": {"HighErrorRate": {"indicator": "error_rate", "breach": "> 0.01", "clear": "<= 0.005", "for": "3m", "min_requests": 50}},
    "objectives": {"error_rate": {"indicator": "error_rate", "target": "< 0.005"}},
    "defaults": {
        "mode": "auto",
        "running_version": _LIVE,
        "blame_window": "30m",
        "baseline": "30m",
        "cooldown": "30m",
        "escalation_timeout": "20m",
        "shutdown_grace": "10s",
        "readiness_every": "1h",
        "watch": {"duration": "10m", "interval": "1m", "stable_for": "3m"},
    },
    "services": {"shop": {"runbook": "swap"}, "pay": {"runbook": "drain"}, "till": {"runbook": "swap", "mode": "propose"}},
}
