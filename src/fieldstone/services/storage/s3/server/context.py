"""What a request gives to the conditions of a policy: keys in lower case, each with its values.

Source: AWS service authorization reference, "Condition keys for Amazon S3", and IAM user guide, "AWS global condition
context keys". `policy_conditions.check_keys` refuses policies that ask about anything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fieldstone.services.storage.catalog.rows import Account
from fieldstone.services.storage.s3 import tagging
from fieldstone.services.storage.s3.addressing import copy_source
from fieldstone.services.storage.s3.dates import iso_date, parse_basic_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.metadata import directive
from fieldstone.services.storage.s3.server.exchange import Call
from fieldstone.services.storage.s3.sigv4 import MAX_PRESIGNED_S

_QUERY_KEYS = {
    "prefix": "s3:prefix",
    "delimiter": "s3:delimiter",
    "max-keys": "s3:max-keys",
    "versionId": "s3:versionid",
}
_HEADER_KEYS = {
    "user-agent": "aws:useragent",
    "referer": "aws:referer",
    "if-match": "s3:if-match",
    "if-none-match": "s3:if-none-match",
}
_AUTH = {"v4-presigned": "REST-QUERY-STRING", "v2-presigned": "REST-QUERY-STRING", "post": "POST"}
# the operations of `s3:PutObject`, and whether they make an object
_CREATION = {
    "PutObject": "true", "PostObject": "true", "CopyObject": "true", "CompleteMultipartUpload": "true",
    "CreateMultipartUpload": "false", "UploadPart": "false", "UploadPartCopy": "false",
}  # fmt: skip


def arn_of(account: Account | None) -> str | None:
    """Return the ARN that a policy may name an account by; None for an anonymous caller."""
    return f"arn:aws:iam::{account.id}:user/{account.name}" if account else None


def context_of(call: Call, tags: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """Return what conditions may ask about. `tags`: of the object as it is."""
    request, owner = call.request, call.bucket.row.owner
    found: dict[str, Sequence[str]] = {
        "aws:sourceip": [call.remote],
        "aws:securetransport": ["true" if call.secure else "false"],
        "aws:currenttime": [iso_date(call.now_ms)],
        "aws:epochtime": [str(call.now_ms // 1000)],
        "aws:requestedregion": [call.gateway.options.region],
        "aws:resourceaccount": [owner],
        "aws:viaawsservice": ["false"],
        "aws:principalisawsservice": ["false"],
        "s3:resourceaccount": [owner],
        "s3:authtype": [_AUTH.get(call.identity.kind, "REST-HEADER")],
        "s3:signatureversion": ["AWS" if call.identity.kind.startswith("v2") else "AWS4-HMAC-SHA256"],
        "s3:x-amz-content-sha256": [call.identity.payload],
    }
    if call.account is not None:
        found["aws:username"] = [call.account.name]
        found["aws:userid"] = [call.account.id]
        found["aws:principalaccount"] = [call.account.id]
        found["aws:principalarn"] = [arn_of(call.account) or ""]
        found["aws:principaltype"] = ["Account"]
        found["s3:signatureage"] = [str(_signature_age_ms(call))]
    creation = _CREATION.get(call.target.operation)
    if creation is not None:
        found["s3:objectcreationoperation"] = [creation]
    for header, name in _HEADER_KEYS.items():
        value = request.header(header)
        if value is not None:
            found[name] = [value]
    for parameter, name in _QUERY_KEYS.items():
        value = request.parameter(parameter) if request.raw_query else None
        if value is not None:
            found[name] = [value]
    for raw in request.headers:
        if raw.startswith(b"x-amz-") and not raw.startswith(b"x-amz-meta-") and b"customer-key" not in raw:
            found.setdefault("s3:" + raw.decode("latin-1"), [request.header(raw.decode("latin-1")) or ""])
    source = request.header("x-amz-copy-source")
    if source is not None:
        found["s3:x-amz-copy-source"] = _spellings(source)
    pairs = _requested_tags(call)
    if pairs is not None:
        found |= _by_name("s3:requestobjecttag/", pairs)
        found["s3:requestobjecttagkeys"] = list(pairs)
    return found | _by_name("s3:existingobjecttag/", tags)


def _signature_age_ms(call: Call) -> int:
    """Return how long ago the request was signed. Version 2 in a URL does not say it: as old as one can be."""
    if call.identity.kind == "v2-presigned":
        return MAX_PRESIGNED_S * 1000
    stated = call.request.parameter("X-Amz-Date") if call.identity.kind == "v4-presigned" else None
    signed_s = parse_basic_date(stated or call.request.header("x-amz-date") or "")
    return 0 if signed_s is None else max(0, call.now_ms - signed_s * 1000)


def _requested_tags(call: Call) -> Mapping[str, str] | None:
    """Return the tags that the object will have by this request's word; a copy with its source's tags states none."""
    stated = call.request.header("x-amz-tagging")
    if stated is None:
        return call.stated_tags
    if call.target.operation == "CopyObject" and directive(call.request, "x-amz-tagging-directive") != "REPLACE":
        return None
    return tagging.parse_header(stated)


def _spellings(source: str) -> list[str]:
    """Return a copy's source as policies may spell it, however the request does: a rule must not hang on a slash."""
    try:
        bucket, key, _ = copy_source(source)
    except S3Error:
        return [source]
    return [f"{bucket}/{key}", f"/{bucket}/{key}"]


def _by_name(prefix: str, tags: Mapping[str, str]) -> dict[str, list[str]]:
    """Return tags as condition keys, where case does not count: names that differ in it share a key."""
    found: dict[str, list[str]] = {}
    for name, value in tags.items():
        found.setdefault(prefix + name.lower(), []).append(value)
    return found
