"""Row 66: the config is read again while ten rollbacks run. What is wrong changes nothing; what is right changes no run (I12)."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.settings.yaml_file import SIZE_LIMIT
from tests.faults.process_world import ProcessWorld
from tests.faults.test_crash import bad_release

DAY = timedelta(days=1)
TEN = tuple(f"run-{number}" for number in range(10))
_PATIENCE = 20.0

Config = dict[str, Any]


def without_services(config: Config) -> Config:
    return {**config, "services": {}}


def with_an_unknown_key(config: Config) -> Config:
    return {**config, "promethues": {}}


def without_its_token(config: Config) -> Config:
    return {**config, "auth": {**config["auth"], "ingest": {"token_file": "nowhere.token"}}}


def listening_elsewhere(config: Config) -> Config:
    return {**config, "server": {"listen": "127.0.0.1:1"}}


def in_another_store(config: Config) -> Config:
    return {**config, "store": {"url": "sqlite:////nowhere/else.db"}}


WRONG: Mapping[str, tuple[str | Callable[[Config], Config], str]] = {
    "empty": ("", "the file is empty"),
    "invalid": ("services: [", "not YAML"),
    "an alias bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "aliases (*) are not read"),
    "too large": ("#" * (SIZE_LIMIT + 1), "larger than"),
    "too deep": ("[" * 10_000, "levels deep"),
    "a tag": ("services: !!python/object:os.system {}\n", "tags (!) are not read"),
    "a key twice": ("services: {}\nservices: {}\n", "duplicate key 'services'"),
    "no services": (without_services, "there is no service"),
    "an unknown key": (with_an_unknown_key, "promethues"),
    "a token that is not there": (without_its_token, "nowhere.token"),
    "another address": (listening_elsewhere, "'server.listen' counts only from a start on"),
    "another store": (in_another_store, "'store.url' counts only from a start on"),
}


class TenRuns(ProcessWorld):
    """Ten services whose runbook says a word of the config, once its first step is let go."""

    def __init__(self, directory: Path) -> None:
        watch = {"duration": "4s", "interval": "1s", "stable_for": "1s"}
        super().__init__(directory, others={name: {"mode": "propose", "runbook": "ten", "watch": watch} for name in TEN})

    @property
    def path(self) -> Path:
        return self.directory / "rollbackd.yaml"

    def write_config(self, *, port: int = 0) -> Path:
        path = super().write_config(port=port)
        self.write_runbook("as it began")
        return path

    def write_runbook(self, word: str) -> None:
        say = ["sh", "-c", 'echo "$0 $1: $2" >>"$3"', "${service.name}", "${target.version}", word, str(self.directory / "words")]
        wait = ["sh", "-c", 'touch "$0/begun-$1"; while [ -e "$0/hold" ]; do sleep 0.05; done', str(self.directory), "${service.name}"]
        steps = [{"name": name, "run": run, "timeout": "1m", "idempotent": True} for name, run in (("wait", wait), ("say", say))]
        ten = {"name": "ten", "kind": "quick", "budget": "2m", "steps": steps}
        (self.directory / "runbooks" / "ten.yaml").write_text(json.dumps(ten))

    @property
    def words(self) -> list[str]:
        return sorted((self.directory / "words").read_text().splitlines())

    async def begin(self, service: str) -> None:
        """A rollback by hand, until its first step runs."""
        await self.post(f"/api/v1/services/{service}/rollback", {"to": "v1", "reason": "for the test"})
        await self.until((self.directory / f"begun-{service}").exists)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not holds():  # noqa: ASYNC110 - others do it
                await asyncio.sleep(0.02)

    async def config_status(self) -> Mapping[str, Any]:
        return dict((await self.get("/api/v1/status"))["config"])

    async def signalled(self) -> Mapping[str, Any]:
        """How the config stands once a SIGHUP was followed, in whatever way."""
        assert self.process is not None
        before = await self.config_status()
        after: Mapping[str, Any] = {}
        self.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(_PATIENCE):
            while all(after.get(name) == before[name] for name in ("in_use_since", "refused_at")) or not after:
                await asyncio.sleep(0.02)
                after = await self.config_status()
        return after

    async def metric(self, name: str) -> float:
        async with self.http.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    async def ended(self, service: str, *, nth: int = 1) -> Mapping[str, Any]:
        """The newest incident of the service, once there are `nth` and it is closed."""
        seen: list[Any] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while len(seen) < nth or seen[0]["phase"] != "closed":
                    await asyncio.sleep(0.02)
                    seen = (await self.get(f"/api/v1/incidents?service={service}"))["items"]
                return dict(seen[0])
        raise AssertionError(f"{service} did not end: {seen}")


def ran(incident: Mapping[str, Any]) -> list[tuple[str, str]]:
    assert incident["outcome"] not in {None, "failed", "aborted"}, incident
    return [(one["step"], one["status"]) for one in incident["attempts"]]


BOTH_STEPS = [("wait", "succeeded"), ("say", "succeeded")]


@contextlib.asynccontextmanager
async def ten_runs(directory: Path) -> AsyncIterator[TenRuns]:
    async with TenRuns(directory) as world:
        for service in TEN:
            for version, ago in (("v1", DAY), ("v2", DAY / 2)):
                await world.recorded(version, ago=ago, service=service)
        with world.told("hold"):
            await asyncio.gather(*(world.begin(service) for service in TEN))
            yield world


async def test_row_66_what_is_wrong_leaves_the_config_and_every_run_as_they_are(tmp_path: Path) -> None:
    async with ten_runs(tmp_path) as world:
        good = world.path.read_text()
        in_use_since = (await world.config_status())["in_use_since"]
        assert await world.metric("rollbackd_config_last_reload_successful") == 1
        for name, (wrong, says) in WRONG.items():
            world.path.write_text(wrong if isinstance(wrong, str) else json.dumps(wrong(json.loads(good))))
            found = await world.signalled()
            assert any(says in problem for problem in found["problems"]), (name, found)
            assert found["in_use_since"] == in_use_since, name
            assert await world.metric("rollbackd_config_last_reload_successful") == 0, name

        for cut in range(1, len(good), len(good) // 8):  # somebody is still writing it
            world.path.write_text(good[:cut])
            found = await world.signalled()
            assert found["in_use_since"] == in_use_since, good[:cut]

        world.write_runbook("altered")
        (tmp_path / "hold").unlink()
        for service in TEN:
            assert ran(await world.ended(service)) == BOTH_STEPS
        assert world.words == [f"{service} v1: as it began" for service in TEN]

        world.path.write_text(good)
        found = await world.signalled()
        assert (found["refused_at"], found["problems"]) == (None, [])
        assert await world.metric("rollbackd_config_last_reload_successful") == 1


async def test_row_66_what_is_right_holds_for_what_begins_after_it(tmp_path: Path) -> None:
    """Three of the services go, with their runs under way, and one of them comes back; the runbook of all is another one."""
    async with ten_runs(tmp_path) as world:
        config = json.loads(world.path.read_text())
        gone = {name: config["services"].pop(name) for name in TEN[:3]}
        config["services"]["new"] = config["services"][TEN[5]]
        world.write_runbook("altered")
        world.path.write_text(json.dumps(config))
        found = await world.signalled()
        assert (found["refused_at"], found["gone"]) == (None, sorted(gone))
        shown = {one["name"] for one in (await world.get("/api/v1/services"))["items"]}
        assert "new" in shown
        assert shown.isdisjoint(gone)
        answer = await world.post_alerts([world.alert_object(service=name, fingerprint=f"{n:016x}") for n, name in enumerate(gone)])
        assert (answer["stored"], answer["ignored"]) == (0, 3)

        back = TEN[0]
        config["services"][back] = gone[back]
        world.path.write_text(json.dumps(config))
        assert (await world.signalled())["gone"] == sorted(set(gone) - {back})

        (tmp_path / "hold").unlink()
        for service in TEN:
            assert ran(await world.ended(service)) == BOTH_STEPS
        assert world.words == [f"{service} v1: as it began" for service in TEN]
        assert (await world.config_status())["gone"] == []

        for service in (back, TEN[5]):
            (tmp_path / f"begun-{service}").unlink()
            await world.recorded("v3", ago=timedelta(), service=service)
            await world.begin(service)
            assert ran(await world.ended(service, nth=2)) == BOTH_STEPS
        assert world.words == sorted([*(f"{name} v1: as it began" for name in TEN), *(f"{name} v1: altered" for name in (back, TEN[5]))])


async def test_row_66_a_service_that_is_gone_can_be_stopped_paused_and_resumed_while_its_run_goes_on(tmp_path: Path) -> None:
    async with ten_runs(tmp_path) as world:
        config = json.loads(world.path.read_text())
        name = TEN[0]
        del config["services"][name]
        world.path.write_text(json.dumps(config))
        await world.signalled()
        await world.post("/api/v1/pause", {"service": name, "for": "1h", "reason": "wait"})
        (tmp_path / "hold").unlink()
        await asyncio.gather(*(world.ended(service) for service in TEN[1:]))
        assert not any(word.startswith(f"{name} ") for word in world.words), "it holds before its next step"
        await world.post("/api/v1/resume", {"service": name})
        assert ran(await world.ended(name)) == BOTH_STEPS
        assert f"{name} v1: as it began" in world.words
        await world.post("/api/v1/pause", {"service": name, "for": "1h", "reason": "wait"}, expect=404)


async def test_a_storm_of_signals_is_a_few_reloads_and_the_last_file_counts(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path) as world:
        assert world.process is not None
        path = tmp_path / "rollbackd.yaml"
        config = json.loads(path.read_text())
        for number in range(50):
            config["contacts"] = [{"role": "technical", "name": f"person {number}"}]
            config["services"][f"service-{number}"] = {"match": [f'service="{number}"']}
            path.write_text(json.dumps(config))
            world.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(_PATIENCE):
            while (await world.get("/api/v1/status"))["services"] != 51:  # noqa: ASYNC110 - asks a server
                await asyncio.sleep(0.02)
        assert world.process.returncode is None


@pytest.mark.parametrize("name", ["rollbackd.yaml", "runbooks/shop-quick.yaml"])
async def test_row_66_a_file_that_anybody_may_write_is_not_taken(tmp_path: Path, name: str) -> None:
    async with ProcessWorld(tmp_path) as world:
        assert world.process is not None
        (tmp_path / name).chmod(0o666)
        world.process.send_signal(signal.SIGHUP)
        await world.logged("config_refused")
        [problem] = (await world.get("/api/v1/status"))["config"]["problems"]
        assert "chmod o-w" in problem


async def test_row_66_room_is_held_for_the_longest_run_of_the_config_in_use(tmp_path: Path) -> None:
    async with ProcessWorld(tmp_path) as world:
        assert world.process is not None
        held, runbook = tmp_path / "state" / "reserve", tmp_path / "runbooks" / "shop-quick.yaml"
        before = held.stat().st_size
        longer = json.loads(runbook.read_text())
        longer["steps"] += [{"name": f"say {number}", "run": [str(world.tool), "--say", "x"], "timeout": "10s"} for number in range(9)]
        runbook.write_text(json.dumps(longer))
        world.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(_PATIENCE):
            while held.stat().st_size < 2 * before:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)
        await bad_release(world)
        await world.alert()
        assert (await world.closed())["outcome"] == "recovered"
