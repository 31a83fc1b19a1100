"""`rollbackd audit`: who did or tried what."""

import click

from rollbackd.cli.client import Client, ask
from rollbackd.cli.exits import Exit
from rollbackd.cli.options import json_option, url_option
from rollbackd.cli.output import emit_json, emit_rows, to_the_second
from rollbackd.web.shapes import AuditPage


@click.command()
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="At most so many.")
@url_option
@json_option
def audit(limit: int, url: str, *, as_json: bool) -> int:
    """Who did or tried what, from where and why, newest first. Nothing in it is ever changed or deleted."""

    async def look(client: Client) -> AuditPage:
        return await client.audit(limit)

    page = ask(url, look)
    if as_json:
        emit_json(page)
        return Exit.FINE
    emit_rows(
        ("at", "who", "from", "what", "to", "result", "why"),
        (
            (to_the_second(one["at"]), one["person"], one["remote"], one["action"], one["subject"], one["result"], one["reason"])
            for one in page["items"]
        ),
        empty="nobody has decided anything yet",
    )
    return Exit.FINE
