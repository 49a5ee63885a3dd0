"""Headers stored with objects, tags, versions and locks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.s3 import metadata, object_lock, tagging, versioning
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.object_lock import DAY_MS, Retention
from fieldstone.services.storage.s3.wire import Request


def request(headers: dict[str, str], query: bytes = b"") -> Request:
    return Request("PUT", b"/b/k", query, [(n.encode(), v.encode()) for n, v in headers.items()])


def refused(call: object, *arguments: object, **options: object) -> str:
    with pytest.raises(S3Error) as caught:
        call(*arguments, **options)  # type: ignore[operator]
    return caught.value.code


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("gzip, aws-chunked", "gzip"),
        ("aws-chunked", ""),
        ("AWS-Chunked,gzip", "gzip"),
        ("gzip", "gzip"),
        ("aws-chunked, aws-chunked", ""),
        ("deflate, gzip", "deflate, gzip"),
    ],
)
def test_aws_chunked_is_not_stored(value: str, stored: str) -> None:
    assert metadata.stored_encoding(value) == stored
    assert metadata.object_headers(request({"content-encoding": value})).content.get("content-encoding", "") == stored


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=100).map(lambda s: s.strip(" \t")))
def test_user_metadata_comes_back_as_it_was(value: str) -> None:
    wire = metadata.encode_text(value)
    assert wire.isascii()
    assert "\n" not in wire
    if "=?" not in value:
        assert metadata.decode_text(wire) == value


def test_user_metadata_is_read_from_both_encodings() -> None:
    found = metadata.user_metadata(request({"x-amz-meta-Raw": "é", "x-amz-meta-word": "=?UTF-8?B?w6k=?="}))
    assert found == {"raw": "é", "word": "é"}
    assert metadata.response_headers(metadata.ObjectHeaders({}, found))["x-amz-meta-raw"].startswith("=?utf-8?")


def test_user_metadata_is_limited_to_2_kib() -> None:
    assert metadata.user_metadata(request({"x-amz-meta-a": "b" * 2047}))["a"]
    assert refused(metadata.user_metadata, request({"x-amz-meta-a": "b" * 2048})) == "MetadataTooLarge"
    assert refused(metadata.user_metadata, request({"x-amz-meta-a": "é" * 1024})) == "MetadataTooLarge"


def test_encoded_line_breaks_cannot_split_a_response() -> None:
    assert refused(metadata.user_metadata, request({"x-amz-meta-a": "=?UTF-8?B?YQ0KYjog?="})) == "InvalidArgument"
    splitting = request({}, b"response-content-disposition=a%0d%0aset-cookie:%20b")
    assert refused(metadata.overrides, splitting, anonymous=False) == "InvalidArgument"


def test_overrides_need_a_signature() -> None:
    asked = request({}, b"response-content-type=text/plain&response-expires=x&prefix=a")
    assert metadata.overrides(asked, anonymous=False) == {"content-type": "text/plain", "expires": "x"}
    assert refused(metadata.overrides, asked, anonymous=True) == "InvalidRequest"


def test_storage_classes_and_directives() -> None:
    assert metadata.storage_class(request({"x-amz-storage-class": "GLACIER"})) == "GLACIER"
    assert refused(metadata.storage_class, request({"x-amz-storage-class": "CHEAP"})) == "InvalidStorageClass"
    assert metadata.directive(request({}), "x-amz-metadata-directive") == "COPY"
    assert (
        refused(metadata.directive, request({"x-amz-metadata-directive": "x"}), "x-amz-metadata-directive")
        == "InvalidArgument"
    )


# ---- tags


def tags(*pairs: tuple[str, str]) -> bytes:
    inner = "".join(f"<Tag><Key>{k}</Key><Value>{v}</Value></Tag>" for k, v in pairs)
    return f"<Tagging><TagSet>{inner}</TagSet></Tagging>".encode()


def test_tags_come_back() -> None:
    wanted = {"a": "1", "clé": "été", "k.:/=+-@_": ""}
    assert tagging.parse(tagging.write(wanted)) == wanted
    assert tagging.parse_header("a=1&b%20c=%C3%A9&d=&e") == {"a": "1", "b c": "é", "d": "", "e": ""}
    assert tagging.parse(tags(*((f"k{i}", "v") for i in range(10))))
    assert len(tagging.parse(tags(*((f"k{i}", "v") for i in range(50))), most=50)) == 50


@pytest.mark.parametrize(
    "pairs",
    [
        [(f"k{i}", "v") for i in range(11)],
        [("a", "1"), ("a", "2")],
        [("", "1")],
        [("a" * 129, "1")],
        [("a", "1" * 257)],
        [("aws:x", "1")],
        [("a*", "1")],
        [("a", "{}")],
    ],
)
def test_bad_tags(pairs: list[tuple[str, str]]) -> None:
    assert refused(tagging.parse, tags(*pairs)) == "InvalidTag"


def test_bad_tag_documents() -> None:
    for document in (
        b"<Tagging/>",
        b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><X/></TagSet></Tagging>",
    ):
        assert refused(tagging.parse, document) == "MalformedXML"
    assert refused(tagging.parse_header, "a=%ff") == "InvalidArgument"
    assert refused(tagging.parse_header, "a=1&a=2") == "InvalidTag"


# ---- versions


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.binary(min_size=12, max_size=12))
def test_newer_version_ids_sort_first(first: int, second: int, random: bytes) -> None:
    a, b = versioning.version_id(first, random), versioning.version_id(second, random)
    assert (a > b) == (first < second)
    assert versioning.check_id(a) == a


def test_version_ids_of_requests() -> None:
    assert versioning.check_id("null") == "null"
    for bad in ("", "a b", "x" * 65, "'; drop", "é"):
        assert refused(versioning.check_id, bad) == "InvalidArgument"


def test_versioning_documents() -> None:
    for status in ("Enabled", "Suspended"):
        assert versioning.parse(versioning.write(status)) == status  # type: ignore[arg-type]
    assert b"Status" not in versioning.write("")
    bad = b"<VersioningConfiguration><Status>%s</Status></VersioningConfiguration>"
    assert refused(versioning.parse, bad % b"enabled") == "MalformedXML"
    assert refused(versioning.parse, b"<VersioningConfiguration/>") == "IllegalVersioningConfigurationException"
    mfa = b"<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>"
    assert refused(versioning.parse, mfa) == "NotImplemented"


# ---- locks

GOVERNANCE, COMPLIANCE = Retention("GOVERNANCE", 1000), Retention("COMPLIANCE", 1000)


@pytest.mark.parametrize(
    ("retention", "hold", "now_ms", "bypass", "expected"),
    [
        (None, False, 0, False, True),
        (None, True, 0, True, False),
        (GOVERNANCE, False, 999, False, False),
        (GOVERNANCE, False, 999, True, True),
        (GOVERNANCE, False, 1000, False, True),
        (GOVERNANCE, True, 2000, True, False),
        (COMPLIANCE, False, 999, True, False),
        (COMPLIANCE, False, 1000, False, True),
    ],
)
def test_removal(retention: Retention | None, hold: bool, now_ms: int, bypass: bool, expected: bool) -> None:
    assert object_lock.may_remove(retention, hold, now_ms, bypass=bypass) == expected


@pytest.mark.parametrize(
    ("old", "new", "bypass", "expected"),
    [
        (None, GOVERNANCE, False, True),
        (GOVERNANCE, Retention("GOVERNANCE", 2000), False, True),
        (GOVERNANCE, Retention("GOVERNANCE", 999), False, False),
        (GOVERNANCE, Retention("GOVERNANCE", 999), True, True),
        (GOVERNANCE, None, False, False),
        (GOVERNANCE, None, True, True),
        (GOVERNANCE, COMPLIANCE, False, False),
        (GOVERNANCE, COMPLIANCE, True, True),
        (COMPLIANCE, Retention("COMPLIANCE", 2000), False, True),
        (COMPLIANCE, Retention("COMPLIANCE", 999), True, False),
        (COMPLIANCE, Retention("GOVERNANCE", 9000), True, False),
        (COMPLIANCE, None, True, False),
    ],
)
def test_changes_of_retention(old: Retention | None, new: Retention | None, bypass: bool, expected: bool) -> None:
    assert object_lock.may_change(old, new, 500, bypass=bypass) == expected
    assert object_lock.may_change(old, new, 1000, bypass=False)  # it is over


def lock(days: str = "", years: str = "", mode: str = "GOVERNANCE", enabled: str = "Enabled") -> bytes:
    period = (f"<Days>{days}</Days>" if days else "") + (f"<Years>{years}</Years>" if years else "")
    rule = f"<Rule><DefaultRetention><Mode>{mode}</Mode>{period}</DefaultRetention></Rule>"
    return f"<ObjectLockConfiguration><ObjectLockEnabled>{enabled}</ObjectLockEnabled>{rule}</ObjectLockConfiguration>".encode()


def test_lock_configurations() -> None:
    found = object_lock.parse_configuration(lock(days="3"))
    assert found is not None
    assert found.retention(5) == Retention("GOVERNANCE", 5 + 3 * DAY_MS)
    assert object_lock.parse_configuration(object_lock.write_configuration(found)) == found
    assert object_lock.parse_configuration(object_lock.write_configuration(None)) is None
    years = object_lock.parse_configuration(lock(years="2", mode="COMPLIANCE"))
    assert years is not None
    assert years.retention(0).until_ms == 730 * DAY_MS


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (lock(days="0"), "InvalidRetentionPeriod"),
        (lock(years="-1"), "InvalidRetentionPeriod"),
        (lock(days="36501"), "InvalidRetentionPeriod"),
        (lock(days="1", years="1"), "MalformedXML"),
        (lock(), "MalformedXML"),
        (lock(days="1", mode="governance"), "MalformedXML"),
        (lock(days="1", enabled="Disabled"), "MalformedXML"),
    ],
)
def test_bad_lock_configurations(document: bytes, code: str) -> None:
    assert refused(object_lock.parse_configuration, document) == code


def test_retention_documents() -> None:
    wanted = Retention("COMPLIANCE", 2_000_000_000_000)
    assert object_lock.parse_retention(object_lock.write_retention(wanted), 0) == wanted
    assert object_lock.parse_retention(b"<Retention/>", 0) is None
    assert (
        refused(object_lock.parse_retention, object_lock.write_retention(wanted), wanted.until_ms) == "InvalidArgument"
    )
    assert (
        refused(
            object_lock.parse_retention,
            b"<Retention><Mode>abc</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate></Retention>",
            0,
        )
        == "MalformedXML"
    )
    assert refused(object_lock.parse_retention, b"<Retention><Mode>GOVERNANCE</Mode></Retention>", 0) == "MalformedXML"
    assert object_lock.parse_legal_hold(object_lock.write_legal_hold(True))
    assert refused(object_lock.parse_legal_hold, b"<LegalHold><Status>abc</Status></LegalHold>") == "MalformedXML"


def test_lock_headers() -> None:
    mode, until, hold = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold"
    date = "2033-05-18T03:33:20Z"
    assert object_lock.of_headers(request({mode: "GOVERNANCE", until: date, hold: "ON"}), 0) == (
        Retention("GOVERNANCE", 2_000_000_000_000),
        True,
    )
    assert object_lock.of_headers(request({}), 0) == (None, None)
    for headers in (
        {mode: "GOVERNANCE"},
        {until: date},
        {mode: "x", until: date},
        {mode: "GOVERNANCE", until: "x"},
        {mode: "GOVERNANCE", until: "1999-01-01"},
        {hold: "maybe"},
    ):
        assert refused(object_lock.of_headers, request(headers), 1_700_000_000_000) == "InvalidArgument"
