"""What a case is made of, and how far back it reaches."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from rollbackd.clock import SystemClock
from rollbackd.flow.collect import Collector, changes_since
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import Action, Decision
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.releases.sources import Sources
from rollbackd.settings.effective import PrometheusServer
from tests.fakes.prometheus import FakePrometheus
from tests.unit.decision.builders import error_trigger, service_policy, slow_trigger
from tests.unit.flow.conftest import NOW, Stage

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
WATCHED = service_policy(error_trigger(hold_for=2 * MINUTE), slow_trigger(hold_for=5 * MINUTE), blame_window=30 * MINUTE)
FARTHEST = NOW - 65 * MINUTE


async def unexpected(*asked: object) -> Any:
    raise AssertionError(f"nobody expected {asked}")


def change(minutes_ago: int, **changes: Any) -> Change:
    return Change(service="api", kind=ChangeKind.INFRA, what=f"{minutes_ago} min ago", at=NOW - minutes_ago * MINUTE, **changes)


@pytest.fixture
async def collector(stage: Stage) -> AsyncIterator[Collector]:
    prober: Any = None  # asked only of a service that has a probe for what runs
    async with FakePrometheus() as prometheus:
        client = PrometheusClient(PrometheusServer(name="main", url=prometheus.url), SystemClock())
        sources = Sources(stage.store.releases, unexpected, stage.clock)
        yield Collector(
            services={}, store=stage.store, measurer=Measurer({"main": client}), sources=sources, prober=prober, serving_since=NOW
        )
        await client.close()


def test_a_change_counts_as_far_back_as_the_suspect_may_lie() -> None:
    """Two blame windows, and the longest `for` of the service."""
    assert changes_since(WATCHED, NOW) == FARTHEST


async def test_what_else_was_released_is_named_of_dependencies_and_of_the_same_group(collector: Collector, stage: Stage) -> None:
    def release(service: str, **changes: Any) -> Release:
        return Release(
            **{
                "service": service,
                "version": f"{service}-2",
                "artifact": service,
                "started_at": NOW - 10 * MINUTE,
                "live_at": NOW,
                **changes,
            }
        )

    suspect = release("api", group="train")
    others = [release("db"), release("web", group="train"), release("other"), release("cache", started_at=NOW - 3 * HOUR)]
    for one in (suspect, *others):
        await stage.store.releases.record(one)
    decision = Decision(action=Action.HOLD, reason=Reason.INCONCLUSIVE, at=NOW, onset=NOW - MINUTE, suspect=suspect)
    found = await collector.released_beside(service_policy(depends_on=("db", "cache")), decision)
    assert sorted(one.service for one in found) == ["db", "web"]


def test_also_of_a_service_without_a_trigger() -> None:
    assert changes_since(service_policy(triggers=(), blame_window=30 * MINUTE), NOW) == NOW - 60 * MINUTE


async def test_a_case_has_the_changes_of_its_service_newest_first(stage: Stage, collector: Collector) -> None:
    far = Change(service="api", kind=ChangeKind.FLAG, what="just far enough", at=FARTHEST)
    too_far = Change(service="api", kind=ChangeKind.FLAG, what="too far", at=FARTHEST - timedelta(microseconds=1))
    others = Change(service="web", kind=ChangeKind.FLAG, what="not ours", at=NOW)
    for one in (far, change(3), too_far, change(1), others):
        await stage.store.changes.record(one)
    case = await collector.case(await stage.open(), WATCHED, NOW)
    assert case.changes == (change(1), change(3), far)


async def test_without_any_there_is_none(stage: Stage, collector: Collector) -> None:
    assert (await collector.case(await stage.open(), WATCHED, NOW)).changes == ()
