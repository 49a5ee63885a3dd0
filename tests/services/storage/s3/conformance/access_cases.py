"""Access control lists: what canned ones say, what grants allow, and who may do what under both lists of bucket and object."""

from __future__ import annotations

import datetime
import itertools
import threading
from typing import Any

from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door

NUMBERS = itertools.count(1)
ALL, MEMBERS = "AllUsers", "AuthenticatedUsers"
OWN = ("main", "FULL_CONTROL")
CANNED = {
    "private": [OWN],
    "public-read": [(ALL, "READ"), OWN],
    "public-read-write": [(ALL, "READ"), (ALL, "WRITE"), OWN],
    "authenticated-read": [(MEMBERS, "READ"), OWN],
}
PERMISSIONS = ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL")


def grants(door: Door, found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the grants of an answer as (account's or group's name, permission), having checked their form."""
    names = {account.id: name for name, account in door.accounts.items()}
    said = []
    for grant in found["Grants"]:
        grantee = grant["Grantee"]
        if grantee["Type"] == "Group":
            assert grantee.keys() == {"Type", "URI"}
            assert grantee["URI"].startswith("http://acs.amazonaws.com/groups/global/")
            said.append((grantee["URI"].rpartition("/")[2], grant["Permission"]))
        else:
            who = names[grantee["ID"]]
            assert grantee == {"Type": "CanonicalUser", "ID": grantee["ID"], "DisplayName": who}
            said.append((who, grant["Permission"]))
    return said


def of_bucket(door: Door, bucket: str, account: str = "main") -> list[tuple[str, str]]:
    return grants(door, door.client(account).get_bucket_acl(Bucket=bucket))


def of_object(door: Door, bucket: str, key: str = "k", account: str = "main") -> list[tuple[str, str]]:
    return grants(door, door.client(account).get_object_acl(Bucket=bucket, Key=key))


def to(door: Door, *wanted: tuple[str, str], owner: str = "main") -> dict[str, Any]:
    """Return the document that grants accounts permissions."""
    listed = [
        {"Grantee": {"ID": door.accounts[who].id, "Type": "CanonicalUser"}, "Permission": permission}
        for who, permission in wanted
    ]
    return {"Grants": listed, "Owner": {"ID": door.accounts[owner].id}}


# ---- canned lists ----------------------------------------------------------------------------------------------------


@case("access", "test_bucket_acl_default")
def a_bucket_is_its_makers(door: Door, bucket: str) -> None:
    found = door.client().get_bucket_acl(Bucket=bucket)
    assert found["Owner"] == {"ID": door.accounts["main"].id, "DisplayName": "main"}
    assert grants(door, found) == [OWN]


@case("access", "test_object_acl_default")
def an_object_is_its_writers(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    assert of_object(door, bucket) == [OWN]


@case("access", "test_bucket_acl_canned_private_to_private")
def private_stays_private(door: Door, bucket: str) -> None:
    door.client().put_bucket_acl(Bucket=bucket, ACL="private")
    assert of_bucket(door, bucket) == [OWN]


def _canned(name: str, canned: str, then: str | None = None) -> None:
    def on_bucket(door: Door) -> None:
        client, bucket = door.client(), f"canned-{door.port}-{next(NUMBERS)}"
        client.create_bucket(Bucket=bucket, ACL=canned)
        assert of_bucket(door, bucket) == CANNED[canned]
        if then is not None:
            client.put_bucket_acl(Bucket=bucket, ACL=then)
            assert of_bucket(door, bucket) == CANNED[then]
        client.delete_bucket(Bucket=bucket)

    def on_object(door: Door, bucket: str) -> None:
        client = door.client()
        client.put_object(Bucket=bucket, Key="k", Body=b"", ACL=canned)
        assert of_object(door, bucket) == CANNED[canned]
        if then is not None:
            client.put_object_acl(Bucket=bucket, Key="k", ACL=then)
            assert of_object(door, bucket) == CANNED[then]

    enter("access", f"test_bucket_acl_canned{name}", on_bucket)
    enter("access", f"test_object_acl_canned{name}", on_object)


_canned("_during_create", "public-read")
_canned("", "public-read", "private")
_canned("_publicreadwrite", "public-read-write")
_canned("_authenticatedread", "authenticated-read")


def _for_the_owner(name: str, canned: str, permission: str) -> None:
    def try_canned(door: Door, bucket: str) -> None:
        door.client().put_bucket_acl(Bucket=bucket, ACL="public-read-write")
        door.client("alt").put_object(Bucket=bucket, Key="k", Body=b"", ACL=canned)
        assert of_object(door, bucket, account="alt") == [("alt", "FULL_CONTROL"), ("main", permission)]
        assert door.client().get_object(Bucket=bucket, Key="k")["ContentLength"] == 0

    enter("access", f"test_object_acl_canned_bucketowner{name}", try_canned)


_for_the_owner("read", "bucket-owner-read", "READ")
_for_the_owner("fullcontrol", "bucket-owner-full-control", "FULL_CONTROL")


@case("access", "test_bucket_concurrent_set_canned_acl")
def lists_may_be_set_all_at_once(door: Door, bucket: str) -> None:
    client, done = door.client(), []

    def put() -> None:
        client.put_bucket_acl(Bucket=bucket, ACL="public-read")
        done.append(1)

    threads = [threading.Thread(target=put) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), of_bucket(door, bucket)) == (20, CANNED["public-read"])


# ---- grants to accounts ----------------------------------------------------------------------------------------------


def _own_permission(name: str, permission: str) -> None:
    def try_permission(door: Door, bucket: str) -> None:
        client = door.client()
        fill(client, bucket, "k")
        client.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=to(door, ("main", permission)))
        assert of_object(door, bucket) == [("main", permission)]

    enter("access", f"test_object_acl{name}", try_permission)


for _permission in PERMISSIONS:
    _own_permission("" if _permission == OWN[1] else "_" + _permission.lower().replace("_", ""), _permission)


def _granted(permission: str) -> None:
    may = {p for p in PERMISSIONS if permission in (p, "FULL_CONTROL")}

    def try_grant(door: Door, bucket: str) -> None:
        client, other = door.client(), door.client("alt")
        client.put_bucket_acl(Bucket=bucket, AccessControlPolicy=to(door, OWN, ("alt", permission)))
        assert of_bucket(door, bucket) == [OWN, ("alt", permission)]
        calls: dict[str, tuple[Any, dict[str, Any]]] = {
            "READ": (other.head_bucket, {}),
            "READ_ACP": (other.get_bucket_acl, {}),
            "WRITE": (other.put_object, {"Key": "k", "Body": b""}),
            "WRITE_ACP": (other.put_bucket_acl, {"ACL": "public-read"}),
        }
        for needed, (call, words) in calls.items():
            if needed in may:
                assert call(Bucket=bucket, **words)["ResponseMetadata"]["HTTPStatusCode"] == 200
            else:
                refused("403" if needed == "READ" else "AccessDenied", call, Bucket=bucket, status=403, **words)
        assert client.get_bucket_acl(Bucket=bucket)["Owner"]["DisplayName"] == "main"

    enter("access", f"test_bucket_acl_grant_userid_{permission.lower().replace('_', '')}", try_grant)


for _permission in PERMISSIONS:
    _granted(_permission)


@case("access", "test_put_bucket_acl_grant_group_read")
def a_group_stands_before_accounts(door: Door, bucket: str) -> None:
    wanted = to(door, OWN)
    grantee = {"Type": "Group", "URI": f"http://acs.amazonaws.com/groups/global/{ALL}"}
    wanted["Grants"].append({"Grantee": grantee, "Permission": "READ"})
    door.client().put_bucket_acl(Bucket=bucket, AccessControlPolicy=wanted)
    assert of_bucket(door, bucket) == [(ALL, "READ"), OWN]


@case("access", "test_object_put_acl_mtime")
def a_new_list_is_no_new_object(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    fill(client, bucket, "k")

    def times() -> list[Any]:
        listed = client.list_objects(Bucket=bucket)["Contents"] + client.list_object_versions(Bucket=bucket)["Versions"]
        return [entry["LastModified"] for entry in (*listed, client.head_object(Bucket=bucket, Key="k"))]

    before = times()
    client.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    assert times() == before  # the listings say milliseconds


@case("access", "test_bucket_acl_grant_nonexist_user")
def grantees_must_exist(door: Door, bucket: str) -> None:
    wanted = to(door, OWN, ("alt", "READ"))
    wanted["Grants"][1]["Grantee"]["ID"] = "nobody-we-know"
    refused("InvalidArgument", door.client().put_bucket_acl, Bucket=bucket, AccessControlPolicy=wanted, status=400)
    assert of_bucket(door, bucket) == [OWN]


def _by_email(door: Door, address: str) -> dict[str, Any]:
    wanted = to(door, OWN)
    grantee = {"EmailAddress": address, "Type": "AmazonCustomerByEmail"}
    wanted["Grants"].append({"Grantee": grantee, "Permission": "FULL_CONTROL"})
    return wanted


@case("access", "test_bucket_acl_grant_email")
def an_address_stands_for_its_account(door: Door, bucket: str) -> None:
    door.client().put_bucket_acl(Bucket=bucket, AccessControlPolicy=_by_email(door, "alt@example.org"))
    assert of_bucket(door, bucket) == [OWN, ("alt", "FULL_CONTROL")]


@case("access", "test_bucket_acl_grant_email_not_exist")
def addresses_must_be_known(door: Door, bucket: str) -> None:
    wanted, client = _by_email(door, "stranger@example.invalid"), door.client()
    code = "UnresolvableGrantByEmailAddress"
    refused(code, client.put_bucket_acl, Bucket=bucket, AccessControlPolicy=wanted, status=400)
    refused(code, client.put_bucket_acl, Bucket=bucket, GrantRead="emailaddress=stranger@example.invalid", status=400)


@case("access", "test_bucket_acl_no_grants")
def an_owner_needs_no_grant(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, "k")
    client.put_bucket_acl(Bucket=bucket, AccessControlPolicy=to(door))
    assert of_bucket(door, bucket) == []
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"
    client.put_object(Bucket=bucket, Key="n", Body=b"")
    client.put_bucket_acl(Bucket=bucket, ACL="private")


@case("access", "test_bucket_acl_revoke_all")
def a_list_may_be_empty(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_acl(Bucket=bucket, AccessControlPolicy=to(door))
    assert client.get_bucket_acl(Bucket=bucket)["Grants"] == []
    client.put_bucket_acl(Bucket=bucket, AccessControlPolicy=to(door, OWN))
    assert of_bucket(door, bucket) == [OWN]


def _headers(door: Door) -> dict[str, str]:
    fields = ("GrantRead", "GrantWrite", "GrantReadACP", "GrantWriteACP", "GrantFullControl")
    return {name: f"id={door.accounts['alt'].id}" for name in fields}


@case("access", "test_object_header_acl_grants")
def grants_in_headers_of_a_write(door: Door, bucket: str) -> None:
    words = _headers(door)
    # boto3 offers no WRITE for objects, the header exists all the same
    client, write = door.client(user_agent_extra="grants"), words.pop("GrantWrite")
    client.meta.events.register(
        "before-call.s3.PutObject", lambda params, **_: params["headers"].update({"x-amz-grant-write": write})
    )
    client.put_object(Bucket=bucket, Key="k", Body=b"", **words)
    assert of_object(door, bucket, account="alt") == [("alt", permission) for permission in PERMISSIONS]


@case("access", "test_bucket_header_acl_grants")
def grants_in_headers_of_a_new_bucket(door: Door) -> None:
    client, other, name = door.client(), door.client("alt"), f"granted-{door.port}-{next(NUMBERS)}"
    client.create_bucket(Bucket=name, **_headers(door))
    assert of_bucket(door, name) == [("alt", permission) for permission in PERMISSIONS]
    other.put_object(Bucket=name, Key="k", Body=b"")
    other.delete_object(Bucket=name, Key="k")
    client.delete_bucket(Bucket=name)


@case("access", "test_object_acl_full_control_verify_owner")
def full_control_is_not_ownership(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    door.client().put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=to(door, ("alt", "FULL_CONTROL")))
    other = door.client("alt")
    other.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=to(door, ("alt", "READ_ACP")))
    found = other.get_object_acl(Bucket=bucket, Key="k")
    assert (found["Owner"]["DisplayName"], grants(door, found)) == ("main", [("alt", "READ_ACP")])
    refused("AccessDenied", other.get_object, Bucket=bucket, Key="k", status=403)


@case("access", "test_object_acl_full_control_verify_attributes")
def a_new_list_changes_nothing_else(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"leaf", ContentType="text/leaf", Metadata={"a": "b"})
    fields = ("ETag", "ContentType", "Metadata", "ContentLength", "LastModified")
    before = client.head_object(Bucket=bucket, Key="k")
    client.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=to(door, OWN, ("alt", "FULL_CONTROL")))
    after = client.head_object(Bucket=bucket, Key="k")
    assert [before[field] for field in fields] == [after[field] for field in fields]


# ---- both lists together ---------------------------------------------------------------------------------------------


def _both(name: str, bucket_acl: str, object_acl: str, version: int) -> None:
    lists, writes = bucket_acl != "private", bucket_acl == "public-read-write"

    def try_both(door: Door, bucket: str) -> None:
        client, other = door.client(), door.client("alt")
        client.put_bucket_acl(Bucket=bucket, ACL=bucket_acl)
        client.put_object(Bucket=bucket, Key="marked", Body=b"leaf")
        client.put_object_acl(Bucket=bucket, Key="marked", ACL=object_acl)
        client.put_object(Bucket=bucket, Key="unmarked", Body=b"bark")
        if object_acl == "private":
            refused("AccessDenied", other.get_object, Bucket=bucket, Key="marked", status=403)
        else:
            assert other.get_object(Bucket=bucket, Key="marked")["Body"].read() == b"leaf"
        refused("AccessDenied", other.get_object, Bucket=bucket, Key="unmarked", status=403)
        listing = other.list_objects if version == 1 else other.list_objects_v2
        if lists:
            assert [entry["Key"] for entry in listing(Bucket=bucket)["Contents"]] == ["marked", "unmarked"]
        else:
            refused("AccessDenied", listing, Bucket=bucket, status=403)
        for key in ("marked", "unmarked", "new"):  # WRITE on an object says nothing, only that on its bucket
            if writes:
                other.put_object(Bucket=bucket, Key=key, Body=b"root")
            else:
                refused("AccessDenied", other.put_object, Bucket=bucket, Key=key, Body=b"root", status=403)

    enter("access", name, try_both)


for _outer in ("private", "public-read", "public-read-write"):
    for _inner in ("private", "public-read", "public-read-write"):
        _stem = f"test_access_bucket_{_outer.replace('-', '')}_object"
        _both(f"{_stem}_{_inner.replace('-', '')}", _outer, _inner, 1)
        if _outer == "private":
            _both(f"{_stem}v2_{_inner.replace('-', '')}", _outer, _inner, 2)


@case("locks")
def who_may_write_may_not_therefore_lock(door: Door) -> None:
    # bytes under COMPLIANCE cannot be deleted by anybody, and their bucket's owner pays for them
    client, other, bucket = door.client(), door.client("alt"), f"locks-{door.port}-{next(NUMBERS)}"
    client.create_bucket(Bucket=bucket, ACL="public-read-write", ObjectLockEnabledForBucket=True)
    client.put_object(Bucket=bucket, Key="source", Body=b"", ACL="public-read")
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30_000)
    forever = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    for words in (forever, {"ObjectLockLegalHoldStatus": "ON"}):
        for stranger in (other, door.client(None)):
            refused("AccessDenied", stranger.put_object, Bucket=bucket, Key="k", Body=b"", status=403, **words)
        refused("AccessDenied", other.create_multipart_upload, Bucket=bucket, Key="k", status=403, **words)
        refused(
            "AccessDenied",
            other.copy_object,
            Bucket=bucket,
            Key="k",
            CopySource=f"{bucket}/source",
            status=403,
            **words,
        )
    assert [v["Key"] for v in client.list_object_versions(Bucket=bucket)["Versions"]] == ["source"]
    client.put_object(Bucket=bucket, Key="k", Body=b"", ObjectLockLegalHoldStatus="ON")
