"""Real Prometheus and Alertmanager, started on loopback with data of their own, and stopped by pid."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from rollbackd.demo.processes import Child, running
from rollbackd.demo.shipped import Change, Pace, write_alertmanager_config, write_rules
from rollbackd.errors import PermanentError, TemporaryError

_START_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_STARTS: Final = 3  # between asking for a free port and using it, somebody else may


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What Prometheus scrapes: `host:port`, with the labels that its series carry."""

    job: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers at `url`; `changes` is what its config does not have as shipped."""

    url: str
    changes: tuple[Change, ...]
    child: Child

    async def stop(self) -> None:
        """Stop it before its time, to see what happens without it."""
        await self.child.stop()


def free_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def run_alertmanager(
    program: Path, directory: Path, *, webhook_url: str, token_file: Path, pace: Pace | None = None
) -> AsyncIterator[Server]:
    """Alertmanager with the shipped route, posting to `webhook_url` with the token in `token_file`."""
    config = _made(directory) / "alertmanager.yml"
    changes = write_alertmanager_config(config, pace or Pace(), webhook_url=webhook_url, token_file=token_file)

    def argv(port: int) -> list[str]:
        return [
            str(program),
            f"--config.file={config}",
            f"--storage.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",  # alone: no peers to wait for
            "--log.level=warn",
        ]

    async with _served(argv, log=directory / "alertmanager.log", changes=changes) as server:
        yield server


@asynccontextmanager
async def run_prometheus(
    program: Path, directory: Path, *, targets: Sequence[Target], alertmanager_url: str, pace: Pace | None = None
) -> AsyncIterator[Server]:
    """Prometheus with the shipped rules over `targets`, sending its alerts to `alertmanager_url`."""
    pace = pace or Pace()
    config, rules = _made(directory) / "prometheus.yml", _made(directory / "rules")
    changes = write_rules(rules, pace)
    # JSON is YAML
    config.write_text(json.dumps(_prometheus_config(rules, targets, alertmanager_url, pace), indent=2), encoding="utf-8")

    def argv(port: int) -> list[str]:
        return [
            str(program),
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]

    async with _served(argv, log=directory / "prometheus.log", changes=changes) as server:
        yield server


def _prometheus_config(rules: Path, targets: Sequence[Target], alertmanager_url: str, pace: Pace) -> dict[str, object]:
    return {
        "global": {"scrape_interval": pace.interval, "scrape_timeout": pace.interval, "evaluation_interval": pace.interval},
        "rule_files": [f"{rules}/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager_url.removeprefix("http://")]}]}]},
        "scrape_configs": [
            {"job_name": target.job, "static_configs": [{"targets": [target.address], "labels": dict(target.labels)}]} for target in targets
        ],
    }


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@asynccontextmanager
async def _served(argv: Callable[[int], Sequence[str]], *, log: Path, changes: tuple[Change, ...]) -> AsyncIterator[Server]:
    """A server on a free port, once it is ready."""
    for start in range(1, _STARTS + 1):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        async with running(argv(port), log=log) as child:
            if await _ready(f"{url}/-/ready", child):
                yield Server(url=url, changes=changes, child=child)
                return
            said = child.last_words()
        if start == _STARTS or "address already in use" not in said:
            raise PermanentError(f"{argv(port)[0]} ended at its start: {said}")


async def _ready(url: str, child: Child) -> bool:
    """Whether it answers, rather than has ended."""

    async def asked(http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(url) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async with aiohttp.ClientSession() as http:
        await until(lambda: asked(http), or_when=lambda: child.exited, what=f"{url} answers", seconds=_START_SECONDS)
    return not child.exited


async def until(
    condition: Callable[[], Awaitable[bool]], *, what: str, seconds: float, or_when: Callable[[], bool] = lambda: False
) -> None:
    """Ask until it holds, or until `or_when` makes the question moot.

    Raises:
        TemporaryError: not within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            while not or_when() and not await condition():  # noqa: ASYNC110 - another process's state has no event to wait for
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise TemporaryError(f"not within {seconds:g} s: {what}") from error
