"""Lifecycle rules: which documents are taken, and what answers tell of an end to come."""

from __future__ import annotations

import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door

Rule = dict[str, Any]


def rule(name: str = "one", status: str = "Enabled", **parts: Any) -> Rule:
    """Return a rule for everything, unless `parts` say for what."""
    where = {} if "Prefix" in parts or "Filter" in parts else {"Filter": {"Prefix": ""}}
    return {"ID": name, "Status": status, **where, **parts}


def _set(door: Door, bucket: str, *rules: Rule) -> None:
    words = {"Bucket": bucket, "LifecycleConfiguration": {"Rules": list(rules)}}
    done = door.client().put_bucket_lifecycle_configuration(**words)
    assert done["ResponseMetadata"]["HTTPStatusCode"] == 200


# ---- documents -------------------------------------------------------------------------------------------------------


def _taken(*rules: Rule) -> Any:
    def run(door: Door, bucket: str) -> None:
        _set(door, bucket, *rules)
        assert door.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == list(rules)

    return run


def _noncurrent(days: int) -> dict[str, Any]:
    return {"NoncurrentVersionExpiration": {"NoncurrentDays": days}}


def _abort(days: int) -> dict[str, Any]:
    return {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days}}


_MARKER = {"Expiration": {"ExpiredObjectDeleteMarker": True}}
_PAST = datetime.datetime(2019, 3, 4, tzinfo=datetime.UTC)
for _name, _rules in (
    ("set", [rule(Prefix="a/", Expiration={"Days": 1}), rule("two", "Disabled", Prefix="b/", Expiration={"Days": 2})]),
    ("get", [rule("a/", Prefix="a/", Expiration={"Days": 40}), rule("b/", Prefix="b/", Expiration={"Days": 99})]),
    ("set_date", [rule(Prefix="a/", Expiration={"Date": _PAST})]),
    ("set_noncurrent", [rule(Prefix="a/", **_noncurrent(2)), rule("two", Prefix="b/", **_noncurrent(3))]),
    ("set_deletemarker", [rule(Prefix="a/", **_MARKER)]),
    ("set_filter", [rule(Filter={"Prefix": "a"}, **_MARKER)]),
    ("set_multipart", [rule(Prefix="a/", **_abort(2)), rule("two", "Disabled", Prefix="b/", **_abort(3))]),
):
    enter("lifecycle", f"test_lifecycle_{_name}", _taken(*_rules))


@case("lifecycle", "test_lifecycle_set_empty_filter")
def an_empty_filter_means_everything(door: Door, bucket: str) -> None:
    _set(door, bucket, rule(Filter={}, **_MARKER))
    (found,) = door.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert found["Filter"] in ({}, {"Prefix": ""})


@case("lifecycle", "test_lifecycle_get_no_id")
def rules_without_a_name_get_one(door: Door, bucket: str) -> None:
    wanted = [{"Status": "Enabled", "Prefix": p, "Expiration": {"Days": d}} for p, d in (("a/", 40), ("b/", 99))]
    _set(door, bucket, *wanted)
    found = door.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert len({r.pop("ID") for r in found}) == 2
    assert found == wanted


def _refused_rules(code: str, *documents: list[Rule]) -> Any:
    def run(door: Door, bucket: str) -> None:
        call = door.client().put_bucket_lifecycle_configuration
        for rules in documents:
            refused(code, call, Bucket=bucket, LifecycleConfiguration={"Rules": rules}, status=400)
        refused("NoSuchLifecycleConfiguration", door.client().get_bucket_lifecycle_configuration, Bucket=bucket)

    return run


_ONE_DAY = {"Expiration": {"Days": 1}}
_NOON = datetime.datetime(2035, 3, 4, 12, tzinfo=datetime.UTC)
_TAG = {"Key": "t", "Value": "1"}
for _name, _code, _documents in (
    ("test_lifecycle_id_too_long", "InvalidArgument", [[rule("n" * 256, **_ONE_DAY)]]),
    ("test_lifecycle_same_id", "InvalidArgument", [[rule(Prefix="a/", **_ONE_DAY), rule(Prefix="b/", **_ONE_DAY)]]),
    ("test_lifecycle_invalid_status", "MalformedXML", [[rule("one", s, **_ONE_DAY)] for s in ("enabled", "disabled", "On")]),
    ("test_lifecycle_set_invalid_date", "InvalidArgument", [[rule(Expiration={"Date": _NOON})]]),
    ("test_lifecycle_expiration_days0", "InvalidArgument", [[rule(Expiration={"Days": d})] for d in (0, -1)]),
    ("test_lifecycle_transition_set_invalid_date", "InvalidArgument", [[rule(Transitions=[{"Date": _NOON, "StorageClass": "GLACIER"}])]]),
    # a filter has one element; several stand in And
    ("test_lifecycle_expiration_tags1", "MalformedXML", [[rule(Filter={"Prefix": "a/", "Tag": _TAG}, **_ONE_DAY)]]),
):  # fmt: skip
    enter("lifecycle", _name, _refused_rules(_code, *_documents))


