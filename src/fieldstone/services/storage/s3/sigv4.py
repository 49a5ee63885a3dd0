"""Who sent a request: AWS Signature Version 4 in the header and in the query, and anonymous requests.

Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)". The older version 2 is in `sigv2`.
Order of the checks: shape of the credentials, time, signed headers, then the signature in constant time. A wrong
signature and an unknown key cost the same single HMAC chain at most; nothing of the body is read before.

What a signature must cover here: `host`, and every `x-amz-*` and `content-md5` header of the request. Otherwise a
relay could add an ACL, a copy source or a lock to somebody's signed request.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Literal
from urllib.parse import unquote_to_bytes

from fieldstone.services.storage.s3 import sigv2
from fieldstone.services.storage.s3.dates import parse_basic_date, parse_http_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request, percent_encode, raw_pairs

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SKEW_S = 15 * 60
MAX_PRESIGNED_S = 7 * 24 * 3600
EMPTY_SHA256 = sha256(b"").hexdigest()

UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING = frozenset({STREAMING_UNSIGNED_TRAILER, STREAMING_SIGNED, STREAMING_SIGNED_TRAILER})

Kind = Literal["anonymous", "v4", "v4-presigned", "v2", "v2-presigned", "post"]

_HEX64 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<credential>[^,\s]+)\s*,\s*SignedHeaders=(?P<signed>[^,\s]+)\s*,"
    r"\s*Signature=(?P<signature>[^,\s]+)\s*",
    re.ASCII,
)
REGION = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_PLAIN_PATH = re.compile(rb"[A-Za-z0-9/_.~-]*")
_SPACES = re.compile(rb"[ \t]+")
_MUST_SIGN = (b"x-amz-", b"content-md5")


@dataclass(frozen=True, slots=True)
class Credential:
    """One access key. `session_token` is what a temporary key's requests must carry."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


Lookup = Callable[[str], Credential | None]
"""Access key id → its credential, None where unknown. Called once per request; keep it in memory."""


