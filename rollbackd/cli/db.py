"""`rollbackd db`: the store's file. `migrate` needs it for itself; `backup` and `check` only read, also beside a running daemon."""

import asyncio
from pathlib import Path

import click

from rollbackd.cli.exits import Exit
from rollbackd.cli.options import config_option, json_option
from rollbackd.cli.output import emit_json
from rollbackd.clock import SystemClock
from rollbackd.settings.load import load
from rollbackd.store import maintenance
from rollbackd.store.sqlite import path_of, translating
from rollbackd.store.store import Store
from rollbackd.telemetry.redaction import one_line


@click.group()
def db() -> None:
    """The store: migrate, back up, check."""


@db.command()
@config_option
@json_option
def migrate(config_path: Path, *, as_json: bool) -> int:
    """Bring the store to this version's schema, after a backup beside it. The daemon does the same when it starts."""
    url = load(config_path).settings.store_url

    async def bring_up_to_date() -> None:
        async with Store.opened(url, clock=SystemClock()):
            pass

    asyncio.run(bring_up_to_date())
    _say({"store": str(path_of(url))}, f"{path_of(url)} is up to date", as_json=as_json)
    return Exit.FINE


@db.command()
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@config_option
@json_option
def backup(target: Path, config_path: Path, *, as_json: bool) -> int:
    """Write a whole and consistent copy to TARGET, while everything goes on."""
    path = path_of(load(config_path).settings.store_url)
    with translating(path):
        asyncio.run(maintenance.backup(path, target))
    _say({"store": str(path), "backup": str(target)}, f"{target} is a copy of {path}", as_json=as_json)
    return Exit.FINE


@db.command()
@config_option
@json_option
def check(config_path: Path, *, as_json: bool) -> int:
    """Read the whole store and say what is wrong with it."""
    path = path_of(load(config_path).settings.store_url)
    with translating(path):
        damage = asyncio.run(maintenance.check(path))
    _say({"store": str(path), "damage": list(damage)}, *(damage or (f"{path} is whole",)), as_json=as_json)
    return Exit.UNEXPECTED if damage else Exit.FINE


def _say(data: dict[str, object], *lines: str, as_json: bool) -> None:
    if as_json:
        emit_json(data)
    else:
        for line in lines:
            click.echo(one_line(line))
