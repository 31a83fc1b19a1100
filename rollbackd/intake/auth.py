"""Tokens: whose is the one that was sent? Read from their files again when those change, so that a token is replaced without a restart."""

import os
from collections.abc import Iterable
from hmac import compare_digest
from pathlib import Path
from typing import Final, Self

import structlog

from rollbackd.errors import MisconfiguredError
from rollbackd.settings.effective import Person, Role, Settings
from rollbackd.settings.secrets import read_tokens

_log: Final = structlog.get_logger("tokens")

_Stamp = tuple[int, int, int]


class Tokens:
    """The tokens of some people; `settings.auth.ingest` is a person too, who may only post alerts.

    Raises:
        MisconfiguredError: a token file cannot be used. Once it could, the tokens of then stay valid until it can again (I12).
    """

    def __init__(self, people: Iterable[Person]) -> None:
        self._files = [_TokenFile(person) for person in people]

    @classmethod
    def of_ingest(cls, settings: Settings) -> Self:
        file = settings.ingest_token_file
        return cls([] if file is None else [Person(name="ingest", role=Role.INGEST, token_file=file)])

    @classmethod
    def of_people(cls, settings: Settings) -> Self:
        return cls(settings.people)

    def __bool__(self) -> bool:
        """Whether there is anybody to be told from others; without, whoever reaches the listener may (on loopback only)."""
        return bool(self._files)

    def person(self, token: str) -> Person | None:
        """Compared with every token there is, each in constant time: how long it takes tells nothing."""
        sent = token.encode(errors="surrogateescape")
        found: Person | None = None
        for file in self._files:
            for known in file.tokens():
                if compare_digest(sent, known):
                    found = file.person
        return found


class _TokenFile:
    def __init__(self, person: Person) -> None:
        self.person = person
        self._stamp = _stamp(person.token_file)
        self._tokens = _read(person.token_file)

    def tokens(self) -> tuple[bytes, ...]:
        stamp = _stamp(self.person.token_file)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._tokens = _read(self.person.token_file)
                _log.info("tokens_read", person=self.person.name, count=len(self._tokens))
            except MisconfiguredError as error:
                _log.warning("tokens_kept", person=self.person.name, error=str(error))
        return self._tokens


def _stamp(file: Path) -> _Stamp | None:
    """What changes when the file is written or replaced; None when it is not there."""
    try:
        found = os.stat(file)  # noqa: PTH116 - half the price of Path.stat, and asked at each request
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(file: Path) -> tuple[bytes, ...]:
    return tuple(token.encode() for token in read_tokens(file))
