"""Asks a question and says whether the answer is the one that is hoped for: yes, no, or cannot tell, which is never a yes (I15)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import aiohttp
import jmespath
import orjson
from jmespath.exceptions import JMESPathError

from rollbackd.action import placeholders
from rollbackd.action.commands import Commands
from rollbackd.action.output import Cleaner
from rollbackd.clock import Clock
from rollbackd.errors import RollbackdError
from rollbackd.model.measurement import Reading
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.runbook import HttpAsk, Probe, PromqlAsk, RunAsk
from rollbackd.outward import as_written, session

_LONGEST_BODY: Final = 1 << 20
_MOST_ANSWERS: Final = 1000  # machines of one service; each answer costs time in which nothing else is done
_SHOWN: Final = 200  # characters of an answer, for a person


class Measures(Protocol):
    """What the room `prometheus` measures for us."""

    async def value(self, policy: ServicePolicy, query: str, *, now: datetime) -> Reading: ...

    async def label_values(self, policy: ServicePolicy, query: str, label: str, *, now: datetime) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`held` is None when it cannot be told. `answers` is None when there is no answer, which is not the same as a wrong one.

    `value` is what was measured, `reason` the same in one line for a person: against what was wanted, or why there is no answer.
    """

    held: bool | None
    answers: frozenset[str] | None
    reason: str
    value: str
    duration: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What came back, before it is compared. `problem` says why it is no answer; a status and an exit code count even then."""

    answers: tuple[str, ...] = ()
    number: float | None = None
    status: int | None = None
    exit_code: int | None = None
    problem: str = ""


class Prober:
    def __init__(self, commands: Commands, measures: Measures, clock: Clock) -> None:
        self._commands = commands
        self._measures = measures
        self._clock = clock

    async def ask(self, probe: Probe, policy: ServicePolicy, *, values: Mapping[str, str] | None = None) -> Answer:
        """Ask once. What goes wrong, credentials and placeholders included, is an answer that cannot tell; nothing is raised.

        `values` fill the placeholders that the service alone cannot; a probe out of a plan has none left.
        """
        began = self._clock.monotonic()
        try:
            probe = placeholders.fill_probe(probe, {**placeholders.values_of(policy), **(values or {})})
            said = await self._said(probe, policy)
        except TimeoutError:
            said = _Said(problem=f"no answer within {probe.timeout.total_seconds():g} s")
        except (RollbackdError, aiohttp.ClientError, OSError, ValueError) as e:
            said = _Said(problem=str(e) or type(e).__name__)
        held, value, wanted = _judge(probe, said)
        return Answer(
            held=held,
            answers=frozenset(said.answers) if said.answers and not said.problem else None,
            reason=f"cannot tell: {_line(said.problem) or 'nothing to compare with'}" if held is None else f"{value}, wanted {wanted}",
            value=value,
            duration=timedelta(seconds=self._clock.monotonic() - began),
        )

    async def _said(self, probe: Probe, policy: ServicePolicy) -> _Said:
        match probe.ask:
            case RunAsk() as ask:
                return await self._run(ask, policy, probe)
            case HttpAsk() as ask:
                async with asyncio.timeout(probe.timeout.total_seconds()):
                    return await _get(ask, read=not probe.status)
            case PromqlAsk() as ask:
                async with asyncio.timeout(probe.timeout.total_seconds()):
                    return await self._measure(ask, policy)

    async def _run(self, ask: RunAsk, policy: ServicePolicy, probe: Probe) -> _Said:
        ended = await self._commands.ask(policy, ask.argv, ask.env, timeout=probe.timeout)
        completed = ended.completed
        if completed.error or completed.timed_out or completed.exit_code is None:
            return _Said(problem=ended.how)
        if completed.exit_code != 0:
            last_line = ended.output.rpartition("\n")[2]
            return _Said(exit_code=completed.exit_code, problem=f"{ended.how} {last_line}".strip())
        if completed.dropped:
            return _Said(exit_code=0, problem="its output is too long")
        answers, problem = _answers(completed.stdout, ask.jmespath, ended.cleaner)
        return _Said(exit_code=0, answers=answers, problem=problem)

    async def _measure(self, ask: PromqlAsk, policy: ServicePolicy) -> _Said:
        now = self._clock.now()
        if ask.label is not None:
            labels = tuple(sorted(await self._measures.label_values(policy, ask.query, ask.label, now=now)))
            return _Said(answers=labels, problem="" if labels and all(labels) else f"no series, or one without the label {ask.label}")
        reading = await self._measures.value(policy, ask.query, now=now)
        if reading.value is None:
            return _Said(problem=str(reading.reason))
        return _Said(number=reading.value, answers=(f"{reading.value:g}",))


async def _get(ask: HttpAsk, *, read: bool) -> _Said:
    """One GET: no redirect is followed, and no more than a megabyte read."""
    async with session() as client, client.get(as_written(ask.url), allow_redirects=False) as response:
        if not read:
            return _Said(status=response.status)
        if not response.ok or response.status >= 300:
            return _Said(status=response.status, problem=f"HTTP {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > _LONGEST_BODY:
                return _Said(status=response.status, problem="its answer is too long")
    answers, problem = _answers(bytes(body), ask.jmespath, Cleaner())
    return _Said(status=response.status, answers=answers, problem=problem)


def _answers(raw: bytes, expression: str | None, cleaner: Cleaner) -> tuple[tuple[str, ...], str]:
    """The answers in `raw`, and why they are none. Text that would have to be cleaned, such as a secret, is no answer."""
    found: object
    if expression is None:
        found = raw.decode(errors="replace")
    else:
        try:
            found = jmespath.search(expression, orjson.loads(raw))
        except orjson.JSONDecodeError:
            return (), "its answer is not JSON"
        except JMESPathError as e:
            return (), f"{expression!r} cannot be asked of its answer: {e}"
    items = found if isinstance(found, list) else [found]
    if len(items) > _MOST_ANSWERS:
        return (), f"its answer has {len(items)} parts"
    answers = []
    for item in items:
        if item is None or isinstance(item, dict | list):
            return (), "its answer has no text" if expression is None else f"{expression!r} finds no text in its answer"
        answers.append(item.strip() if isinstance(item, str) else orjson.dumps(item).decode())
    if not answers or not all(answers):
        return (), "its answer is empty"
    is_clean = all(cleaner.clean_text(answer) == answer for answer in answers)
    return (tuple(answers), "") if is_clean else ((), "its answer has control characters, or a secret")


def _judge(probe: Probe, said: _Said) -> tuple[bool | None, str, str]:
    """Whether it held, what was measured and what was wanted."""
    if probe.status:
        wanted = " or ".join(map(str, probe.status))
        return (None, "", wanted) if said.status is None else (said.status in probe.status, f"HTTP {said.status}", wanted)
    if probe.exit_code is not None:
        wanted = f"exit {probe.exit_code}"
        return (None, "", wanted) if said.exit_code is None else (said.exit_code == probe.exit_code, f"exit {said.exit_code}", wanted)
    value = _line(", ".join(sorted(set(said.answers))))
    if probe.satisfies is not None and said.number is not None and not probe.satisfies.relative:
        return probe.satisfies.holds(said.number), value, str(probe.satisfies)
    if probe.equals is not None and said.answers and not said.problem:
        return all(answer == probe.equals for answer in said.answers), value, probe.equals
    return None, value, ""


def _line(text: str) -> str:
    """For a person: one line, not too long, and nothing in it that a terminal obeys."""
    return " ".join(Cleaner().clean_text(text).split())[:_SHOWN]
