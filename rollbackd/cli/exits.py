"""Exit codes, and the errors that have one of their own. A script branches on these numbers: they never change."""

from enum import IntEnum

from rollbackd.errors import MisconfiguredError, NotFoundError, RefusedError, RollbackdError, TemporaryError


class Exit(IntEnum):
    FINE = 0
    UNEXPECTED = 1
    USAGE = 2
    REFUSED = 3
    FAILED = 4
    NOT_RECOVERED = 5
    TIMED_OUT = 6
    UNREACHABLE = 7
    ESCALATED = 8
    INTERRUPTED = 130


class UnreachableError(TemporaryError):
    """No daemon answers at the address."""


class WaitedTooLongError(RollbackdError):
    """What was waited for did not happen in the time that was given."""


class BadRequestError(RollbackdError):
    """The daemon does not understand, or does not allow, what was asked."""


def exit_code(error: RollbackdError) -> Exit:
    match error:
        case UnreachableError():
            return Exit.UNREACHABLE
        case WaitedTooLongError():
            return Exit.TIMED_OUT
        case RefusedError():
            return Exit.REFUSED
        case BadRequestError() | NotFoundError() | MisconfiguredError():
            return Exit.USAGE
        case _:
            return Exit.UNEXPECTED
