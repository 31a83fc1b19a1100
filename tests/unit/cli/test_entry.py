import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from rollbackd.cli import entry, exits, main
from rollbackd.errors import MisconfiguredError, NotFoundError, RefusedError, RollbackdError, TemporaryError
from rollbackd.model.incident import EXIT_CODES, Outcome


@pytest.mark.parametrize("name", list(entry.COMMANDS))
def test_every_command_loads_and_its_help_begins_as_the_overview_does(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.help is not None
    assert entry.COMMANDS[name][1].rstrip(".").split(",")[0].split(":")[0] in command.help.replace("\n", " ")


def commands(parent: click.Group) -> Iterator[click.Command]:
    context = click.Context(parent)
    for name in parent.list_commands(context):
        command = parent.get_command(context, name)
        assert command is not None
        yield from commands(command) if isinstance(command, click.Group) else (command,)


def test_every_command_has_json_but_the_daemon_which_prints_no_data() -> None:
    without = {command.name for command in commands(main) if "as_json" not in {parameter.name for parameter in command.params}}
    assert without == {"serve"}


def test_help_lists_every_command_and_loads_none() -> None:
    probe = (
        "import sys\n"
        "from rollbackd.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('loaded', sorted({'aiohttp', 'rich', 'pydantic', 'sqlalchemy', 'jinja2', 'ruamel'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in shown for name in entry.COMMANDS)
    assert shown.endswith("loaded []\n")


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["statsu"])
    assert result.exit_code == exits.Exit.USAGE
    assert "statsu" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (exits.UnreachableError("x"), 7),
        (exits.WaitedTooLongError("x"), 6),
        (RefusedError("x", reason="cooldown"), 3),
        (exits.BadRequestError("x"), 2),
        (NotFoundError("x"), 2),
        (MisconfiguredError("x"), 2),
        (TemporaryError("x"), 1),
        (RollbackdError("x"), 1),
    ],
)
def test_an_error_is_one_line_on_stderr_and_an_exit_code(error: RollbackdError, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def failing() -> int:
        raise error

    monkeypatch.setattr(main, "get_command", lambda _context, _name: failing)
    result = CliRunner().invoke(main, ["status"])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "rollbackd: x\n")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, click.Abort])
def test_an_interruption_is_130(interruption: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def interrupted() -> int:
        raise interruption

    monkeypatch.setattr(main, "get_command", lambda _context, _name: interrupted)
    result = CliRunner().invoke(main, ["status"])
    assert (result.exit_code, result.stderr) == (130, "rollbackd: interrupted\n")


def test_an_error_message_cannot_forge_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def failing() -> int:
        raise RollbackdError("one\n\x1b[31mtwo")

    monkeypatch.setattr(main, "get_command", lambda _context, _name: failing)
    assert CliRunner().invoke(main, ["status"]).stderr == "rollbackd: one two\n"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_exit_code_of_an_outcome_is_one_of_the_table(outcome: Outcome) -> None:
    assert EXIT_CODES[outcome] in set(exits.Exit)


def test_version_is_on_stdout() -> None:
    assert CliRunner().invoke(main, ["version"]).stdout == "0.1.0\n"
    assert '"version":"0.1.0"' in CliRunner().invoke(main, ["version", "--json"]).stdout


def test_a_terminal_without_our_signs_gets_question_marks_and_no_traceback() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "rollbackd", "routes", "test", "\u2714"]
    shown = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert shown.returncode == 2
    assert b"'?' is not a label" in shown.stderr
