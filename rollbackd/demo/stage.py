"""The stage of the demo: everything that a production has, small and real, with rollbackd between them.

A service with visitors, Prometheus, Alertmanager and the daemon, each a process of its own; and what each scenario does to them.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import aiohttp

from rollbackd.demo.host import Host, run_host
from rollbackd.demo.packages import find_programs
from rollbackd.demo.processes import Child, running
from rollbackd.demo.servers import Server, Target, free_port, run_alertmanager, run_prometheus, until
from rollbackd.demo.shipped import Change
from rollbackd.demo.traffic import Traffic, run_traffic
from rollbackd.errors import PermanentError
from rollbackd.model.incident import Outcome
from rollbackd.model.reason import Reason

SERVICE: Final = "shop-api"
LABELS: Final = {"service": SERVICE, "env": "demo"}
_START_SECONDS: Final = 30.0
_DEPLOY_SECONDS: Final = 30.0
_HEALTHY_SAMPLES: Final = 10


class Scenario(StrEnum):
    RECOVERS = "recovers"
    INNOCENT = "innocent"
    BLAME_OFF = "blame-off"
    PROMETHEUS_DOWN = "prometheus-down"
    FAILS = "fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a scenario does, and how it has to end: with `outcome`, or escalated to a person, for `reason`; `serves` runs then."""

    story: str
    outcome: Outcome | None
    reason: Reason | None
    serves: str
    releases_v2: bool = True  # v2 is deployed and recorded now; else it runs since yesterday, or never
    settings: dict[str, object] = field(default_factory=dict)


