import asyncio
import signal
import sys
from pathlib import Path

import pytest

from rollbackd.demo.processes import Child, running


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state != "Z"


async def has_ended(pid: int) -> None:
    async with asyncio.timeout(10):
        while runs(pid):  # noqa: ASYNC110 - another process's end has no event here
            await asyncio.sleep(0.01)


async def has_said(child: Child, words: str) -> None:
    async with asyncio.timeout(10):
        while child.last_words() != words:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)


async def test_a_child_writes_to_its_log_and_ends_with_the_context(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running(["sh", "-c", "echo hello; echo there >&2; exec sleep 1000"], log=log) as child:
        await has_said(child, "there")
        assert runs(child.pid)
    assert child.exited
    assert not runs(child.pid)


async def test_a_child_that_ignores_term_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollbackd.demo.processes._GRACE_SECONDS", 0.2)
    log = tmp_path / "log"
    async with running(["sh", "-c", "trap '' TERM; echo armed; while :; do sleep 1; done"], log=log) as child:
        await has_said(child, "armed")
    assert child.exited


async def test_a_child_that_has_ended_is_left_alone(tmp_path: Path) -> None:
    async with running(["sh", "-c", "echo bye"], log=tmp_path / "log") as child:
        await child.stop()
        await child.stop()
    assert child.exited


async def test_a_child_goes_when_its_parent_is_killed_outright(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from rollbackd.demo.processes import running\n"
        "async def main():\n"
        "    async with running(['sleep', '1000'], log=Path(sys.argv[1])) as child:\n"
        "        print(child.pid, flush=True)\n"
        "        while Path(f'/proc/{child.pid}/comm').read_text() != 'sleep\\n':\n"  # until then setpriv has not asked the kernel yet
        "            await asyncio.sleep(0.01)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, tmp_path / "log", stdout=asyncio.subprocess.PIPE)
    stdout, _ = await parent.communicate()
    assert parent.returncode == -signal.SIGKILL
    await has_ended(int(stdout))
