"""The options that many commands share."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from rollbackd.settings.durations import parse_duration

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_URL: Final = "http://127.0.0.1:9096"
DEFAULT_CONFIG: Final = Path("/etc/rollbackd/rollbackd.yaml")


class Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def url_option(command: F) -> F:
    return click.option(
        "--url", envvar="ROLLBACKD_URL", default=DEFAULT_URL, show_default=True, show_envvar=True, help="Where the daemon listens."
    )(command)


def config_option(command: F) -> F:
    return click.option(
        "--config",
        "config_path",
        envvar="ROLLBACKD_CONFIG",
        type=click.Path(path_type=Path),
        default=DEFAULT_CONFIG,
        show_default=True,
        show_envvar=True,
        help="The config file.",
    )(command)


def reason_option(command: F) -> F:
    return click.option("--reason", required=True, help="Why: it goes into the record and the report.")(command)


def at_option(command: F) -> F:
    return click.option("--at", metavar="T", help="When: epoch seconds or RFC 3339; now without it.")(command)


def instant(text: str | None) -> str | float | None:
    """What `--at` says, for a body: epoch seconds as a number, anything else as it is. The daemon says what is wrong with it."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def timeout_option(command: F) -> F:
    return click.option("--timeout", type=Duration(), help="Wait at most so long, such as 20m; then exit with 6.")(command)
