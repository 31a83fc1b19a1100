import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from rollbackd.errors import PermanentError, TemporaryError
from rollbackd.supervisor import Supervisor, together


async def fail(error: Exception) -> None:
    raise error


async def fail_later(error: Exception) -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    raise error


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def all_of(*work: Coroutine[Any, Any, None]) -> None:
    async with together() as tasks:
        for one in work:
            tasks.create_task(one)


async def work(*errors: Exception) -> None:
    async with together() as tasks:
        tasks.create_task(wait_for_ever())
        for error in errors:
            tasks.create_task(fail(error))


class TestTogether:
    async def test_what_one_raises_is_raised_as_itself(self) -> None:
        """In a group no caller would catch it by its family."""
        with pytest.raises(TemporaryError, match="full"):
            await work(TemporaryError("the disk is full"))

    async def test_what_the_block_raises_ends_the_others(self) -> None:
        waiting: list[asyncio.Task[None]] = []

        async def fail_inside() -> None:
            async with together() as tasks:
                waiting.append(tasks.create_task(wait_for_ever()))
                raise TemporaryError("no")

        with pytest.raises(TemporaryError):
            await fail_inside()
        assert waiting[0].cancelled()

    async def test_an_error_keeps_its_cause(self) -> None:
        error = TemporaryError("the store cannot be used now")
        error.__cause__ = OSError("no space")
        with pytest.raises(TemporaryError) as caught:
            await work(error)
        assert isinstance(caught.value.__cause__, OSError)

    async def test_of_several_a_bug_is_told_rather_than_what_was_foreseen(self) -> None:
        with pytest.raises(ZeroDivisionError):
            await work(PermanentError("refused"), ZeroDivisionError())

    async def test_the_values_are_there_afterwards(self) -> None:
        async with together() as tasks:
            one = tasks.create_task(asyncio.sleep(0, result=1))
        assert one.result() == 1

    async def test_whoever_goes_on_after_an_error_can_still_time_out(self) -> None:
        """With 3.11.2 a timeout of a task that counts as cancelled is a cancellation, which nothing handles."""
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(TemporaryError):
            await all_of(wait_for_ever(), fail_later(TemporaryError("the disk is full")))
        assert task.cancelling() == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await wait_for_ever()

    async def test_the_first_that_fails_ends_the_others(self) -> None:
        ended: list[str] = []

        async def work_for_ever() -> None:
            try:
                await wait_for_ever()
            finally:
                await asyncio.sleep(0)
                ended.append("in order")

        with pytest.raises(TemporaryError):
            await all_of(work_for_ever(), fail_later(TemporaryError("no")))
        assert ended == ["in order"]

    async def test_nothing_to_do_is_done(self) -> None:
        async with together() as tasks:
            pass
        assert tasks.tasks == []

    async def test_a_cancellation_passes(self) -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work())
            await asyncio.sleep(0)
            task.cancel()
        assert task.cancelled()


class TestSupervisor:
    async def test_leaving_it_ends_what_runs_for_ever(self) -> None:
        async with Supervisor() as supervisor:
            task = supervisor.spawn("for ever", wait_for_ever())
            await asyncio.sleep(0)
        assert task.cancelled()
        assert task.get_name() == "for ever"

    async def test_a_task_that_fails_takes_everything_down(self) -> None:
        async def daemon() -> None:
            async with Supervisor() as supervisor:
                supervisor.spawn("broken", fail(ZeroDivisionError()))
                await wait_for_ever()

        with pytest.raises(ExceptionGroup) as caught:
            await daemon()
        assert caught.group_contains(ZeroDivisionError)
