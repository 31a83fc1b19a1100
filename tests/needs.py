"""What a test needs of the machine itself: no package brings it, so that it is a skip with its reason wherever it is missing, on CI too."""

from typing import Final, NoReturn

import pytest

NOT_HERE: Final = "not on this machine: "


def not_here(why: str) -> NoReturn:
    pytest.skip(NOT_HERE + why)
