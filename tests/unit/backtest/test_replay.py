from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rollbackd.backtest.replay import Standing, begin, go_on
from rollbackd.decision.follow import FOLLOWS, Follow
from rollbackd.model.decision import Action, Decision
from rollbackd.model.reason import Reason
from tests.fakes.policies import service

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = replace(service("api"), recheck_every=timedelta(seconds=15), give_up_after=MINUTE)
WAIT = (Action.HOLD, Reason.NOT_CONFIRMED)
HEALTHY = (Action.HOLD, Reason.HEALTHY)


def decision(said: tuple[Action, Reason], at: datetime) -> Decision:
    return Decision(action=said[0], reason=said[1], at=at)


def judged(*said: tuple[Action, Reason]) -> tuple[Standing, Sequence[float]]:
    """The end, and when looks were taken, in seconds after the alert; the last thing said is said for ever."""
    standing, looks = begin(POLICY, AT), []
    while standing.next_at is not None:
        looks.append((standing.next_at - AT).total_seconds())
        standing = go_on(standing, decision(said[min(len(looks), len(said)) - 1], standing.next_at), POLICY)
    assert standing.looks == len(looks)
    return standing, looks


def final(standing: Standing) -> tuple[Action, Reason]:
    assert standing.decision is not None
    return standing.decision.action, standing.decision.reason


@pytest.mark.parametrize(
    "said", [said for said, follows in FOLLOWS.items() if follows in {Follow.ROLL_BACK, Follow.CLOSE_HELD, Follow.ESCALATE}]
)
def test_what_ends_an_incident_ends_the_replay(said: tuple[Action, Reason]) -> None:
    standing, looks = judged(said)
    assert looks == [0]
    assert final(standing) == said


@pytest.mark.parametrize("said", [said for said, follows in FOLLOWS.items() if follows in {Follow.WAIT, Follow.PROPOSE_INCONCLUSIVE}])
def test_what_waits_to_the_end_is_a_persons_to_decide(said: tuple[Action, Reason]) -> None:
    standing, looks = judged(said)
    assert looks == [0, 15, 30, 45, 60]
    assert final(standing) == (Action.ESCALATE, said[1])


def test_what_waits_is_judged_again() -> None:
    standing, looks = judged(WAIT, (Action.HOLD, Reason.INCONCLUSIVE), (Action.ROLL_BACK, Reason.TO_BLAME))
    assert looks == [0, 15, 30]
    assert final(standing) == (Action.ROLL_BACK, Reason.TO_BLAME)


def test_healthy_at_two_looks_stands_down() -> None:
    standing, looks = judged(HEALTHY)
    assert looks == [0, 15]
    assert final(standing) == HEALTHY


def test_healthy_twice_means_one_after_the_other() -> None:
    assert judged(HEALTHY, WAIT, HEALTHY, WAIT, HEALTHY)[1] == [0, 15, 30, 45, 60]
    assert judged(HEALTHY, WAIT, HEALTHY)[1] == [0, 15, 30, 45]


def test_the_last_look_is_when_it_gives_up_and_not_after() -> None:
    policy = replace(POLICY, recheck_every=timedelta(seconds=25))
    standing = begin(policy, AT)
    looks = []
    while standing.next_at is not None:
        looks.append((standing.next_at - AT).total_seconds())
        standing = go_on(standing, decision(WAIT, standing.next_at), policy)
    assert looks == [0, 25, 50, 60]


def test_a_second_healthy_look_right_after_the_first_is_no_second_witness() -> None:
    standing = begin(POLICY, AT)
    standing = go_on(standing, decision(HEALTHY, AT), POLICY)
    standing = go_on(standing, decision(HEALTHY, AT + timedelta(seconds=7)), POLICY)
    assert standing.next_at is not None
    assert standing.healthy_looks == 1
