"""A small world around the whole daemon: a service that is really deployed by a tool, and a Prometheus that measures what runs.

    async with World(tmp_path) as world:
        await world.release("v1", ago=timedelta(days=1))
        await world.release("v2")                 # deployed, recorded, and bad
        await world.alert()
        incident = await world.closed()

The measured error ratio follows the versions that the tool has deployed, so a rollback heals it and nothing else does. Time constants
are settings, and are sub-second here.
"""

import asyncio
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import aiohttp
from click.testing import CliRunner, Result

from rollbackd import app
from rollbackd.cli import main
from rollbackd.clock import SystemClock, rfc3339
from rollbackd.settings.load import load
from tests.fakes.prometheus import FakePrometheus

SERVICE = "shop-api"
REQUESTS = 1000.0
_PATIENCE = 60.0

_TOOL = """#!/bin/sh
# deploy VERSION | deploy --status | deploy --say TEXT: keeps what is live, and writes every effect down
cd {directory} || exit 1
if [ "$1" = --status ]; then [ ! -e mute ] || exit 1; [ ! -e stall ] || sleep 60; cat live; exit 0; fi
if [ "$1" = --say ]; then [ ! -e "refuse-$2" ] || exit 1; echo "$2" >>said; exit 0; fi
if [ -e refuse ]; then echo 'the registry does not answer' >&2; exit 1; fi
[ -z "$ROLLBACKD_ATTEMPT" ] || echo "$ROLLBACKD_ATTEMPT" >>attempts.log
echo "$(date +%s.%N) $1" >>effects.log
[ -e lie ] || {{ echo "$1" >live.new && mv live.new live; }}
[ ! -e linger ] || sleep 60
[ ! -e deaf ] || trap '' TERM
while [ -e hold ]; do sleep 0.02; done
echo "deployed $1"
"""


async def written(path: Path) -> str:
    """What is in the file, once it is there."""
    async with asyncio.timeout(_PATIENCE):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - a file tells nobody
            await asyncio.sleep(0.02)
    return path.read_text()  # noqa: ASYNC240


