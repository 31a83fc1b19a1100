"""The config is read again while the daemon runs: who may ask for it, what follows it at once, and what it tells whoever asked."""

import asyncio
import json
import ssl
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rollbackd.settings.secrets import read_secret
from tests.fakes.prometheus import FakePrometheus, hang
from tests.flow.world import SERVICE, World

DAY = timedelta(days=1)
Config = dict[str, Any]


def read(world: World) -> Config:
    return dict(json.loads((world.directory / "rollbackd.yaml").read_text()))


def write(world: World, config: Config) -> None:
    (world.directory / "rollbackd.yaml").write_text(json.dumps(config))


def person(world: World, name: str, role: str) -> Mapping[str, str]:
    """With a token that is the name."""
    token = world.directory / f"{name}.token"
    token.write_text(name)
    token.chmod(0o600)
    return {"name": name, "role": role, "token_file": token.name}


async def reload(world: World, *, token: str | None = None, expect: int = 200) -> Mapping[str, Any]:
    headers = {"Authorization": f"Bearer {token or world.token}"}
    async with world.http.post(f"{world.url}/-/reload", headers=headers) as response:
        assert response.status == expect, await response.text()
        return dict(await response.json())


async def status_of(world: World, token: str) -> int:
    async with world.http.get(f"{world.url}/api/v1/status", headers={"Authorization": f"Bearer {token}"}) as response:
        return response.status


async def test_only_an_operator_may_ask_for_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        config = read(world)
        config["auth"]["people"] += [person(world, "looker", "viewer"), person(world, "robot", "ci")]
        write(world, config)
        await reload(world, token="nobody", expect=401)
        await reload(world, token=f"{world.token}-ingest", expect=401)
        await reload(world)
        await reload(world, token="looker", expect=403)
        await reload(world, token="robot", expect=403)


async def test_it_answers_what_changed_and_writes_down_who_asked(tmp_path: Path) -> None:
    other = {"match": ['service="other"']}
    async with World(tmp_path, others={"other": other, "third": {"match": ['service="third"']}}) as world:
        assert world.daemon is not None
        config = read(world)
        del config["services"]["other"]
        config["services"] |= {"new": {"match": ['service="new"']}, "third": {"match": ['service="third"'], "cooldown": "2h"}}
        write(world, config)
        answer = await reload(world)
        assert (answer["added"], answer["removed"], answer["changed"]) == (["new"], ["other"], ["third"])
        assert (await world.get("/api/v1/status"))["config"]["in_use_since"] == answer["in_use_since"]
        [entry] = await world.daemon.store.audit.newest(limit=1)
        assert (entry.person, entry.action, entry.reason) == ("oncall", "reload", "1 added, 1 removed, 1 changed")
        assert (await reload(world))["changed"] == []


