import base64
from pathlib import Path
from typing import Final

import pytest

from rollbackd.settings.effective import Role
from rollbackd.web.server import ROUTES
from tests.unit.web.world import TOKENS, World, serving

WEBHOOK_PATH: Final = "/webhook/alertmanager"
EVERYBODY: Final = {None, *Role}
LOOKERS: Final = {Role.VIEWER, Role.OPERATOR}
DECIDERS: Final = {Role.OPERATOR}

WHO_MAY: Final[dict[tuple[str, str], set[Role] | set[Role | None]]] = {
    ("POST", WEBHOOK_PATH): {Role.INGEST},
    ("POST", "/api/v1/releases"): {Role.CI, Role.OPERATOR},
    ("GET", "/api/v1/releases"): LOOKERS,
    ("POST", "/api/v1/changes"): {Role.CI, Role.OPERATOR},
    ("GET", "/api/v1/changes"): LOOKERS,
    ("POST", "/api/v1/releases/{service}/{version}/mark"): DECIDERS,
    ("GET", "/api/v1/status"): LOOKERS,
    ("GET", "/api/v1/doctor"): LOOKERS,
    ("GET", "/api/v1/services"): LOOKERS,
    ("GET", "/api/v1/services/{name}/plan"): LOOKERS,
    ("GET", "/api/v1/incidents"): LOOKERS,
    ("GET", "/api/v1/incidents/{id}"): LOOKERS,
    ("GET", "/api/v1/incidents/{id}/report"): LOOKERS,
    ("GET", "/api/v1/audit"): LOOKERS,
    ("GET", "/api/v1/routes"): LOOKERS,
    ("GET", "/api/v1/events"): LOOKERS,
    ("POST", "/api/v1/incidents/{id}/approve"): DECIDERS,
    ("POST", "/api/v1/incidents/{id}/reject"): DECIDERS,
    ("POST", "/api/v1/incidents/{id}/abort"): DECIDERS,
    ("POST", "/api/v1/incidents/{id}/acknowledge"): DECIDERS,
    ("POST", "/api/v1/incidents/{id}/tick"): DECIDERS,
    ("POST", "/api/v1/services/{name}/rollback"): DECIDERS,
    ("POST", "/api/v1/services/{name}/run"): DECIDERS,
    ("POST", "/api/v1/notify/test"): DECIDERS,
    ("POST", "/api/v1/pause"): DECIDERS,
    ("POST", "/api/v1/resume"): DECIDERS,
    ("POST", "/-/reload"): DECIDERS,
    ("GET", "/"): LOOKERS,
    ("GET", "/incidents/{id}"): LOOKERS,
    ("GET", "/static/console.css"): EVERYBODY,
    ("GET", "/metrics"): EVERYBODY,
    ("GET", "/-/healthy"): EVERYBODY,
    ("GET", "/-/ready"): EVERYBODY,
    ("GET", "/openapi.json"): EVERYBODY,
}


def path_of(template: str) -> str:
    return template.format(service="checkout", version="v2", name="checkout", id="20260131-120000-7f3a")


async def status(world: World, method: str, template: str, headers: dict[str, str]) -> int:
    async with world.http.request(method, world.url + path_of(template), headers=headers, allow_redirects=False) as response:
        return response.status


def test_the_table_names_every_route() -> None:
    assert set(WHO_MAY) == {(route.method, route.path) for route in ROUTES}


async def test_each_role_reaches_its_routes_and_no_other(world: World) -> None:
    for (method, template), allowed in WHO_MAY.items():
        for role in EVERYBODY:
            found = await status(world, method, template, world.as_(role))
            refusal = 401 if role is None else 403
            if role in allowed:
                assert found not in {401, 403}, (method, template, role)
            elif template == WEBHOOK_PATH:
                assert found == 401, role  # the tokens of people mean nothing to the webhook
            elif role is Role.INGEST:
                assert found in {401, 403}, (method, template)
            else:
                assert found == refusal, (method, template, role)
    refused = {question[0] for question in world.operator.asked}
    assert refused <= {
        "approve",
        "resume",
        "plan",
        "reload",
        "notify test",
    }  # what the operator may ask for without a body; nobody else reached it
    assert all(question[-1] in {"operator-person", None} for question in world.operator.asked)


