"""`rollbackd init`: a config to begin with, for the platform that the service runs on."""

import os
import re
import secrets
from pathlib import Path
from typing import Final

import click

from rollbackd.cli.exits import Exit
from rollbackd.cli.options import json_option
from rollbackd.cli.output import emit_json
from rollbackd.errors import RefusedError

PLATFORMS: Final = ("compose", "fly", "helm", "kubernetes", "systemd")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TEMPLATES: Final = Path(__file__).parent / "platforms"
_TOKENS: Final = ("ingest.token", "oncall.token", "ci.token")
_MORE_SECRETS: Final = {"fly": ("fly.token",)}


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--platform", type=click.Choice(PLATFORMS), required=True, help="Where the service runs.")
@click.option("--service", required=True, help="Its name, as in the label `service` of its alerts, and as the platform calls it.")
@click.option("--prometheus", default="http://127.0.0.1:9090", show_default=True, help="The server that measures it.")
@click.option("--namespace", default="default", show_default=True, help="With kubernetes and helm.")
@json_option
def init(directory: Path, platform: str, service: str, prometheus: str, namespace: str, *, as_json: bool) -> int:
    """Write a config, a quick runbook and tokens for one service into DIRECTORY; nothing that is there is touched."""
    for option, name in (("--service", service), ("--namespace", namespace)):
        if not _NAME.fullmatch(name):
            raise click.BadParameter("a name begins with a letter or digit; then letters, digits and . _ -", param_hint=option)
    if not prometheus.startswith(("http://", "https://")) or not prometheus.isprintable() or '"' in prometheus:
        raise click.BadParameter("an address such as http://127.0.0.1:9090", param_hint="--prometheus")
    values = {"@SERVICE@": service, "@PLATFORM@": platform, "@PROMETHEUS@": prometheus, "@NAMESPACE@": namespace}
    texts = {
        "rollbackd.yaml": _read("common.yaml", values) + _read(f"{platform}.yaml", values),
        f"runbooks/{service}-quick.yaml": _read(f"{platform}-quick.yaml", values),
    }
    tokens = {name: secrets.token_hex(32) + "\n" for name in _TOKENS}
    missing = {name: f"put {name} here\n" for name in _MORE_SECRETS.get(platform, ())}
    there = [name for name in (*texts, *tokens, *missing) if (directory / name).exists()]
    if there:
        raise RefusedError(f"{directory / there[0]} is there already: name another directory, or move it away", reason="exists")
    (directory / "runbooks").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        _write(directory / name, text, mode=0o644)
    for name, text in {**tokens, **missing}.items():
        _write(directory / name, text, mode=0o600)
    if as_json:
        emit_json({"directory": str(directory), "files": [*texts, *tokens, *missing], "to_fill": list(missing)})
        return Exit.FINE
    click.echo(f"wrote {directory}: rollbackd.yaml, runbooks/{service}-quick.yaml and {', '.join((*tokens, *missing))}")
    for name in missing:
        click.echo(f"next: put the platform's token into {directory / name}; the first lines about {platform} in rollbackd.yaml say which")
    click.echo(f"next: rollbackd check {directory / 'rollbackd.yaml'} --live")
    click.echo("then: docs/operations.md, to run it; it only observes until you write another mode")
    return Exit.FINE


def _read(name: str, values: dict[str, str]) -> str:
    text = (_TEMPLATES / name).read_text(encoding="utf-8")
    for place, value in values.items():
        text = text.replace(place, value)
    return text


def _write(path: Path, text: str, *, mode: int) -> None:
    """Never over what somebody else has written meanwhile."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