async def test_it_answers_with_every_problem_and_where_it_is(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        path = tmp_path / "rollbackd.yaml"
        good = path.read_text()
        path.write_text('{"services": {"a": {"mode": "atuo"}},\n "promethues": {}}')
        problem = await reload(world, expect=422)
        assert {"file": str(path), "line": 1, "col": 29, "message": "'atuo': write 'observe', 'propose' or 'auto'"} in problem["problems"]
        assert {one["line"] for one in problem["problems"]} == {1, 2}
        shown = (await world.cli("status")).stdout
        assert "the last reload failed, at " in shown
        async with world.http.get(world.url, headers={"Authorization": f"Bearer {world.token}"}) as page:
            assert "the last reload, at " in await page.text()
        path.write_text(good)
        await reload(world)
        assert "failed" not in (await world.cli("status")).stdout


async def test_a_bug_in_reading_it_changes_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> None:
        raise ZeroDivisionError

    async with World(tmp_path) as world:
        monkeypatch.setattr("rollbackd.flow.reload.load", broken)
        assert "its log says more" in (await reload(world, expect=500))["detail"]
        assert (await world.get("/api/v1/status"))["config"]["refused_at"] is not None
        monkeypatch.undo()
        await reload(world)


async def test_tokens_follow_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        config = read(world)
        config["auth"] = {
            "ingest": {"token_file": person(world, "sender", "")["token_file"]},
            "people": [person(world, "newcomer", "operator")],
        }
        write(world, config)
        assert await status_of(world, "newcomer") == 401
        await reload(world)
        assert (await status_of(world, "newcomer"), await status_of(world, world.token)) == (200, 401)
        async with world.http.post(
            f"{world.url}/webhook/alertmanager", json={}, headers={"Authorization": f"Bearer {world.token}-ingest"}
        ) as response:
            assert response.status == 401
        async with world.http.post(f"{world.url}/webhook/alertmanager", json={}, headers={"Authorization": "Bearer sender"}) as response:
            assert response.status == 400
        (tmp_path / "newcomer.token").write_text("")
        await reload(world, token="newcomer", expect=422)
        assert await status_of(world, "newcomer") == 200, "what can no longer be read stays valid"


async def test_an_incident_asks_the_server_that_it_began_with_until_it_ends(tmp_path: Path) -> None:
    """In the config the service is measured by another server, and the first one is in it no more."""
    async with FakePrometheus() as other, World(tmp_path, watch={"duration": "10s", "interval": "200ms", "stable_for": "1s"}) as world:
        other.handle(".", hang)
        await world.release("v1", ago=DAY)
        await world.release("v2")
        with world.told("hold"):
            await world.alert()
            await world.deployed("v2", "v1")
            config = read(world)
            config["prometheus"] = {"second": {**config["prometheus"], "url": other.url}}
            config["services"][SERVICE]["prometheus"] = "second"
            write(world, config)
            assert (await reload(world))["changed"] == [SERVICE]
        assert (await world.closed())["outcome"] == "recovered"
        assert world.daemon is not None
        in_use = world.daemon.reloads.in_use
        assert in_use.clients.keys() == {"main", "second"}
        await world.daemon.reloads.sweep()
        assert in_use.clients.keys() == {"second"}


async def test_the_server_of_an_open_incident_is_not_taken_from_it(tmp_path: Path) -> None:
    async with World(tmp_path, mode="propose") as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        await world.alert()
        await world.reached("proposed")
        config = read(world)
        config["prometheus"] = {"second": config["prometheus"]}
        config["services"] = {"another": {"prometheus": "second"}}
        write(world, config)
        await reload(world)
        assert world.daemon is not None
        await world.daemon.reloads.sweep()
        assert world.daemon.reloads.in_use.clients.keys() == {"main", "second"}


async def test_a_server_that_is_asked_at_the_moment_answers_before_it_is_let_go(tmp_path: Path) -> None:
    """Its question was asked with the config before; what it says still counts."""
    async with FakePrometheus() as other, World(tmp_path) as world:
        assert world.daemon is not None
        client = world.daemon.reloads.in_use.clients["main"]
        config = read(world)
        config["prometheus"]["url"] = other.url
        write(world, config)
        await reload(world)
        assert world.daemon.reloads.in_use.clients["main"] is not client
        other.answer("^x$", 1)
        assert (await world.daemon.reloads.in_use.clients["main"].query("x", at=client.clock.now())).series


async def test_readiness_follows_it(tmp_path: Path) -> None:
    async with World(tmp_path, readiness_every="200ms") as world:
        config = read(world)
        config["services"] = {"new": {"match": ['service="new"'], "readiness_every": "200ms"}, "third": {"match": ['service="third"']}}
        write(world, config)
        await reload(world)
        shown = (await world.get("/api/v1/services"))["items"]
        assert [one["name"] for one in shown] == ["new", "third"]
        assert "not looked at yet" in shown[1]["readiness"]["problems"][0]
        async with asyncio.timeout(20):
            while "not looked at yet" in str((await world.get("/api/v1/services"))["items"][0]["readiness"]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        async with world.http.get(f"{world.url}/metrics") as response:
            text = await response.text()
        assert 'rollbackd_service_mode{mode="observe",service="new"} 1.0' in text
        assert SERVICE not in "\n".join(
            line for line in text.splitlines() if line.startswith(("rollbackd_service_mode", "rollbackd_rollback_ready"))
        )


def certificate(directory: Path, name: str) -> None:
    """A new one for localhost, with its key."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(directory / "tls.key"), "-out", str(directory / "tls.crt")),
        ],
        check=True,
        capture_output=True,
    )
    (directory / "tls.key").chmod(0o600)


async def test_a_new_certificate_is_shown_from_then_on(tmp_path: Path) -> None:
    certificate(tmp_path, "first")
    async with World(tmp_path, server={"tls": {"cert_file": "tls.crt", "key_file": "tls.key"}}) as world:
        first = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
        headers = {"Authorization": f"Bearer {world.token}"}
        async with world.http.get(f"{world.url}/api/v1/status", headers=headers, ssl=first) as response:
            assert response.status == 200
        certificate(tmp_path, "second")
        second = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await world.http.post(f"{world.url}/-/reload", headers=headers, ssl=second)
        async with world.http.post(f"{world.url}/-/reload", headers=headers, ssl=first) as response:
            assert response.status == 200
        async with aiohttp.ClientSession() as anew, anew.get(f"{world.url}/api/v1/status", headers=headers, ssl=second) as response:
            assert response.status == 200
        (tmp_path / "tls.key").write_text(read_secret(tmp_path / "operator.token"))
        async with world.http.post(f"{world.url}/-/reload", headers=headers, ssl=second) as response:
            assert response.status == 422
            assert "no certificate with its key" in (await response.json())["detail"]
        async with aiohttp.ClientSession() as anew, anew.get(f"{world.url}/api/v1/status", headers=headers, ssl=second) as response:
            assert response.status == 200


@pytest.mark.parametrize("is_gone", [False, True])
async def test_what_was_proposed_is_run_as_it_was_proposed(tmp_path: Path, is_gone: bool) -> None:  # noqa: FBT001
    """The runbook says something else now, and the objective cannot be met any more; or the service is in no config."""
    async with World(tmp_path, mode="propose", then=("before",)) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        await world.alert()
        proposed = await world.reached("proposed")
        config = read(world)
        config["objectives"]["error_rate"]["target"] = "< 0"
        if is_gone:
            config["services"] = {"another": {"match": ['service="another"']}}
        write(world, config)
        world.then = ("after",)
        (tmp_path / "runbooks" / "shop-quick.yaml").write_text(json.dumps(world.runbook()))
        await reload(world)
        await world.post(f"/api/v1/incidents/{proposed['id']}/approve", {"plan": proposed["plan"]})
        assert (await world.closed())["outcome"] == "recovered"
        assert world.said == ["before"]
