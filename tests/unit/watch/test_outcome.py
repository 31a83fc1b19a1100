from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbackd.model.incident import Outcome
from rollbackd.model.look import Look
from rollbackd.model.policy import ServicePolicy
from rollbackd.watch.outcome import Ended, judge
from tests.unit.watch import scenes
from tests.unit.watch.scenes import BEGIN, DECIDED_ON, INTERVAL, OBJECTIVES, UNAVAILABLE, looks, policy


def judged(of: ServicePolicy, made: list[Look], *, trigger: str | None = "HighErrorRate", **given_too: Any) -> Ended | None:
    """As the watch judges right after its last look."""
    arguments: dict[str, Any] = {"decision_value": DECIDED_ON, "now": made[-1].at if made else BEGIN} | given_too
    return judge(made, policy=of, trigger=trigger, watch_started_at=BEGIN, **arguments)


def outcome(of: ServicePolicy, made: list[Look], **given_too: Any) -> Outcome | None:
    ended = judged(of, made, **given_too)
    return ended.outcome if ended else None


# One sign a look: five looks make `stable_for`, nine the whole watch. See scenes.py for the signs.
TABLE: list[tuple[str, dict[str, str], Outcome | None]] = [
    ("everything is met for long enough", {"errors": "....."}, Outcome.RECOVERED),
    ("met, but not for long enough yet", {"errors": "...."}, None),
    ("a relapse begins the count again", {"errors": "...x...."}, None),
    ("a relapse, then long enough again", {"errors": "...x....."}, Outcome.RECOVERED),
    ("an unknown look begins the count again, too", {"errors": "...?...."}, None),
    ("an unknown look, then long enough", {"errors": "...?....."}, Outcome.RECOVERED),
    ("the last look is unknown", {"errors": ".....?"}, None),
    ("an objective that was never known does not stand in the way", {"errors": ".....", "uptime": "?????"}, Outcome.RECOVERED),
    ("one that was known once does", {"errors": "......", "uptime": ".?????"}, None),
    ("one that was missed once and is unknown since does", {"errors": "......", "uptime": "x?????"}, None),
    ("the trigger's own objective must be known", {"errors": "?????", "latency": "....."}, None),
    ("another objective is missed", {"latency": "xxxxx"}, None),
    ("a trigger is breached beside met objectives", {"errors": "......", "SlowResponse": ".....!"}, None),
    ("the other trigger is unknown: it is no objective", {"errors": ".....", "SlowResponse": "?????"}, Outcome.RECOVERED),
    ("half as much again as at the decision, three times", {"errors": "xxx", "HighErrorRate": "WWW"}, Outcome.WORSE),
    ("only twice", {"errors": "xx", "HighErrorRate": "WW"}, None),
    ("not in a row", {"errors": "xxxx", "HighErrorRate": "WW!W"}, None),
    ("an unknown look in between", {"errors": "xxxx", "HighErrorRate": "WW?W"}, None),
    ("much more, but of too little traffic", {"errors": "???", "HighErrorRate": "lll"}, None),
    ("as bad as at the decision is not worse", {"errors": "xxxxx", "HighErrorRate": "!!!!!"}, None),
    ("at the end all but an objective is met", {"errors": ".........", "latency": "xxxxxxxxx"}, Outcome.IMPROVED),
    ("at the end all but the time is met", {"errors": "xxxxxxx..", "HighErrorRate": "!!!!!!..."}, Outcome.IMPROVED),
    ("at the end the trigger is in the dead band", {"errors": "xxxxxxxxx", "HighErrorRate": "---------"}, Outcome.IMPROVED),
    ("at the end the trigger is breached by half", {"errors": "xxxxxxxxx", "HighErrorRate": "!!!!!!hhh"}, Outcome.IMPROVED),
    ("breached by half at two looks only", {"errors": "xxxxxxxxx", "HighErrorRate": "!!!!!!!hh"}, Outcome.NO_EFFECT),
    ("at the end the trigger is breached as before", {"errors": "xxxxxxxxx", "HighErrorRate": "!!!!!!!!!"}, Outcome.NO_EFFECT),
    ("fine, then breached at the last three", {"errors": "....xxxxx", "HighErrorRate": "......!!!"}, Outcome.NO_EFFECT),
    ("breached, healthy, breached at the end", {"errors": "xxxxxxxxx", "HighErrorRate": "!!!!!!!.!"}, Outcome.UNVERIFIED),
    ("the last look of the trigger is unknown", {"errors": "xxxxxxxxx", "HighErrorRate": "........?"}, Outcome.UNVERIFIED),
    ("breached, and the last look is unknown", {"errors": "xxxxxxxxx", "HighErrorRate": "!!!!!!!!?"}, Outcome.UNVERIFIED),
    ("a small value, but of too little traffic", {"errors": "xxxxxx???", "HighErrorRate": "!!!!!!vvv"}, Outcome.UNVERIFIED),
    ("little traffic at the end", {"errors": "xxxxxx???", "HighErrorRate": "!!!!!!lll"}, Outcome.UNVERIFIED),
    ("nothing was ever known", {"errors": "?????????", "latency": "?????????", "uptime": "?????????", "HighErrorRate": "?????????"},
     Outcome.UNVERIFIED),
    ("recovered in the very last look", {"errors": "xxxx.....", "HighErrorRate": "!!!!....."}, Outcome.RECOVERED),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "expected"), [pytest.param(rows, expected, id=words) for words, rows, expected in TABLE])
