"""What `rollbackd init` writes, on the whole daemon, against stand-ins of the platforms: a bad release is rolled back to an explicit one.

Only what a test cannot have is replaced: servers, store, the mode; windows and intervals are shorter.
"""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from rollbackd.cli import main
from rollbackd.clock import SystemClock, rfc3339
from tests.flow.world import SERVICE, World

STAND_INS = Path(__file__).parents[1] / "fakes" / "platforms"
IMAGE = "registry.example.org/shop-api"
DAY = timedelta(days=1)


class Platform(World):
    """The service in front of a stand-in, whose state is a file of its own; `bad` is what must not run."""

    platform: str
    program: str
    bad_artifact = f"{IMAGE}:v3"
    versions_3_and_2 = ("v3", "v2")

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(directory)
        self.programs = directory / "bin"
        self.programs.mkdir()
        (self.programs / self.program).symlink_to(STAND_INS / self.program)
        monkeypatch.setenv("PATH", f"{self.programs}:/usr/bin:/bin")
        self.broken_at: datetime | None = None
        self.healed_at: datetime | None = None
        self.prepare()

    def prepare(self) -> None:
        """v1 and v2 are there, and v2 runs."""
        raise NotImplementedError

    async def known(self) -> None:
        """What the platform cannot say of them CI has said."""

    async def deploy_v3(self) -> None:
        raise NotImplementedError

    def runs(self) -> str:
        raise NotImplementedError

    @property
    def state_file(self) -> Path:
        return self.programs / f"{self.program}.json"

    def state(self) -> Any:
        return json.loads(self.state_file.read_text())

    def set_state(self, value: object) -> None:
        new = self.state_file.with_suffix(".test")
        new.write_text(json.dumps(value))
        new.replace(self.state_file)

    def asked(self, *words: str) -> list[list[str]]:
        """What the stand-in was asked, of what begins so."""
        lines = [json.loads(line) for line in (self.programs / "argv.log").read_text().splitlines()]
        return [argv for argv in lines if argv[: len(words)] == list(words)]

    async def break_it(self) -> None:
        self.broken_at = SystemClock().now()
        await self.deploy_v3()

    def measure(self) -> None:
        answer = self.prometheus.answer
        answer(r'^sum\(increase\(http_requests_total\{.*code=~"5', lambda at: 1000 * self.ratio(at))
        answer(r"^sum\(increase\(http_requests_total\{[^}]*service=\"shop-api\"\}", 1000)
        answer(r"^sum\(increase\(http_request_duration_seconds_count", 1000)
        answer(r"^1000 \* histogram_quantile", 120)

    def ratio(self, at: datetime) -> float:
        if self.broken_at is None:
            return 0.0
        if self.healed_at is None and self.runs() != self.bad_artifact:
            self.healed_at = SystemClock().now()
        return 0.3 if self.broken_at <= at and (self.healed_at is None or at < self.healed_at) else 0.0

    def write_config(self, *, port: int = 0) -> Path:
        directory = self.directory / "config"
        path = directory / "rollbackd.yaml"
        if not path.exists():
            options = ["--platform", self.platform, "--service", SERVICE, "--prometheus", self.prometheus.url, "--namespace", "shop"]
            done = CliRunner().invoke(main, ["init", str(directory), *options])
            assert done.exit_code == 0, done.output
            self.adapt(path, port)
        return path

    def adapt(self, path: Path, port: int) -> None:
        config = YAML(typ="safe").load(path)
        config["server"]["listen"] = f"127.0.0.1:{port}"
        config["prometheus"]["scrape_interval"] = "200ms"
        config["store"]["url"] = f"sqlite:///{self.directory}/state/rollbackd.db"
        for indicator in config["indicators"].values():
            indicator["window"] = "800ms"
        for trigger in config["triggers"].values():
            trigger["for"] = "400ms"
        watch = {"duration": "20s", "interval": "200ms", "stable_for": "600ms"}
        config["defaults"] = {"settling": "1ms", "blame_window": "1m", "baseline": "20s", "watch": watch}
        config["services"][SERVICE]["mode"] = "auto"
        if "home" in config["services"][SERVICE].get("vars", {}):
            config["services"][SERVICE]["vars"]["home"] = str(self.programs / "srv")
        path.write_bytes(orjson.dumps(config))
        (self.directory / "state").mkdir()
        self.token = (path.parent / "oncall.token").read_text().strip()
        (path.parent / "ingest.token").write_text(f"{self.token}-ingest")

    async def recorded_as(self, version: str, artifact: str, *, ago: timedelta) -> None:
        await self.recorded(version, ago=ago, artifact=artifact)


