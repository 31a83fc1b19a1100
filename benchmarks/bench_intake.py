"""How many alerts a second are durable before they are answered, beside peers that store less, or nothing.

    python -m benchmarks.bench_intake [--rounds 3] [--seconds 4]

Each contender runs alone on one core, `wrk -t1 -c32` on the other; rounds are interleaved and the median counts. Then single requests,
one after another, for the latency. Prints one JSON object.

- rollbackd: the webhook with authentication, strict parsing and routing, SQLite with `synchronous=FULL`
- file: aiohttp, orjson, one append and one fdatasync for all who wait
- bare: aiohttp and orjson, stores nothing
- webhook: Debian's package, whose rule is not met, so that it runs nothing; stores nothing
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import orjson
from aiohttp import web

from rollbackd.clock import SystemClock
from rollbackd.intake.auth import Tokens
from rollbackd.intake.routing import Routing
from rollbackd.intake.webhook import Webhook
from rollbackd.model.condition import Condition
from rollbackd.model.policy import Trigger
from rollbackd.settings.effective import Person, Role
from rollbackd.store.store import Store
from rollbackd.telemetry.metrics import Metrics
from tests.fakes.policies import error_rate, service

CONTENDERS = ("rollbackd", "file", "bare", "webhook")
PATH = "/hooks/alertmanager"
SERVER_CORE, LOAD_CORE = "0", "1"
HERE = Path(__file__).parent
STORED = b'{"stored":1,"duplicates":0,"ignored":0}'

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Measured = dict[str, float]


async def main(rounds: int, seconds: int, names: list[str]) -> None:
    throughput: dict[str, list[Measured]] = {name: [] for name in names}
    single: dict[str, list[Measured]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            async with running(name) as url:
                await load(url, connections=32, seconds=1)
                throughput[name].append(await load(url, connections=32, seconds=seconds))
                single[name].append(await load(url, connections=1, seconds=1))
    per_second = {name: median(throughput[name], "per_second") for name in names}
    result = {
        "requests_per_second": {name: round(one) for name, one in per_second.items()},
        "ratio": {name: round(per_second["rollbackd"] / one, 2) for name, one in per_second.items() if "rollbackd" in per_second},
        "single_request_ms": {name: {key: round(median(single[name], f"{key}_ms"), 2) for key in ("p50", "p99")} for name in names},
        "rounds": {name: [round(one["per_second"]) for one in measured] for name, measured in throughput.items()},
    }
    print(json.dumps(result, indent=2))


def median(measured: list[Measured], key: str) -> float:
    return statistics.median(one[key] for one in measured)


@asynccontextmanager
async def running(name: str) -> AsyncIterator[str]:
    """The URL of a contender, alone on its core, in a directory that is on a disk (/tmp often is not)."""
    with tempfile.TemporaryDirectory(dir=HERE) as directory, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        process = await asyncio.create_subprocess_exec("taskset", "-c", SERVER_CORE, *command(name, port, Path(directory)), cwd=HERE.parent)
        try:
            await listening(port)
            yield f"http://127.0.0.1:{port}{PATH}"
        finally:
            process.terminate()
            await process.wait()


def command(name: str, port: int, directory: Path) -> list[str]:
    if name != "webhook":
        return [sys.executable, "-m", "benchmarks.bench_intake", "--serve", name, str(port), str(directory)]
    never = {"match": {"type": "value", "value": "never", "parameter": {"source": "payload", "name": "status"}}}
    hooks = directory / "hooks.json"
    hooks.write_text(json.dumps([{"id": "alertmanager", "execute-command": "/bin/true", "trigger-rule": never}]))
    return ["webhook", "-hooks", str(hooks), "-ip", "127.0.0.1", "-port", str(port)]


async def listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def load(url: str, *, connections: int, seconds: int) -> Measured:
    wrk = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "alert.lua"), url]
    process = await asyncio.create_subprocess_exec(*wrk, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    measured: Measured = json.loads((await process.communicate())[1])
    if measured["refused"]:
        raise SystemExit(f"{url} refused {measured['refused']:.0f} requests")
    return measured


async def serve(name: str, port: int, directory: Path) -> None:
    async with {"rollbackd": rollbackd, "file": file, "bare": bare}[name](directory) as handler:
        application = web.Application()
        application.router.add_post(PATH, handler)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await stopped.wait()
        await runner.cleanup()


@asynccontextmanager
async def rollbackd(directory: Path) -> AsyncIterator[Handler]:
    token = directory / "token"
    token.write_text("benchmark")
    trigger = Trigger(
        name="HighErrorRate",
        indicator=error_rate(),
        breach=Condition.parse("> 0.01"),
        clear=Condition.parse("<= 0.005"),
        hold_for=timedelta(minutes=2),
        alerts=("HighErrorRate",),
    )
    policy = replace(service("wemaster-staging-api"), triggers=(trigger,))
    tokens = Tokens([Person(name="ingest", role=Role.INGEST, token_file=token)])
    async with Store.opened(f"sqlite:///{directory / 'rollbackd.db'}", clock=SystemClock()) as store:
        webhook = Webhook(
            store=store,
            route=Routing({policy.name: policy}).route,
            tokens=lambda: tokens,
            clock=SystemClock(),
            metrics=Metrics(),
            on_stored=lambda: None,
            on_truncated=lambda _: None,
        )
        yield webhook.handle


@asynccontextmanager
async def file(directory: Path) -> AsyncIterator[Handler]:
    waiting: list[tuple[bytes, asyncio.Future[None]]] = []
    wake = asyncio.Event()
    descriptor = os.open(directory / "alerts", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def append(bodies: list[bytes]) -> None:
        os.write(descriptor, b"\n".join(bodies))
        os.fdatasync(descriptor)

    async def write() -> None:
        with ThreadPoolExecutor(1) as thread:
            while True:
                await wake.wait()
                wake.clear()
                batch = waiting[:]
                waiting.clear()
                await asyncio.get_running_loop().run_in_executor(thread, append, [body for body, _ in batch])
                for _, done in batch:
                    done.set_result(None)

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        orjson.loads(body)
        done = asyncio.get_running_loop().create_future()
        waiting.append((body, done))
        wake.set()
        await done
        return web.Response(body=STORED, content_type="application/json")

    async with asyncio.TaskGroup() as tasks:
        writer = tasks.create_task(write())
        yield handle
        writer.cancel()


@asynccontextmanager
async def bare(_directory: Path) -> AsyncIterator[Handler]:
    async def handle(request: web.Request) -> web.StreamResponse:
        orjson.loads(await request.read())
        return web.Response(body=STORED, content_type="application/json")

    yield handle


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=4)
    arguments.add_argument("--only", nargs="+", default=CONTENDERS, choices=CONTENDERS)
    arguments.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve[0], int(given.serve[1]), Path(given.serve[2])))
    else:
        asyncio.run(main(given.rounds, given.seconds, given.only))
