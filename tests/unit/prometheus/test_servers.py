from datetime import timedelta

import pytest

from rollbackd.clock import SystemClock
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.servers import ServerAnswer, ask_server
from rollbackd.settings.effective import PrometheusServer
from tests.fakes.prometheus import FakePrometheus


async def asked(fake: FakePrometheus) -> ServerAnswer:
    client = PrometheusClient(PrometheusServer(name="main", url=fake.url), SystemClock())
    try:
        return await ask_server("main", client)
    finally:
        await client.close()


async def test_a_server_that_answers_says_how_late_it_is() -> None:
    async with FakePrometheus() as fake:
        assert await asked(fake) == ServerAnswer(name="main", clock_offset=timedelta())


@pytest.mark.parametrize("offset", [timedelta(seconds=-56), None])
async def test_a_clock_that_is_wrong_or_not_told_is_a_problem(offset: timedelta | None) -> None:
    async with FakePrometheus() as fake:
        fake.clock_offset = offset
        found = await asked(fake)
    assert "clock is off by -5" in found.problem if offset else "does not say what time it is" in found.problem
    assert (found.clock_offset is None) is (offset is None)


async def test_a_server_that_refuses_is_a_problem_in_its_own_words() -> None:
    async with FakePrometheus() as fake:
        fake.fail("", 503)
        found = await asked(fake)
    assert found.problem.endswith("answered 503: scripted 503")
    assert found.clock_offset is None
