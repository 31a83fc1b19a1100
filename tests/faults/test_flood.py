"""Row 39 and what else comes in masses: every alert is stored or refused with 503, and nothing grows (I2 I14)."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rollbackd.clock import SystemClock, rfc3339
from rollbackd.web import lanes
from tests.faults.process_world import ProcessWorld
from tests.faults.wires import Taken, beside
from tests.flow.world import SERVICE

MIB = 1024 * 1024
SENDERS = 32


@dataclass
class Storm:
    """What was sent, and what came of it."""

    world: ProcessWorld
    alerts: int  # of each webhook, every other one of a service that nobody has
    started: str = field(default_factory=lambda: rfc3339(SystemClock().now()))
    statuses: Counter[int] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    healthy: Counter[int] = field(default_factory=Counter)

    def fingerprints(self, number: int) -> list[str]:
        return [f"{number * self.alerts + index:016x}" for index in range(self.alerts)]

    def body(self, number: int) -> bytes:
        service = (SERVICE, "nobody")[number % 2]
        template = json.dumps(self.world.alert_object(fingerprint="@", service=service) | {"startsAt": self.started})
        alerts = ",".join(template.replace("@", one) for one in self.fingerprints(number))
        return f'{{"version":"4","groupKey":"{{}}","truncatedAlerts":0,"status":"firing","receiver":"r","alerts":[{alerts}]}}'.encode()

    async def blow(self, webhooks: int) -> None:
        assert self.world.process is not None
        taken, numbers = Taken(self.world.process.pid), iter(range(webhooks))
        headers = {"Authorization": f"Bearer {self.world.token}-ingest", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers) as http, beside(self._ask_for_health()), asyncio.TaskGroup() as senders:
            for _ in range(SENDERS):
                senders.create_task(self._send(http, numbers, taken))

    async def _send(self, http: aiohttp.ClientSession, numbers: Iterator[int], taken: Taken) -> None:
        clock = SystemClock()
        for number in numbers:
            begun = clock.monotonic()
            async with http.post(f"{self.world.url}/webhook/alertmanager", data=self.body(number)) as response:
                await response.read()
            self.seconds.append(clock.monotonic() - begun)
            self.statuses[response.status] += 1
            if response.status == 200 and number % 2 == 0:
                self.acknowledged.update(self.fingerprints(number))
            self.resident.append(taken.resident)
            self.descriptors.append(taken.descriptors)

    async def _ask_for_health(self) -> None:
        """From a connection of its own each time, as systemd or a load balancer does."""
        while True:
            async with aiohttp.ClientSession() as http:
                for path in ("/-/healthy", "/-/ready", "/metrics"):
                    async with http.get(self.world.url + path) as response:
                        self.healthy[response.status] += 1
            await asyncio.sleep(0.05)

    def stored(self) -> set[str]:
        with sqlite3.connect(f"file:{self.world.directory / 'state' / 'rollbackd.db'}?mode=ro", uri=True) as store:
            return {fingerprint for (fingerprint,) in store.execute("SELECT fingerprint FROM alerts WHERE status = 'firing'")}

    def held(self) -> None:
        """What is promised of a storm."""
        assert set(self.statuses) <= {200, 503}, self.statuses
        assert self.statuses[200], "a daemon that refuses everything stores nothing either"
        assert self.acknowledged <= self.stored()
        assert set(self.healthy) == {200}, self.healthy
        half = len(self.resident) // 2
        assert max(self.resident[half:]) <= max(self.resident[:half]) + 24 * MIB
        assert max(self.resident) <= 256 * MIB
        assert max(self.descriptors[half:]) <= max(self.descriptors[:half]) + 16

    def __str__(self) -> str:
        seconds = sorted(self.seconds)
        return (
            f"{self.statuses[200]} webhooks of {self.alerts} alerts stored, {self.statuses[503]} refused; answered after "
            f"{seconds[len(seconds) // 2]:.3f} s (median), {seconds[len(seconds) * 99 // 100]:.3f} s (p99); "
            f"resident {min(self.resident) // MIB} to {max(self.resident) // MIB} MiB, {max(self.descriptors)} descriptors; "
            f"health asked {self.healthy.total()} times"
        )


@asynccontextmanager
async def storm(directory: Path, *, alerts: int = 100) -> AsyncIterator[Storm]:
    async with ProcessWorld(directory, bad=(), give_up_after="2s") as world:
        yield Storm(world, alerts)


async def test_row_39_a_storm_is_stored_or_refused_and_nothing_grows(tmp_path: Path) -> None:
    async with storm(tmp_path) as one:
        await one.blow(400)
        one.held()


@pytest.mark.nightly
@pytest.mark.timeout(900)
async def test_row_39_ten_thousand_webhooks_of_a_hundred_alerts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with storm(tmp_path) as one:
        begun = SystemClock().monotonic()
        await one.blow(10_000)
        with capsys.disabled():
            print(f"\n{SystemClock().monotonic() - begun:.0f} s: {one}")  # noqa: T201 - the figures that were measured
        one.held()


async def unmatched(world: ProcessWorld, alerts: list[dict[str, Any]]) -> int:
    return int((await world.post_alerts(alerts))["ignored"])


A_FEW = 10  # a query that times out meanwhile makes a series of its own


def bomb(world: ProcessWorld, number: int, *, value: int, labels: int) -> dict[str, Any]:
    alert = world.alert_object(service=f"nobody-{number}", fingerprint=f"{number:016x}")
    return alert | {"labels": {**alert["labels"], **{f"label_{number}_{index}": "x" * value for index in range(labels)}}}


async def test_labels_of_unmatched_alerts_fill_neither_the_disk_nor_the_metrics(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, bad=()) as world:
        series = await scraped(world)
        for batch in range(100):
            alerts = [bomb(world, batch * 4 + index, value=4_000, labels=60) for index in range(4)]
            assert await unmatched(world, alerts) == 4
        assert await scraped(world) <= series + A_FEW, "one bucket for all that is nobody's"
        await world.stop()
        size = sum(file.stat().st_size for file in (tmp_path / "state").iterdir() if file.is_file())
        assert size < 16 * MIB, "96 MB were sent"


async def scraped(world: ProcessWorld) -> int:
    async with world.http.get(f"{world.url}/metrics") as response:
        return sum(not line.startswith("#") for line in (await response.text()).splitlines())


async def test_a_thousand_paths_and_parameters_are_no_series(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, bad=()) as world:
        before = await scraped(world)
        for number in range(1_000):
            async with world.http.get(f"{world.url}/path-{number}?parameter-{number}=1") as response:
                assert response.status == 404
        assert await scraped(world) <= before + A_FEW


async def test_large_matched_alerts_are_taken_without_being_held(tmp_path: Path) -> None:
    """Each of them is a quarter of a megabyte, and all of them are stored before one is taken."""
    async with ProcessWorld(tmp_path, bad=()) as world:
        assert world.process is not None
        taken = Taken(world.process.pid)
        for batch in range(100):
            alerts = [bomb(world, batch * 4 + index, value=4_000, labels=60) for index in range(4)]
            for alert in alerts:
                alert["labels"]["service"] = SERVICE
            assert (await world.post_alerts(alerts))["stored"] == 4
        async with asyncio.timeout(60):
            while unhandled(tmp_path):  # noqa: ASYNC110 - another process takes them
                await asyncio.sleep(0.1)
        assert taken.most_resident <= 256 * MIB


def unhandled(directory: Path) -> int:
    with sqlite3.connect(f"file:{directory / 'state' / 'rollbackd.db'}?mode=ro", uri=True) as store:
        return int(store.execute("SELECT count(*) FROM alerts WHERE handled_at IS NULL").fetchone()[0])


async def test_a_flood_of_refusals_does_not_flood_the_log(tmp_path: Path) -> None:
    """Wrong tokens, and alerts that cannot be used: each was a line of its own."""
    async with ProcessWorld(tmp_path, bad=()) as world:
        for _ in range(300):
            async with world.http.post(f"{world.url}/webhook/alertmanager", headers={"Authorization": "Bearer wrong"}) as response:
                assert response.status == 401
            await world.post_alerts([{"nothing": "usable"}])
        lines = world.log.splitlines()
        assert 0 < sum('"refused"' in line for line in lines) < 150
        assert 0 < sum('"alerts_unusable"' in line for line in lines) < 150


async def test_more_requests_of_one_kind_than_are_answered_at_once_are_503_and_told(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path, bad=()) as world, asyncio.TaskGroup() as tasks:

        async def ask() -> tuple[int, str | None]:
            async with world.http.get(f"{world.url}/api/v1/doctor", headers={"Authorization": f"Bearer {world.token}"}) as response:
                await response.read()
                return response.status, response.headers.get("Retry-After")

        asked = [tasks.create_task(ask()) for _ in range(4 * lanes.MOST_CONNECTIONS // 8)]
        answers = Counter([await one for one in asked])
        assert set(answers) <= {(200, None), (503, "1")}
