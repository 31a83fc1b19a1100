"""`rollbackd watch`."""

from datetime import timedelta

import click

from rollbackd.cli.client import Client, ask
from rollbackd.cli.follow import follow, newest_open
from rollbackd.cli.options import json_option, timeout_option, url_option


@click.command()
@click.argument("incident_id", metavar="[ID]", required=False)
@timeout_option
@url_option
@json_option
def watch(incident_id: str | None, timeout: timedelta | None, url: str, *, as_json: bool) -> int:
    """Follow an incident live until it ends, and exit with the code of its outcome.

    Without ID: the newest open incident, or the next one that opens.
    """

    async def conversation(client: Client) -> int:
        followed = incident_id or await newest_open(client)
        return await follow(client, followed, as_json=as_json)

    return ask(url, conversation, within=timeout)
