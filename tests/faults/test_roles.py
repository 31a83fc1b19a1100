"""Row 45: every route of the running server asks who comes, and nobody reaches what another role is for (I11)."""

import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from rollbackd.intake import auth
from rollbackd.settings.effective import Role
from tests.unit.web.test_access import WEBHOOK_PATH, WHO_MAY, path_of
from tests.unit.web.world import TOKENS, World, serving

NOBODYS: Final = {
    "no token": {},
    "a wrong token": {"Authorization": "Bearer not-a-token"},
    "an empty token": {"Authorization": "Bearer "},
    "no scheme": {"Authorization": "the-operator-token"},
    "a token as a user": {"Authorization": "Basic dGhlLW9wZXJhdG9yLXRva2VuOg=="},
    "a token and more": {"Authorization": "Bearer the-operator-token and more"},
    "the begin of a token": {"Authorization": "Bearer the-operator-toke"},
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as running:
        yield running


def routes(world: World) -> list[tuple[str, str]]:
    """As the router has them: what is added without a line in `WHO_MAY` fails here."""
    application = world.runner.app
    assert isinstance(application, web.Application)
    return [(route.method, route.resource.canonical) for route in application.router.routes() if route.resource is not None]


async def ask(world: World, method: str, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    async with world.http.request(method, world.url + path_of(path), headers=headers, allow_redirects=False) as response:
        return response.status, response.content_type


async def test_row_45_every_route_of_the_router_has_its_roles(world: World) -> None:
    assert sorted(routes(world)) == sorted(WHO_MAY)


@pytest.mark.parametrize("role", list(Role))
async def test_row_45_a_role_opens_its_routes_and_no_other(world: World, role: Role) -> None:
    for method, path in routes(world):
        status, kind = await ask(world, method, path, world.as_(role))
        if role in WHO_MAY[method, path]:
            assert status not in {401, 403}, (method, path)
        else:
            assert (status in {401, 403}, kind) == (True, "application/problem+json"), (method, path, status)
    if role is not Role.OPERATOR:
        assert {asked[0] for asked in world.operator.asked} <= {"plan"}


@pytest.mark.parametrize("headers", NOBODYS.values(), ids=NOBODYS)
async def test_row_45_whoever_is_not_known_gets_401_everywhere(world: World, headers: dict[str, str]) -> None:
    for method, path in routes(world):
        if None not in WHO_MAY[method, path]:
            assert await ask(world, method, path, headers) == (401, "application/problem+json"), (method, path)
    assert world.operator.asked == []


async def test_row_45_a_token_that_was_taken_out_of_its_file_is_nobodys(world: World, tmp_path: Path) -> None:
    for role in Role:
        (tmp_path / f"{role}.token").write_text(f"another-{role}-token")
    for method, path in routes(world):
        for role in Role:
            if role in WHO_MAY[method, path]:
                expected = 200 if None in WHO_MAY[method, path] else 401
                assert (await ask(world, method, path, world.as_(role)))[0] == expected, (method, path)


async def test_row_45_every_token_there_is_is_compared_in_constant_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(sent: bytes, known: bytes) -> bool:
        compared.append(known)
        return real(sent, known)

    real = hmac.compare_digest
    monkeypatch.setattr(auth, "compare_digest", compare)
    for token in ("not-a-token", TOKENS[Role.INGEST]):
        compared.clear()
        await ask(world, "GET", "/api/v1/status", {"Authorization": f"Bearer {token}"})
        assert {known.decode() for known in compared} == set(TOKENS.values())


async def test_row_45_refusals_are_in_the_log_with_who_and_from_where(world: World) -> None:
    await ask(world, "POST", "/api/v1/pause", {})
    await ask(world, "POST", "/api/v1/pause", world.as_(Role.VIEWER))
    await ask(world, "POST", WEBHOOK_PATH, world.as_(Role.CI))
    refused = [(line["status"], line.get("person"), line["remote"]) for line in world.logs if line["event"] == "refused"]
    assert refused == [(401, None, "127.0.0.1"), (403, "viewer-person", "127.0.0.1"), (401, None, "127.0.0.1")]


async def test_row_45_who_wanted_more_than_the_role_opens_is_in_the_audit(world: World) -> None:
    """Once, however often: a token that leaked must not fill what is never deleted. Reads and strangers are in the log alone."""
    for _ in range(5):
        await ask(world, "POST", "/api/v1/incidents/{id}/approve", world.as_(Role.VIEWER))
        await ask(world, "GET", "/api/v1/audit", world.as_(Role.CI))
        await ask(world, "POST", "/api/v1/pause", {})
    (entry,) = await world.store.audit.newest()
    assert (entry.person, entry.remote, entry.result) == ("viewer-person", "127.0.0.1", "forbidden")
    assert (entry.action, entry.subject) == ("POST /api/v1/incidents/{id}/approve", "/api/v1/incidents/20260131-120000-7f3a/approve")


async def test_row_45_a_refusal_that_cannot_be_audited_is_one_all_the_same(world: World) -> None:
    world.store._database.close()
    assert await ask(world, "POST", "/api/v1/pause", world.as_(Role.VIEWER)) == (403, "application/problem+json")
    assert [line["person"] for line in world.logs if line["event"] == "not_audited"] == ["viewer-person"]
