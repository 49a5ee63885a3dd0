"""Bucket policies: whom they let in, and conditions on tags, sources, ACLs, encryption and referers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.services.storage.s3.conformance.raw import send
from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door, empty

NO_ACCESS = {"code": "AccessDenied", "status": 403}


def statement(bucket: str, *actions: str, effect: str = "Allow", principal: Any = "*", **more: Any) -> dict[str, Any]:
    """Return a statement about a bucket and its objects; principal None: `more` names it."""
    arn = f"arn:aws:s3:::{bucket}"
    who = {} if principal is None else {"Principal": principal}
    return {"Effect": effect, **who, "Action": list(actions), "Resource": [arn, f"{arn}/*"], **more}


def document(*statements: dict[str, Any]) -> str:
    """Return a policy's text."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def policy(bucket: str, *actions: str, **words: Any) -> str:
    """Return a policy of one statement."""
    return document(statement(bucket, *actions, **words))


@contextmanager
def another(door: Door) -> Iterator[str]:
    """Lend a second bucket."""
    name = f"other-{uuid.uuid4().hex[:20]}"
    door.client().create_bucket(Bucket=name)
    yield name
    empty(door.client(), name)


def _put(door: Door, bucket: str, text: str) -> None:
    door.client().put_bucket_policy(Bucket=bucket, Policy=text)


# ---- who may list ----------------------------------------------------------------------------------------------------


def _listed(operation: str) -> Any:
    def run(door: Door, bucket: str) -> None:
        fill(door.client(), bucket, "k")
        call = getattr(door.client("alt"), operation)
        refused(**NO_ACCESS, call=call, Bucket=bucket)
        _put(door, bucket, policy(bucket, "s3:ListBucket", principal={"AWS": "*"}))
        assert [o["Key"] for o in call(Bucket=bucket)["Contents"]] == ["k"]

    return run


def _denied(operation: str) -> Any:
    def run(door: Door, bucket: str) -> None:
        door.client().put_bucket_acl(Bucket=bucket, ACL="authenticated-read")
        call = getattr(door.client("alt"), operation)
        call(Bucket=bucket)
        _put(door, bucket, policy(bucket, "s3:ListBucket", effect="Deny", principal={"AWS": "*"}))
        refused(**NO_ACCESS, call=call, Bucket=bucket)
        door.client().delete_bucket_policy(Bucket=bucket)
        call(Bucket=bucket)

    return run


def _carried_over(operation: str) -> Any:
    def run(door: Door, bucket: str) -> None:
        wide = {**statement("*", "s3:ListBucket"), "Resource": ["arn:aws:s3:::*", "arn:aws:s3:::*/*"]}
        with another(door) as other:
            _put(door, bucket, document(wide))
            _put(door, other, door.client().get_bucket_policy(Bucket=bucket)["Policy"])
            for name in (bucket, other):
                fill(door.client(), name, "k")
                assert len(getattr(door.client("alt"), operation)(Bucket=name)["Contents"]) == 1

    return run


for _version, _operation in (("bucket", "list_objects"), ("bucketv2", "list_objects_v2")):
    enter("policies", f"test_{_version}_policy", _listed(_operation))
    enter("policies", f"test_{_version}_policy_acl", _denied(_operation))
    enter("policies", f"test_{_version}_policy_another_bucket", _carried_over(_operation))


