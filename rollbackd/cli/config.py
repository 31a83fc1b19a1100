"""`rollbackd check` and `rollbackd config`: without a daemon; only `check --live` asks anything but files."""

import sys
from pathlib import Path

import click
import orjson
from ruamel.yaml import YAML

from rollbackd.cli.exits import Exit
from rollbackd.cli.options import config_option, json_option
from rollbackd.cli.output import emit_json
from rollbackd.cli.plain import plain
from rollbackd.errors import NotFoundError
from rollbackd.model.readiness import Readiness
from rollbackd.settings.load import Loaded, load
from rollbackd.settings.problems import InvalidConfigError, Level, Problem
from rollbackd.settings.schema import json_schema
from rollbackd.settings.suggest import unknown
from rollbackd.telemetry.redaction import one_line
from rollbackd.web.readiness import in_full


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--live", is_flag=True, help="Also ask the servers, and look for the commands, the credentials and a target.")
@json_option
def check(file: Path, *, live: bool, as_json: bool) -> int:
    """Check a config: every error at once as file:line:col: message, then the warnings.

    With --live also whether each service is ready for a rollback, as this user on this machine: its Prometheus answers, every query
    gives one fresh series, programs and credentials are there, and what its release source lists has a target. 'rollbackd doctor' asks
    the same of the daemon that runs. Exit code 2 also when a service is not ready.
    """
    problems: tuple[Problem, ...]
    services: tuple[Readiness, ...] = ()
    try:
        loaded = load(file)
    except InvalidConfigError as error:
        problems, fine = error.problems, False
    else:
        services, found = _look(loaded) if live else ((), ())
        problems = (*loaded.problems, *found)
        fine = all(problem.level is Level.WARNING for problem in problems)
    if as_json:
        ready = {"services": [in_full(one) for one in services]} if live else {}
        emit_json({"fine": fine, "problems": [plain(problem) for problem in problems], **ready})
    else:
        for problem in sorted(problems, key=lambda one: (one.level is Level.WARNING, one)):
            click.echo(one_line(_sentence(problem)))
        if fine:
            click.echo(one_line(f"{file} can be used{', and every service is ready' if live else ''}"), err=True)
    return Exit.FINE if fine else Exit.USAGE


@click.group()
def config() -> None:
    """The config's schema, and what holds after templates and defaults."""


@config.command()
@json_option
def schema(*, as_json: bool) -> int:
    """The JSON Schema of the config file, for editors."""
    click.echo(orjson.dumps(json_schema(), option=0 if as_json else orjson.OPT_INDENT_2).decode())
    return Exit.FINE


@config.command()
@click.argument("service", required=False)
@click.option("--effective", is_flag=True, help="Also what has its default.")
@config_option
@json_option
def show(service: str | None, config_path: Path, *, effective: bool, as_json: bool) -> int:
    """What holds for each service, or for one, once templates and overrides are resolved."""
    services = load(config_path).settings.services
    if service is not None and service not in services:
        raise NotFoundError(f"no service {service!r} in {config_path}: {unknown(service, services)}")
    shown = {name: plain(policy, effective=effective) for name, policy in services.items() if service in {None, name}}
    if as_json:
        emit_json(shown)
    else:
        YAML().dump({"services": shown}, sys.stdout)
    return Exit.FINE


def _look(loaded: Loaded) -> tuple[tuple[Readiness, ...], tuple[Problem, ...]]:
    from rollbackd.cli import live  # noqa: PLC0415 - half a daemon, which most checks do without

    found = live.look(loaded)
    return found.services, found.problems


def _sentence(problem: Problem) -> str:
    where = f"{problem.file}:{problem.line}:{problem.col}"
    return f"{where}: warning: {problem.message}" if problem.level is Level.WARNING else str(problem)
