"""Follows one incident until it ends: a live tree on a terminal, one line for each thing that happens elsewhere.

A daemon that restarts meanwhile is waited for: it goes on with the incident, and so does whoever watches.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Final

import click
import orjson
from rich.live import Live

from rollbackd.cli.client import Client
from rollbackd.cli.exits import Exit, UnreachableError
from rollbackd.cli.output import emit_json, on_terminal, terminal
from rollbackd.cli.tree import render
from rollbackd.clock import SystemClock
from rollbackd.model.incident import EXIT_CODES, Outcome, Phase
from rollbackd.telemetry.redaction import one_line
from rollbackd.web.shapes import IncidentRecord

EVERY: Final = timedelta(seconds=1)
PATIENCE: Final = timedelta(minutes=1)
"""How long a daemon that answered before may be away."""

Show = Callable[[IncidentRecord], None]


async def follow(client: Client, incident_id: str, *, as_json: bool, until_escalated: bool = False) -> int:
    """The exit code of the outcome. `until_escalated` ends when a person is needed, instead of waiting for that person."""
    if on_terminal() and not as_json:
        with Live(console=terminal(), refresh_per_second=4) as live:
            record = await _look_until_it_ends(client, incident_id, partial(_draw, live), until_escalated=until_escalated)
    else:
        record = await _look_until_it_ends(client, incident_id, _lines(as_json=as_json), until_escalated=until_escalated)
    if as_json:
        emit_json(record)
    return EXIT_CODES[Outcome(record["outcome"])] if record["outcome"] is not None else Exit.ESCALATED


async def newest_open(client: Client) -> str:
    """The newest incident that is open, or the next one that opens."""
    told = False
    while not (opened := (await client.status())["incidents_open"]):
        if not told:
            click.echo("no incident is open: waiting for one", err=True)
            told = True
        await SystemClock().sleep(EVERY)
    return max(opened, key=lambda one: one["opened_at"])["id"]


async def _look_until_it_ends(client: Client, incident_id: str, show: Show, *, until_escalated: bool) -> IncidentRecord:
    clock = SystemClock()
    record = await client.incident(incident_id)
    seen_at = clock.monotonic()
    while True:
        show(record)
        if record["phase"] == Phase.CLOSED or (until_escalated and record["phase"] == Phase.ESCALATED):
            return record
        await clock.sleep(EVERY)
        try:
            record = await client.incident(incident_id)
            seen_at = clock.monotonic()
        except UnreachableError:
            if clock.monotonic() - seen_at > PATIENCE.total_seconds():
                raise


def _draw(live: Live, record: IncidentRecord) -> None:
    live.update(render(record, SystemClock().now()))


def _lines(*, as_json: bool) -> Show:
    """Prints what has not been printed yet."""
    printed: set[tuple[str, object]] = set()

    def show(record: IncidentRecord) -> None:
        for key, at, text in sorted(_news(record), key=lambda one: one[1]):
            if key not in printed:
                printed.add(key)
                click.echo(orjson.dumps({"at": at, "kind": key[0], "text": text}).decode() if as_json else f"{at} {one_line(text)}")

    return show


def _news(record: IncidentRecord) -> Iterator[tuple[tuple[str, object], str, str]]:
    """Everything that happened so far: a key that tells it apart, when, and what."""
    for entry in record["timeline"]:
        yield (entry["kind"], entry["seq"]), entry["at"], entry["text"]
    for attempt in record["attempts"]:
        if attempt["started_at"] is not None:
            yield ("step", (attempt["id"], "started")), attempt["started_at"], f"step '{attempt['step']}' started"
        if attempt["ended_at"] is not None:
            ended = f"step '{attempt['step']}' {attempt['status'].replace('_', ' ')}" + (
                f": {attempt['detail']}" if attempt["detail"] else ""
            )
            yield ("step", (attempt["id"], "ended")), attempt["ended_at"], ended
    for look in record["looks"]:
        measured = ", ".join(
            f"{one['name']} {'—' if one['value'] is None else format(one['value'], '.4g')} {one['verdict']} ({one['limit']})"
            for one in look["objectives"] + look["triggers"]
        )
        yield ("look", look["at"]), look["at"], measured
