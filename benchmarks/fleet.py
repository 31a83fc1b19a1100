"""A config of as many services as one likes, each as the shipped config has its own."""

from collections.abc import Mapping, Sequence
from typing import Any

NO_SERVER = "http://127.0.0.1:9"
"""Nobody answers there; an idle daemon asks nobody."""

RUNBOOK: Mapping[str, Any] = {
    "name": "first-step",
    "kind": "quick",
    "budget": "10m",
    "steps": [
        {"name": "say when it runs", "run": ["date", "+%s.%N"], "timeout": "1m", "idempotent": True},
    ],
}


def names(count: int) -> Sequence[str]:
    return [f"service-{number:04}" for number in range(1, count + 1)]


def fleet(count: int, *, prometheus: str = NO_SERVER, **settings: Any) -> dict[str, Any]:
    """One indicator and one trigger, as shipped; `settings` are those of every service."""
    return {
        "prometheus": {"url": prometheus, "timeout": "5s", "scrape_interval": "15s"},
        "indicators": {
            "error_rate": {
                "bad": 'sum(increase(http_requests_total{$selector,code=~"5.."}[$window]))',
                "total": "sum(increase(http_requests_total{$selector}[$window]))",
                "samples": "http_requests_total{$selector}",
                "bad_samples": 'http_requests_total{$selector,code=~"5.."}',
                "window": "1m",
            },
        },
        "triggers": {
            "HighErrorRate": {"indicator": "error_rate", "breach": "> 0.01", "clear": "<= 0.005", "for": "2m", "min_requests": 50},
        },
        "templates": {
            "web": {
                "match": ['service="${service.name}"', 'env="staging"'],
                "selector": 'service="${service.name}",env="staging"',
                "triggers": ["HighErrorRate"],
                "runbook": RUNBOOK["name"],
                **settings,
            },
        },
        "services": {name: {"use": "web"} for name in names(count)},
    }


def labels(service: str) -> dict[str, str]:
    """What an alert about it carries."""
    return {"service": service, "env": "staging"}
