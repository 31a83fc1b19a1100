"""What goes on in the town while the daemon comes and goes: releases, alerts that are sent until they are acknowledged, and people."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp

from rollbackd.clock import SystemClock
from tests.flow.world import SERVICE
from tests.soak.town import ACTING, BAD, BLIND, GOOD, INNOCENT, MOODS, PROPOSING, SERVICES, Town

AlertKey = tuple[str, str, str]
"""fingerprint, startsAt, status: what makes an alert event the same."""

_ANSWER = aiohttp.ClientTimeout(total=10)
_WEBHOOK = "/webhook/alertmanager"
_STORED = frozenset({200, 503})
_PLANNED = frozenset({200, 201, 202, 404, 409, 503})
_RETRY_SECONDS = 0.3
_PATIENCE = timedelta(seconds=30)


@dataclass(slots=True)
class Seen:
    """What the outside was told, and what it saw that may never be."""

    acknowledged: set[AlertKey] = field(default_factory=set)
    released: set[tuple[str, str]] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Life:
    """Everything that is sent to the daemon, as long as `goes_on`."""

    def __init__(self, town: Town, seed: str, seen: Seen) -> None:
        self.goes_on = True
        self._town = town
        self._seed = seed
        self._seen = seen
        self._clock = SystemClock()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in (*ACTING, PROPOSING, BLIND):
                tasks.create_task(self._of_service(name, self._random(name)))
            tasks.create_task(self._of_innocent(self._random(INNOCENT)))
            tasks.create_task(self._chatter(self._random("chatter")))
            tasks.create_task(self._people(self._random("people")))

    async def begin(self) -> None:
        """Every service runs what it can go back to, since long ago."""
        for name in SERVICES:
            await self._town.deploy_by_hand(name, GOOD)
            await self._record(name, GOOD, ago=timedelta(days=1))

    async def end(self) -> None:
        """What a person holds up is let go."""
        for service in (SERVICE, None):
            await self._call("POST", "/api/v1/resume", {"service": service})

    def _random(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {name}")

    async def _of_service(self, name: str, chance: random.Random) -> None:
        """A bad release, alerts until it is gone; where rollbackd does not see to that, a person does."""
        number = 0
        while self.goes_on:
            number += 1
            await asyncio.sleep(chance.uniform(3, 6))
            self._town.in_mood(name, chance.choice(MOODS))
            version = f"{BAD}{number}"
            await self._town.deploy_by_hand(name, version)
            await self._record(name, version)
            alert = self._town.alert_object(service=name, fingerprint=f"{chance.getrandbits(64):016x}")
            given_up_at = self._clock.now() + chance.uniform(0.5, 1.5) * _PATIENCE
            while self._town.is_bad(name, self._clock.now()) and self.goes_on:
                await self._deliver([alert])
                await asyncio.sleep(chance.uniform(0.2, 1))
                if self._clock.now() > given_up_at:
                    await self._town.deploy_by_hand(name, GOOD)
                    await self._record(name, GOOD)
            await self._deliver([{**alert, "status": "resolved"}])

    async def _of_innocent(self, chance: random.Random) -> None:
        """A new release and a false alarm: whoever acts on it has not measured."""
        number = 0
        while self.goes_on:
            number += 1
            await asyncio.sleep(chance.uniform(1, 4))
            version = f"g{number + 1}"
            await self._town.deploy_by_hand(INNOCENT, version)
            await self._record(INNOCENT, version)
            await self._deliver([self._town.alert_object(service=INNOCENT, fingerprint=f"{chance.getrandbits(64):016x}")])

    async def _chatter(self, chance: random.Random) -> None:
        """Alerts upon alerts, of every service and of none, in batches, late, doubled and resolved."""
        while self.goes_on:
            await asyncio.sleep(chance.uniform(0.05, 0.5))
            batch = []
            for _ in range(chance.randint(1, 4)):
                alert = self._town.alert_object(
                    service=chance.choice((*SERVICES, "nobody")),
                    fingerprint=f"{chance.getrandbits(64):016x}",
                    status=chance.choice(("firing", "resolved")),
                    starts_at=self._clock.now() - timedelta(seconds=chance.choice((0, 0, 1, 60))),
                )
                batch += [alert] * chance.choice((1, 1, 2))
            await self._deliver(batch)

    async def _people(self, chance: random.Random) -> None:
        """Who look, approve, reject, abort, take note, pause and resume, whenever it occurs to them."""
        while self.goes_on:
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            _, listed = await self._call("GET", f"/api/v1/incidents?service={chance.choice((*ACTING, PROPOSING))}&limit=1")
            newest = listed.get("items") or [{"id": "none", "plan": None}]
            one = f"/api/v1/incidents/{newest[0]['id']}"
            why = {"reason": "soak"}
            match chance.choice(("approve", "approve", "reject", "abort", "acknowledge", "pause", "rollback", "look")):
                case "approve":
                    await self._call("POST", f"{one}/approve", {"plan": newest[0].get("plan")})
                case "pause":
                    service = chance.choice((SERVICE, None))
                    await self._call("POST", "/api/v1/pause", {"service": service, "for": "30s", **why})
                    await asyncio.sleep(chance.uniform(0.1, 2))
                    await self._insist("POST", "/api/v1/resume", {"service": service})
                case "rollback":
                    await self._call("POST", f"/api/v1/services/{PROPOSING}/rollback", {"to": GOOD, **why})
                case "look":
                    await self._call("GET", f"{one}/report")
                case said:
                    await self._call("POST", f"{one}/{said}", why)

    async def _record(self, service: str, version: str, *, ago: timedelta = timedelta()) -> None:
        at = (self._clock.now() - ago).isoformat()
        if await self._insist("POST", "/api/v1/releases", {"service": service, "version": version, "started_at": at, "live_at": at}):
            self._seen.released.add((service, version))

    async def _deliver(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        """As Alertmanager does: again and again, until it is acknowledged."""
        body = {
            "version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "rollbackd", "groupLabels": {},
            "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "alerts": alerts,
        }  # fmt: skip
        if await self._insist("POST", _WEBHOOK, body):
            known = [alert for alert in alerts if alert["labels"]["service"] in SERVICES]
            self._seen.acknowledged |= {(one["fingerprint"], one["startsAt"], one["status"]) for one in known}

    async def _insist(self, method: str, path: str, body: Mapping[str, Any]) -> bool:
        """Again and again until it is accepted; False: it never will be, or the town ended first."""
        while self.goes_on:
            status, _ = await self._call(method, path, body)
            if status not in {None, 503}:
                return status in {200, 201}
            await asyncio.sleep(_RETRY_SECONDS)
        return False

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int | None, Mapping[str, Any]]:
        """The status, None where there was no answer; and what was answered."""
        token = self._town.token + ("-ingest" if path == _WEBHOOK else "")
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with self._town.http.request(method, self._town.url + path, json=body, headers=headers, timeout=_ANSWER) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as e:
            self._seen.answers[type(e).__name__] += 1
            return None, {}
        self._seen.answers[f"{path.split('/')[1]} {response.status}"] += 1
        if response.status not in (_STORED if path == _WEBHOOK else _PLANNED):
            self._seen.violations.append(f"{method} {path}: {response.status} {text[:300]}")
        is_json = response.ok and response.content_type == "application/json"
        return response.status, json.loads(text) if is_json else {}
