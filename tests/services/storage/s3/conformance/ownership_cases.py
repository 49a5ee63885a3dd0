"""Object ownership: who owns what others write into a bucket, by the bucket's ownership controls."""

from __future__ import annotations

import uuid
from typing import Any

from tests.services.storage.s3.conformance.policy_cases import policy
from tests.services.storage.s3.conformance.table import case, enter, refused
from tests.services.storage.s3.conftest import Door, empty

# canned ACL (None: none sent) → whether the bucket's owner owns the object; None: refused
RULES: dict[str, dict[str | None, bool | None]] = {
    "BucketOwnerEnforced": {None: True, "bucket-owner-full-control": True, "private": None, "public-read": None},
    "BucketOwnerPreferred": {None: False, "bucket-owner-full-control": True, "private": False},
    "ObjectWriter": {None: False, "bucket-owner-full-control": False, "private": False},
}


def _controls(wanted: str) -> dict[str, Any]:
    return {"Rules": [{"ObjectOwnership": wanted}]}


def _holds(door: Door, bucket: str, wanted: str) -> None:
    """Let another account write, and look who owns it."""
    found = door.client().get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]
    assert found == _controls(wanted)
    door.client().put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:*"))
    other, owner = door.client("alt"), door.accounts["main"].id
    for canned, owned in RULES[wanted].items():
        at = {"Bucket": bucket, "Key": f"of-{canned}"}
        words = {**at, **({"ACL": canned} if canned else {})}
        if owned is None:
            refused("AccessControlListNotSupported", other.put_object, Body=b"", status=400, **words)
            refused("AccessControlListNotSupported", other.create_multipart_upload, status=400, **words)
            continue
        other.put_object(Body=b"", **words)
        assert (other.get_object_acl(**at)["Owner"]["ID"] == owner) == owned
        upload = other.create_multipart_upload(**words)["UploadId"]
        listed = other.list_parts(**at, UploadId=upload)
        assert (listed["Owner"]["ID"] == owner) == owned
        assert listed["Initiator"]["ID"] == door.accounts["alt"].id
        other.copy_object(**words, CopySource=f"{bucket}/of-None", MetadataDirective="REPLACE")
        assert (other.get_object_acl(**at)["Owner"]["ID"] == owner) == owned


def _from_the_start(wanted: str) -> Any:
    def run(door: Door) -> None:
        name = f"own-{uuid.uuid4().hex[:20]}"
        door.client().create_bucket(Bucket=name, ObjectOwnership=wanted)
        _holds(door, name, wanted)
        empty(door.client(), name)

    return run


def _set_later(wanted: str) -> Any:
    def run(door: Door, bucket: str) -> None:
        client = door.client()
        if wanted == "BucketOwnerEnforced":  # not while the bucket's ACL lets others in
            client.put_bucket_acl(Bucket=bucket, ACL="public-read")
            call, code = client.put_bucket_ownership_controls, "InvalidBucketAclWithObjectOwnership"
            refused(code, call, Bucket=bucket, OwnershipControls=_controls(wanted), status=400)
            client.put_bucket_acl(Bucket=bucket, ACL="private")
        client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=_controls(wanted))
        _holds(door, bucket, wanted)

    return run


for _wanted, _name in (
    ("BucketOwnerEnforced", "bucket_owner_enforced"),
    ("BucketOwnerPreferred", "bucket_owner_preferred"),
    ("ObjectWriter", "object_writer"),
):
    enter("access", f"test_create_bucket_{_name}", _from_the_start(_wanted))
    enter("access", f"test_put_bucket_ownership_{_name}", _set_later(_wanted))


@case("access", "test_create_bucket_no_ownership_controls")
def a_bucket_has_no_controls_unless_told(door: Door, bucket: str) -> None:
    call = door.client().get_bucket_ownership_controls
    refused("OwnershipControlsNotFoundError", call, Bucket=bucket, status=404)


@case("access", "test_bucket_create_delete_bucket_ownership")
def controls_are_taken_back(door: Door, bucket: str) -> None:
    client, wanted = door.client(), _controls("BucketOwnerEnforced")
    client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=wanted)
    for _ in range(2):
        client.delete_bucket_ownership_controls(Bucket=bucket)
        call = client.get_bucket_ownership_controls
        refused("OwnershipControlsNotFoundError", call, Bucket=bucket, status=404)


@case("access")
def the_owner_reads_what_others_write_where_ownership_is_enforced(door: Door, bucket: str) -> None:
    client, wanted = door.client(), _controls("BucketOwnerEnforced")
    client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=wanted)
    client.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:PutObject"))
    door.client("alt").put_object(Bucket=bucket, Key="k", Body=b"abc")
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"abc"
    refused("AccessDenied", door.client("alt").get_object, Bucket=bucket, Key="k", status=403)


@case("access")
def what_was_written_before_is_the_owners_too(door: Door, bucket: str) -> None:
    client, other, at = door.client(), door.client("alt"), {"Bucket": bucket, "Key": "k"}
    client.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:PutObject"))
    other.put_object(**at, Body=b"abc", ACL="public-read")
    assert door.client(None).get_object(**at)["Body"].read() == b"abc"
    wanted = _controls("BucketOwnerEnforced")
    client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=wanted)
    refused("AccessDenied", door.client(None).get_object, **at, status=403)
    shown = client.get_object_acl(**at)
    grants = [(g["Grantee"]["ID"], g["Permission"]) for g in shown["Grants"]]
    assert (shown["Owner"]["ID"], grants) == (door.accounts["main"].id, [(door.accounts["main"].id, "FULL_CONTROL")])


@case("access")
def a_bucket_is_not_made_with_both(door: Door) -> None:
    words = {"Bucket": f"own-{uuid.uuid4().hex[:20]}", "ObjectOwnership": "BucketOwnerEnforced"}
    code = "InvalidBucketAclWithObjectOwnership"
    refused(code, door.client().create_bucket, ACL="public-read", status=400, **words)
    door.client().create_bucket(ACL="private", **words)
    door.client().delete_bucket(Bucket=words["Bucket"])
