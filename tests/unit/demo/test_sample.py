import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rollbackd.demo.sample import BUCKETS, Metrics, Sample


def samples(text: str) -> Mapping[tuple[str, str], float]:
    """Value by name and the one label that tells its series apart."""
    return {
        (sample.name, sample.labels.get("code") or sample.labels.get("le") or ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_prometheus_text_with_cumulative_buckets() -> None:
    metrics = Metrics("v1")
    for code, seconds in ((200, 0.003), (200, 0.02), (500, 1.3), (200, 99.0)):
        metrics.observe(code, seconds)
    read = samples(metrics.text())
    assert (read["http_requests_total", "200"], read["http_requests_total", "500"]) == (3, 1)
    assert read["http_request_duration_seconds_bucket", "0.005"] == 1
    assert read["http_request_duration_seconds_bucket", "1.0"] == 2
    assert read["http_request_duration_seconds_bucket", "2.5"] == 3
    assert read["http_request_duration_seconds_bucket", "+Inf"] == read["http_request_duration_seconds_count", ""] == 4
    assert read["http_request_duration_seconds_sum", ""] == pytest.approx(100.323)
    assert max(BUCKETS) > 1, "SlowResponse asks for more than a second"


def test_both_counters_stand_there_before_the_first_request() -> None:
    read = samples(Metrics("v1").text())
    assert (read["http_requests_total", "200"], read["http_requests_total", "500"]) == (0, 0)


async def codes(sample: Sample) -> list[int]:
    return sorted(code for code, _, _ in await asyncio.gather(*(sample.answer("/") for _ in range(10))))


async def test_v1_is_good_and_v2_is_not(tmp_path: Path) -> None:
    assert await codes(Sample("v1", tmp_path / "outage")) == [200] * 10
    bad = Sample("v2", tmp_path / "outage")
    assert await codes(bad) == [200] * 7 + [500] * 3
    read = samples((await bad.answer("/metrics"))[2])
    assert read["http_request_duration_seconds_bucket", "1.0"] == 9, "one of ten took more than a second"


async def test_an_outage_makes_every_version_bad_until_it_ends(tmp_path: Path) -> None:
    outage = tmp_path / "outage"
    good = Sample("v1", outage)
    outage.touch()
    assert await codes(good) == [200] * 7 + [500] * 3
    outage.unlink()
    assert await codes(good) == [200] * 10


async def test_looking_does_not_count_as_traffic(tmp_path: Path) -> None:
    sample = Sample("v1", tmp_path / "outage")
    code, _, body = await sample.answer("/version")
    assert (code, json.loads(body)) == (200, {"version": "v1"})
    assert (await sample.answer("/healthz"))[0] == 200
    assert (await sample.answer("/no-such-page"))[0] == 404
    assert samples((await sample.answer("/metrics"))[2])["http_requests_total", "200"] == 0
