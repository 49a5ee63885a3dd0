"""CORS: headers of ordinary answers, and the answer to a preflight, by the rules of the bucket."""

from __future__ import annotations

from fieldstone.services.storage.s3 import cors
from fieldstone.services.storage.s3.server.exchange import Answer, Call, Headers


def cross_origin_headers(call: Call) -> Headers:
    """Return the CORS headers of an answer to a request with an Origin; none where no rule fits."""
    rules = call.bucket.setting("cors", cors.parse)
    origin = call.header("origin")
    if rules is None or not origin:
        return []
    # browsers send the header in preflights alone; who sends it otherwise asks what that method would be answered
    method = call.header("access-control-request-method") or call.request.method
    rule = cors.find(rules, origin, method)
    return _encoded(cors.response_headers(rule, origin, method)) if rule is not None else []


async def preflight(call: Call) -> Answer:
    """Answer OPTIONS. A preflight carries no credentials."""
    rules = call.bucket.setting("cors", cors.parse) if call.view is not None else None
    headers = cors.preflight(
        rules,
        call.header("origin"),
        call.header("access-control-request-method"),
        call.header("access-control-request-headers"),
    )
    return Answer(200, _encoded(headers))


def _encoded(headers: dict[str, str]) -> Headers:
    return [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
