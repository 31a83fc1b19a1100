"""`rollbackd serve`."""

from pathlib import Path

import click

from rollbackd.cli.options import config_option
from rollbackd.serve import run


@click.command()
@config_option
def serve(config_path: Path) -> int:
    """Run the daemon until it is told to stop. It brings its store up to date by itself, after a backup; it logs on stderr."""
    return run(config_path)
