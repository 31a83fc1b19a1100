"""Draws what happens: releases, alerts, people, faults of everything, deaths and the passing of time."""

from datetime import timedelta
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rollbackd.failpoints import FAILPOINTS
from rollbackd.flow.by_hand import Wish
from rollbackd.model.audit import Caller
from rollbackd.model.release import Mark, ReleaseStatus
from tests.simulation.measured import Mood
from tests.simulation.promises import DAY
from tests.simulation.tool import Manner, Sight
from tests.simulation.world import SERVICES, World

_TEN_MINUTES: Final = 600
_LONG: Final = 2000
services = st.sampled_from(SERVICES)
scopes = st.sampled_from((None, *SERVICES))
spans = st.sampled_from((0.5, 3, 10, 31, 65, 125, 300, 700, 2000))
minutes = st.sampled_from((1, 4, 6))
faults = st.one_of(
    st.tuples(st.sampled_from(Mood)),
    st.tuples(services, st.sampled_from(Manner)),
    st.tuples(services, st.sampled_from(Sight)),
    st.tuples(services, st.sampled_from((0.0, 0.007, 0.02, 0.9))),
    st.just(("disk full",)),
    st.tuples(st.just("clock"), st.sampled_from((-86400, -7200, -3600, -300, -10, 10, 300, 3600, 7200, 86400))),
)


