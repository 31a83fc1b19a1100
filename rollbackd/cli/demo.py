"""`rollbackd demo`: the whole way of an alert, on real servers, before your eyes."""

import asyncio
import re
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from rollbackd.cli.client import Client
from rollbackd.cli.exits import Exit
from rollbackd.cli.follow import follow
from rollbackd.cli.options import json_option
from rollbackd.cli.output import emit_json
from rollbackd.clock import Clock, SystemClock, rfc3339
from rollbackd.demo.stage import SCRIPTS, SERVICE, Scenario, Script, Stage, set_up
from rollbackd.web.shapes import IncidentRecord

_DAY: Final = timedelta(days=1)
_DURATION: Final = re.compile(r"\b\d+[smh]\b")
_ALERT_WITHIN: Final = timedelta(seconds=40)


@click.command()
@click.option("--scenario", type=click.Choice([one.value for one in Scenario]), default=Scenario.RECOVERS.value, show_default=True)
@click.option("--keep", is_flag=True, help="Leave everything running, with the console's address, until Ctrl-C.")
@json_option
def demo(scenario: str, *, keep: bool, as_json: bool) -> int:
    """A real service is really deployed, breaks, and is really rolled back; exits with 0 when it ended as the scenario expects.

    Real Prometheus and Alertmanager, from PATH or unpacked from Debian's packages into a cache, on free loopback ports.
    """
    directory = Path(tempfile.mkdtemp(prefix="rollbackd-demo-"))
    try:
        return asyncio.run(_run(Scenario(scenario), directory, keep=keep, as_json=as_json))
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


async def _run(scenario: Scenario, directory: Path, *, keep: bool, as_json: bool) -> int:
    script = SCRIPTS[scenario]
    clock = SystemClock()
    say = _say
    say(f"scenario {scenario}: {script.story}")
    async with set_up(directory, script, say) as stage, Client(stage.url, stage.token) as client:
        say(f"service {stage.host.url} · Prometheus {stage.prometheus.url} · Alertmanager {stage.alertmanager.url} · rollbackd {stage.url}")
        say(f"the shipped rules and route as they are, but for {_quicker(stage)}, addresses and the token file")
        say("its own config has the shipped indicators, triggers and objectives, with windows of 5s, settling 1s and a watch of 40s")
        await _record(client, clock, "v0", ago=9 * _DAY)
        await _record(client, clock, "v1", ago=2 * _DAY)
        await stage.healthy()
        await _break(scenario, stage, client, clock)
        broken_at = clock.monotonic()
        async with asyncio.timeout(_ALERT_WITHIN.total_seconds()):
            incident_id = await _first_incident(client)
        await follow(client, incident_id, as_json=as_json, until_escalated=script.outcome is None)
        record = await client.incident(incident_id)
        serving = await stage.serving()
        wrong = _differences(script, record, serving)
        if as_json:
            emit_json({"scenario": scenario, "as_expected": not wrong, "differences": wrong, "serving": serving, "incident": record})
        say(f"{SERVICE} serves {serving}; {clock.monotonic() - broken_at:.0f} s since it broke; visitors saw {_seen(stage)}")
        say("as expected" if not wrong else "NOT as expected: " + "; ".join(wrong))
        if keep:
            say(f"console {stage.url}/ · files {directory} · Ctrl-C ends it")
            say(f"try: ROLLBACKD_URL={stage.url} ROLLBACKD_TOKEN_FILE={directory}/operator.token rollbackd explain {incident_id}")
            await asyncio.Event().wait()
    return Exit.UNEXPECTED if wrong else Exit.FINE


async def _break(scenario: Scenario, stage: Stage, client: Client, clock: Clock) -> None:
    match scenario:
        case Scenario.INNOCENT:
            stage.host.outage = True
            _say("the outage begins; v1 runs, released two days ago")
        case Scenario.BLAME_OFF:
            await _record(client, clock, "v2", ago=_DAY)
            await stage.deploy("v2")
            _say("v2 runs; the register says since yesterday")
        case Scenario.RECOVERS | Scenario.FAILS | Scenario.PROMETHEUS_DOWN:
            await client.record_release({"service": SERVICE, "version": "v2", "status": "rolling"})
            await stage.deploy("v2")
            await client.record_release({"service": SERVICE, "version": "v2", "status": "live"})
            _say("v2 is deployed and recorded")
    if scenario is Scenario.FAILS:
        stage.host.refusal = "the registry does not answer"
    if scenario is Scenario.PROMETHEUS_DOWN:
        await stage.prometheus.stop()
        await stage.alert_by_hand("HighErrorRate")
        _say("Prometheus is stopped; the alert comes through Alertmanager")


async def _record(client: Client, clock: Clock, version: str, *, ago: timedelta) -> None:
    at = rfc3339(clock.now() - ago)
    await client.record_release({"service": SERVICE, "version": version, "started_at": at, "live_at": at})


async def _first_incident(client: Client) -> str:
    """The incident of this demo, also when it is closed before anybody has looked."""
    while True:
        page = await client.incidents({})
        if page["items"]:
            return page["items"][0]["id"]
        await asyncio.sleep(0.1)


def _differences(script: Script, record: IncidentRecord, serving: str) -> list[str]:
    """In what the end is not the one that the scenario asks for."""
    found = []
    if record["outcome"] != script.outcome:
        found.append(f"outcome {record['outcome']}, not {script.outcome or 'escalated to a person'}")
    if script.outcome is None and record["phase"] != "escalated":
        found.append(f"phase {record['phase']}, not escalated")
    if script.reason is not None and record["reason"] != script.reason:
        found.append(f"reason {record['reason']}, not {script.reason}")
    if serving != script.serves:
        found.append(f"{serving} serves, not {script.serves}")
    return found


def _quicker(stage: Stage) -> str:
    """Every duration that was shortened, once: `2m → 2s`."""
    shortened = {
        f"{before} → {after}"
        for change in stage.changes
        for before, after in zip(_DURATION.findall(change.before), _DURATION.findall(change.after), strict=True)
        if before != after
    }
    return ", ".join(sorted(shortened))


def _seen(stage: Stage) -> str:
    return ", ".join(f"{count} answered {status}" for status, count in sorted(stage.traffic.seen.items()))


def _say(text: str) -> None:
    click.echo(f"· {text}", err=True)
