"""A daemon whose every way out is read: answers, pages, reports, the log, metrics, events, commands, what Sentry is sent, its files."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import web
from yarl import URL

from tests.faults.process_world import ProcessWorld
from tests.flow.world import SERVICE

COMMANDS: Final = ("status", "list", "show", "explain", "logs", "report", "watch", "plan", "release list", "change list", "audit", "doctor")

_DUMP = """#!{python} -IS
import json, os, sys
where = {directory!r}
with open(where + "/dump.jsonl", "a") as file:
    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
said = {said!r}.encode()
sys.stdout.buffer.write(said)
sys.stderr.buffer.write(said)
sys.exit(3 if os.path.exists(where + "/break") else 0)
"""


@dataclass
class Heard:
    """What came out, by where. `texts` are everything that is neither a page nor a report as a person reads it."""

    texts: dict[str, str] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    reports: dict[str, str] = field(default_factory=dict)
    envelopes: list[bytes] = field(default_factory=list)
    incidents: list[dict[str, Any]] = field(default_factory=list)  # newest first
    argv: list[list[str]] = field(default_factory=list)  # of each run of the tool
    environments: list[dict[str, str]] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    connects: int = 0


class StoryWorld(ProcessWorld):
    """With a Sentry that keeps what it is sent, and a tool that writes down its arguments and its environment, and says `tool_says`."""

    dsn_key = "f" * 32
    tool_says = ""

    def __init__(self, directory: Path, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self.heard = Heard()
        self.dump = directory / "dump"
        self._servers = AsyncExitStack()

    async def __aenter__(self) -> Self:
        sentry = await self.serve(self._envelope)
        self.secret("sentry.dsn", f"{sentry.replace('//', f'//{self.dsn_key}@')}/1")
        self.dump.write_text(_DUMP.format(python=sys.executable, directory=str(self.directory), said=self.tool_says))
        self.dump.chmod(0o755)
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__(*_)
        await self._servers.aclose()

    def secret(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)
        (self.directory / name).chmod(0o600)

    async def serve(self, handler: Any) -> str:
        """A server that answers everything with `handler`, for as long as the world lasts."""
        application = web.Application()
        application.router.add_route("*", "/{any:.*}", handler)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        self._servers.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def trapped(self) -> str:
        """An address to which nobody may ever connect; who does is counted."""

        async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.heard.connects += 1
            writer.close()

        trap = await self._servers.enter_async_context(await asyncio.start_server(talk, "127.0.0.1", 0))
        return f"127.0.0.1:{trap.sockets[0].getsockname()[1]}"

    async def _envelope(self, request: web.Request) -> web.Response:
        self.heard.envelopes.append(await request.read())
        return web.json_response({"id": "1"})

    def write_config(self, *, port: int = 0) -> Path:
        path = super().write_config(port=port)
        config = self.configured(json.loads(path.read_text()))
        path.write_text(json.dumps(config))
        return path

    def configured(self, config: dict[str, Any]) -> dict[str, Any]:
        return {**config, "sentry": {"dsn_file": "sentry.dsn"}}

    async def ask(self, name: str, method: str, path: str, body: object = None, *, token: str | None = None) -> int:
        """The status; the answer is heard under this name, whatever it is."""
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        async with self.http.request(method, URL(self.url + path, encoded=True), json=body, headers=headers) as response:
            self.heard.texts[name] = await response.text()
            return response.status

    async def page(self, path: str) -> str:
        async with self.http.get(self.url + path, headers={"Authorization": f"Bearer {self.token}"}) as response:
            assert response.status == 200, path
            return await response.text()

    async def hear(self) -> None:
        """Read everything that there is to be read."""
        heard = self.heard
        heard.incidents = [dict(await self.get(f"/api/v1/incidents/{one['id']}")) for one in await self.incidents()]
        for path in ("status", "doctor", "services", "incidents", "audit", f"releases?service={SERVICE}", f"changes?service={SERVICE}"):
            assert await self.ask(path, "GET", f"/api/v1/{path}") == 200
        for number in (one["id"] for one in heard.incidents):
            assert await self.ask(f"incident {number}", "GET", f"/api/v1/incidents/{number}") == 200
            assert await self.ask(f"report {number}", "GET", f"/api/v1/incidents/{number}/report?format=json") == 200
            heard.reports[number] = await self.page(f"/api/v1/incidents/{number}/report")
            heard.pages[f"/incidents/{number}"] = await self.page(f"/incidents/{number}")
        heard.pages["/"] = await self.page("/")
        heard.texts["metrics"] = await self.page("/metrics")
        heard.texts["events"] = await self._events()
        arguments = [_arguments(command, one["id"]) for command in COMMANDS for one in heard.incidents]
        arguments = [each for number, each in enumerate(arguments) if each not in arguments[:number]]
        for each in arguments:
            for more in ([], ["--json"]):
                heard.texts[" ".join(["rollbackd", *each, *more])] = (await self.cli(*each, *more)).output
        heard.texts["rollbackd on a terminal"] = await asyncio.to_thread(_on_terminal, arguments, self)
        await self.stop()
        heard.texts["the log"] = self.log
        heard.queries = [asked.query for asked in self.prometheus.asked]
        if (dumped := self.directory / "dump.jsonl").exists():
            runs = [json.loads(line) for line in dumped.read_text().splitlines()]
            heard.argv, heard.environments = [argv for argv, _ in runs], [environment for _, environment in runs]
        heard.files = [str(path.relative_to(self.directory)) for path in self.directory.rglob("*")]

    async def _events(self) -> str:
        """The whole stream, up to what is newest now."""
        newest = max(line["seq"] for one in self.heard.incidents for line in one["timeline"])
        headers = {"Authorization": f"Bearer {self.token}", "Last-Event-ID": "0"}
        read = ""
        async with asyncio.timeout(10), self.http.get(f"{self.url}/api/v1/events", headers=headers) as response:
            async for line in response.content:
                read += line.decode()
                if f"id: {newest}\n" in read and read.endswith("\n\n"):
                    break
        return read


def _arguments(command: str, incident_id: str) -> list[str]:
    words = command.split()
    if words[0] in {"show", "explain", "logs", "report", "watch"}:
        return [*words, incident_id]
    return [*words, SERVICE] if words[0] in {"plan", "release", "change"} else words


def _on_terminal(arguments: list[list[str]], world: StoryWorld) -> str:
    """All commands in one process on a terminal that can do nothing but write, so that whatever steers it came from outside."""
    program = (
        "import sys, json\nfrom rollbackd.cli import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    print(); print('$', *arguments)\n"
        "    try: main(arguments)\n"
        "    except SystemExit: pass\n"
    )
    environment = {
        **os.environ,
        "TERM": "dumb",
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "ROLLBACKD_URL": world.url,
        "ROLLBACKD_TOKEN_FILE": str(world.directory / "operator.token"),
    }
    ours, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(arguments)], env=environment, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        written = b""
        with os.fdopen(ours, "rb", buffering=0) as reading, suppress(OSError):  # as Linux says that the other side has closed
            while chunk := reading.read(1 << 16):
                written += chunk
    assert process.returncode == 0, written
    return written.decode().replace("\r\n", "\n")
