"""The real servers' programs, from where the demo has them: PATH, else Debian's packages, unpacked into the demo's cache."""

from functools import cache
from pathlib import Path

import pytest

from rollbackd.demo.packages import find_programs
from rollbackd.errors import PermanentError


def program(name: str) -> Path:
    """An executable of prometheus, promtool, alertmanager or amtool; the test is skipped where there is none to be had."""
    found = _found(name)
    if isinstance(found, str):
        pytest.skip(found)
    return found


@cache
def _found(name: str) -> Path | str:
    """Asked once a run, also when the answer is why there is none."""
    try:
        return find_programs([name], say=print)[name]
    except PermanentError as e:
        return str(e)
