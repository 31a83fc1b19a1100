"""How a server is started, with scripts in its place; the real ones are in tests/e2e/test_demo_servers.py."""

import sys
from pathlib import Path

import pytest

from rollbackd.demo.servers import run_alertmanager, run_prometheus, until
from rollbackd.errors import PermanentError, TemporaryError

READY = """#!{python}
import http.server, pathlib, sys
starts = pathlib.Path(__file__).with_suffix(".starts")
starts.write_text((starts.read_text() if starts.exists() else "") + "x")
if len(starts.read_text()) <= {busy}:
    sys.exit("listen tcp: bind: address already in use")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/-/ready" else 404)
        self.end_headers()
port = next(word for word in sys.argv if word.startswith("--web.listen-address=")).rpartition(":")[2]
http.server.HTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


async def test_a_server_is_there_once_it_is_ready_and_gone_after(tmp_path: Path) -> None:
    script = program(tmp_path / "prometheus", READY.format(python=sys.executable, busy=0))
    async with run_prometheus(script, tmp_path / "work", targets=[], alertmanager_url="http://127.0.0.1:1") as server:
        assert not server.child.exited
        assert server.changes
    assert server.child.exited


async def test_another_port_is_tried_when_somebody_was_quicker(tmp_path: Path) -> None:
    script = program(tmp_path / "prometheus", READY.format(python=sys.executable, busy=2))
    async with run_prometheus(script, tmp_path / "work", targets=[], alertmanager_url="http://127.0.0.1:1") as server:
        assert not server.child.exited
    assert script.with_suffix(".starts").read_text() == "xxx"


async def test_not_for_ever(tmp_path: Path) -> None:
    script = program(tmp_path / "prometheus", READY.format(python=sys.executable, busy=99))
    with pytest.raises(PermanentError, match="address already in use"):
        async with run_prometheus(script, tmp_path / "work", targets=[], alertmanager_url="http://127.0.0.1:1"):
            pass


async def test_a_server_that_ends_at_its_start_is_said_with_its_own_words(tmp_path: Path) -> None:
    script = program(tmp_path / "alertmanager", "#!/bin/sh\necho 'no such receiver' >&2\nexit 1\n")
    with pytest.raises(PermanentError, match="ended at its start: no such receiver"):
        async with run_alertmanager(script, tmp_path / "work", webhook_url="http://127.0.0.1:1/", token_file=tmp_path / "token"):
            pass


async def test_a_server_can_be_stopped_before_its_time(tmp_path: Path) -> None:
    script = program(tmp_path / "prometheus", READY.format(python=sys.executable, busy=0))
    async with run_prometheus(script, tmp_path / "work", targets=[], alertmanager_url="http://127.0.0.1:1") as server:
        await server.stop()
        assert server.child.exited


async def test_until_says_what_did_not_come() -> None:
    async def never() -> bool:
        return False

    with pytest.raises(TemporaryError, match=r"not within 0.01 s: the alert fires"):
        await until(never, what="the alert fires", seconds=0.01)
