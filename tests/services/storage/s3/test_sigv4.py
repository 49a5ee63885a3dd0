"""Signatures: Amazon's published examples, botocore as signer on requests nobody would think of, and attacks."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.s3 import bodies, sigv4
from fieldstone.services.storage.s3.dates import parse_basic_date, parse_http_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "s3_signatures.json").read_text())
KEY, SECRET = VECTORS["access_key"], VECTORS["secret_key"]
KEYS = {KEY: sigv4.Credential(KEY, SECRET), "temp": sigv4.Credential("temp", "hush", "token")}
DOMAINS = ("s3.amazonaws.com",)
VERIFIER = sigv4.Verifier(KEYS.get, base_domains=DOMAINS, allow_v2_header=True)
EXAMPLE_S = parse_basic_date("20130524T000000Z") or 0


def request_of(vector: dict[str, Any], **changed: str) -> Request:
    headers = {**vector["headers"], **changed}
    return Request(
        vector["method"],
        vector["path"].encode(),
        vector["query"].encode(),
        [(n.encode(), v.encode()) for n, v in headers.items()],
    )


def code_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(S3Error) as caught:
        call(*arguments)
    return caught.value.code


@pytest.mark.parametrize("vector", VECTORS["v4"], ids=lambda v: v["name"])
def test_published_examples(vector: dict[str, Any]) -> None:
    assert VERIFIER.verify(request_of(vector), EXAMPLE_S).access_key == KEY


@pytest.mark.parametrize("vector", VECTORS["v4"], ids=lambda v: v["name"])
def test_published_examples_fail_when_anything_changes(vector: dict[str, Any]) -> None:
    for changed in ({"path": vector["path"] + "x"}, {"method": "POST"}, {"query": vector["query"] + "&a=b"}):
        assert code_of(VERIFIER.verify, request_of({**vector, **changed}), EXAMPLE_S) == "SignatureDoesNotMatch"
    assert code_of(VERIFIER.verify, request_of(vector, host="other"), EXAMPLE_S) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("vector", VECTORS["v2"], ids=lambda v: v["name"])
def test_published_version_2_examples(vector: dict[str, Any]) -> None:
    now_s = parse_http_date(vector["headers"].get("date", "")) or 1175139619
    assert VERIFIER.verify(request_of(vector), now_s).access_key == KEY
    strict = sigv4.Verifier(KEYS.get, base_domains=DOMAINS, allow_v2_query=False)
    assert code_of(strict.verify, request_of(vector), now_s) == "InvalidRequest"


def chunked_body(vector: dict[str, Any]) -> bytes:
    body = b""
    for size, signature in vector["chunks"]:
        body += f"{size:x};chunk-signature={signature}\r\n".encode() + vector["byte"].encode() * size
        body += b"\r\n" if size else b""
    return body + vector["trailer"].encode() + b"\r\n"


@pytest.mark.parametrize("vector", VECTORS["chunked"], ids=lambda v: v["name"])
@pytest.mark.parametrize("piece_bytes", [1, 7, 8192, 10**6])
def test_published_chunked_examples(vector: dict[str, Any], piece_bytes: int) -> None:
    request = request_of(vector)
    identity = VERIFIER.verify(request, EXAMPLE_S)
    decoder = bodies.BodyDecoder(bodies.plan_body(request, identity))
    body, out = chunked_body(vector), b""
    for i in range(0, len(body), piece_bytes):
        out += b"".join(bytes(p) for p in decoder.feed(body[i : i + piece_bytes]))
    assert decoder.finish().size_bytes == 66560
    assert out == b"a" * 66560


# ---- botocore signs, we verify


def signed(
    method: str,
    path: str,
    parameters: list[tuple[str, str]],
    headers: dict[str, str],
    *,
    auth: str = "header",
    body: bytes = b"",
    keys: tuple[str, str, str | None] = (KEY, SECRET, None),
    region: str = "us-east-1",
) -> Request:
    """Sign as botocore does and hand over what would stand on the wire."""
    url = "http://gateway.example:9000" + quote(path, safe="/~")
    if parameters:
        url += "?" + "&".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in parameters)
    request = AWSRequest(method, url, headers=headers, data=body)
    signer = {"header": S3SigV4Auth, "query": S3SigV4QueryAuth}.get(auth)
    credentials = Credentials(*keys)
    (signer(credentials, "s3", region) if signer else HmacV1QueryAuth(credentials, expires=3600)).add_auth(request)
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    sent = [(n.lower().encode(), v.encode() if isinstance(v, str) else v) for n, v in prepared.headers.items()]
    if not any(n == b"host" for n, _ in sent):
        sent.append((b"host", parts.netloc.encode()))
    return Request(method, parts.path.encode(), parts.query.encode(), sent)


def as_wire(request: Request, **changes: Any) -> Request:
    """Return the request with parts replaced: `add` appends headers, as a relay would."""
    headers = [*request.headers.items(), *changes.pop("add", [])]
    return Request(
        changes.pop("method", request.method),
        changes.pop("raw_path", request.raw_path),
        changes.pop("raw_query", request.raw_query),
        changes.pop("headers", headers),
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\x00"), max_size=20)
PATHS = st.lists(
    st.one_of(st.sampled_from(["", ".", "..", "a b", "+", "%2F", "é", "日本", "?", "#", "~", "*'()"]), TEXT), max_size=5
)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@given(
    st.sampled_from(["GET", "PUT", "DELETE", "HEAD", "POST"]),
    PATHS,
    st.lists(
        st.tuples(st.one_of(st.sampled_from(["acl", "prefix", "uploadId", "x-id"]), TEXT.filter(bool)), TEXT),
        max_size=4,
    ),
    st.dictionaries(NAMES.map("x-amz-meta-{}".format), VALUES, max_size=3),
    st.sampled_from(["header", "query"]),
    st.binary(max_size=40),
)
def test_what_botocore_signs_is_accepted(
    method: str, path: list[str], parameters: list[tuple[str, str]], headers: dict[str, str], auth: str, body: bytes
) -> None:
    request = signed(
        method, "/bucket/" + "/".join(path), parameters, headers, auth=auth, body=body if auth == "header" else b""
    )
    identity = VERIFIER.verify(request, time.time())
    assert identity.access_key == KEY
    if auth == "header":
        request.headers.setdefault(b"content-length", b"%d" % len(body))
        decoder = bodies.BodyDecoder(bodies.plan_body(request, identity))
        decoder.feed(body)
        assert decoder.finish().size_bytes == len(body)


@given(PATHS, st.sampled_from(["header", "query"]), st.integers(0, 10**6))
def test_one_changed_byte_is_refused(path: list[str], auth: str, where: int) -> None:
    request = signed("GET", "/bucket/k" + "/".join(path), [("versionId", "1")], {}, auth=auth)
    position = where % (len(request.raw_path) - 1) + 1
    old = request.raw_path[position : position + 1]
    new = b"z" if old != b"z" else b"y"
    raw_path = request.raw_path[:position] + new + request.raw_path[position + 1 :]
    assert code_of(VERIFIER.verify, as_wire(request, raw_path=raw_path), time.time()) == "SignatureDoesNotMatch"


@given(
    PATHS,
    st.lists(
        st.tuples(st.sampled_from(["acl", "versionId", "uploads", "response-content-type", "prefix"]), TEXT),
        max_size=2,
        unique_by=lambda p: p[0],
    ),
)
def test_old_presigned_form_of_botocore_is_accepted(path: list[str], parameters: list[tuple[str, str]]) -> None:
    parameters = [(n, v or "1") for n, v in parameters]
    request = signed("GET", "/bucket/k" + "/".join(path), parameters, {}, auth="v2")
    assert VERIFIER.verify(request, time.time()).kind == "v2-presigned"


# ---- attacks


def test_an_unsigned_amz_header_is_refused() -> None:
    request = signed("PUT", "/bucket/key", [], {})
    for name in (b"x-amz-acl", b"x-amz-copy-source", b"x-amz-meta-a", b"content-md5", b"X-Amz-Tagging"):
        wire = as_wire(request, add=[(name, b"public-read")])
        assert code_of(VERIFIER.verify, wire, time.time()) == "AccessDenied"


def test_an_unsigned_amz_header_on_a_presigned_url_is_refused() -> None:
    request = signed("PUT", "/bucket/key", [], {}, auth="query")
    wire = as_wire(request, add=[(b"x-amz-acl", b"public-read")])
    assert code_of(VERIFIER.verify, wire, time.time()) == "AccessDenied"


def test_host_must_be_signed() -> None:
    request = signed("GET", "/bucket/key", [], {})
    value = request.headers[b"authorization"].replace(b"SignedHeaders=host;", b"SignedHeaders=")
    headers = [(n, value if n == b"authorization" else v) for n, v in request.headers.items()]
    assert code_of(VERIFIER.verify, as_wire(request, headers=headers), time.time()) == "AccessDenied"


@pytest.mark.parametrize("name", [b"host", b"authorization", b"x-amz-date", b"x-amz-content-sha256", b"content-length"])
def test_a_second_copy_of_a_deciding_header_is_refused(name: bytes) -> None:
    request = signed("PUT", "/bucket/key", [], {}, body=b"abc")
    headers = [*request.headers.items(), *([] if name in request.headers else [(name, b"3")]), (name.title(), b"4")]
    assert code_of(lambda: as_wire(request, headers=headers)) == "InvalidRequest"


def test_two_body_lengths_are_refused() -> None:
    headers = [(b"host", b"h"), (b"content-length", b"3"), (b"transfer-encoding", b"chunked")]
    assert code_of(lambda: Request("PUT", b"/b/k", b"", headers)) == "InvalidRequest"


def test_two_kinds_of_credentials_are_refused() -> None:
    presigned = signed("GET", "/bucket/key", [], {}, auth="query")
    header = signed("GET", "/bucket/key", [], {})
    both = as_wire(presigned, add=[(b"authorization", header.headers[b"authorization"])])
    assert code_of(VERIFIER.verify, both, time.time()) == "InvalidArgument"
    old = signed("GET", "/bucket/key", [], {}, auth="v2")
    mixed = as_wire(presigned, raw_query=presigned.raw_query + b"&" + old.raw_query)
    assert code_of(VERIFIER.verify, mixed, time.time()) == "InvalidArgument"


def test_a_clock_15_minutes_off_is_refused() -> None:
    request = signed("GET", "/bucket/key", [], {})
    for shift_s in (-901, 902):
        assert code_of(VERIFIER.verify, request, time.time() + shift_s) == "RequestTimeTooSkewed"
    assert VERIFIER.verify(request, time.time() + 890).access_key == KEY


@pytest.mark.parametrize("auth", ["query", "v2"])
def test_a_presigned_url_ends(auth: str) -> None:
    request = signed("GET", "/bucket/key", [], {}, auth=auth)
    assert VERIFIER.verify(request, time.time() + 3590).access_key == KEY
    assert code_of(VERIFIER.verify, request, time.time() + 3602) == "AccessDenied"


def test_a_presigned_url_is_not_valid_before_its_time() -> None:
    request = signed("GET", "/bucket/key", [], {}, auth="query")
    assert code_of(VERIFIER.verify, request, time.time() - 1000) == "AccessDenied"


@pytest.mark.parametrize("expires", ["604801", "-1", "1e3", "", "٣", "0x10", "99999999999999999999"])
def test_a_presigned_life_is_a_week_at_most(expires: str) -> None:
    request = signed("GET", "/bucket/key", [], {}, auth="query")
    query = request.raw_query.replace(b"X-Amz-Expires=3600", b"X-Amz-Expires=" + quote(expires).encode())
    assert query != request.raw_query
    assert (
        code_of(VERIFIER.verify, as_wire(request, raw_query=query), time.time()) == "AuthorizationQueryParametersError"
    )


def test_version_2_urls_cannot_outlive_a_week() -> None:
    request = signed("GET", "/bucket/key", [], {}, auth="v2")
    assert code_of(VERIFIER.verify, request, time.time() - 8 * 86400) == "AccessDenied"


def test_a_signature_parameter_cannot_be_given_twice() -> None:
    request = signed("GET", "/bucket/key", [], {}, auth="query")
    query = request.raw_query + b"&X-Amz-Expires=604800"
    assert (
        code_of(VERIFIER.verify, as_wire(request, raw_query=query), time.time()) == "AuthorizationQueryParametersError"
    )


def test_version_2_signs_the_virtual_hosts_bucket() -> None:
    """A URL for one bucket must not open the same key of another."""
    vector = next(v for v in VECTORS["v2"] if v["name"] == "query string")
    stolen = request_of(vector, host="other.s3.amazonaws.com")
    assert code_of(VERIFIER.verify, stolen, 1175139619) == "SignatureDoesNotMatch"


def test_temporary_keys_need_their_token() -> None:
    good = signed("GET", "/b/k", [], {}, keys=("temp", "hush", "token"))
    assert VERIFIER.verify(good, time.time()).access_key == "temp"
    for token in (None, "other"):
        bad = signed("GET", "/b/k", [], {}, keys=("temp", "hush", token))
        assert code_of(VERIFIER.verify, bad, time.time()) == "InvalidToken"
    stray = signed("GET", "/b/k", [], {}, keys=(KEY, SECRET, "token"))
    assert code_of(VERIFIER.verify, stray, time.time()) == "InvalidToken"


def test_unknown_keys_and_wrong_secrets() -> None:
    assert (
        code_of(VERIFIER.verify, signed("GET", "/b", [], {}, keys=("no", "x", None)), time.time())
        == "InvalidAccessKeyId"
    )
    assert (
        code_of(VERIFIER.verify, signed("GET", "/b", [], {}, keys=(KEY, "x", None)), time.time())
        == "SignatureDoesNotMatch"
    )


def test_the_region_is_checked_where_one_is_set() -> None:
    verifier = sigv4.Verifier(KEYS.get, regions=("here",))
    request = signed("GET", "/b", [], {}, region="there")
    with pytest.raises(S3Error) as caught:
        verifier.verify(request, time.time())
    assert (caught.value.code, caught.value.detail["Region"]) == ("AuthorizationHeaderMalformed", "here")
    assert verifier.verify(signed("GET", "/b", [], {}, region="here"), time.time()).access_key == KEY


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"/s3/", b"/iam/", "AuthorizationHeaderMalformed"),
        (b"aws4_request", b"aws5_request", "AuthorizationHeaderMalformed"),
        (b"SignedHeaders=host;", b"SignedHeaders=host;host;", "AuthorizationHeaderMalformed"),
        (b"Credential=", b"Credentials=", "AuthorizationHeaderMalformed"),
        (b"AWS4-HMAC-SHA256 ", b"Bearer ", "InvalidArgument"),
        (b"Signature=", b"Signature=\xff", "SignatureDoesNotMatch"),
    ],
)
def test_malformed_authorization(old: bytes, new: bytes, code: str) -> None:
    request = signed("GET", "/b/k", [], {})
    value = request.headers[b"authorization"].replace(old, new)
    headers = [(n, value if n == b"authorization" else v) for n, v in request.headers.items()]
    assert code_of(VERIFIER.verify, as_wire(request, headers=headers), time.time()) in (
        code,
        "AuthorizationHeaderMalformed",
    )


def test_the_scopes_date_is_that_of_the_request() -> None:
    vector = VECTORS["v4"][0]
    authorization = vector["headers"]["authorization"].replace("/20130524/", "/20130523/")
    assert (
        code_of(VERIFIER.verify, request_of(vector, authorization=authorization), EXAMPLE_S)
        == "AuthorizationHeaderMalformed"
    )


def test_nobody_is_anonymous_by_a_broken_header() -> None:
    for value in (b"", b" ", b"AWS4-HMAC-SHA256", b"Basic YTpi", b"AWS a"):
        request = Request("GET", b"/b/k", b"", [(b"host", b"h"), (b"authorization", value)])
        assert code_of(VERIFIER.verify, request, time.time())


def test_anonymous_requests() -> None:
    request = Request("GET", b"/b/k", b"", [(b"host", b"h")])
    assert VERIFIER.verify(request, 0).access_key is None


def test_the_payload_mode_is_of_the_closed_list() -> None:
    for value in ("STREAMING-NONSENSE", "abc", "e" * 65, "unsigned-payload", "e" * 63 + "g", ""):
        request = signed("PUT", "/b/k", [], {})
        request.headers[b"x-amz-content-sha256"] = value.encode()
        assert code_of(VERIFIER.verify, request, time.time()) == "InvalidArgument"
    request.headers[b"x-amz-content-sha256"] = b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
    assert code_of(VERIFIER.verify, request, time.time()) == "NotImplemented"


def test_headers_moved_into_a_presigned_url_count_as_headers() -> None:
    request = signed(
        "PUT", "/b/k", [("x-amz-acl", "public-read"), ("x-amz-checksum-crc32", "AAAAAA==")], {}, auth="query"
    )
    VERIFIER.verify(request, time.time())
    assert request.header("x-amz-acl") == "public-read"
    assert request.header("x-amz-checksum-crc32") is None


def test_a_path_signed_without_re_encoding_is_accepted() -> None:
    """Some clients sign `%2f` or `(` as they send them; both forms bind the same bytes."""
    now_s = int(time.time())
    timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    scope = f"{timestamp[:8]}/r/s3/aws4_request"
    headers = [
        (b"host", b"h"),
        (b"x-amz-date", timestamp.encode()),
        (b"x-amz-content-sha256", sigv4.EMPTY_SHA256.encode()),
    ]
    request = Request("GET", b"/b/(%c3%a9)", b"prefix=a+b", headers)
    names = ("host", "x-amz-content-sha256", "x-amz-date")
    key = sigv4.signing_key(SECRET, timestamp[:8], "r")
    for exact in (True, False):
        canonical = sigv4.canonical_request(request, names, sigv4.EMPTY_SHA256, exact=exact)
        signature = sigv4._sign(key, sigv4.string_to_sign(timestamp, scope, canonical))
        value = f"{sigv4.ALGORITHM} Credential={KEY}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
        assert VERIFIER.verify(as_wire(request, add=[(b"authorization", value.encode())]), now_s).access_key == KEY