class Machine(RuleBasedStateMachine):
    clock_jumps = True

    def __init__(self) -> None:
        super().__init__()
        self.world: World
        self._releases = 0
        self._has_failed = False

    @initialize(seed=st.integers(0, 2**32), shared_clock=st.booleans())
    def begin(self, seed: int, *, shared_clock: bool) -> None:
        self.world = World(seed=seed, shared_clock=shared_clock).__enter__()
        self.world.starts_again_after = 2.0

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if not self._has_failed:
                self._heal()
        finally:
            self.world.__exit__()

    @invariant()
    def promises_hold(self) -> None:
        if hasattr(self, "world"):
            self._check()

    # Releases and alerts.

    @rule(service=services, after=minutes)
    def bad_release_and_its_alert(self, service: str, after: int) -> None:
        self._release_a_bad_one(service, after)
        self.world.alert(service)

    @rule(
        service=services,
        manner=st.sampled_from((Manner.WORKS, *Manner)),
        failpoint=st.none() | st.sampled_from(sorted(FAILPOINTS)),
        children_get_away=st.booleans(),
        seconds=st.sampled_from((0.05, 1, 3, 5, 30)),
        then=st.sampled_from((None, "pause", "abort", "deploy", "crash", "crash", "warns", "held and deployed")),
    )
    def rollback_is_disturbed(
        self, service: str, manner: Manner, failpoint: str | None, seconds: float, then: str | None, *, children_get_away: bool
    ) -> None:
        """Of a release that nothing keeps from being rolled back: long after the last one, and everything was well."""
        self.mended()
        good = self._next()
        self.world.deploy(service, good)
        self.world.record(service, good)
        self.world.pass_time(_LONG)
        self.world.tool.manners[service] = manner
        self.world.children_get_away = children_get_away
        self._release_a_bad_one(service, 6)
        if failpoint is not None:
            self.world.crash_at(failpoint)
        if then == "warns":
            self.world.measured.be(Mood.WARNS, at=self.world.now)
        if then == "held and deployed":
            self.world.crash_at("rollback.after_advance")
        self.world.alert(service)
        self.world.pass_time(seconds)
        match then:
            case "held and deployed":
                self.world.pause(service, timedelta(hours=0.05))
                self.world.deploy(service, self._next())
                self.world.pass_time(600)
            case "pause":
                self.world.pause(service, timedelta(hours=0.2))
            case "abort":
                self.decide(service, "abort")
            case "deploy":
                self.world.deploy(service, self._next())
            case "crash":
                self.world.crash()

    @rule(
        service=services,
        status=st.sampled_from(ReleaseStatus),
        is_bad=st.booleans(),
        is_recorded=st.booleans(),
        irreversible=st.booleans(),
        is_same=st.booleans(),
    )
    def release(self, service: str, status: ReleaseStatus, *, is_bad: bool, is_recorded: bool, irreversible: bool, is_same: bool) -> None:
        version = self._next()
        artifact = self.world.production.live(service) if is_same else version
        if status is not ReleaseStatus.FAILED:
            self.world.deploy(service, artifact, bad=is_bad and not is_same)
        if is_recorded:
            self.world.record(service, version, artifact=artifact, status=status, irreversible=irreversible)

    @rule(service=services, version=st.none() | st.integers(0, 5))
    def somebody_deploys_by_hand(self, service: str, version: int | None) -> None:
        """None: what runs is reported to be live."""
        if version is None:
            self.world.record(service, self.world.production.live(service))
        else:
            self.world.deploy(service, f"r{version}")

    @rule(service=services, how=st.sampled_from(("new", "new", "again", "resolved", "late", "replayed")))
    def alert(self, service: str, how: str) -> None:
        ago = {"late": timedelta(minutes=7), "replayed": timedelta(days=2)}.get(how, timedelta(0))
        self.world.alert(service, ago=ago, again=how == "again", resolved=how == "resolved")

    # People.

    @rule(scope=scopes, hours=st.sampled_from((0.0, 0.01, 0.2, 2)))
    def pause(self, scope: str | None, hours: float) -> None:
        """Of no hours: resume."""
        if not hours:
            self.world.resume(scope)
        else:
            self.world.pause(scope, timedelta(hours=hours))

    @rule(service=services, what=st.sampled_from(("approve", "approve", "approve", "reject", "abort", "acknowledge")))
    def decide(self, service: str, what: str) -> None:
        incident = next((one for one in reversed(self.world.promises.incidents()) if one["service"] == service), None)
        if incident is None:
            return
        more: dict[str, Any] = {"plan": incident["plan"]} if what == "approve" else {"reason": "because"}
        self.world.ask(lambda daemon: getattr(daemon.operator, what)(incident["id"], by=Caller("a person"), **more))

    @rule(service=services, version=st.none() | st.integers(0, 5), while_paused=st.booleans())
    def rollback_by_hand(self, service: str, version: int | None, *, while_paused: bool) -> None:
        to = None if version is None else f"r{version}"
        self.world.ask(
            lambda daemon: daemon.by_hand.rollback(service, Wish(reason="because", to=to, while_paused=while_paused), by=Caller("a person"))
        )

    @rule(service=services, version=st.integers(0, 5), mark=st.sampled_from((Mark.BAD, Mark.NONE)))
    def mark(self, service: str, version: int, mark: Mark) -> None:
        self.world.mark(service, f"r{version}", mark)

    # Faults.

    @rule(fault=faults)
    def something_fails(self, fault: tuple[Any, ...]) -> None:
        match fault:
            case (Mood() as mood,):
                self.world.measured.be(mood, at=self.world.now)
            case str(service), Manner() as manner:
                self.world.tool.manners[service] = manner
            case str(service), Sight() as sight:
                self.world.tool.sights[service] = sight
            case str(service), float(ratio):
                self.world.outage(service, ratio)
            case ("disk full",):
                self.world.disk_full = True
            case "clock", int(seconds) if self.clock_jumps:
                self.world.set_clock(timedelta(seconds=seconds))

    @rule()
    def mended(self) -> None:
        self.world.mend()

    # Deaths.

    @rule(children_get_away=st.booleans())
    def crash(self, *, children_get_away: bool) -> None:
        self.world.children_get_away = children_get_away
        self.world.crash()

    @rule(failpoint=st.sampled_from(sorted(FAILPOINTS)), children_get_away=st.booleans())
    def crash_at(self, failpoint: str, *, children_get_away: bool) -> None:
        self.world.children_get_away = children_get_away
        self.world.crash_at(failpoint)

    @rule(trips=st.integers(1, 60), committed=st.booleans())
    def crash_after(self, trips: int, *, committed: bool) -> None:
        self.world.crash_after(trips, committed=committed)

    @rule(seconds=spans)
    def stop_for(self, seconds: float) -> None:
        self.world.stop()
        self.world.pass_time(seconds)
        self.world.start()

    # Time. A daemon that has died is started again, as systemd would.

    @rule(seconds=spans)
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(moments=st.integers(1, 60))
    def moments_pass(self, moments: int) -> None:
        self.world.pass_time(moments / 10)

    # The end.

    def _heal(self) -> None:
        """All faults are over and people resume; a day later every incident has ended (I9)."""
        world = self.world
        world.mend()
        for scope in (None, *SERVICES):
            world.resume(scope)
        healed = world.now
        while world.now < healed + DAY and not world.promises.is_quiet():
            world.pass_time(_TEN_MINUTES)
            world.promises.after_step()
        world.promises.all_ended()

    def _release_a_bad_one(self, service: str, after: int) -> None:
        version = self._next()
        self.world.deploy(service, version, bad=True)
        self.world.record(service, version)
        self.world.pass_time(after * 60)

    def _check(self) -> None:
        try:
            self.world.promises.after_step()
        except AssertionError:
            self._has_failed = True
            raise

    def _next(self) -> str:
        self._releases += 1
        return f"r{self._releases}"
