from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollbackd.settings import yaml_file
from rollbackd.settings.document import Document, Place
from rollbackd.settings.problems import Problems


def read(directory: Path, text: str | bytes) -> tuple[Document | None, list[str]]:
    file = directory / "x.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    problems = Problems()
    document = yaml_file.read(file, problems)
    return document, [str(problem).removeprefix(f"{file}:") for problem in problems.errors]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("yes", "yes"),
        ("2025-11-02", "2025-11-02"),
        ("1:30", "1:30"),
        ("v1", "v1"),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("-3", -3),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.10", 1.1),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", float("-inf")),
        ("'1.10'", "1.10"),
        ('"null"', "null"),
        ('"\\u00e9"', "é"),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("{a: [1, x]}", {"a": [1, "x"]}),
        ("1_000", "1_000"),
        ("123456789012345678901234567890", 1.2345678901234568e29),
    ],
)
def test_values_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    document, errors = read(tmp_path, f"key: {text}")
    assert errors == []
    assert document is not None
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)


def test_every_value_knows_its_line_and_column(tmp_path: Path) -> None:
    document, _ = read(tmp_path, "a:\n  b: [x, {c: y}]\n  d:\n    - z\n")
    assert document is not None
    root = Place(document)
    assert (root / "a").position() == (1, 1)  # a map is where its key is
    assert (root / "a" / "b").position() == (2, 3)
    assert (root / "a" / "b" / 0).position() == (2, 7)  # a scalar is where it is itself
    assert (root / "a" / "b" / 1 / "c").position() == (2, 14)
    assert (root / "a" / "b" / 1 / "c").position(at_key=True) == (2, 11)
    assert (root / "a" / "d" / 0).position() == (4, 7)
    assert (root / "a" / "d" / 5 / "e").position() == (3, 3)  # what is not there is where it would be
    assert not (root / "a" / "d" / 5).written
    assert str(root / "a" / "b" / 0) == f"{tmp_path / 'x.yaml'}:2:7"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1: duplicate key 'a': it is already in line 1"),
        ("{a: 1, a: 2}", "1:8: duplicate key 'a': it is already in line 1"),
        ("a: &x 1\n", "1:4: anchors (&) are not read: use templates for what services share"),
        ("a: 1\nb: *x\n", "2:4: aliases (*) are not read: use templates for what services share"),
        ("a: !!str 1\n", "1:4: tags (!) are not read: put a text in quotes instead"),
        ("a: !!python/object/apply:os.system [x]\n", "1:4: tags (!) are not read: put a text in quotes instead"),
        ("a: 1\nb:\nc: 2\n", "2:1: nothing stands here: give it a value, {} for none, or take it out"),
        ("a: ~\n", "1:1: nothing stands here: give it a value, {} for none, or take it out"),
        ("1: x\n", "1:1: a key is a text: put it in quotes"),
        ("[a]: x\n", "1:1: a key is a text: put it in quotes"),
        ('a: "x\\0y"\n', "1:4: a text holds neither NUL nor half a character (\\ud800 to \\udfff): take it out"),
        ("%YAML 1.1\n---\na: 1\n", "2:1: take the line that begins with % out: the file is read as YAML 1.2"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document: a config file holds one"),
        ("a: b: c\n", "1:5: not YAML: mapping values are not allowed here"),
        ("a: [1\n", "2:1: not YAML: expected ',' or ']', but got '<stream end>', while parsing a flow sequence"),
        ("\ta: 1\n", "1:1: not YAML: found character '\\t' that cannot start any token, while scanning for the next token"),
        ("a: 1\nb: \x07\n", "2:4: a control character: take it out, or write it escaped in double quotes"),
        ('a: "\\ud800"\n', "1:4: a text holds neither NUL nor half a character (\\ud800 to \\udfff): take it out"),
        ("", "1:1: the file is empty"),
        ("# nothing\n", "1:1: the file is empty"),
        (b"a: 1\nb: \xff\n", "2:1: not UTF-8: save it as UTF-8"),
        ("[" * 100 + "]" * 100, "1:25: more than 24 levels deep"),
        ("a: x\n" + "#" * yaml_file.SIZE_LIMIT, "1:1: larger than 1024 KiB: split it with include"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_where_it_stands(tmp_path: Path, text: str | bytes, error: str) -> None:
    assert read(tmp_path, text)[1] == [error]


def test_an_escape_that_stands_for_no_character(tmp_path: Path) -> None:
    (error,) = read(tmp_path, 'a: "\\Uffffffff"\n')[1]
    assert error.startswith("1:1: not YAML: ")


def test_what_is_refused_does_not_hide_the_rest(tmp_path: Path) -> None:
    document, errors = read(tmp_path, "a: &x 1\nb: [*x, 2]\nc: 3\nc: 4\nd: *x\ne:\n")
    assert document is not None
    assert document.data == {"a": 1, "b": [2], "c": 3}
    assert (Place(document) / "d").written
    assert [error.split(":")[0] for error in errors] == ["1", "2", "4", "5", "6"]


def test_a_bomb_of_aliases_is_never_built(tmp_path: Path) -> None:
    levels = "\n".join(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 20))
    document, errors = read(tmp_path, f"l0: &l0 x\n{levels}\n")
    assert document is not None
    assert all(document.data[f"l{level}"] == [] for level in range(1, 20))
    assert errors


def test_a_file_that_is_not_there_or_not_a_file(tmp_path: Path) -> None:
    problems = Problems()
    assert yaml_file.read(tmp_path / "none.yaml", problems) is None
    assert yaml_file.read(tmp_path, problems) is None
    assert {problem.message for problem in problems.errors} == {"there is no such file", "not a file"}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(st.sampled_from("ab1:-[]{},&*!|>'\"%#?~ \n\t\\0u"), max_size=40), st.text(max_size=20), st.binary(max_size=20)))
def test_any_file_is_values_or_errors_in_one_line(tmp_path: Path, text: str | bytes) -> None:
    raw = text if isinstance(text, bytes) else text.encode(errors="replace")
    document, errors = read(tmp_path, raw)
    assert document is not None or errors
    assert all("\n" not in error for error in errors)
