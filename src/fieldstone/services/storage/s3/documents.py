"""The request documents that belong to no single subject: deletions, completed parts, a new bucket's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from fieldstone.services.storage.s3 import checksums, xml
from fieldstone.services.storage.s3.checksums import Algorithm
from fieldstone.services.storage.s3.dates import parse_http_date, parse_iso_date
from fieldstone.services.storage.s3.errors import S3Error

MAX_DELETE_KEYS = 1000
MAX_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Deletion:
    """One object of a DeleteObjects; the conditions are those of `conditions.check_delete`."""

    key: str
    version_id: str | None = None
    etag: str | None = None
    modified_ms: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class CompletedPart:
    """One part a client names on completion. `checksums`: algorithm → base64 text as sent."""

    number: int
    etag: str
    checksums: dict[Algorithm, str] = field(default_factory=dict)


def parse_delete(document: bytes) -> tuple[tuple[Deletion, ...], bool]:
    """Read a `Delete` document: what to delete, and whether successes go unmentioned (Quiet).

    Errors: MalformedXML (also for none or more than 1,000 objects).
    """
    root = xml.parse(document, "Delete")
    objects = root.all("Object")
    if not 1 <= len(objects) <= MAX_DELETE_KEYS:
        raise S3Error("MalformedXML")
    return tuple(_deletion(node) for node in objects), xml.boolean(root.value("Quiet") or "false")


def _deletion(node: xml.Node) -> Deletion:
    key = node.child("Key")
    if key is None or not key.text:
        raise S3Error("MalformedXML")
    modified, size = node.value("LastModifiedTime"), node.value("Size")
    modified_ms: int | None = None
    if modified is not None:
        seconds = parse_http_date(modified)
        modified_ms = parse_iso_date(modified) if parse_iso_date(modified) is not None else seconds and seconds * 1000
        if modified_ms is None:
            raise S3Error("MalformedXML")
    version = node.value("VersionId")
    return Deletion(
        key.text, version or None, node.value("ETag"), modified_ms, None if size is None else xml.integer(size)
    )


def parse_complete(document: bytes) -> tuple[CompletedPart, ...]:
    """Read a `CompleteMultipartUpload` document.

    Errors: MalformedXML, InvalidPartOrder (part numbers not rising), InvalidArgument (part number out of 1…10,000).
    """
    try:
        root = xml.parse(document, ("CompleteMultipartUpload", "CompleteMultipartUploadRequest"))
    except S3Error as error:
        if error.code == "MissingRequestBodyError":
            raise S3Error("MalformedXML") from None
        raise
    nodes = root.all("Part")
    if not 1 <= len(nodes) <= MAX_PARTS:
        raise S3Error("MalformedXML")
    parts: list[CompletedPart] = []
    for node in nodes:
        number = part_number(node.required("PartNumber"))
        if parts and number <= parts[-1].number:
            raise S3Error("InvalidPartOrder")
        sums: dict[Algorithm, str] = {}
        for algorithm in checksums.DIGEST_BYTES:
            value = node.value(f"Checksum{algorithm}")
            if value is not None:
                checksums.decode(algorithm, value)
                sums[algorithm] = value
        parts.append(CompletedPart(number, node.required("ETag").removeprefix("W/").strip('"'), sums))
    return tuple(parts)


def part_number(value: str) -> int:
    """Return a part number of a request. Errors: InvalidArgument outside 1…10,000."""
    if not value.isascii() or not value.isdigit() or len(value) > 9 or not 1 <= int(value) <= MAX_PARTS:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive",
            detail={"ArgumentName": "partNumber", "ArgumentValue": value},
        )
    return int(value)


def parse_create_bucket(document: bytes) -> str | None:
    """Return the location a new bucket is asked for in, None where none is said. Errors: MalformedXML."""
    if not document.strip():
        return None
    return xml.parse(document, "CreateBucketConfiguration").value("LocationConstraint") or None
