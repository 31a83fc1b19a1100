"""One long story in which everything that comes from outside is hostile, told once and heard everywhere.

The daemon is a process; its Prometheus, its Sentry and the platform that a step asks are servers on loopback, and so is the trap: an
address that stands in every payload and that nobody may ever connect to.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from aiohttp import web

from rollbackd.clock import SystemClock, rfc3339
from tests.faults.hostile import EVERYTHING, HOSTILE, REST, SENTENCES, SHORT
from tests.faults.story import Heard, StoryWorld
from tests.flow.world import REQUESTS, SERVICE

OTHER: Final = "shop-web"
ARTIFACT: Final = "registry.example/../app@pwned.example:8443/v1+x"
"""Looks like a path, a host and a port, and is a version all the same."""

CREDENTIAL: Final = "canary-of-the-credential"
PLACES: Final = tuple(HOSTILE[name] for name in ("promql", "promql regex", "macro", "script", "direction"))
DAY: Final = timedelta(days=1)


class HostileWorld(StoryWorld):
    tool_says = EVERYTHING

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory,
            mode="propose",
            spread=["instance"],
            credentials={"KEY": {"file": "key"}},
            others={OTHER: {"mode": "auto", "runbook": "shop-quick", "give_up_after": "200ms", "credentials": {"KEY": {"file": "key"}}}},
        )

    async def __aenter__(self) -> Self:
        self.platform = await self.serve(self._deployed)
        self.trap = f"http://{await self.trapped()}/pwned"
        self.secret("key", CREDENTIAL)
        return await super().__aenter__()

    async def _deployed(self, request: web.Request) -> web.Response:
        self.heard.urls.append(request.raw_path)
        return web.Response()

    def runbook(self) -> Mapping[str, Any]:
        made = super().runbook()
        told = {
            "name": "tell",
            "run": [str(self.dump), "${target.version}", "--image=${target.artifact}", "a ${target.artifact} b"],
            "timeout": "10s",
            "env": {"IMAGE": "${target.artifact}", "KEY": {"credential": "KEY"}},
        }
        asked = {
            "name": "ask",
            "wait": {"http": self.platform + "/deployed/${target.artifact}?v=${target.version}", "status": 200},
            "timeout": "5s",
        }
        return {**made, "steps": [*made["steps"], told, asked]}

    def measure(self) -> None:
        super().measure()
        self.prometheus.answer(r"^sum\(increase\(http_requests_total\{.*instance=", REQUESTS)
        self.prometheus.answer(r'sum\(increase\(.*code=~"5', lambda at: REQUESTS * self.ratio(at))
        self.prometheus.answer(r"^group by \(instance\)", *(({"instance": text}, 1) for text in PLACES))

    def hostile_alert(self, service: str = SERVICE) -> dict[str, Any]:
        alert = self.alert_object(service=service, fingerprint="../pwned<script>" + service)
        alert["labels"] |= {f"label_{number}": text[:1000] for number, text in enumerate(HOSTILE.values())}
        alert["labels"] |= {text[:32]: "by its name" for text in list(HOSTILE.values())[:20]}
        alert["annotations"] = {**HOSTILE, "runbook_url": self.trap, "dashboard": "javascript:pwned()", "logs": "file:///etc/pwned"}
        alert["generatorURL"] = self.trap
        return alert


async def tell(directory: Path) -> Heard:
    """The whole story; it takes some seconds."""
    async with HostileWorld(directory) as world:
        heard = world.heard
        now = SystemClock().now()
        for version, days in (("v0", 2), ("v1", 1)):
            await world.recorded(version, artifact=ARTIFACT if version == "v1" else "v0", ago=days * DAY, group=REST[:200])
        (directory / "live").write_text("v1")
        for name, text in SHORT.items():
            body = {"service": SERVICE, "version": text[:256]}
            heard.refused[f"version {name}"] = await world.ask(f"version {name}", "POST", "/api/v1/releases", body)
            body = {"service": SERVICE, "version": "v9", "artifact": text[:256]}
            heard.refused[f"artifact {name}"] = await world.ask(f"artifact {name}", "POST", "/api/v1/releases", body)
            await _ask_nonsense(world, name, text)
        for number, text in enumerate(SENTENCES):
            at = rfc3339(now - timedelta(minutes=30 + number))
            await world.post("/api/v1/changes", {"service": SERVICE, "kind": "flag", "what": text, "at": at})

        await world.release("v2")
        await world.post_alerts([world.hostile_alert()], externalURL=world.trap, commonAnnotations=dict(HOSTILE), receiver=EVERYTHING)
        proposed = await world.reached("proposed")
        await world.post(f"/api/v1/incidents/{proposed['id']}/approve", {"plan": proposed["plan"]})
        first = await world.closed()
        await world.post(f"/api/v1/incidents/{first['id']}/acknowledge", {"reason": SENTENCES[0]})
        await world.post(f"/api/v1/releases/{SERVICE}/v2/mark", {"mark": "bad", "reason": SENTENCES[1]})
        with world.told("break"):
            await world.post(f"/api/v1/services/{SERVICE}/rollback", {"to": "v0", "reason": SENTENCES[2]}, expect=202)
            await world.closed(nth=2)
        world.prometheus.fail(".", 422, json.dumps({"status": "error", "errorType": "pwned", "error": EVERYTHING}))
        await world.post_alerts([world.hostile_alert(OTHER)])
        third = await world.reached("escalated", nth=3)
        await world.post(f"/api/v1/incidents/{third['id']}/abort", {"reason": SENTENCES[3]})
        await world.post("/api/v1/pause", {"service": None, "for": "1h", "reason": SENTENCES[4]})
        await world.hear()
    return heard


async def _ask_nonsense(world: HostileWorld, name: str, text: str) -> None:
    part = quote(text, safe="")
    await world.ask(f"no incident {name}", "GET", f"/api/v1/incidents/{part}")
    await world.ask(f"no page {name}", "GET", f"/incidents/{part}")
    await world.ask(f"no path {name}", "GET", f"/{part}")
    await world.ask(f"no parameter {name}", "GET", f"/api/v1/incidents?{part}=x")
    await world.ask(f"no phase {name}", "GET", f"/api/v1/incidents?phase={part}")
    await world.ask(f"no service {name}", "GET", f"/api/v1/releases?service={part}")
    await world.ask(f"a route {name}", "GET", f"/api/v1/routes?alertname={part}&{part}=x")
    await world.ask(f"no field {name}", "POST", "/api/v1/resume", {text: text})
    await world.ask(f"no plan {name}", "POST", f"/api/v1/services/{part}/rollback", {"reason": text[:900] or "x"})
