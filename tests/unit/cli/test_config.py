import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rollbackd.cli import main

CONFIG = """\
prometheus: {url: http://127.0.0.1:9090}
store: {url: sqlite:///%s/rollbackd.db}
indicators:
  error_rate:
    bad: sum(increase(http_requests_total{$selector,code=~"5.."}[$window]))
    total: sum(increase(http_requests_total{$selector}[$window]))
    samples: http_requests_total{$selector}
    window: 1m
triggers:
  HighErrorRate: {indicator: error_rate, breach: "> 0.01", clear: "<= 0.005", for: 2m, min_requests: 50}
objectives:
  error_rate: {indicator: error_rate, target: "< 0.005"}
services:
  checkout: {cooldown: 90m}
  search: {}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "rollbackd.yaml"
    path.write_text(CONFIG % tmp_path)
    return path


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_check_of_a_good_config(config: Path) -> None:
    result = run("check", config)
    assert result.exit_code == 0
    assert f"{config} can be used" in result.stderr
    assert all(": warning: " in line for line in result.stdout.splitlines())
    assert json.loads(run("check", config, "--json").stdout)["fine"] is True


def test_check_says_every_error_with_its_line(config: Path) -> None:
    config.write_text(config.read_text().replace("cooldown", "cooldwon").replace("> 0.01", "above 1 %"))
    result = run("check", config)
    assert (result.exit_code, result.stderr) == (2, "")
    lines = [line for line in result.stdout.splitlines() if ": warning: " not in line]
    assert [line.removeprefix(f"{config}:").split(":")[0] for line in lines] == ["10", "14"]
    assert "cooldown" in lines[1]
    data = json.loads(run("check", config, "--json").stdout)
    assert data["fine"] is False
    assert {problem["line"] for problem in data["problems"] if problem["level"] == "error"} == {10, 14}


def test_check_of_a_config_that_is_not_there(tmp_path: Path) -> None:
    assert run("check", tmp_path / "nope.yaml").exit_code == 2


def test_the_schema_is_json() -> None:
    schema = json.loads(run("config", "schema").stdout)
    assert "services" in schema["properties"]
    assert json.loads(run("config", "schema", "--json").stdout) == schema


def test_config_show_says_what_is_not_the_default(config: Path) -> None:
    shown = run("config", "show", "checkout", "--config", config).stdout
    assert "cooldown: 90m" in shown
    assert "search" not in shown
    assert "give_up_after" not in shown


def test_config_show_effective_says_everything(config: Path) -> None:
    data = json.loads(run("config", "show", "--effective", "--config", config, "--json").stdout)
    assert set(data) == {"checkout", "search"}
    assert (data["search"]["cooldown"], data["search"]["give_up_after"], data["search"]["mode"]) == ("1h", "10m", "observe")
    assert data["search"]["triggers"][0]["breach"] == "> 0.01"


def test_config_show_of_a_service_that_is_not_there(config: Path) -> None:
    result = run("config", "show", "chekout", "--config", config)
    assert result.exit_code == 2
    assert "did you mean 'checkout'?" in result.stderr


def test_a_config_that_cannot_be_used_is_2_everywhere(config: Path) -> None:
    config.write_text("services: [")
    for command in (("config", "show"), ("db", "migrate"), ("db", "check"), ("db", "backup", "x")):
        result = run(*command, "--config", config)
        assert (result.exit_code, result.stdout) == (2, "")
        assert str(config) in result.stderr


def test_db_migrate_backup_and_check(config: Path, tmp_path: Path) -> None:
    result = run("db", "check", "--config", config)
    assert result.exit_code == 2
    assert "no store at" in result.stderr
    assert run("db", "migrate", "--config", config).stdout == f"{tmp_path}/rollbackd.db is up to date\n"
    assert run("db", "check", "--config", config).stdout == f"{tmp_path}/rollbackd.db is whole\n"
    assert run("db", "backup", tmp_path / "copy.db", "--config", config).exit_code == 0
    assert json.loads(run("db", "check", "--config", config, "--json").stdout) == {"store": f"{tmp_path}/rollbackd.db", "damage": []}
    assert (tmp_path / "copy.db").stat().st_size == (tmp_path / "rollbackd.db").stat().st_size


def test_db_check_says_that_a_store_is_damaged(config: Path, tmp_path: Path) -> None:
    assert run("db", "migrate", "--config", config).exit_code == 0
    store = tmp_path / "rollbackd.db"
    raw = bytearray(store.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    store.write_bytes(raw)
    result = run("db", "check", "--config", config)
    assert result.exit_code != 0
    assert result.stdout + result.stderr
