"""The sample service: a small web service that serves real requests and its own metrics, in a good version and a bad one.

A process of its own, started by host.py on a socket that the host keeps listening, so that a redeploy refuses nobody. Only the standard
library, so that a restart is as quick as an interpreter's start: `python -I -S sample.py --fd 3 --version v1 --outage FILE`.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds; the rules ask for more than 1 s
_DRAIN_SECONDS: Final = 0.3
_ACCEPT_SECONDS: Final = 0.02  # until a connection that was just taken is seen as a request under way


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a version does with each run of ten requests; a fixed pattern, so that every run of the demo shows the same."""

    failing: frozenset[int] = frozenset()
    slow: frozenset[int] = frozenset()


GOOD: Final = Behaviour()
BAD: Final = Behaviour(failing=frozenset({0, 3, 6}), slow=frozenset({9}))
VERSIONS: Final = {"v1": GOOD, "v2": BAD, "v3": GOOD}
"""Every version that can be deployed: v2 fails three requests of ten and takes over a second for one."""

_ANSWER_SECONDS: Final = 0.003
_SLOW_SECONDS: Final = 1.3


class Metrics:
    """`http_requests_total` and `http_request_duration_seconds`, as a client library would keep them."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._requests = {200: 0, 500: 0}  # both from the start: a counter that first appears as 1 shows no increase
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def observe(self, code: int, seconds: float) -> None:
        self._requests[code] += 1
        self._buckets[next((index for index, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))] += 1
        self._seconds += seconds

    def text(self) -> str:
        """Prometheus' text format."""
        version = f'version="{self._version}"'
        counts = [f'http_requests_total{{code="{code}",{version}}} {count}' for code, count in self._requests.items()]
        cumulative = zip([*map(str, BUCKETS), "+Inf"], itertools.accumulate(self._buckets), strict=True)
        buckets = [f'http_request_duration_seconds_bucket{{le="{bound}",{version}}} {count}' for bound, count in cumulative]
        return "\n".join((
            "# TYPE http_requests_total counter",
            *counts,
            "# TYPE http_request_duration_seconds histogram",
            *buckets,
            f"http_request_duration_seconds_sum{{{version}}} {self._seconds:.6f}",
            f"http_request_duration_seconds_count{{{version}}} {sum(self._buckets)}",
            "",
        ))  # fmt: skip


class Sample:
    """The service itself; while `outage` exists something that every version depends on is down."""

    def __init__(self, version: str, outage: Path) -> None:
        self.version = version
        self._outage = outage
        self._metrics = Metrics(version)
        self._served = itertools.count()
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def answer(self, path: str) -> tuple[int, str, str]:
        """Status, content type and body."""
        match path:
            case "/metrics":
                return 200, "text/plain; version=0.0.4", self._metrics.text()
            case "/version":
                return 200, "application/json", json.dumps({"version": self.version})
            case "/healthz":
                return 200, "text/plain", "ok\n"
            case "/":
                code = await self._work()
                return code, "text/plain", f"{self.version}\n" if code == 200 else "something went wrong\n"
            case _:
                return 404, "text/plain", "no such page\n"

    async def _work(self) -> int:
        began = asyncio.get_running_loop().time()
        behaviour = BAD if self._outage.exists() else VERSIONS[self.version]
        turn = next(self._served) % 10
        await asyncio.sleep(_SLOW_SECONDS if turn in behaviour.slow else _ANSWER_SECONDS)
        code = 500 if turn in behaviour.failing else 200
        self._metrics.observe(code, asyncio.get_running_loop().time() - began)
        return code

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one connection: a connection that is kept would tie a client to the version that is going away."""
        self._under_way += 1
        self._idle.clear()
        try:
            async with asyncio.timeout(10):
                request = (await reader.readuntil(b"\r\n\r\n")).split(maxsplit=2)
                code, content_type, body = await self.answer(request[1].decode("ascii", "replace"))
                head = f"HTTP/1.1 {code} -\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                writer.write((head + body).encode())
                await writer.drain()
        except (TimeoutError, ConnectionError, EOFError, IndexError, asyncio.LimitOverrunError):
            pass  # the client's fault or its farewell; there is nobody left to tell
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
            writer.close()

    async def drained(self) -> None:
        """The requests under way get a moment to end; the slow ones are cut, as a restart cuts them."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await asyncio.sleep(_ACCEPT_SECONDS)
                await self._idle.wait()


async def serve(listening: socket.socket, version: str, outage: Path) -> None:
    """Until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    sample = Sample(version, outage)
    server = await asyncio.start_server(sample.connected, sock=listening)
    await ended.wait()
    server.close()
    await sample.drained()


def main() -> None:
    parser = argparse.ArgumentParser(description="the demo's sample service")
    parser.add_argument("--fd", type=int, required=True, help="the listening socket, inherited")
    parser.add_argument("--version", choices=VERSIONS, required=True)
    parser.add_argument("--outage", type=Path, required=True, help="while this file exists, what every version needs is down")
    options = parser.parse_args()
    asyncio.run(serve(socket.socket(fileno=options.fd), options.version, options.outage))


if __name__ == "__main__":
    main()
