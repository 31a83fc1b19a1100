import asyncio
import io

import pytest

from rollbackd.errors import MisconfiguredError, NotFoundError, PermanentError, RefusedError, TemporaryError
from rollbackd.settings.effective import Role
from tests.unit.web.world import World


async def get(world: World, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    async with world.http.request(method, world.url + path, headers=world.as_(Role.OPERATOR), allow_redirects=False) as response:
        return response.status, dict(response.headers), await response.read()


@pytest.mark.parametrize("path", ["/webhook/alertmanager", "/api/v1/status", "/metrics", "/-/healthy", "/"])
async def test_every_answer_has_the_security_headers(world: World, path: str) -> None:
    _, headers, _ = await get(world, path)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "rollbackd"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_the_webhook_is_for_post_only(world: World, method: str) -> None:
    status, headers, _ = await get(world, "/webhook/alertmanager", method)
    assert (status, headers["Allow"], headers["Content-Type"]) == (405, "POST", "application/problem+json")


@pytest.mark.parametrize(
    "path",
    [
        "/webhook/alertmanager/",
        "//webhook/alertmanager",
        "/api/v1/status/",
        "/api/v1/run",
        "/static/",
        "/static/../app.py",
    ],
)
async def test_what_is_not_there_is_404_and_never_a_redirect(world: World, path: str) -> None:
    for method in ("GET", "POST"):
        status, headers, body = await get(world, path, method)
        assert status == 404
        assert headers["Content-Type"] == "application/problem+json"
        assert b'"title":"Not Found"' in body


async def test_405_names_what_is_allowed(world: World) -> None:
    _, _, body = await get(world, "/api/v1/releases", "PUT")
    assert b"use GET or POST" in body


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (NotFoundError("no service 'x'"), 404, "no service 'x'"),
        (RefusedError("it is paused", reason="paused"), 409, "it is paused"),
        (MisconfiguredError("no runbook", path="services.x"), 422, "services.x: no runbook"),
        (TemporaryError("the store is busy"), 503, "the store is busy"),
        (PermanentError("it cannot be"), 500, "it cannot be"),
        (ValueError("no such version"), 400, "no such version"),
    ],
)
async def test_a_family_of_errors_is_one_status(world: World, error: Exception, status: int, detail: str) -> None:
    world.operator.raises = error
    async with world.http.post(f"{world.url}/api/v1/resume", headers=world.as_(Role.OPERATOR)) as response:
        problem = await response.json(content_type="application/problem+json")
        assert (response.status, problem["status"], problem["detail"], problem["type"]) == (status, status, detail, "about:blank")
        assert problem.get("reason") == ("paused" if status == 409 else None)
        assert response.headers.get("Retry-After") == ("5" if status == 503 else None)


async def test_a_bug_is_500_without_a_word_about_it_and_with_a_traceback_in_the_log(world: World) -> None:
    world.operator.raises = KeyError("a secret detail")
    async with world.http.post(f"{world.url}/api/v1/resume", headers=world.as_(Role.OPERATOR)) as response:
        assert response.status == 500
        body = await response.text()
    assert "secret" not in body
    assert "Traceback" not in body
    assert [(line["event"], line["path"]) for line in world.logs if line["log_level"] == "error"] == [("request_failed", "/api/v1/resume")]


async def test_a_body_that_no_person_would_send_is_413(world: World) -> None:
    big = io.BytesIO(b'{"reason": "' + b"x" * 64 * 1024 + b'"}')
    headers = world.as_(Role.OPERATOR) | {"Content-Type": "application/json"}
    async with world.http.post(f"{world.url}/api/v1/resume", data=big, headers=headers) as response:
        assert response.status == 413
        assert "too large" in (await response.json(content_type="application/problem+json"))["detail"]


async def test_metrics_liveness_and_readiness(world: World) -> None:
    status, headers, body = await get(world, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    assert b"rollbackd_build_info" in body
    assert (await get(world, "/-/healthy"))[0] == 200
    assert (await get(world, "/-/ready"))[0] == 200
    world.health.why_not = "the store is full"
    assert (await get(world, "/-/healthy"))[0] == 200
    status, _, body = await get(world, "/-/ready")
    assert status == 503
    assert b"the store is full" in body


async def test_garbage_instead_of_http_is_refused_and_the_server_goes_on(world: World) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.runner.addresses[0][1])
    writer.write(b"\x16\x03\x01 garbage\r\n\r\n")
    assert b"400" in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert (await get(world, "/-/healthy"))[0] == 200
