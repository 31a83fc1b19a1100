"""`rollbackd plan`, `rollback` and `run`: what would run, exactly, and running it by hand."""

import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta

import click

from rollbackd.cli.client import Client, ask
from rollbackd.cli.exits import Exit
from rollbackd.cli.follow import follow
from rollbackd.cli.options import json_option, reason_option, timeout_option, url_option
from rollbackd.cli.output import emit_json
from rollbackd.telemetry.redaction import one_line
from rollbackd.web.shapes import IncidentRecord, PlanShape

REASON_CODES = ("critical-function", "performance", "data-safety", "complaints")


@click.command()
@click.argument("service")
@click.option("--to", metavar="VERSION", help="Another target than the one that would be chosen.")
@click.option("--runbook", metavar="NAME", help="Another runbook than the quick one.")
@url_option
@json_option
def plan(service: str, to: str | None, runbook: str | None, url: str, *, as_json: bool) -> int:
    """What a rollback, or another runbook, would run now, exactly."""
    made = _plan(url, service, to, runbook)
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

    return _begin(url, lambda client: client.rollback(service, body), timeout, no_wait=no_wait, as_json=as_json)


@click.command()
@click.argument("runbook")
@click.option("--service", required=True, help="The service that it is run for.")
@click.option("--to", metavar="VERSION", help="The release to go back to, for a runbook that goes back to one.")
@reason_option
@click.option("--reason-code", type=click.Choice(REASON_CODES), help="Which of the runbook's triggers it is.")
@click.option("--confirm", metavar="NAME", help="What a data runbook destroys, typed: it is not asked for then.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the outcome.")
@click.option("--while-paused", is_flag=True, help="Also while the service is paused.")
@timeout_option
@url_option
@json_option
def run(
    runbook: str,
    service: str,
    url: str,
    *,
    to: str | None,
    reason: str,
    reason_code: str | None,
    confirm: str | None,
    timeout: timedelta | None,
    yes: bool,
    no_wait: bool,
    while_paused: bool,
    as_json: bool,
) -> int:
    """Run a runbook for a service by hand: show the plan and what it destroys, ask, run it and wait for the outcome."""
    may_ask = asks_on_terminal()
    if not yes and not may_ask and confirm is None:
        raise click.UsageError(f"there is no terminal to ask on: look at 'rollbackd plan {service} --runbook {runbook}', then add --yes")
    made = _plan(url, service, to, runbook)
    if made["confirm"] is not None and confirm is None and not may_ask:
        raise click.UsageError(f"{runbook} destroys data: --yes is not enough, add --confirm with the name of what that is")
    if confirm is None and (not yes or made["confirm"] is not None):
        click.echo(_text(made), err=True)
        confirm = _asked(made)
    body = {
        "runbook": runbook,
        "to": made["target"]["version"] or made["restores"],
        "plan": made["digest"],
        "reason": reason,
        "reason_code": reason_code,
        "confirm": confirm,
        "while_paused": while_paused,
    }
    return _begin(url, lambda client: client.run(service, body), timeout, no_wait=no_wait, as_json=as_json)


def _asked(made: PlanShape) -> str | None:
    """What the person has typed, where a runbook destroys; else that they agree."""
    if made["confirm"] is None:
        click.confirm(f"Run {one_line(made['runbook'])}?", abort=True, err=True)
        return None
    typed: str = click.prompt(f"Type {one_line(made['confirm'])} to have it destroyed", err=True)
    if typed != made["confirm"]:
        raise click.Abort
    return typed


def _begin(
    url: str, ask_for: Callable[[Client], Awaitable[IncidentRecord]], timeout: timedelta | None, *, no_wait: bool, as_json: bool
) -> int:
    async def conversation(client: Client) -> int:
        begun = await ask_for(client)
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


def _plan(url: str, service: str, to: str | None, runbook: str | None = None) -> PlanShape:
    async def look(client: Client) -> PlanShape:
        return await client.plan(service, to, runbook)

    return ask(url, look)


def _text(made: PlanShape) -> str:
    current, target = made["current"], made["target"]
    release = f"{current['version'] or 'what runs'} → {target['version']} ({target['artifact']})" if target["version"] else "no release"
    if made["restores"] is not None:
        release = f"restores what belongs to {made['restores']}, and leaves the release that runs"
    lines = [
        one_line(f"{made['service']}: {release}"),
        one_line(f"runbook {made['runbook']} ({made['kind']}), plan {made['digest']}"),
        *(one_line(f"DESTROYS {line}") for line in made["destroys"]),
    ]
    for number, step in enumerate(made["steps"], 1):
        lines.append(one_line(f"{number}. {step['name']} (at most {step['timeout']:g} s)"))
        lines.extend(f"   {one_line(line)}" for line in step["text"])
    return "\n".join(lines)
