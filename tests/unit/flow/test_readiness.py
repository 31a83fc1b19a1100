"""One service looked over for real: a Prometheus over HTTP, a deploy tool, a store, credentials on the disk."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from rollbackd.action.commands import Commands
from rollbackd.action.environment import Environments
from rollbackd.action.probe import Prober
from rollbackd.action.process import Processes
from rollbackd.clock import SystemClock
from rollbackd.errors import PermanentError
from rollbackd.flow.readiness import Examiner, listed, recorded
from rollbackd.model.condition import Condition
from rollbackd.model.policy import Indicator, Mode, Objective, SecretRef, ServicePolicy, Trigger
from rollbackd.model.readiness import ReadinessCheck, ReadinessVerdict
from rollbackd.model.release import Release
from rollbackd.model.runbook import Probe, Run, RunAsk, Runbook, RunbookKind, Step
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.releases.sources import Sources
from rollbackd.settings.effective import PrometheusServer
from rollbackd.store.store import Store
from rollbackd.telemetry.redaction import register_secret
from tests.fakes.policies import error_rate, response_time_p95, service
from tests.fakes.prometheus import FakePrometheus
from tests.fakes.tool import Tool

READY, NOT_READY, UNKNOWN, NOT_APPLICABLE = ReadinessVerdict
BAD, TOTAL = r"^sum\(increase\(.*5\.\.", r"^sum\(increase\(http_requests_total\{[^}]*api\"\}"
P95, COUNT = "histogram_quantile", r"^sum\(increase\(http_request_duration_seconds_count"


def trigger(indicator: Indicator, **changes: object) -> Trigger:
    plain = Trigger(
        name=indicator.name,
        indicator=indicator,
        breach=Condition.parse("> 1"),
        clear=Condition.parse("< 1"),
        hold_for=timedelta(minutes=5),
        alerts=(indicator.name,),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@dataclass
class Scene:
    prometheus: FakePrometheus
    tool: Tool
    store: Store
    policy: ServicePolicy
    examiner: Examiner

    async def checks(self, **changes: object) -> dict[str, ReadinessCheck]:
        found = await self.examiner.examine(replace(self.policy, **changes))  # type: ignore[arg-type]
        return {check.name: check for check in found.checks}

    async def verdict(self, **changes: object) -> ReadinessVerdict:
        return (await self.examiner.examine(replace(self.policy, **changes))).verdict  # type: ignore[arg-type]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = SystemClock()
    (tmp_path / "token").write_text("hunter2-hunter2")
    (tmp_path / "token").chmod(0o600)
    tool = Tool(tmp_path, live="v2")
    runbook = Runbook(
        name="quick",
        kind=RunbookKind.QUICK,
        budget=timedelta(minutes=1),
        steps=(Step(name="deploy", action=Run(argv=(str(tool.program), "deploy", "${target.version}")), timeout=timedelta(minutes=1)),),
    )
    policy = replace(
        service("api"),
        mode=Mode.AUTO,
        triggers=(trigger(error_rate()), trigger(response_time_p95())),
        objectives=(Objective(name="error_rate", indicator=error_rate(), target=Condition.parse("< 1")),),
        runbook=runbook,
        running_version=Probe(ask=RunAsk(argv=(str(tool.program), "live"))),
        credentials={"TOKEN": SecretRef(file=str(tmp_path / "token"))},
    )
    async with FakePrometheus() as fake, Store.opened(f"sqlite:///{tmp_path}/state/rollbackd.db", clock=clock) as store:
        for pattern, value in ((TOTAL, 1000), (BAD, 1), (P95, 120), (COUNT, 1000)):
            fake.answer(pattern, value)
        for number, version in enumerate(("v1", "v2")):
            at = clock.now() - timedelta(days=2 - number)
            await store.releases.record(Release(service="api", version=version, artifact=version, started_at=at, live_at=at))
        clients = {"main": PrometheusClient(PrometheusServer(name="main", url=fake.url, timeout=timedelta(seconds=2)), clock)}
        commands = Commands(
            Processes(), Environments(os.environ, lambda path: register_secret(Path(path).read_text()).reveal()), cwd=tmp_path
        )
        examiner = Examiner(
            clients=clients,
            commands=commands,
            prober=Prober(commands, Measurer(clients), clock),
            known=recorded(Sources(store.releases, commands.ask_source, clock), store.releases),
            clock=clock,
        )
        yield Scene(fake, tool, store, policy, examiner)
        for client in clients.values():
            await client.close()


async def test_a_service_whose_rollback_would_work_is_ready(scene: Scene) -> None:
    found = await scene.checks()
    assert {name: check.verdict for name, check in found.items()} == dict.fromkeys(
        (
            *("runbook", "prometheus", "indicator error_rate", "indicator response_time_p95"),
            *(f"command {scene.tool.program}", "credential TOKEN", "target", "running_version"),
        ),
        READY,
    )
    assert await scene.verdict() is READY
    assert scene.tool.effects() == []  # it looks, and deploys nothing


async def test_every_query_of_every_indicator_is_really_run(scene: Scene) -> None:
    await scene.checks()
    asked = {asked.query for asked in scene.prometheus.asked}
    assert 'sum(increase(http_requests_total{service="api",code=~"5.."}[60s]))' in asked
    assert 'sum(increase(http_requests_total{service="api"}[300s]))' in asked  # the pool over the trigger's `for`
    assert 'sum(increase(http_request_duration_seconds_count{service="api"}[300s]))' in asked
    assert any("histogram_quantile" in query for query in asked)
    assert any(query.startswith("max(timestamp(") for query in asked)


@pytest.mark.parametrize(
    ("pattern", "answer", "indicator", "about", "said"),
    [
        (r"^max\(timestamp\(http_requests", (), "error_rate", "samples", "no series: mend the metric's name or the service's selector"),
        (TOTAL, (), "error_rate", "total", "no series"),
        (P95, (), "response_time_p95", "query", "query: no series"),
        (COUNT, (), "response_time_p95", "count", "count: no series"),
        (TOTAL, (({"a": "1"}, 1), ({"a": "2"}, 1)), "error_rate", "total", "several series where one is meant"),
        (P95, (({"a": "1"}, 1), ({"a": "2"}, 1)), "response_time_p95", "query", "several series where one is meant"),
        (P95, ("NaN",), "response_time_p95", "query", "no finite number"),
        (r"^max\(timestamp\(http_requests", (lambda at: at.timestamp() - 90,), "error_rate", "samples", "is 1 min 30 s old (limit 30 s)"),
        (r"^max\(count_over_time\(http_requests", (1,), "error_rate", "samples", "under half of the samples that scrape_interval promises"),
    ],
)
async def test_a_query_that_does_not_give_one_fresh_series_is_named(
    scene: Scene, *, pattern: str, answer: tuple[object, ...], indicator: str, about: str, said: str
) -> None:
    scene.prometheus.answer(pattern, *answer)  # type: ignore[arg-type]
    found = await scene.checks()
    check = found[f"indicator {indicator}"]
    assert (check.verdict, check.about) == (NOT_READY, ("indicators", indicator, about))
    assert said in check.detail
    assert 'service="api"' in check.detail  # the query as it was run, to be pasted
    assert [one.name for one in found.values() if one.verdict.is_problem] == [check.name]


async def test_what_prometheus_does_not_tell_is_unknown_and_never_ready(scene: Scene) -> None:
    scene.prometheus.fail(BAD, 400)
    check = (await scene.checks())["indicator error_rate"]
    assert (check.verdict, "scripted 400" in check.detail) == (UNKNOWN, True)
    assert await scene.verdict() is UNKNOWN


async def test_an_answer_with_warnings_is_no_answer(scene: Scene) -> None:
    scene.prometheus.answer(P95, 120, warnings=["remote read failed"])
    check = (await scene.checks())["indicator response_time_p95"]
    assert (check.verdict, "remote read failed" in check.detail) == (UNKNOWN, True)


@pytest.mark.parametrize("idle", [{TOTAL: 0, BAD: 0}, {P95: "NaN", COUNT: 0}])
async def test_a_service_that_nobody_asks_anything_is_ready(scene: Scene, idle: dict[str, float | str]) -> None:
    for pattern, value in idle.items():
        scene.prometheus.answer(pattern, value)
    assert await scene.verdict() is READY


async def test_a_server_that_is_down_is_asked_once(scene: Scene) -> None:
    scene.prometheus.fail("", 503)
    found = await scene.checks()
    assert (found["prometheus"].verdict, "answered 503" in found["prometheus"].detail) == (NOT_READY, True)
    assert {check.verdict for name, check in found.items() if name.startswith("indicator")} == {UNKNOWN}
    assert len(scene.prometheus.asked) == 1


async def test_a_server_whose_clock_is_off_is_not_relied_on(scene: Scene) -> None:
    scene.prometheus.clock_offset = timedelta(minutes=5)
    check = (await scene.checks())["prometheus"]
    assert (check.verdict, "set the clocks right" in check.detail) == (NOT_READY, True)


async def test_a_register_that_disagrees_with_what_runs(scene: Scene) -> None:
    scene.tool.live = "v3"
    check = (await scene.checks())["running_version"]
    assert (check.verdict, check.detail.startswith("runs v3, but recorded as newest is v2")) == (NOT_READY, True)


async def test_a_probe_that_fails_is_unknown(scene: Scene) -> None:
    scene.tool.behave(asked="echo 'token hunter2-hunter2 is refused' >&2; exit 3")
    check = (await scene.checks())["running_version"]
    assert (check.verdict, "exit 3" in check.detail) == (UNKNOWN, True)
    assert "hunter2" not in check.detail  # I13


async def test_a_credential_that_everybody_may_read(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "token").chmod(0o644)
    assert (await scene.checks())["credential TOKEN"].verdict is NOT_READY


async def test_a_service_that_is_only_observed_is_not_ready_or_unready(scene: Scene) -> None:
    observed = {"mode": Mode.OBSERVE, "runbook": None, "running_version": None}
    found = await scene.checks(**observed)
    assert {name for name, check in found.items() if check.verdict is NOT_APPLICABLE} == {"runbook", "target", "running_version"}
    assert await scene.verdict(**observed) is NOT_APPLICABLE
    scene.prometheus.answer(TOTAL)
    assert await scene.verdict(**observed) is NOT_READY  # its queries are judged by all the same


async def test_a_store_that_cannot_be_read_leaves_nothing_ready(scene: Scene) -> None:
    async def broken(policy: ServicePolicy) -> None:
        raise PermanentError("the store is damaged")

    scene.examiner._known = broken
    found = await scene.checks()
    assert (found["target"].verdict, found["running_version"].verdict) == (UNKNOWN, UNKNOWN)
    assert found["target"].detail == "the store is damaged"


async def test_without_a_register_the_source_is_asked_alone(scene: Scene, tmp_path: Path) -> None:
    from tests.unit.flow.test_way_back import SOURCE

    lists = tmp_path / "lists"
    lists.write_text("""#!/bin/sh\necho '[{"v": 2, "s": 1700000200}, {"v": 1, "s": 1700000100}]'\n""")
    lists.chmod(0o755)
    scene.tool.live = "2"
    scene.examiner._known = listed(scene.examiner._commands.ask_source)
    found = await scene.checks(releases=replace(SOURCE, argv=(str(lists),)))
    assert found["target"].detail == "2 would go back to 1 (1)"
    assert found["running_version"].verdict is READY
    assert (await scene.checks())["target"].verdict is NOT_APPLICABLE  # recorded over the API: only the daemon knows
    lists.write_text("#!/bin/sh\nexit 7\n")
    check = (await scene.checks(releases=replace(SOURCE, argv=(str(lists),))))["target"]
    assert (check.verdict, "ended with exit code 7: mend what stands under 'releases'" in check.detail) == (UNKNOWN, True)
