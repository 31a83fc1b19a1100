"""`rollbackd version`."""

import platform

import click

from rollbackd import __version__
from rollbackd.cli.exits import Exit
from rollbackd.cli.options import json_option
from rollbackd.cli.output import emit_json


@click.command()
@json_option
def version(*, as_json: bool) -> int:
    """The version of rollbackd."""
    if as_json:
        emit_json({"version": __version__, "python": platform.python_version()})
    else:
        click.echo(__version__)
    return Exit.FINE
