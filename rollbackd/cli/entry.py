"""`rollbackd`: finds the command that was asked for, loads only that, and turns every error into one line and an exit code."""

import sys
from collections.abc import Mapping
from importlib import import_module
from io import TextIOWrapper
from types import MappingProxyType
from typing import Any, Final

import click

from rollbackd.cli.exits import Exit, exit_code
from rollbackd.errors import RollbackdError
from rollbackd.telemetry.redaction import one_line

COMMANDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({
    "serve": ("serve:serve", "Run the daemon."),
    "init": ("init:init", "Write a config, a quick runbook and tokens for one service."),
    "check": ("config:check", "Check a config: every error with its line, then the warnings."),
    "config": ("config:config", "The config's schema, and what holds after templates and defaults."),
    "routes": ("look:routes", "Which service and trigger an alert hits, and why."),
    "status": ("look:status", "How the daemon and its services stand."),
    "list": ("look:list_incidents", "The incidents, newest first."),
    "show": ("look:show", "One incident with its steps and its watch."),
    "explain": ("look:explain", "Why it was decided so: every check of the decision."),
    "watch": ("watch:watch", "Follow an incident live until it ends."),
    "logs": ("look:logs", "What the steps of an incident printed."),
    "report": ("look:report", "The report of an incident."),
    "approve": ("decide:approve", "Run the plan of a proposal or an escalation."),
    "reject": ("decide:reject", "Close a proposal without running anything."),
    "abort": ("decide:abort", "Stop an incident before its next step."),
    "acknowledge": ("decide:acknowledge", "Take note of an incident, which lifts its cooldown."),
    "pause": ("decide:pause", "Let nothing run, for one service or for all."),
    "resume": ("decide:resume", "Lift the pause of one service, or the one of all."),
    "plan": ("rollback:plan", "What a rollback, or another runbook, would run now, exactly."),
    "run": ("rollback:run", "Run a runbook for a service by hand."),
    "tick": ("decide:tick", "Say that a manual step is done."),
    "rollback": ("rollback:rollback", "Roll a service back by hand."),
    "release": ("release:release", "Record, list and mark releases."),
    "change": ("change:change", "Record and list changes: what else than a release was altered."),
    "audit": ("audit:audit", "Who did or tried what, from where and why."),
    "backtest": ("backtest:backtest", "What would have been decided about past alerts."),
    "notify": ("notify:notify", "The channels that people are told by."),
    "db": ("db:db", "The store: migrate, back up, check."),
    "doctor": ("doctor:doctor", "Would a rollback work now? Every service with every check."),
    "demo": ("demo:demo", "A real service is really deployed, breaks, and is really rolled back."),
    "version": ("version:version", "The version of rollbackd."),
})  # fmt: skip


class LazyGroup(click.Group):
    """Knows its commands by name and by a line of help; imports one only when it is used, so that `--help` and `serve` are quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"rollbackd.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """A command returns its exit code; an error is one line on stderr."""
        try:
            code = super().invoke(ctx)
        except RollbackdError as error:
            click.echo(f"rollbackd: {one_line(str(error))}", err=True)
            code = exit_code(error)
        except (KeyboardInterrupt, click.Abort):
            click.echo("rollbackd: interrupted", err=True)
            code = Exit.INTERRUPTED
        ctx.exit(code)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Rolls a bad deploy back by itself, and says why when it does not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our signs gets a question mark, not a traceback
