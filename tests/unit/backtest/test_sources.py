from dataclasses import replace
from pathlib import Path

from rollbackd.backtest import sources
from rollbackd.backtest.past import PastReleases
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.model.release import ReleaseStatus
from tests.fakes.policies import service
from tests.unit.backtest.world import AT, DAY, MINUTE

ROWS = """[
  {"Version": 2, "At": "2023-09-22T14:38:00Z", "Status": "complete"},
  {"Version": 1, "At": "2023-09-21T14:41:00Z", "Status": "failed"}
]"""


def listing(script: str, name: str = "api") -> ServicePolicy:
    source = CommandSource(
        argv=("sh", "-c", script),
        items="[]",
        version="Version",
        artifact=None,
        started_at="At",
        status="Status",
        live_when=("complete",),
        failed_when=("failed",),
    )
    return replace(service(name), releases=source)


async def asked(directory: Path, *policies: ServicePolicy) -> PastReleases:
    return await sources.ask(policies, directory)


async def test_a_services_own_source_tells_its_releases(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(ROWS)
    past = await asked(tmp_path, listing("cat rows.json"))
    seen = past.of_service("api", AT)
    assert seen.problem == ""
    assert [(one.version, one.started_at, one.status) for one in seen.releases] == [
        ("2", AT - 3 * MINUTE, ReleaseStatus.LIVE),
        ("1", AT - DAY, ReleaseStatus.FAILED),
    ]
    assert [one.version for one in past.of_service("api", AT - 4 * MINUTE).releases] == ["1"]


async def test_a_source_that_forgot_what_was_then_cannot_tell(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(ROWS)
    past = await asked(tmp_path, listing("cat rows.json"))
    assert "lists nothing as old as this alert" in past.of_service("api", AT - 2 * DAY).problem


async def test_what_a_source_cannot_tell_is_the_problem_of_its_service(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(ROWS)
    past = await asked(tmp_path, listing("cat rows.json"), listing("exit 3", "web"))
    assert past.of_service("api", AT).problem == ""
    assert past.of_service("web", AT).problem == "the release source of web (sh) ended with exit code 3"


async def test_what_is_recorded_over_the_api_has_to_be_given(tmp_path: Path) -> None:
    assert "give them with --releases" in (await asked(tmp_path, service("api"))).of_service("api", AT).problem
