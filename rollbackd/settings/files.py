"""The files that a config names: each is there, holds what it should and is not open to everybody, or it says so where it is named."""

import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path

from rollbackd.errors import MisconfiguredError
from rollbackd.settings.apprise_url import read_apprise_url
from rollbackd.settings.document import Place
from rollbackd.settings.problems import Problems
from rollbackd.settings.secrets import locate, read_secret, read_tokens


class Files:
    def __init__(self, directory: Path, problems: Problems) -> None:
        self._directory = directory
        self._problems = problems
        self._wrong = cache(_wrong)  # a template's secret is read once, not once a service

    def secret(self, name: str, place: Place) -> Path:
        return self._private(name, place, read_secret)

    def apprise_url(self, name: str, place: Place) -> Path:
        """What Apprise does not know is a warning: that nobody can be told keeps no rollback from being made."""
        path = self._private(name, place, read_secret)
        if not self._wrong(path, read_secret) and (wrong := self._wrong(path, read_apprise_url)):
            self._problems.warn(place, wrong)
        return path

    def tokens(self, name: str, place: Place) -> Path:
        return self._private(name, place, read_tokens)

    def plain(self, name: str, place: Place) -> Path:
        return self._existing(name, place, _open)

    def _private(self, name: str, place: Place, read: Callable[[Path], object]) -> Path:
        path = self._existing(name, place, read)
        if path.exists() and path.stat().st_mode & stat.S_IROTH:
            self._problems.warn(place, f"{path}: anybody on this machine may read it: chmod o-r it")
        return path

    def _existing(self, name: str, place: Place, read: Callable[[Path], object]) -> Path:
        path = locate(name, self._directory)
        if wrong := self._wrong(path, read):
            self._problems.error(place, wrong if path.exists() else f"{wrong} (looked in $CREDENTIALS_DIRECTORY, then beside the config)")
        elif path.stat().st_mode & stat.S_IWOTH:
            self._problems.error(place, f"{path}: anybody on this machine may change it: chmod o-w it")
        return path


def _wrong(path: Path, read: Callable[[Path], object]) -> str:
    """What is wrong with the file; empty when nothing is."""
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
