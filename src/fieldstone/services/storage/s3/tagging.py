"""Tags of objects (10) and buckets (50): from documents, from the `x-amz-tagging` header, and back.

Limits: Amazon S3 user guide, "Categorizing your storage using tags": key 128 characters, value 256, unique keys, letters,
digits, spaces and `+ - = . _ : / @`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from fieldstone.services.storage.s3 import xml
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import percent_decode, raw_pairs

MAX_OBJECT_TAGS, MAX_BUCKET_TAGS = 10, 50
MAX_KEY_CHARACTERS, MAX_VALUE_CHARACTERS = 128, 256


def check(pairs: list[tuple[str, str]], *, most: int = MAX_OBJECT_TAGS) -> dict[str, str]:
    """Return the tags in order of their keys' appearance. Errors: InvalidTag; BadRequest-like InvalidTag for too many."""
    if len(pairs) > most:
        raise S3Error("InvalidTag", f"Object tags cannot be greater than {most}")
    tags: dict[str, str] = {}
    for key, value in pairs:
        if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not _allowed(key) or key.lower().startswith("aws:"):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", detail={"TagKey": key})
        if len(value) > MAX_VALUE_CHARACTERS or not _allowed(value):
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid", detail={"TagKey": key})
        if key in tags:
            raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key", detail={"TagKey": key})
        tags[key] = value
    return tags


def _allowed(value: str) -> bool:
    return all(c in "_.:/=+-@" or unicodedata.category(c)[0] in "LNZM" for c in value)


def parse(document: bytes, *, most: int = MAX_OBJECT_TAGS) -> dict[str, str]:
    """Read a `Tagging` document. Errors: MalformedXML, InvalidTag."""
    node = xml.parse(document, "Tagging").child("TagSet")
    if node is None:
        raise S3Error("MalformedXML")
    node.only("Tag")
    pairs = []
    for tag in node.children:
        key, value = tag.child("Key"), tag.child("Value")
        if key is None or value is None:
            raise S3Error("MalformedXML")
        pairs.append((key.text, value.text))
    return check(pairs, most=most)


def parse_header(value: str) -> dict[str, str]:
    """Read `x-amz-tagging: k1=v1&k2=v2`, percent-encoded. Errors: InvalidArgument (form), InvalidTag."""
    try:
        pairs = [
            (percent_decode(k.replace(b"+", b" ")), percent_decode(v.replace(b"+", b" ")))
            for k, v in raw_pairs(value.encode())
        ]
    except S3Error:
        raise S3Error(
            "InvalidArgument",
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
        ) from None
    return check(pairs)


def write(tags: Mapping[str, str]) -> bytes:
    """Render a `Tagging` document, in order of the keys."""
    return xml.write("Tagging", [("TagSet", [("Tag", [("Key", k), ("Value", v)]) for k, v in sorted(tags.items())])])