class Kubernetes(Platform):
    platform, program = "kubernetes", "kubectl"
    versions_3_and_2 = ("3", "2")

    def prepare(self) -> None:
        self.set_state({"revisions": [self.revision(1, 2 * DAY), self.revision(2, DAY)], "running": f"{IMAGE}:v2"})

    def revision(self, number: int, ago: timedelta) -> dict[str, Any]:
        return {"revision": number, "image": f"{IMAGE}:v{number}", "created": rfc3339(SystemClock().now() - ago)}

    async def deploy_v3(self) -> None:
        before = self.state()["revisions"]
        self.set_state({"revisions": [*before, self.revision(3, timedelta())], "running": self.bad_artifact})

    def runs(self) -> str:
        return str(self.state()["running"])


class Helm(Platform):
    platform, program = "helm", "helm"
    versions_3_and_2 = ("3", "2")
    bad_artifact = "v3"

    def prepare(self) -> None:
        self.set_state([self.revision(1, 2 * DAY, "superseded"), self.revision(2, DAY, "deployed")])

    def revision(self, number: int, ago: timedelta, status: str) -> dict[str, Any]:
        updated = rfc3339(SystemClock().now() - ago)
        return {"revision": number, "updated": updated, "status": status, "chart": "shop-1.0", "app_version": f"v{number}"}

    async def deploy_v3(self) -> None:
        first, second = self.state()
        self.set_state([first, {**second, "status": "superseded"}, self.revision(3, timedelta(), "deployed")])

    def runs(self) -> str:
        return str(self.state()[-1]["app_version"])


class Compose(Platform):
    platform, program = "compose", "docker"

    def prepare(self) -> None:
        self.set_state(f"{IMAGE}:v2")

    async def known(self) -> None:
        await self.recorded_as("v1", f"{IMAGE}:v1", ago=2 * DAY)
        await self.recorded_as("v2", f"{IMAGE}:v2", ago=DAY)

    async def deploy_v3(self) -> None:
        self.set_state(self.bad_artifact)
        await self.recorded_as("v3", self.bad_artifact, ago=timedelta())

    def runs(self) -> str:
        return str(self.state())


class Systemd(Platform):
    platform, program = "systemd", "systemctl"
    bad_artifact = "releases/v3"

    @property
    def state_file(self) -> Path:
        return self.programs / "systemd.json"

    def prepare(self) -> None:
        for version in ("v1", "v2", "v3"):
            (self.programs / "srv" / "releases" / version).mkdir(parents=True)
        (self.programs / "srv" / "current").symlink_to("releases/v2")
        self.set_state("releases/v2")

    async def known(self) -> None:
        await self.recorded_as("v1", "releases/v1", ago=2 * DAY)
        await self.recorded_as("v2", "releases/v2", ago=DAY)

    async def deploy_v3(self) -> None:
        current = self.programs / "srv" / "current"
        current.unlink()
        current.symlink_to("releases/v3")
        self.set_state("releases/v3")
        await self.recorded_as("v3", "releases/v3", ago=timedelta())

    def runs(self) -> str:
        return str(self.state())


@pytest.mark.parametrize("kind", [Kubernetes, Helm, Compose, Systemd])
async def test_a_bad_release_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Platform]) -> None:
    async with kind(tmp_path, monkeypatch) as world:
        await world.known()
        await world.break_it()
        await world.alert()
        incident = await world.closed()
        assert (incident["outcome"], incident["suspect"], incident["target"]) == ("recovered", *kind.versions_3_and_2), incident["why"]
        assert world.runs() == kind.bad_artifact.replace("3", "2")


async def test_kubernetes_is_never_asked_to_toggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Kubernetes(tmp_path, monkeypatch) as world:
        await world.break_it()
        await world.alert()
        await world.closed()
        undos = world.asked("kubectl", "rollout", "undo")
    assert undos == [["kubectl", "rollout", "undo", "deployment/shop-api", "--namespace", "shop", "--to-revision=2"]]


async def test_a_helm_release_that_is_pending_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Helm(tmp_path, monkeypatch) as world:
        await world.break_it()
        pending = {**world.revision(4, timedelta(), "pending-upgrade"), "app_version": "v3"}
        world.set_state([*world.state(), pending])
        await world.alert()
        incident = await world.held_for_now("release_in_progress")
        assert incident["attempts"] == []
        assert world.asked("helm", "rollback") == []


async def test_a_target_whose_directory_is_gone_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Systemd(tmp_path, monkeypatch) as world:
        await world.known()
        (world.programs / "srv" / "releases" / "v2").rmdir()
        await world.break_it()
        await world.alert()
        incident = await world.closed()
        assert incident["outcome"] == "failed"
        assert world.runs() == "releases/v3"
        assert (world.programs / "srv" / "current").readlink() == Path("releases/v3")
        assert not (world.programs / "argv.log").exists()
