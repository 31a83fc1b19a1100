"""Row 42, drawn by Hypothesis: whatever becomes of a v4 payload, the answer is 200 or 400, and no line of a traceback (I11 I14)."""

import asyncio
import http.client
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.process_world import ProcessWorld

ODD_TEXTS = ("", "\0", "\u202e", "\x1b[31m", "x" * 70_000, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999-23:59", "firing ", "4 ")
ODD_TOKENS = (
    b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 5_000, b"1" * 25, rb'"\ud800"', rb'"\u0000"', b'"\xff"', b"[" * 2_000, b'{"a":1,"a":2}',
    b"\xef\xbb\xbf", b"//", b"tru", b'"',
)  # fmt: skip

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(ODD_TEXTS))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, its own first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inner for place in places(each, (*at, key)))]


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = put(value[place[0]], place[1:], new)
    return copy


@st.composite
def bodies(draw: st.DrawFn, payload: dict[str, Any]) -> bytes:
    """A payload of which some values are others, and then some bytes."""
    mutated: Any = payload
    for _ in range(draw(st.integers(0, 3))):
        mutated = put(mutated, draw(st.sampled_from(places(mutated))), draw(values))
    body = json.dumps(mutated, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 40)))
        piece = draw(st.one_of(st.binary(max_size=8), st.sampled_from(ODD_TOKENS), st.just(body[start:end] * 2)))
        body = body[:start] + piece + body[end:]
    return body


def mutations(world: ProcessWorld, examples: int) -> Callable[[], None]:
    address = urlsplit(world.url)
    payload = {
        "version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "r", "groupLabels": {},
        "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager:9093",
        "alerts": [world.alert_object(fingerprint="1" * 16), world.alert_object(fingerprint="2" * 16, status="resolved", service="x")],
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {world.token}-ingest", "Content-Type": "application/json"}

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None, print_blob=True)
    @given(bodies(payload))
    def never_anything_else(body: bytes) -> None:
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
        try:
            connection.request("POST", "/webhook/alertmanager", body=body, headers=headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status in {200, 400}, answer
        assert b"Traceback" not in answer

    return never_anything_else


async def check(directory: Path, examples: int) -> None:
    async with ProcessWorld(directory, bad=()) as world:
        await asyncio.to_thread(mutations(world, examples))
        assert "Traceback" not in world.log
        assert (await world.alert())["stored"] + (await world.alert())["stored"] >= 1


async def test_row_42_whatever_becomes_of_a_payload_it_is_200_or_400(tmp_path: Path) -> None:
    await check(tmp_path, 300)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
async def test_row_42_very_many_payloads(tmp_path: Path) -> None:
    await check(tmp_path, int(os.environ.get("ROLLBACKD_EXAMPLES", "20000")))
