"""Access control lists: canned ones, grants in headers and documents, and what they allow.

Source: Amazon S3 user guide, "Access control list (ACL) overview". An account is named by its canonical id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from fieldstone.services.storage.s3 import xml
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

Permission = Literal["READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"]
PERMISSIONS: tuple[Permission, ...] = ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL")
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"
GROUPS = (ALL_USERS, AUTHENTICATED_USERS, LOG_DELIVERY)
MAX_GRANTS = 100
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'

CANNED: dict[str, tuple[tuple[str, Permission], ...]] = {
    "private": (),
    "public-read": ((ALL_USERS, "READ"),),
    "public-read-write": ((ALL_USERS, "READ"), (ALL_USERS, "WRITE")),
    "authenticated-read": ((AUTHENTICATED_USERS, "READ"),),
    "aws-exec-read": (),
    "log-delivery-write": ((LOG_DELIVERY, "WRITE"), (LOG_DELIVERY, "READ_ACP")),
    "bucket-owner-read": (),
    "bucket-owner-full-control": (),
}
_GRANT_HEADERS: dict[str, Permission] = {
    "x-amz-grant-read": "READ",
    "x-amz-grant-write": "WRITE",
    "x-amz-grant-read-acp": "READ_ACP",
    "x-amz-grant-write-acp": "WRITE_ACP",
    "x-amz-grant-full-control": "FULL_CONTROL",
}


@dataclass(frozen=True, slots=True)
class Grant:
    """One line: `grantee` is a canonical account id, or the URI of a group."""

    grantee: str
    permission: Permission
    display_name: str = ""

    @property
    def is_group(self) -> bool:
        """Whether the grantee is one of the predefined groups."""
        return self.grantee in GROUPS


@dataclass(frozen=True, slots=True)
class Acl:
    """Who owns a bucket or object, and the grants: groups first, as clients that pick the owner's by its place expect."""

    owner: str
    grants: tuple[Grant, ...]
    owner_name: str = ""

    @property
    def is_public(self) -> bool:
        """Whether everyone, or everyone with an account, is granted anything."""
        return any(g.grantee in (ALL_USERS, AUTHENTICATED_USERS) for g in self.grants)

    @property
    def lets_others_in(self) -> bool:
        """Whether anyone but the owner is granted anything."""
        return any(grant.grantee != self.owner for grant in self.grants)

    def allowing(self) -> frozenset[tuple[str, Permission]]:
        """Return what is granted to whom, without order and display names."""
        return frozenset((grant.grantee, grant.permission) for grant in self.grants)


@lru_cache(maxsize=1_024)
def canned(name: str, owner: str, bucket_owner: str, owner_name: str = "", bucket_owner_name: str = "") -> Acl:
    """Return a canned list. Errors: InvalidArgument for an unknown name."""
    if name not in CANNED:
        raise S3Error("InvalidArgument", detail={"ArgumentName": "x-amz-acl", "ArgumentValue": name})
    grants = [Grant(owner, "FULL_CONTROL", owner_name)]
    grants += [Grant(group, permission) for group, permission in CANNED[name]]
    if bucket_owner != owner:
        if name == "bucket-owner-read":
            grants.append(Grant(bucket_owner, "READ", bucket_owner_name))
        elif name == "bucket-owner-full-control":
            grants.append(Grant(bucket_owner, "FULL_CONTROL", bucket_owner_name))
    return Acl(owner, _ordered(grants), owner_name)


def of_headers(
    request: Request,
    owner: str,
    bucket_owner: str,
    *,
    owner_name: str = "",
    bucket_owner_name: str = "",
    names: Mapping[str, str] | None = None,
    emails: Mapping[str, str] | None = None,
) -> Acl | None:
    """Return the list a request's headers ask for, None where they ask for none.

    `names`: known canonical id → display name (None: every id counts as known); `emails`: address → canonical id.
    Errors: InvalidRequest (canned and grants together), InvalidArgument (form, unknown id or group),
    UnresolvableGrantByEmailAddress.
    """
    name = request.header("x-amz-acl")
    stated = [(header, p) for header, p in _GRANT_HEADERS.items() if request.header(header) is not None]
    if name is not None and stated:
        raise S3Error("InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed")
    if name is not None:
        return canned(name, owner, bucket_owner, owner_name, bucket_owner_name)
    if not stated:
        return None
    grants: list[Grant] = []
    for header, permission in stated:
        for item in (request.header(header) or "").split(","):
            kind, _, value = item.strip().partition("=")
            grantee = _grantee(kind.strip().lower(), value.strip().strip('"'), names, emails)
            grants.append(Grant(grantee, permission, (names or {}).get(grantee, "")))
    return Acl(owner, _ordered(grants), owner_name)


