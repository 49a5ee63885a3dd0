"""Signature Version 2, which boto3 still presigns URLs with on custom endpoints.

Source: Amazon S3 user guide, "Signing and authenticating REST requests (AWS signature version 2)". It signs method, path,
sub-resources and `x-amz-*` headers, but neither other query parameters nor the host; a URL's life is capped at 7 days.
"""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass
from typing import Literal

from fieldstone.services.storage.s3.addressing import bucket_of_host
from fieldstone.services.storage.s3.dates import parse_basic_date, parse_http_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

MAX_SKEW_S = 15 * 60
MAX_LIFE_S = 7 * 24 * 3600

SIGNED_PARAMETERS = frozenset(
    {
        "accelerate", "acl", "cors", "defaultObjectAcl", "delete", "lifecycle", "location", "logging", "notification",
        "object-lock", "legal-hold", "retention", "partNumber", "policy", "policyStatus", "publicAccessBlock",
        "replication", "requestPayment", "restore", "select", "select-type", "tagging", "torrent", "uploadId", "uploads",
        "versionId", "versioning", "versions", "website", "encryption", "ownershipControls", "attributes",
        "response-cache-control", "response-content-disposition", "response-content-encoding",
        "response-content-language", "response-content-type", "response-expires",
    }
)  # fmt: skip
_CARRIED = ("content-md5", "content-type")
_BUCKET_PATH = re.compile(rb"/[^/]+")
_HEADER = re.compile(r"AWS ([^:\s]+):([A-Za-z0-9+/=]+)", re.ASCII)


def _amz(name: str) -> bool:
    return name.startswith("x-amz-")


@dataclass(frozen=True, slots=True)
class Claim:
    """A version-2 signature as claimed, with the strings that it may be over, the one by the rules first."""

    kind: Literal["v2", "v2-presigned"]
    access_key: str
    signature: str
    strings_to_sign: tuple[bytes, ...]
    token: str | None


class Verifier:
    """Version 2 against one secret; `allow_*` say which forms are on."""

    def __init__(self, base_domains: tuple[str, ...], *, allow_query: bool, allow_header: bool) -> None:
        self._base_domains = base_domains
        self._allow_query = allow_query
        self._allow_header = allow_header

    def claim(self, request: Request, now_s: float) -> Claim:
        """Read the claim and check its time. Errors: AccessDenied, InvalidArgument, InvalidRequest, RequestTimeTooSkewed."""
        header = request.header("authorization")
        allowed = self._allow_query if header is None else self._allow_header
        if not allowed:
            raise S3Error(
                "InvalidRequest",
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256"
                " (boto3: Config(signature_version='s3v4')).",
            )
        return self._query_claim(request, now_s) if header is None else self._header_claim(request, header, now_s)

    def _query_claim(self, request: Request, now_s: float) -> Claim:
        for name in ("AWSAccessKeyId", "Signature", "Expires"):
            if sum(n == name for n, _ in request.query) != 1:
                raise S3Error("AccessDenied", f"Query-string authentication needs the parameter {name} once.")
        expires = request.parameter("Expires") or ""
        if not re.fullmatch(r"\d{1,12}", expires, re.ASCII):
            raise S3Error("AccessDenied", "Invalid date (should be seconds since epoch): " + expires)
        if int(expires) < now_s:
            raise S3Error("AccessDenied", "Request has expired", detail={"Expires": expires})
        if int(expires) > now_s + MAX_LIFE_S + MAX_SKEW_S:
            raise S3Error("AccessDenied", f"Expires must be less than a week ({MAX_LIFE_S} s) ahead.")
        return Claim(
            "v2-presigned",
            request.parameter("AWSAccessKeyId") or "",
            request.parameter("Signature") or "",
            self._strings(request, expires),
            request.parameter("x-amz-security-token") or request.header("x-amz-security-token"),
        )

    def _header_claim(self, request: Request, header: str, now_s: float) -> Claim:
        match = _HEADER.fullmatch(header)
        if match is None:
            raise S3Error("InvalidArgument", "AWS authorization header is invalid. Expected AwsAccessKeyId:signature")
        amz_date, date = request.header("x-amz-date"), request.header("date")
        value = (date or "") if amz_date is None else amz_date  # an empty x-amz-date is no date, whatever Date says
        sent_s = parse_http_date(value)
        if sent_s is None:
            sent_s = parse_basic_date(value)
        if sent_s is None or sent_s < 0:  # a date before 1970 is none to S3
            raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
        if abs(now_s - sent_s) > MAX_SKEW_S:
            raise S3Error("RequestTimeTooSkewed", detail={"RequestTime": value})
        strings = self._strings(request, "" if amz_date is not None else date or "")
        return Claim("v2", match[1], match[2], strings, request.header("x-amz-security-token"))

    def check(self, claim: Claim, secret_key: str) -> None:
        """Errors: SignatureDoesNotMatch."""
        for string in claim.strings_to_sign:
            wanted = base64.b64encode(hmac.digest(secret_key.encode(), string, "sha1"))
            if hmac.compare_digest(wanted, claim.signature.encode()):
                return
        raise S3Error(
            "SignatureDoesNotMatch",
            detail={
                "AWSAccessKeyId": claim.access_key,
                "StringToSign": claim.strings_to_sign[0].decode("utf-8", "replace"),
                "SignatureProvided": claim.signature,
            },
        )

    def _strings(self, request: Request, date: str) -> tuple[bytes, ...]:
        # A presigned URL may carry headers as parameters; version 2 signs them as the headers they stand for.
        carried = {n.encode(): v.encode() for n, v in request.query if n in _CARRIED or _amz(n)}
        headers = carried | request.headers if request.header("authorization") is None else request.headers
        amz = sorted((name, value) for name, value in headers.items() if name.startswith(b"x-amz-"))
        top = [
            request.method.encode(),
            headers.get(b"content-md5", b"").strip(),
            headers.get(b"content-type", b"").strip(),
            date.encode(),
            *(name + b":" + b" ".join(value.split()) for name, value in amz),
        ]
        parameters = sorted((n, v) for n, v in request.query if n in SIGNED_PARAMETERS)
        listed = "&".join(f"{n}={v}" if v else n for n, v in parameters).encode()
        # The version 2 rules take a virtual host's bucket into the resource, whatever the host's domain.
        bucket = bucket_of_host(request.header("host") or "", self._base_domains) if self._base_domains else None
        prefix = f"/{bucket}".encode() if bucket else b""
        paths = [prefix + request.raw_path]
        if not bucket and _BUCKET_PATH.fullmatch(request.raw_path):
            paths.append(request.raw_path + b"/")  # botocore signs a bucket's URL so, whatever it sends
        tail = b"?" + listed if listed else b""
        return tuple(b"\n".join([*top, path + tail]) for path in paths)
