"""ListObjects, ListObjectsV2, ListObjectVersions, ListMultipartUploads: pages of the catalogue as documents."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any, TypedDict
from urllib.parse import unquote_plus

from fieldstone.services.storage.catalog.listing import list_objects, list_uploads, list_versions
from fieldstone.services.storage.catalog.rows import NULL_VERSION, Page, Version
from fieldstone.services.storage.s3 import xml
from fieldstone.services.storage.s3.dates import iso_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.server.exchange import Answer, Call

PAGE_LIMIT = 1_000
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def _limit(call: Call, name: str) -> int:
    value = call.request.parameter(name)
    if value is None or value == "":
        return PAGE_LIMIT
    if not (value.isascii() and value.isdigit()) or len(value) > 10 or int(value) > 2**31 - 1:
        raise S3Error(
            "InvalidArgument",
            f"Provided {name} not an integer or within integer range",
            detail={"ArgumentName": name, "ArgumentValue": value},
        )
    return int(value)


class _Bounds(TypedDict):
    prefix: bytes
    delimiter: bytes


class _Question:
    """What all listings ask alike, and how their names are written."""

    def __init__(self, call: Call, limit_name: str) -> None:
        request = call.request
        self.prefix = request.parameter("prefix") or ""
        self.delimiter = request.parameter("delimiter") or ""
        self.stated = _limit(call, limit_name)
        self.limit = min(self.stated, PAGE_LIMIT)
        self.encoding = request.parameter("encoding-type")
        if self.encoding not in (None, "", "url"):
            raise S3Error(
                "InvalidArgument",
                "Invalid Encoding Method specified in Request",
                detail={"ArgumentName": "encoding-type", "ArgumentValue": self.encoding or ""},
            )
        self.name: Callable[[str], str] = xml.url_encoded if self.encoding == "url" else str

    def key(self, key: bytes) -> str:
        return self.name(key.decode())

    def prefixes(self, page: Page) -> list[xml.Pair]:
        return [("CommonPrefixes", [("Prefix", self.key(prefix))]) for prefix in page.prefixes]

    def plain_prefix(self) -> str:
        """Return the prefix for version 1's answer: boto3 does not decode this one name, other SDKs do. So what decoding
        leaves alone, and XML can carry, is sent as it is."""
        same = unquote_plus(self.prefix) == self.prefix and not _NOT_XML.search(self.prefix)
        return self.prefix if same else self.name(self.prefix)

    def bounds(self) -> _Bounds:
        return {"prefix": self.prefix.encode(), "delimiter": self.delimiter.encode()}


def _owner(account_id: str, names: dict[str, str]) -> list[xml.Pair]:
    return [("ID", account_id), ("DisplayName", names.get(account_id, account_id))]


async def _names(call: Call, owners: set[str]) -> dict[str, str]:
    found = {owner: await call.gateway.account(owner) for owner in owners}
    return {owner: account.name for owner, account in found.items() if account is not None}


def _contents(question: _Question, row: Any, owner: xml.Content) -> xml.Pair:
    checksum = row.checksum.split(":") if row.checksum else None
    entry: list[xml.Pair] = [
        ("Key", question.key(row.key)),
        ("LastModified", iso_date(row.modified_ms)),
        ("ETag", f'"{row.etag}"'),
        ("ChecksumAlgorithm", checksum[0] if checksum else None),
        ("ChecksumType", checksum[1] if checksum else None),
        ("Size", row.size_bytes),
        ("Owner", owner),
        ("StorageClass", row.storage_class),
    ]
    return ("Contents", entry)


async def list_objects_v1(call: Call) -> Answer:
    """ListObjects."""
    question = _Question(call, "max-keys")
    marker = call.request.parameter("marker") or ""
    page = await call.gateway.store.read(
        lambda c: list_objects(c, call.bucket_id, after=marker.encode(), limit=question.limit, **question.bounds())
    )
    names = await _names(call, {row.owner for row in page.entries})
    following = question.key(page.next_key) if page.truncated else None
    document: list[xml.Pair] = [
        ("Name", call.bucket.row.name),
        ("Prefix", question.plain_prefix()),
        ("Marker", question.name(marker)),
        # without a delimiter clients take the last key; all of S3's answers that we know still name it when truncated
        ("NextMarker", following if question.delimiter else None),
        ("MaxKeys", question.stated if question.stated <= PAGE_LIMIT else PAGE_LIMIT),
        ("Delimiter", question.name(question.delimiter) if question.delimiter else None),
        ("IsTruncated", page.truncated),
        ("EncodingType", question.encoding or None),
        *(_contents(question, row, _owner(row.owner, names)) for row in page.entries),
        *question.prefixes(page),
    ]
    return Answer.document("ListBucketResult", document)


async def list_objects_v2(call: Call) -> Answer:
    """ListObjectsV2."""
    question = _Question(call, "max-keys")
    request = call.request
    token = request.parameter("continuation-token")
    start_after = request.parameter("start-after") or ""
    if token:  # an empty one is the start
        after = _open_token(token)
    else:
        after = start_after.encode()
    page = await call.gateway.store.read(
        lambda c: list_objects(c, call.bucket_id, after=after, limit=question.limit, **question.bounds())
    )
    names: dict[str, str] = {}
    fetch_owner = request.parameter("fetch-owner") == "true"
    if fetch_owner:
        names = await _names(call, {row.owner for row in page.entries})
    document: list[xml.Pair] = [
        ("Name", call.bucket.row.name),
        ("Prefix", question.name(question.prefix)),
        ("StartAfter", question.name(start_after) if start_after else None),
        ("ContinuationToken", token),
        ("NextContinuationToken", _token(page.next_key) if page.truncated else None),
        ("KeyCount", len(page.entries) + len(page.prefixes)),
        ("MaxKeys", question.limit),
        ("Delimiter", question.name(question.delimiter) if question.delimiter else None),
        ("IsTruncated", page.truncated),
        ("EncodingType", question.encoding or None),
        *(_contents(question, r, _owner(r.owner, names) if fetch_owner else None) for r in page.entries),
        *question.prefixes(page),
    ]
    return Answer.document("ListBucketResult", document)


async def list_object_versions(call: Call) -> Answer:
    """ListObjectVersions."""
    question = _Question(call, "max-keys")
    key_marker = call.request.parameter("key-marker") or ""
    version_marker = call.request.parameter("version-id-marker") or ""
    if version_marker and not key_marker:
        # a key marker that is there but empty is one that the version cannot belong to
        named = call.request.parameter("key-marker") is not None
        raise S3Error(
            "InvalidArgument",
            "Invalid version id specified"
            if named
            else "A version-id marker cannot be specified without a key marker.",
            detail={"ArgumentName": "version-id-marker", "ArgumentValue": version_marker},
        )
    page = await call.gateway.store.read(
        lambda c: list_versions(
            c,
            call.bucket_id,
            after=key_marker.encode(),
            after_version=version_marker,
            limit=question.limit,
            **question.bounds(),
        )
    )
    names = await _names(call, {version.owner for version in page.entries})
    last: Version | None = page.next_entry
    document: list[xml.Pair] = [
        ("Name", call.bucket.row.name),
        ("Prefix", question.name(question.prefix)),
        ("KeyMarker", question.name(key_marker)),
        ("VersionIdMarker", version_marker),
        ("NextKeyMarker", question.key(page.next_key) if page.truncated else None),
        ("NextVersionIdMarker", (last.version_id if last else NULL_VERSION) if page.truncated and last else None),
        ("MaxKeys", question.limit),
        ("Delimiter", question.name(question.delimiter) if question.delimiter else None),
        ("IsTruncated", page.truncated),
        ("EncodingType", question.encoding or None),
        *(_version(question, version, names) for version in page.entries),
        *question.prefixes(page),
    ]
    return Answer.document("ListVersionsResult", document)


def _version(question: _Question, version: Version, names: dict[str, str]) -> xml.Pair:
    head: list[xml.Pair] = [
        ("Key", question.key(version.key)),
        ("VersionId", version.version_id),
        ("IsLatest", version.is_current),
        ("LastModified", iso_date(version.modified_ms)),
    ]
    if version.marker:
        return ("DeleteMarker", [*head, ("Owner", _owner(version.owner, names))])
    checksum = version.checksum.split(":") if version.checksum else None
    rest: list[xml.Pair] = [
        ("ETag", f'"{version.etag}"'),
        ("ChecksumAlgorithm", checksum[0] if checksum else None),
        ("ChecksumType", checksum[1] if checksum else None),
        ("Size", version.size_bytes),
        ("Owner", _owner(version.owner, names)),
        ("StorageClass", version.storage_class),
    ]
    return ("Version", [*head, *rest])


async def list_multipart_uploads(call: Call) -> Answer:
    """ListMultipartUploads."""
    question = _Question(call, "max-uploads")
    key_marker = call.request.parameter("key-marker") or ""
    # S3 ignores an upload id without a key
    upload_marker = (call.request.parameter("upload-id-marker") or "") if key_marker else ""
    page = await call.gateway.store.read(
        lambda c: list_uploads(
            c,
            call.bucket_id,
            after=key_marker.encode(),
            after_upload=upload_marker,
            limit=question.limit,
            **question.bounds(),
        )
    )
    names = await _names(call, {row.initiator for row in page.entries})
    last = page.next_entry
    uploads: list[xml.Pair] = []
    for row in page.entries:
        entry: list[xml.Pair] = [
            ("Key", question.key(row.key)),
            ("UploadId", row.upload_id),
            ("Initiator", _owner(row.initiator, names)),
            ("Owner", _owner(row.initiator, names)),
            ("StorageClass", "STANDARD"),
            ("Initiated", iso_date(row.created_ms)),
            ("ChecksumAlgorithm", row.checksum_algorithm or None),
            ("ChecksumType", row.checksum_type or None),
        ]
        uploads.append(("Upload", entry))
    document: list[xml.Pair] = [
        ("Bucket", call.bucket.row.name),
        ("KeyMarker", question.name(key_marker)),
        ("UploadIdMarker", upload_marker),
        ("NextKeyMarker", question.key(page.next_key) if page.truncated else None),
        ("NextUploadIdMarker", last.upload_id if page.truncated and last is not None else None),
        ("Prefix", question.name(question.prefix)),
        ("Delimiter", question.name(question.delimiter) if question.delimiter else None),
        ("MaxUploads", question.limit),
        ("IsTruncated", page.truncated),
        ("EncodingType", question.encoding or None),
        *uploads,
        *question.prefixes(page),
    ]
    return Answer.document("ListMultipartUploadsResult", document)


def _token(key: bytes) -> str:
    return base64.urlsafe_b64encode(b"1" + key).decode()


def _open_token(token: str) -> bytes:
    try:
        opened = base64.urlsafe_b64decode(token)
        opened.decode()
    except (binascii.Error, ValueError):
        opened = b""
    if not opened.startswith(b"1"):
        raise S3Error(
            "InvalidArgument",
            "The continuation token provided is incorrect",
            detail={"ArgumentName": "continuation-token", "ArgumentValue": token},
        )
    return opened[1:]
