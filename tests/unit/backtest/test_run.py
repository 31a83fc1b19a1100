from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.backtest.files import read
from rollbackd.backtest.past import PastAlert, PastReleases
from rollbackd.backtest.run import Backtest, Result
from rollbackd.clock import SystemClock
from rollbackd.decision.decide import decide
from rollbackd.flow.gather import Gatherer
from rollbackd.model.decision import Action, AlertFacts, Blame, Case, CheckVerdict
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release, ReleaseStatus
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from tests.fakes.prometheus import FakePrometheus
from tests.unit.backtest.world import AT, DAY, HOUR, MINUTE, SECOND, alert_row, fails, release_row, settings, write_lines

V1 = release_row("v1", ago=DAY)
V2 = release_row("v2", ago=3 * MINUTE)
ONSET = AT - 2 * MINUTE


class Past:
    """A backtest over the fake server; `replay` is of what the rows of the two files say."""

    def __init__(self, directory: Path, fake: FakePrometheus) -> None:
        self.directory = directory
        self.fake = fake
        self.settings = settings(directory, fake.url)
        self.clients = {name: PrometheusClient(server, SystemClock()) for name, server in self.settings.prometheus.items()}

    def services(self, *services: str) -> None:
        self.settings = settings(self.directory, self.fake.url, *services)

    def read(
        self, alerts: Sequence[Mapping[str, Any]], releases: Sequence[Mapping[str, Any]]
    ) -> tuple[tuple[PastAlert, ...], PastReleases]:
        files = read(write_lines(self.directory / "a.jsonl", alerts), write_lines(self.directory / "r.jsonl", releases))
        assert files.alerts is not None
        assert files.releases is not None
        return files.alerts, files.releases

    async def replay(
        self,
        *alerts: Mapping[str, Any],
        releases: Sequence[Mapping[str, Any]] | None = None,
        together: bool = False,
    ) -> list[Result]:
        past_alerts, past_releases = self.read([*alerts] or [alert_row()], [V1, V2] if releases is None else releases)
        backtest = Backtest(self.settings.services, self.clients, past_releases)
        results: list[Result] = []
        await (backtest.in_time_order if together else backtest.alone)(past_alerts, results.append)
        return results


@pytest.fixture
async def past(tmp_path: Path) -> AsyncIterator[Past]:
    async with FakePrometheus() as fake:
        past = Past(tmp_path, fake)
        yield past
        for client in past.clients.values():
            await client.close()


def said(result: Result) -> tuple[Action, Reason, timedelta]:
    return result.decision.action, result.decision.reason, result.took


async def test_a_bad_release_is_rolled_back_at_the_first_look(past: Past) -> None:
    fails(past.fake, since=ONSET)
    (result,) = await past.replay()
    assert said(result) == (Action.ROLL_BACK, Reason.TO_BLAME, timedelta())
    assert result.decision.target is not None
    assert (result.service, result.decision.target.version, result.decision.blame) == ("api", "v1", Blame.TO_BLAME)
    assert result.evidence is not None
    assert result.evidence.readings[-1].at == AT


async def test_what_has_not_happened_yet_is_not_seen(past: Past) -> None:
    fails(past.fake, since=AT + MINUTE)
    (result,) = await past.replay()
    assert said(result) == (Action.HOLD, Reason.HEALTHY, 15 * SECOND)


async def test_an_alert_that_is_confirmed_late_is_rolled_back_late(past: Past) -> None:
    fails(past.fake, since=AT - MINUTE)
    (result,) = await past.replay()
    assert said(result) == (Action.ROLL_BACK, Reason.TO_BLAME, result.took)
    assert timedelta() < result.took <= 2 * MINUTE


async def test_a_release_after_the_breach_is_not_there_yet(past: Past) -> None:
    fails(past.fake, since=ONSET)
    later = {**V2, "deployed_at": (AT + MINUTE).timestamp()}
    (result,) = await past.replay(releases=[V1, later])
    assert said(result) == (Action.HOLD, Reason.NO_RECENT_RELEASE, timedelta())
    assert {check.value for check in result.decision.checks if check.name == "releases"} == {"1 recorded"}


