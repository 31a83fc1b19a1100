"""A small typed client of the daemon's API. What the daemon refuses becomes an error of `exits`, in the daemon's own words."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self, TypeVar, cast
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from rollbackd.cli.exits import BadRequestError, UnreachableError, WaitedTooLongError
from rollbackd.errors import MisconfiguredError, NotFoundError, RefusedError, RollbackdError, TemporaryError
from rollbackd.telemetry.redaction import register_secret
from rollbackd.web.shapes import (
    AuditPage,
    ChangePage,
    ChangeShape,
    DiagnosisShape,
    IncidentPage,
    IncidentRecord,
    PauseShape,
    PlanShape,
    ReleasePage,
    ReleaseShape,
    ResumedShape,
    RouteShape,
    ServicePage,
    StatusShape,
    TestedPage,
)

TIMEOUT: Final = timedelta(seconds=30)
TOKEN_VARIABLE: Final = "ROLLBACKD_TOKEN_FILE"  # noqa: S105 - the name of a variable

Answer = TypeVar("Answer")
Body = Mapping[str, object]


def ask(url: str, question: Callable[["Client"], Awaitable[Answer]], *, within: timedelta | None = None) -> Answer:
    """Run one question, or one conversation, with the daemon at `url`. Raises WaitedTooLongError when it takes longer than `within`."""

    async def conversation() -> Answer:
        try:
            async with asyncio.timeout(None if within is None else within.total_seconds()), Client(url, read_token()) as client:
                return await question(client)
        except TimeoutError as error:
            raise WaitedTooLongError("it has not ended in the time that was given: the daemon goes on, see 'rollbackd watch'") from error

    return asyncio.run(conversation())


def read_token(environment: Mapping[str, str] = os.environ) -> str | None:
    """The first line of the token file; None when there is none in the default place. Raises MisconfiguredError."""
    named = environment.get(TOKEN_VARIABLE)
    path = Path(named) if named else Path.home() / ".config" / "rollbackd" / "token"
    try:
        lines = path.read_text("utf-8").split()
    except FileNotFoundError:
        if not named:
            return None
        raise MisconfiguredError(f"there is no {path}: mend {TOKEN_VARIABLE}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MisconfiguredError(f"the token file {path} cannot be read: {error}") from error
    if not lines:
        raise MisconfiguredError(f"the token file {path} is empty")
    return register_secret(lines[0]).reveal()


class Client:
    def __init__(self, url: str, token: str | None) -> None:
        self._url = _checked(url)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT.total_seconds()),
            headers={"Authorization": f"Bearer {token}"} if token is not None else {},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def status(self) -> StatusShape:
        return await self._json(StatusShape, "GET", "status")

    async def doctor(self) -> DiagnosisShape:
        return await self._json(DiagnosisShape, "GET", "doctor")

    async def services(self) -> ServicePage:
        return await self._json(ServicePage, "GET", "services")

    async def incidents(self, query: Mapping[str, str]) -> IncidentPage:
        return await self._json(IncidentPage, "GET", "incidents", query=query)

    async def incident(self, incident_id: str) -> IncidentRecord:
        return await self._json(IncidentRecord, "GET", f"incidents/{_part(incident_id)}")

    async def report(self, incident_id: str, form: str) -> str:
        return (await self._request("GET", f"incidents/{_part(incident_id)}/report", query={"format": form})).decode()

    async def routes(self, labels: Mapping[str, str]) -> RouteShape:
        return await self._json(RouteShape, "GET", "routes", query=labels)

    async def decide(self, incident_id: str, what: str, body: Body) -> IncidentRecord:
        """`what` is approve, reject, abort or acknowledge."""
        return await self._json(IncidentRecord, "POST", f"incidents/{_part(incident_id)}/{what}", body=body)

    async def plan(self, service: str, to: str | None, runbook: str | None = None) -> PlanShape:
        query = {name: value for name, value in {"to": to, "runbook": runbook}.items() if value is not None}
        return await self._json(PlanShape, "GET", f"services/{_part(service)}/plan", query=query)

    async def run(self, service: str, body: Body) -> IncidentRecord:
        return await self._json(IncidentRecord, "POST", f"services/{_part(service)}/run", body=body)

    async def rollback(self, service: str, body: Body) -> IncidentRecord:
        return await self._json(IncidentRecord, "POST", f"services/{_part(service)}/rollback", body=body)

    async def pause(self, body: Body) -> PauseShape:
        return await self._json(PauseShape, "POST", "pause", body=body)

    async def resume(self, body: Body) -> ResumedShape:
        return await self._json(ResumedShape, "POST", "resume", body=body)

    async def notify_test(self, body: Body) -> TestedPage:
        return await self._json(TestedPage, "POST", "notify/test", body=body)

    async def releases(self, service: str) -> ReleasePage:
        return await self._json(ReleasePage, "GET", "releases", query={"service": service})

    async def record_release(self, body: Body) -> ReleaseShape:
        return await self._json(ReleaseShape, "POST", "releases", body=body)

    async def changes(self, service: str) -> ChangePage:
        return await self._json(ChangePage, "GET", "changes", query={"service": service})

    async def audit(self, limit: int) -> AuditPage:
        return await self._json(AuditPage, "GET", "audit", query={"limit": str(limit)})

    async def record_change(self, body: Body) -> ChangeShape:
        return await self._json(ChangeShape, "POST", "changes", body=body)

    async def mark(self, service: str, version: str, body: Body) -> ReleaseShape:
        return await self._json(ReleaseShape, "POST", f"releases/{_part(service)}/{_part(version)}/mark", body=body)

    async def _json(
        self,
        shape: type[Answer],  # noqa: ARG002 - says which type is meant
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Answer:
        """`shape` is what the daemon answers with by its contract; that it is JSON at all is checked."""
        raw = await self._request(method, path, query=query, body=body)
        try:
            return cast("Answer", orjson.loads(raw))
        except orjson.JSONDecodeError as error:
            raise UnreachableError(f"{self._url} answers, but not as rollbackd: check --url or ROLLBACKD_URL") from error

    async def _request(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Body | None = None) -> bytes:
        address = URL(f"{self._url}/api/v1/{path}", encoded=True).with_query(query or {})
        try:
            async with self._session.request(method, address, json=body, allow_redirects=False) as response:
                raw = await response.read()
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            raise UnreachableError(f"no rollbackd answers at {self._url}: start it, or set --url or ROLLBACKD_URL") from error
        except aiohttp.ClientError as error:
            raise UnreachableError(f"{self._url} answers, but not as HTTP: check --url or ROLLBACKD_URL") from error
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            self._refuse(response.status, raw)
        return raw

    def _refuse(self, status: int, raw: bytes) -> NoReturn:
        """Raise what a problem of the daemon means here."""
        try:
            problem = orjson.loads(raw)
            detail, reason = str(problem["detail"]), str(problem.get("reason", ""))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise UnreachableError(f"{self._url} answers {status}, but not as rollbackd: check --url or ROLLBACKD_URL") from None
        match status:
            case HTTPStatus.UNAUTHORIZED:
                raise BadRequestError(f"{detail} (the token comes from {TOKEN_VARIABLE}, else ~/.config/rollbackd/token)")
            case HTTPStatus.NOT_FOUND:
                raise NotFoundError(detail)
            case HTTPStatus.CONFLICT:
                raise RefusedError(detail, reason=reason)
            case HTTPStatus.SERVICE_UNAVAILABLE:
                raise TemporaryError(detail)
            case _ if status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise BadRequestError(detail)
            case _:
                raise RollbackdError(detail)


def _checked(url: str) -> str:
    try:
        parsed = URL(url)
    except ValueError:
        parsed = URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise MisconfiguredError(f"{url!r} is not an address: write http://HOST:PORT", path="--url")
    return url.rstrip("/")


def _part(text: str) -> str:
    """One segment of a path, whatever it holds. A lone `.` or `..` would be taken for a step through the path."""
    return quote(text, safe="") if text.strip(".") else quote(text, safe="").replace(".", "%2E")
