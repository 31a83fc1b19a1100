"""Follows one incident until it ends: a live tree on a terminal, one line for each thing that happens elsewhere.

A daemon that restarts meanwhile is waited for: it goes on with the incident, and so does whoever watches.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

import click
import orjson
from rich.live import Live

from rollbackd.cli.client import Client
from rollbackd.cli.exits import Exit
from rollbackd.cli.output import emit_json, on_terminal, terminal
from rollbackd.cli.tree import render
from rollbackd.clock import SystemClock
from rollbackd.errors import TemporaryError
from rollbackd.model.incident import EXIT_CODES, Outcome, Phase
from rollbackd.telemetry.redaction import harmless_data, one_line
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
        except TemporaryError:
            if clock.monotonic() - seen_at > PATIENCE.total_seconds():
                raise


def _draw(live: Live, record: IncidentRecord) -> None:
    live.update(render(record, SystemClock().now()))


def _lines(*, as_json: bool) -> Show:
    """Prints each entry of the timeline once: steps, looks and what people did are all told there."""
    printed = 0

    def show(record: IncidentRecord) -> None:
        nonlocal printed
        for entry in record["timeline"]:
            if entry["seq"] > printed:
                printed = entry["seq"]
                click.echo(orjson.dumps(harmless_data(entry)).decode() if as_json else f"{entry['at']} {one_line(entry['text'])}")

    return show
