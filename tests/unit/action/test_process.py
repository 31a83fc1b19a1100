"""How a command ended, whatever it did."""

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

import pytest
from structlog.testing import capture_logs

import rollbackd
from rollbackd.action.environment import MARK
from rollbackd.action.kin import Kin, Process
from rollbackd.action.output import KEEP
from rollbackd.action.pipe import OnLine
from rollbackd.action.process import OnStart, Processes
from rollbackd.errors import UncertainError
from rollbackd.model.attempt import ProcessIdentity
from rollbackd.model.process import Completed
from tests.fakes.processes import eventually

CHECKOUT = {"PYTHONPATH": str(Path(rollbackd.__file__).parents[1]), "PATH": "/usr/bin:/bin"}
LONG = timedelta(seconds=60)
SHORT = timedelta(milliseconds=200)
ATTEMPT = f"{token_hex(8)}-0-1"  # of this run of the suite only
ENV = {"PATH": "/usr/bin:/bin", MARK: ATTEMPT}
ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT


async def run(
    processes: Processes,
    *argv: str,
    env: Mapping[str, str] = ENV,
    timeout: timedelta = LONG,  # noqa: ASYNC109 - the process's
    cwd: Path = Path("/"),
    on_start: OnStart | None = None,
    interrupt: asyncio.Event | None = None,
    on_line: OnLine | None = None,
) -> Completed:
    return await processes.run(argv, env=env, timeout=timeout, cwd=cwd, on_start=on_start, interrupt=interrupt, on_line=on_line)


async def sh(processes: Processes, script: str, **how: object) -> Completed:
    return await run(processes, "sh", "-c", script, **how)  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    process = Process.read(pid)
    return process is None or process.dead


# How it ended


async def test_exit_codes_and_signals_are_told_apart(processes: Processes) -> None:
    assert (await sh(processes, "exit 0")).ok
    failed = await sh(processes, "exit 3")
    assert (failed.exit_code, failed.signal, failed.ok) == (3, None, False)
    killed = await sh(processes, "kill -KILL $$")
    assert (killed.exit_code, killed.signal, killed.ok) == (None, "SIGKILL", False)
    unusual = await sh(processes, "kill -40 $$")
    assert unusual.signal == "SIG40"


async def test_both_outputs_are_kept_apart(processes: Processes) -> None:
    completed = await sh(processes, "echo out; echo err >&2")
    assert (completed.stdout, completed.stderr, completed.dropped) == (b"out\n", b"err\n", 0)


@pytest.mark.parametrize("code", [126, 127])
async def test_a_command_that_itself_ends_with_126_or_127_was_started(processes: Processes, code: int) -> None:
    completed = await sh(processes, f"echo setpriv: no >&2; exit {code}")
    assert (completed.exit_code, completed.error) == (code, "")


async def test_what_is_missing_never_started(processes: Processes) -> None:
    completed = await run(processes, "no-such-tool")
    assert (completed.exit_code, completed.signal, completed.ok) == (None, None, False)
    assert completed.error == "no-such-tool: no such command in PATH=/usr/bin:/bin"


async def test_what_is_not_executable_never_started(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o644)
    assert "may not be executed" in (await run(processes, "./tool", cwd=tmp_path)).error
    assert "may not be executed" in (await run(processes, "tool", env={"PATH": f"/bin:{tmp_path}"})).error


