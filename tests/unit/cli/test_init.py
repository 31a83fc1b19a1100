"""`rollbackd init` writes what `rollbackd check` has nothing to say about."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rollbackd.cli import main
from rollbackd.cli.init import PLATFORMS
from rollbackd.model.policy import Mode
from rollbackd.settings.load import load


def rollbackd(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def init(directory: Path, platform: str, *more: str) -> Result:
    return rollbackd("init", str(directory), "--platform", platform, "--service", "shop-api", *more)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_check_has_nothing_to_say(tmp_path: Path, platform: str) -> None:
    done = init(tmp_path / "new", platform, "--prometheus", "http://prometheus:9090", "--namespace", "shop")
    assert done.exit_code == 0, done.output
    loaded = load(tmp_path / "new" / "rollbackd.yaml")
    assert [str(problem) for problem in loaded.problems] == []
    policy = loaded.settings.services["shop-api"]
    assert policy.mode is Mode.OBSERVE
    assert policy.runbook is not None
    assert policy.runbook.name == "shop-api-quick"
    assert policy.running_version is not None
    assert [server.url for server in loaded.settings.prometheus.values()] == ["http://prometheus:9090"]
    assert "@" not in (tmp_path / "new" / "runbooks" / "shop-api-quick.yaml").read_text()
    checked = rollbackd("check", str(tmp_path / "new" / "rollbackd.yaml"))
    assert (checked.exit_code, checked.stdout) == (0, "")


def test_tokens_are_new_and_only_the_owner_s(tmp_path: Path) -> None:
    init(tmp_path / "one", "fly")
    init(tmp_path / "two", "fly")
    tokens = {path.read_text() for name in ("one", "two") for path in (tmp_path / name).glob("*.token") if path.name != "fly.token"}
    assert len(tokens) == 6
    assert all(len(token.strip()) == 64 for token in tokens)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "one").glob("*.token")} == {0o600}


def test_nothing_that_is_there_is_touched(tmp_path: Path) -> None:
    (tmp_path / "rollbackd.yaml").write_text("mine")
    done = init(tmp_path, "helm")
    assert done.exit_code == 3
    assert "rollbackd.yaml is there already" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["rollbackd.yaml"]
    assert (tmp_path / "rollbackd.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--service", "-x"),
        ("--service", "a b"),
        ("--service", "a}"),
        ("--namespace", "x: y"),
        ("--prometheus", "ftp://x"),
        ("--platform", "vm"),
    ],
)
def test_what_cannot_be_is_refused_with_its_option(tmp_path: Path, option: str, value: str) -> None:
    done = init(tmp_path / "new", "helm", option, value)
    assert done.exit_code == 2
    assert option in done.output
    assert not (tmp_path / "new").exists()


def test_as_json_it_names_the_files_and_what_is_to_be_filled_in(tmp_path: Path) -> None:
    done = init(tmp_path / "new", "fly", "--json")
    answer = json.loads(done.stdout)
    assert answer["to_fill"] == ["fly.token"]
    assert {str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*") if path.is_file()} == set(answer["files"])
