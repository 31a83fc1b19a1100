"""The real daemon among kills, stalls, full disks and a Prometheus that lies; then the oracle is asked. The package says more."""

import argparse
import asyncio
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.faults import measured
from tests.soak import harness
from tests.soak.harness import Verdict
from tests.soak.vitals import Trend

_DISK_MB: Final = 64
_DISK_MB_A_MINUTE: Final = 8  # twice what the town's alerts fill up: only a fault shall leave no room
_ROOM: Final = "ROLLBACKD_SOAK_ROOM"
_VIOLATIONS_SHOWN: Final = 20
_TELLS_A_TREND: Final = 120.0  # seconds of one life


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="kill -9 so many times at random moments")
    parser.add_argument("--within", type=float, default=math.inf, metavar="MINUTES", help="stop killing after so long")
    parser.add_argument("--minutes", type=float, default=0.0, help="then faults of every kind")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of an earlier run")
    parser.add_argument("--leave", action="store_true", help="do not remove the store and the logs")
    parser.add_argument("--keep", metavar="NAME", help="keep the figures under this name for docs/faults.md")
    asked = parser.parse_args()
    if asked.minutes and _ROOM not in os.environ:
        _enter_a_room()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # whatever ends it, it ends what it has started
    print(f"seed {asked.seed}", flush=True)
    directory = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="rollbackd-soak-"))
    disk = _small_disk(directory / "state", asked.minutes) if os.environ.get(_ROOM) else None
    verdict = asyncio.run(
        harness.run(directory, seed=asked.seed, kills=asked.kills, within=asked.within, minutes=asked.minutes, disk=disk, say=_say)
    )
    figures = _figures(verdict)
    width = max(len(what) for what, _ in figures)
    for what, value in figures:
        print(f"{what:{width}}  {value}")
    for violation in verdict.violations[:_VIOLATIONS_SHOWN]:
        print(f"VIOLATED {violation}")
    if asked.keep:
        command = f"make kills KILLS={asked.kills}" if asked.kills else f"make soak MINUTES={asked.minutes:g}"
        title = f"{verdict.struck['kill']:,} times kill -9" if asked.kills else f"{asked.minutes:g} minutes of soak"
        print(measured.keep(asked.keep, title=title, command=f"{command} SEED={asked.seed}", figures=figures))
    if verdict.violations or asked.leave:
        if disk is not None:
            shutil.copytree(disk, directory / "state as it was")  # the disk itself goes with this process
        print(f"what is left to look at is in {directory}")
    else:
        if disk is not None:
            subprocess.run(["umount", disk], check=True)
        shutil.rmtree(directory)
    sys.exit(bool(verdict.violations))


def _enter_a_room() -> None:
    """A mount namespace, in which a small file system can be had by anybody; where there is none only the size of files is limited."""
    room = ("unshare", "--map-root-user", "--mount")
    has_room = shutil.which("unshare") and subprocess.run([*room, "true"], check=False, capture_output=True).returncode == 0
    os.environ[_ROOM] = "1" if has_room else ""
    if has_room:
        os.execvp("unshare", [*room, sys.executable, "-m", "tests.soak", *sys.argv[1:]])
    print("no mount namespace here: no disk is filled up, only the size of files is limited", flush=True)


def _small_disk(state: Path, minutes: float) -> Path:
    size = f"{_DISK_MB + _DISK_MB_A_MINUTE * math.ceil(minutes)}m"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "soak", state], check=True)
    return state


def _say(text: str) -> None:
    print(text, flush=True)


def _figures(verdict: Verdict) -> list[tuple[str, str]]:
    struck = dict(verdict.struck)
    return [
        ("seed", verdict.seed),
        ("length", f"{verdict.seconds / 60:.1f} min, {verdict.lives:,} starts of the daemon"),
        *((f"fault: {name}", f"{times:,}") for name, times in sorted(struck.items())),
        ("alerts acknowledged", f"{verdict.acknowledged:,}"),
        ("of these lost", _found(verdict, "I2")),
        ("effects by rollbackd", f"{verdict.effects:,}, attempts: {_counted(verdict.attempts)}"),
        ("attempts that took effect twice", _found(verdict, "I1:")),
        ("incidents", f"{sum(verdict.outcomes.values()):,}: {_counted(verdict.outcomes)}"),
        ("of these stuck", _found(verdict, "I9")),
        ("other violations", str(sum(not one.startswith(("I1:", "I2", "I9")) for one in verdict.violations))),
        ("until everything had come to rest", f"{verdict.seconds_to_rest:.0f} s"),
        ("answers", _counted(verdict.answers)),
        ("logged as errors", _counted(verdict.logged_errors) or "nothing"),
        ("memory", _told(verdict.memory, " MB")),
        ("descriptors", _told(verdict.descriptors, "")),
    ]


def _found(verdict: Verdict, promise: str) -> str:
    return str(sum(one.startswith(promise) for one in verdict.violations))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda each: -each[1]))


def _told(trend: Trend | None, unit: str) -> str:
    if trend is None:
        return "no life was long enough to tell"
    if trend.seconds < _TELLS_A_TREND:
        return f"{trend.least:.0f} to {trend.most:.0f}{unit}; no life was long enough to tell a trend"
    return f"{trend.least:.0f} to {trend.most:.0f}{unit}, {trend.per_hour:+.1f}{unit} an hour over {trend.seconds / 60:.1f} min"


if __name__ == "__main__":
    main()
