"""The families of errors. An edge translates what its library raises into one of these, `from` the original.

What the caller does differs by family, which is why there are families: wait and try again, give up and say so, tell the person who
wrote the config, or find out what really happened before anything else.
"""

from datetime import timedelta


class RollbackdError(Exception):
    """Everything that rollbackd raises on purpose; `str()` is one line for a person and says what to do."""


class TemporaryError(RollbackdError):
    """May work when tried again: a refused connection, a busy store."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(RollbackdError):
    """Will fail again in the same way."""


class MisconfiguredError(PermanentError):
    """The config says something that cannot work; `path` is where (`file:line:col` or a dotted path)."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class UncertainError(RollbackdError):
    """It may or may not have happened: observe before anything else, never repeat blindly (I10)."""


class RefusedError(PermanentError):
    """A guard, a lock or an outdated plan refuses; `reason` is the reason code, `str()` the sentence for a person."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotFoundError(PermanentError):
    """No such incident, service or release."""
