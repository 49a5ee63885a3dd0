"""What makes a bucket public, and the block that takes it back. Also copies upon conditions, and keys that are none."""

from __future__ import annotations

from typing import Any

from tests.services.storage.s3.conformance.policy_cases import policy
from tests.services.storage.s3.conformance.raw import send
from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door

FLAGS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def _public(door: Door, bucket: str) -> bool:
    return bool(door.client().get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"])


def block(door: Door, bucket: str, *on: str) -> None:
    """Switch these flags on and the others off."""
    flags = {flag: flag in on for flag in FLAGS}
    door.client().put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=flags)
    assert door.client().get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == flags


@case("access", "test_get_bucket_policy_status")
def a_new_bucket_is_not_public(door: Door, bucket: str) -> None:
    assert not _public(door, bucket)


def _by_acl(canned: str) -> Any:
    def run(door: Door, bucket: str) -> None:
        door.client().put_bucket_acl(Bucket=bucket, ACL=canned)
        assert _public(door, bucket)

    return run


enter("access", "test_get_public_acl_bucket_policy_status", _by_acl("public-read"))
enter("access", "test_get_authpublic_acl_bucket_policy_status", _by_acl("authenticated-read"))


@case("access", "test_get_publicpolicy_acl_bucket_policy_status")
def a_policy_for_everybody_is_public(door: Door, bucket: str) -> None:
    door.client().put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:ListBucket", principal={"AWS": "*"}))
    assert _public(door, bucket)


@case("access", "test_get_nonpublicpolicy_acl_bucket_policy_status")
def a_policy_for_one_network_is_not_public(door: Door, bucket: str) -> None:
    near = {"IpAddress": {"aws:SourceIp": "192.0.2.7/32"}}
    door.client().put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:ListBucket", Condition=near))
    assert not _public(door, bucket)


@case("access", "test_get_nonpublicpolicy_deny_bucket_policy_status")
def all_but_one_cannot_be_allowed(door: Door, bucket: str) -> None:
    account = door.accounts["alt"].id
    text = policy(bucket, "s3:ListBucket", principal=None, NotPrincipal={"AWS": f"arn:aws:iam::{account}:root"})
    refused("MalformedPolicy", door.client().put_bucket_policy, Bucket=bucket, Policy=text, status=400)
    assert not _public(door, bucket)


@case("access", "test_get_default_public_block")
def nothing_is_blocked_unless_said(door: Door, bucket: str) -> None:
    client = door.client()
    refused("NoSuchPublicAccessBlockConfiguration", client.get_public_access_block, Bucket=bucket, status=404)
    block(door, bucket, *FLAGS)
    client.delete_public_access_block(Bucket=bucket)
    refused("NoSuchPublicAccessBlockConfiguration", client.get_public_access_block, Bucket=bucket, status=404)


@case("access", "test_put_public_block")
def each_flag_stands_alone(door: Door, bucket: str) -> None:
    for flag in FLAGS:
        block(door, bucket, flag)
    block(door, bucket, *FLAGS[:3])


@case("access", "test_block_public_put_bucket_acls")
def public_acls_of_buckets_are_blocked(door: Door, bucket: str) -> None:
    block(door, bucket, "BlockPublicAcls", "BlockPublicPolicy")
    for canned in ("public-read", "public-read-write", "authenticated-read"):
        refused("AccessDenied", door.client().put_bucket_acl, Bucket=bucket, ACL=canned, status=403)
    door.client().put_bucket_acl(Bucket=bucket, ACL="private")


@case("access", "test_block_public_object_canned_acls")
def public_acls_of_objects_are_blocked(door: Door, bucket: str) -> None:
    client = door.client()
    block(door, bucket, "BlockPublicAcls")
    for canned in ("public-read", "public-read-write", "authenticated-read"):
        refused("AccessDenied", client.put_object, Bucket=bucket, Key="k", Body=b"", ACL=canned, status=403)
    fill(client, bucket, "k")
    refused("AccessDenied", client.put_object_acl, Bucket=bucket, Key="k", ACL="public-read", status=403)


@case("access", "test_block_public_policy")
def public_policies_are_blocked(door: Door, bucket: str) -> None:
    block(door, bucket, "BlockPublicPolicy")
    call = door.client().put_bucket_policy
    refused("AccessDenied", call, Bucket=bucket, Policy=policy(bucket, "s3:GetObject"), status=403)
    other = {"AWS": door.accounts["alt"].id}
    call(Bucket=bucket, Policy=policy(bucket, "s3:GetObject", principal=other))


