"""Tags of buckets and objects: limits, replacement, forms, and who may touch them."""

from __future__ import annotations

import json
from typing import Any

from tests.services.storage.s3.conformance.post_cases import moment, post, signed
from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door


def tags(*names: str, value: str = "v") -> dict[str, Any]:
    """Return a Tagging of names with one value each."""
    return {"TagSet": [{"Key": name, "Value": value} for name in names]}


def shown(client: Any, bucket: str, key: str = "k") -> dict[str, str]:
    """Return an object's tags."""
    return {t["Key"]: t["Value"] for t in client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}


def opened(door: Door, bucket: str, *actions: str) -> None:
    """Let everybody do something to the objects of a bucket."""
    statement = {"Effect": "Allow", "Principal": "*", "Action": list(actions), "Resource": f"arn:aws:s3:::{bucket}/*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    door.client().put_bucket_policy(Bucket=bucket, Policy=text)


@case("tags", "test_set_bucket_tagging")
def a_bucket_has_tags(door: Door, bucket: str) -> None:
    client = door.client()
    refused("NoSuchTagSet", client.get_bucket_tagging, Bucket=bucket, status=404)
    client.put_bucket_tagging(Bucket=bucket, Tagging=tags("Team"))
    assert client.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags("Team")["TagSet"]
    client.delete_bucket_tagging(Bucket=bucket)
    refused("NoSuchTagSet", client.get_bucket_tagging, Bucket=bucket, status=404)


@case("tags", "test_get_obj_tagging")
def what_was_set_is_shown(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, "k")
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    client.put_object_tagging(Bucket=bucket, Key="k", Tagging=tags("b", "a"))
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tags("a", "b")["TagSet"]


@case("tags", "test_get_obj_head_tagging")
def heads_count_them(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, "k")
    assert "TagCount" not in client.head_object(Bucket=bucket, Key="k")
    client.put_object_tagging(Bucket=bucket, Key="k", Tagging=tags("a", "b", "c"))
    answered = client.head_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPHeaders"]
    assert answered["x-amz-tagging-count"] == "3"


def _accepted(tagging: dict[str, Any]) -> Any:
    def run(door: Door, bucket: str) -> None:
        client = door.client()
        fill(client, bucket, "k")
        client.put_object_tagging(Bucket=bucket, Key="k", Tagging=tagging)
        assert shown(client, bucket) == {t["Key"]: t["Value"] for t in tagging["TagSet"]}

    return run


def _too_much(tagging: dict[str, Any]) -> Any:
    def run(door: Door, bucket: str) -> None:
        client = door.client()
        fill(client, bucket, "k")
        refused("InvalidTag", client.put_object_tagging, Bucket=bucket, Key="k", Tagging=tagging, status=400)
        assert shown(client, bucket) == {}

    return run


_TEN = [f"name{i}" for i in range(10)]
_LONG = [f"{i}".rjust(128, "n") for i in range(10)]
for _name, _case in (
    ("test_put_max_tags", _accepted(tags(*_TEN))),
    ("test_put_max_kvsize_tags", _accepted(tags(*_LONG, value="w" * 256))),
    ("test_put_excess_tags", _too_much(tags(*_TEN, "more"))),
    ("test_put_excess_key_tags", _too_much(tags(*(f"{name}n" for name in _LONG), value="w" * 256))),
    ("test_put_excess_val_tags", _too_much(tags(*_LONG, value="w" * 257))),
):
    enter("tags", _name, _case)


@case("tags", "test_put_modify_tags")
def new_tags_replace_all_old_ones(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="a=v&b=v")
    client.put_object_tagging(Bucket=bucket, Key="k", Tagging=tags("c", value="w"))
    assert shown(client, bucket) == {"c": "w"}


@case("tags", "test_put_delete_tags")
def tags_are_taken_off(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="a=v&b=v")
    done = client.delete_object_tagging(Bucket=bucket, Key="k")
    assert (done["ResponseMetadata"]["HTTPStatusCode"], shown(client, bucket)) == (204, {})


@case("tags", "test_put_obj_with_tags")
def a_header_sets_them(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="b=c&a")  # a name alone has an empty value
    listed = client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
    assert listed == [{"Key": "a", "Value": ""}, {"Key": "b", "Value": "c"}]


_XML = (
    "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value>2</Value></Tag></TagSet></Tagging>"
)


@case("tags", "test_post_object_tags_anonymous_request")
def anonymous_forms_set_them(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    fields = {"key": "k", "acl": "public-read", "Content-Type": "text/plain", "tagging": _XML}
    assert post(door, bucket, fields, b"leaf").status == 204
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"leaf"
    assert shown(client, bucket) == {"a": "1", "b": "2"}


@case("tags", "test_post_object_tags_authenticated_request")
def signed_forms_set_them(door: Door, bucket: str) -> None:
    conditions = [{"bucket": bucket}, {"key": "k"}, ["starts-with", "$tagging", ""]]
    policy = {"expiration": moment(600), "conditions": conditions}
    fields = {"key": "k", "tagging": _XML, **signed(door, policy)}
    assert post(door, bucket, fields, b"leaf").status == 204
    client = door.client()
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"leaf"
    assert shown(client, bucket) == {"a": "1", "b": "2"}


@case("tags", "test_get_tags_acl_public")
def others_read_them_where_a_policy_says_so(door: Door, bucket: str) -> None:
    door.client().put_object(Bucket=bucket, Key="k", Body=b"", Tagging="a=v")
    refused("AccessDenied", door.client("alt").get_object_tagging, Bucket=bucket, Key="k", status=403)
    opened(door, bucket, "s3:GetObjectTagging")
    assert shown(door.client("alt"), bucket) == {"a": "v"}


@case("tags", "test_put_tags_acl_public")
def others_set_them_where_a_policy_says_so(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    call = door.client("alt").put_object_tagging
    refused("AccessDenied", call, Bucket=bucket, Key="k", Tagging=tags("a"), status=403)
    opened(door, bucket, "s3:PutObjectTagging")
    call(Bucket=bucket, Key="k", Tagging=tags("a", "b"))
    assert shown(door.client(), bucket) == {"a": "v", "b": "v"}


@case("tags", "test_delete_tags_obj_public")
def others_take_them_off_where_a_policy_says_so(door: Door, bucket: str) -> None:
    door.client().put_object(Bucket=bucket, Key="k", Body=b"", Tagging="a=v")
    call = door.client("alt").delete_object_tagging
    refused("AccessDenied", call, Bucket=bucket, Key="k", status=403)
    opened(door, bucket, "s3:DeleteObjectTagging")
    assert call(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert shown(door.client(), bucket) == {}


@case("tags", "test_set_multipart_tagging")
def an_upload_in_parts_brings_its_tags(door: Door, bucket: str) -> None:
    client, at = door.client(), {"Bucket": bucket, "Key": "k"}
    upload = client.create_multipart_upload(**at, Tagging="leaf=lobed&bark=")["UploadId"]
    etag = client.upload_part(**at, UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload=parts)
    tags = client.get_object_tagging(**at)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"leaf": "lobed", "bark": ""}
    client.delete_object_tagging(**at)
    assert client.get_object_tagging(**at)["TagSet"] == []
