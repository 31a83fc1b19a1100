"""The fleet brake: an outage of many holds the release of one, and neither a pipeline nor a back end with callers is an outage."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollbackd.decision.fleet import facts_of, is_recent, rule
from rollbackd.model.decision import Case, CheckVerdict, FleetFacts, Trip, Tripped
from rollbackd.model.policy import FleetBrakePolicy, ServicePolicy
from rollbackd.model.release import ReleaseStatus
from tests.unit.decision.builders import HOUR, MINUTE, NOW, V1, V2, alert_facts, case_of, release, service_policy

BRAKE = FleetBrakePolicy(services=3, within=5 * MINUTE)
SECOND = timedelta(seconds=1)
OWN_AT = NOW - SECOND


def tripped(service: str, *, after: timedelta = timedelta(0), released: bool = False, because_of: str | None = None) -> Tripped:
    """So long after this service's own alert began to fire."""
    return Tripped(service=service, at=OWN_AT + after, has_recent_release=released, depends_on_released=because_of)


def holds(*others: Tripped, policy: ServicePolicy | None = None, **changes: object) -> bool:
    """This service has a recent release of its own: it does not count, and is what the brake is to hold."""
    case: Case = case_of(policy=policy or service_policy(fleet_brake=BRAKE), fleet=FleetFacts(tripped=others), **changes)  # type: ignore[arg-type]
    return rule(case).verdict is CheckVerdict.FAILED


class TestWhoCounts:
    def test_services_without_a_release_that_explains_them(self) -> None:
        assert holds(tripped("a"), tripped("b"), tripped("c"))
        assert not holds(tripped("a"), tripped("b"))

    def test_a_service_that_tripped_twice_is_one(self) -> None:
        assert not holds(tripped("a"), tripped("a", after=MINUTE), tripped("b"))

    def test_this_one_where_nothing_was_released_of_it(self) -> None:
        alone = [V1]
        assert holds(tripped("a"), tripped("b"), releases=alone)
        assert not holds(tripped("a"), releases=alone)
        assert not holds(tripped("a"), tripped("b", because_of="db"), releases=alone)

    def test_of_this_one_what_stands_among_the_others_is_not_counted_again(self) -> None:
        assert not holds(tripped("api"), tripped("a"), releases=[V1])

    def test_what_was_released_after_it_tripped_explains_nothing(self) -> None:
        """Or the first attempt at a fix would let the brake go."""
        fix = release("v9", ago=-MINUTE)
        assert holds(tripped("a"), tripped("b"), releases=[fix, V1])

    def test_not_this_one_where_a_dependency_of_it_was_released(self) -> None:
        policy = service_policy(fleet_brake=BRAKE, depends_on=("db",))
        assert not holds(tripped("a"), tripped("b"), tripped("db", released=True), releases=[V1], policy=policy)
        assert holds(tripped("a"), tripped("b"), tripped("db"), releases=[V1], policy=policy)


def test_a_pipeline_that_breaks_twelve_services_at_once_is_not_held() -> None:
    assert not holds(*(tripped(f"s{number}", released=True) for number in range(12)))


def test_a_back_end_whose_release_trips_five_callers_is_not_held() -> None:
    assert not holds(*(tripped(f"caller{number}", because_of="api") for number in range(5)))


class TestAtOnce:
    @pytest.mark.parametrize(
        ("minutes", "held"),
        [
            ((-1, -2, -3), True),
            ((1, 2, 3), True),
            ((-5, -5, 0), True),
            ((-6, -5, -4), False),  # the first one had tripped before anything that this one could belong to
            ((-5, -3, 1), False),  # six minutes from the first to the last
            ((-4, 0, 1), True),
            ((0, 5, 10), False),
            ((20, 22, 24), True),  # an outage that began while this one was waiting
            ((60, 70, 80), False),  # one now and then
        ],
    )
    def test_within_the_time_allowed_of_each_other(self, minutes: tuple[int, ...], held: bool) -> None:  # noqa: FBT001
        others = [tripped(name, after=minute * MINUTE) for name, minute in zip("abc", minutes, strict=True)]
        assert holds(*others) is held

    def test_it_does_not_let_go_because_time_passes(self) -> None:
        """The default gives up after twice the time allowed: a brake that let go between would act in the middle of the outage."""
        others = FleetFacts(tripped=tuple(tripped(name) for name in "abc"))
        for minutes in range(0, 90, 5):
            later = case_of(fleet=others, alert=alert_facts(starts_at=OWN_AT, delivered_at=NOW + minutes * MINUTE))
            assert rule(later).verdict is CheckVerdict.FAILED

    def test_alerts_that_all_come_late_are_as_close_as_they_began(self) -> None:
        began = NOW - 3 * HOUR
        fleet = FleetFacts(tripped=tuple(Tripped(service=name, at=began + number * MINUTE) for number, name in enumerate("abc")))
        assert rule(case_of(fleet=fleet, alert=alert_facts(starts_at=began))).verdict is CheckVerdict.FAILED

    def test_replayed_alerts_of_other_days_are_not_at_once(self) -> None:
        assert not holds(*(tripped(name, after=-48 * HOUR) for name in "abc"))


