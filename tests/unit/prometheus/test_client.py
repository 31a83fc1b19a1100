import asyncio
import gzip
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollbackd.clock import SystemClock
from rollbackd.errors import MisconfiguredError, PermanentError, TemporaryError
from rollbackd.prometheus.answer import AlertRule, Series
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.settings.effective import PrometheusServer
from tests.fakes.prometheus import FakePrometheus, hang, raw_server

AT = datetime(2026, 1, 31, 12, 0, 0, 250_999, UTC)
CUT = AT.replace(microsecond=250_000)
STEP = timedelta(seconds=15)


@pytest.fixture
async def fake() -> AsyncIterator[FakePrometheus]:
    async with FakePrometheus() as server:
        yield server


@pytest.fixture
async def client(fake: FakePrometheus) -> AsyncIterator[PrometheusClient]:
    client = client_of(fake.url)
    yield client
    await client.close()


def client_of(
    url: str, *, timeout: float = 5, headers: Mapping[str, str] | None = None, token_file: Path | None = None, ca_file: Path | None = None
) -> PrometheusClient:
    server = PrometheusServer(
        name="main", url=url, timeout=timedelta(seconds=timeout), headers=headers or {}, token_file=token_file, ca_file=ca_file
    )
    return PrometheusClient(server, SystemClock())


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prometheus-main")]


async def test_an_instant_query(fake: FakePrometheus, client: PrometheusClient) -> None:
    fake.answer("x", ({"zone": "a"}, 0.25), warnings=["w"], infos=["i"])
    answer = await client.query('x{a="ü+&"}', at=AT)
    assert answer.series == (Series({"zone": "a"}, ((CUT.timestamp(), "0.25"),)),)
    assert (answer.result_type, answer.warnings, answer.infos) == ("vector", ("w",), ("i",))
    assert answer.server_time is not None
    assert answer.clock_offset == timedelta()
    (asked,) = fake.asked
    assert asked.query == 'x{a="ü+&"}'
    assert asked.params["time"] == "2026-01-31T12:00:00.250Z"
    assert 4 < float(asked.params["timeout"]) <= 5  # the server gives up when we do


async def test_a_range_query_is_exact_to_the_millisecond(fake: FakePrometheus, client: PrometheusClient) -> None:
    fake.answer("x", lambda at: at.timestamp())
    answer = await client.query_range("x", start=AT - 2 * STEP, end=AT, step=STEP)
    assert [at for at, _ in answer.series[0].samples] == [at.timestamp() for at in (CUT - 2 * STEP, CUT - STEP, CUT)]
    assert fake.asked[0].params["step"] == "15.000"


async def test_a_scalar_is_one_number(fake: FakePrometheus, client: PrometheusClient) -> None:
    fake.send("x", '{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}')
    assert (await client.query("x", at=AT)).series == (Series({}, ((1, "2"),)),)


async def test_a_range_over_eleven_thousand_points_is_refused_before_it_is_asked(fake: FakePrometheus, client: PrometheusClient) -> None:
    await client.query_range("x", start=AT - 10_999 * STEP, end=AT, step=STEP)
    with pytest.raises(PermanentError, match="11001 steps: Prometheus gives 11000 at most"):
        await client.query_range("x", start=AT - 11_000 * STEP, end=AT, step=STEP)
    assert len(fake.asked) == 1


async def test_a_server_under_a_path(fake: FakePrometheus) -> None:
    paths = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        paths.append((await reader.readuntil(b"\r\n\r\n")).split(b"?")[0])

    async with raw_server(talk) as url:
        client = client_of(f"{url}/prom/")
        with pytest.raises(TemporaryError):
            await client.query("x", at=AT)
        await client.close()
    assert paths == [b"GET /prom/api/v1/query"]