class World:
    """`bad` are the versions that fail. `deploying` changes the step that deploys, steps that say `then` follow it; the rest is of the
    service, where None takes a setting out. `others` are more services, with all their settings; one tool and one measurement are theirs
    as well. `server` are more settings of the listener, `runbooks` stand beside the quick one, `top` beside
    the services.
    """

    script = _TOOL

    def __init__(
        self,
        directory: Path,
        *,
        bad: tuple[str, ...] = ("v2",),
        deploying: Mapping[str, Any] | None = None,
        then: Sequence[str] = (),
        others: Mapping[str, Mapping[str, Any]] | None = None,
        server: Mapping[str, Any] | None = None,
        runbooks: Sequence[Mapping[str, Any]] = (),
        top: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.directory = directory
        self.tool = directory / "deploy"
        self.bad = set(bad)
        self.outage_since: datetime | None = None
        self.settings = settings
        self.deploying = deploying or {}
        self.then = then
        self.others = others or {}
        self.server = server or {}
        self.runbooks = runbooks
        self.top = top or {}
        self.token = secrets.token_hex(8)
        self.prometheus = FakePrometheus()
        self.daemon: app.Daemon | None = None
        self._stack = AsyncExitStack()
        self._daemon_stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.tool.write_text(self.script.format(directory=self.directory))
        self.tool.chmod(0o755)
        (self.directory / "effects.log").touch()
        await self._stack.enter_async_context(self.prometheus)
        self.http = await self._stack.enter_async_context(aiohttp.ClientSession())
        self.measure()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self._stack.aclose()

    async def start(self) -> None:
        """The daemon, on the files that are there."""
        settings = load(self.write_config()).settings
        self.daemon = await self._daemon_stack.enter_async_context(app.running(settings))

    async def stop(self) -> None:
        await self._daemon_stack.aclose()
        self.daemon = None

    def write_config(self, *, port: int = 0) -> Path:
        (self.directory / "operator.token").write_text(self.token)
        (self.directory / "ingest.token").write_text(self.token + "-ingest")
        for name in ("operator.token", "ingest.token"):
            (self.directory / name).chmod(0o600)
        config = {
            "server": {"listen": f"127.0.0.1:{port}", **self.server},
            "auth": {
                "ingest": {"token_file": "ingest.token"},
                "people": [{"name": "oncall", "role": "operator", "token_file": "operator.token"}],
            },
            "prometheus": {"url": self.prometheus.url, "timeout": "1s", "scrape_interval": "200ms"},
            "store": {"url": f"sqlite:///{self.directory / 'state' / 'rollbackd.db'}"},
            "indicators": {
                "error_rate": {
                    "bad": 'sum(increase(http_requests_total{$selector,code=~"5.."}[$window]))',
                    "total": "sum(increase(http_requests_total{$selector}[$window]))",
                    "samples": "http_requests_total{$selector}",
                    "bad_samples": 'http_requests_total{$selector,code=~"5.."}',
                    "window": "800ms",
                },
            },
            "triggers": {
                "HighErrorRate": {"indicator": "error_rate", "breach": "> 0.01", "clear": "<= 0.005", "for": "400ms", "min_requests": 50},
            },
            "objectives": {"error_rate": {"indicator": "error_rate", "target": "< 0.005"}},
            "defaults": {
                "settling": "1ms",
                "give_up_after": "1s",
                "recheck_every": "200ms",
                "shutdown_grace": "1s",
                "blame_window": "1m",
                "baseline": "20s",
                "watch": {"duration": "4s", "interval": "200ms", "stable_for": "600ms"},
            },
            "services": {
                SERVICE: {
                    name: value
                    for name, value in {
                        "mode": "auto",
                        "running_version": {"run": [str(self.tool), "--status"]},
                        "runbook": "shop-quick",
                        **self.settings,
                    }.items()
                    if value is not None
                },
                **self.others,
            },
            **self.top,
        }
        runbooks = self.directory / "runbooks"
        runbooks.mkdir(exist_ok=True)
        (self.directory / "state").mkdir(exist_ok=True)
        for runbook in (self.runbook(), *self.runbooks):
            (runbooks / f"{runbook['name']}.yaml").write_text(json.dumps(runbook))
        path = self.directory / "rollbackd.yaml"
        path.write_text(json.dumps(config))
        return path

    def runbook(self) -> Mapping[str, Any]:
        return {
            "name": "shop-quick",
            "kind": "quick",
            "budget": "1m",
            "steps": [
                {
                    "name": "deploy",
                    "run": [str(self.tool), "${target.version}"],
                    "timeout": "10s",
                    "idempotent": True,
                    "probe": {"run": [str(self.tool), "--status"], "equals": "${target.version}"},
                    **self.deploying,
                },
                *({"name": f"say {text}", "run": [str(self.tool), "--say", text], "timeout": "10s"} for text in self.then),
            ],
        }

    @property
    def said(self) -> list[str]:
        """By the steps that followed."""
        file = self.directory / "said"
        return file.read_text().split() if file.exists() else []

    @contextmanager
    def told(self, *names: str) -> Iterator[None]:
        """The tool is told to behave so for as long as the block lasts: `refuse`, `lie`, `mute`, `stall`, `linger`, `deaf`, `hold`."""
        for name in names:
            (self.directory / name).touch()
        try:
            yield
        finally:
            for name in names:
                (self.directory / name).unlink(missing_ok=True)

    async def deployed(self, *versions: str) -> None:
        """Once the tool has had exactly these effects."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while self.versions() != list(versions):  # noqa: ASYNC110 - the tool's own file says what it did
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"wanted {versions}, deployed was {self.versions()}") from None

    def versions(self) -> list[str]:
        return [version for _, version in self.effects()]

    def measure(self) -> None:
        """Prometheus measures what runs: bad versions fail every third request."""
        self.prometheus.answer(r'sum\(increase\(.*code=~"5', lambda at: REQUESTS * self.ratio(at))
        self.prometheus.answer(r"sum\(increase\(http_requests_total\{[^}]*service=\"[^\"]+\"\}", REQUESTS)

    def ratio(self, at: datetime) -> float:
        if self.outage_since is not None and at >= self.outage_since:
            return 0.3
        live = [version for deployed_at, version in self.effects() if deployed_at <= at]
        return 0.3 if live and live[-1] in self.bad else 0.0

    def effects(self) -> list[tuple[datetime, str]]:
        """What the tool really did, in order: the oracle."""
        lines = (self.directory / "effects.log").read_text().splitlines()
        return [(datetime.fromtimestamp(float(at), UTC), version) for at, version in (line.split() for line in lines)]

    def attempts(self) -> list[str]:
        """The ids of the attempts that had an effect, once for each effect."""
        log = self.directory / "attempts.log"
        return log.read_text().split() if log.exists() else []

    @property
    def live(self) -> str:
        return (self.directory / "live").read_text().strip()

    @property
    def url(self) -> str:
        assert self.daemon is not None
        return self.daemon.url

    async def release(self, version: str, *, ago: timedelta | None = None, record: bool = True) -> None:
        """Deployed by the tool and recorded; with `ago` only recorded, at that time, and live unless something is already."""
        if ago is None:
            await self.run_tool(version)
        elif not (self.directory / "live").exists():
            (self.directory / "live").write_text(version)
        if record:
            await self.recorded(version, ago=ago or timedelta())

    async def recorded(self, version: str, *, ago: timedelta, **more: Any) -> None:
        at = rfc3339(SystemClock().now() - ago)
        await self.post("/api/v1/releases", {"service": SERVICE, "version": version, "started_at": at, "live_at": at, **more})

    async def run_tool(self, *arguments: str) -> int:
        process = await asyncio.create_subprocess_exec(self.tool, *arguments, stdout=asyncio.subprocess.DEVNULL)
        return await process.wait()

    async def alert(
        self, *, status: str = "firing", starts_at: datetime | None = None, alertname: str = "HighErrorRate"
    ) -> Mapping[str, Any]:
        return await self.post_alerts([self.alert_object(status=status, starts_at=starts_at, alertname=alertname)])

    def alert_object(
        self,
        *,
        status: str = "firing",
        starts_at: datetime | None = None,
        alertname: str = "HighErrorRate",
        fingerprint: str = "f" * 16,
        service: str = SERVICE,
    ) -> dict[str, Any]:
        started = starts_at or SystemClock().now()
        return {
            "status": status,
            "labels": {"alertname": alertname, "service": service},
            "annotations": {},
            "startsAt": rfc3339(started),
            "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else rfc3339(SystemClock().now()),
            "generatorURL": "",
            "fingerprint": fingerprint,
        }

    async def post_alerts(self, alerts: list[dict[str, Any]], **more: Any) -> Mapping[str, Any]:
        body = {
            "version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "rollbackd",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "alerts": alerts, **more,
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {self.token}-ingest"}
        async with self.http.post(f"{self.url}/webhook/alertmanager", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            return dict(await response.json())

    async def post(self, path: str, body: Mapping[str, Any], *, expect: int | None = None) -> Mapping[str, Any]:
        async with self.http.post(f"{self.url}{path}", json=body, headers={"Authorization": f"Bearer {self.token}"}) as response:
            answer = await response.json()
            assert response.status == expect if expect else response.ok, answer
            return dict(answer)

    async def get(self, path: str) -> Mapping[str, Any]:
        async with self.http.get(f"{self.url}{path}", headers={"Authorization": f"Bearer {self.token}"}) as response:
            answer = await response.json()
            assert response.ok, answer
            return dict(answer)

    async def cli(self, *args: str) -> Result:
        """`rollbackd` as the person on call has it."""
        environment = {"ROLLBACKD_URL": self.url, "ROLLBACKD_TOKEN_FILE": str(self.directory / "operator.token")}
        return await asyncio.to_thread(CliRunner(env=environment).invoke, main, args)

    async def quiet(self) -> None:
        """Once every alert that is stored has been taken."""
        assert self.daemon is not None
        async with asyncio.timeout(_PATIENCE):
            while await self.daemon.store.alerts.unhandled(limit=1):  # noqa: ASYNC110 - asks a store
                await asyncio.sleep(0.02)

    async def incidents(self) -> list[Mapping[str, Any]]:
        return list((await self.get("/api/v1/incidents"))["items"])

    async def reached(self, *phases: str, nth: int = 1) -> Mapping[str, Any]:
        """The newest incident, once there are `nth` and it is in one of these phases."""
        seen: list[Mapping[str, Any]] = []
        try:
            async with asyncio.timeout(_PATIENCE):
                while len(seen := await self.incidents()) < nth or seen[0]["phase"] not in phases:  # noqa: ASYNC110 - asks a server
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"no incident reached {phases}: {seen}") from None
        return await self.get(f"/api/v1/incidents/{seen[0]['id']}")

    async def eventually_closed(self) -> Mapping[str, Any]:
        """As `closed`, also while some of what one asks is refused."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                with suppress(AssertionError):
                    return await self.closed()

    async def closed(self, *, nth: int = 1) -> Mapping[str, Any]:
        return await self.reached("closed", nth=nth)

    async def report(self, incident_id: str) -> str:
        """The file, once it is there: it is written after the incident is closed."""
        return await written(self.directory / "state" / "reports" / f"{incident_id}.md")

    async def step_ended(self, step: str) -> None:
        """Once an attempt of this step has an outcome."""
        async with asyncio.timeout(_PATIENCE):
            while not any(one["step"] == step and one["ended_at"] for one in (await self.incidents())[0]["attempts"]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def held_for_now(self, reason: str) -> Mapping[str, Any]:
        """The newest incident, once it is judged again and again for this reason."""
        async with asyncio.timeout(_PATIENCE):
            while (incident := await self.reached("deciding"))["reason"] != reason:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return incident

    async def closed_again(self, incident_id: str) -> Mapping[str, Any]:
        """This incident, closed with another outcome than `held`."""
        async with asyncio.timeout(_PATIENCE):
            while (incident := await self.get(f"/api/v1/incidents/{incident_id}"))["outcome"] in {None, "held"}:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return incident
