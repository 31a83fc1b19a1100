"""The files that a config names: each is there, and holds what it should, or the error stands where it is named."""

from collections.abc import Callable
from pathlib import Path

from rollbackd.errors import MisconfiguredError
from rollbackd.settings.document import Place
from rollbackd.settings.problems import Problems
from rollbackd.settings.secrets import locate, read_secret, read_tokens


class Files:
    def __init__(self, directory: Path, problems: Problems) -> None:
        self._directory = directory
        self._problems = problems
        self._checked: dict[Path, str] = {}  # what is wrong with each: a template's secret is read once, not once a service

    def secret(self, name: str, place: Place) -> Path:
        return self._existing(name, place, read_secret)

    def tokens(self, name: str, place: Place) -> Path:
        return self._existing(name, place, read_tokens)

    def plain(self, name: str, place: Place) -> Path:
        return self._existing(name, place, _open)

    def _existing(self, name: str, place: Place, read: Callable[[Path], object]) -> Path:
        path = locate(name, self._directory)
        if path not in self._checked:
            self._checked[path] = _wrong(path, read)
        if wrong := self._checked[path]:
            self._problems.error(place, wrong if path.exists() else f"{wrong} (looked in $CREDENTIALS_DIRECTORY, then beside the config)")
        return path


def _wrong(path: Path, read: Callable[[Path], object]) -> str:
    try:
        read(path)
    except MisconfiguredError as e:
        return str(e)
    return ""


def _open(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as e:
        raise MisconfiguredError(f"cannot be read: {e.strerror}", path=str(path)) from e
