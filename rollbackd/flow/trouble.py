"""What to do about an error where nobody above would know better: wait and try again, and some day stop trying."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from rollbackd.errors import RollbackdError, TemporaryError, UncertainError

_log: Final = structlog.get_logger("conductor")
_FIRST_PAUSE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(seconds=30)
_ERRORS_AT_MOST: Final = 3


@dataclass(frozen=True, slots=True)
class Trouble:
    """How long something could not go on. An error that may pass is waited out; any other is a bug, or as good as one, and counts."""

    times: int = 0
    pause: timedelta = timedelta(0)

    def after(self, error: Exception) -> "Trouble":
        counts = not isinstance(error, TemporaryError | UncertainError)
        return Trouble(self.times + counts, min(max(2 * self.pause, _FIRST_PAUSE), _LONGEST_PAUSE))

    def say(self, what: str, error: Exception) -> None:
        """In the log: an error that was raised on purpose in one line, a bug with its traceback."""
        was_foreseen = isinstance(error, RollbackdError)
        log = _log.warning if was_foreseen else _log.error
        log(what, error=str(error), retry_in=self.pause.total_seconds(), exc_info=None if was_foreseen else error)

    @property
    def is_hopeless(self) -> bool:
        return self.times >= _ERRORS_AT_MOST
