"""Commands by which a person decides: approve, reject, abort, acknowledge, tick, pause, resume."""

from datetime import timedelta

import click

from rollbackd.cli.client import Body, Client, ask
from rollbackd.cli.exits import Exit
from rollbackd.cli.options import Duration, json_option, reason_option, url_option
from rollbackd.cli.output import emit_json
from rollbackd.settings.durations import format_duration
from rollbackd.telemetry.redaction import one_line
from rollbackd.web.shapes import IncidentRecord, PauseShape, ResumedShape


@click.command()
@click.argument("incident_id", metavar="ID")
@click.option("--plan", metavar="DIGEST", help="Refuse when the plan is not this one any more.")
@url_option
@json_option
def approve(incident_id: str, plan: str | None, url: str, *, as_json: bool) -> int:
    """Run the plan of a proposal or an escalation."""
    return _decide(url, incident_id, "approve", {"plan": plan}, as_json=as_json)


@click.command()
@click.argument("incident_id", metavar="ID")
@reason_option
@url_option
@json_option
def reject(incident_id: str, reason: str, url: str, *, as_json: bool) -> int:
    """Close a proposal without running anything."""
    return _decide(url, incident_id, "reject", {"reason": reason}, as_json=as_json)


@click.command()
@click.argument("incident_id", metavar="ID")
@reason_option
@url_option
@json_option
def abort(incident_id: str, reason: str, url: str, *, as_json: bool) -> int:
    """Stop an incident before its next step."""
    return _decide(url, incident_id, "abort", {"reason": reason}, as_json=as_json)


@click.command()
@click.argument("incident_id", metavar="ID")
@reason_option
@url_option
@json_option
def acknowledge(incident_id: str, reason: str, url: str, *, as_json: bool) -> int:
    """Take note of an incident, which lifts the cooldown that its rollback left."""
    return _decide(url, incident_id, "acknowledge", {"reason": reason}, as_json=as_json)


@click.command()
@click.argument("incident_id", metavar="ID")
@click.argument("step")
@url_option
@json_option
def tick(incident_id: str, step: str, url: str, *, as_json: bool) -> int:
    """Say that a manual step is done: STEP is its name, or its number."""
    return _decide(url, incident_id, "tick", {"step": step}, as_json=as_json)


@click.command()
@click.argument("service", required=False)
@click.option("--for", "duration", type=Duration(), required=True, help="How long, such as 30m or 2h.")
@reason_option
@url_option
@json_option
def pause(service: str | None, duration: timedelta, reason: str, url: str, *, as_json: bool) -> int:
    """Let nothing run, for one service or for all: a running runbook holds before its next step."""
    body: Body = {"service": service, "for": format_duration(duration), "reason": reason}

    async def decide(client: Client) -> PauseShape:
        return await client.pause(body)

    paused = ask(url, decide)
    if as_json:
        emit_json(paused)
    else:
        click.echo(one_line(f"paused: {paused['scope']} until {paused['until'] or 'it is resumed'}"))
    return Exit.FINE


@click.command()
@click.argument("service", required=False)
@url_option
@json_option
def resume(service: str | None, url: str, *, as_json: bool) -> int:
    """Lift the pause of one service, or the one of all."""

    async def decide(client: Client) -> ResumedShape:
        return await client.resume({"service": service})

    resumed = ask(url, decide)
    if as_json:
        emit_json(resumed)
    else:
        click.echo(one_line(f"resumed: {resumed['scope']}" if resumed["resumed"] else f"{resumed['scope']} was not paused"))
    return Exit.FINE


def _decide(url: str, incident_id: str, what: str, body: Body, *, as_json: bool) -> int:
    async def decide(client: Client) -> IncidentRecord:
        return await client.decide(incident_id, what, body)

    record = ask(url, decide)
    if as_json:
        emit_json(record)
    else:
        click.echo(one_line(record["why"]))
        if record["outcome"] is None:
            click.echo(f"follow it with 'rollbackd watch {one_line(record['id'])}'", err=True)
    return Exit.FINE