async def test_a_release_that_is_not_live_yet_is_rolling(past: Past) -> None:
    fails(past.fake, since=ONSET)
    slow = {**V2, "live_at": (AT + MINUTE).timestamp(), "started_at": V2["deployed_at"]}
    (result,) = await past.replay(releases=[V1, slow])
    assert result.decision.suspect is not None
    assert (result.decision.suspect.status, result.decision.suspect.live_at) == (ReleaseStatus.ROLLING, None)
    assert result.decision.action is Action.ROLL_BACK


async def test_what_one_alert_cannot_tell_is_not_evaluated(past: Past) -> None:
    fails(past.fake, since=ONSET)
    (result,) = await past.replay()
    skipped = {check.name for check in result.decision.checks if check.verdict is CheckVerdict.NOT_EVALUATED}
    hangs_on_others = {"paused", "step_running", "cooldown", "budget", "fleet_brake", "settling", "release_in_progress", "running_version"}
    assert skipped == hangs_on_others | {"no_room"}


async def test_what_stays_unknown_escalates_at_the_end(past: Past) -> None:
    (result,) = await past.replay()
    assert said(result) == (Action.ESCALATE, Reason.UNKNOWN, 10 * MINUTE)
    assert result.looks == 41


async def test_however_many_looks_each_question_is_asked_once(past: Past) -> None:
    fails(past.fake, since=AT - HOUR)
    past.fake.answer("60s", None)
    (result,) = await past.replay()
    assert result.looks == 41
    assert len(past.fake.asked) == len({asked.query for asked in past.fake.asked}) == 6
    assert all(asked.is_range for asked in past.fake.asked)


async def test_an_alert_of_no_service_or_of_two(past: Past) -> None:
    past.services("api: {}", "api-too: {match: ['service=\"api\"']}")
    stranger, both = await past.replay(alert_row(service="else"), alert_row("a2"))
    assert said(stranger) == (Action.HOLD, Reason.NO_SERVICE, timedelta())
    assert said(both) == (Action.HOLD, Reason.AMBIGUOUS_SERVICE, timedelta())
    assert (stranger.service, both.service) == (None, None)
    assert [check.reason for check in stranger.decision.checks] == [Reason.NO_SERVICE]
    assert past.fake.asked == []


async def test_a_register_that_may_not_be_whole_decides_nothing(past: Past) -> None:
    fails(past.fake, since=ONSET)
    alerts, releases = past.read([alert_row()], [V1, V2])
    doubtful = PastReleases({"api": replace(releases.by_service["api"], problem="it is down")})
    results: list[Result] = []
    await Backtest(past.settings.services, past.clients, doubtful).alone(alerts, results.append)
    assert said(results[0]) == (Action.ESCALATE, Reason.UNKNOWN, 10 * MINUTE)


async def test_results_come_in_the_order_of_the_alerts(past: Past) -> None:
    fails(past.fake, since=ONSET)
    ids = [f"a{n}" for n in range(12)]
    rows = [alert_row(one, service="api" if n % 3 else "else", at=AT - n * SECOND) for n, one in enumerate(ids)]
    for together in (False, True):
        assert [result.alert.id for result in await past.replay(*rows, together=together)] == ids


async def test_together_the_second_alert_meets_the_rollback_of_the_first(past: Past) -> None:
    fails(past.fake, since=ONSET)
    rows = [alert_row("second", at=AT + 5 * SECOND), alert_row("first"), alert_row("third", at=AT + 90 * SECOND)]
    second, first, third = await past.replay(*rows, together=True)
    assert said(first) == (Action.ROLL_BACK, Reason.TO_BLAME, timedelta())
    assert said(second) == (Action.HOLD, Reason.COOLDOWN, MINUTE)  # a step was running until then
    assert said(third) == (Action.HOLD, Reason.COOLDOWN, timedelta())
    assert {said(result)[:2] for result in await past.replay(*rows)} == {(Action.ROLL_BACK, Reason.TO_BLAME)}


