"""Rows 22-30, 32 and 34 of the fault catalogue: whatever is wrong with Prometheus' answer, the verdict is unknown (I3).

Row 30 wants a real server and stands in `tests/e2e/test_measure_real.py`; here is the same with a scripted one.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from rollbackd.clock import SystemClock
from rollbackd.errors import PermanentError, TemporaryError
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.policy import Reduce
from rollbackd.model.reason import Reason
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.settings.effective import PrometheusServer
from tests.fakes.policies import error_rate, response_time_p95, service
from tests.fakes.prometheus import FakePrometheus, Handler, drip, hang, raw_server

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BAD = r"^sum\(.*5\.\."
TOTAL = r"^sum\((?!.*5\.\.)"
BIRTHS = "unless"
EVERYTHING = ""
LONG, SHORT = timedelta(seconds=20), timedelta(milliseconds=300)


@asynccontextmanager
async def asking(url: str, *, patience: timedelta = LONG, **servers: str) -> AsyncIterator[Measurer]:
    urls = {"main": url, **servers}
    clients = {
        name: PrometheusClient(PrometheusServer(name=name, url=each, timeout=patience), SystemClock()) for name, each in urls.items()
    }
    try:
        yield Measurer(clients)
    finally:
        for client in clients.values():
            await client.close()


@pytest.fixture
async def fake() -> AsyncIterator[FakePrometheus]:
    """A breach, in order but for what the test does to it."""
    async with FakePrometheus() as server:
        server.answer(TOTAL, 1000)
        server.answer(BAD, 300)
        yield server


@pytest.fixture
async def measurer(fake: FakePrometheus) -> AsyncIterator[Measurer]:
    async with asking(fake.url) as measurer:
        yield measurer


async def measured(measurer: Measurer, *, reduce: Reduce | None = None, prometheus: str = "main") -> IndicatorEvidence:
    policy = service("api", prometheus=prometheus)
    return await measurer.evidence(policy, error_rate(reduce=reduce), now=NOW, lookback=2 * MINUTE, pool_window=2 * MINUTE)


def assert_unknown(evidence: IndicatorEvidence, reason: Reason) -> None:
    """No step has a value, no count can be tested, and it says why."""
    assert all(reading.value is None for reading in evidence.readings)
    assert {evidence.reason, *(reading.reason for reading in evidence.readings)} - {None} == {reason}
    assert evidence.pooled is None or (evidence.pooled.bad, evidence.pooled.reason) == (None, reason)


async def test_the_breach_that_every_row_spoils(measurer: Measurer) -> None:
    evidence = await measured(measurer)
    assert {reading.value for reading in evidence.readings} == {0.3}
    assert evidence.pooled is not None
    assert (evidence.pooled.bad, evidence.pooled.total) == (300, 1000)


async def test_row_22_connection_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        async with asking(f"http://127.0.0.1:{taken.getsockname()[1]}") as measurer:
            evidence = await measured(measurer)
            assert_unknown(evidence, Reason.QUERY_FAILED)
            assert "Connection refused" in evidence.detail
            with pytest.raises(TemporaryError):
                await measurer.label_values(service("api"), "x", "version", now=NOW)


@pytest.mark.parametrize("handler", [hang, drip(0.01)], ids=["hangs", "drips its body"])
async def test_row_23_no_complete_answer_by_the_deadline(fake: FakePrometheus, handler: Handler) -> None:
    fake.handle(BAD, handler)
    async with asking(fake.url, patience=SHORT) as measurer:
        evidence = await measured(measurer)
    assert_unknown(evidence, Reason.QUERY_FAILED)
    assert "in time" in evidence.detail or "within 0.3 s" in evidence.detail


@pytest.mark.parametrize("opening", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n"])
async def test_row_23_a_byte_at_a_time_holds_no_thread(opening: bytes) -> None:
    """Each read is quick enough; only a deadline for all of them ends it, in the caller and in its thread."""

    async def drip_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(opening)
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(drip_for_ever) as url:
        async with asking(url, patience=SHORT) as measurer:
            assert_unknown(await measured(measurer), Reason.QUERY_FAILED)
        # closing waited for the threads: that it came back at all is the proof
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("prometheus-")]


@pytest.mark.parametrize(
    ("status", "family"),
    [
        *((status, TemporaryError) for status in (500, 502, 503, 504, 429)),
        *((status, PermanentError) for status in (422, 400, 401, 403, 404, 204, 300, 304)),
    ],
)
async def test_row_24_any_status_but_200(
    fake: FakePrometheus, measurer: Measurer, status: int, family: type[TemporaryError | PermanentError]
) -> None:
    fake.fail(BAD, status, body=b"" if status in {204, 304} else None)
    evidence = await measured(measurer)
    assert_unknown(evidence, Reason.QUERY_FAILED)
    assert f"answered {status}" in evidence.detail
    with pytest.raises(family):
        await measurer.label_values(service("api"), 'sum(code="5..")', "version", now=NOW)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_row_24_a_redirect_is_not_followed_with_credentials(fake: FakePrometheus, measurer: Measurer, status: int) -> None:
    async with FakePrometheus() as elsewhere:
        elsewhere.answer(EVERYTHING, 300)
        fake.fail(BAD, status, headers={"Location": f"{elsewhere.url}/api/v1/query_range?query=x&start=0&end=1&step=1"})
        evidence = await measured(measurer)
        assert_unknown(evidence, Reason.QUERY_FAILED)
        assert "redirects" in evidence.detail
        assert elsewhere.asked == []


SERIES = '{"metric":{},"values":[[1769860800,"0.5"]]}'


@pytest.mark.parametrize(
    "body",
    [
        "",
        "garbage",
        "<html><body>Welcome</body></html>",
        '{"status":"success","data":{"resultType":"matrix","result":[' + SERIES,
        '{"status":"error","errorType":"timeout","error":"on a 200"}',
        '{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1769860800,"0.5"]}]}}',
        '{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1769860800,0.5]]}]}}',
        '{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[]}]}}',
        '{"status":"success","warnings":"text","data":{"resultType":"matrix","result":[' + SERIES + "]}}",
        "[" * 1_000_000,
        b"\xff\xfe\x00",
    ],
)
async def test_row_25_garbage(fake: FakePrometheus, measurer: Measurer, body: str | bytes) -> None:
    fake.send(BAD, body)
    assert_unknown(await measured(measurer), Reason.QUERY_FAILED)


async def test_row_25_a_body_of_100_mb_is_cut(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.send(BAD, b" " * 100_000_000)
    evidence = await measured(measurer)
    assert_unknown(evidence, Reason.QUERY_FAILED)
    assert "16 MiB" in evidence.detail


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", id="half of a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="a broken chunk"),
    ],
)
async def test_row_25_a_response_that_breaks_off(talk: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(talk)
        await writer.drain()

    async with raw_server(say) as url, asking(url) as measurer:
        evidence = await measured(measurer)
        assert_unknown(evidence, Reason.QUERY_FAILED)
        assert "\n" not in evidence.detail


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "1_0", " nan ", "", "1e999"])
@pytest.mark.parametrize("part", [BAD, TOTAL], ids=["bad", "total"])
async def test_row_26_no_number(fake: FakePrometheus, measurer: Measurer, text: str, part: str) -> None:
    fake.answer(part, text)
    assert_unknown(await measured(measurer), Reason.NOT_A_NUMBER)


async def test_row_27_no_series_at_all(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer(EVERYTHING)
    assert_unknown(await measured(measurer), Reason.NO_SERIES)


async def test_row_27_no_denominator_though_there_are_samples(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer(TOTAL)
    assert_unknown(await measured(measurer), Reason.NO_SERIES)


async def test_row_27_no_numerator_though_there_are_bad_samples(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer(BAD)
    fake.answer(BIRTHS, 1)
    assert_unknown(await measured(measurer), Reason.COUNTER_BIRTH)


async def test_row_27_no_numerator_and_no_bad_samples_is_nothing_bad(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer(BAD)
    evidence = await measured(measurer)
    assert {reading.value for reading in evidence.readings} == {0.0}


@pytest.mark.parametrize("part", [BAD, TOTAL, r"^max\(timestamp", r"^max\(count_over_time", BIRTHS])
async def test_row_28_warnings(fake: FakePrometheus, measurer: Measurer, part: str) -> None:
    fake.answer(part, 300, warnings=["remote read: store-2 does not answer"])
    evidence = await measured(measurer)
    assert_unknown(evidence, Reason.WARNINGS)
    assert "store-2" in evidence.detail


async def test_row_29_two_series_one_breaching(fake: FakePrometheus, measurer: Measurer) -> None:
    one, other = {"instance": "a"}, {"instance": "b"}
    fake.answer(TOTAL, (one, 1000), (other, 1000))
    fake.answer(BAD, (one, 1), (other, 300))
    assert_unknown(await measured(measurer), Reason.SEVERAL_SERIES)
    for reduce, expected in ((Reduce.MAX, 0.3), (Reduce.MIN, 0.001), (Reduce.SUM, 0.1505)):
        evidence = await measured(measurer, reduce=reduce)
        assert {reading.value for reading in evidence.readings} == {expected}


async def test_row_30_a_sample_four_minutes_old(fake: FakePrometheus, measurer: Measurer) -> None:
    stopped = NOW - timedelta(minutes=4)
    fake.answer(r"^max\(timestamp", lambda at: min(at, stopped).timestamp())
    evidence = await measured(measurer)
    assert {(reading.value, reading.reason, reading.sample_at) for reading in evidence.readings} == {(None, Reason.STALE_SAMPLES, stopped)}


async def test_row_30_few_samples_in_the_window(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer(r"^max\(count_over_time", 1)
    evidence = await measured(measurer)
    assert {(reading.value, reading.reason) for reading in evidence.readings} == {(None, Reason.THIN_SAMPLES)}


async def test_row_32_no_traffic(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer(TOTAL, 0)
    fake.answer(BAD, 0)
    evidence = await measured(measurer)
    assert {(reading.value, reading.reason) for reading in evidence.readings} == {(None, Reason.LOW_TRAFFIC)}
    assert evidence.pooled is not None
    assert evidence.pooled.total == 0


async def test_row_32_one_request_is_counted_as_one(fake: FakePrometheus, measurer: Measurer) -> None:
    """`increase` makes 1.33 of it; what `min_requests` is compared with is 1."""
    fake.answer(TOTAL, 1.33)
    fake.answer(BAD, 1.33)
    evidence = await measured(measurer)
    assert evidence.pooled is not None
    assert (evidence.pooled.bad, evidence.pooled.total) == (1, 1)


async def test_row_32_the_traffic_behind_a_value_is_counted(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.answer("histogram_quantile", 2000)
    fake.answer("duration_seconds_count.*120s", 1.33)
    evidence = await measurer.evidence(service("api"), response_time_p95(), now=NOW, lookback=MINUTE, pool_window=2 * MINUTE)
    assert evidence.pooled is not None
    assert evidence.pooled.total == 1


async def test_row_33_one_of_two_servers_is_down(fake: FakePrometheus) -> None:
    async with FakePrometheus() as other:
        other.fail(EVERYTHING, 503)
        async with asking(fake.url, fly=other.url) as measurer:
            healthy, lost = await asyncio.gather(measured(measurer), measured(measurer, prometheus="fly"))
    assert {reading.value for reading in healthy.readings} == {0.3}
    assert_unknown(lost, Reason.QUERY_FAILED)
    assert "server fly" in lost.detail


@pytest.mark.parametrize("minutes", [10, -10, None], ids=["ahead", "behind", "does not say"])
async def test_row_34_the_servers_clock_is_off(fake: FakePrometheus, measurer: Measurer, minutes: int | None) -> None:
    fake.clock_offset = None if minutes is None else timedelta(minutes=minutes)
    assert_unknown(await measured(measurer), Reason.CLOCK_SKEW)
    fake.answer("ALERTS", 1)
    assert await measurer.alert_firing(service("api"), "HighErrorRate", {}) is None
    with pytest.raises(TemporaryError):
        await measurer.label_values(service("api"), "x", "version", now=NOW)


async def test_row_34_a_second_of_difference_is_no_skew(fake: FakePrometheus, measurer: Measurer) -> None:
    fake.clock_offset = timedelta(seconds=-1)
    evidence = await measured(measurer)
    assert {reading.value for reading in evidence.readings} == {0.3}


async def test_row_34_a_backtest_does_not_ask_the_clock(fake: FakePrometheus) -> None:
    fake.clock_offset = timedelta(days=300)
    client = PrometheusClient(PrometheusServer(name="main", url=fake.url), SystemClock())
    evidence = await measured(Measurer({"main": client}, check_clock=False))
    await client.close()
    assert {reading.value for reading in evidence.readings} == {0.3}
