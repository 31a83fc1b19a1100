"""`rollbackd plan` and `rollbackd rollback`: what would run, exactly, and running it by hand."""

import sys
from datetime import timedelta

import click

from rollbackd.cli.client import Client, ask
from rollbackd.cli.exits import Exit
from rollbackd.cli.follow import follow
from rollbackd.cli.options import json_option, reason_option, timeout_option, url_option
from rollbackd.cli.output import emit_json
from rollbackd.telemetry.redaction import one_line
from rollbackd.web.shapes import PlanShape

REASON_CODES = ("critical-function", "performance", "data-safety", "complaints")


@click.command()
@click.argument("service")
@click.option("--to", metavar="VERSION", help="Another target than the one that would be chosen.")
@url_option
@json_option
def plan(service: str, to: str | None, url: str, *, as_json: bool) -> int:
    """What a rollback would run now, exactly."""
    made = _plan(url, service, to)
    if as_json:
        emit_json(made)
    else:
        click.echo(_text(made))
    return Exit.FINE


@click.command()
@click.argument("service")
@click.option("--to", metavar="VERSION", help="Another target than the one that would be chosen.")
@reason_option
@click.option("--reason-code", type=click.Choice(REASON_CODES), help="Which of the runbook's triggers it is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the outcome.")
@click.option("--while-paused", is_flag=True, help="Also while the service is paused.")
@timeout_option
@url_option
@json_option
def rollback(
    service: str,
    url: str,
    *,
    to: str | None,
    reason: str,
    reason_code: str | None,
    timeout: timedelta | None,
    yes: bool,
    no_wait: bool,
    while_paused: bool,
    as_json: bool,
) -> int:
    """Roll a service back by hand: show the plan, ask, run it and wait for the outcome."""
    if not yes and not asks_on_terminal():
        raise click.UsageError("there is no terminal to ask on: look at 'rollbackd plan', then add --yes")
    made = _plan(url, service, to)
    if not yes:
        click.echo(_text(made), err=True)
        click.confirm("Roll back?", abort=True, err=True)
    body = {
        "to": made["target"]["version"],
        "plan": made["digest"],
        "reason": reason,
        "reason_code": reason_code,
        "while_paused": while_paused,
    }

    async def conversation(client: Client) -> int:
        begun = await client.rollback(service, body)
        if not no_wait:
            return await follow(client, begun["id"], as_json=as_json, until_escalated=True)
        if as_json:
            emit_json(begun)
        else:
            click.echo(one_line(begun["id"]))
        return Exit.FINE

    return ask(url, conversation, within=timeout)


def asks_on_terminal() -> bool:
    return sys.stdin.isatty()


def _plan(url: str, service: str, to: str | None) -> PlanShape:
    async def look(client: Client) -> PlanShape:
        return await client.plan(service, to)

    return ask(url, look)


def _text(made: PlanShape) -> str:
    current, target = made["current"], made["target"]
    lines = [
        one_line(f"{made['service']}: {current['version'] or 'what runs'} → {target['version']} ({target['artifact']})"),
        one_line(f"runbook {made['runbook']}, plan {made['digest']}"),
    ]
    for number, step in enumerate(made["steps"], 1):
        lines.append(one_line(f"{number}. {step['name']} (at most {step['timeout']:g} s)"))
        lines.extend(f"   {one_line(line)}" for line in step["text"])
    return "\n".join(lines)
