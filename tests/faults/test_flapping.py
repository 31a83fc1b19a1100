"""Row 31: a breach that comes and goes is judged again and again, and then a person is asked (I3)."""

from datetime import datetime, timedelta
from pathlib import Path

from tests.flow.world import World

DAY = timedelta(days=1)


class Flapping(World):
    """Bad in every other moment of what is measured."""

    def ratio(self, at: datetime) -> float:
        return 0.3 if int(at.timestamp() / 0.2) % 2 else 0.0


async def test_row_31_what_flaps_is_not_acted_on(tmp_path: Path) -> None:
    async with Flapping(tmp_path) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        await world.alert()
        incident = await world.reached("escalated", "closed")

        assert incident["decision"] != "roll_back"
        assert incident["attempts"] == []
        assert world.versions() == ["v2"]