def test_the_table(rows: dict[str, str], expected: Outcome | None) -> None:
    service = policy()

    assert outcome(service, looks(service, INTERVAL, **rows)) is expected


class TestAnObjectiveThatWasMetBefore:
    def test_missed_for_stable_for_is_worse_at_once(self) -> None:
        service = policy()

        ended = judged(service, looks(service, errors="xxxxx", latency="xxxxx"), met_before=frozenset({"latency"}))

        assert ended == Ended(Outcome.WORSE, "met before the rollback, missed since: latency 700 (< 500)")

    @pytest.mark.parametrize("latency", ["xxxx", "xx.xxx", "xx?xxx"])
    def test_missed_for_less_or_with_a_gap_is_not(self, latency: str) -> None:
        service = policy()

        assert outcome(service, looks(service, errors="x" * len(latency), latency=latency), met_before=frozenset({"latency"})) is None

    def test_was_missed_before_as_well_is_not(self) -> None:
        service = policy()

        assert outcome(service, looks(service, errors="xxxxx", latency="xxxxx"), met_before=frozenset({"uptime"})) is None


class TestBackInTheRangeBeforeTheRelease:
    def test_counts_as_met_and_is_said(self) -> None:
        service = policy()

        ended = judged(service, looks(service, errors=".....", latency="xxxxx"), usual={"latency": 720.0})

        assert ended is not None
        assert ended.outcome is Outcome.RECOVERED
        assert "latency 700 (< 500; back in the range before the release, up to 720)" in ended.why

    def test_beyond_that_range_is_missed(self) -> None:
        service = policy()

        assert outcome(service, looks(service, errors=".....", latency="xxxxx"), usual={"latency": 650.0}) is None

    def test_is_no_worsening(self) -> None:
        service = policy()
        made = looks(service, errors="xxxxx", latency="xxxxx")

        assert outcome(service, made, usual={"latency": 720.0}, met_before=frozenset({"latency"})) is None

    def test_does_not_excuse_a_breach(self) -> None:
        service = policy()
        made = looks(service, errors=".....", latency="xxxxx", SlowResponse="!!!!!")

        assert outcome(service, made, usual={"latency": 720.0}) is None

    def test_where_less_is_worse_the_range_is_turned_round(self) -> None:
        service = policy()
        made = looks(service, uptime="xxxxx")  # a value of 700, of all things

        assert outcome(service, made, usual={"uptime": 690.0}) is Outcome.RECOVERED
        assert outcome(service, made, usual={"uptime": 710.0}) is None


class TestATriggerWithoutAnObjective:
    def test_counts_by_its_clear_condition(self) -> None:
        service = policy(objectives=())

        assert outcome(service, looks(service, HighErrorRate=".....")) is Outcome.RECOVERED

    def test_is_not_well_in_the_dead_band(self) -> None:
        service = policy(objectives=())

        assert outcome(service, looks(service, HighErrorRate="-----")) is None
        assert outcome(service, looks(service, HighErrorRate="---------")) is Outcome.IMPROVED

    def test_must_be_known(self) -> None:
        service = policy(objectives=OBJECTIVES[1:])

        assert outcome(service, looks(service, HighErrorRate="?????")) is None

    def test_another_trigger_in_the_dead_band_does_not_stand_in_the_way(self) -> None:
        service = policy(objectives=())

        assert outcome(service, looks(service, HighErrorRate=".....", SlowResponse="-----")) is Outcome.RECOVERED


