"""A platform that numbers each deploy, that of a rollback too: what it lists, beside what rollbackd knows."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollbackd.clock import rfc3339
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.model.process import Completed
from rollbackd.model.release import Release, ReleaseKind, ReleaseStatus
from rollbackd.releases.register import Register, ReleaseReport
from rollbackd.releases.sources import Sources
from rollbackd.store.store import Store
from tests.fakes.policies import service
from tests.unit.releases.conftest import MINUTE, NOW, SetClock
from tests.unit.releases.test_command import SOURCE

HOUR = timedelta(hours=1)
POLICY = replace(service("api"), releases=SOURCE)
LIVE, FAILED, OURS = ReleaseStatus.LIVE, ReleaseStatus.FAILED, ReleaseKind.ROLLBACK
GOOD, BAD, OTHER = "registry/api:good", "registry/api:bad", "registry/api:other"


class Platform:
    """Lists what was deployed on it, newest first; times are whole seconds, as on many a platform."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.exit_code = 0

    def deployed(self, version: int, image: str, at: datetime, status: str = "complete") -> None:
        row = {"Version": version, "ImageRef": image, "CreatedAt": rfc3339(at.replace(microsecond=0)), "Status": status}
        self.rows = [row, *(other for other in self.rows if other["Version"] != version)]

    async def run(self, _policy: ServicePolicy, _source: CommandSource) -> Completed:
        stdout = json.dumps(self.rows).encode()
        return Completed(exit_code=self.exit_code, signal=None, stdout=stdout, stderr=b"", duration=timedelta(0))


@pytest.fixture
def platform() -> Platform:
    platform = Platform()
    platform.deployed(41, GOOD, NOW - HOUR)
    platform.deployed(42, BAD, NOW - MINUTE)
    return platform


@pytest.fixture
def world(store: Store, sources: Sources, register: Register, clock: SetClock) -> tuple[Store, Sources, Register, SetClock]:
    return store, sources, register, clock


@pytest.fixture
def sources(store: Store, platform: Platform, clock: SetClock) -> Sources:
    return Sources(store.releases, platform.run, clock)


async def kinds(store: Store) -> dict[tuple[str, str], ReleaseKind]:
    return {(one.version, one.source): one.kind for one in await store.releases.of_service("api")}


async def rolled_back(register: Register, clock: SetClock, how: ReleaseStatus = ReleaseStatus.LIVE) -> Release:
    """To 41, in two minutes that begin in the middle of a second."""
    clock.instant = NOW + timedelta(milliseconds=700)
    target = next(one for one in await register.of_service("api") if one.version == "41")
    await register.rollback_started(target)
    clock.instant += 2 * MINUTE
    await register.rollback_ended("api", how)
    return target


async def test_what_is_listed_is_learned_once(store: Store, sources: Sources) -> None:
    assert (await sources.refresh(POLICY)).learned == 2
    assert (await sources.refresh(POLICY)).learned == 0
    assert [one.version for one in await store.releases.of_service("api")] == ["42", "41"]


async def test_a_history_longer_than_what_is_looked_at_is_not_learned_again_and_again(
    sources: Sources, platform: Platform, clock: SetClock
) -> None:
    """Or a held incident would be re-opened at every sweep."""
    clock.instant = NOW + 4 * HOUR
    platform.rows = []
    for number in range(200):
        platform.deployed(number, GOOD, NOW + number * MINUTE)
    assert (await sources.refresh(POLICY)).learned == 200
    platform.deployed(200, GOOD, NOW + 200 * MINUTE)
    assert (await sources.refresh(POLICY)).learned == 1
    assert (await sources.refresh(POLICY)).learned == 0


async def test_what_was_recorded_by_hand_as_well_does_not_push_the_oldest_out(
    sources: Sources, platform: Platform, register: Register, clock: SetClock
) -> None:
    clock.instant = NOW + 4 * HOUR
    platform.rows = []
    for number in range(200):
        platform.deployed(number, GOOD, NOW - (200 - number) * MINUTE)
    await sources.refresh(POLICY)
    await register.report(ReleaseReport(service="api", version="by-hand", started_at=NOW - HOUR))
    assert (await sources.refresh(POLICY)).learned == 0


async def test_of_two_in_one_second_the_later_listed_is_the_older(store: Store, sources: Sources, platform: Platform) -> None:
    platform.deployed(43, OTHER, NOW - MINUTE)
    await sources.refresh(POLICY)
    assert [one.version for one in await store.releases.of_service("api")] == ["43", "42", "41"]


