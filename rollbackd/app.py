"""The composition root: a config file in, a running daemon out. A straight line, read from top to bottom; taken down in reverse."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from rollbackd import __version__
from rollbackd.action.commands import Commands
from rollbackd.action.environment import Environments
from rollbackd.action.http_client import HttpClient
from rollbackd.action.journal import room_for_any
from rollbackd.action.probe import Prober
from rollbackd.action.process import Processes
from rollbackd.action.runner import Runner
from rollbackd.clock import Clock, SystemClock
from rollbackd.errors import PermanentError, RefusedError, RollbackdError
from rollbackd.flow.aftercare import Aftercare
from rollbackd.flow.bell import Bell
from rollbackd.flow.by_hand import ByHand
from rollbackd.flow.collect import Collector
from rollbackd.flow.conductor import Conductor, Stations
from rollbackd.flow.courier import Courier
from rollbackd.flow.desk import Desk
from rollbackd.flow.doctor import Doctor
from rollbackd.flow.emergency import Emergency
from rollbackd.flow.heartbeat import Heartbeat
from rollbackd.flow.in_use import InUse, prepare
from rollbackd.flow.judge import Judge
from rollbackd.flow.observe import Observe
from rollbackd.flow.operator import Operator
from rollbackd.flow.pager import Pager
from rollbackd.flow.pinned import Pinned
from rollbackd.flow.progress import Progress
from rollbackd.flow.readiness import Examiner, recorded
from rollbackd.flow.reload import Reloads
from rollbackd.flow.reopen import Reopen
from rollbackd.flow.reporting import Reporting
from rollbackd.flow.roll import Roll
from rollbackd.flow.rounds import Rounds
from rollbackd.flow.runs import Runs
from rollbackd.flow.story import Story
from rollbackd.flow.timekeeper import Timekeeper
from rollbackd.flow.truncated import TruncatedAlerts
from rollbackd.intake.webhook import Webhook
from rollbackd.notify.sentry import Sentry
from rollbackd.notify.teller import Teller
from rollbackd.prometheus.measurer import Measurer
from rollbackd.releases.register import Register
from rollbackd.releases.sources import Sources
from rollbackd.settings.effective import Settings
from rollbackd.settings.secrets import read_secret
from rollbackd.store.sqlite import path_of
from rollbackd.store.store import Store
from rollbackd.supervisor import Supervisor
from rollbackd.telemetry import sdnotify
from rollbackd.telemetry.metrics import Metrics, measure_lag
from rollbackd.telemetry.redaction import register_secret
from rollbackd.watch.look import Looker
from rollbackd.watch.schedule import Schedule
from rollbackd.watch.watcher import Watcher
from rollbackd.web import server
from rollbackd.web.deps import DaemonStatus, Deps
from rollbackd.web.door import listening

_log: Final = structlog.get_logger("daemon")
_SWEEP_EVERY: Final = timedelta(minutes=1)
_PURGE_EVERY: Final = timedelta(hours=1)


class NotArmedError(PermanentError):
    """There is no store to act from: nothing may be taken, and nothing may be done, until there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A running daemon; `url` is where it listens."""

    url: str
    store: Store
    conductor: Conductor
    operator: Operator
    by_hand: ByHand
    aftercare: Aftercare
    reloads: Reloads
    supervisor: Supervisor


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    clock: SystemClock | None = None,
    systemd: sdnotify.SystemdNotifier | None = None,
    reload_asked: asyncio.Event | None = None,
    processes: Processes | None = None,
) -> AsyncIterator[Daemon]:
    """The daemon for these settings, listening and resumed; leaving it stops what runs, in order, and keeps everything resumable.

    Whenever `reload_asked` is set, the config is read again.

    Raises:
        NotArmedError: its store cannot be used.
        RollbackdError: it cannot start, with what to do about it: another daemon has the store, the port is taken, a token is missing.
    """
    clock = clock or SystemClock()
    systemd = systemd or sdnotify.SystemdNotifier(None)
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        sentry = await stack.enter_async_context(Sentry.from_settings(settings.sentry))
        store = await stack.enter_async_context(_store(settings, clock, metrics))
        schedule = await stack.enter_async_context(Schedule(on_error=_job_failed, clock=clock))
        supervisor = await stack.enter_async_context(Supervisor())

        timekeeper = Timekeeper(clock, store, schedule, metrics)
        await timekeeper.take_over()
        serving_since = clock.now()
        in_use = InUse(prepare(settings, read_at=serving_since, clock=clock, metrics=metrics))
        stack.push_async_callback(in_use.close)
        measurer = Measurer(in_use.clients)
        commands, http = _outward(processes or Processes(), store.directory)
        prober = Prober(commands, measurer, clock)
        register = Register(store.releases, clock)
        sources = Sources(store.releases, commands.ask_source, clock)
        pinned = Pinned(store)
        bell = Bell()
        reporting = Reporting(store=store, pinned=pinned, settings=in_use.settings, directory=store.directory / "reports", clock=clock)
        courier, teller = _telling(sentry, in_use=in_use, store=store, supervisor=supervisor, metrics=metrics, clock=clock)
        story = Story(metrics=metrics, teller=teller, reporting=reporting, clock=clock)
        collector = Collector(
            services=in_use.services, store=store, measurer=measurer, sources=sources, prober=prober, serving_since=serving_since
        )
        judge = Judge(collector=collector, bell=bell, clock=clock, metrics=metrics)
        runs = Runs(store=store, runner=Runner(store.attempts, commands, http, prober, clock), bell=bell, clock=clock)
        roll, observe = _acting(
            runs=runs,
            store=store,
            register=register,
            sources=sources,
            collector=collector,
            watcher=Watcher(schedule, Looker(measurer), clock),
            bell=bell,
            clock=clock,
        )
        conductor = Conductor(
            services=in_use.services,
            store=store,
            stations=Stations(
                deciding=judge.deciding,
                proposed=judge.proposed,
                escalated=judge.escalated,
                rolling_back=roll.rolling_back,
                watching=observe.watching,
                leave=runs.leave,
            ),
            pinned=pinned,
            story=story,
            bell=bell,
            supervisor=supervisor,
            clock=clock,
        )
        reopen = Reopen(services=in_use.services, store=store, sources=sources, conductor=conductor, clock=clock)
        operator, by_hand = _people(
            in_use=in_use,
            store=store,
            register=register,
            sources=sources,
            collector=collector,
            conductor=conductor,
            reopen=reopen,
            pinned=pinned,
            clock=clock,
        )

        rounds = Rounds(
            services=in_use.services,
            examiner=Examiner(
                clients=in_use.spare,
                commands=commands,
                prober=Prober(commands, Measurer(in_use.spare), clock),
                known=recorded(sources, store.releases),
                room=store.room,
                clock=clock,
            ),
            store=store,
            metrics=metrics,
            clock=clock,
        )
        truncated = TruncatedAlerts(
            services=in_use.services,
            clients=in_use.clients,
            route=in_use.route,
            store=store,
            on_stored=conductor.alerts_stored,
            clock=clock,
        )
        webhook = Webhook(
            store=store,
            route=in_use.route,
            tokens=in_use.ingest,
            clock=clock,
            metrics=metrics,
            on_stored=conductor.alerts_stored,
            on_truncated=truncated.missed,
        )
        reloads = Reloads(
            in_use=in_use,
            store=store,
            metrics=metrics,
            clock=clock,
            supervisor=supervisor,
            follow=lambda changes: rounds.follow(anew=(*changes.added, *changes.changed), gone=changes.removed),
        )
        application = server.build(
            Deps(
                in_use=in_use,
                store=store,
                operator=operator,
                by_hand=by_hand,
                courier=courier,
                webhook=webhook,
                metrics=metrics,
                clock=clock,
                reporting=reporting,
                readiness=rounds.of,
                diagnose=Doctor(in_use=in_use, store=store, rounds=rounds).diagnose,
                status=lambda: DaemonStatus(
                    started_at=serving_since,
                    ready=not store.problem,
                    why_not=store.problem,
                    version=__version__,
                    clock_ahead=timekeeper.ahead,
                ),
                reload=lambda by: reloads.reload(by=by),
                refusal=lambda: reloads.refusal,
            )
        )

        aftercare = Aftercare(services=in_use.services, store=store, sources=sources, collector=collector, teller=teller, clock=clock)
        await conductor.start()
        _schedule_sweeps(schedule, in_use, store, clock, reopen, aftercare, reporting, reloads, courier)
        for client in in_use.clients.values():
            supervisor.spawn("warm up", client.warm_up())
        for name, goes_on in {
            "truncated alerts": truncated.run(),
            "own time": timekeeper.run(in_use.services),
            "event loop lag": measure_lag(metrics, clock),
            "watchdog": sdnotify.feed_watchdog(systemd, clock, progress=partial(_go_on, conductor.progress, store)),
            "courier": courier.run(),
            "heartbeat": Heartbeat(
                settings=in_use.settings, is_well=partial(_go_on, conductor.progress, store), sentry=sentry, clock=clock
            ).run(),
            "pager": Pager(store=store, settings=in_use.settings, clock=clock).run(),
            "reloads": reloads.run(reload_asked or asyncio.Event()),
        }.items():
            supervisor.spawn(name, goes_on)
        url = await stack.enter_async_context(listening(application, settings.server, tls=in_use.config.tls, metrics=metrics, clock=clock))
        _log.info("listening", url=url, services=len(in_use.services), version=__version__)
        supervisor.spawn("examination of the store", store.examine())
        stack.enter_context(rounds.made(schedule))
        systemd.ready()
        systemd.status("armed")
        yield Daemon(
            url=url,
            store=store,
            conductor=conductor,
            operator=operator,
            by_hand=by_hand,
            aftercare=aftercare,
            reloads=reloads,
            supervisor=supervisor,
        )
        _log.info("stopping")
        await runs.stop(grace=in_use.settings().shutdown_grace)


def _telling(
    sentry: Sentry | None, *, in_use: InUse, store: Store, supervisor: Supervisor, metrics: Metrics, clock: Clock
) -> tuple[Courier, Teller]:
    courier = Courier(store=store, settings=in_use.settings, supervisor=supervisor, metrics=metrics, clock=clock)
    return courier, Teller(sentry, courier.post)


async def _go_on(progress: Progress, store: Store) -> None:
    """Raises TemporaryError where something hangs: a task of the conductor, or the store."""
    progress.check()
    await store.ping()


@asynccontextmanager
async def _store(settings: Settings, clock: Clock, metrics: Metrics) -> AsyncIterator[Store]:
    """With room for the journal of the longest run. That another daemon has it is not its fault, and raised as it is."""
    path_of(settings.store_url)
    reserve = room_for_any(settings.services.values())
    opening = Store.opened(settings.store_url, clock=clock, observe_commit=metrics.committed, reserve=reserve)
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(opening)
        except RefusedError:
            raise
        except RollbackdError as e:
            raise NotArmedError(str(e)) from e
        yield store


def _acting(
    *,
    runs: Runs,
    store: Store,
    register: Register,
    sources: Sources,
    collector: Collector,
    watcher: Watcher,
    bell: Bell,
    clock: Clock,
) -> tuple[Roll, Observe]:
    """The stations that act, either of which may end in the emergency runbook."""
    emergency = Emergency(store=store, register=register, runs=runs)
    roll = Roll(store=store, register=register, sources=sources, collector=collector, runs=runs, emergency=emergency, clock=clock)
    return roll, Observe(store=store, register=register, watcher=watcher, emergency=emergency, bell=bell, clock=clock)


def _people(
    *,
    in_use: InUse,
    store: Store,
    register: Register,
    sources: Sources,
    collector: Collector,
    conductor: Conductor,
    reopen: Reopen,
    pinned: Pinned,
    clock: Clock,
) -> tuple[Operator, ByHand]:
    """What a person may say, and what a person may run."""
    desk = Desk(services=in_use.services, store=store, conductor=conductor, clock=clock)
    operator = Operator(desk, store=store, register=register, conductor=conductor, reopen=reopen, clock=clock)
    by_hand = ByHand(
        desk,
        runbooks=in_use.runbooks,
        store=store,
        register=register,
        sources=sources,
        collector=collector,
        conductor=conductor,
        pinned=pinned,
        clock=clock,
    )
    return operator, by_hand


def _outward(processes: Processes, directory: Path) -> tuple[Commands, HttpClient]:
    """The two ways in which steps reach the world, with the same credentials."""
    environments = Environments(os.environ, _secret)
    return Commands(processes, environments, cwd=directory), HttpClient(environments)


def _schedule_sweeps(  # noqa: PLR0917 - each is a thing of its own kind, and the types tell them apart
    schedule: Schedule,
    in_use: InUse,
    store: Store,
    clock: Clock,
    reopen: Reopen,
    aftercare: Aftercare,
    reporting: Reporting,
    reloads: Reloads,
    courier: Courier,
) -> None:
    """What is looked after from time to time, and never urgent."""

    async def purge() -> None:
        before = clock.now() - in_use.settings().retention
        await store.purge(before)
        await reporting.purge(before)

    schedule.every("reopen", _SWEEP_EVERY, reopen.sweep)
    schedule.every("aftercare", _SWEEP_EVERY, aftercare.sweep)
    schedule.every("clients", _SWEEP_EVERY, reloads.sweep)
    schedule.every("purge", _PURGE_EVERY, purge)
    schedule.every("messages given up", _PURGE_EVERY, courier.give_up)


def _secret(path: str) -> str:
    """A credential's value, known from here on to everything that prints (I13)."""
    return register_secret(read_secret(Path(path))).reveal()


def _job_failed(name: str, error: BaseException) -> None:
    _log.error("job_failed", job=name, error=str(error) or type(error).__name__)
