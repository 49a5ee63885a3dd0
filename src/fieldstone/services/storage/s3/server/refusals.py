"""What a failure is called towards the client, and what of it goes into the log only."""

from __future__ import annotations

import structlog

from fieldstone.errors import FieldstoneError, Retryable
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.s3.errors import ERRORS, S3Error

_log = structlog.get_logger("s3")
_OWN_WORDS = ("AccessDenied", "InvalidBucketState", "TooManyBuckets")


def refusal_of(error: Exception, request_id: str, asked: str) -> S3Error:
    """Return S3's error for a failure; one that is ours is logged as `asked`."""
    if isinstance(error, S3Error):
        return error
    if isinstance(error, CatalogFault):
        code = error.code if error.code in ERRORS else "InternalError"
        # the catalogue speaks of the current state; S3's own wording comes from the table
        return S3Error(code, error.detail if code in _OWN_WORDS else None, detail=error.fields)
    if isinstance(error, Retryable):
        _log.warning("slow_down", request_id=request_id, why=str(error))
        # what a database says of itself (hosts, users, paths) is for the log
        return S3Error("SlowDown", str(error) if error.__cause__ is None else None, headers={"Retry-After": "1"})
    trace = None if isinstance(error, FieldstoneError) else error
    _log.error(
        "request_failed", request_id=request_id, asked=asked, error=f"{type(error).__name__}: {error}", exc_info=trace
    )
    return S3Error("InternalError")