@case("policies", "test_bucket_policy_set_condition_operator_end_with_IfExists")
def a_condition_may_hold_where_its_key_is_missing(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    from_us = {"StringLikeIfExists": {"aws:Referer": "https://ours.example/*"}}
    _put(door, bucket, policy(bucket, "s3:GetObject", Condition=from_us))
    for referer, status in (("https://ours.example/a", 200), (None, 200), ("https://theirs.example/", 403)):
        assert send(door, "GET", f"/{bucket}/k", {"referer": referer}, account=None).status == status
    # an owner needs no policy
    assert send(door, "GET", f"/{bucket}/k", {"referer": "https://theirs.example/"}).status == 200


@case("policies", "test_multipart_upload_on_a_bucket_with_policy")
def a_policy_lets_others_upload_in_parts(door: Door, bucket: str) -> None:
    _put(door, bucket, policy(bucket, "*"))
    for name in ("main", "alt"):
        client, at = door.client(name), {"Bucket": bucket, "Key": name}
        begun = client.create_multipart_upload(**at)["UploadId"]
        part = client.upload_part(**at, UploadId=begun, PartNumber=1, Body=b"abc")["ETag"]
        named = {"Parts": [{"PartNumber": 1, "ETag": part}]}
        client.complete_multipart_upload(**at, UploadId=begun, MultipartUpload=named)
        assert client.get_object(**at)["Body"].read() == b"abc"


# ---- tags of the object ----------------------------------------------------------------------------------------------

SHOWN = {"StringEquals": {"s3:ExistingObjectTag/Level": "open"}}


def _tagged(door: Door, bucket: str, action: str) -> None:
    """Write three objects, of which `open` alone meets the condition of a policy for one action."""
    for key, tags in (("open", "Level=open&more=x"), ("closed", "Level=closed"), ("other", "Levels=open")):
        door.client().put_object(Bucket=bucket, Key=key, Body=key.encode(), Tagging=tags)
    _put(door, bucket, policy(bucket, action, Condition=SHOWN))


def _only_open(action: str, operation: str, others: tuple[str, ...]) -> Any:
    def run(door: Door, bucket: str) -> None:
        _tagged(door, bucket, action)
        other = door.client("alt")
        getattr(other, operation)(Bucket=bucket, Key="open")
        for key in ("closed", "other"):
            refused(**NO_ACCESS, call=getattr(other, operation), Bucket=bucket, Key=key)
        for name in others:  # the policy speaks of one action
            refused(**NO_ACCESS, call=getattr(other, name), Bucket=bucket, Key="open")

    return run


for _name, _action, _operation, _others in (
    ("get_obj", "s3:GetObject", "get_object", ("get_object_tagging", "get_object_acl")),
    ("get_obj_tagging", "s3:GetObjectTagging", "get_object_tagging", ("get_object",)),
    ("get_obj_acl", "s3:GetObjectAcl", "get_object_acl", ("get_object", "get_object_tagging")),
):
    enter("policies", f"test_bucket_policy_{_name}_existing_tag", _only_open(_action, _operation, _others))


@case("policies", "test_bucket_policy_put_obj_tagging_existing_tag")
def who_takes_the_tag_off_locks_himself_out(door: Door, bucket: str) -> None:
    _tagged(door, bucket, "s3:PutObjectTagging")
    call = door.client("alt").put_object_tagging
    still = {"TagSet": [{"Key": "Level", "Value": "open"}, {"Key": "new", "Value": "y"}]}
    gone = {"TagSet": [{"Key": "Level", "Value": "closed"}]}
    refused(**NO_ACCESS, call=call, Bucket=bucket, Key="closed", Tagging=still)
    for tagging in (still, gone):
        call(Bucket=bucket, Key="open", Tagging=tagging)
    refused(**NO_ACCESS, call=call, Bucket=bucket, Key="open", Tagging=still)


@case("policies", "test_bucket_policy_put_obj_request_obj_tag")
def an_upload_must_bring_a_tag(door: Door, bucket: str) -> None:
    wanted = {"StringEquals": {"s3:RequestObjectTag/Level": "open"}}
    _put(door, bucket, policy(bucket, "s3:PutObject", Condition=wanted))
    call, words = door.client("alt").put_object, {"Bucket": bucket, "Key": "k", "Body": b"abc"}
    refused(**NO_ACCESS, call=call, **words)
    refused(**NO_ACCESS, call=call, Tagging="Level=closed", **words)
    call(Tagging="Level=open", **words)


@case("policies")
def what_tags_will_be_counts_too(door: Door, bucket: str) -> None:
    """A deny on a tag that a request sets holds for the document of PutObjectTagging, in whatever case it is written."""
    fill(door.client(), bucket, "k")
    never = {"StringEquals": {"s3:RequestObjectTag/level": "secret"}}
    _put(door, bucket, policy(bucket, "s3:PutObjectTagging", effect="Deny", Condition=never))
    call = door.client().put_object_tagging
    tagging = {"TagSet": [{"Key": "Level", "Value": "secret"}]}
    refused(**NO_ACCESS, call=call, Bucket=bucket, Key="k", Tagging=tagging)
    call(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "Level", "Value": "open"}]})


