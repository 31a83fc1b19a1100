"""Secrets come from files and are read when they are needed. No error here ever quotes what a file holds (I13)."""

import os
import re
import stat
from pathlib import Path
from typing import Final

from rollbackd.errors import MisconfiguredError

SIZE_LIMIT: Final = 64 * 1024
TOKENS_AT_MOST: Final = 2
_TOKEN: Final = re.compile(r"[!-~]{1,4096}")


def locate(name: str, beside: Path) -> Path:
    """Where the file `name` is: in `$CREDENTIALS_DIRECTORY` if it is there, else `beside` the config, in its directory."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and not Path(name).is_absolute() and (found := Path(credentials) / name).exists():
        return found.absolute()
    return (beside / name).absolute()


def read_secret(path: Path) -> str:
    """The file's text without the line end that editors leave behind.

    Raises:
        MisconfiguredError: it is missing, unreadable, empty, too large or not one text.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(SIZE_LIMIT + 1)
    except OSError as e:
        raise MisconfiguredError(f"cannot be read: {e.strerror}", path=str(path)) from e
    try:
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = "\0"
    if not text or len(raw) > SIZE_LIMIT or "\0" in text:
        raise MisconfiguredError("put one secret in it as text, and nothing else", path=str(path))
    return text


def check_private(path: Path) -> None:
    """Raises MisconfiguredError as `read_secret`, and when everybody on the machine may read or change what is in it."""
    read_secret(path)
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise MisconfiguredError("everybody on this machine may read or change it: chmod o-rwx it", path=str(path))


def read_tokens(path: Path) -> tuple[str, ...]:
    """The tokens that are valid now, one a line: two while one is being replaced by the other.

    Raises:
        MisconfiguredError: none, more than two, or a line that is not a token.
    """
    tokens = tuple(line.strip() for line in read_secret(path).splitlines() if line.strip())
    if not 1 <= len(tokens) <= TOKENS_AT_MOST:
        raise MisconfiguredError(f"holds {len(tokens)} tokens: one a line, at most {TOKENS_AT_MOST}", path=str(path))
    if not all(_TOKEN.fullmatch(token) for token in tokens):
        raise MisconfiguredError("a token is letters, digits and signs without spaces, one a line", path=str(path))
    return tokens
