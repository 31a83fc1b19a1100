"""The demo's deploy tool, as a runbook step runs one: `deploy VERSION`, and `deploy --status` for the version that really serves.

It asks the host, which starts the service; so what it deploys is not its child. Only the standard library, and little of that: it runs
as `python -I -S deploy.py --host SOCKET …`. Exit status 0 when the version serves; else 1, with the reason on stderr.
"""

import argparse
import json
import socket
import sys
from typing import Final

_TIMEOUT_SECONDS: Final = 30.0


class DeployError(Exception):
    pass


def ask(host: str, request: dict[str, str]) -> str:
    """The service's URL, once the host has done what `request` says."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT_SECONDS)
        connection.connect(host)
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(connection.makefile().readline() or '{"error": "the host hung up"}')
    if "error" in answer:
        raise DeployError(answer["error"])
    return str(answer["url"])


def serving(url: str) -> str:
    """The version that answers at the service's own address."""
    name, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((name, int(port)), timeout=_TIMEOUT_SECONDS) as connection:
        connection.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        _, _, body = connection.makefile().read().partition("\n\n")
    return str(json.loads(body)["version"])


def deploy(host: str, version: str) -> str:
    """Returns what to say, once `version` is what answers."""
    now_serving = serving(ask(host, {"deploy": version}))
    if now_serving != version:
        raise DeployError(f"{version} was started, but {now_serving} answers")
    return f"{version} serves"


def main() -> None:
    parser = argparse.ArgumentParser(prog="deploy", description="deploys a version of the demo's sample service")
    parser.add_argument("--host", required=True, help="the host's socket")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--status", action="store_true", help="print what serves, as JSON")
    what.add_argument("version", nargs="?")
    options = parser.parse_args()
    try:
        said = json.dumps({"version": serving(ask(options.host, {}))}) if options.status else deploy(options.host, options.version)
    except (DeployError, OSError, ValueError) as error:
        sys.exit(f"deploy: {error}")
    print(said)  # noqa: T201 - it is a command


if __name__ == "__main__":
    main()