@pytest.mark.parametrize(
    ("ago", "status", "recent"),
    [
        (59 * MINUTE, ReleaseStatus.LIVE, True),
        (61 * MINUTE, ReleaseStatus.LIVE, False),
        (61 * MINUTE, ReleaseStatus.ROLLING, True),
        (59 * MINUTE, ReleaseStatus.FAILED, True),
    ],
)
def test_recent_is_what_blame_calls_recent(ago: timedelta, status: ReleaseStatus, recent: bool) -> None:  # noqa: FBT001
    assert is_recent(release("v2", ago=ago, status=status), NOW, service_policy()) is recent
    assert not is_recent(None, NOW, service_policy())


class TestFacts:
    """What the register and the config say of the services that tripped."""

    POLICIES = {  # noqa: RUF012 - of a test
        "api": service_policy(name="api", depends_on=("db",)),
        "web": service_policy(name="web", depends_on=("api", "cache")),
        "shop": service_policy(name="shop", depends_on=("cache",)),
        "db": service_policy(name="db", blame_window=10 * MINUTE),
        "cache": service_policy(name="cache"),
    }

    def facts(self, *trips: Trip, own: str = "api") -> dict[str, tuple[bool, str | None]]:
        found = facts_of(trips, self.POLICIES, self.POLICIES[own]).tripped
        return {one.service: (one.has_recent_release, one.depends_on_released) for one in found}

    def test_each_by_its_own_measures(self) -> None:
        half_an_hour = release("v2", ago=30 * MINUTE)
        found = self.facts(Trip(service="db", at=NOW, release=half_an_hour), Trip(service="cache", at=NOW, release=half_an_hour))
        assert found == {"db": (False, None), "cache": (True, None)}

    def test_a_dependency_explains_only_when_it_tripped_and_was_released(self) -> None:
        web, shop = Trip(service="web", at=NOW, release=V1), Trip(service="shop", at=NOW, release=V1)
        assert self.facts(web, shop) == {"web": (False, None), "shop": (False, None)}
        assert self.facts(web, shop, Trip(service="cache", at=NOW, release=V1))["shop"] == (False, None)
        assert self.facts(web, shop, Trip(service="cache", at=NOW, release=V2))["shop"] == (False, "cache")

    def test_this_service_is_none_of_the_others_and_explains_its_callers(self) -> None:
        assert self.facts(Trip(service="web", at=NOW, release=V1), Trip(service="api", at=NOW, release=V2)) == {"web": (False, "api")}

    def test_what_is_no_longer_configured_counts_all_the_same(self) -> None:
        assert self.facts(Trip(service="gone", at=NOW, release=None)) == {"gone": (False, None)}


class TestTheLine:
    def test_names_who_is_counted_who_is_not_and_why(self) -> None:
        others = (
            tripped("c"), tripped("a"), tripped("b"), tripped("late", after=HOUR),
            tripped("web", because_of="db"), tripped("db", released=True),
        )  # fmt: skip
        ruling = rule(case_of(fleet=FleetFacts(tripped=others)))
        assert ruling.value == (
            "3 tripped at once: a, b, c; not counted: api (a recent release of its own), db (a recent release of its own), "
            "late (at another time), web (depends on db, which was released)"
        )
        assert ruling.limit == (
            "fewer than 3 services within 5 min that no recent release explains; "
            "lets go when one of theirs is recorded, or a person approves"
        )

    def test_of_very_many_names_a_few(self) -> None:
        others = tuple(tripped(f"s{number:03}") for number in range(200))
        assert rule(case_of(fleet=FleetFacts(tripped=others))).value.startswith(
            "200 tripped at once: s000, s001, s002, s003, s004 and 195 more; "
        )

    def test_of_none(self) -> None:
        assert rule(case_of()).value == "no other service tripped"


TRIPS = st.lists(
    st.builds(
        tripped,
        st.sampled_from("abcdefgh"),
        after=st.integers(-400, 900).map(lambda seconds: seconds * SECOND),
        released=st.sampled_from([False, False, True]),
        because_of=st.sampled_from([None, None, "db"]),
    ),
    max_size=9,
)


@given(TRIPS, st.integers(1, 5))
def test_it_holds_where_a_window_of_time_has_enough_of_them(others: list[Tripped], services: int) -> None:
    policy = service_policy(fleet_brake=FleetBrakePolicy(services=services, within=5 * MINUTE))
    counting = [one for one in others if not one.has_recent_release and one.depends_on_released is None and OWN_AT - one.at <= 5 * MINUTE]
    windows = [{one.service for one in counting if first.at <= one.at <= first.at + 5 * MINUTE} for first in counting]
    assert holds(*others, policy=policy) is (max(map(len, windows), default=0) >= services)


@given(TRIPS, TRIPS)
def test_more_that_broke_never_lets_it_go(others: list[Tripped], more: list[Tripped]) -> None:
    assert holds(*others, *more) or not holds(*others)


@given(TRIPS)
def test_more_releases_never_make_it_hold(others: list[Tripped]) -> None:
    released = [Tripped(service=one.service, at=one.at, has_recent_release=True) for one in others]
    steps = [[*released[:count], *others[count:]] for count in range(len(others) + 1)]
    assert all(holds(*fewer) or not holds(*more) for fewer, more in pairwise(steps))
    assert not holds(*released, releases=[V2, V1])
