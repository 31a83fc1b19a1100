"""The shipped unit, judged by systemd's own tools and against what it starts. `systemd/try-unit` runs it for real."""

import re
import shlex
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import click
import pytest

from rollbackd.cli import main
from rollbackd.settings.durations import parse_duration
from rollbackd.settings.load import load

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "systemd" / "rollbackd.service"
CONFIG = ROOT / "config" / "rollbackd.yaml"


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not in PATH: it comes with Debian's package systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def secrets() -> set[str]:
    """The names of the config's secret files."""
    return set(re.findall(r"(?:token_file|file): ([\w.-]+)}", CONFIG.read_text()))


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    # the program that the unit starts is not installed on the machine that runs the tests
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub("ExecStart=.*", "ExecStart=/bin/true", UNIT.read_text()))
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])


def test_its_sandbox_stays_tight() -> None:
    done = analyze("security", "--offline=true", "--no-pager", "--threshold=15", UNIT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_starts_a_command_that_there_is() -> None:
    (start,) = values("ExecStart")
    program, name, *arguments = shlex.split(start)
    command = main.get_command(click.Context(main), name)
    assert Path(program).name == "rollbackd"
    assert command is not None
    assert command.make_context(name, arguments).params["config_path"] == Path("/etc/rollbackd/rollbackd.yaml")


def test_every_secret_of_the_config_is_a_credential_of_the_unit() -> None:
    assert {f"{name}:/etc/rollbackd/credentials/{name}" for name in secrets()} == set(values("LoadCredential"))


def test_the_store_of_the_config_is_where_the_unit_may_write() -> None:
    assert f"sqlite:////var/lib/{values('StateDirectory')[0]}/" in CONFIG.read_text()


def test_stopping_waits_for_the_longest_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in secrets():
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text("a-token-of-its-own")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load(CONFIG).settings
    longest = max(step.timeout for policy in settings.services.values() if policy.runbook for step in policy.runbook.steps)
    stop = parse_duration(values("TimeoutStopSec")[0].replace("min", "m"))
    assert stop > longest + settings.shutdown_grace > timedelta(0)
