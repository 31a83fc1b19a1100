"""Commands that look: status, list, show, explain, logs, report, and where an alert would go."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import click
from rich.text import Text

from rollbackd.cli.client import Client, ask
from rollbackd.cli.exits import Exit
from rollbackd.cli.options import json_option, url_option
from rollbackd.cli.output import STYLES, emit_json, emit_rows, emit_text, on_terminal, table, terminal, words
from rollbackd.cli.tree import render
from rollbackd.clock import SystemClock
from rollbackd.decision.record import span
from rollbackd.model.incident import Outcome, Phase
from rollbackd.model.readiness import ReadinessVerdict
from rollbackd.telemetry.redaction import one_line
from rollbackd.web.shapes import (
    CheckShape,
    ConfigShape,
    IncidentPage,
    IncidentRecord,
    ReadinessSummary,
    RouteShape,
    ServicePage,
    StatusShape,
)

FACTS: Final = (
    "id",
    "service",
    "alertname",
    "phase",
    "outcome",
    "decision",
    "reason",
    "blame",
    "suspect",
    "target",
    "plan",
    "opened_at",
    "decided_at",
    "rollback_started_at",
    "rollback_ended_at",
    "closed_at",
    "requested_by",
    "request_reason",
    "acknowledged_by",
)
"""What `show` prints of an incident where there is no terminal to draw a tree on."""


@click.command()
@url_option
@json_option
def status(url: str, *, as_json: bool) -> int:
    """How the daemon and its services stand."""

    async def look(client: Client) -> tuple[StatusShape, ServicePage]:
        return await client.status(), await client.services()

    daemon, services = ask(url, look)
    if as_json:
        emit_json({"daemon": daemon, "services": services["items"]})
        return Exit.FINE
    ready = "ready" if daemon["ready"] else f"not ready: {daemon['why_not']}"
    click.echo(one_line(f"rollbackd {daemon['version']} is {ready}, since {daemon['started_at']}"))
    for line in _config(daemon["config"]):
        click.echo(one_line(line))
    if ahead := daemon["clock_ahead_seconds"]:
        side = "ahead of" if ahead > 0 else "behind"
        click.echo(f"the clock of its machine was set: it is {span(timedelta(seconds=abs(ahead)))} {side} rollbackd's own time")
    for pause in daemon["pauses"]:
        click.echo(one_line(f"paused: {pause['scope']} until {pause['until'] or 'it is resumed'}: {pause['why']}"))
    for channel in daemon["notify"]:
        if channel["waiting"]:
            waits = f"{channel['waiting']} messages wait, the oldest since {channel['oldest']}"
            click.echo(one_line(f"channel {channel['channel']}: {waits}: {channel['error'] or 'being delivered'}"))
    for one in services["items"]:
        if warning := _not_ready(one["readiness"]):
            click.echo(one_line(warning))
    emit_rows(
        ("service", "mode", "live", "runbook", "incident"),
        (
            (one["name"], "paused" if one["pause"]["paused"] else one["mode"], one["live"], one["runbook"], one["incident"])
            for one in services["items"]
        ),
        empty="no services: add one to the config",
    )
    return Exit.FINE


@click.command("list")
@click.option("--service", help="Only of this service.")
@click.option("--phase", type=click.Choice([phase.value for phase in Phase]), help="Only in this phase.")
@click.option("--outcome", type=click.Choice([outcome.value for outcome in Outcome]), help="Only with this outcome.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="At most so many.")
@url_option
@json_option
def list_incidents(service: str | None, phase: str | None, outcome: str | None, limit: int, url: str, *, as_json: bool) -> int:
    """The incidents, newest first."""
    asked = {"service": service, "phase": phase, "outcome": outcome, "limit": str(limit)}
    query = {name: str(value) for name, value in asked.items() if value is not None}

    async def look(client: Client) -> IncidentPage:
        return await client.incidents(query)

    page = ask(url, look)
    if as_json:
        emit_json(page)
        return Exit.FINE
    emit_rows(
        ("incident", "service", "state", "reason", "suspect", "target"),
        (
            (one["id"], one["service"], one["outcome"] or one["phase"], one["reason"], one["suspect"], one["target"])
            for one in page["items"]
        ),
        empty="no incidents",
    )
    return Exit.FINE


@click.command()
@click.argument("incident_id", metavar="ID")
@url_option
@json_option
def show(incident_id: str, url: str, *, as_json: bool) -> int:
    """One incident with its steps and its watch."""
    record = _record(url, incident_id)
    if as_json:
        emit_json(record)
    elif on_terminal():
        terminal().print(render(record, SystemClock().now()))
    else:
        click.echo(one_line(record["why"]))
        for name, value in record.items():
            if name in FACTS and value is not None:
                click.echo(f"{name}\t{one_line(str(value))}")
    return Exit.FINE


@click.command()
@click.argument("incident_id", metavar="ID")
@url_option
@json_option
def explain(incident_id: str, url: str, *, as_json: bool) -> int:
    """Why it was decided so: every check of the decision, in its order."""
    record = _record(url, incident_id)
    if as_json:
        emit_json({name: record[name] for name in ("id", "service", "decision", "reason", "why", "deciding", "nearest", "checks")})
        return Exit.FINE
    click.echo(one_line(record["why"]))
    if record["nearest"]:
        click.echo(one_line(f"Would have rolled back with {record['nearest']}."))
    if not record["checks"]:
        click.echo("nothing was decided by evidence: there are no checks")
    elif on_terminal():
        _explain_on_terminal(record)
    else:
        for check in record["checks"]:
            mark = "*" if check["name"] == record["deciding"] else ""
            cells = (mark, check["name"], check["verdict"], check["reason"], check["value"], check["limit"], check["query"])
            click.echo("\t".join(one_line(cell or "") for cell in cells))
    return Exit.FINE


@click.command()
@click.argument("incident_id", metavar="ID")
@url_option
@json_option
def logs(incident_id: str, url: str, *, as_json: bool) -> int:
    """What the steps of an incident printed: head and tail, secrets taken out."""
    record = _record(url, incident_id)
    if as_json:
        emit_json(record["attempts"])
        return Exit.FINE
    for attempt in record["attempts"]:
        tried = f" (try {attempt['number']})" if attempt["number"] > 1 else ""
        ended = (
            f", exit {attempt['exit_code']}" if attempt["exit_code"] is not None else f", {attempt['signal']}" if attempt["signal"] else ""
        )
        click.echo(one_line(f"== {attempt['step']}{tried}: {words(attempt['status'])}{ended}"))
        if attempt["output"]:
            emit_text(attempt["output"])
    if not record["attempts"]:
        click.echo("no step was started", err=True)
    return Exit.FINE


@click.command()
@click.argument("incident_id", metavar="ID")
@click.option("--format", "form", type=click.Choice(["md", "json"]), default="md", show_default=True)
@url_option
@json_option
def report(incident_id: str, form: str, url: str, *, as_json: bool) -> int:
    """The report of an incident."""

    async def look(client: Client) -> str:
        return await client.report(incident_id, "json" if as_json else form)

    emit_text(ask(url, look))
    return Exit.FINE


@click.group()
def routes() -> None:
    """Which service and trigger an alert hits, and why."""


@routes.command("test")
@click.argument("labels", nargs=-1, required=True, metavar="LABEL=VALUE…")
@url_option
@json_option
def test_route(labels: tuple[str, ...], url: str, *, as_json: bool) -> int:
    """Which service and trigger an alert with these labels hits, and why."""
    pairs = dict(_label(text) for text in labels)

    async def look(client: Client) -> RouteShape:
        return await client.routes(pairs)

    route = ask(url, look)
    if as_json:
        emit_json(route)
    else:
        emit_rows(("service", "trigger", "why"), [(route["service"], route["trigger"], route["why"])], empty="")
    return Exit.FINE if route["service"] is not None else Exit.REFUSED


def _config(config: ConfigShape) -> Iterator[str]:
    yield f"config: {config['file']}, in use since {config['in_use_since']}"
    if config["refused_at"] is not None:
        first, *more = config["problems"]
        also = f" (and {len(more)} more: 'rollbackd check')" if more else ""
        yield f"the last reload failed, at {config['refused_at']}: {first}{also}"
    for name in config["gone"]:
        yield f"{name} is not in the config any more: its incident goes on with the config that it began with, its alerts match nothing"


def _not_ready(found: ReadinessSummary) -> str:
    """Why a rollback would not work, and what to do; empty when it would."""
    if not found["problems"]:
        return ""
    first, *more = found["problems"]
    also = f" (and {len(more)} more: 'rollbackd doctor')" if more else ""
    verdict = "not ready" if found["verdict"] == ReadinessVerdict.NOT_READY else "not known to be ready"
    return f"{verdict}: {found['service']}: {first}{also}"


def _label(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.UsageError(f"{text!r} is not a label: write NAME=VALUE, such as alertname=HighErrorRate")
    return name, value


def _record(url: str, incident_id: str) -> IncidentRecord:
    async def look(client: Client) -> IncidentRecord:
        return await client.incident(incident_id)

    return ask(url, look)


def _explain_on_terminal(record: IncidentRecord) -> None:
    """The table, then the queries: they are long, and a person copies them."""
    console = terminal()
    made = table(("", "check", "verdict", "value", "limit"), [], foldable=2)
    for check in record["checks"]:
        decided = check["name"] == record["deciding"]
        made.add_row(*_cells(check, decided=decided), style="bold" if decided else "")
    console.print()
    console.print(made)
    for check in record["checks"]:
        if check["query"] is not None:
            console.print(Text.assemble("\n", (one_line(check["name"]), "bold"), "\n", one_line(check["query"])))


def _cells(check: CheckShape, *, decided: bool) -> tuple[Text, ...]:
    style = STYLES.get(check["verdict"], "")
    return (
        Text("▶" if decided else "", style),
        Text(one_line(check["name"]).replace("_", " ")),
        Text(check["verdict"].replace("_", " "), style),
        Text(one_line(check["value"] or check["reason"].replace("_", " "))),
        Text(one_line(check["limit"] or "")),
    )