@case("access", "test_ignore_public_acls")
def public_acls_are_ignored(door: Door, bucket: str) -> None:
    client, other = door.client(), door.client("alt")
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    client.put_object(Bucket=bucket, Key="k", Body=b"open", ACL="public-read")
    assert other.list_objects(Bucket=bucket)["Contents"][0]["Key"] == "k"
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"open"
    block(door, bucket, "IgnorePublicAcls")
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")  # it may be said; it does nothing
    refused("AccessDenied", other.list_objects, Bucket=bucket, status=403)
    refused("AccessDenied", other.get_object, Bucket=bucket, Key="k", status=403)


@case("access", "test_block_public_restrict_public_buckets")
def public_buckets_are_restricted(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    door.client().put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:GetObject"))
    assert door.client("alt").get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"
    block(door, bucket, "RestrictPublicBuckets")
    refused("AccessDenied", door.client("alt").get_object, Bucket=bucket, Key="k", status=403)
    assert door.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"
    door.client().delete_public_access_block(Bucket=bucket)
    assert door.client("alt").get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"


# ---- copies upon conditions, keys that are none ----------------------------------------------------------------------


def _copy(condition: str, *, same: bool, copied: bool) -> Any:
    def run(door: Door, bucket: str) -> None:
        client = door.client()
        etag = client.put_object(Bucket=bucket, Key="k", Body=b"abc")["ETag"]
        words = {"Bucket": bucket, "Key": "c", "CopySource": f"{bucket}/k", condition: etag if same else "other"}
        if copied:
            client.copy_object(**words)
            assert client.get_object(Bucket=bucket, Key="c")["Body"].read() == b"abc"
        else:
            refused("PreconditionFailed", client.copy_object, status=412, **words)
            refused("404", client.head_object, Bucket=bucket, Key="c")

    return run


for _name, _case in (
    ("ifmatch_good", _copy("CopySourceIfMatch", same=True, copied=True)),
    ("ifmatch_failed", _copy("CopySourceIfMatch", same=False, copied=False)),
    ("ifnonematch_good", _copy("CopySourceIfNoneMatch", same=True, copied=False)),
    ("ifnonematch_failed", _copy("CopySourceIfNoneMatch", same=False, copied=True)),
):
    enter("copies", f"test_copy_object_{_name}", _case)


@case("objects", "test_object_read_unreadable")
def keys_are_utf_8(door: Door, bucket: str) -> None:
    reply = send(door, "GET", f"/{bucket}/%AE%8A-")
    assert (reply.status, reply.code) == (400, "InvalidURI")
    assert b"Couldn't parse the specified URI." in reply.body
    refused("NoSuchKey", door.client().get_object, Bucket=bucket, Key="\xae\x8a-", status=404)


# ---- of the suite as it stands today ---------------------------------------------------------------------------------


@case("access", "test_get_undefined_public_block")
def a_block_taken_back_is_none(door: Door, bucket: str) -> None:
    client = door.client()
    done = client.delete_public_access_block(Bucket=bucket)
    assert done["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused("NoSuchPublicAccessBlockConfiguration", client.get_public_access_block, Bucket=bucket, status=404)


enter("access", "test_put_get_delete_public_block", nothing_is_blocked_unless_said)


@case("access", "test_get_public_block_deny_bucket_policy")
def a_policy_may_hide_the_block(door: Door, bucket: str) -> None:
    client = door.client()
    block(door, bucket, *FLAGS[:3])
    text = policy(bucket, "s3:GetBucketPublicAccessBlock", effect="Deny")
    client.put_bucket_policy(Bucket=bucket, Policy=text)
    refused("AccessDenied", client.get_public_access_block, Bucket=bucket, status=403)
    client.delete_bucket_policy(Bucket=bucket)
    assert client.get_public_access_block(Bucket=bucket)


@case("access", "test_block_public_policy_with_principal")
def policies_for_one_account_are_not_blocked(door: Door, bucket: str) -> None:
    block(door, bucket, "BlockPublicPolicy")
    one = {"AWS": f"arn:aws:iam::{door.accounts['alt'].id}:root"}
    door.client().put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:GetObject", principal=one))


@case("access", "test_get_nonpublicpolicy_principal_bucket_policy_status")
def a_policy_for_one_account_is_not_public(door: Door, bucket: str) -> None:
    one = {"AWS": f"arn:aws:iam::{door.accounts['alt'].id}:root"}
    door.client().put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:ListBucket", principal=one))
    assert not _public(door, bucket)


enter("access", "test_bucket_policy_allow_notprincipal", all_but_one_cannot_be_allowed)


@case("buckets")
def what_is_not_offered_can_be_switched_off(door: Door, bucket: str) -> None:
    """As tools do that tidy up: they write the empty configuration."""
    client = door.client()
    client.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    on = {"LoggingEnabled": {"TargetBucket": bucket, "TargetPrefix": "log/"}}
    refused("NotImplemented", client.put_bucket_logging, Bucket=bucket, BucketLoggingStatus=on, status=501)
    assert "LoggingEnabled" not in client.get_bucket_logging(Bucket=bucket)