# ---- copies, ACLs, grants --------------------------------------------------------------------------------------------


@case("policies", "test_bucket_policy_put_obj_copy_source")
def copies_only_from_one_folder(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "pub/a", "pub/b", "own/a")
    _put(door, bucket, policy(bucket, "s3:GetObject"))
    with another(door) as target:
        from_there = {"StringLike": {"s3:x-amz-copy-source": f"{bucket}/pub/*"}}
        _put(door, target, policy(target, "s3:PutObject", Condition=from_there))
        call = door.client("alt").copy_object
        for source in ("pub/a", "pub/b"):
            call(Bucket=target, Key="k", CopySource={"Bucket": bucket, "Key": source})
            got = door.client("alt").get_object(Bucket=target, Key="k")  # whoever writes owns it
            assert got["Body"].read() == source.encode()
        refused(**NO_ACCESS, call=call, Bucket=target, Key="k", CopySource={"Bucket": bucket, "Key": "own/a"})


@case("policies")
def no_spelling_of_a_source_evades_a_policy(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "own/a", "pub/a")
    never = {"StringLike": {"s3:x-amz-copy-source": f"{bucket}/own/*"}}
    _put(door, bucket, policy(bucket, "s3:PutObject", effect="Deny", Condition=never))
    for source in (f"{bucket}/own/a", f"/{bucket}/own/a", f"{bucket}/%6Fwn/a", f"{bucket}%2Fown/a"):
        assert send(door, "PUT", f"/{bucket}/k", {"x-amz-copy-source": source}).status == 403
    assert send(door, "PUT", f"/{bucket}/k", {"x-amz-copy-source": f"/{bucket}/pub/a"}).status == 200


@case("policies", "test_bucket_policy_put_obj_copy_source_meta")
def copies_only_with_their_metadata(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    _put(door, bucket, policy(bucket, "s3:GetObject"))
    with another(door) as target:
        kept = {"StringEquals": {"s3:x-amz-metadata-directive": "COPY"}}
        _put(door, target, policy(target, "s3:PutObject", Condition=kept))
        words = {"Bucket": target, "Key": "k", "CopySource": f"{bucket}/k"}
        door.client("alt").copy_object(**words, MetadataDirective="COPY")
        assert door.client("alt").get_object(Bucket=target, Key="k")["Body"].read() == b"k"
        call = door.client("alt").copy_object
        refused(**NO_ACCESS, call=call, **words)
        refused(**NO_ACCESS, call=call, **words, MetadataDirective="REPLACE", Metadata={"a": "b"})


@case("policies", "test_bucket_policy_put_obj_acl")
def uploads_only_without_public_acls(door: Door, bucket: str) -> None:
    public = {"StringLike": {"s3:x-amz-acl": "public*"}}
    deny = statement(bucket, "s3:PutObject", effect="Deny", Condition=public)
    _put(door, bucket, document(statement(bucket, "s3:PutObject"), deny))
    call = door.client("alt").put_object
    call(Bucket=bucket, Key="k", Body=b"abc")
    call(Bucket=bucket, Key="k", Body=b"abc", ACL="bucket-owner-read")
    refused(**NO_ACCESS, call=call, Bucket=bucket, Key="k", Body=b"abc", ACL="public-read")


@case("policies", "test_bucket_policy_put_obj_grant")
def uploads_only_with_a_grant_to_the_owner(door: Door, bucket: str) -> None:
    owner, writer = door.accounts["main"].id, door.accounts["alt"].id
    granted = {"StringEquals": {"s3:x-amz-grant-full-control": f"id={owner}"}}
    _put(door, bucket, policy(bucket, "s3:PutObject", Condition=granted))
    call = door.client("alt").put_object
    refused(**NO_ACCESS, call=call, Bucket=bucket, Key="k", Body=b"abc")
    call(Bucket=bucket, Key="k", Body=b"abc", GrantFullControl=f"id={owner}")
    assert door.client().get_object_acl(Bucket=bucket, Key="k")["Grants"][0]["Grantee"]["ID"] == owner
    with another(door) as free:
        _put(door, free, policy(free, "s3:PutObject"))
        call(Bucket=free, Key="k", Body=b"abc")
        refused(**NO_ACCESS, call=door.client().get_object_acl, Bucket=free, Key="k")
        assert door.client("alt").get_object_acl(Bucket=free, Key="k")["Grants"][0]["Grantee"]["ID"] == writer
        door.client("alt").put_object_acl(Bucket=free, Key="k", ACL="bucket-owner-full-control")


# ---- encryption ------------------------------------------------------------------------------------------------------

_KEY = "s3:x-amz-server-side-encryption"


def _must(method: str, bucket: str) -> str:
    """Return a policy that denies uploads unless they state a method of encryption."""
    wrong, silent = {"StringNotEquals": {_KEY: method}}, {"Null": {_KEY: "true"}}
    denials = [statement(bucket, "s3:PutObject", effect="Deny", Condition=c) for c in (wrong, silent)]
    return document(*denials)


def _encrypted(method: str, stated: str | None, status: int) -> Any:
    def run(door: Door, bucket: str) -> None:
        _put(door, bucket, _must(method, bucket))
        for name in (stated, None):
            reply = send(door, "PUT", f"/{bucket}/k", {"x-amz-server-side-encryption": name}, b"abc")
            assert (reply.status, reply.code) == ((status, "") if name and status == 200 else (403, "AccessDenied"))
            if status == 200 and name:
                assert reply.headers["x-amz-server-side-encryption"] == name

    return run


for _name, _words in (
    ("s3_noenc", ("AES256", "AES256", 200)),
    ("s3_kms", ("AES256", "aws:kms", 403)),
    ("kms_s3", ("aws:kms", "AES256", 403)),
    ("s3_incorrect_algo_sse_s3", ("AES256", "AES192", 403)),
):
    enter("policies", f"test_bucket_policy_put_obj_{_name}", _encrypted(*_words))


@case("policies", "test_encryption_sse_c_enforced_with_bucket_policy")
def uploads_only_under_a_customers_key(door: Door, bucket: str) -> None:
    missing = {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "true"}}
    _put(door, bucket, policy(bucket, "s3:PutObject", effect="Deny", Condition=missing))
    call, words = door.client().put_object, {"Bucket": bucket, "Key": "k", "Body": b"abc"}
    refused(**NO_ACCESS, call=call, **words)
    call(**words, SSECustomerAlgorithm="AES256", SSECustomerKey=bytes(32))


