"""A town of services around a daemon that is a process of its own: one deploy tool, one Prometheus that measures what runs."""

import json
import random
import signal
import socket
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.faults.process_world import ProcessWorld
from tests.flow.world import REQUESTS, SERVICE
from tests.soak.forked import ForkedDaemon

BY_HAND: Final = "by-hand"
"""Stands in the effects log where an attempt's id would stand."""
GOOD, BAD = "g1", "b"
"""What every service goes back to; every version that begins with `BAD` fails."""
ACTING: Final = (SERVICE, "cart", "search", "pay")
PROPOSING, INNOCENT, BLIND = "admin", "innocent", "blind"
"""Asks a person; has alerts and is healthy; cannot be measured."""
SERVICES: Final = (*ACTING, PROPOSING, INNOCENT, BLIND)
MOODS: Final = ("plain", "plain", "plain", "late", "lingers", "complains", "forks", "escapes", "floods")

_TOOL: Final = """#!/bin/sh
# deploy SERVICE VERSION | deploy --status SERVICE | deploy --say TEXT: keeps what is live, and writes every effect down
ulimit -S -f unlimited # the full disk is the daemon's, and not the platform's
cd {directory} || exit 1
effect() {{
    echo "$(date +%s.%N) ${{ROLLBACKD_ATTEMPT:-by-hand}} $1 $2" >>effects.log
    echo "$2" >"live.$1.$$" && mv "live.$1.$$" "live.$1"
}}
case $1 in
--status) exec cat "live.$2" ;;
--say) effect said "$2"; exit 0 ;;
--later) sleep 0.3; effect "$2" "$3"; exit 0 ;;
esac
[ -z "$ROLLBACKD_ATTEMPT" ] || mood=$(cat "mood.$1" 2>/dev/null)
case $mood in
late) sleep 0.3; effect "$@" ;;
lingers) effect "$@"; sleep 0.3 ;;
complains) effect "$@"; exit 1 ;;
forks) (sleep 0.3; effect "$@") & wait ;;
escapes) setsid "$0" --later "$@" & wait ;;
floods) yes | head -c 1000000; effect "$@" ;;
*) effect "$@" ;;
esac
"""


_DEFAULTS: Final[Mapping[str, Any]] = {
    "mode": "auto",
    "runbook": "shop-quick",
    "cooldown": "1ms",
    "budget": {"service_per_day": 1_000_000, "fleet_per_hour": 1_000_000},
    "fleet_brake": {"services": 1_000, "within": "1s"},
    "baseline": "3s",
    "recheck_every": "400ms",
    "give_up_after": "8s",
    "approval": {"expires": "3s"},
    "escalation_timeout": "4s",
    "guard_for": "5s",
    "readiness_every": "10s",
    "watch": {"duration": "4s", "interval": "400ms", "stable_for": "800ms"},
}


@dataclass(frozen=True, slots=True)
class Effect:
    """One line of the effects log."""

    at: datetime
    attempt: str
    service: str
    version: str


class Effects:
    """The effects log, read as it grows."""

    def __init__(self, log: Path) -> None:
        self.all: list[Effect] = []
        self._log = log
        self._read = 0
        self._times: dict[str, list[datetime]] = {}
        self._versions: dict[str, list[str]] = {}

    def live(self, service: str, at: datetime) -> str | None:
        self.read_on()
        times = self._times.get(service, [])
        place = bisect_right(times, at)
        return self._versions[service][place - 1] if place else None

    def read_on(self) -> None:
        if self._log.stat().st_size == self._read:
            return
        with self._log.open("rb") as file:
            file.seek(self._read)
            new, _, _ = file.read().rpartition(b"\n")
        for line in new.splitlines():
            at, attempt, service, version = line.decode().split()
            effect = Effect(datetime.fromtimestamp(float(at), UTC), attempt, service, version)
            self.all.append(effect)
            self._times.setdefault(service, []).append(effect.at)
            self._versions.setdefault(service, []).append(version)
        self._read += len(new) + bool(new)


class Town(ProcessWorld):
    """`lives` counts the daemon's processes so far. `forked`: they are started fast, and not by their own command line."""

    script = _TOOL

    def __init__(self, directory: Path, *, forked: bool) -> None:
        tool = directory / "deploy"
        others: dict[str, Mapping[str, Any]] = {name: {} for name in SERVICES if name != SERVICE}
        others["pay"] = {"blame": "off"}
        others[PROPOSING] = {"mode": "propose"}
        deploying = {
            "run": [str(tool), "${service.name}", "${target.version}"],
            "probe": {"run": [str(tool), "--status", "${service.name}"], "equals": "${target.version}"},
            "retries": 1,
        }
        super().__init__(directory, deploying=deploying, then=("done",), others=others, mode=None, runbook=None, running_version=None)
        self.effected = Effects(directory / "effects.log")
        self.lives = 0
        self._config = directory / "town.yaml"
        self._forked = forked
        self._port = quiet_port()
        self.environment["MALLOC_ARENA_MAX"] = "2"  # as systemd/rollbackd.service says

    def measure(self) -> None:
        """Bad versions fail every third request; one service is always healthy, and nobody knows how another one is."""
        for service in SERVICES:
            selected = rf'sum\(increase\(http_requests_total\{{[^}}]*service="{service}"'
            self.prometheus.answer(selected, REQUESTS)
            self.prometheus.answer(rf'{selected}[^}}]*,code=~"5', lambda at, service=service: REQUESTS * self._ratio(service, at))
        self.prometheus.answer(rf'sum\(increase\(.*service="{BLIND}".*code=~"5', 0.3 * REQUESTS, warnings=["not all of it"])

    def is_bad(self, service: str, at: datetime) -> bool:
        return service != INNOCENT and (self.effected.live(service, at) or GOOD).startswith(BAD)

    def _ratio(self, service: str, at: datetime) -> float:
        return 0.3 if self.is_bad(service, at) else 0.0

    def write_config(self, *, port: int = 0) -> Path:
        """Written once: what all services share stands under `defaults`, for a config is read at each start."""
        if not self._config.exists():
            document = json.loads(super().write_config(port=port).read_text())
            document["prometheus"]["timeout"] = "5s"
            document["defaults"] |= _DEFAULTS
            document["defaults"]["running_version"] = {"run": [str(self.tool), "--status", "${service.name}"]}
            self._config.write_text(json.dumps(document))
        return self._config

    async def launch(self) -> None:
        if self._forked:
            self.process = ForkedDaemon(self.write_config(port=self._port), self.directory / "daemon.log")
        else:
            await super().launch()
        self.lives += 1

    async def stop(self) -> None:
        """Also one that is stalled, or will not."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            try:
                await super().stop()
            except TimeoutError:
                await self.kill()

    async def deploy_by_hand(self, service: str, version: str) -> None:
        await self.run_tool(service, version)

    def last_words(self) -> str:
        with (self.directory / "daemon.log").open("rb") as log:
            log.seek(max(log.seek(0, 2) - 2000, 0))
            return log.read().decode(errors="replace")

    def in_mood(self, service: str, mood: str) -> None:
        (self.directory / f"mood.{service}").write_text(mood)


def quiet_port() -> int:
    """One that no outgoing connection is given: while the daemon is down, whoever calls it could else meet himself there."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
