"""`rollbackd change`: what else than a release was altered, so that no release is blamed for it."""

import click

from rollbackd.cli.client import Client, ask
from rollbackd.cli.exits import Exit
from rollbackd.cli.options import at_option, instant, json_option, url_option
from rollbackd.cli.output import emit_json, emit_rows, to_the_second
from rollbackd.model.change import ChangeKind
from rollbackd.telemetry.redaction import one_line
from rollbackd.web.shapes import ChangePage, ChangeShape


@click.group()
def change() -> None:
    """Record and list changes: what else than a release was altered."""


@change.command()
@click.argument("service")
@click.option("--kind", required=True, type=click.Choice([str(kind) for kind in ChangeKind]), help="What kind of thing was altered.")
@click.option("--what", required=True, metavar="TEXT", help="What was altered, in a sentence for whoever is on call.")
@at_option
@url_option
@json_option
def record(service: str, kind: str, what: str, at: str | None, url: str, *, as_json: bool) -> int:
    """A flag, a config or infrastructure was altered."""
    body = {"service": service, "kind": kind, "what": what, **({"at": instant(at)} if at is not None else {})}

    async def write(client: Client) -> ChangeShape:
        return await client.record_change(body)

    recorded = ask(url, write)
    if as_json:
        emit_json(recorded)
    else:
        click.echo(one_line(f"{recorded['service']} {recorded['kind']} changed at {recorded['at']}: {recorded['what']}"))
    return Exit.FINE


@change.command("list")
@click.argument("service")
@url_option
@json_option
def list_changes(service: str, url: str, *, as_json: bool) -> int:
    """The recorded changes of a service, newest first."""

    async def look(client: Client) -> ChangePage:
        return await client.changes(service)

    page = ask(url, look)
    if as_json:
        emit_json(page)
        return Exit.FINE
    emit_rows(
        ("at", "kind", "by", "what"),
        ((to_the_second(one["at"]), one["kind"], one["by"], one["what"]) for one in page["items"]),
        empty="no changes: record one with 'rollbackd change record'",
    )
    return Exit.FINE