def _grantee(kind: str, value: str, names: Mapping[str, str] | None, emails: Mapping[str, str] | None) -> str:
    if kind == "uri" and value in GROUPS:
        return value
    if kind == "id" and value and (names is None or value in names):
        return value
    if kind == "emailaddress" and emails is not None and value in emails:
        return emails[value]
    if kind == "emailaddress":
        raise S3Error("UnresolvableGrantByEmailAddress", detail={"EmailAddress": value})
    messages = {"uri": "Invalid group uri", "id": "Invalid id"}
    raise S3Error(
        "InvalidArgument", messages.get(kind, "Argument format not recognized"), detail={"ArgumentValue": value}
    )


def _ordered(grants: list[Grant]) -> tuple[Grant, ...]:
    if len(grants) > MAX_GRANTS:
        raise S3Error("MalformedACLError", f"More than {MAX_GRANTS} grants.")
    return tuple(sorted(grants, key=lambda grant: not grant.is_group))


def parse(
    document: bytes,
    owner: str,
    *,
    owner_name: str = "",
    names: Mapping[str, str] | None = None,
    emails: Mapping[str, str] | None = None,
) -> Acl:
    """Read an `AccessControlPolicy`; it cannot change the owner. `names`, `emails` as for `of_headers`.

    Errors: MalformedACLError, InvalidArgument (unknown id or group), UnresolvableGrantByEmailAddress, AccessDenied
    (another owner).
    """
    try:
        root = xml.parse(document, "AccessControlPolicy")
        listed = root.child("AccessControlList")
        stated = root.child("Owner")
        if listed is None or stated is None:
            raise S3Error("MalformedACLError")
        if stated.value("ID") not in (owner, None, ""):
            raise S3Error("AccessDenied", "The owner of an ACL cannot be changed.")
        listed.only("Grant")
        grants = []
        for node in listed.children:
            grantee, permission = node.child("Grantee"), node.required("Permission")
            if grantee is None or permission not in PERMISSIONS:
                raise S3Error("MalformedACLError")
            for field, kind in (("ID", "id"), ("URI", "uri"), ("EmailAddress", "emailaddress")):
                if (value := grantee.value(field)) is not None:
                    found = _grantee(kind, value, names, emails)
                    grants.append(Grant(found, _permission(permission), (names or {}).get(found, "")))
                    break
            else:
                raise S3Error("MalformedACLError")
    except S3Error as error:
        if error.code == "MalformedXML":
            raise S3Error("MalformedACLError") from None
        raise
    return Acl(owner, _ordered(grants), owner_name)


def _permission(value: str) -> Permission:
    return next(p for p in PERMISSIONS if p == value)


def write(acl: Acl) -> bytes:
    """Render an `AccessControlPolicy`."""
    grants: list[xml.Pair] = []
    for grant in acl.grants:
        if grant.is_group:
            grantee: xml.Pair = (f'Grantee {XSI} xsi:type="Group"', [("URI", grant.grantee)])
        else:
            inside: list[xml.Pair] = [("ID", grant.grantee), ("DisplayName", grant.display_name or None)]
            grantee = (f'Grantee {XSI} xsi:type="CanonicalUser"', inside)
        grants.append(("Grant", [grantee, ("Permission", grant.permission)]))
    owner: list[xml.Pair] = [("ID", acl.owner), ("DisplayName", acl.owner_name or None)]
    return xml.write("AccessControlPolicy", [("Owner", owner), ("AccessControlList", grants)])


def allows(acl: Acl, account: str | None, permission: Permission, *, ignore_public: bool = False) -> bool:
    """Return whether a grant gives `account` (None: anonymous) the permission.

    The owner may always read and write the list itself, whatever the grants say. `ignore_public` leaves out grants to
    everyone (public access block).
    """
    if account is not None and account == acl.owner and permission in ("READ_ACP", "WRITE_ACP"):
        return True
    for grant in acl.grants:
        if grant.permission not in (permission, "FULL_CONTROL"):
            continue
        if grant.grantee == ALL_USERS:
            if not ignore_public:
                return True
        elif grant.grantee == AUTHENTICATED_USERS:
            if account is not None and not ignore_public:
                return True
        elif account is not None and grant.grantee == account:
            return True
    return False