async def test_what_is_listed_for_later_is_learned_when_its_time_has_come(
    store: Store, sources: Sources, platform: Platform, clock: SetClock
) -> None:
    platform.deployed(43, OTHER, NOW + HOUR, status="scheduled")
    platform.deployed(44, OTHER, NOW + 5 * MINUTE, status="running")  # as by a clock that is ahead of ours
    await sources.refresh(POLICY)
    assert [one.version for one in await store.releases.of_service("api")] == ["44", "42", "41"]
    clock.instant = NOW + HOUR
    assert (await sources.refresh(POLICY)).learned == 1


async def test_a_service_without_a_source_is_up_to_date(sources: Sources) -> None:
    assert await sources.refresh(service("api")) == await sources.refresh(service("api"))
    assert not (await sources.refresh(service("api"))).problem


async def test_a_source_that_fails_says_so_and_changes_nothing(store: Store, sources: Sources, platform: Platform) -> None:
    await sources.refresh(POLICY)
    platform.deployed(43, OTHER, NOW)
    platform.exit_code = 1
    refreshed = await sources.refresh(POLICY)
    assert "exit code 1" in refreshed.problem
    assert len(await store.releases.of_service("api")) == 2


async def test_a_release_that_was_rolling_is_live_at_last(store: Store, sources: Sources, platform: Platform) -> None:
    platform.deployed(43, OTHER, NOW, status="running")
    await sources.refresh(POLICY)
    platform.deployed(43, OTHER, NOW)
    assert (await sources.refresh(POLICY)).learned == 1
    assert (await store.releases.of_service("api"))[0].status is ReleaseStatus.LIVE


async def test_the_end_of_an_old_rollout_is_not_written_onto_a_rollback_to_it(
    store: Store, sources: Sources, platform: Platform, register: Register, clock: SetClock
) -> None:
    """Both have the same version: the one that started then is meant."""
    platform.deployed(41, GOOD, NOW - HOUR, status="running")
    await sources.refresh(POLICY)
    clock.instant = NOW
    await register.rollback_started(next(one for one in await register.of_service("api") if one.version == "41"))
    platform.deployed(41, GOOD, NOW - HOUR, status="failed")
    await sources.refresh(POLICY)
    assert {(one.started_at, one.status) for one in await store.releases.of_service("api") if one.version == "41"} == {
        (NOW, ReleaseStatus.ROLLING),
        (NOW - HOUR, ReleaseStatus.FAILED),
    }


Deployed = tuple[int, str, datetime]
"""Number, image, and when."""

RELEASED: dict[str, tuple[ReleaseStatus, list[Deployed], ReleaseKind]] = {
    "while it ran": (LIVE, [(43, GOOD, NOW + MINUTE)], OURS),
    "in the second in which it began, which its time cuts off": (LIVE, [(43, GOOD, NOW)], OURS),
    "in the watch": (LIVE, [(43, GOOD, NOW + 10 * MINUTE)], OURS),
    "another artifact": (LIVE, [(43, OTHER, NOW + MINUTE)], ReleaseKind.RELEASE),
    "long after": (LIVE, [(43, GOOD, NOW + HOUR)], ReleaseKind.RELEASE),
    "before it": (LIVE, [(43, GOOD, NOW - MINUTE / 2)], ReleaseKind.RELEASE),
    "after one that failed, whose step came through all the same": (FAILED, [(43, GOOD, NOW + HOUR)], OURS),
    "after one that failed, and after something else": (
        FAILED,
        [(42, OTHER, NOW + 10 * MINUTE), (43, GOOD, NOW + HOUR)],
        ReleaseKind.RELEASE,
    ),
}


@pytest.mark.parametrize(("how", "deployed", "kind"), RELEASED.values(), ids=RELEASED)
async def test_which_release_of_the_platform_is_our_own_rollback(
    platform: Platform, world: tuple[Store, Sources, Register, SetClock], how: ReleaseStatus, deployed: list[Deployed], kind: ReleaseKind
) -> None:
    store, sources, register, clock = world
    await sources.refresh(POLICY)
    await rolled_back(register, clock, how)
    for number, image, at in deployed:
        platform.deployed(number, image, at)
    clock.instant = NOW + 2 * HOUR
    await sources.refresh(POLICY)
    assert (await kinds(store))["43", "command"] is kind
