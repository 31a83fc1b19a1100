"""Every error that a client sees is one `application/problem+json` that says what to do; a traceback goes to the log and nowhere else."""

import math
from datetime import timedelta
from http import HTTPStatus
from typing import Final

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from rollbackd.errors import MisconfiguredError, NotFoundError, RefusedError, RollbackdError, TemporaryError
from rollbackd.settings.problems import InvalidConfigError
from rollbackd.telemetry.redaction import harmless_data
from rollbackd.web import config

CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = timedelta(seconds=5)

_log = structlog.get_logger(__name__)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Translate what a handler raises: the families of `errors`, aiohttp's own refusals, and the bug that nobody foresaw."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        if refusal.status < HTTPStatus.BAD_REQUEST:
            raise
        return _of_refusal(request, refusal)
    except RollbackdError as error:
        return _of_family(error)
    except ConnectionResetError:
        raise  # the client is gone: nobody is there to read a problem
    except Exception as error:
        _log.exception("request_failed", method=request.method, path=request.path)
        raise web.HTTPInternalServerError(
            body=_body(HTTPStatus.INTERNAL_SERVER_ERROR, "an error in rollbackd: its log says more", {}), content_type=CONTENT_TYPE
        ) from error


def problem(status: HTTPStatus, detail: str, *, headers: dict[str, str] | None = None, **members: object) -> web.Response:
    """RFC 9457; `members` are extension members, such as the reason code of a refusal."""
    return web.Response(status=status, body=_body(status, detail, members), headers=headers, content_type=CONTENT_TYPE)


def _of_family(error: RollbackdError) -> web.Response:
    match error:
        case NotFoundError():
            return problem(HTTPStatus.NOT_FOUND, str(error))
        case RefusedError():
            return problem(HTTPStatus.CONFLICT, str(error), reason=error.reason)
        case InvalidConfigError():
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), problems=[config.place(one) for one in error.problems])
        case MisconfiguredError():
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        case TemporaryError():
            seconds = math.ceil((error.retry_after or RETRY_AFTER).total_seconds())
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers={"Retry-After": str(seconds)})
        case _:
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))


def _of_refusal(request: web.Request, refusal: web.HTTPException) -> web.Response:
    kept = {name: value for name, value in refusal.headers.items() if name in {"Allow", "WWW-Authenticate", "Retry-After"}}
    match refusal:
        case web.HTTPNotFound():
            detail = f"there is nothing at {request.path}"
        case web.HTTPMethodNotAllowed():
            detail = f"{request.method} is not for {request.path}: use {' or '.join(sorted(refusal.allowed_methods))}"
        case web.HTTPRequestEntityTooLarge():
            detail = f"the body is too large: {refusal.text}"
        case _:
            detail = refusal.text or refusal.reason
    return problem(HTTPStatus(refusal.status), detail, headers=kept)


def _body(status: HTTPStatus, detail: str, members: dict[str, object]) -> bytes:
    return orjson.dumps(harmless_data({"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail, **members}))