async def test_headers_and_a_token_that_is_read_again_for_each_query(fake: FakePrometheus, tmp_path: Path) -> None:
    token = tmp_path / "token"
    client = client_of(fake.url, headers={"X-Scope-OrgID": "tenant"}, token_file=token)
    for secret in ("old-secret", "new-secret"):
        token.write_text(f"{secret}\n")
        await client.query("x", at=AT)
    token.write_text("not a token")
    with pytest.raises(MisconfiguredError, match=str(token)):
        await client.query("x", at=AT)
    await client.close()
    assert [asked.headers["Authorization"] for asked in fake.asked] == ["Bearer old-secret", "Bearer new-secret"]
    assert [asked.headers["X-Scope-OrgID"] for asked in fake.asked] == ["tenant", "tenant"]


@pytest.mark.parametrize("secret", ["hunter2\n", "hunter2\r\nX: y", "hunter2 \u2028"])
async def test_a_header_that_cannot_be_sent_is_not_quoted(fake: FakePrometheus, secret: str) -> None:
    client = client_of(fake.url, headers={"Authorization": f"Basic {secret}"})
    with pytest.raises(MisconfiguredError, match="no header may have") as caught:
        await client.query("x", at=AT)
    await client.close()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__  # what the library raises quotes the header (I13)


async def test_the_environment_names_no_proxy_and_no_password(
    fake: FakePrometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    client = client_of(fake.url)
    await client.query("x", at=AT)
    await client.close()
    assert "Authorization" not in fake.asked[0].headers


async def test_a_password_in_the_url_is_used_and_never_shown(fake: FakePrometheus) -> None:
    fake.fail("x", 500)
    client = client_of(fake.url.replace("http://", "http://user:hunter2@"))
    with pytest.raises(TemporaryError) as caught:
        await client.query("x", at=AT)
    await client.close()
    assert fake.asked[0].headers["Authorization"].startswith("Basic ")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("retry_after", "expected"), [("7", timedelta(seconds=7)), ("soon", None), ("²", None), ("-1", None), ("9" * 30, None)]
)
async def test_when_to_ask_again(fake: FakePrometheus, client: PrometheusClient, retry_after: str, expected: timedelta | None) -> None:
    fake.fail("x", 503, headers={"Retry-After": retry_after})
    with pytest.raises(TemporaryError) as caught:
        await client.query("x", at=AT)
    assert caught.value.retry_after == expected


async def test_the_servers_own_words_become_one_line(fake: FakePrometheus, client: PrometheusClient) -> None:
    fake.fail("x", 400, '{"error":"parse error:\\n\\u001b[31munexpected\\u202e"}')
    with pytest.raises(PermanentError) as caught:
        await client.query("x", at=AT)
    assert str(caught.value).endswith("answered 400: parse error:  [31munexpected")


async def test_a_response_that_unpacks_to_more_than_the_cap_is_cut(fake: FakePrometheus, client: PrometheusClient) -> None:
    assert fake.asked == []
    fake.send("x", gzip.compress(b" " * (17 << 20)), headers={"Content-Encoding": "gzip"})
    with pytest.raises(PermanentError, match="over 16 MiB"):
        await client.query("x", at=AT)
    assert fake.asked[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "http://[::1", "nonsense"])
async def test_a_url_that_is_none(url: str) -> None:
    client = client_of(url)
    with pytest.raises(MisconfiguredError, match="check its url"):
        await client.query("x", at=AT)
    await client.close()


async def test_a_ca_file_that_is_not_there(tmp_path: Path) -> None:
    client = client_of("https://127.0.0.1:1", ca_file=tmp_path / "missing.pem")
    with pytest.raises(MisconfiguredError, match="check its url and ca_file"):
        await client.query("x", at=AT)
    await client.close()


async def test_one_connection_serves_one_query_after_another() -> None:
    connections = 0
    body = b'{"status":"success","data":{"resultType":"vector","result":[]}}'

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()

    async with raw_server(talk) as url:
        client = client_of(url)
        answers = [await client.query("x", at=AT) for _ in range(3)]
        await client.close()
    assert connections == 1
    assert {(answer.server_time, answer.clock_offset) for answer in answers} == {(None, None)}  # it sent no Date


