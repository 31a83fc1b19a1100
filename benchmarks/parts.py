"""What a rollback's first step waits for, each part alone: a query by bare aiohttp, a commit by sqlite3, a process by subprocess."""

import shutil
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
from yarl import URL

from rollbackd.clock import SystemClock

COMMIT, PROBE, SPAWN = "commit", "probe", "spawn"
_TIMES = 5
_RECORD = "x" * 1000


@dataclass(slots=True)
class Parts:
    """What one run makes before its first step, whose own spawn comes on top."""

    queries: list[str] = field(default_factory=list)  # path and query string
    commits: int = 0
    probes: int = 0


@dataclass(slots=True)
class Alone:
    """Milliseconds of each part, by name; a query's name is its path and query string."""

    seen: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        return statistics.median(self.seen[name])

    async def ask(self, http: aiohttp.ClientSession, server: str, queries: Sequence[str]) -> None:
        """Each query, one after the other, until its answer is decoded."""
        for _ in range(_TIMES):
            for query in queries:
                with self._timed(query):
                    async with http.get(URL(server + query, encoded=True)) as response:
                        orjson.loads(await response.read())

    def commit(self, path: Path) -> None:
        """One row of the size of an incident, as durable as the store's."""
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("CREATE TABLE IF NOT EXISTS rows (record TEXT)")
            for _ in range(_TIMES):
                with self._timed(COMMIT):
                    database.execute("BEGIN IMMEDIATE")
                    database.execute("INSERT INTO rows VALUES (?)", (_RECORD,))
                    database.execute("COMMIT")

    def start(self, probe: Sequence[str], step: Sequence[str]) -> None:
        """The probe until its answer is there, and the step until it has said what time it is."""
        clock = SystemClock()
        for _ in range(_TIMES):
            with self._timed(PROBE):
                _output(probe)
            began = clock.now().timestamp()
            self._add(SPAWN, (float(_output(step)) - began) * 1000)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._add(name, (time.perf_counter() - began) * 1000)

    def _add(self, name: str, milliseconds: float) -> None:
        self.seen.setdefault(name, []).append(milliseconds)


def _output(argv: Sequence[str]) -> bytes:
    """With the words before the command that the daemon puts there as well."""
    setpriv = shutil.which("setpriv")
    words = (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()
    return subprocess.run([*words, *argv], stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, check=True).stdout
