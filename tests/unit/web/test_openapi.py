"""The description is made of what serves, so it cannot lag behind; what is asked here is that it says what a client needs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from rollbackd.settings.effective import Role
from rollbackd.web.access import OPENS, Access
from rollbackd.web.openapi import document
from rollbackd.web.server import ROUTES
from tests.unit.web.world import World


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document(ROUTES)


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in described["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


async def test_it_is_served_to_everybody(world: World) -> None:
    async with world.http.get(f"{world.url}/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert (await response.json()) == json.loads(json.dumps(document(ROUTES)))


def test_every_route_is_there_with_one_line_and_a_name_of_its_own(described: dict[str, Any]) -> None:
    found = list(operations(described))
    assert {(method, path) for method, path, _ in found} == {(route.method, route.path) for route in ROUTES}
    assert all(operation["summary"] for _, _, operation in found)
    assert len({operation["operationId"] for _, _, operation in found}) == len(found)


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    text = json.dumps(described)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.partition('"')[0] in described["components"]["schemas"]


def test_every_route_says_who_may(described: dict[str, Any]) -> None:
    access = {(route.method, route.path): route.access for route in ROUTES}
    for method, path, operation in operations(described):
        roles = {role for alternative in operation.get("security", ()) for [role] in alternative.values()}
        assert roles == OPENS.get(access[method, path], frozenset()), path
    assert described["paths"]["/api/v1/pause"]["post"]["security"] == [{"token": [Role.OPERATOR]}]
    assert Access.OPEN not in OPENS


def test_every_route_says_how_an_error_looks(described: dict[str, Any]) -> None:
    for _, path, operation in operations(described):
        schema = operation["responses"]["default"]["content"]["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ProblemShape"}, path


def test_what_is_sent_and_what_comes_back(described: dict[str, Any]) -> None:
    record = described["paths"]["/api/v1/releases"]["post"]
    assert record["requestBody"] == {
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ReleaseBody"}}},
        "required": True,
    }
    assert {
        status: one["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for status, one in record["responses"].items()
        if status != "default"
    } == {
        "200": "ReleaseShape",
        "201": "ReleaseShape",
    }
    body = described["components"]["schemas"]["ReleaseBody"]
    assert body["required"] == ["service", "version"]
    assert "schema" in body["properties"]
    assert body["additionalProperties"] is False
    assert described["paths"]["/api/v1/resume"]["post"]["requestBody"]["required"] is False
    assert "requestBody" not in described["paths"]["/-/reload"]["post"]
    assert set(described["paths"]["/api/v1/services/{name}/rollback"]["post"]["responses"]) == {"202", "default"}


def test_what_stands_in_the_path_and_behind_it(described: dict[str, Any]) -> None:
    incidents = {one["name"]: one for one in described["paths"]["/api/v1/incidents"]["get"]["parameters"]}
    assert incidents.keys() == {"service", "phase", "outcome", "cursor", "limit"}
    assert incidents["limit"]["schema"]["maximum"] == 200
    assert "deciding" in described["components"]["schemas"][incidents["phase"]["schema"]["$ref"].rpartition("/")[2]]["enum"]
    releases = described["paths"]["/api/v1/releases"]["get"]["parameters"]
    assert [(one["name"], one["in"], one["required"]) for one in releases] == [("service", "query", True)]
    mark = described["paths"]["/api/v1/releases/{service}/{version}/mark"]["post"]["parameters"]
    assert [(one["name"], one["in"]) for one in mark] == [("service", "path"), ("version", "path")]


@pytest.mark.parametrize("path", ["pause?service=checkout", "resume?service=checkout", "../../-/reload?file=x"])
async def test_what_stands_behind_a_path_that_does_not_know_it_is_400_and_does_nothing(world: World, path: str) -> None:
    """A pause of one service that was meant must not become a pause of all."""
    headers = world.as_(Role.OPERATOR)
    async with world.http.post(f"{world.url}/api/v1/{path}", json={"for": "1h", "reason": "x"}, headers=headers) as response:
        assert response.status == 400
        assert "no parameter" in (await response.json(content_type=None))["detail"]
    assert world.operator.asked == []