async def test_cancelling_a_query_does_not_wait_for_it(fake: FakePrometheus) -> None:
    arrived = asyncio.Event()

    async def arriving(request: object) -> object:
        arrived.set()
        return await hang(request)  # type: ignore[arg-type]

    fake.handle("x", arriving)  # type: ignore[arg-type]
    client = client_of(fake.url, timeout=0.5)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.query("x", at=AT))
        await arrived.wait()
        task.cancel()
    assert task.cancelled()
    await client.close()
    assert threads() == []


async def test_a_server_that_hangs_holds_no_more_than_eight_threads(fake: FakePrometheus) -> None:
    fake.handle("x", hang)
    client = client_of(fake.url, timeout=0.3)
    results = await asyncio.gather(*(client.query("x", at=AT) for _ in range(40)), return_exceptions=True)
    held = len(threads())
    await client.close()
    assert all(isinstance(result, TemporaryError) for result in results)
    assert (held, threads()) == (8, [])


def test_importing_the_client_does_not_import_what_it_costs() -> None:
    code = "import sys, rollbackd.prometheus.measurer; sys.exit('requests' in sys.modules or 'prometheus_api_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_caller_does_not_wait_for_what_cannot_be_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def resolver_that_hangs(*_: object, **__: object) -> None:
        released.wait()
        raise socket.gaierror("released")

    client = client_of("http://slow.invalid", timeout=0.3)
    monkeypatch.setattr(socket, "getaddrinfo", resolver_that_hangs)
    with pytest.raises(TemporaryError, match=r"did not answer within 0.3 s"):
        await client.query("x", at=AT)
    released.set()
    await client.close()
    assert threads() == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1, and a server's context that uses it."""
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=test"
    place = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate))
    subprocess.run([*new.split(), *place], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


async def test_a_certificate_is_trusted_only_by_its_ca_file(certificate: tuple[Path, ssl.SSLContext]) -> None:
    path, tls = certificate
    async with FakePrometheus(tls=tls) as fake:
        strict, trusting = client_of(fake.url), client_of(fake.url, ca_file=path)
        with pytest.raises(PermanentError, match=r"is not trusted.*self-signed certificate"):
            await strict.query("x", at=AT)
        assert (await trusting.query("x", at=AT)).series == ()
        await strict.close()
        await trusting.close()


async def test_over_tls_too_a_byte_at_a_time_holds_no_thread(certificate: tuple[Path, ssl.SSLContext]) -> None:
    path, tls = certificate

    async def drip_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while True:
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(drip_for_ever, tls=tls) as url:
        client = client_of(url, timeout=0.4, ca_file=path)
        with pytest.raises(TemporaryError, match=r"in time|within 0.4 s"):
            await client.query("x", at=AT)
        await client.close()
    assert threads() == []


async def test_a_server_that_takes_the_connection_and_says_nothing_to_tls() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(silent) as url:
        client = client_of(url.replace("http:", "https:"), timeout=0.3)
        with pytest.raises(TemporaryError, match=r"in time|within 0.3 s"):
            await client.query("x", at=AT)
        await client.close()
    assert threads() == []


async def test_the_alert_rules_with_their_for(fake: FakePrometheus, client: PrometheusClient) -> None:
    fake.alert_rules = [("HighErrorRate", 120), ("SlowResponse", 0.5)]
    assert await client.alert_rules() == (
        AlertRule("HighErrorRate", timedelta(minutes=2)),
        AlertRule("SlowResponse", timedelta(milliseconds=500)),
    )
    assert (await client.query("x", at=AT)).series == ()  # the same threads ask both


async def test_a_server_without_rules_is_an_error_and_not_none(fake: FakePrometheus, client: PrometheusClient) -> None:
    fake.alert_rules = None
    with pytest.raises(PermanentError, match="answered 404"):
        await client.alert_rules()
