import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rollbackd.errors import NotFoundError
from rollbackd.model.change import Change, ChangeKind
from rollbackd.settings.effective import Role
from tests.unit.cli.conftest import Run
from tests.unit.web.samples import HOSTILE, after
from tests.unit.web.world import World

AT = datetime(2026, 1, 31, 11, 50, tzinfo=UTC)
WHAT = "new checkout on for everybody"
CHANGE = Change(service="checkout", kind=ChangeKind.FLAG, what=WHAT, at=after(-60), by="ci")


@pytest.mark.parametrize(
    ("more", "at", "said"),
    [
        ((), None, "2026-01-31T12:00:00.000Z"),
        (("--at", "2026-01-31T11:50:00Z"), AT, "2026-01-31T11:50:00.000Z"),
        (("--at", "1769860200"), AT, "2026-01-31T11:50:00.000Z"),
    ],
)
async def test_a_change_is_recorded_with_what_was_said(
    world: World, rollbackd: Run, more: tuple[str, ...], at: datetime | None, said: str
) -> None:
    args = ("change", "record", "checkout", "--kind", "flag", "--what", WHAT, *more)
    result = await rollbackd(*args, role=Role.CI)
    assert (result.exit_code, result.stdout) == (0, f"checkout flag changed at {said}: {WHAT}\n")
    assert world.operator.asked == [("record_change", "checkout", ChangeKind.FLAG, WHAT, at, "ci-person")]
    printed = json.loads((await rollbackd(*args, "--json", role=Role.CI)).stdout)
    assert printed == {"service": "checkout", "kind": "flag", "what": WHAT, "at": said, "by": "ci-person"}


@pytest.mark.parametrize(
    ("args", "advice"),
    [
        (("--what", WHAT), "--kind"),
        (("--kind", "flag"), "--what"),
        (("--kind", "mood", "--what", WHAT), "'flag', 'config', 'infra'"),
        (("--kind", "flag", "--what", WHAT, "--at", "yesterday"), "at: "),
        (("--kind", "flag", "--what", " "), "what: "),
    ],
)
async def test_what_cannot_be_meant_is_a_usage_error_with_advice(world: World, rollbackd: Run, args: tuple[str, ...], advice: str) -> None:
    result = await rollbackd("change", "record", "checkout", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert advice in result.stderr
    assert world.operator.asked == []


async def test_an_unknown_service_is_a_usage_error_in_the_daemons_words(world: World, rollbackd: Run) -> None:
    world.operator.raises = NotFoundError("no service 'chekout' in the config")
    result = await rollbackd("change", "record", "chekout", "--kind", "flag", "--what", WHAT)
    assert (result.exit_code, result.stderr) == (2, "rollbackd: no service 'chekout' in the config\n")
    assert (await rollbackd("change", "list", "chekout")).stderr == "rollbackd: no service 'chekout': did you mean 'checkout'?\n"


async def test_a_viewer_may_list_and_not_record(rollbackd: Run) -> None:
    assert (await rollbackd("change", "list", "checkout", role=Role.VIEWER)).exit_code == 0
    result = await rollbackd("change", "record", "checkout", "--kind", "flag", "--what", WHAT, role=Role.VIEWER)
    assert result.exit_code == 2
    assert "this needs ci or operator" in result.stderr


async def test_changes_are_listed_newest_first(world: World, rollbackd: Run) -> None:
    for one in (CHANGE, replace(CHANGE, what="and off again", at=after(0))):
        await world.store.changes.record(one)
    assert (await rollbackd("change", "list", "checkout")).stdout == (
        f"2026-01-31T12:00:00Z\tflag\tci\tand off again\n2026-01-31T11:59:00Z\tflag\tci\t{WHAT}\n"
    )
    listed = json.loads((await rollbackd("change", "list", "checkout", "--json")).stdout)
    assert [one["what"] for one in listed["items"]] == ["and off again", WHAT]


async def test_the_words_of_others_are_harmless(world: World, rollbackd: Run) -> None:
    await world.store.changes.record(replace(CHANGE, what=HOSTILE))
    recorded = await rollbackd("change", "record", "checkout", "--kind", "flag", "--what", HOSTILE)
    for shown in (recorded.stdout, (await rollbackd("change", "list", "checkout")).stdout):
        assert len(shown.splitlines()) == 1
        assert not set("\x1b\x07\u202e") & set(shown)