@case("lifecycle")
def no_transitions(door: Door, bucket: str) -> None:
    call = door.client().put_bucket_lifecycle_configuration
    for parts in (
        {"Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]},
        {"NoncurrentVersionTransitions": [{"NoncurrentDays": 1, "StorageClass": "GLACIER"}]},
    ):
        words = {"Bucket": bucket, "LifecycleConfiguration": {"Rules": [rule(**_ONE_DAY, **parts)]}}
        refused("NotImplemented", call, status=501, **words)


@case("lifecycle", "test_lifecycle_delete")
def rules_are_taken_back(door: Door, bucket: str) -> None:
    client = door.client()
    _set(door, bucket, rule(**_ONE_DAY))
    for _ in range(2):
        assert client.delete_bucket_lifecycle(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 204
        call = client.get_bucket_lifecycle_configuration
        refused("NoSuchLifecycleConfiguration", call, Bucket=bucket, status=404)


# ---- what answers tell -----------------------------------------------------------------------------------------------


def _ends(answer: dict[str, Any], name: str = "one") -> None:
    """An object written just now ends by a rule of one day: at the midnight after that day."""
    header = answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-expiration"]
    when, _, by = header.partition('", ')
    assert by == f'rule-id="{name}"'
    left = parsedate_to_datetime(when.removeprefix('expiry-date="')) - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=1) - datetime.timedelta(minutes=5) < left <= datetime.timedelta(days=2)


@case("lifecycle", "test_lifecycle_expiration_header_put")
def writes_tell_the_end(door: Door, bucket: str) -> None:
    client = door.client()
    _set(door, bucket, rule(Prefix="a/", **_ONE_DAY), rule("two", Filter={"Tag": _TAG}, **_ONE_DAY))
    _ends(client.put_object(Bucket=bucket, Key="a/k", Body=b"abc"))
    _ends(client.put_object(Bucket=bucket, Key="b", Body=b"abc", Tagging="t=1"), "two")
    _ends(client.copy_object(Bucket=bucket, Key="a/c", CopySource=f"{bucket}/a/k"))
    assert "Expiration" not in client.put_object(Bucket=bucket, Key="b", Body=b"abc")
    at = {"Bucket": bucket, "Key": "a/m"}
    at["UploadId"] = client.create_multipart_upload(**at)["UploadId"]
    part = client.upload_part(**at, PartNumber=1, Body=b"abc")["ETag"]
    _ends(client.complete_multipart_upload(**at, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]}))


@case("lifecycle", "test_lifecycle_expiration_header_head")
def heads_tell_the_end(door: Door, bucket: str) -> None:
    client = door.client()
    _set(door, bucket, rule(Prefix="a/", **_ONE_DAY))
    fill(client, bucket, "a/k", "b")
    _ends(client.head_object(Bucket=bucket, Key="a/k"))
    _ends(client.get_object(Bucket=bucket, Key="a/k"))
    assert "Expiration" not in client.head_object(Bucket=bucket, Key="b")


def _by_tags(where: dict[str, Any], fits: bool) -> Any:
    def run(door: Door, bucket: str) -> None:
        client = door.client()
        _set(door, bucket, rule(Filter=where, **_ONE_DAY))
        fill(client, bucket, "k")
        assert "Expiration" not in client.head_object(Bucket=bucket, Key="k")
        both = [_TAG, {"Key": "u", "Value": "2"}]
        client.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": both})
        head = client.head_object(Bucket=bucket, Key="k")
        if fits:
            _ends(head)
        _set(door, bucket, rule(Filter={"Tag": {"Key": "v", "Value": "1"}}, **_ONE_DAY))
        assert "Expiration" not in client.head_object(Bucket=bucket, Key="k")
        assert ("Expiration" in head) == fits

    return run


_OTHER = {"Key": "u", "Value": "3"}
enter("lifecycle", "test_lifecycle_expiration_header_tags_head", _by_tags({"Tag": _TAG}, True))
enter("lifecycle", "test_lifecycle_expiration_header_and_tags_head", _by_tags({"And": {"Tags": [_TAG, _OTHER]}}, False))
