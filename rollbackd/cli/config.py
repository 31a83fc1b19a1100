"""`rollbackd check` and `rollbackd config`: offline, they read files and nothing else."""

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
from rollbackd.settings.load import load
from rollbackd.settings.problems import InvalidConfigError, Level, Problem
from rollbackd.settings.schema import json_schema
from rollbackd.settings.suggest import unknown
from rollbackd.telemetry.redaction import one_line


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def check(file: Path, *, as_json: bool) -> int:
    """Check a config: every error at once as file:line:col: message, then the warnings."""
    problems: tuple[Problem, ...]
    try:
        problems = load(file).problems
        fine = True
    except InvalidConfigError as error:
        problems = error.problems
        fine = False
    if as_json:
        emit_json({"fine": fine, "problems": [plain(problem) for problem in problems]})
    else:
        for problem in sorted(problems, key=lambda one: (one.level is Level.WARNING, one)):
            click.echo(one_line(_sentence(problem)))
        if fine:
            click.echo(one_line(f"{file} can be used"), err=True)
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


def _sentence(problem: Problem) -> str:
    where = f"{problem.file}:{problem.line}:{problem.col}"
    return f"{where}: warning: {problem.message}" if problem.level is Level.WARNING else str(problem)
