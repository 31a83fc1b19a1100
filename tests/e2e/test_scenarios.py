"""Every scenario of `scenarios/*.yaml`, on one real Prometheus. To run one: `pytest tests/e2e/test_scenarios.py -k NAME`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.prometheus import real_prometheus
from tests.e2e.scenarios import world
from tests.e2e.scenarios.form import Scenario, load

SCENARIOS = load(sorted((Path(__file__).parent / "scenarios").glob("*.yaml")))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """One server for all of them."""
    async with real_prometheus(tmp_path_factory.mktemp("server"), backfill=world.past(SCENARIOS)) as server:
        yield server.url


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_scenario(scenario: Scenario, url: str, tmp_path: Path) -> None:
    results = await world.replay(scenario, world.settings(scenario, tmp_path, url))
    for alert, result in zip(scenario.alerts, results, strict=True):
        expected = alert.expect.model_dump(exclude_none=True)
        said = world.said(result)
        within = expected.pop("within", None)
        assert {name: said[name] for name in expected} == expected, f"{scenario.tells}\n{world.told(result)}"
        assert within is None or result.took.total_seconds() <= within, f"{scenario.tells}\n{world.told(result)}"
