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
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from rollbackd.action.child import Child, Ending
from rollbackd.action.ending import KILL, Cleared, end
from rollbackd.action.environment import MARK
from rollbackd.action.kin import Kin, Orphans
from rollbackd.action.output import KEEP
from rollbackd.action.pipe import OnLine, Pipe
from rollbackd.errors import UncertainError
from rollbackd.model.attempt import ProcessIdentity
from rollbackd.model.process import Completed

OnStart = Callable[[ProcessIdentity], Awaitable[None]]

_log: Final = structlog.get_logger("action")

_LINGER: Final = timedelta(milliseconds=100)  # what goes by itself right after the command is no leftover
_END_OF_OUTPUT: Final = timedelta(milliseconds=200)  # after the end of every process that could be found
_SETPRIV_FAILED: Final = b"setpriv: failed to execute "


class Processes:
    """Starts processes: one spawn each, no shell, no interpreter, a session of its own.

    Use it on the main thread's event loop, for a child dies with the *thread* that started it.
    """

    def __init__(self, *, grace: timedelta = timedelta(seconds=5), adopt_orphans: bool = False) -> None:
        """`adopt_orphans`: for a daemon that starts nothing but its commands; none of what comes of them escapes it then."""
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:  # inherited: the kernel would keep no exit code for us
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._grace = grace
        self._orphans = Orphans(adopt=adopt_orphans)
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
            child = stack.enter_context(Child(popen, mark=env.get(MARK), orphans=self._orphans))
            try:
                if on_start is not None:
                    await on_start(child.identity)
                ending = await child.ending(interrupt, deadline=began + timeout.total_seconds())
                cleared = await self._clear(child, ending)
            except BaseException:
                child.send_group(signal.SIGKILL)  # whoever does not wait for the rest has ended that much
                with suppress(UncertainError):
                    await end(child.kin, [KILL])
                raise
            held_open = await _are_held_open(stdout, stderr)
            code = child.code()
        completed = Completed(
            exit_code=code if code >= 0 else None,
            signal=_signal_name(-code) if code < 0 else None,
            stdout=stdout.kept.content(),
            stderr=stderr.kept.content(),
            duration=timedelta(seconds=loop.time() - began),
            timed_out=ending is Ending.TIMED_OUT,
            interrupted=ending is Ending.INTERRUPTED,
            dropped=stdout.kept.dropped + stderr.kept.dropped,
            leftovers=tuple(pid for pid in cleared.told if pid not in {child.identity.pid, *cleared.alive}),
            survivors=cleared.alive,
            held_open=held_open,
        )
        if completed.left:
            _log.warning("left_behind", command=executable, consequence=completed.left)
        if self._setpriv and code in {126, 127} and completed.stderr.startswith(_SETPRIV_FAILED):
            return _never_started(argv[0], completed.stderr.removeprefix(_SETPRIV_FAILED).decode(errors="replace").strip())
        return completed

    async def end_remains(self, identity: ProcessIdentity | None, *, mark: str) -> tuple[int, ...]:
        """KILL what an earlier daemon's attempt left behind, by the identity that was journaled and by its mark; the pids.

        Called before anything is observed: what still runs could change the answer right after it.

        Raises:
            UncertainError: something could not be killed.
        """
        cleared = await end(Kin(identity, mark), [KILL])
        if cleared.alive:
            raise UncertainError(f"process {cleared.alive[0]} of an earlier run does not die, not even of KILL: look at it on the machine")
        return cleared.told

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

    async def _clear(self, child: Child, ending: Ending) -> Cleared:
        """End the child, unless it ended by itself, and what is left of its kin; what was left, and what is even now."""
        term = (signal.SIGTERM, self._grace)
        if ending is Ending.EXITED:
            return await end(child.kin, [(None, _LINGER), term, KILL])
        await end(child.kin, [term], blindly=child.send_group)
        return await end(child.kin, [KILL], blindly=child.send_group)


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


async def _are_held_open(*pipes: Pipe) -> bool:
    """What is in the pipes is read; whoever escaped and still holds one is not waited for."""
    try:
        async with asyncio.timeout(_END_OF_OUTPUT.total_seconds()):
            for pipe in pipes:
                await pipe.ended.wait()
    except TimeoutError:
        return True
    return False


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
