"""Whatever fails, and whoever writes in between: no alert is lost, every incident ends, and none takes another with it (I2 I9)."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollbackd.errors import PermanentError, TemporaryError
from rollbackd.flow.move import Move
from rollbackd.model.alert import AlertStatus
from rollbackd.model.incident import Event, Incident, Outcome, Phase, Severity
from rollbackd.model.policy import BudgetPolicy, ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.report.facts import Facts
from rollbackd.settings import snapshot
from tests.fakes.policies import service
from tests.unit.flow.conftest import NOW, POLICY, Stage, alert, eventually


async def hold(incident: Incident, _policy: ServicePolicy) -> Move:
    return Move.close(incident, Outcome.HELD)


async def wait(incident: Incident, _policy: ServicePolicy) -> Move:
    return Move.stay(incident, then_wait=timedelta(hours=1))


class TestTrouble:
    async def test_an_error_that_may_pass_is_waited_out_however_long(self, stage: Stage) -> None:
        asked = 0

        async def full(incident: Incident, policy: ServicePolicy) -> Move:
            nonlocal asked
            asked += 1
            if asked < 10:
                raise TemporaryError("the disk is full")
            return await hold(incident, policy)

        stage.stations[Phase.DECIDING] = full
        await stage.open()
        async with stage.conducting() as conductor:
            await conductor.start()
            assert (await stage.told()).outcome is Outcome.HELD
        assert asked == 10
        assert stage.clock.now() - NOW > timedelta(minutes=1), "it must not be asked without a pause"

    @pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), PermanentError("a pinned config cannot be read")])
    @pytest.mark.parametrize(
        ("phase", "outcome"),
        [
            (Phase.DECIDING, Outcome.ESCALATED),
            (Phase.PROPOSED, Outcome.ESCALATED),
            (Phase.ESCALATED, Outcome.ESCALATED),
            (Phase.ROLLING_BACK, Outcome.FAILED),
            (Phase.WATCHING, Outcome.UNVERIFIED),
        ],
    )
    async def test_what_will_not_pass_ends_and_is_told(self, stage: Stage, phase: Phase, outcome: Outcome, error: Exception) -> None:
        async def broken(_incident: Incident, _policy: ServicePolicy) -> Move:
            raise error

        stage.stations[phase] = broken
        await stage.open(phase=phase, rollback_started_at=NOW if phase is Phase.ROLLING_BACK else None)
        async with stage.conducting() as conductor:
            await conductor.start()
            incident = await stage.told()
        assert incident.outcome is outcome
        assert "look at the service" in incident.detail
        assert (incident.rollback_ended_at is not None) is (phase is Phase.ROLLING_BACK), "what was run counts for the cooldown"
        assert stage.teller.told[-1][0] == outcome
        assert stage.left == (["i1: rollbackd itself failed"] if phase is Phase.ROLLING_BACK else []), "nothing of it keeps running"

    async def test_what_cannot_be_cleared_up_either_ends_all_the_same(self, stage: Stage) -> None:
        async def broken(_incident: Incident, _policy: ServicePolicy) -> Move:
            raise ZeroDivisionError("a bug")

        stage.stations[Phase.ROLLING_BACK] = broken
        stage.leaving = ZeroDivisionError("the same bug")
        await stage.open(phase=Phase.ROLLING_BACK, rollback_started_at=NOW)
        async with stage.conducting() as conductor:
            await conductor.start()
            assert (await stage.told()).outcome is Outcome.FAILED

    async def test_a_config_that_is_gone_ends_it_and_people_hear_of_it_without_a_report(self, stage: Stage) -> None:
        await stage.open(snapshot="0" * 64)
        async with stage.conducting() as conductor:
            await conductor.start()
            incident = await stage.told()
        assert incident.outcome is Outcome.ESCALATED
        assert stage.teller.told == [(Outcome.ESCALATED, Severity.WARNING)]

    async def test_a_report_that_cannot_be_made_is_no_reason_to_fall_silent(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor to stop the daemon, which would find the same incident at its next start."""

        def broken(_facts: Facts) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(stage.reporting, "write", broken)
        stage.stations[Phase.DECIDING] = hold
        await stage.open()
        async with stage.conducting() as conductor:
            await conductor.start()
            await stage.told()
        assert stage.teller.told == [(Outcome.HELD, Severity.INFO)]

    async def test_one_incident_that_fails_leaves_the_others_alone(self, stage: Stage) -> None:
        async def broken_for_one(incident: Incident, policy: ServicePolicy) -> Move:
            if incident.service == "api":
                raise ZeroDivisionError
            return await hold(incident, policy)

        stage.stations[Phase.DECIDING] = broken_for_one
        await stage.open()
        await stage.open("i2", service="web")
        async with stage.conducting() as conductor:
            await conductor.start()
            assert (await stage.told("i2")).outcome is Outcome.HELD
            assert (await stage.told()).outcome is Outcome.ESCALATED


