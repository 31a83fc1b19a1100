"""Output of a command: a bounded part of it is kept (I14), and what a person sees has no secret and no control character (I11, I13)."""

import re
from collections.abc import Iterable
from typing import Final

from rollbackd.telemetry.redaction import ESCAPE_SEQUENCES, REDACTED, redact, strip_controls

KEEP: Final = 64 * 1024
"""Bytes that are kept of the beginning, and as many of the end."""

_CUT: Final = re.compile(rb"(\n\[[0-9]+ bytes left out\]\n)")
_NEW_LINE: Final = re.compile(r"\r\n?|[\u0085\u2028\u2029]")
_LEAST_LINE: Final = 8


class HeadAndTail:
    """The first and the last bytes of a stream of any length, in constant memory."""

    def __init__(self, keep: int = KEEP) -> None:
        self._keep = keep
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, chunk: bytes) -> None:
        room = self._keep - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        if len(self._tail) > 2 * self._keep:
            self._trim()

    @property
    def dropped(self) -> int:
        self._trim()
        return self._dropped

    def content(self) -> bytes:
        """Head and tail, with a line between them that counts what was left out."""
        cut = b"\n[%d bytes left out]\n" % self.dropped if self.dropped else b""
        return bytes(self._head + cut + self._tail)

    def _trim(self) -> None:
        excess = len(self._tail) - self._keep
        if excess > 0:
            del self._tail[:excess]
            self._dropped += excess


class Cleaner:
    """Makes output fit to be kept and shown. It knows the exact secrets that the process was given."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        lines = [line for secret in secrets for line in (secret, *_long_lines(secret))]
        self._secrets = sorted({line for line in lines if line}, key=len, reverse=True)

    def clean(self, output: bytes) -> str:
        """Decoded with replacement, secrets replaced, control characters gone. A secret that a cut went through is gone as well."""
        secrets = [secret.encode() for secret in self._secrets]
        parts = _CUT.split(output)  # pieces of output and the cuts between them, in turn
        for number in range(0, len(parts), 2):
            piece = parts[number]
            for secret in secrets:
                piece = piece.replace(secret, REDACTED.encode())
            if number > 0:
                piece = _without_rest_of_secret(piece, secrets)
            if number < len(parts) - 1:
                piece = _without_begin_of_secret(piece, secrets)
            parts[number] = piece
        return self.clean_text(b"".join(parts).decode(errors="replace"))

    def clean_text(self, text: str) -> str:
        """Secrets are looked for again once control characters are gone: those may have stood between two letters of one.

        So are all others that the daemon knows, in whatever form: nothing that is stored has one.
        """
        text = strip_controls(_NEW_LINE.sub("\n", ESCAPE_SEQUENCES.sub("", text)))
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return redact(text)


def _long_lines(secret: str) -> list[str]:
    """The lines of a secret that has several, such as a private key: a tool may print one of them."""
    return [line for line in secret.splitlines() if len(line) >= _LEAST_LINE]


def _without_begin_of_secret(piece: bytes, secrets: list[bytes]) -> bytes:
    begins = (length for secret in secrets for length in range(len(secret) - 1, 0, -1) if piece.endswith(secret[:length]))
    return piece[: len(piece) - max(begins, default=0)]


def _without_rest_of_secret(piece: bytes, secrets: list[bytes]) -> bytes:
    rests = (length for secret in secrets for length in range(len(secret) - 1, 0, -1) if piece.startswith(secret[-length:]))
    return piece[max(rests, default=0) :]