@case("policies", "test_encryption_sse_c_deny_algo_with_bucket_policy")
def uploads_only_under_one_algorithm(door: Door, bucket: str) -> None:
    header = "x-amz-server-side-encryption-customer-algorithm"
    wrong = {"StringNotEquals": {f"s3:{header}": "AES256"}}
    _put(door, bucket, policy(bucket, "s3:PutObject", effect="Deny", Condition=wrong))
    assert send(door, "PUT", f"/{bucket}/k", {header: "AES192"}, b"abc").code == "AccessDenied"
    words = {"Bucket": bucket, "Key": "k", "Body": b"abc"}
    door.client().put_object(**words, SSECustomerAlgorithm="AES256", SSECustomerKey=bytes(32))


@case("policies")
def a_policy_never_sees_a_customers_key(door: Door, bucket: str) -> None:
    guess = {"StringLike": {"s3:x-amz-server-side-encryption-customer-key": "A*"}}
    _put(door, bucket, policy(bucket, "s3:PutObject", effect="Deny", Condition=guess))
    words = {"Bucket": bucket, "Key": "k", "Body": b"abc"}
    door.client().put_object(**words, SSECustomerAlgorithm="AES256", SSECustomerKey=bytes(32))


@case("policies", "test_bucket_policy_multipart")
def an_upload_in_parts_is_a_write_of_its_key(door: Door, bucket: str) -> None:
    call, at = door.client("alt").create_multipart_upload, {"Bucket": bucket, "Key": "k"}
    refused(**NO_ACCESS, call=call, **at)
    for resource, may in ((f"arn:aws:s3:::{bucket}", False), (f"arn:aws:s3:::{bucket}/k", True)):
        _put(door, bucket, document({**statement(bucket, "s3:PutObject"), "Resource": resource}))
        if may:
            call(**at)
        else:
            refused(**NO_ACCESS, call=call, **at)
