from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rollbackd.backtest import alerts
from rollbackd.backtest.past import PastAlert
from rollbackd.clock import SystemClock
from rollbackd.errors import TemporaryError
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.settings.effective import Settings
from tests.fakes.prometheus import FakePrometheus
from tests.unit.backtest.world import AT, DAY, MINUTE, SECOND, settings

API = {"__name__": "ALERTS", "alertname": "HighErrorRate", "alertstate": "firing", "service": "api"}


class Server:
    def __init__(self, fake: FakePrometheus, configured: Settings) -> None:
        self.fake = fake
        self.settings = configured
        self.clients = {name: PrometheusClient(server, SystemClock()) for name, server in configured.prometheus.items()}

    async def find(self, start: datetime = AT, end: datetime = AT + DAY) -> tuple[PastAlert, ...]:
        return await alerts.find(self.settings.services.values(), self.clients, start, end)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with FakePrometheus() as fake:
        made = Server(fake, settings(tmp_path, fake.url, "api: {}", "web: {triggers: {HighErrorRate: {alerts: [Odd.Name]}}}"))
        yield made
        for client in made.clients.values():
            await client.close()


def fires(
    *spans: tuple[timedelta, timedelta], labels: Mapping[str, str] = API
) -> tuple[Mapping[str, str], Callable[[datetime], int | None]]:
    return labels, lambda at: 1 if any(AT + begin <= at < AT + end for begin, end in spans) else None


async def test_each_time_that_a_rule_began_to_fire_is_an_alert(server: Server) -> None:
    web = {**API, "alertname": "Odd.Name", "service": "web"}
    server.fake.answer(
        "ALERTS", fires((MINUTE, 5 * MINUTE), (9 * MINUTE, 9 * MINUTE + SECOND)), fires((2 * MINUTE, 3 * MINUTE), labels=web)
    )
    found = await server.find()
    assert [(alert.at - AT, alert.name, alert.labels["service"]) for alert in found] == [
        (MINUTE, "HighErrorRate", "api"),
        (2 * MINUTE, "Odd.Name", "web"),
        (9 * MINUTE, "HighErrorRate", "api"),
    ]
    assert found[0].labels == {"alertname": "HighErrorRate", "service": "api"}
    assert len({alert.id for alert in found}) == 3
    assert found[0].id.startswith("HighErrorRate-")
    assert found[0].id.endswith("-2023-09-22T14:42:00.000Z")


async def test_only_rules_that_a_trigger_answers_are_asked_for(server: Server) -> None:
    await server.find()
    assert {asked.query for asked in server.fake.asked} == {'ALERTS{alertname=~"HighErrorRate|Odd\\\\.Name",alertstate="firing"}'}


async def test_what_fired_already_began_before_the_period(server: Server) -> None:
    server.fake.answer("ALERTS", fires((-MINUTE, 5 * MINUTE), (10 * MINUTE, 11 * MINUTE)))
    assert [alert.at - AT for alert in await server.find()] == [10 * MINUTE]


async def test_what_began_at_the_first_moment_belongs_to_it(server: Server) -> None:
    server.fake.answer("ALERTS", fires((timedelta(), MINUTE)))
    assert [alert.at for alert in await server.find(AT, AT)] == [AT]


async def test_a_long_period_is_asked_for_in_parts_that_join(server: Server) -> None:
    border = alerts.STEPS_AT_ONCE * 15 * SECOND
    server.fake.answer("ALERTS", fires((border - 10 * MINUTE, border + 10 * MINUTE), (2 * border, 2 * border + MINUTE)))
    found = await server.find(AT, AT + 3 * border)
    assert [alert.at - AT for alert in found] == [border - 10 * MINUTE, 2 * border]
    assert len(server.fake.asked) == 4
    assert max(len(asked.moments) for asked in server.fake.asked) == alerts.STEPS_AT_ONCE


async def test_some_of_the_alerts_are_none(server: Server) -> None:
    server.fake.answer("ALERTS", fires((MINUTE, 5 * MINUTE)), warnings=["store b does not answer"])
    with pytest.raises(TemporaryError, match="store b does not answer"):
        await server.find()