SCRIPTS: Final = {
    Scenario.RECOVERS: Script(
        story="v2 is released and it is bad: rollbackd takes it back",
        outcome=Outcome.RECOVERED,
        reason=Reason.TO_BLAME,
        serves="v1",
    ),
    Scenario.INNOCENT: Script(
        story="something that the service depends on breaks, nothing was released: rollbackd keeps its hands off",
        outcome=Outcome.HELD,
        reason=Reason.NO_RECENT_RELEASE,
        serves="v1",
        releases_v2=False,
    ),
    Scenario.BLAME_OFF: Script(
        story="v2 was recorded yesterday, turns bad now, and the config says 'blame: off': a confirmed trigger is enough",
        outcome=Outcome.RECOVERED,
        reason=Reason.BLAME_OFF,
        serves="v1",
        releases_v2=False,
        settings={"blame": "off"},
    ),
    Scenario.PROMETHEUS_DOWN: Script(
        story="v2 is released and bad, an alert comes, but Prometheus does not answer: rollbackd never acts on what it cannot measure",
        outcome=None,
        reason=Reason.UNKNOWN,
        serves="v2",
    ),
    Scenario.FAILS: Script(
        story="v2 is released and bad, and the deploy tool refuses to take it back: the rollback fails, and says so",
        outcome=Outcome.FAILED,
        reason=Reason.STEP_FAILED,
        serves="v2",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything, running. `url` is the daemon's; `token` is an operator's."""

    directory: Path
    url: str
    token: str
    host: Host
    traffic: Traffic
    prometheus: Server
    alertmanager: Server
    daemon: Child

    @property
    def changes(self) -> tuple[Change, ...]:
        return (*self.prometheus.changes, *self.alertmanager.changes)

    async def healthy(self) -> None:
        """Wait until Prometheus has measured a healthy service for a while: only then is what comes a change that can be proven."""

        async def measured() -> bool:
            healthy = await self._query(f'count_over_time(error_rate{{service="{SERVICE}"}}[1m])')
            return healthy is not None and healthy >= _HEALTHY_SAMPLES

        await until(measured, what="Prometheus has measured the service", seconds=_START_SECONDS)

    async def deploy(self, version: str) -> None:
        """As CI would: with the deploy tool. Raises PermanentError when it refuses."""
        tool = await asyncio.create_subprocess_exec(
            self.host.deploy_command,
            version,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await tool.communicate()
        if tool.returncode != 0:
            raise PermanentError(f"{version} could not be deployed: {said.decode(errors='replace').strip()}")

    async def alert_by_hand(self, alertname: str) -> None:
        """The alert that Prometheus can no longer send, through the real Alertmanager."""
        alert = [{"labels": {"alertname": alertname, "severity": "critical", **LABELS}}]
        async with aiohttp.ClientSession() as http, http.post(f"{self.alertmanager.url}/api/v2/alerts", json=alert) as response:
            response.raise_for_status()

    async def serving(self) -> str:
        """The version that really answers the visitors."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.host.url}/version") as response:
            return str((await response.json())["version"])

    async def _query(self, query: str) -> float | None:
        async with aiohttp.ClientSession() as http, http.get(f"{self.prometheus.url}/api/v1/query", params={"query": query}) as response:
            result = (await response.json())["data"]["result"]
        return float(result[0]["value"][1]) if result else None


@asynccontextmanager
async def set_up(directory: Path, script: Script, say: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Start everything in order, on free loopback ports; `say` is told what is going on. Leaving it stops everything by pid."""
    programs = find_programs(["prometheus", "alertmanager"], say=say)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    token = _secret(directory / "operator.token")
    _secret(directory / "ingest.token")
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        host = await enter(run_host(directory, version="v1"))
        traffic = await enter(run_traffic(host.url))
        alertmanager = await enter(
            run_alertmanager(
                programs["alertmanager"],
                directory / "alertmanager",
                webhook_url=f"{url}/webhook/alertmanager",
                token_file=directory / "ingest.token",
            )
        )
        target = Target(job="shop", address=host.url.removeprefix("http://"), labels=LABELS)
        prometheus = await enter(
            run_prometheus(programs["prometheus"], directory / "prometheus", targets=[target], alertmanager_url=alertmanager.url)
        )
        config = write_config(directory, port=port, prometheus=prometheus.url, host=host, settings=script.settings)
        argv = [sys.executable, "-m", "rollbackd", "serve", "--config", str(config)]
        daemon = await enter(running(argv, log=directory / "rollbackd.log"))
        await until(lambda: _answers(f"{url}/-/ready"), or_when=lambda: daemon.exited, what="rollbackd is ready", seconds=_START_SECONDS)
        if daemon.exited:
            raise PermanentError(f"rollbackd ended at its start: {daemon.last_words()}")
        yield Stage(
            directory=directory,
            url=url,
            token=token,
            host=host,
            traffic=traffic,
            prometheus=prometheus,
            alertmanager=alertmanager,
            daemon=daemon,
        )


def write_config(directory: Path, *, port: int, prometheus: str, host: Host, settings: dict[str, object]) -> Path:
    """The demo's own config and runbook: the shipped indicators, triggers and objectives, with windows and waits of seconds."""
    deploy = str(host.deploy_command)
    config = {
        "server": {"listen": f"127.0.0.1:{port}"},
        "auth": {
            "ingest": {"token_file": "ingest.token"},
            "people": [{"name": "demo", "role": "operator", "token_file": "operator.token"}],
        },
        "prometheus": {"url": prometheus, "timeout": "2s", "scrape_interval": "1s"},
        "store": {"url": f"sqlite:///{directory / 'rollbackd.db'}"},
        "indicators": {
            "error_rate": {
                "bad": 'sum(increase(http_requests_total{$selector,code=~"5.."}[$window]))',
                "total": "sum(increase(http_requests_total{$selector}[$window]))",
                "samples": "http_requests_total{$selector}",
                "bad_samples": 'http_requests_total{$selector,code=~"5.."}',
                "window": "5s",
            },
            "response_time_p95": {
                "query": "1000 * histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{$selector}[$window])))",
                "count": "sum(increase(http_request_duration_seconds_count{$selector}[$window]))",
                "samples": "http_request_duration_seconds_count{$selector}",
                "window": "5s",
            },
            "availability": {"query": "avg(avg_over_time(up{$selector}[$window]))", "samples": "up{$selector}", "window": "5s"},
        },
        "triggers": {
            "HighErrorRate": {**_trigger("error_rate", "> 0.01", "<= 0.005"), "severity": "critical"},
            "SlowResponse": {**_trigger("response_time_p95", "> 1000", "< 500"), "severity": "warning"},
        },
        "objectives": {
            "error_rate": {"indicator": "error_rate", "target": "< 0.005"},
            "response_time_p95": {"indicator": "response_time_p95", "target": "< 500"},
            "availability": {"indicator": "availability", "target": ">= 0.999"},
        },
        "defaults": {
            "settling": "1s",
            "readiness_every": "10s",
            "give_up_after": "8s",
            "blame_window": "10m",
            "watch": {"duration": "40s", "interval": "1s", "stable_for": "5s"},
        },
        "services": {
            SERVICE: {
                "match": [f'{name}="{value}"' for name, value in LABELS.items()],
                "selector": ",".join(f'{name}="{value}"' for name, value in LABELS.items()),
                "mode": "auto",
                "running_version": {"run": [deploy, "--status"], "jmespath": "version"},
                "runbook": "shop-quick",
                **settings,
            }
        },
    }
    runbook = {
        "name": "shop-quick",
        "kind": "quick",
        "budget": "1m",
        "steps": [
            {
                "name": "deploy the target",
                "run": [deploy, "${target.version}"],
                "timeout": f"{_DEPLOY_SECONDS:g}s",
                "idempotent": True,
                "probe": {"run": [deploy, "--status"], "jmespath": "version", "equals": "${target.version}"},
            },
            {"name": "healthy again", "wait": {"http": f"{host.url}/healthz", "status": 200}, "timeout": "10s"},
        ],
    }
    (directory / "runbooks").mkdir(exist_ok=True)
    (directory / "runbooks" / "shop-quick.yaml").write_text(json.dumps(runbook, indent=2), "utf-8")  # JSON is YAML
    path = directory / "rollbackd.yaml"
    path.write_text(json.dumps(config, indent=2), "utf-8")
    return path


def _trigger(indicator: str, breach: str, clear: str) -> dict[str, object]:
    return {"indicator": indicator, "breach": breach, "clear": clear, "for": "2s", "min_requests": 50}


def _secret(path: Path) -> str:
    token = secrets.token_hex(16)
    path.touch(mode=0o600)
    path.write_text(token + "\n", "utf-8")
    return token


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False