class TestWhereLessIsWorse:
    service = policy(triggers=(UNAVAILABLE,), objectives=())

    @staticmethod
    def at(value: float, times: int = 3) -> list[Look]:
        made = looks(TestWhereLessIsWorse.service, Unavailable="!" * times)
        return [replace(look, triggers=(replace(look.triggers[0], value=value),)) for look in made]

    def test_two_thirds_is_worse(self) -> None:
        assert outcome(self.service, self.at(0.4), trigger="Unavailable", decision_value=0.6) is Outcome.WORSE

    def test_more_is_not(self) -> None:
        assert outcome(self.service, self.at(0.9), trigger="Unavailable", decision_value=0.6) is None

    def test_twice_as_much_is_improved(self) -> None:
        assert outcome(self.service, self.at(0.8, 9), trigger="Unavailable", decision_value=0.4) is Outcome.IMPROVED
        assert outcome(self.service, self.at(0.7, 9), trigger="Unavailable", decision_value=0.4) is Outcome.NO_EFFECT

    def test_nothing_can_be_compared_with_nothing(self) -> None:
        assert outcome(self.service, self.at(0.0), trigger="Unavailable", decision_value=0.0) is None
        assert outcome(self.service, self.at(0.1, 9), trigger="Unavailable", decision_value=0.0) is Outcome.NO_EFFECT


class TestARollbackByHand:
    def test_recovers_when_what_is_known_is_met(self) -> None:
        service = policy()

        assert outcome(service, looks(service, errors=".....", latency="?????"), trigger=None, decision_value=None) is Outcome.RECOVERED

    def test_does_not_recover_when_nothing_is_known(self) -> None:
        service = policy()
        made = looks(
            service, errors="?????????", latency="?????????", uptime="?????????", HighErrorRate="?????????", SlowResponse="?????????"
        )

        assert outcome(service, made, trigger=None, decision_value=None) is Outcome.UNVERIFIED

    def test_counts_every_trigger_as_its_own(self) -> None:
        service = policy(objectives=())

        assert outcome(service, looks(service, HighErrorRate=".....", SlowResponse="....."), trigger=None) is Outcome.RECOVERED
        assert outcome(service, looks(service, HighErrorRate=".....", SlowResponse="-----"), trigger=None) is None
        assert outcome(service, looks(service, HighErrorRate="!" * 9, SlowResponse="." * 9), trigger=None) is Outcome.NO_EFFECT

    def test_of_a_service_without_triggers_or_objectives_cannot_be_verified(self) -> None:
        service = policy(triggers=(), objectives=())
        made = [Look(at=BEGIN + number * INTERVAL, objectives=(), triggers=()) for number in range(9)]

        ended = judged(service, made, trigger=None)

        assert ended == Ended(Outcome.UNVERIFIED, "cannot be told: the service has no trigger to go by")


class TestAPostRollbackAlert:
    def test_asks_that_every_trigger_is_known(self) -> None:
        service = policy()
        made = looks(service, errors=".....", SlowResponse="....?")

        assert outcome(service, made, alerts_since=0) is Outcome.RECOVERED
        assert outcome(service, made, alerts_since=1) is None

    def test_does_not_stand_against_what_is_measured(self) -> None:
        service = policy()

        assert outcome(service, looks(service, errors=".....", SlowResponse="---.."), alerts_since=3) is Outcome.RECOVERED

    def test_names_no_outcome_by_itself(self) -> None:
        service = policy()

        assert outcome(service, looks(service, errors="x.x.x"), alerts_since=9) is None


class TestTimeInWhichNobodyLooked:
    def test_does_not_count(self) -> None:
        service = policy()
        made = looks(service, errors="......")
        gap = made[:2] + [replace(look, at=look.at + timedelta(minutes=2)) for look in made[2:]]

        assert outcome(service, gap) is not Outcome.RECOVERED

    def test_as_long_as_a_window_is_covered_by_the_next_look(self) -> None:
        service = policy()

        assert outcome(service, looks(service, timedelta(minutes=1), errors="..")) is Outcome.RECOVERED

    def test_up_to_now_says_that_nothing_is_known_of_now(self) -> None:
        service = policy()
        made = looks(service, errors=".....", HighErrorRate=".....")

        ended = judged(service, made, now=made[-1].at + timedelta(minutes=10))

        assert ended == Ended(Outcome.UNVERIFIED, "0 looks without a gap up to the end of the watch are too few to tell")

    def test_one_look_after_a_long_stop_is_not_three(self) -> None:
        service = policy()
        made = looks(service, errors="xxxxx", HighErrorRate="!!!!!")
        later = replace(made[-1], at=made[-1].at + timedelta(hours=1))

        assert outcome(service, [*made, later]) is Outcome.UNVERIFIED

    def test_a_clock_that_was_set_back_breaks_the_chain(self) -> None:
        service = policy()
        made = looks(service, errors=".....")

        assert outcome(service, made, now=made[-1].at - timedelta(hours=1)) is None

    def test_looks_from_before_the_watch_are_left_out(self) -> None:
        service = policy()
        made = [replace(look, at=look.at - 3 * INTERVAL) for look in looks(service, errors=".....")]

        assert outcome(service, made) is None

    def test_no_look_at_all_ends_unverified_when_the_time_is_over(self) -> None:
        assert outcome(policy(), [], now=BEGIN + scenes.DURATION - timedelta(seconds=1)) is None
        assert outcome(policy(), [], now=BEGIN + scenes.DURATION) is Outcome.UNVERIFIED


