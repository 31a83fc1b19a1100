"""What outlives a daemon: true time and the wall clock, production, Prometheus, the tool, the state directory, and the people."""

import asyncio
import signal
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final, Self, TypeVar

from structlog.testing import capture_logs

from rollbackd import app, failpoints
from rollbackd.clock import parse_rfc3339
from rollbackd.errors import RollbackdError
from rollbackd.model.alert import AlertEvent, AlertStatus
from rollbackd.model.audit import Caller
from rollbackd.model.message import Message
from rollbackd.model.release import Mark, Release
from rollbackd.releases.register import ReleaseReport
from rollbackd.store.columns import to_microseconds
from tests.simulation.life import DiedError, KilledError, Life
from tests.simulation.measured import Measured, Mood
from tests.simulation.production import Production
from tests.simulation.promises import Promises
from tests.simulation.seams import seams
from tests.simulation.tool import Tool
from tests.simulation.town import empty_store, settings

T = TypeVar("T")

BEGIN: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""When a world begins, at true second 0."""
SERVICES: Final = ("shop", "pay", "till")
_LONG_AGO: Final = timedelta(days=2)
WRITER: Final = "store writer"
_MEMORY: Final = Path("/dev/shm")


class World:
    def __init__(self, *, seed: int = 0, shared_clock: bool = False) -> None:
        """`shared_clock`: whoever sets the daemon's clock sets Prometheus's, which is on the same machine."""
        self.chance = Random(seed)
        self.settings = settings()
        self.production = Production()
        self.measured = Measured()
        self.tool = Tool(self)
        self.promises = Promises(self)
        self.firing: dict[str, Mapping[str, str]] = {}
        self.starts: dict[str, datetime] = {}
        self.marked_bad: dict[tuple[str, str], float] = {}
        self.slack = 30.0
        """Seconds between a look at the world and what is done after it, in which somebody else may do something."""
        self.children_get_away = False
        self.life: Life | None = None
        self.logs: list[Any] = []
        self.told: list[Message] = []
        self._shared_clock = shared_clock
        self._now = 0.0
        self._offsets = [(float("-inf"), 0.0)]
        self._own_offsets = [(float("-inf"), 0.0)]
        self._stack = ExitStack()
        self._seen_logs = 0
        self._failpoint = ""
        self._trips_left: int | None = None
        self._die_after_work = False
        self.disk_full = False
        self.deaths = 0
        self.starts_again_after: float | None = None
        """Seconds after which a daemon that has died is started again; None: nobody does that."""

    def __enter__(self) -> Self:
        store = empty_store()  # made where threads are threads
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)))
            stack.enter_context(seams(self))
            self.logs = stack.enter_context(capture_logs())
            self._stack = stack.pop_all()
        (self.directory / "state").mkdir(mode=0o700)
        self.database.write_bytes(store)
        self.start()
        for service in SERVICES:
            self.production.deploy(service, "r0", by="ci", at=self.now - _LONG_AGO.total_seconds())
            self.record(service, "r0", started_at=self.wall - _LONG_AGO)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(DiedError):
            self.crash()
        self._stack.close()

    # Time.

    @property
    def now(self) -> float:
        """True seconds: nobody can set them."""
        return self._now if self.life is None else self.life.loop.time()

    @property
    def wall(self) -> datetime:
        return _instant(self.wall_of(self.now))

    @property
    def own(self) -> datetime:
        """What the daemon takes the time for."""
        return _instant(self.own_of(self.now))

    @property
    def server_time(self) -> datetime:
        return _instant(self.server_stamp(self.now))

    def wall_of(self, moment: float) -> float:
        return _shown(self._offsets, moment)

    def own_of(self, moment: float) -> float:
        return _shown(self._own_offsets, moment)

    def set_clock(self, by: timedelta) -> None:
        self._offsets.append((self.now, self._offsets[-1][1] + by.total_seconds()))

    def own_time_is(self, *, booted_at: datetime) -> None:
        """The daemon counts from here; the machine booted when the world began."""
        self._own_offsets.append((self.now, (booted_at - BEGIN).total_seconds()))

    def true_of(self, stamp: str) -> float:
        """When the daemon took it for this time; the last one, if it did so more than once."""
        seconds = (parse_rfc3339(stamp) - BEGIN).total_seconds()
        for since, offset in reversed(self._own_offsets):
            if since <= seconds - offset <= self.now + 1:
                return seconds - offset
        return seconds - self._own_offsets[-1][1]

    @property
    def server_is_ahead(self) -> float:
        """Of the daemon's time, in seconds."""
        return self.server_stamp(self.now) - self.own_of(self.now)

    def true_time(self, moment: datetime) -> float:
        """What a moment is that Prometheus is asked about. A shared clock that was set has taken its past with it."""
        return (moment - BEGIN).total_seconds() - (self._offsets[-1][1] if self._shared_clock else 0.0)

    def server_stamp(self, moment: float) -> float:
        return BEGIN.timestamp() + moment + (self._offsets[-1][1] if self._shared_clock else 0.0)

    def pass_time(self, seconds: float) -> None:
        """With the daemon, or without one. It may die on the way, and be started again when the time for that has come."""
        until = self.now + seconds
        while self.now < until:
            if self.life is not None:
                with suppress(DiedError):
                    self._do(asyncio.sleep(until - self.now))
            elif self.starts_again_after is None:
                self._now = until
            else:
                self._now = min(self._now + self.starts_again_after, until)
                self.start()

    # The daemon.

    @property
    def database(self) -> Path:
        return self.directory / "state" / "rollbackd.db"

    @property
    def store_url(self) -> str:
        return f"sqlite:///{self.database}"

    def start(self) -> None:
        if self.life is not None:
            return
        self.life = life = Life(self, now=self._now)
        life.loop.before_work = self._before_work
        life.loop.after_work = self._after_work
        with suppress(DiedError):
            try:
                life.start()
            except DiedError:
                self._gone()
                raise

    def stop(self) -> None:
        if self.life is None:
            return
        life = self.life
        with suppress(DiedError):
            try:
                life.stop()
            except DiedError:
                self._gone()
                raise
        if self.life is not None:
            self._gone(died=False)

    def crash(self) -> None:
        if self.life is not None:
            self.life.die()
            self._gone()

    def crash_at(self, failpoint: str) -> None:
        """When it comes there next."""
        self._failpoint = failpoint

    def crash_after(self, trips: int, *, committed: bool) -> None:
        """At the so many-th trip to the store from here: before what it does, or between that and the answer."""
        self._trips_left, self._die_after_work = trips, committed

    def spare(self) -> None:
        """No death is awaited any more."""
        self._failpoint, self._trips_left = "", None

    def ask(self, question: Callable[[app.Daemon], Coroutine[Any, Any, T]]) -> T | None:
        """What a person or a program asks of the daemon; None when it refuses, or is no more."""
        if self.life is None or self.life.daemon is None:
            return None
        try:
            return self._do(question(self.life.daemon))
        except (DiedError, RollbackdError):
            return None

    # People and programs.

    def record(self, service: str, version: str, **more: Any) -> Release | None:
        report = ReleaseReport(service=service, version=version, **more)
        recorded = self.ask(lambda daemon: daemon.operator.record_release(report, by=Caller("ci")))
        return None if recorded is None else recorded[0]

    def alert(self, service: str, *, again: bool = False, ago: timedelta = timedelta(0), resolved: bool = False) -> bool:
        """Whether it was acknowledged."""
        if not (again or resolved) or service not in self.starts:
            self.starts[service] = self.server_time - ago
        labels = {"alertname": "HighErrorRate", "service": service}
        if resolved:
            self.firing.pop(service, None)
        else:
            self.firing[service] = labels
        event = AlertEvent(
            fingerprint=service,
            starts_at=self.starts[service],
            status=AlertStatus.RESOLVED if resolved else AlertStatus.FIRING,
            ends_at=self.server_time if resolved else None,
            labels=labels,
            received_at=self.own,
            service=service,
            trigger="HighErrorRate",
        )

        async def post(daemon: app.Daemon) -> bool:
            appended = await daemon.store.alerts.append([event])
            if appended.stored:
                daemon.conductor.alerts_stored()
            return True

        if not self.ask(post):
            return False
        self.promises.acknowledged.add((to_microseconds(event.starts_at), event.fingerprint, event.status.value))
        return True

    def deploy(self, service: str, version: str, *, bad: bool = False) -> None:
        """Somebody else than rollbackd."""
        self.tool.catch_up()
        if bad:
            self.production.bad.add(version)
        self.production.deploy(service, version, by="ci", at=self.now)

    def outage(self, service: str, ratio: float) -> None:
        self.tool.catch_up()
        self.production.outage(service, ratio, at=self.now)

    def pause(self, scope: str | None, duration: timedelta) -> None:
        paused = self.ask(lambda daemon: daemon.operator.pause(scope, duration=duration, reason="because", by=Caller("a person")))
        if paused is not None and paused.until is not None:
            self.promises.paused_since[scope or "global"] = self.now, paused.until.timestamp()

    def resume(self, scope: str | None) -> None:
        self.promises.paused_since.pop(scope or "global", None)
        self.ask(lambda daemon: daemon.operator.resume(scope, by=Caller("a person")))

    def mark(self, service: str, version: str, mark: Mark) -> None:
        if self.ask(lambda daemon: daemon.operator.mark(service, version, mark, reason="because", by=Caller("a person"))) is None:
            return
        if mark is Mark.BAD:
            self.marked_bad.setdefault((service, version), self.now)
        else:
            self.marked_bad.pop((service, version), None)

    def mend(self) -> None:
        """Everything works, every clock is right, and the daemon runs."""
        self.disk_full = False
        self.spare()
        self.start()
        self.measured.be(Mood.WELL, at=self.now)
        self.tool.manners.clear()
        self.tool.sights.clear()
        for service in SERVICES:
            self.outage(service, 0.0)
        if self._offsets[-1][1]:
            self.set_clock(timedelta(seconds=-self._offsets[-1][1]))

    def bugs(self) -> Iterator[str]:
        """What was logged since the last time that no foreseen error explains."""
        new, self._seen_logs = self.logs[self._seen_logs :], len(self.logs)
        for entry in new:
            error = entry.get("exc_info")
            if isinstance(error, Exception) and not isinstance(error, RollbackdError):
                yield f"{entry['event']}: {error!r}"
            elif entry["event"] == "job_failed" and not entry["error"].startswith("the store"):
                yield f"job {entry['job']} failed: {entry['error']}"

    # Inside.

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        assert self.life is not None
        try:
            return self.life.do(coroutine)
        except DiedError:
            self._gone()
            raise

    def _gone(self, *, died: bool = True) -> None:
        """Its death takes its children with it, but for those that get away and what a platform has taken over."""
        life = self.life
        assert life is not None
        self.tool.catch_up()
        self.deaths += died
        if died and not self.children_get_away:
            for process in list(self.tool.processes):
                self.tool.kill(process)
        self._now = life.loop.time()
        self.promises.broken += [f"bug: {event}" for event in self.bugs()]
        life.bury()
        self._seen_logs = len(self.logs)
        if life.failure is not None:
            self.promises.broken.append(f"I9: the daemon ended: {life.failure!r}")
        self.life = None
        self.spare()

    def _before_work(self, thread: str) -> None:
        if thread != WRITER or self.life is None or self.life.loop.dead:
            return
        if self._trips_left is not None:
            self._trips_left -= 1
            if self._trips_left <= 0 and not self._die_after_work:
                self._trips_left = None
                self.life.die()
                raise RuntimeError("dead")

    def _after_work(self, thread: str) -> None:
        if thread == WRITER and self._trips_left is not None and self._trips_left <= 0 and self.life is not None:
            self._trips_left = None
            self.life.die()

    def environment(self) -> Mapping[str, str]:
        return {failpoints.ENVIRONMENT_VARIABLE: f"{self._failpoint}:kill"} if self._failpoint else {}

    def kill(self, _pid: int, _signal: signal.Signals) -> None:
        self._failpoint = ""
        if self.life is not None:
            self.life.die()
        raise KilledError


def _shown(offsets: Sequence[tuple[float, float]], moment: float) -> float:
    """By a clock that was set at these moments to be so many seconds ahead of the true time."""
    return BEGIN.timestamp() + moment + next(offset for since, offset in reversed(offsets) if since <= moment)


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
