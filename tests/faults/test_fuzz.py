"""Row 43: every route of our own description is asked all sorts of things, as everybody. No 5xx but a planned 503, answers as described,
and nothing changes by the word of somebody who may not (I11 I14).

The event stream is not asked here: it does not end.
"""

import asyncio
import json
import logging
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from rollbackd.settings.effective import Role
from rollbackd.web.access import OPENS, Access
from rollbackd.web.server import ROUTES
from tests.faults import measured
from tests.faults.process_world import ProcessWorld
from tests.faults.test_crash import bad_release
from tests.flow.world import SERVICE

NEVER_ENDS: Final = "/api/v1/events"
CHECKS: Final = [status_code_conformance, content_type_conformance, response_schema_conformance]
ACCESS: Final = {(route.method, route.path): route.access for route in ROUTES}
MINUTES: Final = float(os.environ.get("MINUTES", "10"))

Token = str | None
_log: Final = logging.getLogger(__name__)


class Fuzzer:
    """Speaks to a daemon that has `known` things, which half of the paths are about: a name that is made up reaches little."""

    def __init__(
        self,
        url: str,
        described: Mapping[str, Any],
        known: Mapping[str, str],
        tokens: Mapping[Role | None, Token],
        *,
        examples: int,
        number: int,
    ) -> None:
        self._url = url
        self._known = known
        self._tokens = tokens
        self._examples = examples
        self.number = number  # the seed
        self.until = float("inf")
        self.answers: Counter[int] = Counter()
        found: Iterable[Any] = schemathesis.openapi.from_dict(dict(described)).get_all_operations()
        self.operations = [one for one in (each.ok() for each in found) if one.path != NEVER_ENDS]

    def ask_as_who_may_not(self) -> None:
        """Also as whoever may only look, where there is only something to look at: that changes nothing either."""
        for operation in self.operations:
            roles = roles_of(operation)
            for role, token in (*self._tokens.items(), (Role.OPERATOR, "not-the-token")):
                may = not roles or (role in roles and token == self._tokens[role])
                if not (may and changes_something(operation)):
                    self._ask(operation, token, may=may)

    def ask_as_who_may(self) -> None:
        for operation in self.operations:
            for role in roles_of(operation) or {None}:
                self._ask(operation, self._tokens[role], may=True)

    def _ask(self, operation: Any, token: Token, *, may: bool) -> None:
        """Raises AssertionError with the request that does it as a curl command."""
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if monotonic() > self.until:
                return

            @seed(self.number)
            @settings(
                max_examples=self._examples,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode), about_known=st.booleans())
            def once(case: Any, about_known: bool) -> None:  # noqa: FBT001 - Hypothesis hands it in
                if about_known and case.path_parameters:
                    case.path_parameters = {name: self._known.get(name, value) for name, value in case.path_parameters.items()}
                headers = {"Authorization": f"Bearer {token}"} if token is not None else {"Authorization": ""}
                response = case.call(base_url=self._url, headers=headers, timeout=60)
                self.answers[response.status_code] += 1
                _check(response, may=may, said=case.as_curl_command())
                case.validate_response(response, checks=CHECKS)

            with suppress(Unsatisfiable) if mode is GenerationMode.NEGATIVE else nullcontext():  # nothing to say wrongly
                once()


def _check(response: Any, *, may: bool, said: str) -> None:
    status = response.status_code
    assert status < 500 or (status == HTTPStatus.SERVICE_UNAVAILABLE and "retry-after" in response.headers), (said, response.text)
    assert not 300 <= status < 400, said
    if status >= 400:
        assert response.headers["content-type"] == ["application/problem+json"], (said, response.headers)
        assert response.json()["status"] == status, said
    if not may:
        assert status in {400, 401, 403, 404, 405}, (said, status)


def roles_of(operation: Any) -> frozenset[Role]:
    """Whoever may ask it; empty for a route that is open."""
    return OPENS.get(ACCESS[operation.method.upper(), operation.path], frozenset())


def changes_something(operation: Any) -> bool:
    return ACCESS[operation.method.upper(), operation.path] in {Access.RECORD, Access.DECIDE, Access.INGEST}


async def fuzzer_of(world: "Everybody", *, examples: int, number: int) -> Fuzzer:
    """After a rollback, so that there is something to ask about."""
    await bad_release(world)
    await world.alert()
    incident = await world.closed()
    async with world.http.get(f"{world.url}/openapi.json") as response:
        described = await response.json()
    known = {"name": SERVICE, "service": SERVICE, "version": "v2", "id": str(incident["id"])}
    return Fuzzer(world.url, described, known, world.tokens, examples=examples, number=number)


