"""`rollbackd notify`: can people be reached?"""

import click

from rollbackd.cli.client import Client, ask
from rollbackd.cli.exits import Exit
from rollbackd.cli.options import json_option, url_option
from rollbackd.cli.output import emit_json
from rollbackd.telemetry.redaction import one_line
from rollbackd.web.shapes import TestedPage


@click.group()
def notify() -> None:
    """The channels that people are told by."""


@notify.command()
@click.argument("channel", required=False)
@url_option
@json_option
def test(channel: str | None, url: str, *, as_json: bool) -> int:
    """Send a test message now, to CHANNEL or to all; exits with 1 when one does not take it."""

    async def send(client: Client) -> TestedPage:
        return await client.notify_test({"channel": channel})

    tested = ask(url, send)["items"]
    if as_json:
        emit_json(tested)
    elif not tested:
        click.echo("no channels: add one to the config under 'notify'")
    else:
        for one in tested:
            click.echo(one_line(f"{one['channel']}: " + ("delivered" if one["delivered"] else f"not delivered: {one['error']}")))
    return Exit.FINE if all(one["delivered"] for one in tested) else Exit.FAILED
