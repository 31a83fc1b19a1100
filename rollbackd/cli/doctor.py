"""`rollbackd doctor`: would a rollback work, of each service, now?"""

from collections.abc import Iterator

import click

from rollbackd.cli.client import Client, ask
from rollbackd.cli.exits import Exit
from rollbackd.cli.options import json_option, url_option
from rollbackd.cli.output import emit_json, emit_rows
from rollbackd.model.readiness import ReadinessVerdict
from rollbackd.web.shapes import DiagnosisShape

_Row = tuple[str, str, str, str]
_OK = ReadinessVerdict.READY
_BAD = ReadinessVerdict.NOT_READY


@click.command()
@url_option
@json_option
def doctor(url: str, *, as_json: bool) -> int:
    """Would a rollback work now? Every service with every check, then the daemon itself.

    The daemon looks again, as far as it has not a moment ago; a service that has an incident is left alone.

    Exit code 0: all is ready, or has no runbook and is only observed. Else 2, as with 'rollbackd check --live', which makes the same
    checks: what they find is mended in the config, or in what the config names. (3 would say that something was asked for and refused.)
    """

    async def look(client: Client) -> DiagnosisShape:
        return await client.doctor()

    found = ask(url, look)
    rows = [*_services(found), *_daemon(found)]
    if as_json:
        emit_json(found)
    else:
        emit_rows(("service", "check", "verdict", "detail"), rows, empty="")
    return Exit.USAGE if any(ReadinessVerdict(verdict).is_problem for _, _, verdict, _ in rows) else Exit.FINE


def _services(found: DiagnosisShape) -> Iterator[_Row]:
    for service in found["services"]:
        yield from ((service["service"], check["name"], check["verdict"], check["detail"]) for check in service["checks"])


def _daemon(found: DiagnosisShape) -> Iterator[_Row]:
    config, store = found["config"], found["store"]["problem"]
    yield _row("daemon", found["why_not"] if not found["ready"] else "", f"{found['version']}, since {found['started_at']}")
    yield _row("store", store, "writes")
    changed = f"; changed since and not read yet: {', '.join(config['changed'])}" if config["changed"] else ""
    yield _row("config", "", f"{config['file']}, read at {config['read_at']}{changed}")
    for server in found["prometheus"]:
        offset = "did not say what time it is" if server["clock_offset"] is None else f"clock off by {server['clock_offset']:+.1f} s"
        yield _row(f"prometheus {server['name']}", server["problem"], f"answers, {offset}")


def _row(check: str, problem: str, fine: str) -> _Row:
    return ("(rollbackd)", check, _BAD if problem else _OK, problem or fine)
