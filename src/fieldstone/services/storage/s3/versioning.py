"""Version ids and the versioning state of a bucket.

A version id sorts newest first within a key: inverted nanoseconds, then random bytes so that ids cannot be guessed.
"""

from __future__ import annotations

import base64
import re
from typing import Literal

from fieldstone.services.storage.s3 import xml
from fieldstone.services.storage.s3.errors import S3Error

Status = Literal["", "Enabled", "Suspended"]
NULL = "null"
"""The id of an object written while versioning was off or suspended."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def version_id(unix_ns: int, random: bytes) -> str:
    """Return a new id from the time and 12 random bytes. Ids of one key sort newest first, byte by byte."""
    inverted = (2**64 - 1 - unix_ns).to_bytes(8, "big")
    return base64.b32hexencode(inverted + random[:12]).decode().lower()


def check_id(value: str) -> str:
    """Return a version id of a request. Errors: InvalidArgument where it cannot be one."""
    if not _ID.fullmatch(value):
        raise S3Error(
            "InvalidArgument",
            "Invalid version id specified",
            detail={"ArgumentName": "versionId", "ArgumentValue": value},
        )
    return value


def parse(document: bytes) -> Status:
    """Read a `VersioningConfiguration`. Errors: MalformedXML, NotImplemented (MFA delete)."""
    node = xml.parse(document, "VersioningConfiguration")
    node.only("Status", "MfaDelete", "MFADelete")
    if (node.value("MfaDelete") or node.value("MFADelete") or "Disabled") != "Disabled":
        raise S3Error("NotImplemented", "MFA delete is not supported.")
    status = node.value("Status")
    if status == "Enabled":
        return "Enabled"
    if status == "Suspended":
        return "Suspended"
    raise S3Error("IllegalVersioningConfigurationException" if status is None else "MalformedXML")


def write(status: Status) -> bytes:
    """Render a `VersioningConfiguration`; empty where versioning was never turned on."""
    return xml.write("VersioningConfiguration", [("Status", status or None)])
