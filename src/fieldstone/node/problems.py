"""How an error leaves the house over HTTP: `{code, detail, remedy}` with the right status, never a traceback."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from fieldstone.errors import FieldstoneError, Rejected, Retryable, UsageError

_log = structlog.get_logger("http")


def not_found(detail: str) -> HTTPException:
    """Return a 404 with a sentence that says what does not exist."""
    return HTTPException(404, detail)


def install(app: FastAPI) -> None:
    """Register the handlers on an app."""
    app.add_exception_handler(FieldstoneError, _fieldstone)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def answer(
    status: int, code: str, detail: str, remedy: str = "", headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return the one shape of an error."""
    return JSONResponse({"code": code, "detail": detail, "remedy": remedy}, status, headers)


async def _fieldstone(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Rejected):
        return answer(
            error.reason.http_status, error.reason.code, error.detail or error.reason.meaning, error.reason.remedy
        )
    if isinstance(error, Retryable):
        return answer(503, "UNAVAILABLE", str(error), "Try again later.", {"Retry-After": "2"})
    if isinstance(error, UsageError):
        return answer(422, "BAD_REQUEST", str(error))
    _log.error("request_failed", path=request.url.path, error=str(error))
    return answer(500, "INTERNAL", str(error), "Look at the node's log.")


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(str(part) for part in e['loc'][1:])}: {e['msg']}" for e in error.errors()]
    return answer(422, "BAD_REQUEST", "; ".join(faults)[:1000])


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 401: "UNAUTHORIZED"}.get(error.status_code, "HTTP_ERROR")
    return answer(error.status_code, code, str(error.detail), headers=dict(error.headers or {}))


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("unexpected_error", path=request.url.path, error=f"{type(error).__name__}: {error}", exc_info=error)
    return answer(500, "INTERNAL", "The node made a mistake; nothing was changed.", "Report it with the log's entry.")
