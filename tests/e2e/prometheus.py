"""A real Prometheus on a free loopback port, over backfilled samples or scraping live targets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web

from tests.e2e.programs import program

_START_TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True)
class RealPrometheus:
    """`log` is what the server wrote; look there when a test does not understand it."""

    url: str
    log: Path


@dataclass
class Backfill:
    """Samples to put into a server before it starts, written as OpenMetrics."""

    _lines: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, labels: Mapping[str, str], samples: Iterable[tuple[datetime, float | str]]) -> Self:
        text = ",".join(f"{label}={json.dumps(value)}" for label, value in labels.items())
        lines = self._lines.setdefault(name, [])
        lines.extend(f"{name}{{{text}}} {value} {at.timestamp():.3f}" for at, value in samples)
        return self

    def counter(
        self, name: str, labels: Mapping[str, str], *, start: datetime, end: datetime, every: timedelta, rate: Callable[[datetime], float]
    ) -> Self:
        """A counter that begins at 0 and grows by `rate` a second, as it is at each sample."""
        total, samples = 0.0, []
        for k in range((end - start) // every + 1):
            at = start + k * every
            total += rate(at) * every.total_seconds() if k else 0.0
            samples.append((at, total))
        return self.add(name, labels, samples)

    @property
    def text(self) -> str:
        return (
            "".join(f"# TYPE {name} unknown\n" + "".join(f"{line}\n" for line in lines) for name, lines in self._lines.items()) + "# EOF\n"
        )


@asynccontextmanager
async def real_prometheus(
    directory: Path,
    *,
    backfill: Backfill | None = None,
    targets: Mapping[str, Sequence[str]] | None = None,
    scrape_interval: str = "200ms",
    rule_files: Sequence[Path] = (),
    alertmanagers: Sequence[str] = (),
    external_labels: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> AsyncIterator[RealPrometheus]:
    """Its files stand in `directory`, which belongs to this server alone.

    `targets` are `host:port` by job, `alertmanagers` are `host:port`; `options` are more options of the command line.
    """
    prometheus, promtool = program("prometheus"), program("promtool")
    data, config = directory / "data", directory / "prometheus.yml"
    samples = _write(directory, _config(targets or {}, scrape_interval, rule_files, alertmanagers, external_labels or {}), backfill)
    if samples is not None:
        await _run(promtool, "tsdb", "create-blocks-from", "openmetrics", str(samples), str(data))
    address = f"127.0.0.1:{_free_port()}"
    log = directory / "prometheus.log"
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address={address}",
            *options,
            stdout=stream,
            stderr=stream,
        )
        try:
            server = RealPrometheus(f"http://{address}", log)
            await _until_ready(server, process)
            yield server
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


class Target:
    """A live scrape target: `series` is what its /metrics says, and may be changed at any time; once stopped it is gone."""

    def __init__(self) -> None:
        self.series: dict[str, float] = {}
        self.scrapes = 0
        self.address = ""
        self._scraped = asyncio.Condition()

    async def scraped(self, times: int) -> None:
        """Waits until it was scraped so many times more."""
        wanted = self.scrapes + times
        async with asyncio.timeout(30), self._scraped:
            await self._scraped.wait_for(lambda: self.scrapes >= wanted)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/metrics", self._serve)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        async with self._scraped:
            self.scrapes += 1
            self._scraped.notify_all()
        return web.Response(text="".join(f"{name} {value}\n" for name, value in self.series.items()))


def _config(
    targets: Mapping[str, Sequence[str]],
    scrape_interval: str,
    rule_files: Sequence[Path],
    alertmanagers: Sequence[str],
    external_labels: Mapping[str, str],
) -> dict[str, object]:
    return {
        "global": {
            "scrape_interval": scrape_interval,
            "scrape_timeout": scrape_interval,
            "evaluation_interval": scrape_interval,
            "external_labels": dict(external_labels),
        },
        "rule_files": [str(path) for path in rule_files],
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": list(addresses)}]} for job, addresses in targets.items()],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}] if alertmanagers else []},
    }


def _write(directory: Path, config: Mapping[str, object], backfill: Backfill | None) -> Path | None:
    """The file of samples, if there are any."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    if backfill is None:
        return None
    samples = directory / "samples.txt"
    samples.write_text(backfill.text)
    return samples


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _run(*argv: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def _until_ready(server: RealPrometheus, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_START_TIMEOUT.total_seconds()), aiohttp.ClientSession() as session:
        while True:
            assert process.returncode is None, server.log.read_text()
            try:
                async with session.get(f"{server.url}/-/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.02)  # between two tries, not instead of waiting for the right thing
