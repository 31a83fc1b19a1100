"""What CI, a deploy tool and rollbackd itself say about releases, in the register that all of them write."""

from typing import Any

import pytest

from rollbackd.errors import NotFoundError
from rollbackd.model.release import Mark, Release, ReleaseKind, ReleaseStatus
from rollbackd.releases.register import Register, ReleaseReport
from tests.unit.releases.conftest import MINUTE, NOW, SetClock


def report(version: str = "v1", **changes: Any) -> ReleaseReport:
    return ReleaseReport(service="api", version=version, **changes)


async def listed(register: Register) -> list[tuple[str, ReleaseKind, ReleaseStatus]]:
    return [(one.version, one.kind, one.status) for one in await register.of_service("api")]


async def recorded(register: Register, version: str, **changes: Any) -> Release:
    return (await register.report(report(version, **changes)))[0]


async def test_a_start_and_a_finish_are_one_release(register: Register, clock: SetClock) -> None:
    assert await register.report(report(status=ReleaseStatus.ROLLING)) == (
        Release(service="api", version="v1", artifact="v1", started_at=NOW, status=ReleaseStatus.ROLLING),
        True,
    )
    clock.instant += MINUTE
    release, created = await register.report(report())
    assert (release.started_at, release.live_at, release.status, created) == (NOW, NOW + MINUTE, ReleaseStatus.LIVE, False)
    assert len(await register.of_service("api")) == 1


async def test_a_start_that_fails(register: Register) -> None:
    await register.report(report(status=ReleaseStatus.ROLLING))
    release, _ = await register.report(report(status=ReleaseStatus.FAILED))
    assert (release.status, release.live_at) == (ReleaseStatus.FAILED, None)


async def test_a_value_that_may_not_stand_in_a_command_is_refused(register: Register) -> None:
    with pytest.raises(ValueError, match="begin with a letter"):
        await register.report(report("-v1"))
    with pytest.raises(ValueError, match="artifact"):
        await register.report(report(artifact="a b"))


@pytest.mark.parametrize("field", ["started_at", "live_at"])
async def test_a_release_that_is_still_to_come_is_refused(register: Register, field: str) -> None:
    """Such as local time that is written as UTC: a breach would always be older than it."""
    with pytest.raises(ValueError, match=rf"{field}: 2026-\S+Z lies 2 h ahead: write it with its own time zone"):
        await register.report(report(**{field: NOW + 120 * MINUTE}))
    assert await register.of_service("api") == ()
    await register.report(report(**{field: NOW + 5 * MINUTE}))  # a clock that is a little ahead of ours


async def test_what_is_not_recorded_cannot_be_marked(register: Register) -> None:
    with pytest.raises(NotFoundError, match="no release 'v9' of api"):
        await register.mark("api", "v9", Mark.BAD, reason="it leaks")


async def test_a_mark_is_on_every_record_of_the_version(register: Register) -> None:
    for ago in (1, 2):
        await recorded(register, "v1", started_at=NOW - ago * MINUTE)
    marked = await register.mark("api", "v1", Mark.BAD, reason="it leaks")
    assert (marked.mark, marked.mark_reason, marked.started_at) == (Mark.BAD, "it leaks", NOW - MINUTE)
    assert [one.mark for one in await register.of_service("api")] == [Mark.BAD, Mark.BAD]


class TestOurOwnRollback:
    async def test_it_is_a_release_that_ends(self, register: Register, clock: SetClock) -> None:
        target = await recorded(register, "v1", started_at=NOW - MINUTE)
        await register.rollback_started(target)
        clock.instant += MINUTE
        await register.rollback_ended("api", ReleaseStatus.LIVE)

        own, before = await register.of_service("api")
        assert (own.kind, own.status, own.started_at, own.live_at) == (ReleaseKind.ROLLBACK, ReleaseStatus.LIVE, NOW, NOW + MINUTE)
        assert before == target

    async def test_begun_twice_as_after_a_restart_it_is_the_same(self, register: Register, clock: SetClock) -> None:
        target = await recorded(register, "v1", started_at=NOW - MINUTE)
        await register.rollback_started(target)
        clock.instant += MINUTE
        await register.rollback_started(target)
        assert len(await register.of_service("api")) == 2

    async def test_one_whose_end_nobody_wrote_down_is_not_taken_for_the_next(self, register: Register, clock: SetClock) -> None:
        target = await recorded(register, "v1", started_at=NOW - MINUTE)
        await register.rollback_started(target)
        await recorded(register, "v2", started_at=NOW + MINUTE)
        clock.instant += 2 * MINUTE
        await register.rollback_started(target)
        assert (await register.of_service("api"))[0].started_at == clock.instant
        assert await listed(register) == [
            ("v1", ReleaseKind.ROLLBACK, ReleaseStatus.ROLLING),
            ("v2", ReleaseKind.RELEASE, ReleaseStatus.LIVE),
            ("v1", ReleaseKind.ROLLBACK, ReleaseStatus.FAILED),
            ("v1", ReleaseKind.RELEASE, ReleaseStatus.LIVE),
        ]

    async def test_without_one_that_began_nothing_is_touched(self, register: Register) -> None:
        target = await recorded(register, "v1", started_at=NOW - MINUTE)
        await register.rollback_ended("api", ReleaseStatus.FAILED)
        assert await register.of_service("api") == (target,)

    async def test_a_release_of_the_same_version_that_comes_meanwhile_is_not_taken_for_it(
        self, register: Register, clock: SetClock
    ) -> None:
        target = await recorded(register, "v1", artifact="image:1", started_at=NOW - MINUTE)
        await register.rollback_started(target)
        clock.instant += MINUTE
        await register.report(report("v1", artifact="image:1-rebuilt", status=ReleaseStatus.ROLLING))
        await register.rollback_ended("api", ReleaseStatus.FAILED)

        assert await listed(register) == [
            ("v1", ReleaseKind.RELEASE, ReleaseStatus.ROLLING),
            ("v1", ReleaseKind.ROLLBACK, ReleaseStatus.FAILED),
            ("v1", ReleaseKind.RELEASE, ReleaseStatus.LIVE),
        ]

    @pytest.mark.parametrize("status", [None, *ReleaseStatus])
    @pytest.mark.parametrize("artifact", [None, "image:1"])
    async def test_what_the_deploy_tool_reports_of_it_is_that_rollback(
        self, register: Register, clock: SetClock, status: ReleaseStatus | None, artifact: str | None
    ) -> None:
        """Or it would look like a release by itself, which the next decision may blame and roll back past the target."""
        target = await recorded(register, "v1", artifact="image:1", started_at=NOW - MINUTE)
        await register.rollback_started(target)
        clock.instant += MINUTE
        release, created = await register.report(report("v1", status=status, artifact=artifact))
        assert (release.kind, created) == (ReleaseKind.ROLLBACK, False)
        await register.rollback_ended("api", ReleaseStatus.LIVE)
        assert await listed(register) == [
            ("v1", ReleaseKind.ROLLBACK, ReleaseStatus.LIVE),
            ("v1", ReleaseKind.RELEASE, ReleaseStatus.LIVE),
        ]

    async def test_a_later_release_of_the_same_artifact_is_one_of_its_own(self, register: Register, clock: SetClock) -> None:
        await register.rollback_started(await recorded(register, "v1", started_at=NOW - MINUTE))
        await register.rollback_ended("api", ReleaseStatus.LIVE)
        clock.instant += MINUTE
        release, created = await register.report(report("v1"))
        assert (release.kind, created) == (ReleaseKind.RELEASE, True)
