"""The one file that speaks `requests`: prometheus-api-client, held to one deadline, one size, and no redirect.

The library hands on the bare result. Whether that may be believed stands in what it drops, so a hook of the session reads each
response first: it refuses what is no clean answer, and keeps the warnings, the kind of result and the server's time.

Everything here blocks. It is for the threads of `client`, and imported by them: the import alone costs a sixth of a second.
"""

import http.client
import io
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import requests  # noqa: TID251 - this is the one place
from prometheus_api_client import PrometheusConnect
from requests.adapters import HTTPAdapter  # noqa: TID251 - as above
from requests.auth import AuthBase  # noqa: TID251 - as above
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Timeout

from rollbackd.clock import Clock, rfc3339
from rollbackd.errors import MisconfiguredError, PermanentError, TemporaryError
from rollbackd.prometheus.answer import AlertRule, Answer, Document, clock_offset, read_document, read_rules, read_series
from rollbackd.settings.effective import PrometheusServer
from rollbackd.settings.secrets import read_tokens
from rollbackd.telemetry.redaction import register_secret

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_MAX_TEXT_LENGTH: Final = 200
Read = Callable[[bytes], Document | tuple[AlertRule, ...]]
_ADVICE: Final = {
    401: "check its token_file",
    403: "check its token_file",
    404: "check its url",
}


class Transport:
    """Any number of threads may ask at once; each gets its answer, a TemporaryError or a PermanentError by its deadline.

    Only looking a host name up cannot be cut short: the system's resolver ends it.
    """

    def __init__(self, server: PrometheusServer, clock: Clock, *, connections: int) -> None:
        self._clock = clock
        self._server = f"Prometheus server {server.name} at {_address(server.url)}"
        self._seen = threading.local()  # what the hook saw of the one request that its thread makes
        session = requests.Session()
        session.trust_env = False  # no proxy, netrc or CA bundle that the config does not name
        session.verify = str(server.ca_file) if server.ca_file else True
        session.headers["Accept-Encoding"] = "identity"  # answers are short, and a compressed one may unpack to any size
        session.hooks["response"] = [self._on_response]
        self._session = session
        url = self._url = server.url.rstrip("/")
        auth = _BearerFile(server.token_file) if server.token_file else None
        self._library = PrometheusConnect(url, headers=dict(server.headers), auth=auth, session=session)
        session.mount(url, _Adapter(pool_maxsize=connections))  # in place of the library's own, which retries for ten seconds

    def query(self, expr: str, *, at: datetime, deadline: float) -> Answer:
        """`deadline` is on the clock of `time.monotonic()`."""
        params = {"time": rfc3339(at)}
        return self._ask(self._library.custom_query, expr, params=params, expected={"vector", "scalar"}, deadline=deadline)

    def query_range(self, expr: str, *, start: datetime, end: datetime, step: timedelta, deadline: float) -> Answer:
        params = {"start": rfc3339(start), "end": rfc3339(end)}  # the library would round its own to whole seconds
        arguments = (expr, start, end, f"{step.total_seconds():.3f}")
        return self._ask(self._library.custom_query_range, *arguments, params=params, expected={"matrix"}, deadline=deadline)

    def alert_rules(self, *, deadline: float) -> tuple[AlertRule, ...]:
        """The library has no question for this, so that its session is asked."""
        library, params = self._library, {"type": "alert", "exclude_alerts": "true"}
        url = f"{self._url}/api/v1/rules"

        def rules(*, params: dict[str, str], timeout: Any) -> None:
            self._session.get(url, params=params, headers=library.headers, auth=library.auth, timeout=timeout)

        self._send(rules, params=params, read=read_rules, deadline=deadline)
        found: tuple[AlertRule, ...] = self._seen.document
        return found

    def close(self) -> None:
        self._library.close()

    def _ask(self, call: Callable[..., Any], *arguments: object, params: dict[str, str], expected: set[str], deadline: float) -> Answer:
        sent_at = self._clock.now()
        result = self._send(call, *arguments, params=params, read=read_document, deadline=deadline)
        document, received_at, server_time = self._seen.document, self._seen.received_at, self._seen.server_time
        if document.result_type not in expected:
            raise PermanentError(f"{self._server} answered with a {document.result_type}: write a query that yields one number per series")
        try:
            series = read_series(document.result_type, result)
        except ValueError as error:
            raise PermanentError(f"{self._server}: {error}") from error
        return Answer(
            result_type=document.result_type,
            series=series,
            warnings=document.warnings,
            infos=document.infos,
            server_time=server_time,
            clock_offset=clock_offset(server_time, sent_at=sent_at, received_at=received_at) if server_time else None,
        )

    def _send(self, call: Callable[..., Any], *arguments: object, params: dict[str, str], read: Read, deadline: float) -> Any:
        """What `call` returns; what `read` made of the response is then in `_seen.document`."""
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise TemporaryError(f"{self._server} was not asked in time: too many queries are waiting")
        self._seen.read = read
        try:
            return call(*arguments, params={**params, "timeout": f"{seconds:.3f}"}, timeout=Timeout(total=seconds))
        except (requests.exceptions.InvalidHeader, UnicodeError):  # they quote what may be a secret
            raise MisconfiguredError(f"{self._server}: one of its headers has a character that no header may have") from None
        except OSError as error:  # the root of all that requests raises, and of a ca_file that is not there
            raise self._translated(error) from error

    def _on_response(self, response: requests.Response, **_: object) -> requests.Response:
        self._seen.received_at = self._clock.now()
        self._seen.server_time = _date(response)
        body = self._body(response)
        if response.status_code != http.HTTPStatus.OK:
            raise self._refusal(response, body)
        try:
            document = self._seen.document = self._seen.read(body)
        except ValueError as error:
            raise PermanentError(f"{self._server}: {error}; check its url") from error
        return _Decoded(document.result if isinstance(document, Document) else [])

    def _body(self, response: requests.Response) -> bytes:
        body = bytearray()
        with response:  # closes the connection unless all of it was read
            for chunk in response.iter_content(_CHUNK_BYTES):
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise PermanentError(f"{self._server} answered with over {MAX_BODY_BYTES >> 20} MiB: narrow the query")
        return bytes(body)

    def _refusal(self, response: requests.Response, body: bytes) -> TemporaryError | PermanentError:
        status = response.status_code
        if response.is_redirect:
            return PermanentError(f"{self._server} redirects ({status}): set its url to where it really is")
        advice = _ADVICE.get(status) or _error_text(body) or "it gave no reason"
        message = f"{self._server} answered {status}: {advice}"
        if status == http.HTTPStatus.TOO_MANY_REQUESTS or status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            return TemporaryError(message, retry_after=_retry_after(response))
        return PermanentError(message)

    def _translated(self, error: OSError) -> TemporaryError | PermanentError:
        root = _root(error)
        if isinstance(error, requests.Timeout) or isinstance(root, TimeoutError):
            return TemporaryError(f"{self._server} did not answer in time: is it overloaded, or its timeout too short?")
        if isinstance(error, requests.exceptions.SSLError):
            return PermanentError(f"{self._server} is not trusted, set its ca_file or renew its certificate: {_line(root)}")
        if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
            return TemporaryError(f"{self._server} cannot be reached, or broke off: {_line(root)}")
        return MisconfiguredError(f"{self._server} cannot be asked, check its url and ca_file: {type(error).__name__}")


