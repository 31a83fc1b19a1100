from io import StringIO

import pytest
from rich.console import Console

from rollbackd.cli import output
from tests.unit.web.samples import HOSTILE


def drawn(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    out = StringIO()
    Console(file=out, width=80, color_system=None, markup=False, highlight=False).print(output.table(columns, rows))
    return out.getvalue()


def test_a_table_shows_codes_as_words_and_a_dash_for_nothing() -> None:
    assert drawn(("state", "other"), [("stood_down", ""), ("my_service", "x")]).split() == [
        "state",
        "other",
        "stood",
        "down",
        "—",
        "my_service",
        "x",
    ]


def test_a_table_takes_no_cell_for_markup() -> None:
    assert "[bold]x[/bold]" in drawn(("name",), [("[bold]x[/bold]",)])


def test_rows_are_lines_with_tabs_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_rows(("a", "b"), [("1", None), (HOSTILE, "2")], empty="none")
    shown = capsys.readouterr().out
    first, second = shown.splitlines()
    assert first == "1\t"
    assert second == 'red [bold]bold[/bold] gnp.exe <script>alert("x")</script> {{ 7 * 7 }} forged line\t2'


def test_text_of_several_lines_keeps_them_and_loses_its_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_text("one\n\x1b[2Jtwo\n\n")
    assert capsys.readouterr().out == "one\ntwo\n"


def test_json_is_one_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_json({"a": [1, 2]})
    assert capsys.readouterr().out == '{"a":[1,2]}\n'


@pytest.mark.parametrize("terminal", [True, False])
def test_no_rows_are_said_on_a_terminal_only(
    *, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: terminal)
    output.emit_rows(("a",), [], empty="no incidents")
    assert capsys.readouterr().out == ("no incidents\n" if terminal else "")