async def state(world: ProcessWorld) -> Mapping[str, Any]:
    """Everything that somebody could have changed, as whoever may read it reads it."""
    status = await world.get("/api/v1/status")
    return {
        "config": status["config"],
        "pauses": status["pauses"],
        "incidents": (await world.get("/api/v1/incidents?limit=200"))["items"],
        "releases": (await world.get(f"/api/v1/releases?service={SERVICE}"))["items"],
        "changes": (await world.get(f"/api/v1/changes?service={SERVICE}"))["items"],
        "effects": world.versions(),
    }


async def at_rest(world: ProcessWorld) -> None:
    """Whatever the last round has begun is over: nothing changes any more by itself."""
    async with asyncio.timeout(60):
        while going_on := (await world.get("/api/v1/status"))["incidents_open"]:
            for one in going_on:
                url = f"{world.url}/api/v1/incidents/{one['id']}/abort"
                async with world.http.post(url, json={"reason": "the round is over"}, headers={"Authorization": f"Bearer {world.token}"}):
                    pass  # it may have ended meanwhile
            await asyncio.sleep(0.1)


class Everybody(ProcessWorld):
    """One person for each role; the name is the token."""

    def write_config(self, *, port: int = 0) -> Path:
        path = super().write_config(port=port)
        config = json.loads(path.read_text())
        for role in (Role.VIEWER, Role.CI):
            token = self.directory / f"{role}.token"
            token.write_text(role)
            token.chmod(0o600)
            config["auth"]["people"].append({"name": role, "role": role, "token_file": token.name})
        path.write_text(json.dumps(config))
        return path

    @property
    def tokens(self) -> Mapping[Role | None, Token]:
        return {
            None: None,
            Role.VIEWER: "viewer",
            Role.CI: "ci",
            Role.INGEST: f"{self.token}-ingest",
            Role.OPERATOR: self.token,
        }


async def healthy(world: ProcessWorld) -> bool:
    async with world.http.get(f"{world.url}/-/healthy") as response:
        return response.status == 200


async def test_row_43_nothing_changes_by_the_word_of_somebody_who_may_not(tmp_path: Path) -> None:
    async with Everybody(tmp_path) as world:
        fuzzer = await fuzzer_of(world, examples=2, number=1)
        before = await state(world)
        await asyncio.to_thread(fuzzer.ask_as_who_may_not)
        assert await state(world) == before
        assert (await world.post("/api/v1/pause", {"for": "1h", "reason": "x"}))["paused"], "by the word of who may it does"
        assert await state(world) != before


async def test_row_43_whatever_is_asked_the_answer_is_as_described_and_no_500(tmp_path: Path) -> None:
    async with Everybody(tmp_path) as world:
        fuzzer = await fuzzer_of(world, examples=5, number=1)
        await asyncio.to_thread(fuzzer.ask_as_who_may)
        assert await healthy(world)
        assert "Traceback" not in world.log


@pytest.mark.nightly
@pytest.mark.timeout(60 * MINUTES + 300)
async def test_row_43_for_ten_minutes(tmp_path: Path) -> None:
    """Each round with another seed, which pytest shows of a run that fails. `MINUTES` is for how long."""
    begun = monotonic()
    async with Everybody(tmp_path) as world:
        fuzzer = await fuzzer_of(world, examples=10, number=secrets.randbits(32))
        fuzzer.until = begun + 60 * MINUTES
        first = fuzzer.number + 1
        while monotonic() < fuzzer.until:
            fuzzer.number += 1
            _log.warning("seed %d", fuzzer.number)
            await at_rest(world)
            before = await state(world)
            await asyncio.to_thread(fuzzer.ask_as_who_may_not)
            assert await state(world) == before
            await asyncio.to_thread(fuzzer.ask_as_who_may)
            await world.post("/api/v1/resume", {})
            await world.post("/api/v1/resume", {"service": SERVICE})
        assert await healthy(world)
        assert "Traceback" not in world.log
    measured.keep(
        "fuzz",
        title=f"{MINUTES:g} minutes of fuzz",
        command=f"make fuzz MINUTES={MINUTES:g}",
        figures=[
            ("operations of our own description, as every role and as nobody", f"{len(fuzzer.operations)}"),
            ("requests", f"{fuzzer.answers.total():,}, seeds {first} to {fuzzer.number}"),
            ("answers", ", ".join(f"{status}: {count:,}" for status, count in sorted(fuzzer.answers.items()))),
        ],
    )
