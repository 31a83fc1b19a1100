"""The seed's data rollback on a real PostgreSQL, by the whole daemon: the shipped runbook, the shipped scripts, a person who confirms."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.e2e.postgres import BIN, PASSWORD, Postgres, postgres
from tests.fakes.flyctl import Fly
from tests.flow.world import SERVICE, World

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "wemaster_staging"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with postgres(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def database(server: Postgres, tmp_path: Path) -> Iterator[Postgres]:
    """Three users were backed up; then two got lost."""
    server.sql(f'CREATE DATABASE "{DATABASE}"')
    server.sql("CREATE TABLE users (name text); INSERT INTO users VALUES ('a'), ('b'), ('c')", database=DATABASE)
    server.run("pg_dump", "-Fc", "-f", str(tmp_path / "latest.dump"), DATABASE)
    server.sql("DELETE FROM users WHERE name <> 'a'; INSERT INTO users VALUES ('written since')", database=DATABASE)
    yield server
    for name in databases(server):
        server.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def databases(server: Postgres) -> list[str]:
    return server.sql(f"SELECT datname FROM pg_database WHERE datname LIKE '{DATABASE}%' ORDER BY datname").split()


def users(server: Postgres, database: str = DATABASE) -> list[str]:
    return server.sql("SELECT name FROM users ORDER BY name", database=database).splitlines()


@pytest.fixture
def fly(tmp_path: Path) -> Fly:
    (tmp_path / "bin").mkdir()
    fly = Fly(tmp_path / "bin")
    fly.run_images(SERVICE, "img:v2", "img:v2")
    fly.require_token(SERVICE, "the-token-of-fly")
    return fly


@pytest.fixture
async def world(tmp_path: Path, database: Postgres, fly: Fly, monkeypatch: pytest.MonkeyPatch, request: Any) -> AsyncIterator[World]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{BIN}:/usr/bin:/bin")
    (tmp_path / ".pg_service.conf").write_text(database.service_file)
    shutil.copytree(ROOT / "config" / "scripts", tmp_path / "scripts")
    for name, secret in (("pg.password", PASSWORD), ("fly.token", "the-token-of-fly")):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(secret)
    variables = {
        "here": str(tmp_path / "scripts"),
        "pg": "test",
        "database": DATABASE,
        "backup": str(tmp_path / "latest.dump"),
        "least_rows": "users:3",
        **getattr(request, "param", {}),
    }
    runbook = YAML(typ="safe").load(ROOT / "config" / "runbooks" / "wemaster-data-restore.yaml")
    async with World(
        tmp_path,
        bad=(),
        runbooks=[runbook],
        vars=variables,
        credentials={"PGPASSWORD": {"file": "pg.password"}, "FLY_API_TOKEN": {"file": "fly.token"}},
        watch={"duration": "1s", "interval": "200ms", "stable_for": "400ms"},
    ) as world:
        await world.release("v2", ago=timedelta(days=1))
        yield world


async def begin(world: World) -> str:
    headers = {"Authorization": f"Bearer {world.token}"}
    body = {"runbook": "wemaster-data-restore", "reason": "users are gone", "confirm": DATABASE}
    async with world.http.post(f"{world.url}/api/v1/services/{SERVICE}/run", json=body, headers=headers) as response:
        assert response.status == 202, await response.text()
        begun: str = (await response.json())["id"]
    return begun


async def waits_for_a_person(world: World, incident: str) -> Mapping[str, Any]:
    async with asyncio.timeout(60):
        while True:
            record = await world.get(f"/api/v1/incidents/{incident}")
            if record["phase"] == "closed" or any(one["status"] == "started" and not one["argv"] for one in record["attempts"]):
                return record
            await asyncio.sleep(0.05)


async def test_the_backup_takes_the_place_of_the_database_and_the_old_one_is_kept(world: World, database: Postgres, fly: Fly) -> None:
    incident = await begin(world)
    record = await waits_for_a_person(world, incident)
    assert record["phase"] == "rolling_back", record["why"]
    assert users(database) == ["a", "b", "c"]
    kept = f"{DATABASE}_before_{incident}"
    assert databases(database) == [DATABASE, kept]
    assert users(database, kept) == ["a", "written since"]
    assert fly.stopped(SERVICE) == set()
    assert (await world.cli("tick", incident, "the data is right")).exit_code == 0
    closed = await world.closed()
    assert closed["outcome"] == "recovered"
    assert [one["status"] for one in closed["attempts"]] == ["succeeded"] * 8
    assert "users: 3 rows, wanted at least 3" in closed["attempts"][3]["output"]
    everything = str(await world.get(f"/api/v1/incidents/{incident}")) + (await world.cli("logs", incident)).output
    assert PASSWORD not in everything
    assert "the-token-of-fly" not in everything


async def test_a_broken_backup_leaves_everything_as_it_was(world: World, database: Postgres, fly: Fly, tmp_path: Path) -> None:
    backup = tmp_path / "latest.dump"
    backup.write_bytes(backup.read_bytes()[:40])
    await begin(world)
    closed = await world.closed()
    assert (closed["outcome"], closed["detail"].split(":")[0]) == ("failed", "the backup can be read")
    assert databases(database) == [DATABASE]
    assert users(database) == ["a", "written since"]
    assert fly.stopped(SERVICE) == set()


@pytest.mark.parametrize("world", [{"least_rows": "users:100"}], indirect=True)
async def test_one_with_too_few_rows_is_taken_away_again(world: World, database: Postgres, fly: Fly) -> None:
    await begin(world)
    closed = await world.closed()
    assert closed["outcome"] == "failed"
    assert closed["detail"].startswith("rows are there: exit 1; undo: a new database: done")
    assert databases(database) == [DATABASE]
    assert users(database) == ["a", "written since"]
    assert fly.stopped(SERVICE) == set()


async def test_when_the_swap_fails_the_app_is_started_again(world: World, database: Postgres, fly: Fly, tmp_path: Path) -> None:
    psql = tmp_path / "bin" / "psql"
    psql.write_text(f'#!/bin/sh\ncase "$*" in *RENAME*) echo connection lost; exit 2 ;; esac\nexec {BIN}/psql "$@"\n')
    psql.chmod(0o755)
    await begin(world)
    closed = await world.closed()
    assert closed["outcome"] == "failed"
    assert closed["detail"].startswith("swap: exit 2")
    assert closed["detail"].endswith("undo: stop what writes: done; undo: a new database: done")
    assert databases(database) == [DATABASE]
    assert users(database) == ["a", "written since"]
    assert fly.stopped(SERVICE) == set()