class TestWritingInBetween:
    async def test_a_word_that_was_overtaken_is_dropped_and_asked_for_again(self, stage: Stage) -> None:
        asked = 0

        async def slow(incident: Incident, policy: ServicePolicy) -> Move:
            nonlocal asked
            asked += 1
            if asked == 1:
                await stage.store.incidents.save(incident, replace(incident, acknowledged_by="oncall"))
            return await hold(incident, policy)

        stage.stations[Phase.DECIDING] = slow
        await stage.open()
        async with stage.conducting() as conductor:
            await conductor.start()
            incident = await stage.told()
        assert (asked, incident.outcome, incident.acknowledged_by) == (2, Outcome.HELD, "oncall")

    async def test_what_a_person_closed_stays_closed(self, stage: Stage) -> None:
        async def slow(incident: Incident, policy: ServicePolicy) -> Move:
            rejected = incident.after(Event.CLOSE, outcome=Outcome.REJECTED, closed_at=NOW)
            await stage.store.incidents.save(incident, rejected)
            return Move.to(Event.ACT, incident)

        stage.stations[Phase.DECIDING] = slow
        await stage.open()
        async with stage.conducting() as conductor:
            await conductor.start()
            assert (await stage.told()).outcome is Outcome.REJECTED


class TestBudget:
    @pytest.mark.parametrize("allowed", [1, 3])
    async def test_i7_services_that_decide_at_the_same_moment_do_not_share_what_is_left(self, stage: Stage, allowed: int) -> None:
        """Each has seen that nobody has acted yet."""
        asked: Counter[str] = Counter()

        async def act_or_hold(incident: Incident, policy: ServicePolicy) -> Move:
            asked[incident.service] += 1
            return Move.to(Event.ACT, incident) if asked[incident.service] == 1 else await hold(incident, policy)

        async def have_moved() -> bool:
            return all(one.phase is Phase.ROLLING_BACK for one in await stage.store.incidents.open_ones())

        stage.stations |= {Phase.DECIDING: act_or_hold, Phase.ROLLING_BACK: wait}
        policy = replace(POLICY, budget=BudgetPolicy(service_per_day=2, fleet_per_hour=allowed))
        snapshot_digest = await stage.store.snapshots.put(snapshot.dump(policy))
        for number in range(6):
            await stage.open(f"i{number}", service=f"s{number}", snapshot=snapshot_digest)
        async with stage.conducting() as conductor:
            await conductor.start()
            await eventually(have_moved)
            assert len(await stage.store.incidents.open_ones()) == allowed


class TestClock:
    FIELDS = ("judging_since", "proposed_at", "escalated_at", "rollback_ended_at")

    @pytest.mark.parametrize("field", FIELDS)
    async def test_set_back_it_makes_no_wait_longer(self, stage: Stage, field: str) -> None:
        """What was written down before lies a day ahead then: a wait that counts from there would take a day."""
        seen: list[Incident] = []

        async def look(incident: Incident, policy: ServicePolicy) -> Move:
            seen.append(incident)
            return await wait(incident, policy)

        async def is_written_down() -> bool:
            return bool(getattr(await stage.store.incidents.get("i1"), field) == NOW)

        stage.stations[Phase.DECIDING] = look
        earlier: dict[str, Any] = dict.fromkeys(self.FIELDS, NOW - timedelta(hours=1))
        await stage.open(**{**earlier, field: NOW + timedelta(days=1)})
        async with stage.conducting() as conductor:
            await conductor.start()
            await eventually(is_written_down)
        assert {getattr(seen[0], each) for each in earlier} == {NOW, NOW - timedelta(hours=1)}