async def test_together_the_fleet_has_one_budget(past: Past) -> None:
    names = [f"s{n}" for n in range(5)]
    past.services(*(f"{name}: {{}}" for name in names))
    for name in names:
        fails(past.fake, name, since=ONSET)
    releases = [release_row(version, ago=ago, service=name) for name in names for version, ago in (("v1", DAY), ("v2", 3 * MINUTE))]
    rows = [alert_row(name, service=name, at=AT + n * SECOND) for n, name in enumerate(names)]
    results = await past.replay(*rows, releases=releases, together=True)
    assert [result.decision.reason for result in results].count(Reason.BUDGET) == 2
    assert [result.decision.action for result in results].count(Action.ROLL_BACK) == 3


async def test_together_an_outage_is_told_from_deploys(past: Past) -> None:
    names = [f"s{n}" for n in range(4)]
    past.services(*(f"{name}: {{}}" for name in names))
    for name in names:
        fails(past.fake, name, since=ONSET)
    releases = [release_row("v1", ago=DAY, service=name) for name in names] + [release_row("v2", ago=3 * MINUTE, service="s0")]
    rows = [alert_row(name, service=name, at=AT + n * SECOND) for n, name in enumerate(names)]
    first, *others = await past.replay(*rows, releases=releases, together=True)
    assert said(first) == (Action.ROLL_BACK, Reason.TO_BLAME, timedelta())  # its own release explains it
    brakes = {result.service: check.verdict for result in others for check in result.decision.checks if check.name == "fleet_brake"}
    assert brakes == {"s1": CheckVerdict.PASSED, "s2": CheckVerdict.PASSED, "s3": CheckVerdict.FAILED}  # the third of its kind
    (alone,) = await past.replay(rows[3], releases=releases)
    assert {check.verdict for check in alone.decision.checks if check.name == "fleet_brake"} == {CheckVerdict.NOT_EVALUATED}


async def test_together_a_release_that_is_rolling_is_waited_for(past: Past) -> None:
    fails(past.fake, since=ONSET)
    slow = {**V2, "live_at": (AT + MINUTE).timestamp(), "started_at": V2["deployed_at"]}
    (result,) = await past.replay(releases=[V1, slow], together=True)
    assert said(result) == (Action.ROLL_BACK, Reason.TO_BLAME, MINUTE)


@pytest.mark.parametrize("since", [ONSET, AT - MINUTE, AT - HOUR])
@pytest.mark.parametrize("recheck", ["15s", "20s", "40s"])
async def test_the_daemon_would_have_decided_the_same_at_that_moment(past: Past, since: datetime, recheck: str) -> None:
    past.services(f"api: {{recheck_every: {recheck}}}")
    fails(past.fake, since=since, until=AT + 3 * MINUTE)
    (result,) = await past.replay()
    policy, now = past.settings.services["api"], result.decision.at
    releases = past.read([alert_row()], [V1, V2])[1].of_service("api", now).releases

    async def releases_of(_: str) -> tuple[Release, ...]:
        return releases

    gatherer = Gatherer(Measurer(past.clients, check_clock=False), past.settings.services, releases_of)
    evidence = await gatherer.evidence(policy, now, known_for=now - AT)
    facts = AlertFacts(name="HighErrorRate", trigger="HighErrorRate", starts_at=AT, delivered_at=AT)
    lived = decide(await gatherer.in_context(Case(policy=policy, alert=facts, evidence=evidence, releases=releases), now), now)
    assert (lived.reason, lived.value, lived.limit, lived.onset, lived.suspect, lived.target) == (
        result.decision.reason,
        result.decision.value,
        result.decision.limit,
        result.decision.onset,
        result.decision.suspect,
        result.decision.target,
    )
    judged = {check.name: check for check in result.decision.checks if check.verdict is not CheckVerdict.NOT_EVALUATED}
    assert judged == {check.name: check for check in lived.checks if check.name in judged}
    assert result.evidence == evidence["HighErrorRate"]
