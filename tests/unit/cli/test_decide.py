import json
from datetime import UTC, datetime, timedelta

import pytest

from rollbackd.errors import RefusedError
from rollbackd.model.release import Mark, ReleaseStatus
from rollbackd.releases.register import ReleaseReport
from rollbackd.settings.effective import Role
from tests.unit.cli.conftest import Run
from tests.unit.web.samples import incident, recovered
from tests.unit.web.world import World, keep

ID = "20260131-120000-7f3a"
BY = "operator-person"


@pytest.mark.parametrize(
    ("args", "asked"),
    [
        (("approve", ID), ("approve", ID, None, BY)),
        (("approve", ID, "--plan", "d1gest"), ("approve", ID, "d1gest", BY)),
        (("reject", ID, "--reason", "not now"), ("reject", ID, "not now", BY)),
        (("abort", ID, "--reason", "wrong one"), ("abort", ID, "wrong one", BY)),
        (("acknowledge", ID, "--reason", "seen"), ("acknowledge", ID, "seen", BY)),
    ],
)
async def test_a_decision_is_sent_and_what_stands_then_is_said(
    world: World, rollbackd: Run, args: tuple[str, ...], asked: tuple[object, ...]
) -> None:
    await keep(world.store, incident())
    result = await rollbackd(*args)
    assert (result.exit_code, result.stdout) == (0, "Judging.\n")
    assert result.stderr == f"follow it with 'rollbackd watch {ID}'\n"
    assert world.operator.asked == [asked]
    assert json.loads((await rollbackd(*args, "--json")).stdout)["id"] == ID


async def test_what_has_ended_is_not_to_be_followed(world: World, rollbackd: Run) -> None:
    await keep(world.store, recovered())
    assert (await rollbackd("acknowledge", ID, "--reason", "seen")).stderr == ""


@pytest.mark.parametrize("command", ["reject", "abort", "acknowledge"])
async def test_a_decision_needs_a_reason(world: World, rollbackd: Run, command: str) -> None:
    result = await rollbackd(command, ID)
    assert result.exit_code == 2
    assert "--reason" in result.stderr
    assert world.operator.asked == []


async def test_a_refusal_is_3_and_the_daemons_own_words(world: World, rollbackd: Run) -> None:
    world.operator.raises = RefusedError("the plan has changed since it was shown", reason="outdated_plan")
    result = await rollbackd("approve", ID)
    assert (result.exit_code, result.stderr) == (3, "rollbackd: the plan has changed since it was shown\n")


async def test_pause_and_resume(world: World, rollbackd: Run) -> None:
    result = await rollbackd("pause", "checkout", "--for", "90m", "--reason", "maintenance")
    assert result.stdout == "paused: checkout until 2026-01-31T13:30:00.000Z\n"
    assert json.loads((await rollbackd("pause", "--for", "2h", "--reason", "x", "--json")).stdout)["scope"] == "global"
    assert (await rollbackd("resume", "checkout")).stdout == "resumed: checkout\n"
    world.operator.resumed = False
    assert (await rollbackd("resume")).stdout == "global was not paused\n"
    assert json.loads((await rollbackd("resume", "--json")).stdout) == {"scope": "global", "resumed": False}
    assert world.operator.asked[:2] == [
        ("pause", "checkout", timedelta(minutes=90), "maintenance", BY),
        ("pause", None, timedelta(hours=2), "x", BY),
    ]


async def test_a_pause_without_an_end_or_with_a_strange_one_is_a_usage_error(world: World, rollbackd: Run) -> None:
    assert (await rollbackd("pause", "--reason", "x")).exit_code == 2
    result = await rollbackd("pause", "--for", "2 hours", "--reason", "x")
    assert result.exit_code == 2
    assert "is not a duration" in result.stderr
    assert world.operator.asked == []


AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SAID = "checkout v2 is live, started 2026-01-31T11:55:00.000Z\n"


@pytest.mark.parametrize(
    ("args", "report"),
    [
        (("start",), ReleaseReport(service="checkout", version="v2", status=ReleaseStatus.ROLLING)),
        (
            ("start", "--at", "2026-01-31T12:00:00Z", "--artifact", "shop:v2", "--group", "g", "--irreversible", "--schema", "42"),
            ReleaseReport(
                service="checkout",
                version="v2",
                status=ReleaseStatus.ROLLING,
                started_at=AT,
                artifact="shop:v2",
                group="g",
                irreversible=True,
                schema="42",
            ),
        ),
        (("finish",), ReleaseReport(service="checkout", version="v2", status=ReleaseStatus.LIVE)),
        (("finish", "--at", "1769860800"), ReleaseReport(service="checkout", version="v2", status=ReleaseStatus.LIVE, live_at=AT)),
        (("fail",), ReleaseReport(service="checkout", version="v2", status=ReleaseStatus.FAILED)),
        (
            ("record", "--at", "1769860800", "--schema-compatible"),
            ReleaseReport(service="checkout", version="v2", status=ReleaseStatus.LIVE, started_at=AT, live_at=AT, schema_compatible=True),
        ),
    ],
)
async def test_a_release_is_recorded_with_what_was_said_and_no_more(
    world: World, rollbackd: Run, args: tuple[str, ...], report: ReleaseReport
) -> None:
    result = await rollbackd("release", args[0], "checkout", "v2", *args[1:], role=Role.CI)
    assert (result.exit_code, result.stdout) == (0, SAID)
    assert world.operator.asked == [("record_release", report, "ci-person")]


async def test_a_strange_time_is_refused_by_the_daemon_with_advice(rollbackd: Run) -> None:
    result = await rollbackd("release", "record", "checkout", "v2", "--at", "yesterday")
    assert result.exit_code == 2
    assert "deployed_at" in result.stderr


@pytest.mark.parametrize(("command", "mark", "said"), [("mark-bad", Mark.BAD, ", marked bad"), ("mark-good", Mark.NONE, "")])
async def test_a_release_is_marked(world: World, rollbackd: Run, command: str, mark: Mark, said: str) -> None:
    result = await rollbackd("release", command, "checkout", "registry/shop:v2@sha", "--reason", "broken")
    assert result.stdout == f"checkout v2 is live{said}, started 2026-01-31T11:55:00.000Z\n"
    assert world.operator.asked == [("mark", "checkout", "registry/shop:v2@sha", mark, "broken", BY)]
    assert json.loads((await rollbackd("release", command, "checkout", "v2", "--reason", "x", "--json")).stdout)["version"] == "v2"