async def test_without_people_looking_and_recording_are_open_and_every_decision_is_401(open_world: World) -> None:
    for (method, template), allowed in WHO_MAY.items():
        found = await status(open_world, method, template, {})
        if allowed == DECIDERS:
            assert found == 401, (method, template)
        else:
            assert found not in {401, 403}, (method, template)
    assert not [question for question in open_world.operator.asked if question[0] != "plan"]


async def test_without_people_the_401_says_to_add_one(open_world: World) -> None:
    async with open_world.http.post(f"{open_world.url}/api/v1/resume", headers=open_world.as_(Role.OPERATOR)) as response:
        problem = await response.json(content_type="application/problem+json")
    assert "add a person" in problem["detail"]
    assert "auth.people" in problem["detail"]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic !!!", "Digest x", "Bearer \u00e9\u00e9"])
async def test_a_token_that_nobody_has_is_401_with_a_challenge(world: World, header: str) -> None:
    async with world.http.get(f"{world.url}/api/v1/status", headers={"Authorization": header}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="rollbackd"'
    assert [(line["event"], line["status"]) for line in world.logs if line["log_level"] == "warning"] == [("refused", 401)]
    assert not any(header.rsplit(maxsplit=1)[-1] in str(line) for line in world.logs if header.split()[1:])


async def test_a_refused_role_is_told_which_one_is_needed(world: World) -> None:
    async with world.http.post(f"{world.url}/api/v1/resume", headers=world.as_(Role.VIEWER)) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (problem["status"], problem["detail"]) == (403, "viewer-person has the role viewer: this needs operator")


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()}


async def test_a_browser_asks_its_user_for_the_token_and_sends_it_as_a_password(world: World) -> None:
    async with world.http.get(f"{world.url}/") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic ")
    async with world.http.get(f"{world.url}/", headers=basic(TOKENS[Role.VIEWER])) as response:
        assert response.status == 200


async def test_a_password_that_a_browser_sends_by_itself_decides_nothing(world: World) -> None:
    async with world.http.post(f"{world.url}/api/v1/resume", headers=basic(TOKENS[Role.OPERATOR])) as response:
        assert response.status == 401
    assert world.operator.asked == []


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
    ],
)
async def test_another_sites_page_changes_nothing(world: World, headers: dict[str, str], *, allowed: bool) -> None:
    async with world.http.post(f"{world.url}/api/v1/resume", headers=world.as_(Role.OPERATOR) | headers) as response:
        assert response.status == (200 if allowed else 403)
    assert bool(world.operator.asked) is allowed


async def test_a_page_of_our_own_origin_is_not_another_sites(world: World) -> None:
    async with world.http.post(f"{world.url}/api/v1/resume", headers=world.as_(Role.OPERATOR) | {"Origin": world.url}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("host", "status_code"),
    [
        ("localhost:9096", 200),
        ("127.0.0.1", 200),
        ("[::1]:9096", 200),
        ("rollbackd.example.com", 200),
        ("rebound.example", 403),
        ("[", 400),
    ],
)
async def test_an_open_server_answers_only_under_its_own_name(tmp_path: Path, host: str, status_code: int) -> None:
    async with serving(tmp_path, people=False, external_url="https://rollbackd.example.com") as world:
        async with world.http.get(f"{world.url}/api/v1/status", headers={"Host": host}) as response:
            assert response.status == status_code
        async with world.http.get(f"{world.url}/-/healthy", headers={"Host": host}) as response:
            assert response.status == 200


async def test_a_replaced_token_counts_at_once(world: World, tmp_path: Path) -> None:
    (tmp_path / "viewer.token").write_text("a-new-viewer-token")
    async with world.http.get(f"{world.url}/api/v1/status", headers=world.as_(Role.VIEWER)) as response:
        assert response.status == 401
    async with world.http.get(f"{world.url}/api/v1/status", headers={"Authorization": "Bearer a-new-viewer-token"}) as response:
        assert response.status == 200
