"""The daemon as its users run it, `python -m rollbackd serve` in a process of its own, and what it takes of the machine."""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from rollbackd.clock import rfc3339

TOKEN = "benchmark"
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_GLANCE_SECONDS = 0.001
_BYTECODE = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has taken of the machine so far, from the kernel's own books."""

    pid: int

    @property
    def cpu_seconds(self) -> float:
        """Of all of its threads, to the nanosecond."""
        return time.clock_gettime((~self.pid << 3) | 2)  # what clock_getcpuclockid(3) makes of a pid

    @property
    def resident_mb(self) -> float:
        """In millions of bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A daemon that listens at `url`."""

    url: str
    usage: Usage
    http: aiohttp.ClientSession

    async def alerts(self, alerts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """As Alertmanager posts them."""
        body = {
            "version": "4", "groupKey": '{}:{alertname="HighErrorRate"}', "truncatedAlerts": 0, "status": "firing", "receiver": "rollbackd",
            "groupLabels": {"alertname": "HighErrorRate"}, "commonLabels": {}, "commonAnnotations": {},
            "externalURL": "http://alertmanager:9093", "alerts": alerts,
        }  # fmt: skip
        return await self._asked("POST", "/webhook/alertmanager", json=body, headers={"Authorization": f"Bearer {TOKEN}"})

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._asked("POST", path, json=body)

    async def get(self, path: str) -> Mapping[str, Any]:
        return await self._asked("GET", path)

    async def count(self, sample: str) -> float:
        """A sample of its own metrics, over all labels."""
        async with self.http.get(f"{self.url}/metrics") as response:
            families = list(text_string_to_metric_families(await response.text()))
        return sum(one.value for family in families for one in family.samples if one.name == sample)

    async def quiet(self) -> None:
        """Returns once it has nothing left to do: two looks apart it has taken no more of a core than an idle one does."""
        async with asyncio.timeout(60):
            while True:
                before = self.usage.cpu_seconds
                await asyncio.sleep(0.1)
                if self.usage.cpu_seconds - before < 0.005:
                    return

    async def _asked(self, method: str, path: str, **arguments: Any) -> Mapping[str, Any]:
        async with self.http.request(method, self.url + path, **arguments) as response:
            if not response.ok:
                raise SystemExit(f"{method} {path}: {response.status} {await response.text()}")
            return dict(await response.json())


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is gone afterwards, on a disk: `/tmp` may be memory, where nothing is durable and all is fast.

    What is started meanwhile keeps its bytecode there: only the first start compiles, as after an installation, whatever bytecode
    this checkout has.
    """
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="rollbackd-benchmark-") as directory:
        before = {name: os.environ.pop(name) for name in _BYTECODE if name in os.environ}
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(directory, "bytecode"))
        try:
            yield Path(directory)
        finally:
            del os.environ["PYTHONPYCACHEPREFIX"]
            os.environ.update(before)


def write_config(directory: Path, config: Config, *runbooks: Config) -> Path:
    """The config file, with the token of `TOKEN` and a store beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "runbooks").mkdir(exist_ok=True)
    for runbook in runbooks:
        (directory / "runbooks" / f"{runbook['name']}.yaml").write_text(json.dumps(runbook))
    token = directory / "ingest.token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    path = directory / "rollbackd.yaml"
    whole = {
        "server": {"listen": "127.0.0.1:0"},
        "auth": {"ingest": {"token_file": token.name}},
        "store": {"url": f"sqlite:///{directory / 'state' / 'rollbackd.db'}"},
        **config,
    }
    path.write_text(json.dumps(whole))  # JSON is YAML
    return path


def alert(labels: Mapping[str, str], *, fingerprint: str, starts_at: datetime, status: str = "firing") -> dict[str, Any]:
    """One alert of a payload, about as long as a real one."""
    return {
        "status": status,
        "labels": {"alertname": "HighErrorRate", "severity": "critical", "team": "backend", "cluster": "hkg-1", **labels},
        "annotations": {
            "summary": "The error rate is above 1%",
            "description": "The ratio of 5xx is 30% for more than 2 minutes",
            "runbook_url": "https://example.com/runbooks/rollback",
        },
        "startsAt": rfc3339(starts_at),
        "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else rfc3339(starts_at),
        "generatorURL": "http://prometheus:9090/graph?g0.expr=job%3Aerrors%3Aratio&g0.tab=1",
        "fingerprint": fingerprint,
    }


@asynccontextmanager
async def serving(config: Path, *, environment: Mapping[str, str] | None = None) -> AsyncIterator[Daemon]:
    """The daemon on this config, listening; stopped when left."""
    argv = (sys.executable, "-m", "rollbackd", "serve", "--config", str(config))
    async with (
        started(argv, log=config.parent / "daemon.log", environment=environment) as (usage, url, _),
        aiohttp.ClientSession() as http,
    ):
        yield Daemon(url=url, usage=usage, http=http)


@asynccontextmanager
async def started(
    argv: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Usage, str, float]]:
    """A server that logs `"event": "listening"` with its `url`, once it has; with the seconds from its exec until then."""
    with log.open("wb") as stream:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(*argv, stderr=stream, env={**os.environ, **(environment or {})})
    try:
        async with asyncio.timeout(_START_SECONDS):
            while (url := _listening(log)) is None:
                if process.returncode is not None:
                    raise SystemExit(f"{' '.join(argv)} ended at its start: {_last_line(log)}")
                await asyncio.sleep(_GLANCE_SECONDS)
        yield Usage(process.pid), url, time.perf_counter() - began
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _last_line(log: Path) -> str:
    return "".join(log.read_text(encoding="utf-8").splitlines()[-1:])[:1000]


def _listening(log: Path) -> str | None:
    lines = log.read_bytes().splitlines(keepends=True)
    events = (json.loads(line) for line in lines if line.endswith(b"\n") and line.startswith(b"{"))
    return next((str(event["url"]) for event in events if event.get("event") == "listening"), None)
