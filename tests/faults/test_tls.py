"""Row 72: a name that cannot be found, a certificate that is not to be trusted, a new authority: unknown, never less secure (I3)."""

import asyncio
import gc
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollbackd.action.commands import Commands
from rollbackd.action.environment import Environments
from rollbackd.action.probe import Prober
from rollbackd.action.process import Processes
from rollbackd.clock import SystemClock
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.reason import Reason
from rollbackd.model.runbook import HttpAsk, Probe
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.prometheus.measurer import Measurer
from rollbackd.settings.effective import PrometheusServer
from tests.fakes.measures import FixedMeasures
from tests.fakes.policies import error_rate, service
from tests.fakes.processes import eventually, open_files
from tests.fakes.prometheus import FakePrometheus

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOWHERE = "no-such-host.invalid"
HERE = "IP:127.0.0.1"
ELSEWHERE = "DNS:elsewhere.example.com"
Measure = Callable[[], Awaitable[IndicatorEvidence]]

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the certificates are made by openssl, which is not installed")


class Authority:
    """A certificate authority of our own; `file` is what one trusts who trusts it."""

    def __init__(self, directory: Path, name: str) -> None:
        self.file = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        self._directory = directory
        self._made = 0

    async def certify(self, host: str = HERE, *, days: int = 1) -> tuple[Path, Path]:
        """A new certificate, and its key; one for minus one day has expired."""
        if not self.file.exists():
            await _openssl("req", "-x509", *_new(self._key), "-out", self.file, "-subj", f"/CN={self.file.stem}", "-days", "1")
        self._made += 1
        key, request, certificate, extensions = (
            self._directory / f"{self.file.stem}-{self._made}.{end}" for end in ("key", "csr", "crt", "ext")
        )
        extensions.write_text(f"subjectAltName={host}\n")
        await _openssl("req", *_new(key), "-out", request, "-subj", "/CN=server")
        signed = ("-req", "-in", request, "-CA", self.file, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions)
        await _openssl("x509", *signed, "-out", certificate, "-days", days)
        return certificate, key


def _new(key: Path) -> tuple[object, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key)


