from pathlib import Path

import pytest

from rollbackd.errors import MisconfiguredError
from rollbackd.settings.secrets import check_private, locate, read_secret, read_tokens


def file(directory: Path, content: str | bytes) -> Path:
    path = directory / "secret"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_line_end_of_an_editor_is_not_part_of_a_secret(tmp_path: Path) -> None:
    assert read_secret(file(tmp_path, "pass word \r\n\n")) == "pass word "


@pytest.mark.parametrize("content", ["", "\n", b"\xff\xfe", "a\0b", "x" * 70_000])
def test_what_is_not_one_text_is_refused_without_quoting_it(tmp_path: Path, content: str | bytes) -> None:
    path = file(tmp_path, content)
    with pytest.raises(MisconfiguredError, match="put one secret in it") as error:
        read_secret(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match=r"none: cannot be read: No such file"):
        read_secret(tmp_path / "none")


def test_one_token_a_line_and_two_while_they_are_changed(tmp_path: Path) -> None:
    assert read_tokens(file(tmp_path, "old-token\n")) == ("old-token",)
    assert read_tokens(file(tmp_path, "old-token\n\n  new-token  \n")) == ("old-token", "new-token")


@pytest.mark.parametrize(
    ("content", "message"), [("a\nb\nc\n", "holds 3 tokens"), (" \n", "holds 0 tokens"), ("two words\n", "without spaces")]
)
def test_what_is_not_a_token_file_is_refused_without_quoting_it(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(MisconfiguredError, match=message) as error:
        read_tokens(file(tmp_path, content))
    assert not any(line in str(error.value) for line in content.split() if len(line) > 1)


def test_a_relative_name_is_a_credential_first_then_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials, beside = tmp_path / "credentials", tmp_path / "etc"
    credentials.mkdir()
    beside.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert locate("token", beside) == beside / "token"
    (credentials / "token").write_text("x")
    assert locate("token", beside) == credentials / "token"
    assert locate(str(beside / "token"), tmp_path) == beside / "token"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert locate("token", beside) == beside / "token"


def test_a_location_is_absolute_whatever_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("token", Path()) == tmp_path / "token"


@pytest.mark.parametrize("mode", [0o604, 0o602])
def test_a_secret_that_everybody_may_read_or_change_is_not_private(tmp_path: Path, mode: int) -> None:
    path = file(tmp_path, "hunter2")
    path.chmod(mode)
    with pytest.raises(MisconfiguredError, match=f"{path}: everybody .* chmod o-rwx it") as caught:
        check_private(path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_secret_of_its_owner_and_group_is_private(tmp_path: Path, mode: int) -> None:
    path = file(tmp_path, "hunter2")
    path.chmod(mode)
    check_private(path)


def test_a_secret_that_is_not_there_is_not_private(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="cannot be read"):
        check_private(tmp_path / "missing")
