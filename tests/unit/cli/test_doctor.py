import json
from pathlib import Path

import pytest

from rollbackd.model.readiness import ReadinessCheck, ReadinessVerdict
from rollbackd.prometheus.servers import ServerAnswer
from rollbackd.settings.effective import Role
from tests.unit.cli.conftest import Run
from tests.unit.web.samples import HOSTILE
from tests.unit.web.world import World


def check(verdict: ReadinessVerdict, detail: str = "found") -> ReadinessCheck:
    return ReadinessCheck(name="target", verdict=verdict, detail=detail)


async def test_doctor_lists_every_check_and_the_daemon(world: World, rollbackd: Run) -> None:
    result = await rollbackd("doctor", role=Role.VIEWER)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "checkout\trunbook\tready\tcheckout-quick",
            "(rollbackd)\tdaemon\tready\t0.1.0, since 2026-01-31T12:00:00.000Z",
            "(rollbackd)\tstore\tready\twrites",
            "(rollbackd)\tconfig\tready\t/etc/rollbackd/rollbackd.yaml, read at 2026-01-31T12:00:00.000Z",
            "(rollbackd)\tprometheus main\tready\tanswers, clock off by +0.0 s",
        ],
    )


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (ReadinessVerdict.READY, 0),
        (ReadinessVerdict.NOT_APPLICABLE, 0),
        (ReadinessVerdict.NOT_READY, 2),
        (ReadinessVerdict.UNKNOWN, 2),
    ],
)
async def test_its_exit_code_says_whether_all_are_ready(world: World, rollbackd: Run, verdict: ReadinessVerdict, code: int) -> None:
    world.health.checks = (check(verdict),)
    for arguments in (("doctor",), ("doctor", "--json")):
        assert (await rollbackd(*arguments)).exit_code == code


async def test_the_daemons_own_troubles_count(world: World, rollbackd: Run) -> None:
    world.health.store_problem = "the disk is full"
    world.health.servers = (ServerAnswer(name="main", problem="main does not answer"),)
    world.health.config_changed = (Path("/etc/rollbackd/rollbackd.yaml"),)
    result = await rollbackd("doctor")
    assert result.exit_code == 2
    assert "(rollbackd)\tstore\tnot_ready\tthe disk is full" in result.stdout
    assert "(rollbackd)\tprometheus main\tnot_ready\tmain does not answer" in result.stdout
    assert "changed since and not read yet: /etc/rollbackd/rollbackd.yaml" in result.stdout


async def test_as_json(world: World, rollbackd: Run) -> None:
    data = json.loads((await rollbackd("doctor", "--json")).stdout)
    assert data["services"][0]["checks"] == [{"name": "runbook", "verdict": "ready", "detail": "checkout-quick"}]
    assert data["config"]["file"] == "/etc/rollbackd/rollbackd.yaml"


async def test_hostile_text_stays_one_line(world: World, rollbackd: Run) -> None:
    world.health.checks = (check(ReadinessVerdict.NOT_READY, HOSTILE),)
    shown = (await rollbackd("doctor")).stdout
    assert not set("\x1b\x07\u202e") & set(shown)
    assert not any(line.startswith("forged") for line in shown.splitlines())


async def test_without_a_daemon_it_is_7(rollbackd: Run) -> None:
    assert (await rollbackd("doctor", url="http://127.0.0.1:1")).exit_code == 7


async def test_status_warns_of_each_service_that_is_not_ready(world: World, rollbackd: Run) -> None:
    world.health.checks = (check(ReadinessVerdict.NOT_READY, "no release is recorded: record one"), check(ReadinessVerdict.UNKNOWN))
    result = await rollbackd("status")
    assert result.exit_code == 0
    assert "not ready: checkout: target: no release is recorded: record one (and 1 more: 'rollbackd doctor')\n" in result.stdout
    world.health.checks = (check(ReadinessVerdict.UNKNOWN, "not looked at yet"),)
    assert "not known to be ready: checkout: target: not looked at yet\n" in (await rollbackd("status")).stdout
    world.health.checks = (check(ReadinessVerdict.NOT_APPLICABLE),)
    assert "ready: checkout" not in (await rollbackd("status")).stdout
