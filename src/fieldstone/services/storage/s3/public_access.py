"""Public access block and object ownership: the two settings that switch ACLs and public policies off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fieldstone.services.storage.s3 import xml
from fieldstone.services.storage.s3.errors import S3Error

Ownership = Literal["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"]
_OWNERSHIPS: tuple[Ownership, ...] = ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter")


@dataclass(frozen=True, slots=True)
class PublicAccessBlock:
    """`block_*` refuse to store what would make public; `ignore_acls`, `restrict_buckets` take its effect away."""

    block_acls: bool = False
    ignore_acls: bool = False
    block_policy: bool = False
    restrict_buckets: bool = False


_FIELDS = {
    "BlockPublicAcls": "block_acls",
    "IgnorePublicAcls": "ignore_acls",
    "BlockPublicPolicy": "block_policy",
    "RestrictPublicBuckets": "restrict_buckets",
}


def parse(document: bytes) -> PublicAccessBlock:
    """Read a `PublicAccessBlockConfiguration`; what is not said is off. Errors: MalformedXML."""
    root = xml.parse(document, "PublicAccessBlockConfiguration")
    root.only(*_FIELDS)
    return PublicAccessBlock(**{field: xml.boolean(root.value(name) or "false") for name, field in _FIELDS.items()})


def write(block: PublicAccessBlock) -> bytes:
    """Render a `PublicAccessBlockConfiguration`."""
    return xml.write(
        "PublicAccessBlockConfiguration", [(name, bool(getattr(block, field))) for name, field in _FIELDS.items()]
    )


def ownership(value: str) -> Ownership:
    """Return an object ownership of a header or document. Errors: InvalidArgument."""
    for known in _OWNERSHIPS:
        if value == known:
            return known
    raise S3Error("InvalidArgument", detail={"ArgumentName": "x-amz-object-ownership", "ArgumentValue": value})


def parse_ownership(document: bytes) -> Ownership:
    """Read `OwnershipControls`. Errors: MalformedXML."""
    rule = xml.parse(document, "OwnershipControls").child("Rule")
    value = rule.required("ObjectOwnership") if rule is not None else ""
    if value not in _OWNERSHIPS:
        raise S3Error("MalformedXML")
    return ownership(value)


def write_ownership(value: Ownership) -> bytes:
    """Render `OwnershipControls`."""
    return xml.write("OwnershipControls", [("Rule", [("ObjectOwnership", value)])])