class TestRestart:
    @pytest.mark.parametrize("phase", [Phase.PROPOSED, Phase.ESCALATED])
    async def test_a_person_who_was_to_be_asked_is_asked_again(self, stage: Stage, phase: Phase) -> None:
        """The last process may have died between the commit and the telling."""

        async def is_told() -> bool:
            return bool(stage.teller.told)

        stage.stations[phase] = wait
        incident = await stage.open(phase=phase)
        async with stage.conducting() as conductor:
            await conductor.start()
            await eventually(is_told)
            assert stage.teller.told == [(phase, Severity.WARNING)]
            assert await stage.store.incidents.get("i1") == incident

    async def test_an_incident_that_was_closed_and_not_told_is_told(self, stage: Stage) -> None:
        await stage.open(phase=Phase.CLOSED, outcome=Outcome.WORSE, closed_at=NOW)
        async with stage.conducting() as conductor:
            await conductor.start()
            await stage.told()
        assert stage.teller.told == [(Outcome.WORSE, Severity.CRITICAL)]

    async def test_a_reminder_is_told(self, stage: Stage) -> None:
        async def remind_once(incident: Incident, policy: ServicePolicy) -> Move:
            if incident.reminded_at is None:
                return Move.stay(replace(incident, reminded_at=NOW))
            return Move.close(incident, Outcome.ESCALATED)

        stage.stations[Phase.ESCALATED] = remind_once
        await stage.open(phase=Phase.ESCALATED, reason=Reason.UNKNOWN)
        async with stage.conducting() as conductor:
            await conductor.start()
            await stage.told()
        assert [what for what, _ in stage.teller.told] == [Phase.ESCALATED, Phase.ESCALATED, Outcome.ESCALATED]
        assert [entry.kind for entry in await stage.store.timeline.of_incident("i1")] == ["reminder", "phase"]


class TestAlerts:
    async def test_a_backlog_longer_than_one_batch_is_taken_to_its_end(self, stage: Stage) -> None:
        """Nothing arrives after it that would wake anybody."""
        stage.stations[Phase.DECIDING] = wait
        await stage.store.alerts.append([alert(fingerprint=f"f{number}") for number in range(1_100)])
        async with stage.conducting() as conductor:
            await conductor.start()
            await stage.taken()
        (incident,) = await stage.store.incidents.open_ones()
        assert len(await stage.store.alerts.of_incident(incident.id, limit=2_000)) == 1_100
        told = [entry for entry in await stage.store.timeline.of_incident(incident.id) if entry.kind == "alert"]
        assert len(told) == 200, "whoever sends how many"
        assert "not listed" in told[-1].text

    async def test_one_that_cannot_be_taken_keeps_no_other_from_it(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        stage.stations[Phase.DECIDING] = wait
        snapshot_of = stage.pinned.snapshot_of
        failing = True

        async def the_other_is_open() -> bool:
            return await stage.store.incidents.open_of("web") is not None

        def broken_for_one(policy: ServicePolicy) -> tuple[str, bytes]:
            if policy.name == "api" and failing:
                raise ZeroDivisionError
            return snapshot_of(policy)

        monkeypatch.setattr(stage.pinned, "snapshot_of", broken_for_one)
        await stage.store.alerts.append([alert(), alert(service="web", fingerprint="f2")])
        async with stage.conducting({"api": POLICY, "web": replace(service("web"))}) as conductor:
            await conductor.start()
            await eventually(the_other_is_open)
            assert await stage.store.incidents.open_of("api") is None
            failing = False
            await stage.taken()
            assert await stage.store.incidents.open_of("api") is not None

    async def test_more_alerts_are_no_more_looks(self, stage: Stage) -> None:
        """Or whoever sends them would say how often Prometheus is asked (I14)."""
        asked = 0

        async def count(incident: Incident, policy: ServicePolicy) -> Move:
            nonlocal asked
            asked += 1
            return await wait(incident, policy)

        stage.stations[Phase.DECIDING] = count
        async with stage.conducting() as conductor:
            await conductor.start()
            for number in range(20):
                await stage.store.alerts.append([alert(fingerprint=f"f{number}")])
                conductor.alerts_stored()
                await stage.taken()
        assert asked == 1

    @pytest.mark.parametrize("status", AlertStatus)
    async def test_what_belongs_to_a_closed_incident_does_not_join_the_next_one(self, stage: Stage, status: AlertStatus) -> None:
        stage.stations[Phase.DECIDING] = wait
        await stage.open(phase=Phase.CLOSED, outcome=Outcome.HELD, closed_at=NOW, told_at=NOW, fingerprint="f1", starts_at=NOW)
        await stage.open("i2", fingerprint="f2", starts_at=NOW)
        await stage.store.alerts.append([alert(status=status)])
        async with stage.conducting() as conductor:
            await conductor.start()
            await stage.taken()
        assert len(await stage.store.alerts.of_incident("i1")) == 1
        assert await stage.store.alerts.of_incident("i2") == ()

    async def test_the_figure_of_open_incidents_is_right_whoever_opened_them(self, stage: Stage) -> None:
        stage.stations |= {Phase.DECIDING: wait, Phase.ROLLING_BACK: wait}
        by_hand: dict[str, Any] = {"phase": Phase.ROLLING_BACK, "trigger": None}
        async with stage.conducting() as conductor:
            await conductor.start()
            await stage.open(**by_hand)
            conductor.go_on("i1")
            await stage.store.alerts.append([alert(service="web")])
            conductor.alerts_stored()
            await stage.taken()
            assert b"rollbackd_incidents_open 1.0" in stage.metrics.exposition()[0]