async def _openssl(*arguments: object) -> None:
    process = await asyncio.create_subprocess_exec(
        "openssl", *map(str, arguments), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


@asynccontextmanager
async def serving(certificate: tuple[Path, Path]) -> AsyncIterator[FakePrometheus]:
    """A breach, told over TLS."""
    before = open_files()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    async with FakePrometheus(tls=tls) as fake:
        fake.answer(r"^sum\((?!.*5\.\.)", 1000)
        fake.answer(r"^sum\(.*5\.\.", 300)
        yield fake

    def are_closed() -> bool:
        gc.collect()  # asyncio as a server, here in this process, keeps the socket of a broken handshake until then; our client does not
        return open_files() <= before

    await eventually(are_closed)  # and it ends a moment later at the server


@asynccontextmanager
async def measuring(url: str, ca_file: Path | None) -> AsyncIterator[Measure]:
    client = PrometheusClient(PrometheusServer(name="main", url=url, timeout=timedelta(seconds=20), ca_file=ca_file), SystemClock())
    measurer = Measurer({"main": client})

    async def measured() -> IndicatorEvidence:
        return await measurer.evidence(service("api"), error_rate(), now=NOW, lookback=2 * MINUTE, pool_window=2 * MINUTE)

    try:
        yield measured
    finally:
        await client.close()


async def assert_unknown(measured: Measure, *said: str) -> None:
    evidence = await measured()
    assert {reading.value for reading in evidence.readings} <= {None}
    assert evidence.reason is Reason.QUERY_FAILED
    assert all(part in evidence.detail for part in said), evidence.detail


async def assert_known(measured: Measure) -> None:
    assert {reading.value for reading in (await measured()).readings} == {0.3}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


class TestPrometheus:
    async def test_row_72_a_name_that_cannot_be_found(self) -> None:
        async with measuring(f"https://{NOWHERE}:9090", None) as measured:
            await assert_unknown(measured, "cannot be reached")

    @pytest.mark.parametrize(
        ("host", "days", "trusted", "says"),
        [
            pytest.param(HERE, -1, "authority.pem", "expired", id="expired"),
            pytest.param(ELSEWHERE, 1, "authority.pem", "IP address mismatch", id="another's"),
            pytest.param(HERE, 1, None, "unable to get local issuer certificate", id="of an authority that nobody knows"),
        ],
    )
    async def test_row_72_a_certificate_that_is_not_to_be_trusted(
        self, authority: Authority, tmp_path: Path, *, host: str, days: int, trusted: str | None, says: str
    ) -> None:
        async with serving(await authority.certify(host, days=days)) as fake:
            async with measuring(fake.url, tmp_path / trusted if trusted else None) as measured:
                await assert_unknown(measured, "is not trusted", says)
            assert fake.asked == [], "nothing is asked of whom one does not trust: the question carries a token"

    async def test_row_72_a_new_authority_counts_once_its_file_is_there(self, authority: Authority, tmp_path: Path) -> None:
        """The daemon goes on; in between it is unknown, as often as it is asked."""
        successor, trusted = Authority(tmp_path, "successor"), tmp_path / "trusted.pem"
        async with serving(await authority.certify()) as old, serving(await successor.certify()) as new:
            shutil.copy(authority.file, trusted)
            async with measuring(old.url, trusted) as measured:
                await assert_known(measured)
            async with measuring(new.url, trusted) as measured:
                for _ in range(3):
                    await assert_unknown(measured, "is not trusted")
                assert new.asked == []
                trusted.write_text(authority.file.read_text() + successor.file.read_text())
                await assert_known(measured)
            async with measuring(old.url, trusted) as measured:
                await assert_known(measured)
            trusted.unlink()
            async with measuring(new.url, trusted) as measured:
                await assert_unknown(measured, "ca_file")


class TestProbe:
    @pytest.fixture
    def prober(self, tmp_path: Path) -> Prober:
        return Prober(Commands(Processes(), Environments(os.environ, str), cwd=tmp_path), FixedMeasures(), SystemClock())

    @pytest.fixture
    async def trusting(self, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
        """As a machine on which this authority is installed."""
        await authority.certify()
        monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=str(authority.file)))

    @staticmethod
    def health(url: str) -> Probe:
        return Probe(ask=HttpAsk(url=f"{url}/api/v1/rules"), status=(200,))

    async def test_row_72_a_name_that_cannot_be_found(self, prober: Prober) -> None:
        answer = await prober.ask(self.health(f"https://{NOWHERE}"), service("api"))
        assert answer.held is None
        assert NOWHERE in answer.reason

    async def test_row_72_a_certificate_that_is_in_order(self, authority: Authority, trusting: None, prober: Prober) -> None:
        async with serving(await authority.certify()) as fake:
            assert (await prober.ask(self.health(fake.url), service("api"))).held

    @pytest.mark.parametrize(("host", "days", "says"), [(HERE, -1, "expired"), (ELSEWHERE, 1, "IP address mismatch")])
    async def test_row_72_one_that_has_expired_or_is_anothers(
        self, authority: Authority, trusting: None, prober: Prober, *, host: str, days: int, says: str
    ) -> None:
        async with serving(await authority.certify(host, days=days)) as fake:
            answer = await prober.ask(self.health(fake.url), service("api"))
        assert (answer.held, answer.answers) == (None, None)
        assert says in answer.reason

    async def test_row_72_one_of_an_authority_that_nobody_knows(self, authority: Authority, prober: Prober) -> None:
        async with serving(await authority.certify()) as fake:
            answer = await prober.ask(self.health(fake.url), service("api"))
        assert answer.held is None
        assert "certificate" in answer.reason
