"""Runs one command and knows how it ended, whatever the command does.

Its end is learned from its pidfd and not from its pipes, for a grandchild may keep those open for ever. What it leaves behind is
ended and reported, its output costs constant memory, and it dies with the daemon where `setpriv` is installed (I1, I9, I14).
"""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from rollbackd.action.environment import MARK
from rollbackd.action.kin import Kin, Process, reap
from rollbackd.action.output import KEEP
from rollbackd.action.pipe import OnLine, Pipe
from rollbackd.errors import UncertainError
from rollbackd.model.attempt import ProcessIdentity
from rollbackd.model.process import Completed
from rollbackd.supervisor import together

OnStart = Callable[[ProcessIdentity], Awaitable[None]]

_log: Final = structlog.get_logger("action")

_LINGER: Final = timedelta(milliseconds=100)  # what goes by itself right after the command is no leftover
_KILL_PATIENCE: Final = timedelta(seconds=5)  # nothing survives KILL but what hangs in the kernel
_END_OF_OUTPUT: Final = timedelta(milliseconds=200)  # after the end of every process that could be found
_SETPRIV_FAILED: Final = b"setpriv: failed to execute "
_FIRST_POLL: Final = 0.01
_LAST_POLL: Final = 0.2


class _Ending(Enum):
    EXITED = auto()
    TIMED_OUT = auto()
    INTERRUPTED = auto()


class Processes:
    """Starts processes: one spawn each, no shell, no interpreter, a session of its own.

    Use it on the main thread's event loop, for a child dies with the *thread* that started it.
    """

    def __init__(self, *, grace: timedelta = timedelta(seconds=5)) -> None:
        self._grace = grace
        self._setpriv = _setpriv()
        if not self._setpriv:
            _log.warning("setpriv_missing", consequence="a command outlives a daemon that is killed, until the daemon is started again")

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        timeout: timedelta,  # noqa: ASYNC109 - of the process, which is ended in an orderly way
        cwd: Path,
        on_start: OnStart | None = None,
        interrupt: asyncio.Event | None = None,
        on_line: OnLine | None = None,
        keep: int = KEEP,
    ) -> Completed:
        """Run `argv` with exactly `env`; `timeout` and `interrupt` end it: TERM, grace, KILL, for everything that came of it.

        `keep` bytes are kept of the begin and of the end of each output. `on_start` is awaited while the process runs already; if it
        raises, or if this call is cancelled, the process is killed.

        Raises:
            UncertainError: the process could not be watched, or not be killed.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        with ExitStack() as stack:
            try:
                executable = find_executable(argv[0], path=env.get("PATH", ""), cwd=cwd)
                stdout, stderr = (stack.enter_context(Pipe(keep=keep, on_line=on_line)) for _ in range(2))
                popen = self._spawn([executable, *argv[1:]], env, cwd, stdout, stderr)
            except (OSError, ValueError) as e:
                return _never_started(argv[0], e)
            child = stack.enter_context(_Child(popen, mark=env.get(MARK)))
            try:
                if on_start is not None:
                    await on_start(child.identity)
                ending = await child.ending(interrupt, deadline=began + timeout.total_seconds())
                leftovers = await self._clear(child, ending)
            except BaseException:
                await _end(child.kin, [(signal.SIGKILL, _KILL_PATIENCE)])
                raise
            await _until_ended(stdout, stderr)
            code = child.code()
        completed = Completed(
            exit_code=code if code >= 0 else None,
            signal=_signal_name(-code) if code < 0 else None,
            stdout=stdout.kept.content(),
            stderr=stderr.kept.content(),
            duration=timedelta(seconds=loop.time() - began),
            timed_out=ending is _Ending.TIMED_OUT,
            interrupted=ending is _Ending.INTERRUPTED,
            dropped=stdout.kept.dropped + stderr.kept.dropped,
            leftovers=leftovers,
        )
        if self._setpriv and code in {126, 127} and completed.stderr.startswith(_SETPRIV_FAILED):
            return _never_started(argv[0], completed.stderr.removeprefix(_SETPRIV_FAILED).decode(errors="replace").strip())
        return completed

    async def end_remains(self, identity: ProcessIdentity | None, *, mark: str) -> tuple[int, ...]:
        """KILL what an earlier daemon's attempt left behind, by the identity that was journaled and by its mark; the pids.

        Called before anything is observed: what still runs could change the answer right after it.

        Raises:
            UncertainError: something could not be killed.
        """
        kin = Kin(identity, mark)
        ended = await _end(kin, [(signal.SIGKILL, _KILL_PATIENCE)])
        if alive := kin.alive():
            raise UncertainError(f"process {alive[0].pid} of an earlier run does not die, not even of KILL: look at it on the machine")
        return ended

    def _spawn(self, argv: list[str], env: Mapping[str, str], cwd: Path, stdout: Pipe, stderr: Pipe) -> subprocess.Popen[bytes]:
        popen = subprocess.Popen(  # noqa: S603 - an argv list from the config, with values of a closed set
            [*self._setpriv, *argv],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout.writer,
            stderr=stderr.writer,
            start_new_session=True,
            umask=0o077,
        )
        stdout.close_writer()
        stderr.close_writer()
        return popen

    async def _clear(self, child: "_Child", ending: _Ending) -> tuple[int, ...]:
        """End the child, unless it ended by itself, and what is left of its kin; the pids of what was left."""
        term, kill = (signal.SIGTERM, self._grace), (signal.SIGKILL, _KILL_PATIENCE)
        if ending is _Ending.EXITED:
            ended = await _end(child.kin, [(None, _LINGER), term, kill])
        else:
            await _end(child.kin, [term])
            ended = await _end(child.kin, [kill])
        return tuple(pid for pid in ended if pid != child.identity.pid)


class _Child:
    """The direct child. It is not waited for until its kin is gone: so long, its pid and session cannot become another's."""

    def __init__(self, popen: subprocess.Popen[bytes], *, mark: str | None) -> None:
        self._popen = popen
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        try:
            process = Process.read(popen.pid)
            if process is None:
                raise FileNotFoundError(0, "nothing is known of it: is /proc mounted, and are files left to open?")
            self._handle = os.pidfd_open(popen.pid)
        except OSError as e:
            popen.kill()
            popen.wait()
            raise UncertainError(f"process {popen.pid} was started and had to be killed at once: {e.strerror}") from e
        self.identity = process.identity
        self.kin = Kin(self.identity, mark)
        self._loop.add_reader(self._handle, self._on_exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        self._popen.poll()

    async def ending(self, interrupt: asyncio.Event | None, *, deadline: float) -> _Ending:
        """Wait for the first of its exit, the deadline and the interrupt. That it has exited outweighs the others."""
        try:
            async with asyncio.timeout_at(deadline):
                await _first_of(self._exited, *([interrupt] if interrupt else []))
        except TimeoutError:
            return _Ending.EXITED if self._has_exited() else _Ending.TIMED_OUT
        return _Ending.EXITED if self._has_exited() else _Ending.INTERRUPTED

    def code(self) -> int:
        """As subprocess has it: a negative number is a signal."""
        code = self._popen.poll()
        if code is None:
            raise UncertainError(f"process {self.identity.pid} does not die, not even of KILL: look at it on the machine")
        return code

    def _has_exited(self) -> bool:
        return os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._handle)
        self._exited.set()