@dataclass(frozen=True, slots=True)
class ChunkKey:
    """What the signatures of body chunks hang on: the signing key, the request's time and scope, its own signature."""

    signing_key: bytes = field(repr=False)
    timestamp: str
    scope: str
    seed_signature: str
    access_key: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a request. `access_key` None: anonymous.

    `payload` is the mode or the hex SHA-256 of the body. Outside version 4 in the header nothing checks its form: what is
    no mode there is a digest that no body has, as S3 treats it.
    """

    access_key: str | None
    kind: Kind
    payload: str
    chunk_key: ChunkKey | None = None


@dataclass(frozen=True, slots=True)
class _Claim:
    kind: Kind
    access_key: str
    date: str
    region: str
    timestamp: str
    signed: tuple[str, ...]
    signature: str
    payload: str
    token: str | None

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/s3/aws4_request"


@lru_cache(maxsize=65536)
def signing_key(secret_key: str, date: str, region: str, service: str = "s3") -> bytes:
    """Derive the key of one day, region and service: four HMACs, remembered because small requests come by thousands."""
    key = f"AWS4{secret_key}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


class Verifier:
    """Verify requests against access keys.

    `regions`: names accepted in scopes, empty for any. `base_domains`: for the bucket that version 2 signs.
    `allow_v2_query`: boto3 without `signature_version="s3v4"` still presigns so; `allow_v2_header`: off by default,
    version 2 in the header signs neither the query nor the body.
    """

    def __init__(
        self,
        lookup: Lookup,
        *,
        regions: tuple[str, ...] = (),
        base_domains: tuple[str, ...] = (),
        allow_v2_query: bool = True,
        allow_v2_header: bool = False,
    ) -> None:
        self._lookup = lookup
        self._regions = regions
        self._v2 = sigv2.Verifier(base_domains, allow_query=allow_v2_query, allow_header=allow_v2_header)

    def verify(self, request: Request, now_s: float) -> Identity:
        """Return who sent the request at Unix time `now_s`.

        Errors, all S3Error: AccessDenied (expired, headers not signed), AuthorizationHeaderMalformed,
        AuthorizationQueryParametersError, InvalidAccessKeyId, InvalidArgument (payload mode), InvalidRequest,
        InvalidToken, MissingSecurityHeader, RequestTimeTooSkewed, SignatureDoesNotMatch.
        """
        header = request.header("authorization")
        if header == "":  # it claims nothing, yet nobody who sends it means to be anonymous
            raise S3Error("AccessDenied")
        in_query = b"X-Amz-" in request.raw_query and request.parameter("X-Amz-Algorithm") is not None
        v2_query = b"AWSAccessKeyId=" in request.raw_query and b"Signature=" in request.raw_query
        if (header is not None) + in_query + v2_query > 1:
            raise S3Error(
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string"
                " parameter or the Authorization header should be specified",
            )
        if header is None and not in_query and not v2_query:
            return Identity(None, "anonymous", _stated_payload(request))
        if v2_query or (header is not None and header.startswith("AWS ")):
            found = self._v2.claim(request, now_s)
            credential = self._credential(found.access_key, found.token)
            self._v2.check(found, credential.secret_key)
            if found.kind == "v2-presigned":
                request.adopt_query_headers()
            return Identity(found.access_key, found.kind, _stated_payload(request))
        claim = _query_claim(request, now_s) if header is None else _header_claim(request, header, now_s)
        if self._regions and claim.region not in self._regions:
            code = "AuthorizationHeaderMalformed" if claim.kind == "v4" else "AuthorizationQueryParametersError"
            raise S3Error(
                code,
                f"The authorization is malformed; the region '{claim.region}' is wrong; expecting '{self._regions[0]}'",
                detail={"Region": self._regions[0]},
            )
        _require_signed(request, claim.signed)
        identity = self._check(request, claim, self._credential(claim.access_key, claim.token))
        if claim.kind == "v4-presigned":
            request.adopt_query_headers()
        return identity

    def _credential(self, access_key: str, token: str | None) -> Credential:
        credential = self._lookup(access_key)
        if credential is None:
            raise S3Error("InvalidAccessKeyId", detail={"AWSAccessKeyId": access_key})
        if not hmac.compare_digest((credential.session_token or "").encode(), (token or "").encode()):
            raise S3Error("InvalidToken")
        return credential

    def _check(self, request: Request, claim: _Claim, credential: Credential) -> Identity:
        key = signing_key(credential.secret_key, claim.date, claim.region)
        canonical = canonical_request(request, claim.signed, claim.payload, exact=False)
        signature = _sign(key, string_to_sign(claim.timestamp, claim.scope, canonical))
        if not hmac.compare_digest(signature.encode(), claim.signature.encode()):
            # Some clients sign path and query exactly as sent instead of re-encoded; both bind the same bytes.
            exact = canonical_request(request, claim.signed, claim.payload, exact=True)
            signature = _sign(key, string_to_sign(claim.timestamp, claim.scope, exact))
            if exact == canonical or not hmac.compare_digest(signature.encode(), claim.signature.encode()):
                raise S3Error(
                    "SignatureDoesNotMatch",
                    detail={
                        "AWSAccessKeyId": claim.access_key,
                        "StringToSign": string_to_sign(claim.timestamp, claim.scope, canonical).decode(),
                        "SignatureProvided": claim.signature,
                        "StringToSignBytes": string_to_sign(claim.timestamp, claim.scope, canonical).hex(" "),
                        "CanonicalRequest": canonical.decode("utf-8", "replace"),
                        "CanonicalRequestBytes": canonical.hex(" "),
                    },
                )
        chunk_key = None
        if claim.kind == "v4" and claim.payload in (STREAMING_SIGNED, STREAMING_SIGNED_TRAILER):
            chunk_key = ChunkKey(key, claim.timestamp, claim.scope, signature, claim.access_key)
        return Identity(claim.access_key, claim.kind, claim.payload, chunk_key)


def _sign(key: bytes, message: bytes) -> str:
    return hmac.digest(key, message, "sha256").hex()


def string_to_sign(timestamp: str, scope: str, canonical: bytes) -> bytes:
    """Return algorithm, time, scope and hash of the canonical request, a line each."""
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{sha256(canonical).hexdigest()}".encode()


def canonical_request(request: Request, signed: tuple[str, ...], payload: str, *, exact: bool) -> bytes:
    """Build the canonical request. `exact`: path and query escapes as they were sent, else decoded and encoded anew."""
    path = request.raw_path
    if not exact and not _PLAIN_PATH.fullmatch(path):
        path = percent_encode(unquote_to_bytes(path), keep_slash=True)
    pairs = [(n, v) for n, v in raw_pairs(request.raw_query) if n != b"X-Amz-Signature"]
    if not exact:
        pairs = [(_encoded_again(n), _encoded_again(v)) for n, v in pairs]
    query = b"&".join(n + b"=" + v for n, v in sorted(pairs))
    lines = [request.method.encode(), path, query]
    headers = request.headers
    for name in signed:
        value = headers.get(name.encode("latin-1"), b"").strip(b" \t")
        if b"  " in value or b"\t" in value:
            value = _SPACES.sub(b" ", value)
        lines.append(name.encode("latin-1") + b":" + value)
    lines += [b"", ";".join(signed).encode("latin-1"), payload.encode()]
    return b"\n".join(lines)


def _encoded_again(raw: bytes) -> bytes:
    return (
        percent_encode(unquote_to_bytes(raw.replace(b"+", b" ")))
        if not _PLAIN_PATH.fullmatch(raw) or b"/" in raw
        else raw
    )


def _header_claim(request: Request, header: str, now_s: float) -> _Claim:
    match = _HEADER.fullmatch(header)
    if match is None:
        if not header.startswith(ALGORITHM):
            raise S3Error("InvalidArgument", "Unsupported Authorization Type")
        raise S3Error("AuthorizationHeaderMalformed")
    access_key, date, region = _scope(match["credential"], "AuthorizationHeaderMalformed")
    timestamp, sent_s = _timestamp(request)
    if abs(now_s - sent_s) > MAX_SKEW_S:
        raise S3Error(
            "RequestTimeTooSkewed",
            detail={"RequestTime": timestamp, "MaxAllowedSkewMilliseconds": str(MAX_SKEW_S * 1000)},
        )
    if not timestamp.startswith(date):
        raise S3Error("AuthorizationHeaderMalformed", "Invalid credential date; it differs from the request's date.")
    if b"x-amz-content-sha256" not in request.headers:
        raise S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    return _Claim(
        "v4",
        access_key,
        date,
        region,
        timestamp,
        _signed_headers(match["signed"], "AuthorizationHeaderMalformed"),
        match["signature"],
        _checked_payload(_stated_payload(request)),
        request.header("x-amz-security-token"),
    )


def _query_claim(request: Request, now_s: float) -> _Claim:
    code = "AuthorizationQueryParametersError"
    names = [name for name, _ in request.query if name.startswith("X-Amz-")]
    if len(set(names)) != len(names):
        raise S3Error(code, "A signature parameter was sent more than once.")
    wanted = ("Algorithm", "Credential", "Signature", "Date", "SignedHeaders", "Expires")
    found = {name: request.parameter(f"X-Amz-{name}") for name in wanted}
    if any(not value for value in found.values()):
        raise S3Error(
            code,
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature,"
            " X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        )
    algorithm, credential, signature, timestamp, signed, expires = (found[name] or "" for name in wanted)
    if algorithm != ALGORITHM:
        raise S3Error(code, 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    access_key, date, region = _scope(credential, code)
    if not re.fullmatch(r"\d{1,9}", expires, re.ASCII):
        raise S3Error(code, "X-Amz-Expires should be a non-negative number")
    if int(expires) > MAX_PRESIGNED_S:
        raise S3Error(code, f"X-Amz-Expires must be less than a week (in seconds); that is {MAX_PRESIGNED_S}")
    sent_s = parse_basic_date(timestamp)
    if sent_s is None:
        raise S3Error(code, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    if not timestamp.startswith(date):
        raise S3Error(code, "Invalid credential date; it differs from X-Amz-Date.")
    if sent_s > now_s + MAX_SKEW_S:
        raise S3Error("AccessDenied", "Request is not valid yet")
    if now_s >= sent_s + int(expires):
        raise S3Error("AccessDenied", "Request has expired", detail={"X-Amz-Expires": expires})
    token = request.parameter("X-Amz-Security-Token")
    payload = request.parameter("X-Amz-Content-Sha256")
    return _Claim(
        "v4-presigned",
        access_key,
        date,
        region,
        timestamp,
        _signed_headers(signed, code),
        signature,
        payload if payload is not None else _stated_payload(request),
        token if token is not None else request.header("x-amz-security-token"),
    )


def _scope(credential: str, code: str) -> tuple[str, str, str]:
    """Split `key/20130524/us-east-1/s3/aws4_request`; an access key may itself hold slashes."""
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or not parts[0]:
        raise S3Error(code, "The Credential is malformed; expecting <access key>/YYYYMMDD/REGION/SERVICE/aws4_request.")
    access_key, date, region, service, terminator = parts
    if not re.fullmatch(r"\d{8}", date, re.ASCII):
        raise S3Error(code, "Invalid credential date; expecting yyyyMMdd.")
    if not REGION.fullmatch(region):  # whatever it is: it is remembered before the signature is checked
        raise S3Error(code, "The Credential is malformed; the region is none.")
    if service != "s3":
        raise S3Error(
            code, f"The Credential is malformed; incorrect service '{service}'. This endpoint belongs to 's3'."
        )
    if terminator != "aws4_request":
        raise S3Error(
            code, f"The Credential is malformed; incorrect terminal '{terminator}'; expecting 'aws4_request'."
        )
    return access_key, date, region


def _signed_headers(value: str, code: str) -> tuple[str, ...]:
    names = tuple(value.split(";"))
    if list(names) != sorted(set(names)) or any(n != n.lower() or not n for n in names):
        raise S3Error(code, "SignedHeaders must be lower case, sorted and without repetition.")
    return names


def _timestamp(request: Request) -> tuple[str, int]:
    """Return the request's time as signed and as Unix seconds, from X-Amz-Date or else Date."""
    value = request.header("x-amz-date")
    if value is None:
        value = request.header("date")
        seconds = parse_http_date(value) if value else None
        if value and seconds is None:
            seconds = parse_basic_date(value)
        if seconds is not None and seconds >= 0:
            return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds)), seconds
    elif (seconds := parse_basic_date(value)) is not None:
        return value, seconds
    raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")


def _require_signed(request: Request, signed: tuple[str, ...]) -> None:
    names = {name.encode("latin-1") for name in signed}
    missing = [n for n in request.headers if n.startswith(_MUST_SIGN) and n not in names]
    if b"host" not in names:
        missing.append(b"host")
    if missing:
        raise S3Error(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            detail={"HeadersNotSigned": ", ".join(sorted(n.decode("latin-1") for n in missing))},
        )


def _stated_payload(request: Request) -> str:
    value = request.header("x-amz-content-sha256")
    return UNSIGNED if value is None else value


def _checked_payload(value: str) -> str:
    if value == UNSIGNED or value in STREAMING or _HEX64.fullmatch(value):
        return value
    if value.startswith("STREAMING-AWS4-ECDSA"):
        raise S3Error("NotImplemented", "Asymmetric signatures (SigV4A) are not supported.")
    raise S3Error(
        "InvalidArgument",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER,"
        " STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
        detail={"ArgumentName": "x-amz-content-sha256", "ArgumentValue": value},
    )