def test_without_a_value_at_the_decision_nothing_is_compared_with_it() -> None:
    service = policy()

    assert outcome(service, looks(service, errors="xxx", HighErrorRate="WWW"), decision_value=None) is None
    assert outcome(service, looks(service, errors="xxxxxxxxx", HighErrorRate="hhhhhhhhh"), decision_value=None) is Outcome.NO_EFFECT


def test_the_words_name_the_numbers() -> None:
    service = policy()
    of = {
        "worse": looks(service, errors="xxx", HighErrorRate="WWW"),
        "recovered": looks(service, errors=".....", uptime="?????"),
        "improved": looks(service, errors="xxxxxxxxx", HighErrorRate="hhhhhhhhh"),
        "no_effect": looks(service, errors="xxxxxxxxx", HighErrorRate="!!!!!!!!!"),
        "unverified": looks(service, errors="xxxxxxxxx", HighErrorRate="!!!!!!!!?"),
    }

    assert {ended.outcome: ended.why for made in of.values() if (ended := judged(service, made))} == {
        "worse": "HighErrorRate is at least 1.5 times as bad as at the decision: HighErrorRate 0.15 (> 0.01; breach)",
        "recovered": "met for 60 s: errors 0 (< 0.005), latency 0 (< 500); never measured: uptime",
        "improved": "HighErrorRate 0.05 (> 0.01; breach), but not met: errors 700 (< 0.005)",
        "no_effect": "still breached: HighErrorRate 0.1 (> 0.01; breach)",
        "unverified": "cannot be told: HighErrorRate unknown (> 0.01; no_series)",
    }


@st.composite
def watches(draw: st.DrawFn) -> list[Look]:
    length = draw(st.integers(1, 12))

    def row(signs: str) -> str:
        return draw(st.text(signs, min_size=length, max_size=length))

    return looks(
        policy(), errors=row(".x?"), latency=row(".x?"), uptime=row(".x?"), HighErrorRate=row(".-h!W?vl"), SlowResponse=row(".-!?")
    )


def blind(look: Look) -> Look:
    [unknown] = looks(policy(), errors="?", latency="?", uptime="?", HighErrorRate="?", SlowResponse="?")
    return replace(unknown, at=look.at)


@given(st.integers(1, 12), st.integers(0, 3))
def test_unknown_looks_only_ever_lead_to_unverified(count: int, alerts: int) -> None:
    made = [blind(look) for look in looks(policy(), errors="." * count)]

    assert outcome(policy(), made, alerts_since=alerts, met_before=frozenset({"errors", "latency"})) in {None, Outcome.UNVERIFIED}


@given(watches(), st.data())
def test_a_look_made_blind_within_the_last_three_names_nothing_but_unverified(made: list[Look], data: st.DataObject) -> None:
    number = data.draw(st.integers(max(len(made) - 3, 0), len(made) - 1))
    made[number] = blind(made[number])

    assert outcome(policy(), made, met_before=frozenset({"latency"})) in {None, Outcome.UNVERIFIED}


@given(watches())
def test_recovered_is_only_said_of_looks_that_met_the_own_objective_all_the_time(made: list[Look]) -> None:
    if outcome(policy(), made) is not Outcome.RECOVERED:
        return

    steady = made[-5:]
    assert len(steady) == 5
    assert all(look.objectives[0].verdict == "met" for look in steady)
    assert not any(one.verdict == "missed" for look in steady for one in look.objectives)
    assert not any(one.verdict == "breached" for look in steady for one in look.triggers)


@given(watches())
def test_a_post_rollback_alert_never_makes_the_outcome_better(made: list[Look]) -> None:
    without, after = outcome(policy(), made), outcome(policy(), made, alerts_since=1)

    assert after == without or without is Outcome.RECOVERED


@given(watches())
def test_at_the_end_there_is_always_an_outcome(made: list[Look]) -> None:
    assert outcome(policy(), made, now=BEGIN + scenes.DURATION + timedelta(minutes=1)) is not None
