"""Which bucket, key and operation a request names."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.s3 import addressing
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

DOMAINS = ("example.org", "s3.example.org")


def target(method: str, path: str, query: str = "", host: str = "127.0.0.1:9000", **headers: str) -> addressing.Target:
    pairs = [(b"host", host.encode()), *((n.replace("_", "-").encode(), v.encode()) for n, v in headers.items())]
    return addressing.target(Request(method, path.encode(), query.encode(), pairs), DOMAINS)


def refused(*arguments: str, **headers: str) -> str:
    with pytest.raises(S3Error) as caught:
        target(*arguments, **headers)
    return caught.value.code


@pytest.mark.parametrize(
    ("method", "path", "query", "operation"),
    [
        ("GET", "/", "", "ListBuckets"),
        ("GET", "/b", "", "ListObjects"),
        ("GET", "/b/", "list-type=2&prefix=a", "ListObjectsV2"),
        ("GET", "/b", "versions", "ListObjectVersions"),
        ("GET", "/b", "uploads=", "ListMultipartUploads"),
        ("PUT", "/b", "", "CreateBucket"),
        ("HEAD", "/b", "", "HeadBucket"),
        ("POST", "/b", "delete", "DeleteObjects"),
        ("POST", "/b/", "", "PostObject"),
        ("PUT", "/b", "object-lock", "PutObjectLockConfiguration"),
        ("GET", "/b/k", "x-id=GetObject", "GetObject"),
        ("GET", "/b/k", "versionId=1&partNumber=2", "GetObject"),
        ("GET", "/b/k", "uploadId=1", "ListParts"),
        ("PUT", "/b/k", "partNumber=1&uploadId=2", "UploadPart"),
        ("POST", "/b/k", "uploads", "CreateMultipartUpload"),
        ("POST", "/b/k", "uploadId=1", "CompleteMultipartUpload"),
        ("DELETE", "/b/k", "uploadId=1", "AbortMultipartUpload"),
        ("PUT", "/b/k", "legal-hold", "PutObjectLegalHold"),
        ("OPTIONS", "/b/k", "", "Preflight"),
    ],
)
def test_operations(method: str, path: str, query: str, operation: str) -> None:
    assert target(method, path, query).operation == operation
    assert operation in addressing.OPERATIONS


def test_a_copy_is_told_by_its_header() -> None:
    assert target("PUT", "/b/k", x_amz_copy_source="/c/k").operation == "CopyObject"
    assert target("PUT", "/b/k", "partNumber=1&uploadId=2", x_amz_copy_source="/c/k").operation == "UploadPartCopy"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("PATCH", "/b/k"), "MethodNotAllowed"),
        (("POST", "/b/k", "acl"), "MethodNotAllowed"),
        (("POST", "/"), "MethodNotAllowed"),
        (("GET", "/b", "acl&policy"), "InvalidRequest"),
        (("PUT", "/b/k", "uploadId=1"), "InvalidArgument"),
        (("GET", "/b/%zz"), "InvalidURI"),
        (("GET", "/b/%"), "InvalidURI"),
        (("GET", "/b/%ff"), "InvalidURI"),
        (("GET", "/b/%c0%ae"), "InvalidURI"),
        (("GET", "/b/%ed%a0%80"), "InvalidURI"),
        (("GET", "/b", "prefix=%ff"), "InvalidURI"),
        (("GET", "b/k"), "InvalidURI"),
        (("GET", "//k"), "InvalidBucketName"),
        (("GET", "/b/" + "a" * 1025), "KeyTooLongError"),
        (("GET", "/b/" + "%C3%A9" * 513), "KeyTooLongError"),
    ],
)
def test_refusals(arguments: tuple[str, ...], code: str) -> None:
    assert refused(*arguments) == code


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_any_key_comes_back_as_it_was(key: str) -> None:
    for host, path in (("h", f"/bucket/{quote(key)}"), ("bucket.example.org:9000", f"/{quote(key)}")):
        found = target("GET", path, host=host)
        assert (found.bucket, found.key) == ("bucket", key)


@pytest.mark.parametrize(
    "key",
    [
        "/",
        "//",
        "a//b",
        ".",
        "..",
        "../../etc/passwd",
        "a/./b",
        "a/../b",
        "?",
        "#",
        "\x00",
        "\x01",
        "%2F",
        "+",
        " ",
        "\\..\\",
    ],
)
def test_keys_are_not_paths(key: str) -> None:
    assert target("GET", "/bucket/" + quote(key)).key == key


def test_plus_is_plus_in_a_path_and_a_space_in_a_query() -> None:
    request = Request("GET", b"/b/a+b", b"prefix=a+b%2B", [])
    assert addressing.target(request).key == "a+b"
    assert request.parameter("prefix") == "a b+"


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("example.org", None),
        ("EXAMPLE.org:80", None),
        ("b.example.org", "b"),
        ("B.Example.Org:443", "b"),
        ("a.b.example.org", "a.b"),
        ("b.s3.example.org", "b"),
        ("s3.example.org", None),
        ("b.example.org.", "b"),
        ("evilexample.org", None),
        ("[::1]:9000", None),
        ("10.0.0.1", None),
        ("", None),
    ],
)
def test_the_bucket_of_a_host(host: str, bucket: str | None) -> None:
    assert addressing.bucket_of_host(host, DOMAINS) == bucket


def test_the_absolute_form_of_a_request() -> None:
    assert target("GET", "http://h/b/k").key == "k"
    assert target("GET", "http://h").operation == "ListBuckets"


@pytest.mark.parametrize("name", ["abc", "a-b", "a.b", "1ab", "a" * 63, "my-bucket.v2"])
def test_good_bucket_names(name: str) -> None:
    addressing.check_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "ab", "a" * 64, "Abc", "a_b", "-ab", "ab-", ".ab", "ab.", "a..b", "a.-b", "a-.b", "192.168.5.4", "xn--abc", "abc-s3alias", "a/b", "é" * 5, "abc\n"],
)  # fmt: skip
def test_bad_bucket_names(name: str) -> None:
    with pytest.raises(S3Error, match="InvalidBucketName"):
        addressing.check_bucket_name(name)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/b/k", ("b", "k", None)),
        ("b/k/l", ("b", "k/l", None)),
        ("b/a%20b%3FversionId=1", ("b", "a b?versionId=1", None)),
        ("/b/k?versionId=v%31", ("b", "k", "v1")),
        ("b//k", ("b", "/k", None)),
        ("/b/%C3%A9", ("b", "é", None)),
        ("/b/é", ("b", "é", None)),
    ],
)
def test_copy_sources(value: str, expected: tuple[str, str, str | None]) -> None:
    assert addressing.copy_source(value) == expected


@pytest.mark.parametrize("value", ["", "/", "b", "b/", "//k", "b/%zz"])
def test_bad_copy_sources(value: str) -> None:
    with pytest.raises(S3Error):
        addressing.copy_source(value)


def test_limits_of_a_request() -> None:
    with pytest.raises(S3Error, match="RequestHeaderSectionTooLarge"):
        Request("GET", b"/", b"", [(b"x-amz-meta-a", b"a" * 70000)])
    with pytest.raises(S3Error, match="InvalidURI"):
        _ = Request("GET", b"/", b"a&" * 300, []).query
    for value in (b"a\r\nb: c", b"a\x00"):
        with pytest.raises(S3Error, match="InvalidRequest"):
            Request("GET", b"/", b"", [(b"x-a", value)])
