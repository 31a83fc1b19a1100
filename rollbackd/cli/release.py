"""`rollbackd release`: the register, one call for CI."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from rollbackd.cli.client import Body, Client, ask
from rollbackd.cli.exits import Exit
from rollbackd.cli.options import at_option, instant, json_option, reason_option, url_option
from rollbackd.cli.output import emit_json, emit_rows, to_the_second
from rollbackd.telemetry.redaction import one_line
from rollbackd.web.shapes import ReleasePage, ReleaseShape

F = TypeVar("F", bound=Callable[..., Any])


def _described(command: F) -> F:
    """The options that say what is released."""
    for option in (
        click.option("--schema-compatible", is_flag=True, help="The release before runs with this schema, too."),
        click.option("--schema", metavar="R", help="The revision of the database's schema."),
        click.option("--irreversible", is_flag=True, help="Never roll back past this release by itself."),
        click.option("--group", metavar="G", help="What is released together."),
        click.option("--artifact", metavar="A", help="What a runbook deploys, such as an image; the version without it."),
    ):
        command = option(command)
    return command


@click.group()
def release() -> None:
    """Record, list and mark releases."""


@release.command()
@click.argument("service")
@click.argument("version")
@_described
@at_option
@url_option
@json_option
def start(service: str, version: str, at: str | None, url: str, *, as_json: bool, **described: object) -> int:
    """A release begins to reach production."""
    return _record(
        url, {"service": service, "version": version, "status": "rolling", "started_at": instant(at), **_given(described)}, as_json=as_json
    )


@release.command()
@click.argument("service")
@click.argument("version")
@at_option
@url_option
@json_option
def finish(service: str, version: str, at: str | None, url: str, *, as_json: bool) -> int:
    """The release that was started is everywhere."""
    return _record(url, {"service": service, "version": version, "status": "live", "live_at": instant(at)}, as_json=as_json)


@release.command()
@click.argument("service")
@click.argument("version")
@url_option
@json_option
def fail(service: str, version: str, url: str, *, as_json: bool) -> int:
    """The release that was started did not get everywhere."""
    return _record(url, {"service": service, "version": version, "status": "failed"}, as_json=as_json)


@release.command()
@click.argument("service")
@click.argument("version")
@_described
@at_option
@url_option
@json_option
def record(service: str, version: str, at: str | None, url: str, *, as_json: bool, **described: object) -> int:
    """A release that is everywhere already: start and finish in one call."""
    return _record(
        url, {"service": service, "version": version, "status": "live", "deployed_at": instant(at), **_given(described)}, as_json=as_json
    )


@release.command("list")
@click.argument("service")
@url_option
@json_option
def list_releases(service: str, url: str, *, as_json: bool) -> int:
    """The recorded releases of a service, newest first."""

    async def look(client: Client) -> ReleasePage:
        return await client.releases(service)

    page = ask(url, look)
    if as_json:
        emit_json(page)
        return Exit.FINE
    emit_rows(
        ("version", "status", "mark", "kind", "started", "artifact"),
        (
            (
                one["version"],
                one["status"],
                "" if one["mark"] == "none" else one["mark"],
                one["kind"],
                to_the_second(one["started_at"]),
                one["artifact"],
            )
            for one in page["items"]
        ),
        empty="no releases: record one with 'rollbackd release record'",
    )
    return Exit.FINE


@release.command("mark-bad")
@click.argument("service")
@click.argument("version")
@reason_option
@url_option
@json_option
def mark_bad(service: str, version: str, reason: str, url: str, *, as_json: bool) -> int:
    """Never roll back to this release."""
    return _mark(url, service, version, {"mark": "bad", "reason": reason}, as_json=as_json)


@release.command("mark-good")
@click.argument("service")
@click.argument("version")
@reason_option
@url_option
@json_option
def mark_good(service: str, version: str, reason: str, url: str, *, as_json: bool) -> int:
    """Take back that a release is bad or suspect."""
    return _mark(url, service, version, {"mark": "good", "reason": reason}, as_json=as_json)


def _record(url: str, body: Body, *, as_json: bool) -> int:
    async def write(client: Client) -> ReleaseShape:
        return await client.record_release({name: value for name, value in body.items() if value is not None})

    return _said(ask(url, write), as_json=as_json)


def _mark(url: str, service: str, version: str, body: Body, *, as_json: bool) -> int:
    async def write(client: Client) -> ReleaseShape:
        return await client.mark(service, version, body)

    return _said(ask(url, write), as_json=as_json)


def _said(one: ReleaseShape, *, as_json: bool) -> int:
    if as_json:
        emit_json(one)
    else:
        marked = f", marked {one['mark']}" if one["mark"] != "none" else ""
        click.echo(one_line(f"{one['service']} {one['version']} is {one['status']}{marked}, started {one['started_at']}"))
    return Exit.FINE


def _given(described: dict[str, object]) -> Body:
    """Only what was said: a default is the daemon's to fill in."""
    return {name: value for name, value in described.items() if value not in {None, False}}