async def test_a_missing_interpreter_or_directory_or_a_nul_never_started(processes: Processes, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/no/such/interpreter\n")
    tool.chmod(0o755)
    for completed in (
        await run(processes, str(tool)),
        await run(processes, "true", cwd=tmp_path / "none"),
        await run(processes, "echo", "a\0b"),
        await run(processes, str(tmp_path)),
    ):
        assert completed.error
        assert completed.exit_code is None


async def test_the_command_is_looked_for_in_the_path_that_it_gets(processes: Processes, tmp_path: Path) -> None:
    for name, directory in (("first", tmp_path / "a"), ("second", tmp_path / "b")):
        directory.mkdir()
        (directory / "tool").write_text(f"#!/bin/sh\necho {name}\n")
        (directory / "tool").chmod(0o755)
    completed = await run(processes, "tool", env={"PATH": f"{tmp_path}/b:{tmp_path}/a"})
    assert completed.stdout == b"second\n"
    assert (await run(processes, "a/tool", cwd=tmp_path)).stdout == b"first\n"


# What it is given


async def test_the_environment_is_exactly_what_is_given(processes: Processes) -> None:
    completed = await run(processes, "env", env={"PATH": "/usr/bin:/bin", "ONLY": "this"})
    assert sorted(completed.stdout.decode().splitlines()) == ["ONLY=this", "PATH=/usr/bin:/bin"]


async def test_a_child_is_alone(processes: Processes, tmp_path: Path) -> None:
    """Own session, nothing to read, no file of ours open, files of its own for nobody else, in the directory that was said."""
    identities: list[ProcessIdentity] = []

    async def on_start(identity: ProcessIdentity) -> None:
        identities.append(identity)

    inherited, writer = os.pipe()
    os.write(writer, b"what the daemon may read\n")
    before = os.dup(0)
    os.dup2(inherited, 0)
    script = "pwd; umask; cat; ls /proc/self/fd; echo $$"
    completed = await sh(processes, script, cwd=tmp_path, on_start=on_start)
    os.dup2(before, 0)
    for number in (inherited, writer, before):
        os.close(number)
    directory, umask, *open_files, pid = completed.stdout.decode().split()
    assert (directory, umask) == (str(tmp_path), "0077")
    assert open_files == ["0", "1", "2", "3"]  # the last is ls's own, of the directory that it lists
    assert [(identity.pid, identity.session_id) for identity in identities] == [(int(pid), int(pid))]


# When it does not end


async def test_a_timeout_ends_it_in_order(processes: Processes) -> None:
    completed = await sh(processes, "trap 'echo cleaned up; exit 7' TERM; sleep 60 & wait", timeout=SHORT)
    assert (completed.timed_out, completed.exit_code, completed.stdout) == (True, 7, b"cleaned up\n")
    assert not completed.ok


async def test_exit_0_after_a_timeout_is_not_ok(processes: Processes) -> None:
    completed = await sh(processes, "trap 'exit 0' TERM; sleep 60 & wait", timeout=SHORT)
    assert (completed.exit_code, completed.ok) == (0, False)


async def test_what_ignores_term_is_killed_with_its_children(processes: Processes) -> None:
    completed = await sh(processes, "trap '' TERM; sleep 60 & echo $!; sleep 60; sleep 60", timeout=SHORT)
    assert (completed.timed_out, completed.signal) == (True, "SIGKILL")
    assert gone(int(completed.stdout))


async def test_a_stopped_process_is_ended_as_well(processes: Processes) -> None:
    completed = await sh(processes, "kill -STOP $$", timeout=SHORT)
    assert (completed.timed_out, completed.signal) == (True, "SIGKILL")


async def test_an_interrupt_ends_it(processes: Processes) -> None:
    interrupt = asyncio.Event()

    async def on_start(_: ProcessIdentity) -> None:
        interrupt.set()

    completed = await sh(processes, "sleep 60", interrupt=interrupt, on_start=on_start)
    assert (completed.interrupted, completed.timed_out, completed.signal) == (True, False, "SIGTERM")


async def test_that_it_has_ended_outweighs_a_timeout_at_the_same_moment(processes: Processes) -> None:
    async def on_start(identity: ProcessIdentity) -> None:
        await eventually(lambda: gone(identity.pid))

    completed = await sh(processes, "exit 4", timeout=timedelta(0), on_start=on_start)
    assert (completed.exit_code, completed.timed_out) == (4, False)


# What it leaves behind


async def test_a_grandchild_that_keeps_the_pipe_does_not_hang_the_daemon(processes: Processes) -> None:
    completed = await sh(processes, "sleep 1000 & echo $!")
    assert completed.ok
    assert completed.leftovers == (int(completed.stdout),)
    assert gone(int(completed.stdout))


async def test_a_grandchild_that_left_the_session_is_found(processes: Processes, tmp_path: Path) -> None:
    script = "setsid sh -c 'trap \"\" TERM; echo $$ > pid; sleep 1000; sleep 1000' & until test -s pid; do :; done"
    completed = await sh(processes, script, cwd=tmp_path)
    assert completed.ok
    assert int((tmp_path / "pid").read_text()) in completed.leftovers
    assert all(gone(pid) for pid in completed.leftovers)


async def test_what_ends_by_itself_right_after_the_command_is_no_leftover(processes: Processes) -> None:
    assert (await sh(processes, "sleep 0.02 &")).leftovers == ()


async def test_one_that_cannot_be_found_does_not_hang_the_daemon(processes: Processes, tmp_path: Path) -> None:
    """Another session, and an environment without the mark: only its open pipe tells of it."""
    script = "env -i setsid sh -c 'echo $$ > pid; exec /bin/sleep 1000' & until test -s pid; do :; done; echo done"
    with capture_logs() as logs:
        completed = await sh(processes, script, cwd=tmp_path)
    escaped = int((tmp_path / "pid").read_text())
    os.kill(escaped, signal.SIGKILL)
    assert (completed.ok, completed.stdout, completed.leftovers) == (True, b"done\n", ())
    assert (completed.held_open, completed.left) == (True, "something that cannot be found still holds its output")
    assert [(log["event"], log["command"]) for log in logs] == [("left_behind", "/usr/bin/sh")]


async def test_cancelled_it_is_killed_with_its_children(processes: Processes) -> None:
    started = asyncio.Event()
    identities: list[ProcessIdentity] = []

    async def on_start(identity: ProcessIdentity) -> None:
        identities.append(identity)
        await eventually(lambda: len(Kin(identity, None).alive()) == 2)
        started.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(sh(processes, "trap '' TERM; sleep 1000", on_start=on_start))
        await started.wait()
        task.cancel()
    assert task.cancelled()
    assert Kin(identities[0], ENV[MARK]).alive() == []


async def test_when_its_start_cannot_be_written_down_it_is_killed(processes: Processes) -> None:
    identities: list[ProcessIdentity] = []

    async def on_start(identity: ProcessIdentity) -> None:
        identities.append(identity)
        raise RuntimeError("the journal is gone")

    with pytest.raises(RuntimeError, match="journal is gone"):
        await sh(processes, "sleep 1000", on_start=on_start)
    assert gone(identities[0].pid)


async def test_one_that_cannot_be_watched_is_killed_at_once(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("os.pidfd_open", full)
    with pytest.raises(UncertainError, match="killed at once: Too many open files"):
        await sh(processes, "sleep 1000")


async def test_what_cannot_be_ended_is_not_said_to_be(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's process, as `sudo` starts it: no signal of ours reaches it."""
    monkeypatch.setattr("rollbackd.action.ending.KILL", (signal.SIGKILL, SHORT))
    monkeypatch.setattr("rollbackd.action.process.KILL", (signal.SIGKILL, SHORT))
    monkeypatch.setattr(Process, "send", lambda _process, _number: False)
    completed = await sh(processes, "sleep 1000 >/dev/null 2>&1 & echo $!")
    monkeypatch.undo()
    left = int(completed.stdout)
    os.kill(left, signal.SIGKILL)
    assert (completed.exit_code, completed.leftovers, completed.survivors) == (0, (), (left,))
    assert completed.left == f"left behind and still running, it could not be ended: process {left}"


HEADLESS = """
import ctypes, os, threading
threading.Thread(target=threading.Event().wait).start()
print(os.getpid(), flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


async def test_a_process_whose_first_thread_has_ended_is_not_taken_for_dead(processes: Processes) -> None:
    """The process table calls it a zombie, and it works on in its other threads."""
    completed = await run(processes, sys.executable, "-c", HEADLESS, timeout=timedelta(seconds=1))
    assert (completed.timed_out, completed.signal) == (True, "SIGTERM")
    leader = await sh(processes, f"{sys.executable} -c '{HEADLESS}' & read -r never < /dev/null; sleep 0.3")
    assert leader.leftovers == (int(leader.stdout),)


async def test_with_no_file_left_to_open_the_child_is_ended_all_the_same(processes: Processes) -> None:
    """The process table cannot be read then, which does not mean that nothing runs."""
    identities: list[ProcessIdentity] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def on_start(identity: ProcessIdentity) -> None:
        identities.append(identity)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))

    async def free_again() -> None:
        await eventually(lambda: bool(identities) and os.waitid(os.P_PID, identities[0].pid, ENDED) is not None)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    async with asyncio.TaskGroup() as group:
        group.create_task(free_again())
        completed = await sh(processes, "sleep 1000 & wait", timeout=SHORT, on_start=on_start)
    assert (completed.timed_out, completed.signal, completed.ok) == (True, "SIGTERM", False)


IGNORANT = """
import asyncio, signal
from datetime import timedelta
from pathlib import Path
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from rollbackd.action.process import Processes
run = Processes().run(["sh", "-c", "exit 3"], env={"PATH": "/usr/bin:/bin"}, timeout=timedelta(minutes=1), cwd=Path("/"))
print(asyncio.run(run).exit_code)
"""


async def test_started_by_one_that_ignores_its_children_it_still_knows_how_they_end(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", IGNORANT]
    ended = await asyncio.to_thread(subprocess.run, argv, env=CHECKOUT, check=True, capture_output=True, text=True)
    assert ended.stdout == "3\n"


async def test_an_exit_code_that_somebody_else_has_taken_is_not_guessed(processes: Processes) -> None:
    async def on_start(identity: ProcessIdentity) -> None:
        await asyncio.to_thread(os.waitpid, identity.pid, 0)

    with pytest.raises(UncertainError, match="was not told to us"):
        await sh(processes, "exit 3", on_start=on_start)


async def test_closed_output_is_no_end(processes: Processes, tmp_path: Path) -> None:
    completed = await sh(processes, "echo last; exec >&- 2>&-; sleep 0.2; touch done; exit 5", cwd=tmp_path)
    assert (completed.exit_code, completed.stdout) == (5, b"last\n")
    assert (tmp_path / "done").exists()


async def test_a_daemon_that_forks_twice_and_lets_its_parent_end_is_ended(processes: Processes, tmp_path: Path) -> None:
    script = """
import os, sys
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
null = os.open("/dev/null", os.O_RDWR)
for number in range(3): os.dup2(null, number)
open("pid", "w").write(str(os.getpid()))
os.execvp("sleep", ["sleep", "1000"])
"""
    completed = await sh(processes, f"{sys.executable} -c '{script}'; until test -s pid; do :; done", cwd=tmp_path)
    assert (completed.exit_code, completed.leftovers) == (0, (int((tmp_path / "pid").read_text()),))
    assert gone(completed.leftovers[0])


# What it prints


async def test_a_flood_costs_constant_memory(processes: Processes) -> None:
    size = 300_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    completed = await sh(processes, f"printf begin; head -c {size} /dev/zero; printf end")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # kilobytes
    assert completed.dropped == size + len("beginend") - 2 * KEEP
    assert completed.stdout.startswith(b"begin\0\0")
    assert completed.stdout.endswith(b"\0\0end")
    assert b"\n[%d bytes left out]\n" % completed.dropped in completed.stdout


async def test_the_newest_line_is_told_while_it_runs(processes: Processes, tmp_path: Path) -> None:
    lines: list[str] = []

    async def on_start(_: ProcessIdentity) -> None:
        await eventually(lambda: lines == ["one"])
        (tmp_path / "go").touch()

    script = "printf one; echo; until test -e go; do :; done; printf '\\377two\\nhalf'"
    await sh(processes, script, cwd=tmp_path, on_start=on_start, on_line=lines.append)
    assert lines == ["one", "\N{REPLACEMENT CHARACTER}two"]


async def test_a_line_without_end_is_not_told(processes: Processes) -> None:
    lines: list[str] = []
    await sh(processes, "head -c 1000000 /dev/zero; echo", on_line=lines.append)
    assert lines == []


# A daemon that is killed


DAEMON = """
import asyncio, os, signal, sys
from datetime import timedelta
from pathlib import Path
from rollbackd.action.process import Processes

async def killed(identity):
    Path("identity").write_text(f"{identity.pid} {identity.started_ticks} {identity.session_id}")
    while not Path("ready").exists():
        await asyncio.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)

argv = ["sh", "-c", "sleep 1000 & setsid sleep 1000 & touch ready; wait"]
env = {"PATH": os.environ["PATH"], "ROLLBACKD_ATTEMPT": sys.argv[1]}
asyncio.run(Processes().run(argv, env=env, timeout=timedelta(minutes=1), cwd=Path.cwd(), on_start=killed))
"""


async def test_a_child_dies_with_the_daemon_and_the_next_one_ends_its_children(processes: Processes, tmp_path: Path) -> None:
    daemon = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", DAEMON, ATTEMPT], cwd=tmp_path, env=CHECKOUT, check=False)
    assert daemon.returncode == -signal.SIGKILL
    pid, ticks, session = map(int, (tmp_path / "identity").read_text().split())
    identity = ProcessIdentity(pid=pid, started_ticks=ticks, session_id=session)
    await eventually(lambda: gone(pid))
    left = Kin(identity, ATTEMPT).alive()
    assert len(left) == 2  # the shell's children: one in its session, one that left it
    assert await processes.end_remains(identity, mark=ATTEMPT) == tuple(sorted(process.pid for process in left))
    assert Kin(identity, ATTEMPT).alive() == []
    assert await processes.end_remains(identity, mark=ATTEMPT) == ()


async def test_an_attempt_whose_start_was_not_written_down_is_found_by_its_mark(processes: Processes) -> None:
    lost = subprocess.Popen(["sleep", "1000"], env={MARK: ATTEMPT}, start_new_session=True)  # noqa: ASYNC220
    other = subprocess.Popen(["sleep", "1000"], env={MARK: f"{ATTEMPT}1"}, start_new_session=True)  # noqa: ASYNC220
    assert await processes.end_remains(None, mark=ATTEMPT) == (lost.pid,)
    assert other.poll() is None
    other.kill()
    assert {await asyncio.to_thread(process.wait) for process in (lost, other)} <= {0, -signal.SIGKILL}


async def test_a_pid_that_has_become_anothers_is_left_alone(processes: Processes) -> None:
    other = subprocess.Popen(["sleep", "1000"], start_new_session=True)  # noqa: ASYNC220
    now = Process.read(other.pid)
    assert now is not None
    before = ProcessIdentity(pid=other.pid, started_ticks=now.started_ticks - 100, session_id=other.pid)
    assert await processes.end_remains(before, mark=ATTEMPT) == ()
    assert not replace(now, started_ticks=now.started_ticks - 100).send(signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        await asyncio.to_thread(other.wait, 0.2)
    other.kill()
    await asyncio.to_thread(other.wait)


@pytest.mark.parametrize("later_in_ours", [True, False])
async def test_a_session_of_other_people_is_left_alone(
    processes: Processes, monkeypatch: pytest.MonkeyPatch, *, later_in_ours: bool
) -> None:
    """The machine was started again, or the number was used up: a session has the number of the one that was written down.

    Its first process is gone, so that it cannot tell; but this one began before ours, or lives outside of our unit.
    """
    leader = subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!"], stdout=subprocess.PIPE, start_new_session=True)  # noqa: ASYNC220
    assert leader.stdout is not None
    member = Process.read(int(leader.stdout.readline()))
    leader.stdout.close()
    await asyncio.to_thread(leader.wait)
    assert member is not None
    if later_in_ours:
        monkeypatch.setattr("rollbackd.action.kin._own_cgroup", lambda: b"0::/rollbackd.service")
    ticks = member.started_ticks + (0 if later_in_ours else 1)
    ours = ProcessIdentity(pid=leader.pid, started_ticks=ticks, session_id=leader.pid)
    assert await processes.end_remains(ours, mark=ATTEMPT) == ()
    monkeypatch.undo()
    ours = replace(ours, started_ticks=member.started_ticks)
    assert await processes.end_remains(ours, mark=ATTEMPT) == (member.pid,)


ADOPTIVE = """
import asyncio, os, sys
from datetime import timedelta
from pathlib import Path
from rollbackd.action.process import Processes

async def main(script):
    processes = Processes(grace=timedelta(milliseconds=100), adopt_orphans=True)
    where = {"env": {"PATH": os.environ["PATH"]}, "timeout": timedelta(minutes=1), "cwd": Path.cwd()}
    completed = await processes.run(["sh", "-c", script], **where)
    print(len(completed.leftovers), len(completed.survivors), completed.exit_code)
    await processes.run(["true"], **where)
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("no child")

asyncio.run(main(sys.argv[1]))
"""


def adopted(script: str, cwd: Path) -> list[str]:
    """What a daemon says that adopts orphans, as process 1 of a container does in any case."""
    argv = [sys.executable, "-c", ADOPTIVE, script]
    said = subprocess.run(argv, env=CHECKOUT, cwd=cwd, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line for line in said if "left_behind" not in line]


@pytest.mark.parametrize(
    ("script", "leftovers"),
    [
        ("sleep 1000 &", 1),
        ("sleep 0.02 & (sleep 0.01 &)", 0),  # gone by themselves, and still to be taken note of
        ("env -i setsid sh -c 'echo $$ > pid; exec sleep 1000' >/dev/null 2>&1 & until test -s pid; do :; done", 1),
        ("(env -i setsid sh -c '(exec sleep 1000) & touch pid' >/dev/null 2>&1 &); until test -e pid; do :; done", 1),
    ],
)
async def test_a_daemon_finds_every_orphan_and_leaves_no_zombie(tmp_path: Path, script: str, leftovers: int) -> None:
    """Also one with neither our session, nor our mark, nor our pipes."""
    assert await asyncio.to_thread(adopted, script, tmp_path) == [f"{leftovers} 0 0", "no child"]


TWO = """
import asyncio, os
from datetime import timedelta
from pathlib import Path
from rollbackd.action.process import Processes

async def main():
    processes = Processes(grace=timedelta(milliseconds=100), adopt_orphans=True)
    where = {"env": {"PATH": os.environ["PATH"]}, "timeout": timedelta(minutes=1), "cwd": Path.cwd()}
    async with asyncio.TaskGroup() as group:
        other = group.create_task(processes.run(["sh", "-c", "until test -e go; do sleep 0.01; done"], **where))
        script = "env -i setsid sh -c 'touch left; exec sleep 1000' >/dev/null 2>&1 & until test -e left; do :; done"
        completed = await processes.run(["sh", "-c", script], **where)
        Path("go").touch()
    print(len(completed.leftovers), len(other.result().leftovers), other.result().exit_code)

asyncio.run(main())
"""


async def test_while_others_run_an_orphan_waits_for_the_last_of_them(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", TWO]
    ended = await asyncio.to_thread(subprocess.run, argv, env=CHECKOUT, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "0 1 0"


async def test_without_setpriv_it_works_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for names in ((), ("setpriv",)):  # none, and one that cannot do it, as busybox has it
        for name in names:
            (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        with capture_logs() as logs:
            processes = Processes()
        assert [log["event"] for log in logs] == ["setpriv_missing"]
        assert (await sh(processes, "echo works")).stdout == b"works\n"
        assert "bad-tool" in (await run(processes, "./bad-tool", cwd=_bad_tool(tmp_path))).error


def _bad_tool(directory: Path) -> Path:
    (directory / "bad-tool").write_text("#!/no/such/interpreter\n")
    (directory / "bad-tool").chmod(0o755)
    return directory
