"""Buckets: names, making them again, who sees them; keys of odd characters; logging."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

from tests.services.storage.s3.conformance.raw import send
from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door

NUMBERS = itertools.count(1)


def fresh(door: Door, head: str = "fresh") -> str:
    return f"{head}-{door.port}-{next(NUMBERS)}"


# ---- names -----------------------------------------------------------------------------------------------------------


def _bad(name: str, bucket: str) -> None:
    def try_name(door: Door) -> None:
        reply = send(door, "PUT", f"/{bucket}")  # client libraries would not send it
        assert (reply.status, reply.code) == (400, "InvalidBucketName")

    enter("buckets", f"test_bucket_create_naming_{name}", try_name)


_bad("bad_starts_nonalpha", "_leaves")
_bad("bad_short_one", "l")
_bad("bad_short_two", "le")
_bad("bad_ip", "10.20.30.40")
_bad("dns_underscore", "oak_leaves")
_bad("dns_dash_at_end", "leaves-")
_bad("dns_dot_dot", "oak..leaves")
_bad("dns_dot_dash", "oak.-leaves")
_bad("dns_dash_dot", "oak-.leaves")


def _good(name: str, head: str, length: int = 0, tail: str = "") -> None:
    def try_name(door: Door) -> None:
        bucket = fresh(door, head) + tail
        bucket += "x" * (length - len(bucket))
        client = door.client()
        client.create_bucket(Bucket=bucket)
        assert client.list_objects(Bucket=bucket)["Name"] == bucket
        client.delete_bucket(Bucket=bucket)

    enter("buckets", f"test_bucket_{name}", try_name)


for _length in (60, 61, 62, 63):
    _good(f"create_naming_good_long_{_length}", "long", _length)
_good("create_naming_dns_long", "dns", 63)
_good("list_long_name", "listed", 61)
_good("create_naming_good_starts_alpha", "a")
_good("create_naming_good_starts_digit", "7")
_good("create_naming_good_contains_period", "oak", tail=".leaf.9")
_good("create_naming_good_contains_hyphen", "oak", tail="-leaf-9")


# ---- made, made again, gone ------------------------------------------------------------------------------------------


@case("buckets", "test_bucket_head")
def a_bucket_has_a_head(door: Door, bucket: str) -> None:
    assert send(door, "HEAD", f"/{bucket}").status == 200


@case("buckets", "test_bucket_head_notexist")
def what_is_not_there_has_none(door: Door) -> None:
    reply = send(door, "HEAD", f"/{fresh(door)}")
    assert (reply.status, reply.body) == (404, b"")


def _absent(name: str, method: str, words: dict[str, Any]) -> None:
    def try_call(door: Door) -> None:
        refused("NoSuchBucket", getattr(door.client(), method), Bucket=fresh(door), status=404, **words)

    enter("buckets", name, try_call)


_absent("test_bucket_notexist", "list_objects", {})
_absent("test_bucketv2_notexist", "list_objects_v2", {})
_absent("test_bucket_delete_notexist", "delete_bucket", {})
_absent("test_object_write_to_nonexist_bucket", "put_object", {"Key": "k", "Body": b"leaf"})


@case("buckets", "test_bucket_delete_nonempty")
def what_holds_something_stays(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    refused("BucketNotEmpty", door.client().delete_bucket, Bucket=bucket, status=409)
    assert door.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"


@case("buckets", "test_bucket_create_delete")
def a_bucket_goes_once(door: Door, bucket: str) -> None:
    door.client().delete_bucket(Bucket=bucket)
    refused("NoSuchBucket", door.client().delete_bucket, Bucket=bucket, status=404)


@case("buckets", "test_bucket_create_exists")
def ones_own_may_be_made_again(door: Door, bucket: str) -> None:
    # in us-east-1; elsewhere BucketAlreadyOwnedByYou
    assert door.client().create_bucket(Bucket=bucket)["Location"] == f"/{bucket}"


@case("buckets", "test_bucket_recreate_not_overriding")
def and_keeps_what_it_holds(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "ash", "oak")
    door.client().create_bucket(Bucket=bucket)
    listed = door.client().list_objects(Bucket=bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == ["ash", "oak"]


@case("buckets", "test_bucket_create_exists_nonowner")
def anothers_name_is_taken(door: Door, bucket: str) -> None:
    refused("BucketAlreadyExists", door.client("alt").create_bucket, Bucket=bucket, status=409)


@case("buckets", "test_bucket_recreate_overwrite_acl")
def made_again_without_its_acl(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    refused("BucketAlreadyExists", client.create_bucket, Bucket=bucket, status=409)
    assert len(client.get_bucket_acl(Bucket=bucket)["Grants"]) == 2
    client.create_bucket(Bucket=bucket, ACL="public-read")


@case("buckets", "test_bucket_recreate_new_acl")
def made_again_with_another_acl(door: Door, bucket: str) -> None:
    client = door.client()
    refused("BucketAlreadyExists", client.create_bucket, Bucket=bucket, ACL="public-read", status=409)
    assert len(client.get_bucket_acl(Bucket=bucket)["Grants"]) == 1


@case("buckets", "test_bucket_get_location")
def a_bucket_says_where_it_is(door: Door) -> None:
    client, bucket = door.client(), fresh(door)
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "EU"})
    assert client.get_bucket_location(Bucket=bucket)["LocationConstraint"] == "EU"
    client.delete_bucket(Bucket=bucket)


# ---- who sees them ---------------------------------------------------------------------------------------------------


@case("buckets", "test_buckets_create_then_list")
def all_of_them_are_listed(door: Door) -> None:
    client, made = door.client("third"), {fresh(door) for _ in range(4)}
    for bucket in made:
        client.create_bucket(Bucket=bucket)
    assert made <= {entry["Name"] for entry in client.list_buckets()["Buckets"]}


@case("buckets", "test_buckets_list_ctime")
def with_the_time_they_were_made(door: Door) -> None:
    now = datetime.datetime.now(datetime.UTC)
    for bucket in (fresh(door), fresh(door)):
        door.client("third").create_bucket(Bucket=bucket)
    latest = max(entry["CreationDate"] for entry in door.client("third").list_buckets()["Buckets"])
    assert now - datetime.timedelta(minutes=1) < latest < now + datetime.timedelta(minutes=1)


@case("buckets", "test_list_buckets_paginated")
def in_pages_where_that_is_asked(door: Door) -> None:
    client, head = door.client("third"), fresh(door, "page")
    made = [f"{head}-{number}" for number in range(5)]
    for bucket in made:
        client.create_bucket(Bucket=bucket)
    seen: list[str] = []
    words: dict[str, Any] = {}
    while True:
        page = client.list_buckets(Prefix=head, MaxBuckets=2, **words)
        assert page["Prefix"] == head
        seen += [entry["Name"] for entry in page["Buckets"]]
        if "ContinuationToken" not in page:
            break
        words = {"ContinuationToken": page["ContinuationToken"]}
    assert seen == made


@case("buckets", "test_list_buckets_anonymous")
def strangers_have_no_buckets_to_list(door: Door) -> None:
    refused("AccessDenied", door.client(None).list_buckets, status=403)


@case("buckets", "test_list_buckets_invalid_auth")
def an_unknown_key(door: Door) -> None:
    claim = "AWS4-HMAC-SHA256 Credential=NOBODY/{0}/us-east-1/s3/aws4_request,SignedHeaders={1},Signature={2}"
    today = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")
    signed = "host;x-amz-content-sha256;x-amz-date"
    reply = send(door, "GET", "/", {"authorization": claim.format(today, signed, "0" * 64)})
    assert (reply.status, reply.code) == (403, "InvalidAccessKeyId")


@case("buckets", "test_list_buckets_bad_auth")
def a_known_key_with_another_secret(door: Door) -> None:
    key = door.accounts["main"].key
    claim = "AWS4-HMAC-SHA256 Credential={3}/{0}/us-east-1/s3/aws4_request,SignedHeaders={1},Signature={2}"
    today = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")
    signed = "host;x-amz-content-sha256;x-amz-date"
    reply = send(door, "GET", "/", {"authorization": claim.format(today, signed, "0" * 64, key)})
    assert (reply.status, reply.code) == (403, "SignatureDoesNotMatch")


# ---- keys, logging ---------------------------------------------------------------------------------------------------


@case("objects", "test_bucket_create_special_key_names")
def keys_of_one_odd_character(door: Door, bucket: str) -> None:
    client = door.client()
    keys = sorted([*" \"$%&'<>_?#+=@:,;[]{}|\\^`~*!()", "_ ", "__", "_ _", "é", "日"], key=str.encode)
    fill(client, bucket, *keys)
    assert [entry["Key"] for entry in client.list_objects(Bucket=bucket)["Contents"]] == keys
    for key in keys:
        assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
        client.put_object_acl(Bucket=bucket, Key=key, ACL="private")


@case("buckets", "test_logging_toggle")
def logging_is_off_and_stays_so(door: Door, bucket: str) -> None:
    client = door.client()
    wanted = {"LoggingEnabled": {"TargetBucket": bucket, "TargetPrefix": "log"}}
    refused("NotImplemented", client.put_bucket_logging, Bucket=bucket, BucketLoggingStatus=wanted, status=501)
    assert "LoggingEnabled" not in client.get_bucket_logging(Bucket=bucket)