def find_executable(name: str, *, path: str, cwd: Path) -> str:
    """The absolute path of a command, looked for as a shell would with this PATH and working directory.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: there is one that cannot be executed.
    """
    places = [cwd / name] if "/" in name else [cwd / directory / name for directory in path.split(os.pathsep)]
    found = [place for place in places if place.is_file()]
    if not found:
        raise FileNotFoundError(0, "no such command" if "/" in name else f"no such command in PATH={path}")
    for place in found:
        if os.access(place, os.X_OK):
            return str(place)
    raise PermissionError(0, f"{found[0]} may not be executed: chmod +x it")


async def _end(kin: Kin, phases: Sequence[tuple[signal.Signals | None, timedelta]]) -> tuple[int, ...]:
    """Go through the phases, each a signal and how long to wait after it, until nothing of `kin` runs; the pids that got a signal."""
    loop = asyncio.get_running_loop()
    signalled: set[int] = set()
    alive: list[Process] = []
    for number, patience in phases:
        told: set[int] = set()
        deadline, pause = loop.time() + patience.total_seconds(), _FIRST_POLL
        while alive := kin.alive():
            for process in alive:
                if number is not None and process.pid not in told:
                    process.send(number)
                    told.add(process.pid)
            if loop.time() >= deadline:
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_POLL)
        signalled |= told
        if not alive:
            break
    for pid in signalled - {kin.child.pid if kin.child else 0}:  # the child itself is its Popen's to reap, with its exit code
        reap(pid)
    return tuple(sorted(signalled))


async def _first_of(*events: asyncio.Event) -> None:
    async with together() as group:
        waiting = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


async def _until_ended(*pipes: Pipe) -> None:
    """What is in the pipes is read; whoever escaped and still holds one is not waited for."""
    try:
        async with asyncio.timeout(_END_OF_OUTPUT.total_seconds()):
            for pipe in pipes:
                await pipe.ended.wait()
    except TimeoutError:
        _log.warning("output_held_open", consequence="something that cannot be found still holds the output of a command")


def _setpriv() -> tuple[str, ...]:
    """The words before a command that let it die with its parent; none where util-linux has no setpriv that can."""
    path = shutil.which("setpriv")
    if path is None:
        return ()
    words = (path, "--pdeathsig", "KILL", "--")
    tried = subprocess.run([*words, path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=5)  # noqa: S603
    return words if tried.returncode == 0 else ()


def _never_started(name: str, why: OSError | ValueError | str) -> Completed:
    error = (why.strerror if isinstance(why, OSError) else None) or str(why)
    return Completed(exit_code=None, signal=None, stdout=b"", stderr=b"", duration=timedelta(0), error=f"{name}: {error}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"  # a real-time signal
