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


def on_terminal_of(width: int, columns: tuple[str, ...], rows: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    out = StringIO()
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    monkeypatch.setattr(output, "terminal", lambda: Console(file=out, width=width, color_system=None, markup=False, highlight=False))
    output.emit_rows(columns, rows, empty="")
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_what_names_a_row_stays_whole_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ("incident", "service", "state", "reason", "suspect", "target")
    row = ("20260131-120000-7f3a", "a-service-with-a-rather-long-name", "held", "breach_predates_release", "v2", "v1")
    _, *lines = on_terminal_of(80, columns, [row], monkeypatch)
    assert lines[0].startswith("20260131-120000-7f3a  ")
    assert lines[0].endswith("  v1")
    assert "".join(line[22:].split("  ")[0].strip() for line in lines) == "a-service-with-a-rather-long-name"
    _, whole = on_terminal_of(160, columns, [row], monkeypatch)
    assert whole.split() == list(row)


def test_a_sentence_is_no_column_of_syllables(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "no running_version probe: what runs is not compared before a rollback"
    row = ("a-service-with-a-long-name", "running_version", "not_applicable", sentence)
    lines = on_terminal_of(80, ("service", "check", "verdict", "detail"), [row], monkeypatch)
    assert len(lines) <= 6
    assert lines[1].startswith("a-service-with-a-long-name")


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
