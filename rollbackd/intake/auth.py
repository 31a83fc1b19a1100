"""Tokens: whose is the one that was sent? Read from their files again when those change, so that a token is replaced without a restart."""

from collections.abc import Iterable
from hmac import compare_digest
from pathlib import Path
from typing import Final, Self

import structlog

from rollbackd.clock import Clock, SystemClock
from rollbackd.errors import MisconfiguredError
from rollbackd.settings.effective import Person, Role, Settings
from rollbackd.settings.secrets import read_tokens
from rollbackd.telemetry.redaction import register_secret

LOOK_EVERY_SECONDS: Final = 1.0  # not at each request: looking at a file costs more than all else that is done here

_log: Final = structlog.get_logger("tokens")

_Stamp = tuple[int, int, int]


class Tokens:
    """The tokens of some people; `settings.auth.ingest` is a person too, who may only post alerts.

    Raises:
        MisconfiguredError: a token file cannot be used. Once it could, the tokens of then stay valid until it can again (I12).
    """

    def __init__(self, people: Iterable[Person], clock: Clock | None = None) -> None:
        self._files = [_TokenFile(person) for person in people]
        self._clock = clock or SystemClock()
        self._look_again_at = 0.0

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
        now = self._clock.monotonic()
        if now >= self._look_again_at:
            self._look_again_at = now + LOOK_EVERY_SECONDS
            for file in self._files:
                file.look()
        sent = token.encode(errors="surrogateescape")
        found: Person | None = None
        for file in self._files:
            for known in file.tokens:
                if compare_digest(sent, known):
                    found = file.person
        return found


class _TokenFile:
    def __init__(self, person: Person) -> None:
        self.person = person
        self._stamp = _stamp(person.token_file)
        self.tokens = _read(person.token_file)

    def look(self) -> None:
        """Read the file again if it is another one."""
        stamp = _stamp(self.person.token_file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.tokens = _read(self.person.token_file)
        except MisconfiguredError as error:
            _log.warning("tokens_kept", person=self.person.name, error=str(error))
        else:
            _log.info("tokens_read", person=self.person.name, count=len(self.tokens))


def _stamp(file: Path) -> _Stamp | None:
    """What changes when the file is written or replaced; None when it is not there."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(file: Path) -> tuple[bytes, ...]:
    """Known from here on to everything that prints (I13)."""
    return tuple(register_secret(token).reveal().encode() for token in read_tokens(file))
