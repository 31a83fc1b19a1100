"""Who may ask for what: a token names a person, the person's role opens a route, everything else is refused with what to do.

A browser is the one caller that can be made to ask by somebody else: what changes something is refused when a foreign page sent it,
and without people the server answers only under a name of this machine (DNS rebinding).
"""

import base64
import binascii
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from enum import Enum, auto
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from rollbackd.errors import RollbackdError
from rollbackd.model.audit import FORBIDDEN, Caller
from rollbackd.settings.effective import Person, Role
from rollbackd.web.deps import DEPS, Deps

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NOBODY: Final = "anonymous"
_WRITTEN_EVERY: Final = timedelta(minutes=1)
_SHOWN: Final = 500  # characters of a path
_PERSON: Final[web.RequestKey[str]] = web.RequestKey("person", str)
_log: Final = structlog.get_logger("access")


class Access(Enum):
    OPEN = auto()
    INGEST = auto()  # the webhook knows its senders by itself
    RECORD = auto()
    READ = auto()
    CONSOLE = auto()  # as READ, but a browser may ask its user for the token
    DECIDE = auto()


OPENS: Final[Mapping[Access, frozenset[Role]]] = MappingProxyType({
    Access.INGEST: frozenset({Role.INGEST}),
    Access.RECORD: frozenset({Role.CI, Role.OPERATOR}),
    Access.READ: frozenset({Role.VIEWER, Role.OPERATOR}),
    Access.CONSOLE: frozenset({Role.VIEWER, Role.OPERATOR}),
    Access.DECIDE: frozenset({Role.OPERATOR}),
})  # fmt: skip


def guarded(handler: Handler, access: Access) -> Handler:
    """`handler`, reached only by whoever may."""
    if access in {Access.OPEN, Access.INGEST}:
        return handler

    async def checked(request: web.Request) -> web.StreamResponse:
        _refuse_foreign_pages(request)
        try:
            request[_PERSON] = _admit(request, access)
        except _WrongRoleError as refusal:
            await request.app[REFUSALS].write(request, refusal.person)
            raise web.HTTPForbidden(text=str(refusal)) from refusal
        return await handler(request)

    return checked


def caller(request: web.Request) -> Caller:
    """Who asks, for the audit."""
    return Caller(name=request[_PERSON], remote=request.remote or "")


class Refusals:
    """Puts into the audit who wanted to change something that their role does not open.

    Once a minute for each person and route, since nothing is ever deleted there and a token that leaked may ask without end (I14);
    the log has every one, and those of strangers only the log.
    """

    def __init__(self) -> None:
        self._written: dict[tuple[str, str], float] = {}

    async def write(self, request: web.Request, person: Person) -> None:
        deps, resource = request.app[DEPS], request.match_info.route.resource
        action = f"{request.method} {resource.canonical if resource is not None else ''}"
        now = deps.clock.monotonic()
        if request.method == "GET" or now - self._written.get((person.name, action), -math.inf) < _WRITTEN_EVERY.total_seconds():
            return
        self._written[person.name, action] = now
        try:
            subject, reason = request.path[:_SHOWN], f"{person.name} has the role {person.role}"
            await deps.store.audit.append(
                deps.clock.now(), person.name, action, subject, reason, remote=request.remote or "", result=FORBIDDEN
            )
        except RollbackdError as error:
            _log.warning("not_audited", person=person.name, action=action, error=str(error))


REFUSALS: Final[web.AppKey[Refusals]] = web.AppKey("refusals", Refusals)


class _WrongRoleError(Exception):
    def __init__(self, person: Person, needed: str) -> None:
        super().__init__(f"{person.name} has the role {person.role}: this needs {needed}")
        self.person = person


def _admit(request: web.Request, access: Access) -> str:
    """The caller's name. Raises 401 without a token that is known, _WrongRoleError for a role that does not open this."""
    deps = request.app[DEPS]
    people = deps.in_use.people()
    if not people:
        return _admit_to_open_server(request, deps, access)
    token = _token(request)
    person: Person | None = people.person(token) if token is not None else None
    if person is None:
        _log.warning("refused", status=401, path=request.path, remote=request.remote)
        raise web.HTTPUnauthorized(
            text="send the token of a person in 'auth.people': 'Authorization: Bearer TOKEN'",
            headers={"WWW-Authenticate": _challenge(access)},
        )
    if person.role not in OPENS[access]:
        _log.warning("refused", status=403, path=request.path, remote=request.remote, person=person.name, role=person.role)
        raise _WrongRoleError(person, " or ".join(sorted(OPENS[access])))
    return person.name


def _admit_to_open_server(request: web.Request, deps: Deps, access: Access) -> str:
    """Without people whoever reaches this machine's loopback may look and record; nobody may decide."""
    if access is Access.DECIDE:
        raise web.HTTPUnauthorized(
            text="nobody may decide yet: add a person with the role operator to 'auth.people' in the config",
            headers={"WWW-Authenticate": _challenge(access)},
        )
    host = _host(request.host)
    external = urlsplit(deps.in_use.settings().server.external_url or "").hostname
    if not (host in {"localhost", external} or _is_address(host)):
        _log.warning("refused", status=403, path=request.path, remote=request.remote, host=host)
        raise web.HTTPForbidden(
            text=f"without 'auth.people' this server is not {host[:100]}: use its address, or set 'server.external_url'"
        )
    return NOBODY


def _refuse_foreign_pages(request: web.Request) -> None:
    """A browser says where a request comes from; a client that is no browser says nothing and is let pass."""
    if request.method == "GET":
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    own = site in {"same-origin", "none"} if site is not None else origin is None or origin.partition("://")[2] == request.host
    if not own:
        _log.warning("refused", status=403, path=request.path, remote=request.remote, origin=origin, site=site)
        raise web.HTTPForbidden(text="another site's page asked for this: only rollbackd's own may")


def _token(request: web.Request) -> str | None:
    """From `Bearer TOKEN`; or, to look with a browser, the password of `Basic`."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic" if request.method == "GET":
            try:
                return base64.b64decode(value, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return None
        case _:
            return None


def _challenge(access: Access) -> str:
    return (
        'Basic realm="rollbackd: any name, the token as password", charset="UTF-8"'
        if access is Access.CONSOLE
        else 'Bearer realm="rollbackd"'
    )


def _host(text: str) -> str:
    """The name without its port. Raises 400 for what is not one."""
    try:
        return urlsplit(f"//{text}").hostname or ""
    except ValueError as error:
        raise web.HTTPBadRequest(text="the Host header is not a host") from error


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