class _Decoded(requests.Response):
    """What the library gets instead of the response: the body is read and decoded already."""

    def __init__(self, result: list[Any]) -> None:
        super().__init__()
        self.status_code = http.HTTPStatus.OK
        self.raw = io.BytesIO()
        self._document = {"data": {"result": result}}

    def json(self, **_: object) -> Any:
        return self._document


class _BearerFile(AuthBase):
    """Reads the token for each request, so that a rotated one holds at once; of two that are valid, the first."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {register_secret(read_tokens(self._path)[0]).reveal()}"
        return request


class _DeadlineReader(io.RawIOBase):
    """The bytes of a socket until one deadline for all of them.

    A socket's own timeout is for each read: a server that sends a byte a second never meets it, and would hold a thread for ever.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._sock = raw, sock
        self._deadline = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the response was not complete in time")
        self._sock.settimeout(seconds)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """Never retries; head and body of a response share one deadline."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


def _address(url: str) -> str:
    """Host and port, for messages: a url may carry a password (I13)."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        raise MisconfiguredError("the url of a Prometheus server is none, check its url") from None


def _date(response: requests.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return None


def _retry_after(response: requests.Response) -> timedelta | None:
    seconds = response.headers.get("Retry-After", "")
    return timedelta(seconds=int(seconds)) if seconds.isascii() and seconds.isdigit() and len(seconds) < 6 else None


def _error_text(body: bytes) -> str:
    """The sentence in which Prometheus says what was wrong, if it does."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return ""
    match document:
        case {"error": str(text)}:
            return _line(text)
        case _:
            return ""


def _line(text: object) -> str:
    """Text from outside as part of a message of one line (I11)."""
    return "".join(character if character.isprintable() else " " for character in str(text)[:_MAX_TEXT_LENGTH]).strip()


def _root(error: BaseException) -> BaseException:
    """What really happened, under the errors of two libraries."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
