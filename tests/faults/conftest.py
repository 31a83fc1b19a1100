"""What several files of the catalogue look at, told once."""

import asyncio

import pytest

from tests.faults.hostile_world import tell
from tests.faults.story import Heard


@pytest.fixture(scope="session")
def hostile_story(tmp_path_factory: pytest.TempPathFactory) -> Heard:
    return asyncio.run(tell(tmp_path_factory.mktemp("hostile")))
